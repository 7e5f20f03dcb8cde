"""The outcome of a clearing in the roster's order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from market.book import BidBook
    from market.constraints import Coordination
    from market.roster import Roster

    Array = NDArray[np.float64]
    Quantities = NDArray[Any]
    """Real or complex."""


WITHHELD_KW = 1e-3
"""A plant held back by less than this, the solver's accuracy, is not held back. [kW]"""


@dataclass(frozen=True, eq=False)
class Schedule:
    """First-stage decisions over the window, shape (n_steps, number of owners) each.

    Power in kW and kvar, energy in kWh.
    """

    p_kw: Array
    """Net injection of every peer, (n_steps, n_peers)."""
    q_kvar: Array
    """Net reactive injection of every peer, load included, (n_steps, n_peers)."""
    imports: Array
    """Net purchases of every peer, (n_steps, n_peers)."""
    exports: Array
    """Net sales of every peer, (n_steps, n_peers)."""
    bought: Array
    """Purchases from peers, (n_steps, n_peers)."""
    sold: Array
    """Sales to peers, (n_steps, n_peers)."""
    exchange: Array
    """P2P energy sent to other networks, net, (n_steps, n_networks)."""
    renewable: Array
    cap_kw: Array
    """Power that renewable plants must not exceed, infinite where they need not care."""
    dispatchable: Array
    charge: Array
    discharge: Array
    energy: Array
    curtailed: Array
    deferred: Array
    backlog: Array
    reactive: Array
    alpha: Array
    """Recourse shares of the devices, (n_steps, n_signals, n_recourse)."""
    violation: Array
    """How far the grid constraints are missed, (n_steps, n_networks). [p.u.]"""

    def gain(self, roster: Roster, network: int, step: int, d_p: Quantities) -> Quantities:
        """Effect of a kW of each signal on quantities of a network by their sensitivities.

        Parameters
        ----------
        roster : Roster
            The registered peers.
        network, step : int
            Where the quantities belong.
        d_p : ndarray, shape (n_quantities, n_members)
            Sensitivities, real or complex. [per kW]

        Returns
        -------
        ndarray, shape (n_quantities, n_signals)
            What the recourse takes off each per kW of each signal. [per kW]
        """
        members = roster.members(network)
        devices = np.flatnonzero(roster.network_of[roster.recourse] == network)
        owner = np.searchsorted(members, roster.recourse[devices])
        return d_p[:, owner] @ self.alpha[step][:, devices].T

    def without_trades(self) -> Schedule:
        """Devices do the same, but all energy comes from and goes to the supplier."""
        none = np.zeros_like(self.bought)
        return replace(self, bought=none, sold=none, exchange=np.zeros_like(self.exchange))


def fixed_injection(book: BidBook, roster: Roster) -> Array:
    """Injection of every peer when all devices rest, (n_steps, n_peers). [kW]"""
    fixed = book.fixed_kw.copy()
    fixed[:, roster.flexible] -= book.flexible_baseline_kw
    return fixed


def from_decisions(
    values: Mapping[str, Array],
    book: BidBook,
    roster: Roster,
    groups: NDArray[np.intp],
    *,
    coordination: Coordination,
    n_signals: int,
) -> Schedule:
    """Turn the variables' values into a schedule for every peer.

    Rounding errors of the solver are removed: powers are clipped to their bounds, and trades of
    a price group are split among its members in proportion to what they import and export.
    """
    top = book.flexible_baseline_kw
    renewable = np.clip(values["renewable"], book.renewable_min_kw, book.renewable_max_kw)
    whole = book.renewable_max_kw - renewable < WITHHELD_KW
    device = {
        "renewable": np.where(whole, book.renewable_max_kw, renewable),
        "dispatchable": np.clip(values["dispatchable"], 0, book.dispatchable_max_kw),
        "charge": np.clip(values["charge"], 0, book.charge_max_kw),
        "discharge": np.clip(values["discharge"], 0, book.discharge_max_kw),
        "energy": np.clip(values["energy"], book.energy_min_kwh, book.energy_max_kwh),
        "curtailed": np.clip(values["curtailed"], 0, top * book.curtailable_share),
        "backlog": np.clip(values["backlog"], 0, book.backlog_max_kwh),
        "reactive": np.clip(values["reactive"], -book.q_max_kvar, book.q_max_kvar),
        "alpha": np.clip(values["alpha"], 0, 1).reshape(
            roster.n_steps, n_signals, len(roster.recourse)
        ),
    }
    served = np.clip(top - device["curtailed"] - values["deferred"], 0, book.served_max_kw)
    device["deferred"] = top - device["curtailed"] - served
    p_kw = fixed_injection(book, roster)
    p_kw[:, roster.renewable] += device["renewable"]
    p_kw[:, roster.dispatchable] += device["dispatchable"]
    p_kw[:, roster.storage] += device["discharge"] - device["charge"]
    p_kw[:, roster.flexible] += device["curtailed"] + device["deferred"]
    imports, exports = np.maximum(-p_kw, 0), np.maximum(p_kw, 0)
    bought = _split(values["bought"], imports * book.may_buy, groups)
    sold = _split(values["sold"], exports * book.may_sell, groups)
    return Schedule(
        p_kw=p_kw,
        q_kvar=_reactive(device["reactive"], book, roster),
        imports=imports,
        exports=exports,
        **_balanced(bought, sold, roster, coordination),
        **device,
        cap_kw=np.full_like(renewable, np.inf),
        violation=np.maximum(values["violation"], 0) / 1000,
    )


def supplier_only(book: BidBook, roster: Roster, n_signals: int) -> Schedule:
    """Schedule every peer on its retail contract: devices rest, nobody trades; always feasible.

    Parameters
    ----------
    book : BidBook
        The bids.
    roster : Roster
        The registered peers.
    n_signals : int
        Signals that the recourse policy distinguishes; nobody answers any.
    """
    t = roster.n_steps

    def none(owners: NDArray[np.intp]) -> Array:
        return np.zeros((t, len(owners)))

    p_kw = fixed_injection(book, roster)
    p_kw[:, roster.renewable] += book.renewable_max_kw
    idle = np.zeros((t, roster.n_peers))
    networks = np.zeros((t, roster.n_networks))
    return Schedule(
        p_kw=p_kw,
        q_kvar=-book.load_kvar,
        imports=np.maximum(-p_kw, 0),
        exports=np.maximum(p_kw, 0),
        bought=idle,
        sold=idle,
        exchange=networks,
        renewable=book.renewable_max_kw,
        cap_kw=np.full_like(book.renewable_max_kw, np.inf),
        dispatchable=none(roster.dispatchable),
        charge=none(roster.storage),
        discharge=none(roster.storage),
        energy=np.tile(book.energy_kwh, (t, 1)),
        curtailed=none(roster.flexible),
        deferred=none(roster.flexible),
        backlog=np.tile(book.backlog_kwh, (t, 1)),
        reactive=none(roster.reactive),
        alpha=np.zeros((t, n_signals, len(roster.recourse))),
        violation=networks,
    )


def _reactive(reactive: Array, book: BidBook, roster: Roster) -> Array:
    q_kvar = -book.load_kvar
    q_kvar[:, roster.reactive] += reactive
    return q_kvar


_NOTHING_KW = 1e-12
"""A capacity this small is none: nothing is divided by it. [kW]"""


def _split(per_group: Array, capacity: Array, groups: NDArray[np.intp]) -> Array:
    """Split the trades of each group among its members in proportion to their capacity."""
    total = np.zeros_like(per_group)
    np.add.at(total.T, groups, capacity.T)
    share = np.clip(per_group / np.where(total > _NOTHING_KW, total, 1), 0, 1)
    return capacity * share[:, groups]


def _balanced(
    bought: Array, sold: Array, roster: Roster, coordination: Coordination
) -> dict[str, Array]:
    """Scale trades so that purchases equal sales exactly in every pool; derive the exchange."""
    pools = {
        "none": np.zeros((roster.n_peers, 0)),
        "within_network": np.eye(roster.n_networks)[roster.network_of],
        "across_networks": np.ones((roster.n_peers, 1)),
    }[coordination]
    total = np.minimum(bought @ pools, sold @ pools)

    def scaled(kw: Array) -> Array:
        whole = kw @ pools
        share = np.divide(total, whole, out=np.zeros_like(whole), where=whole > 0)
        return kw * (share @ pools.T)

    bought, sold = scaled(bought), scaled(sold)
    net = np.zeros((len(bought), roster.n_networks))
    if coordination == "across_networks":
        np.add.at(net.T, roster.network_of, (sold - bought).T)
    return {"bought": bought, "sold": sold, "exchange": net}
