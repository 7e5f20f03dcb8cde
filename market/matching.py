"""From pool results to a ledger of bilateral trades."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from market.roster import Roster

    Array = NDArray[np.float64]

NEGLIGIBLE_KW = 1e-6


@dataclass(frozen=True, eq=False)
class Trades:
    """Bilateral trades of one step.

    Attributes
    ----------
    seller, buyer : ndarray of int, shape (n_trades,)
        Places in the roster.
    power_kw : ndarray, shape (n_trades,)
        Traded power. [kW]
    across : ndarray of bool, shape (n_trades,)
        Whether seller and buyer are in different networks.
    """

    seller: NDArray[np.intp]
    buyer: NDArray[np.intp]
    power_kw: Array
    across: NDArray[np.bool_]


def merit_order(
    sold_kw: Array, bought_kw: Array, sell_limit: Array, buy_limit: Array, roster: Roster
) -> Trades:
    """Match sales and purchases in merit order, within each network first.

    Sellers stand in the order of their lowest prices, buyers of their highest, ties in the
    roster's order; quantities are filled from the front of both queues. What a network cannot
    match within is matched across networks the same way.

    Parameters
    ----------
    sold_kw, bought_kw : ndarray, shape (n_peers,)
        Cleared P2P sales and purchases of one step; their sums are equal. [kW]
    sell_limit, buy_limit : ndarray, shape (n_peers,)
        Limit prices. [EUR/kWh]
    roster : Roster
        The registered peers.

    Returns
    -------
    Trades
        Every peer's cleared quantities are reproduced up to ``NEGLIGIBLE_KW``.
    """
    sellers = np.argsort(sell_limit, kind="stable")
    buyers = np.argsort(-buy_limit, kind="stable")
    left_to_sell, left_to_buy = sold_kw.copy(), bought_kw.copy()
    parts = []
    for network in range(roster.n_networks):
        here = roster.network_of == network
        parts.append(_fill(sellers[here[sellers]], buyers[here[buyers]], left_to_sell, left_to_buy))
    parts.append(_fill(sellers, buyers, left_to_sell, left_to_buy))
    seller = np.concatenate([part[0] for part in parts])
    buyer = np.concatenate([part[1] for part in parts])
    power = np.concatenate([part[2] for part in parts])
    across = roster.network_of[seller] != roster.network_of[buyer]
    return Trades(seller, buyer, power, across)


def _fill(
    sellers: NDArray[np.intp], buyers: NDArray[np.intp], to_sell: Array, to_buy: Array
) -> tuple[NDArray[np.intp], NDArray[np.intp], Array]:
    """Match two queues from the front: overlaps of their cumulative quantities."""
    sellers = sellers[to_sell[sellers] > NEGLIGIBLE_KW]
    buyers = buyers[to_buy[buyers] > NEGLIGIBLE_KW]
    supply, demand = np.cumsum(to_sell[sellers]), np.cumsum(to_buy[buyers])
    total = min(supply[-1], demand[-1]) if len(sellers) and len(buyers) else 0.0
    if total <= NEGLIGIBLE_KW:
        return sellers[:0], buyers[:0], np.zeros(0)
    ends = np.unique(np.concatenate([supply[supply < total], demand[demand < total], [total]]))
    power = np.diff(ends, prepend=0.0)
    middle = ends - power / 2
    seller = sellers[np.searchsorted(supply, middle)]
    buyer = buyers[np.searchsorted(demand, middle)]
    np.subtract.at(to_sell, seller, power)
    np.subtract.at(to_buy, buyer, power)
    kept = power > NEGLIGIBLE_KW / 1e3
    return seller[kept], buyer[kept], power[kept]
