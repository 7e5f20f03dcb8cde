r"""From pool results to a ledger of bilateral trades.

The clearing says what every peer buys from and sells to the pool of peers; a matching rule says who
trades with whom. Every network first matches within itself as much as it can, the smaller of its
sales and purchases; what is left is matched across networks. Each rule is one small function with
a line in :data:`MATCHING`, reproduces every peer's cleared quantity, and knows peers by their bids
and places alone: their order and names change nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

NOTHING_KW = 1e-12
"""No trade is smaller. [kW]"""
ROUNDING = 1e-13
"""Difference of two sums of powers that is a rounding error, over the larger sum. [-]"""
PAIRS_AT_ONCE = 4096
"""How many pairs are looked through together for those that still can trade."""
USED_UP = 1e-14
"""What is left of a quantity that is used up but for rounding errors, over the quantity. [-]"""


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


@dataclass(frozen=True, eq=False)
class Orders:
    """Cleared quantities of one step; no peer both sells and buys.

    Attributes
    ----------
    sold_kw, bought_kw : ndarray, shape (n_peers,)
        Cleared sales to and purchases from peers; their sums are equal. [kW]
    sell_limit, buy_limit : ndarray, shape (n_peers,)
        Lowest selling and highest buying prices. [EUR/kWh]
    network_of : ndarray of int, shape (n_peers,)
        Each peer's network.
    distance : ndarray, shape (n_peers, n_peers)
        Electrical distance, see `grid.electrical_distance`. [ohm]
    """

    sold_kw: Array
    bought_kw: Array
    sell_limit: Array
    buy_limit: Array
    network_of: NDArray[np.intp]
    distance: Array


MatchingRule = Callable[[Orders], Trades]


@dataclass(frozen=True, eq=False)
class _Round:
    """Sellers and buyers of one round of matching; the longer side stays with a rest."""

    sold: Array
    """Left to sell, (n_sellers,). [kW]"""
    bought: Array
    """Left to buy, (n_buyers,). [kW]"""
    sell_limit: Array
    buy_limit: Array
    distance: Array
    """Between sellers and buyers, (n_sellers, n_buyers). [ohm]"""


def proportional(orders: Orders) -> Trades:
    r"""Every seller serves every buyer in proportion to both quantities.

    .. math:: x_{ij} = \frac{s_i b_j}{\max(\sum_k s_k, \sum_k b_k)}

    for the sales s and purchases b of a network, and for what is left of them across networks:
    all sellers of a network sell the same share of their energy within it.
    """
    return _within_then_across(orders, _in_proportion)


def electrical_distance(orders: Orders) -> Trades:
    """Trade between the closest pairs first, so that energy travels the least resistance.

    The closest pair that has something left to sell and to buy trades as much as it can; pairs at
    the same distance share in proportion to their quantities.
    """
    return _within_then_across(orders, lambda r: _closest_first(r.sold, r.bought, r.distance))


def merit_order(orders: Orders) -> Trades:
    """The cheapest sellers meet the buyers who bid most, price level by price level.

    Sellers stand in the order of their lowest prices, buyers of their highest; where a level of
    one side meets a level of the other, their members share the overlap in proportion to their
    quantities. Among these members the closest pairs trade first, which keeps the ledger short.
    """
    return _within_then_across(orders, _level_by_level)


MATCHING: dict[str, MatchingRule] = {
    "proportional": proportional,
    "electrical_distance": electrical_distance,
    "merit_order": merit_order,
}
"""Matching rules by name."""


def _within_then_across(orders: Orders, match: Callable[[_Round], Array]) -> Trades:
    """Match within every network, then what is left across networks."""
    seller = np.flatnonzero(orders.sold_kw > NOTHING_KW)
    buyer = np.flatnonzero(orders.bought_kw > NOTHING_KW)
    sold, bought = orders.sold_kw[seller], orders.bought_kw[buyer]
    home, away = orders.network_of[seller], orders.network_of[buyer]
    power = np.zeros((len(seller), len(buyer)))

    def trade(i: NDArray[np.intp], j: NDArray[np.intp]) -> None:
        """Match some of the sellers and buyers, and keep what is left of their quantities."""
        if not (len(i) and len(j)):
            return
        traded = match(
            _Round(
                sold[i],
                bought[j],
                orders.sell_limit[seller[i]],
                orders.buy_limit[buyer[j]],
                orders.distance[np.ix_(seller[i], buyer[j])],
            )
        )
        power[np.ix_(i, j)] = traded
        surplus, most = sold[i].sum() - bought[j].sum(), max(sold[i].sum(), bought[j].sum())
        # Of a side that is used up, and of both when they balance, only rounding errors are left.
        sold[i] = sold[i] - traded.sum(axis=1) if surplus > ROUNDING * most else 0.0
        bought[j] = bought[j] - traded.sum(axis=0) if surplus < -ROUNDING * most else 0.0

    for network in np.intersect1d(home, away):
        trade(np.flatnonzero(home == network), np.flatnonzero(away == network))
    trade(np.flatnonzero(sold > 0), np.flatnonzero(bought > 0))
    i, j = np.nonzero(power > NOTHING_KW)
    return Trades(seller[i], buyer[j], power[i, j], home[i] != away[j])


def _in_proportion(r: _Round) -> Array:
    """Spread the purchases over the sellers, (n_sellers, n_buyers). [kW]"""
    # A share of one side at most one: the product of two tiny quantities could vanish.
    return np.outer(r.sold / max(r.sold.sum(), r.bought.sum()), r.bought)


def _closest_first(sold: Array, bought: Array, distance: Array) -> Array:
    """Fill the closest pairs, round by round, (n_sellers, n_buyers). [kW]

    A round takes the closest of the pairs that still can trade, all in proportion to what their
    seller and buyer have left, until the first of these is used up.
    """
    left_to_sell, left_to_buy = sold.tolist(), bought.tolist()
    power = np.zeros_like(distance)
    for _, tied in groupby(_by_distance(distance, left_to_sell, left_to_buy), key=itemgetter(0)):
        pairs = [(i, j) for _, i, j in tied]
        while pairs := [(i, j) for i, j in pairs if left_to_sell[i] and left_to_buy[j]]:
            in_reach_of_seller: dict[int, float] = defaultdict(float)
            in_reach_of_buyer: dict[int, float] = defaultdict(float)
            for i, j in pairs:
                in_reach_of_seller[i] += left_to_buy[j]
                in_reach_of_buyer[j] += left_to_sell[i]
            most = max(*in_reach_of_seller.values(), *in_reach_of_buyer.values())
            for i, j in pairs:
                power[i, j] += left_to_sell[i] * (left_to_buy[j] / most)
            _take(left_to_sell, sold, in_reach_of_seller, most)
            _take(left_to_buy, bought, in_reach_of_buyer, most)
    return power


def _by_distance(
    distance: Array, left_to_sell: list[float], left_to_buy: list[float]
) -> Iterator[tuple[float, int, int]]:
    """Yield the distances of pairs, closest first, as long as both have something left."""
    order = distance.argsort(axis=None, kind="stable")
    for start in range(0, len(order), PAIRS_AT_ONCE):
        sellers, buyers = np.unravel_index(order[start : start + PAIRS_AT_ONCE], distance.shape)
        # Of many pairs, nearly all have nothing left long before it is their turn.
        alive = (np.array(left_to_sell)[sellers] > 0) & (np.array(left_to_buy)[buyers] > 0)
        i, j = sellers[alive], buyers[alive]
        for pair in zip(distance[i, j].tolist(), i.tolist(), j.tolist(), strict=True):
            if left_to_sell[pair[1]] and left_to_buy[pair[2]]:
                yield pair


def _take(left: list[float], whole: Array, in_reach: Mapping[int, float], most: float) -> None:
    """Reduce what the members of a round have left by what they trade in it."""
    for k, reach in in_reach.items():
        rest = left[k] * (1 - reach / most)
        left[k] = rest if rest > USED_UP * whole[k] else 0.0


def _level_by_level(r: _Round) -> Array:
    """Match the price levels of both sides from the front, (n_sellers, n_buyers). [kW]"""
    level_of_seller = np.unique(r.sell_limit, return_inverse=True)[1]
    level_of_buyer = np.unique(-r.buy_limit, return_inverse=True)[1]
    supply, demand = np.bincount(level_of_seller, r.sold), np.bincount(level_of_buyer, r.bought)
    left_to_sell, left_to_buy = supply.copy(), demand.copy()
    power = np.zeros_like(r.distance)
    level, bid = 0, 0
    while level < len(supply) and bid < len(demand):
        overlap = min(left_to_sell[level], left_to_buy[bid])
        i, j = np.flatnonzero(level_of_seller == level), np.flatnonzero(level_of_buyer == bid)
        sold, bought = r.sold[i] * (overlap / supply[level]), r.bought[j] * (overlap / demand[bid])
        if len(i) == 1 or len(j) == 1:
            power[np.ix_(i, j)] = np.outer(sold, bought / overlap)
        else:
            power[np.ix_(i, j)] = _closest_first(sold, bought, r.distance[np.ix_(i, j)])
        left_to_sell[level] -= overlap
        left_to_buy[bid] -= overlap
        level += int(left_to_sell[level] <= USED_UP * supply[level])
        bid += int(left_to_buy[bid] <= USED_UP * demand[bid])
    return power
