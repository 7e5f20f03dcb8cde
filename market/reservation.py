r"""What a seller's energy has to earn at least.

A peer's limit price says what it asks for trading with peers rather than with its supplier. What
its dispatchable unit costs stands in the unit's own offer, which the clearing weighs separately. A
price has to cover both: the peer's reservation price is the larger of its limit and of the price
at which the last kWh of its running unit is offered. The pool pays that wherever the unit runs
because energy is worth it,

.. math:: \max(\underline\pi_j, \min(c_j'(p_j), \lambda_d)) ,

with :math:`\lambda_d` the price of the network's pool. What a unit costs beyond that it runs for
the grid's sake, which only nodal prices pay for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from market.book import BidBook
    from market.roster import Roster

    Array = NDArray[np.float64]

RUNNING_KW = 1e-3
"""A unit that gives less than this, the solver's accuracy, does not run. [kW]"""


def reservation_price(
    book: BidBook, step: int, dispatchable_kw: Array, pool_price: Array, roster: Roster
) -> Array:
    """Lowest price at which every peer sells in one step.

    Parameters
    ----------
    book : BidBook
        The bids.
    step : int
        Step of the window.
    dispatchable_kw : ndarray, shape (n_dispatchable,)
        Scheduled power of the units. [kW]
    pool_price : ndarray, shape (n_networks,)
        Price of each network's pool; NaN where there is none. [EUR/kWh]
    roster : Roster
        The registered peers.

    Returns
    -------
    ndarray, shape (n_peers,)
        At least the limit price. [EUR/kWh]
    """
    limit = book.sell_limit[step]
    offered = np.full(roster.n_peers, -np.inf)
    running = dispatchable_kw > RUNNING_KW
    offered[roster.dispatchable[running]] = last_price(book, dispatchable_kw)[running]
    # Where there is no pool price nobody trades.
    return np.fmax(limit, np.minimum(offered, pool_price[roster.network_of]))


def last_price(book: BidBook, dispatchable_kw: Array) -> Array:
    """Offered price of the last kWh of every unit, (n_dispatchable,). [EUR/kWh]"""
    curve: Array = book.dispatchable_cost + 2 * book.dispatchable_cost_quadratic * dispatchable_kw
    if not book.block_price.shape[1]:
        return curve
    filled = np.cumsum(book.block_kw, axis=1) < (dispatchable_kw - RUNNING_KW)[:, None]
    last = np.minimum(filled.sum(axis=1), book.block_price.shape[1] - 1)
    return np.asarray(book.block_price[np.arange(len(last)), last])
