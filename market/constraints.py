"""Constraints of the first stage, one statement a function; grid limits are in ``chance``.

Every function returns labelled constraints; their duals are found by label.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import cvxpy as cp
import numpy as np
from scipy import sparse

from market.roster import indicator

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from market.parameters import Parameters
    from market.recourse import RecoursePolicy
    from market.roster import Roster
    from market.variables import Variables

Coordination = Literal["none", "within_network", "across_networks"]


def _tile(row: cp.Expression, n_steps: int) -> cp.Expression:
    """Repeat a row for every step."""
    return np.ones((n_steps, 1)) @ cp.reshape(row, (1, row.size), order="C")


def _labelled(**constraints: cp.Constraint) -> list[cp.Constraint]:
    return [constraint.set_label(label) for label, constraint in constraints.items()]


def controlled_injection(v: Variables, roster: Roster) -> cp.Expression:
    """Injection by decision of the active peers, shape (n_steps, n_active). [kW]"""
    return (
        v.renewable @ roster.to_active(roster.renewable)
        + v.dispatchable @ roster.to_active(roster.dispatchable)
        + (v.discharge - v.charge) @ roster.to_active(roster.storage)
        + (v.curtailed + v.deferred) @ roster.to_active(roster.flexible)
    )


def imports(v: Variables, p: Parameters, roster: Roster) -> cp.Expression:
    """Net purchases of the active peers, from anyone, shape (n_steps, n_active). [kW]

    What a peer injects it sells, what it draws it buys: no variable of their own is needed.
    """
    return v.exports - p.fixed_kw - controlled_injection(v, roster)


def peer_balance(v: Variables, p: Parameters, roster: Roster) -> list[cp.Constraint]:
    """Peers import and export, neither less than nothing."""
    return _labelled(imports_min=imports(v, p, roster) >= 0, exports_min=v.exports >= 0)


def peer_to_peer(
    v: Variables, p: Parameters, roster: Roster, groups: NDArray[np.intp]
) -> list[cp.Constraint]:
    """Trades between peers stay within their net purchases and sales."""
    to_group = indicator(groups[roster.active], int(groups.max()) + 1)
    drawn = imports(v, p, roster) @ to_group + p.idle_import_kw - p.barred_import_kw
    return _labelled(
        bought_min=v.bought >= 0,
        sold_min=v.sold >= 0,
        bought_max=v.bought <= drawn,
        sold_max=v.sold <= v.exports @ to_group - p.barred_export_kw,
    )


def pool_balance(
    v: Variables, roster: Roster, groups: NDArray[np.intp], coordination: Coordination
) -> list[cp.Constraint]:
    """Sales cover purchases within each network and, if allowed, across networks."""
    group_network = roster.network_of[np.unique(groups, return_index=True)[1]]
    to_network = indicator(group_network, roster.n_networks)
    out = _labelled(
        pool_balance=(v.sold - v.bought) @ to_network == v.exchange_out - v.exchange_in,
        exchange_out_min=v.exchange_out >= 0,
        exchange_in_min=v.exchange_in >= 0,
    )
    if coordination == "across_networks":
        balance = cp.sum(v.exchange_out - v.exchange_in, axis=1) == 0
        out += _labelled(exchange_balance=balance)
    else:
        out += _labelled(no_exchange=v.exchange_out + v.exchange_in == 0)
    if coordination == "none":
        out += _labelled(no_trade=v.bought + v.sold == 0)
    return out


def exchange_limit(v: Variables, limit_kw: NDArray[np.float64]) -> list[cp.Constraint]:
    """No network exports or imports more than its limit through P2P trades, if it has any."""
    limited = np.flatnonzero(np.isfinite(limit_kw))
    if not len(limited):
        return []
    top = np.tile(limit_kw[limited], (v.exchange_out.shape[0], 1))
    return _labelled(
        exchange_out_max=v.exchange_out[:, limited] <= top,
        exchange_in_max=v.exchange_in[:, limited] <= top,
    )


def renewable_range(v: Variables, p: Parameters) -> list[cp.Constraint]:
    """Renewable power is at most what is available."""
    return _labelled(
        renewable_min=v.renewable >= p.renewable_min_kw,
        renewable_max=v.renewable <= p.renewable_max_kw,
    )


def dispatchable_range(
    v: Variables, p: Parameters, up_kw: cp.Expression, down_kw: cp.Expression
) -> list[cp.Constraint]:
    """Dispatchable units keep room for their recourse."""
    top = _tile(p.dispatchable_max_kw, v.dispatchable.shape[0])
    return _labelled(
        dispatchable_max=v.dispatchable + up_kw <= top,
        dispatchable_min=v.dispatchable - down_kw >= 0,
    )


def block_costs(v: Variables, p: Parameters) -> list[cp.Constraint]:
    """Fuel costs what the line through each price block says, or more; see ``price_blocks``."""
    n_steps, n_units = v.dispatchable.shape
    if not n_units:
        return []
    n_blocks = p.block_price.size // n_units
    every_block = cp.hstack([v.dispatchable] * n_blocks)
    lines = cp.multiply(_tile(p.block_price, n_steps), every_block) + _tile(p.block_offset, n_steps)
    return _labelled(block_costs=cp.hstack([v.fuel] * n_blocks) >= lines)


def storage_dynamics(v: Variables, p: Parameters, roster: Roster) -> list[cp.Constraint]:
    """Stored energy carries over from step to step, less conversion losses."""
    if not len(roster.storage):
        return []
    start = cp.reshape(p.energy_kwh, (1, len(roster.storage)), order="C")
    before = cp.vstack([start, v.energy[:-1]]) if roster.n_steps > 1 else start
    stored = cp.multiply(v.charge, roster.charge_efficiency[None, :])
    withdrawn = cp.multiply(v.discharge, 1 / roster.discharge_efficiency[None, :])
    return _labelled(storage_dynamics=v.energy == before + roster.step_hours * (stored - withdrawn))


def storage_range(
    v: Variables, p: Parameters, roster: Roster, up_kw: cp.Expression, down_kw: cp.Expression
) -> list[cp.Constraint]:
    """Battery power and energy keep room for the recourse of the step."""
    if not len(roster.storage):
        return []
    n_steps, hours = roster.n_steps, roster.step_hours
    net = v.discharge - v.charge
    out_kwh = cp.multiply(up_kw, hours / roster.discharge_efficiency[None, :])
    in_kwh = cp.multiply(down_kw, hours * roster.charge_efficiency[None, :])
    return _labelled(
        charge_min=v.charge >= 0,
        discharge_min=v.discharge >= 0,
        discharge_max=net + up_kw <= _tile(p.discharge_max_kw, n_steps),
        charge_max=down_kw - net <= _tile(p.charge_max_kw, n_steps),
        energy_min=v.energy - out_kwh >= _tile(p.energy_min_kwh, n_steps),
        energy_max=v.energy + in_kwh <= _tile(p.energy_max_kwh, n_steps),
    )


def final_storage(v: Variables, p: Parameters) -> list[cp.Constraint]:
    """Scheduled energy ends the run where it began; see ``final_storage``."""
    if not v.energy.shape[1]:
        return []
    return _labelled(
        energy_floor=v.energy >= p.energy_floor_kwh, energy_ceiling=v.energy <= p.energy_ceiling_kwh
    )


def flexible_load(v: Variables, p: Parameters, roster: Roster) -> list[cp.Constraint]:
    """Deferred energy is kept in a backlog; served load has a ceiling."""
    if not len(roster.flexible):
        return []
    start = cp.reshape(p.backlog_kwh, (1, len(roster.flexible)), order="C")
    before = cp.vstack([start, v.backlog[:-1]]) if roster.n_steps > 1 else start
    served = p.flexible_kw - v.curtailed - v.deferred
    return _labelled(
        backlog_dynamics=v.backlog == before + roster.step_hours * v.deferred,
        backlog_min=v.backlog >= 0,
        backlog_max=v.backlog <= _tile(p.backlog_max_kwh, roster.n_steps),
        curtailed_min=v.curtailed >= 0,
        curtailed_max=v.curtailed <= p.curtailable_kw,
        served_min=served >= 0,
        served_max=served <= _tile(p.served_max_kw, roster.n_steps),
    )


def reactive_range(v: Variables, p: Parameters) -> list[cp.Constraint]:
    """Reactive power stays within the capability at full active power."""
    top = _tile(p.q_max_kvar, v.reactive.shape[0])
    return _labelled(reactive_max=v.reactive <= top, reactive_min=v.reactive >= -top)


def _by_pool(roster: Roster, policy: RecoursePolicy) -> sparse.csr_array:
    """Sum over the devices of each pool, shape (n_recourse, n_pools)."""
    return indicator(policy.pool_of[roster.network_of[roster.recourse]], policy.n_pools)


def shares(v: Variables, roster: Roster, signal: int) -> cp.Expression:
    """Shares of the devices in answering a signal, (n_steps, n_recourse)."""
    n = len(roster.recourse)
    return v.alpha[:, signal * n : (signal + 1) * n]


def recourse_shares(v: Variables, roster: Roster, policy: RecoursePolicy) -> list[cp.Constraint]:
    """Devices and the upstream grid share each signal of a pool's forecast error."""
    to_pool = sparse.block_diag([_by_pool(roster, policy)] * policy.n_signals, format="csr")
    return _labelled(
        alpha_min=v.alpha >= 0,
        alpha_upstream_min=v.alpha_upstream >= 0,
        recourse_shares=v.alpha @ to_pool + v.alpha_upstream == 1,
    )


def recourse_power(
    v: Variables, p: Parameters, roster: Roster, policy: RecoursePolicy
) -> tuple[cp.Expression, cp.Expression]:
    """Largest recourse of each device upwards and downwards, (n_steps, n_recourse). [kW]"""
    to_device = _by_pool(roster, policy).T
    up = cp.multiply(p.reserve_up_kw @ to_device, shares(v, roster, policy.shortage))
    down = cp.multiply(p.reserve_down_kw @ to_device, shares(v, roster, policy.surplus))
    return up, down


def second_stage_slopes(
    v: Variables, p: Parameters, roster: Roster, policy: RecoursePolicy
) -> list[cp.Constraint]:
    r"""Slopes of the second-stage cost in a pool's forecast error.

    With :math:`h(\Omega)` the cost of answering an error :math:`\Omega`, its slope is
    :math:`\sum_k \alpha_k c_k^{down} - \alpha_0 \pi^{sell}` per kWh of surplus and
    :math:`\sum_k \alpha_k c_k^{up} + \alpha_0 \pi^{buy}` per kWh of shortage.
    """
    by_pool, n_pools = _by_pool(roster, policy), policy.n_pools
    answer_down, answer_up = (
        shares(v, roster, signal) for signal in (policy.surplus, policy.shortage)
    )
    down = cp.multiply(answer_down, _tile(p.recourse_down, roster.n_steps)) @ by_pool
    up = cp.multiply(answer_up, _tile(p.recourse_up, roster.n_steps)) @ by_pool
    left_down, left_up = (
        v.alpha_upstream[:, signal * n_pools : (signal + 1) * n_pools]
        for signal in (policy.surplus, policy.shortage)
    )
    ones = np.ones((1, n_pools))
    sell = cp.reshape(p.imbalance_sell, (roster.n_steps, 1), order="C") @ ones
    buy = cp.reshape(p.imbalance_buy, (roster.n_steps, 1), order="C") @ ones
    return _labelled(
        surplus_cost=v.surplus_cost == down - cp.multiply(sell, left_down),
        shortage_cost=v.shortage_cost == up + cp.multiply(buy, left_up),
        steepest_surplus=v.steepest_cost >= v.surplus_cost,
        steepest_surplus_gain=v.steepest_cost >= -v.surplus_cost,
        steepest_shortage=v.steepest_cost >= v.shortage_cost,
        steepest_shortage_gain=v.steepest_cost >= -v.shortage_cost,
    )


def violation_range(v: Variables) -> list[cp.Constraint]:
    """Grid constraints may be missed, at a price, never undercut for a gain."""
    return _labelled(violation_min=v.violation >= 0)
