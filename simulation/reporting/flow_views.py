"""Energy of a run as its report shows it: balances, trade between networks, batteries, recourse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from simulation.reporting.run_data import RunData

MOST_POINTS = 1_000
"""Points of one curve; longer runs show means over periods."""
_PERIOD_HOURS = (1, 2, 3, 4, 6, 12, 24, 48, 168)


def period_steps(run: RunData) -> int:
    """Choose how many steps make one point of a curve."""
    n_steps = int(run.tables["clearing"].step.nunique())
    lengths = [round(hours / run.step_hours) for hours in _PERIOD_HOURS]
    for length in [1, *(length for length in lengths if length > 1)]:
        if n_steps / length <= MOST_POINTS:
            return length
    return lengths[-1]


def drawn(run: RunData, table: pd.DataFrame) -> pd.DataFrame:
    """Points that are drawn of a table with a row a step."""
    return thinned(table, period_steps(run))


def thinned(table: pd.DataFrame, steps: int) -> pd.DataFrame:
    """Average a table of equal steps, by time, over periods of some steps."""
    if steps == 1:
        return table
    block = np.arange(len(table)) // steps
    return table.groupby(block).mean().set_axis(table.index[::steps])


def energy_balance(run: RunData, network: str) -> pd.DataFrame:
    """Power by source and use. [kW]

    Returns
    -------
    DataFrame
        By ``time``; sources are positive, uses negative, and with the losses they sum to zero up
        to what was not recorded.
    """
    d = run.of("dispatch", network)
    by_time = d.groupby("time")[
        ["load_kw", "renewable_available_kw", "curtailed_kw", "dg_kw", "charge_kw", "discharge_kw"]
    ].sum()
    grid = run.of("substation", network).set_index("time").reindex(by_time.index)
    out = pd.DataFrame(
        {
            "renewables": by_time.renewable_available_kw - by_time.curtailed_kw,
            "dispatchable units": by_time.dg_kw,
            "batteries, discharging": by_time.discharge_kw,
            "from upstream": grid.p_kw.clip(lower=0),
            "load": -by_time.load_kw,
            "batteries, charging": -by_time.charge_kw,
            "to upstream": grid.p_kw.clip(upper=0),
            "losses": -grid.losses_kw,
        }
    )
    return out.astype(float)


def traded_power(run: RunData, network: str) -> pd.DataFrame:
    """Power traded by the peers of a network, mean over each step. [kW]

    Returns
    -------
    DataFrame
        By ``time``: ``within``, among themselves; ``sold``, to other networks; ``bought``, from
        them, negative.
    """
    time = pd.DatetimeIndex(run.of("clearing", network).time)
    trades = located_trades(run)
    sold, bought = trades.from_network == network, trades.to_network == network
    hours = run.step_hours
    out = pd.DataFrame(
        {
            "within": trades[sold & bought].groupby("time").energy_kwh.sum() / hours,
            "sold": trades[sold & ~bought].groupby("time").energy_kwh.sum() / hours,
            "bought": -trades[bought & ~sold].groupby("time").energy_kwh.sum() / hours,
        }
    )
    return out.reindex(time).fillna(0.0)


def flows_between(run: RunData) -> pd.DataFrame:
    """Energy traded from every network (rows) to every other and itself (columns). [kWh]"""
    trades = located_trades(run)
    table = trades.pivot_table(
        index="from_network",
        columns="to_network",
        values="energy_kwh",
        aggfunc="sum",
        observed=True,
    )
    square: Any = table.reindex(index=run.networks, columns=run.networks)
    return pd.DataFrame(square.fillna(0.0))


def located_trades(run: RunData) -> pd.DataFrame:
    """Sum the trades by step and by the networks of seller and buyer."""
    home = run.tables["peers"].set_index("peer_id").network.astype(str).to_dict()
    trades = run.tables["trades"]
    named = trades[["time", "energy_kwh"]].assign(
        from_network=trades.seller.map(home).astype(str),
        to_network=trades.buyer.map(home).astype(str),
    )
    keys = ["time", "from_network", "to_network"]
    return named.groupby(keys, as_index=False)[["energy_kwh"]].sum()


def batteries(run: RunData, network: str) -> pd.DataFrame | None:
    """Stored energy of a network's batteries over their capacity. [%]

    Returns
    -------
    DataFrame or None
        By ``time``: ``mean``, of all batteries together; ``low`` and ``high``, of the emptiest
        and the fullest one. None without batteries.
    """
    peers = run.of("peers", network)
    capacity = peers[peers.battery_kwh > 0].set_index("peer_id").battery_kwh
    d = run.of("dispatch", network)
    if capacity.empty or d.empty:
        return None
    own = d[d.peer_id.isin(capacity.index)]
    stored = own.assign(peer_id=own.peer_id.astype(str)).pivot(
        index="time", columns="peer_id", values="soc_kwh"
    )
    limit = capacity.rename(index=str)[stored.columns].to_numpy(float)
    share = 100 * stored / limit
    return pd.DataFrame(
        {
            "mean": 100 * stored.sum(axis=1) / limit.sum(),
            "low": share.min(axis=1),
            "high": share.max(axis=1),
        }
    )


def recourse(run: RunData, network: str) -> pd.DataFrame:
    """Recourse of a network's peers.

    Returns
    -------
    DataFrame
        By ``time``: net power ``asked`` and ``delivered`` [kW], and the ``share`` of the network's
        forecast error that the clearing gave to devices [%]; the rest is the upstream grid's.
    """
    columns = ["recourse_asked_kw", "recourse_kw", "recourse_share"]
    sums = run.of("dispatch", network).groupby("time")[columns].sum(min_count=1)
    out = sums.set_axis(["asked", "delivered", "share"], axis="columns").astype(float)
    return out.assign(share=100 * out.share)


def recourse_energy(run: RunData) -> pd.DataFrame:
    """Energy of recourse by network, up (more injected) and down, asked and delivered. [kWh]"""
    d = run.tables["dispatch"]
    rows = []
    for network in run.networks:
        own = d[d.network == network]
        asked, done = own.recourse_asked_kw.to_numpy(float), own.recourse_kw.to_numpy(float)
        row: dict[str, object] = {"network": network}
        for name, power in (("asked", asked), ("delivered", done)):
            known = bool(np.isfinite(power).any())
            for way, sign in (("up", 1), ("down", -1)):
                energy = run.step_hours * np.nansum(np.maximum(sign * power, 0.0))
                row[f"{name}_{way}"] = float(energy) if known else float("nan")
        rows.append(row)
    return pd.DataFrame(rows)
