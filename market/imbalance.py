r"""What a peer pays for departing from its schedule.

The *error* of a peer is everything by which it departs from its schedule before any recourse: of
its plant, of its load, and of flexible load that cannot follow. The errors of a pool's peers add up
to :math:`\Omega`, a surplus where it is positive. Each peer's error is priced

- ``one_sided``: at the supplier's price for the sign of :math:`\Omega`, so that an error against it
  earns what the others pay;
- ``two_sided``: at the price for the sign of the error itself;
- ``marginal``: at what the last unit of the answer costs, be it a device or the upstream grid: the
  dearest additional kWh where :math:`\Omega` is short, and the least a surplus kWh was worth where
  it is long.

What is left after recourse plays no part: it is next to nothing, and its sign is chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from market.recourse import network_errors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from market.costs import Flows, StepPrices
    from market.roster import Roster

    Array = NDArray[np.float64]

Pricing = Literal["one_sided", "two_sided", "marginal"]

ANSWERED_KW = 1e-6
"""A device or the upstream grid that changes by no more than this has not answered. [kW]"""


@dataclass(frozen=True, eq=False)
class Recourse:
    """Recourse of one step, per recourse device."""

    delivered_kw: Array
    """Change of injection against the schedule. [kW]"""
    up_price: Array
    """Offered price of additional injection. [EUR/kWh]"""
    down_price: Array
    """Offered price of reduced injection. [EUR/kWh]"""


def imbalance_prices(
    pricing: Pricing,
    error_kw: Array,
    flows: Flows,
    recourse: Recourse,
    prices: StepPrices,
    *,
    roster: Roster,
) -> Array:
    """Price every peer's error.

    Parameters
    ----------
    pricing : {"one_sided", "two_sided", "marginal"}
        The rule.
    error_kw : ndarray, shape (n_peers,)
        Departures from the schedule before recourse; a surplus is positive. [kW]
    flows : Flows
        Its pools, and what is left of the errors.
    recourse : Recourse
        What the devices delivered, and at which prices.
    prices : StepPrices
        The supplier's prices.
    roster : Roster
        The registered peers.

    Returns
    -------
    ndarray, shape (n_peers,)
        What a kWh of surplus earns, and of shortage costs. [EUR/kWh]
    """
    if pricing == "two_sided":
        return np.where(error_kw < 0, prices.imbalance_buy, prices.imbalance_sell)
    omega = np.bincount(flows.pool_of, network_errors(error_kw, roster))
    of_pool = np.where(omega < 0, prices.imbalance_buy, prices.imbalance_sell)
    if pricing == "marginal":
        left = np.bincount(flows.pool_of, flows.deviation_kw)
        device_pool = flows.pool_of[roster.network_of[roster.recourse]]
        for pool, total in enumerate(omega.tolist()):
            own = device_pool == pool
            of_pool[pool] = _last_answer(total, float(left[pool]), recourse, own, prices)
    peer_price: Array = of_pool[flows.pool_of[roster.network_of]]
    return peer_price


def _last_answer(
    omega_kw: float,
    left_kw: float,
    recourse: Recourse,
    own: NDArray[np.bool_],
    prices: StepPrices,
) -> float:
    """Cost of the last unit that answered the error of one pool. [EUR/kWh]"""
    delivered = recourse.delivered_kw
    if omega_kw < 0:
        asked = recourse.up_price[own & (delivered > ANSWERED_KW)].tolist()
        asked += [prices.imbalance_buy] if left_kw < -ANSWERED_KW or not asked else []
        return float(max(asked))
    # Who takes a surplus kWh in at a price of -c is worth c to those who have it.
    worth = (-recourse.down_price[own & (delivered < -ANSWERED_KW)]).tolist()
    worth += [prices.imbalance_sell] if left_kw > ANSWERED_KW or not worth else []
    return float(min(worth))
