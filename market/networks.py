"""One market taken apart into its networks, and what they decide put together again.

Arrays of a kind (peers, owners of batteries, price groups and so on) hold the networks' entries in
the roster's order. A network's part of them has the same form with one network alone.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from market.book import BidBook
from market.parameters import LossModel, SecondStage
from market.roster import Roster

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from market.chance import ChanceRow

    Array = NDArray[np.float64]
    Index = NDArray[np.intp]

_KINDS = {
    "peer": "participates load_kw load_kvar buy_limit sell_limit",
    "renewable": "renewable_min_kw renewable_max_kw renewable_price renewable renewable_min "
    "renewable_max",
    "dispatchable": "dispatchable_max_kw dispatchable_cost dispatchable_cost_quadratic block_kw "
    "block_price dispatchable fuel dispatchable_max dispatchable_min block_costs",
    "storage": "charge_max_kw discharge_max_kw energy_min_kwh energy_max_kwh energy_kwh wear "
    "end_value charge discharge energy storage_dynamics charge_min discharge_min discharge_max "
    "charge_max energy_min energy_max energy_floor_kwh energy_ceiling_kwh energy_floor "
    "energy_ceiling",
    "flexible": "flexible_baseline_kw curtailable_share willingness_to_pay served_max_kw "
    "backlog_kwh backlog_max_kwh deferral_price backlog_end_price curtailed deferred backlog "
    "backlog_dynamics backlog_min backlog_max curtailed_min curtailed_max served_min served_max",
    "reactive": "q_max_kvar reactive reactive_max reactive_min",
    "recourse": "recourse_up recourse_down recourse_capacity recourse_max_kw alpha alpha_min",
    "active": "exports imports_min exports_min",
    "group": "bought sold bought_min sold_min bought_max sold_max no_trade",
    "network": "exchange_out exchange_in alpha_upstream surplus_cost shortage_cost steepest_cost "
    "violation pool_balance exchange_out_min exchange_in_min no_exchange alpha_upstream_min "
    "recourse_shares surplus_cost shortage_cost steepest_surplus steepest_surplus_gain "
    "steepest_shortage steepest_shortage_gain violation_min",
    "limited": "exchange_out_max exchange_in_max",
}
KIND_OF = {name: kind for kind, names in _KINDS.items() for name in names.split()}
"""What the columns of a bid array, a variable or a dual belong to."""
_BY_OWNER = frozenset({"block_kw", "block_price"})
"""Arrays of the book that have their owners along the first of two axes."""


@dataclass(frozen=True, eq=False)
class Part:
    """One network of a market.

    Attributes
    ----------
    roster : Roster
        The network's peers alone.
    groups : ndarray of int, shape (n_members,)
        Their price groups, counted within the network.
    columns : dict of str to ndarray of int
        Where the network's entries stand among those of every kind.
    network : int
        Its place among the networks.
    """

    roster: Roster
    groups: Index
    columns: dict[str, Index]
    network: int

    def book(self, book: BidBook) -> BidBook:
        """Bids of the network's peers."""

        def own(name: str) -> Any:
            value, columns = getattr(book, name), self.columns[KIND_OF[name]]
            return np.take(value, columns, axis=0 if name in _BY_OWNER else -1)

        return BidBook(**{field.name: own(field.name) for field in fields(BidBook)})

    def second(self, second: SecondStage) -> SecondStage:
        """What the network has to know of its own uncertainty."""
        own = [self.network]
        return SecondStage(**{f.name: getattr(second, f.name)[:, own] for f in fields(second)})

    def losses(self, losses: LossModel) -> LossModel:
        """Losses of the network."""
        members = self.columns["peer"]
        return LossModel(
            losses.constant_kw[:, [self.network]],
            losses.d_p[:, members],
            losses.d_q[:, members],
            losses.q_centre_kvar[:, members],
        )

    def rows(self, rows: Sequence[ChanceRow]) -> list[ChanceRow]:
        """Chance constraints of the network."""
        return [replace(row, network=0) for row in rows if row.network == self.network]


def networks_of_kinds(roster: Roster, groups: Index, limited: Index) -> dict[str, Index]:
    """Network of every entry of a kind, see :func:`take_apart`."""
    owners = {
        "peer": np.arange(roster.n_peers),
        "renewable": roster.renewable,
        "dispatchable": roster.dispatchable,
        "storage": roster.storage,
        "flexible": roster.flexible,
        "reactive": roster.reactive,
        "recourse": roster.recourse,
        "active": roster.active,
        "group": np.unique(groups, return_index=True)[1],
    }
    networks = {kind: roster.network_of[own] for kind, own in owners.items()}
    return networks | {"network": np.arange(roster.n_networks), "limited": limited}


def take_apart(roster: Roster, groups: Index, limited: Index) -> list[Part]:
    """Take a market apart.

    Parameters
    ----------
    roster : Roster
        The registered peers.
    groups : ndarray of int, shape (n_peers,)
        Price group of every peer; nobody shares one with a peer of another network.
    limited : ndarray of int
        Networks whose exchange is limited.
    """
    networks = networks_of_kinds(roster, groups, limited)
    parts = []
    for d in range(roster.n_networks):
        members = roster.members(d)
        alone = Roster(
            peer_id=tuple(roster.peer_id[k] for k in members),
            network=(roster.network[d],),
            network_of=np.zeros(len(members), dtype=np.intp),
            rating=tuple(roster.rating[k] for k in members),
            n_steps=roster.n_steps,
            step_hours=roster.step_hours,
        )
        local = np.unique(groups[members], return_inverse=True)[1]
        columns = {kind: np.flatnonzero(of == d) for kind, of in networks.items()}
        parts.append(Part(alone, local, columns, d))
    return parts


def put_together(
    parts: Sequence[Part], of_parts: Sequence[Mapping[str, Array]]
) -> dict[str, Array]:
    """Put the networks' variables, or their duals, together.

    Parameters
    ----------
    parts : sequence of Part
        All networks.
    of_parts : sequence of mapping of str to ndarray
        Theirs: arrays with steps along the first axis; along the second stand the entries of a
        kind, once or several times over (signals, price blocks).
    """
    out: dict[str, Array] = {}
    sizes = {kind: sum(len(part.columns[kind]) for part in parts) for kind in parts[0].columns}
    for name in dict.fromkeys(name for of_part in of_parts for name in of_part):
        kind = KIND_OF[name]
        arrays = [
            (part.columns[kind], of_part[name])
            for part, of_part in zip(parts, of_parts, strict=True)
            if name in of_part
        ]
        repeats = max(
            (array.shape[1] // len(columns) for columns, array in arrays if len(columns)), default=1
        )
        whole = np.zeros((len(arrays[0][1]), repeats * sizes[kind]))
        for columns, array in arrays:
            places = columns + sizes[kind] * np.arange(repeats)[:, None]
            whole[:, places.ravel()] = array
        out[name] = whole
    return out
