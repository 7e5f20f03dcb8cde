"""Money of a run as its report shows it: prices, costs, accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from simulation.reporting.run_data import RunData

KINDS = ("consumer", "prosumer", "operator", "dso", "supplier", "resources")
"""Who holds an account, in the order of the tables."""
COMPONENTS = ("energy", "loss", "voltage", "risk")
"""Components of a nodal price."""


def nodal_prices(run: RunData, network: str) -> pd.DataFrame | None:
    """Nodal prices of a network. [EUR/kWh]

    Returns
    -------
    DataFrame or None
        By ``time``: of ``dlmp`` and each of :data:`COMPONENTS` the mean over the buses
        ``<name>_mean``, and ``_low`` and ``_high``, the smallest and the largest; NaN in steps
        without prices. None if the run has no prices at all.
    """
    prices = run.of("prices", network).rename(columns={"dlmp_eur_per_kwh": "dlmp"})
    names = ["dlmp", *COMPONENTS]
    if prices.empty or prices.dlmp.isna().all():
        return None
    by_time = prices.groupby("time")[names].agg(["mean", "min", "max"])
    ends = {"mean": "mean", "min": "low", "max": "high"}
    pairs: Any = by_time.columns
    by_time.columns = pd.Index([f"{name}_{ends[end]}" for name, end in pairs])
    # Steps without prices stay in place as gaps.
    steps = pd.DatetimeIndex(run.of("clearing", network).time)
    return by_time.reindex(steps).astype(float)


def trade_prices(run: RunData) -> pd.Series:
    """What buyers paid for the energy of their trades, weighted with energy. [EUR/kWh]"""
    trades = run.tables["trades"]
    paid = (trades.price_eur_per_kwh * trades.energy_kwh).groupby(trades.time).sum(min_count=1)
    energy = trades.groupby("time").energy_kwh.sum()
    return (paid / energy.where(energy > 0)).rename("price")


def received_by_kind(run: RunData) -> pd.DataFrame:
    """What accounts received over the run, net of what they paid. [EUR]

    Returns
    -------
    DataFrame
        By item (rows) and kind of account (columns, those of :data:`KINDS` that occur).
    """
    accounts = run.tables["accounts"]
    table = accounts.pivot_table(
        index="item", columns="kind", values="amount_eur", aggfunc="sum", observed=True
    )
    kinds = [kind for kind in KINDS if kind in table.columns]
    others = [kind for kind in table.columns if kind not in kinds]
    return table[[*kinds, *others]].fillna(0.0)
