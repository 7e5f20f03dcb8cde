"""The bids of one window, stacked into arrays in the roster's order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from market.bids import Bid
    from market.roster import Roster

    Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TariffWindow:
    """The supplier's published prices over the window, shape (n_steps,) each. [EUR/kWh]"""

    retail: Array
    """Supplier's selling price."""
    feed_in: Array
    """Supplier's buying price."""
    loss: Array
    """Price of network losses."""
    imbalance_buy: Array
    """Price of a shortage."""
    imbalance_sell: Array
    """Price of a surplus."""


@dataclass(frozen=True, eq=False)
class BidBook:
    """Bids as arrays; per device kind the columns are the roster's owners of that kind.

    A peer without a valid bid stays on its retail contract: its renewable plant feeds in
    whatever is available, its other devices rest, and it does not trade with peers.
    """

    participates: NDArray[np.bool_]
    """Whether each peer may trade, shape (n_peers,)."""
    load_kw: Array
    """Must-serve load, shape (n_steps, n_peers)."""
    load_kvar: Array
    """Reactive load, shape (n_steps, n_peers)."""
    buy_limit: Array
    """Highest buying price, shape (n_steps, n_peers); minus infinity: buys from no peer. [EUR/kWh]
    """
    sell_limit: Array
    """Lowest selling price, shape (n_steps, n_peers); infinity: sells to no peer. [EUR/kWh]"""
    q_max_kvar: Array
    renewable_min_kw: Array
    renewable_max_kw: Array
    renewable_price: Array
    dispatchable_max_kw: Array
    dispatchable_cost: Array
    dispatchable_cost_quadratic: Array
    block_kw: Array
    block_price: Array
    """Price blocks of the dispatchable units, (n_dispatchable, n_blocks). [kW, EUR/kWh]"""
    charge_max_kw: Array
    discharge_max_kw: Array
    energy_min_kwh: Array
    energy_max_kwh: Array
    energy_floor_kwh: Array
    energy_ceiling_kwh: Array
    """Range of the scheduled energy at the end of every step, (n_steps, n_storage)."""
    energy_kwh: Array
    wear: Array
    end_value: Array
    flexible_baseline_kw: Array
    curtailable_share: Array
    willingness_to_pay: Array
    served_max_kw: Array
    backlog_kwh: Array
    backlog_max_kwh: Array
    deferral_price: Array
    backlog_end_price: Array
    recourse_up: Array
    recourse_down: Array
    recourse_capacity: Array
    recourse_max_kw: Array
    """Range of each recourse device, shape (n_recourse,). [kW]"""

    def reported_load(self, step: int, roster: Roster) -> tuple[Array, Array]:
        """Must-serve and flexible load of every peer in one step as bid, (n_peers,) each. [kW]"""
        flexible = np.zeros(roster.n_peers)
        flexible[roster.flexible] = self.flexible_baseline_kw[step]
        return self.load_kw[step], flexible

    @property
    def fixed_kw(self) -> Array:
        """Injection that is no decision: minus the must-serve load, (n_steps, n_peers). [kW]"""
        return -self.load_kw

    @property
    def may_buy(self) -> NDArray[np.bool_]:
        """Whether each peer may buy from peers, shape (n_steps, n_peers)."""
        return self.participates & (self.buy_limit > -np.inf)

    @property
    def may_sell(self) -> NDArray[np.bool_]:
        """Whether each peer may sell to peers, shape (n_steps, n_peers)."""
        return self.participates & (self.sell_limit < np.inf)


def stack(
    bids: Mapping[str, Bid], retail: Mapping[str, Bid], roster: Roster, n_blocks: int = 0
) -> BidBook:
    """Stack bids into a book.

    Parameters
    ----------
    bids : mapping of str to Bid
        Valid bids by peer.
    retail : mapping of str to Bid
        What the network operator expects of every other peer: load and renewable power only.
    roster : Roster
        The registered peers.
    n_blocks : int
        Largest number of price blocks of an offer; zero where units bid cost curves.
    """
    participates = np.array([peer in bids for peer in roster.peer_id])
    everyone = [bids.get(peer) or retail[peer] for peer in roster.peer_id]
    n_steps = roster.n_steps

    def column(owners: NDArray[np.intp], offer: str, attribute: str, default: float) -> Array:
        found = (getattr(everyone[k], offer) for k in owners)
        return np.array(
            [default if o is None else getattr(o, attribute) for o in found], dtype=float
        )

    def series(owners: NDArray[np.intp], offer: str, attribute: str) -> Array:
        out = np.zeros((n_steps, len(owners)))
        for j, k in enumerate(owners):
            found = getattr(everyone[k], offer)
            if found is not None:
                out[:, j] = getattr(found, attribute)
        return out

    def blocks(attribute: str, beyond: Literal["edge", "constant"]) -> Array:
        """Fill up with empty blocks at the last price."""
        out = np.zeros((len(roster.dispatchable), n_blocks))
        for row, k in zip(out, roster.dispatchable, strict=True):
            offer = everyone[k].dispatchable
            if offer is not None and offer.blocks is not None:
                given = getattr(offer.blocks, attribute)
                row[:] = np.pad(given.astype(float), (0, n_blocks - len(given)), mode=beyond)
        return out

    ren, dg, sto, flex = roster.renewable, roster.dispatchable, roster.storage, roster.flexible
    renewable_max = series(ren, "renewable", "available_kw")
    dg_max = column(dg, "dispatchable", "p_max_kw", 0.0)
    charge_max = column(sto, "storage", "charge_max_kw", 0.0)
    discharge_max = column(sto, "storage", "discharge_max_kw", 0.0)
    energy_min = column(sto, "storage", "energy_min_kwh", 0.0)
    energy_max = column(sto, "storage", "energy_max_kwh", 0.0)
    offers_recourse = np.array([everyone[k].recourse is not None for k in roster.recourse])
    recourse_range = np.concatenate([charge_max + discharge_max, dg_max])
    return BidBook(
        participates=participates,
        load_kw=np.array([bid.load_kw for bid in everyone], dtype=float).T,
        load_kvar=np.array([bid.load_kvar for bid in everyone], dtype=float).T,
        buy_limit=np.array([bid.buy_limit_eur_per_kwh for bid in everyone], dtype=float).T,
        sell_limit=np.array([bid.sell_limit_eur_per_kwh for bid in everyone], dtype=float).T,
        q_max_kvar=np.array([everyone[k].q_max_kvar for k in roster.reactive], dtype=float),
        renewable_min_kw=np.where(participates[ren], 0.0, renewable_max),
        renewable_max_kw=renewable_max,
        renewable_price=column(ren, "renewable", "price_eur_per_kwh", 0.0),
        dispatchable_max_kw=dg_max,
        dispatchable_cost=column(dg, "dispatchable", "cost_eur_per_kwh", 0.0),
        dispatchable_cost_quadratic=column(dg, "dispatchable", "cost_eur_per_kw2h", 0.0),
        block_kw=blocks("quantity_kw", "constant"),
        block_price=blocks("price_eur_per_kwh", "edge"),
        charge_max_kw=charge_max,
        discharge_max_kw=discharge_max,
        energy_min_kwh=energy_min,
        energy_max_kwh=energy_max,
        energy_floor_kwh=np.tile(energy_min, (n_steps, 1)),
        energy_ceiling_kwh=np.tile(energy_max, (n_steps, 1)),
        energy_kwh=column(sto, "storage", "energy_kwh", 0.0),
        wear=column(sto, "storage", "wear_eur_per_kwh", 0.0),
        end_value=column(sto, "storage", "end_value_eur_per_kwh", 0.0),
        flexible_baseline_kw=series(flex, "flexible", "baseline_kw"),
        curtailable_share=column(flex, "flexible", "curtailable_share", 0.0),
        willingness_to_pay=column(flex, "flexible", "willingness_to_pay_eur_per_kwh", 0.0),
        served_max_kw=column(flex, "flexible", "served_max_kw", 0.0),
        backlog_kwh=column(flex, "flexible", "backlog_kwh", 0.0),
        backlog_max_kwh=column(flex, "flexible", "backlog_max_kwh", 0.0),
        deferral_price=column(flex, "flexible", "deferral_eur_per_kwh_h", 0.0),
        backlog_end_price=column(flex, "flexible", "end_price_eur_per_kwh", 0.0),
        recourse_up=column(roster.recourse, "recourse", "up_eur_per_kwh", 0.0),
        recourse_down=column(roster.recourse, "recourse", "down_eur_per_kwh", 0.0),
        recourse_capacity=column(roster.recourse, "recourse", "capacity_eur_per_kw_h", 0.0),
        recourse_max_kw=np.where(offers_recourse, recourse_range, 0.0),
    )
