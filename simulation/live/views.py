"""What the live page shows of a step, taken from the tables of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pandas as pd

from simulation.reporting.feeder_layout import feeder_layout

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Tables = Mapping[str, pd.DataFrame]

TRADED_KWH = 1e-6
"""A trade of less than this is a rounding error of the solver. [kWh]"""


@dataclass(frozen=True, eq=False)
class Site:
    """A network on the map.

    Attributes
    ----------
    network : str
        Its name.
    source : int
        Bus of the substation.
    parent : dict of int to int
        Feeding bus of every bus but the source, in the order of the lines.
    place : dict of int to (int, int)
        Column and row of every bus, see :mod:`simulation.reporting.feeder_layout`.
    limits : dict of int to (float, float)
        Lowest and highest voltage of every bus. [p.u.]
    peers_at : dict of int to tuple of str
        Peers of every bus that has any.
    """

    network: str
    source: int
    parent: dict[int, int]
    place: dict[int, tuple[int, int]]
    limits: dict[int, tuple[float, float]]
    peers_at: dict[int, tuple[str, ...]]

    @property
    def n_rows(self) -> int:
        """Rows that the map takes."""
        rows = [row for _, row in self.place.values()]
        return max(rows) - min(rows) + 1

    def next_peer(self, bus: int, now: str | None) -> str | None:
        """Choose a peer of a bus; the one after ``now``, if that is there already."""
        here = self.peers_at.get(bus, ())
        if not here:
            return None
        return here[(here.index(now) + 1) % len(here)] if now in here else here[0]


@dataclass(frozen=True, eq=False)
class Moment:
    """One step, as rows of the tables."""

    step: int
    time: pd.Timestamp
    tables: Tables

    def of(self, table: str, network: str) -> pd.DataFrame:
        """Rows of one network."""
        rows = self.tables[table]
        return rows[rows.network == network]


class Watched(Protocol):
    """What is watched: a simulation as it goes, or a finished run."""

    @property
    def title(self) -> str:
        """Name of the scenario."""

    @property
    def n_steps(self) -> int:
        """Steps of the whole run."""

    @property
    def sites(self) -> Sequence[Site]:
        """The networks."""

    @property
    def peers(self) -> pd.DataFrame:
        """Rows of the table ``peers`` by ``peer_id``."""

    @property
    def moment(self) -> Moment | None:
        """The step that is shown; none before the first."""

    @property
    def history(self) -> pd.DataFrame:
        """Key figures of the steps so far, see :func:`key_figures`."""

    @property
    def message(self) -> str:
        """What went wrong; else empty."""

    @property
    def settings(self) -> str:
        """The settings of the market in force, in words."""

    @property
    def pending(self) -> str:
        """Those that the next clearing takes over; else empty."""

    def schedule(self, peer: str) -> tuple[str, pd.DataFrame]:
        """Say what a peer is to do in the coming steps, see :data:`SCHEDULE`, and what that is."""

    def account(self, peer: str) -> pd.Series:
        """Sum what a peer received so far, by item. [EUR]"""


SCHEDULE = ("time", "injection_kw", "bought_kw", "sold_kw", "stored_kwh")
"""Columns of a peer's schedule; what is stored is missing without a battery."""


def make_sites(tables: Tables) -> tuple[Site, ...]:
    """Lay out the networks.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        The tables ``buses``, ``lines`` and ``peers``.

    Raises
    ------
    ValueError
        If the lines of a network are no tree.
    """
    return tuple(
        _site(
            str(network),
            *(tables[t][tables[t].network == network] for t in ("buses", "lines", "peers")),
        )
        for network in tables["buses"].network.unique()
    )


def _site(network: str, buses: pd.DataFrame, lines: pd.DataFrame, peers: pd.DataFrame) -> Site:
    parent = dict(zip(lines.to_bus.tolist(), lines.from_bus.tolist(), strict=True))
    source = int(buses.bus[buses.is_source.to_numpy(dtype=bool)].iloc[0])
    at: dict[int, tuple[str, ...]] = {}
    for bus, peer in zip(peers.bus.tolist(), peers.peer_id.tolist(), strict=True):
        at[bus] = (*at.get(bus, ()), str(peer))
    limits = zip(buses.v_min_pu.tolist(), buses.v_max_pu.tolist(), strict=True)
    return Site(
        network,
        source,
        parent,
        feeder_layout(parent, source),
        dict(zip(buses.bus.tolist(), limits, strict=True)),
        at,
    )


def key_figures(tables: Tables) -> pd.DataFrame:
    """Gather the key figures of every step.

    Returns
    -------
    DataFrame
        By ``step``: ``time``; ``cost_eur``, the operational cost; ``n_violations``, limits that
        are violated; ``certified``, the largest certified violation probability of a network;
        ``within_kwh`` and ``across_kwh``, energy traded; ``price_eur_per_kwh``, its mean price,
        missing where nobody trades; ``fallback``, whether a solver failed.
    """
    steps = tables["clearing"].groupby("step")
    trades = tables["trades"]
    trades = trades[trades.energy_kwh > TRADED_KWH]
    across = trades.crosses_networks.to_numpy(dtype=bool)
    energy = trades.energy_kwh.groupby(trades.step).sum()
    paid = (trades.energy_kwh * trades.price_eur_per_kwh).groupby(trades.step).sum()
    out = pd.DataFrame(
        {
            "time": steps.time.first(),
            "cost_eur": tables["costs"].groupby("step").amount_eur.sum(),
            "n_violations": tables["violations"].groupby("step").size(),
            "certified": steps.certified_violation_probability.max(),
            "within_kwh": trades[~across].groupby("step").energy_kwh.sum(),
            "across_kwh": trades[across].groupby("step").energy_kwh.sum(),
            "price_eur_per_kwh": paid / energy,
            "fallback": steps.status.agg(lambda words: bool((words != "solved").any())),
        },
        index=pd.Index(steps.indices.keys(), name="step"),
    )
    return out.fillna({"n_violations": 0, "within_kwh": 0.0, "across_kwh": 0.0})


def flows(moment: Moment, peers: pd.DataFrame) -> pd.DataFrame:
    """Sum the trades of a step by the networks of seller and buyer.

    Returns
    -------
    DataFrame
        ``seller``, ``buyer`` (networks), ``energy_kwh``, ``n_trades`` and ``price_eur_per_kwh``,
        the mean that buyers pay, network fees left out. Trades within networks come first.
    """
    trades = moment.tables["trades"]
    trades = trades[trades.energy_kwh > TRADED_KWH]
    network = peers.network.astype(str)
    rows = pd.DataFrame(
        {
            "seller": network.reindex(trades.seller.astype(str)).to_numpy(),
            "buyer": network.reindex(trades.buyer.astype(str)).to_numpy(),
            "energy_kwh": trades.energy_kwh.to_numpy(float),
            "eur": (trades.energy_kwh * trades.price_eur_per_kwh).to_numpy(float),
        }
    )
    sums = rows.groupby(["seller", "buyer"]).agg(
        energy_kwh=("energy_kwh", "sum"), eur=("eur", "sum"), n_trades=("eur", "size")
    )
    sums["price_eur_per_kwh"] = sums.eur / sums.energy_kwh
    out = sums.drop(columns="eur").reset_index()
    return out.sort_values("seller", key=lambda s: s != out.buyer, kind="stable")


def states(moment: Moment, sites: Sequence[Site]) -> pd.DataFrame:
    """Gather the state of every network in a step.

    Returns
    -------
    DataFrame
        By network: ``from_upstream_kw`` and ``losses_kw``; ``sent_kw``, sent to other networks by
        trades between peers; ``lowest_pu`` and ``highest_pu`` voltage; ``loading_percent`` of the
        line that is loaded most; ``certified`` violation probability; ``binding``, whether a grid
        limit binds; ``n_violations``.
    """
    rows = {}
    for site in sites:
        at_source, clearing = (moment.of(t, site.network).iloc[0] for t in _ONE_ROW)
        voltage = moment.of("bus_voltage", site.network).vm_pu
        rows[site.network] = {
            "from_upstream_kw": at_source.p_kw,
            "losses_kw": at_source.losses_kw,
            "sent_kw": at_source.exchange_kw,
            "lowest_pu": voltage.min(),
            "highest_pu": voltage.max(),
            "loading_percent": moment.of("line_loading", site.network).loading_percent.max(),
            "certified": clearing.certified_violation_probability,
            "binding": bool(clearing.binding),
            "n_violations": len(moment.of("violations", site.network)),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


_ONE_ROW = ("substation", "clearing")


def violated(moment: Moment, site: Site) -> tuple[set[int], set[int]]:
    """Find buses where a limit, and lines (by the bus they feed) whose rating is violated.

    An overload of the substation, or a power flow without a solution, is at the source bus.
    """
    found = moment.of("violations", site.network)
    buses = found.element[found.kind != "over_current"]
    lines = found.element[found.kind == "over_current"]
    ends = list(site.parent)
    return set(buses.astype(int)), {ends[line] for line in lines.astype(int)}


def voltages(moment: Moment | None, site: Site) -> dict[int, float]:
    """Voltage of every bus, NaN where there is none. [p.u.]"""
    if moment is None:
        return dict.fromkeys(site.place, np.nan)
    rows = moment.of("bus_voltage", site.network)
    known = dict(zip(rows.bus.tolist(), rows.vm_pu.tolist(), strict=True))
    return {bus: known.get(bus, np.nan) for bus in site.place}


def loadings(moment: Moment | None, site: Site) -> dict[int, tuple[float, float]]:
    """Loading [%] and current [kA] of the line that feeds every bus; NaN where there is none."""
    ends = list(site.parent)
    out = dict.fromkeys(ends, (np.nan, np.nan))
    if moment is not None:
        rows = moment.of("line_loading", site.network)
        for line, load, i_ka in zip(rows.line, rows.loading_percent, rows.i_ka, strict=True):
            out[ends[line]] = (load, i_ka)
    return out
