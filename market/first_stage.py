"""The first-stage problem: compiled once, then only its numbers and its grid rows change.

CVXPY states everything that has the same form in every clearing and compiles it once. The chance
constraints of the grid, few and dense and different each time, are appended to the compiled conic
data: kept inside the CVXPY problem as parameters they would cost a hundred times more.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import cvxpy as cp
import numpy as np
from scipy import sparse

from market import constraints as con
from market import objective as obj
from market.chance import SCALE
from market.conic_form import ChanceCones, Layout, device_columns
from market.parameters import Parameters
from market.price_blocks import n_blocks
from market.recourse import RecoursePolicy
from market.solve import ConicProblem, solve
from market.trading_rules import exchange_limits
from market.variables import Variables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from configs.schema import Market
    from market.branch_flow import Relaxation
    from market.chance import ChanceRow
    from market.relaxation import RelaxedGrid
    from market.roster import Roster
    from market.solve import ConicSolution

    Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Decisions:
    """Optimal values of the variables, named like them, and the duals of all rows.

    Attributes
    ----------
    values : dict of str to ndarray
        Every variable of :class:`~market.variables.Variables`.
    duals : dict of str to ndarray
        Dual of every labelled constraint. [EUR per unit of the constraint and step]
    mu : ndarray, shape (n_rows,)
        Duals of the chance constraints: what a higher limit would save. [EUR/p.u.]
    objective : float
        Optimal value of the window. [EUR]
    solver_s : float
        Time inside the solver. [s]
    relaxation : Relaxation, optional
        How exact the branch-flow relaxation is, where it is part of the problem.
    """

    values: dict[str, Array]
    duals: dict[str, Array]
    mu: Array
    objective: float
    solver_s: float
    relaxation: Relaxation | None = None


class FirstStage:
    """The compiled first-stage problem of a roster.

    Parameters
    ----------
    roster : Roster
        The registered peers.
    groups : ndarray of int, shape (n_peers,)
        Price group of every peer.
    settings : Market
        The market's configuration.
    q_damping : ndarray, shape (n_reactive,)
        Weights of the reactive damping. [EUR/(kvar2 h)]
    """

    def __init__(
        self, roster: Roster, groups: NDArray[np.intp], settings: Market, q_damping: Array
    ) -> None:
        self.roster = roster
        self.groups = groups
        self.q_damping = q_damping
        n_groups = int(groups.max()) + 1
        self.policy = RecoursePolicy.of(settings, roster.n_networks)
        blocks = n_blocks(settings)
        self.variables = v = Variables.create(roster, n_groups, self.policy, blocks)
        self.parameters = p = Parameters.create(roster, n_groups, self.policy, blocks)
        self.problem = cp.Problem(
            cp.Minimize(self._objective(v, p, settings)), self._constraints(v, p, settings)
        )
        if not self.problem.is_dpp():
            msg = "the first stage must be DPP, or every solve would compile it anew"
            raise AssertionError(msg)
        self._devices = [device_columns(roster, d) for d in range(roster.n_networks)]

    def _objective(self, v: Variables, p: Parameters, settings: Market) -> cp.Expression:
        roster = self.roster
        controlled_kw = con.controlled_injection(v, roster)
        per_hour = (
            obj.upstream_energy(v, p, controlled_kw)
            + obj.bid_premiums(v, p)
            + (obj.block_fuel(v) if n_blocks(settings) else obj.dispatchable_fuel(v, p))
            + obj.storage_wear(v, p)
            + obj.stored_value(v, p, roster)
            + obj.flexible_discomfort(v, p, roster)
            + obj.network_fees(
                v,
                settings.network_fee_within_eur_per_kwh,
                settings.network_fee_across_eur_per_kwh,
            )
            + obj.losses(v, p, controlled_kw)
            + obj.reactive_damping(v, self.q_damping)
            + obj.recourse_capacity(v, p)
            + obj.worst_case_second_stage(v, p)
            + settings.violation_price_eur_per_pu_h / SCALE * cp.sum(v.violation)
            + p.constant_cost
        )
        return roster.step_hours * per_hour

    def _constraints(self, v: Variables, p: Parameters, settings: Market) -> list[cp.Constraint]:
        roster, groups, policy = self.roster, self.groups, self.policy
        up_kw, down_kw = con.recourse_power(v, p, roster, policy)
        n_storage = len(roster.storage)
        return [
            *con.peer_balance(v, p, roster),
            *con.peer_to_peer(v, p, roster, groups),
            *con.pool_balance(v, roster, groups, settings.coordination),
            *con.exchange_limit(v, exchange_limits(settings, roster)),
            *con.renewable_range(v, p),
            *con.dispatchable_range(v, p, up_kw[:, n_storage:], down_kw[:, n_storage:]),
            *(con.block_costs(v, p) if n_blocks(settings) else []),
            *con.storage_dynamics(v, p, roster),
            *con.storage_range(v, p, roster, up_kw[:, :n_storage], down_kw[:, :n_storage]),
            *con.flexible_load(v, p, roster),
            *con.reactive_range(v, p),
            *con.recourse_shares(v, roster, policy),
            *con.second_stage_slopes(v, p, roster, policy),
            *con.violation_range(v),
        ]

    def solve(self, rows: Sequence[ChanceRow], relaxed: RelaxedGrid | None = None) -> Decisions:
        """Solve with the parameters assigned and the given chance constraints.

        Parameters
        ----------
        rows : sequence of ChanceRow
            The chance constraints.
        relaxed : RelaxedGrid, optional
            Branch-flow relaxation to be made part of the problem.

        Raises
        ------
        SolverFailedError
            If the solver gives no usable solution.
        """
        data, chain, inverse = self.problem.get_problem_data(cp.CLARABEL, solver_opts={})
        layout, dims = self._layout(data), data[cp.settings.DIMS]
        problem = ConicProblem(
            quadratic=sparse.triu(data["P"], format="csc"),
            linear=data["c"],
            matrix=data["A"],
            offset=data["b"],
            n_zero=dims.zero,
            n_nonnegative=dims.nonneg,
        )
        block = None
        if relaxed is not None:
            block = relaxed.pose([layout.injection(d, *kw) for d, kw in enumerate(relaxed.fixed)])
            problem = problem.with_columns(block.cost, block.equal, block.equal_to)
        # Second-order cones follow the linear rows.
        ordered = sorted(rows, key=lambda row: row.conic)
        cones = ChanceCones.of(ordered, layout, len(problem.linear))
        dimensions = (cones.dimension,) * cones.n_conic
        problem = problem.with_rows(cones.matrix, cones.offset, cones.n_linear, dimensions)
        if block is not None:
            problem = problem.with_rows(block.cones, block.offset, 0, block.dimensions)
        solution = solve(problem)
        # The compiled rows and, behind them, ours; those of the relaxation's balances are left out.
        z = np.delete(solution.z, slice(dims.zero, problem.n_zero))
        n_base, n_columns = len(data["b"]), layout.n_columns
        results = _as_clarabel(solution, solution.x[:n_columns], z[:n_base])
        self.problem.unpack_results(results, chain, inverse)
        mu = dict(zip(map(id, ordered), cones.heads(z[n_base:]) * SCALE, strict=True))
        objective = float(self.problem.objective.value)
        relaxation = None
        if relaxed is not None and block is not None:
            relaxation = relaxed.flow.read(solution.x[n_columns:], block.cost)
            objective += relaxation.cost
        return Decisions(
            values={
                field.name: _value(getattr(self.variables, field.name))
                for field in fields(self.variables)
            },
            duals={c.label: np.asarray(c.dual_value) for c in self.problem.constraints},
            mu=np.array([mu[id(row)] for row in rows]),
            objective=objective,
            solver_s=solution.seconds,
            relaxation=relaxation,
        )

    def _layout(self, data: dict[str, Any]) -> Layout:
        """Where the conic form keeps the entries of the variables."""
        column = data[cp.settings.PARAM_PROB].var_id_to_col
        # CVXPY leaves variables without entries, of devices that nobody owns, out of the form.
        variables = {f.name: getattr(self.variables, f.name) for f in fields(Variables)}
        start = {name: column.get(variable.id, 0) for name, variable in variables.items()}
        return Layout(
            start,
            self.roster.n_steps,
            data["A"].shape[1],
            self._devices,
            n_recourse=len(self.roster.recourse),
            n_signals=self.policy.n_signals,
        )


def _value(variable: cp.Variable) -> Array:
    """Value of a variable, empty where it has no entries."""
    return np.zeros(variable.shape) if variable.value is None else np.asarray(variable.value)


def _as_clarabel(solution: ConicSolution, x: Array, z: Array) -> SimpleNamespace:
    """Present the compiled rows' part of a solution the way CVXPY expects it."""
    return SimpleNamespace(
        x=x,
        z=z,
        s=np.zeros_like(z),
        status="Solved",
        obj_val=solution.objective,
        iterations=solution.iterations,
        solve_time=solution.seconds,
    )
