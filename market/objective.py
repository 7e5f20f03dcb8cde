"""Cost of the window, by component.

The components of ``costs`` and, besides them, what only the clearing reckons with: premiums that
bids ask, the worth of stored energy at the end, a damping of reactive power, and limits missed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cvxpy as cp

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from market.parameters import Parameters
    from market.roster import Roster
    from market.variables import Variables


def _column_sums(matrix: cp.Expression) -> cp.Expression:
    return cp.sum(matrix, axis=0)


def _dot(prices: cp.Expression, amounts: cp.Expression) -> cp.Expression:
    """Sum of the entries' products.

    Written out as a product of two vectors: CVXPY compiles elementwise products of parameters and
    variables in a time and memory that grow with the square of their entries.
    """
    return cp.vec(prices, order="F") @ cp.vec(amounts, order="F")


def upstream_energy(v: Variables, p: Parameters, controlled_kw: cp.Expression) -> cp.Expression:
    """Energy bought from and sold to the supplier at its prices.

    Peers' purchases are their exports less their injections; the part that no decision changes
    stands in ``constant_cost``.
    """
    bought = cp.sum(p.retail @ (v.exports - controlled_kw)) - cp.sum(p.retail @ v.bought)
    sold = cp.sum(p.feed_in @ v.exports) - cp.sum(p.feed_in @ v.sold)
    return bought - sold


def bid_premiums(v: Variables, p: Parameters) -> cp.Expression:
    """What limit prices ask beyond the supplier's prices: nothing for truthful peers."""
    premium = _dot(p.buy_premium, v.bought) + _dot(p.sell_premium, v.sold)
    return premium + p.renewable_price @ _column_sums(v.renewable)


def dispatchable_fuel(v: Variables, p: Parameters) -> cp.Expression:
    """Linear part of the cost of dispatchable units; see :func:`squares` for the other."""
    return p.dispatchable_cost @ _column_sums(v.dispatchable)


def block_fuel(v: Variables) -> cp.Expression:
    """Cost of dispatchable units that offer price blocks."""
    return cp.sum(v.fuel)


def storage_wear(v: Variables, p: Parameters) -> cp.Expression:
    """Wear per kWh charged and discharged."""
    return p.wear @ _column_sums(v.charge + v.discharge)


def stored_value(v: Variables, p: Parameters, roster: Roster) -> cp.Expression:
    """Worth of the energy left in the batteries, at the window's end (a gain)."""
    return -p.end_value @ v.energy[-1] / roster.step_hours


def flexible_discomfort(v: Variables, p: Parameters, roster: Roster) -> cp.Expression:
    """Discomfort of dropped and of waiting load, and what is still owed at the end."""
    dropped = p.willingness_to_pay @ _column_sums(v.curtailed)
    waiting = p.deferral_price @ _column_sums(v.backlog)
    return dropped + waiting + p.backlog_end_price @ v.backlog[-1] / roster.step_hours


def network_fees(v: Variables, fee_within: float, fee_across: float) -> cp.Expression:
    """Fees on purchases from peers, more when they come from another network."""
    return fee_within * cp.sum(v.bought) + fee_across * cp.sum(v.exchange_in)


def losses(v: Variables, p: Parameters, controlled_kw: cp.Expression) -> cp.Expression:
    """Losses at the loss price, to first order around the operating point.

    The part due to fixed injections stands in ``constant_cost``.
    """
    return _dot(p.loss_price_p, controlled_kw) + _dot(p.loss_price_q, v.reactive)


def squares(
    p: Parameters, damping: NDArray[np.float64], *, blocks: bool
) -> dict[str, cp.Expression | NDArray[np.float64]]:
    """Weights of the squares of variables, one weight a device.

    The quadratic cost of dispatchable units, unless they offer price blocks, and a damping of
    reactive power that makes the linearised losses an upper bound round their centre; the linear
    part of its square stands in ``loss_price_q``.
    """
    fuel = {} if blocks else {"dispatchable": p.dispatchable_cost_quadratic}
    return {**fuel, "reactive": damping}


def quadratic_cost(
    v: Variables, weights: Mapping[str, cp.Expression | NDArray[np.float64]]
) -> cp.Expression:
    """Weighted squares of variables."""
    return sum(
        (weight @ _column_sums(cp.square(getattr(v, name))) for name, weight in weights.items()),
        start=cp.Constant(0.0),
    )


def recourse_capacity(v: Variables, p: Parameters) -> cp.Expression:
    """Payment for power kept ready."""
    return _dot(p.capacity_cost, v.alpha)


def worst_case_second_stage(v: Variables, p: Parameters) -> cp.Expression:
    r"""Largest expected second-stage cost over the Wasserstein ball.

    The cost is convex and piecewise linear in the scalar error, so its worst case over a type-1
    ball is the sample mean plus radius times standard deviation times the largest absolute
    slope (Mohajerin Esfahani and Kuhn, Math. Program. 171, 2018, doi:10.1007/s10107-017-1172-1).
    """
    return (
        _dot(p.expected_surplus_kw, v.surplus_cost)
        + _dot(p.expected_shortage_kw, v.shortage_cost)
        + _dot(p.transport_kw, v.steepest_cost)
    )
