"""The first-stage problem: compiled once, then only its numbers and its grid rows change.

CVXPY states everything that has the same form in every clearing and compiles it once. The chance
constraints of the grid, few and dense and different each time, are appended to the compiled conic
data: kept inside the CVXPY problem as parameters they would cost a hundred times more.
"""

from __future__ import annotations

import math
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any

import cvxpy as cp
import numpy as np
from scipy import sparse

from market import constraints as con
from market import objective as obj
from market.chance import SCALE
from market.conic_form import ChanceCones, LabelledRows, Layout, device_columns
from market.conic_problem import ConicProblem
from market.decisions import Decisions
from market.networks import networks_of_kinds
from market.parameters import Parameters
from market.posed_stage import PosedStage
from market.price_blocks import n_blocks
from market.recourse import RecoursePolicy
from market.settled import TRADES
from market.time_blocks import TimeBlocks
from market.trading_rules import exchange_limits
from market.units import row_units
from market.variables import Variables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from configs.schema import Market
    from market.book import BidBook, TariffWindow
    from market.chance import ChanceRow
    from market.conic_problem import ConicSolution
    from market.parameters import LossModel, SecondStage
    from market.relaxation import RelaxedGrid
    from market.roster import Roster
    from market.settled import Settled
    from market.time_blocks import Coarse

    Array = NDArray[np.float64]

FEW_NETWORKS = 4
"""Up to here, networks are all solved in every pass, and the solver knows how to eliminate them."""


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
        linear, constraints = self._objective(v, p, settings), self._constraints(v, p, settings)
        self._squares = obj.squares(p, q_damping, blocks=blocks > 0)
        self._weights = dict(self._squares)
        squares = roster.step_hours * obj.quadratic_cost(v, self._squares)
        self.problem = cp.Problem(cp.Minimize(linear + squares), constraints)
        # Compiled without the squares, whose place in the conic form is plain: with them, CVXPY
        # holds a dense matrix of all variables times all parameters.
        self._linear = cp.Problem(cp.Minimize(linear), constraints)
        if not self._linear.is_dpp():
            msg = "the first stage must be DPP, or every solve would compile it anew"
            raise AssertionError(msg)
        self._labelled = LabelledRows.of(constraints)
        self._devices = [device_columns(roster, d) for d in range(roster.n_networks)]
        limited = np.flatnonzero(np.isfinite(exchange_limits(settings, roster)))
        self._networks_of = networks_of_kinds(roster, groups, limited)
        lengths = settings.look_ahead_blocks
        self._blocks = None if lengths is None else TimeBlocks(lengths)

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
            *(con.final_storage(v, p) if settings.final_storage == "as_at_start" else []),
            *con.flexible_load(v, p, roster),
            *con.reactive_range(v, p),
            *con.recourse_shares(v, roster, policy),
            *con.second_stage_slopes(v, p, roster, policy),
            *con.violation_range(v),
        ]

    def assign(
        self, book: BidBook, tariff: TariffWindow, second: SecondStage, losses: LossModel
    ) -> None:
        """Set the data of a window, see :meth:`market.parameters.Parameters.assign`."""
        self.parameters.assign(
            book=book,
            tariff=tariff,
            second=second,
            losses=losses,
            roster=self.roster,
            groups=self.groups,
            policy=self.policy,
            q_damping=self.q_damping,
        )

    def solve(
        self,
        rows: Sequence[ChanceRow],
        relaxed: RelaxedGrid | None = None,
        *,
        only_prices: bool = False,
        settled: Settled | None = None,
    ) -> Decisions:
        """Solve with the parameters assigned and the given chance constraints.

        Parameters
        ----------
        rows : sequence of ChanceRow
            The chance constraints.
        relaxed : RelaxedGrid, optional
            Branch-flow relaxation to be made part of the problem.
        only_prices : bool
            Whether decisions that no trade and no grid row depends on may be left out.
        settled : Settled, optional
            Networks that stay as an earlier pass left them.

        Raises
        ------
        SolverFailedError
            If the solver gives no usable solution.
        """
        posed = self.pose(rows, relaxed, only_prices=only_prices, settled=settled)
        return self.read(posed, posed.solve())

    def pose(
        self,
        rows: Sequence[ChanceRow],
        relaxed: RelaxedGrid | None = None,
        *,
        only_prices: bool = False,
        settled: Settled | None = None,
    ) -> PosedStage:
        """Put the problem together that :meth:`solve` solves."""
        data, _, inverse = self._linear.get_problem_data(
            cp.CLARABEL, solver_opts={"use_quad_obj": False}
        )
        layout, dims = self._layout(data), data[cp.settings.DIMS]
        problem = ConicProblem(
            quadratic=self._quadratic(layout),
            linear=data["c"],
            matrix=sparse.csr_array(data["A"]),
            offset=data["b"],
            n_zero=dims.zero,
            n_nonnegative=dims.nonneg,
        )
        base, block = problem, None
        if relaxed is not None:
            block = relaxed.pose([layout.injection(d, *kw) for d, kw in enumerate(relaxed.fixed)])
            problem = problem.with_columns(block.cost, block.equal, block.equal_to)
        # Second-order cones follow the linear rows.
        wanted = rows if settled is None else settled.others(rows)
        order = np.argsort([row.conic for row in wanted], kind="stable")
        cones = ChanceCones.of([wanted[k] for k in order.tolist()], layout, len(problem.linear))
        dimensions = (cones.dimension,) * cones.n_conic
        problem = problem.with_rows(cones.matrix, cones.offset, cones.n_linear, dimensions)
        if block is not None:
            problem = problem.with_rows(block.cones, block.offset, 0, block.dimensions)
        units = row_units(self.parameters, self.policy, self.roster)
        factor = self._labelled.factors(units, problem)
        return PosedStage(
            problem=problem.with_row_units(factor),
            factor=factor,
            base=base,
            constant_cost=float(inverse[-1][cp.settings.OFFSET]),
            layout=layout,
            rows=tuple(rows),
            order=order,
            cones=cones,
            relaxed=None if relaxed is None or block is None else (relaxed, block),
            blocks=None if self._blocks is None else partial(self._coarsen, self._blocks, layout),
            asked=self._traded(problem, layout) if only_prices else None,
            joining=self._joining(problem),
            settled=settled,
            held=None if settled is None else self._held(settled, layout),
        )

    def read(self, posed: PosedStage, solution: ConicSolution) -> Decisions:
        """Read the solution of a problem."""
        base, n_columns = posed.base, posed.layout.n_columns
        # The compiled rows and, behind them, ours; those of the relaxation's balances are left out.
        balances = slice(base.n_zero, posed.problem.n_zero)
        z, n_base = np.delete(posed.factor * solution.z, balances), len(base.offset)
        mu = np.empty(len(posed.order))
        mu[posed.order] = posed.cones.heads(z[n_base:]) * SCALE
        x = solution.x[:n_columns]
        values = self._values(x, posed.layout)
        objective = float(base.linear @ x) + posed.constant_cost + self._cost_of_squares(values)
        relaxation = None
        if posed.relaxed is not None:
            relaxed, block = posed.relaxed
            relaxation = relaxed.flow.read(solution.x[n_columns:], block.cost)
            objective += relaxation.cost
        duals = self._labelled.read(z[:n_base], base.n_zero)
        if posed.settled is not None:
            mu = posed.settled.mu(posed.rows, mu)
            duals = posed.settled.duals(duals, self._networks_of)
        return Decisions(
            values=values,
            duals=duals,
            mu=mu,
            objective=objective,
            solver_s=solution.seconds,
            relaxation=relaxation,
            fallback=solution.fallback,
        )

    def _values(self, x: Array, layout: Layout) -> dict[str, Array]:
        """Read the variables, which stand column by column."""
        out = {}
        for name, start in layout.start.items():
            shape = getattr(self.variables, name).shape
            out[name] = x[start : start + math.prod(shape)].reshape(shape, order="F")
        return out

    def _cost_of_squares(self, values: dict[str, Array]) -> float:
        """Quadratic part of the cost. [EUR]"""
        per_hour = sum(
            float((values[name] ** 2 @ np.asarray(getattr(weight, "value", weight))).sum())
            for name, weight in self._squares.items()
        )
        return self.roster.step_hours * per_hour

    def _coarsen(self, blocks: TimeBlocks, layout: Layout, problem: ConicProblem) -> Coarse:
        """Pose the problem in the blocks of the look-ahead."""
        variables = [
            (name, layout.start[name], getattr(self.variables, name).size) for name in layout.start
        ]
        return blocks.coarsen(
            problem, variables, equal=self._labelled.equal, unequal=self._labelled.unequal
        )

    def _traded(self, problem: ConicProblem, layout: Layout) -> NDArray[np.bool_]:
        """Columns of what is bought and sold."""
        asked = np.zeros(len(problem.linear), dtype=bool)
        for name in ("exports", "bought", "sold"):
            start = layout.start[name]
            asked[start : start + getattr(self.variables, name).size] = True
        return asked

    def _held(self, settled: Settled, layout: Layout) -> tuple[NDArray[np.bool_], Array]:
        """Columns of the devices of settled networks, and what these are."""
        stays, value = np.zeros(layout.n_columns, dtype=bool), np.zeros(layout.n_columns)
        for name, before in settled.decisions.values.items():
            if name not in TRADES:
                place = slice(layout.start[name], layout.start[name] + before.size)
                held = settled.columns(name, before.shape[1], self._networks_of)
                stays[place] = np.repeat(held, len(before))
                value[place] = before.ravel(order="F")
        return stays, value

    def _joining(self, problem: ConicProblem) -> NDArray[np.bool_] | None:
        """Rows that balance the exchange of many networks; of few, the solver finds an order."""
        place = self._labelled.places(problem.n_zero).get("exchange_balance")
        if place is None or self.roster.n_networks <= FEW_NETWORKS:
            return None
        out = np.zeros(len(problem.offset), dtype=bool)
        out[place] = True
        return out

    def _quadratic(self, layout: Layout) -> sparse.csc_array:
        """Matrix of the squares, as the solver halves it."""
        diagonal = np.zeros(layout.n_columns)
        for name, weight in self._weights.items():
            per_device = np.asarray(getattr(weight, "value", weight))
            start, n_steps = layout.start[name], self.roster.n_steps
            own = slice(start, start + n_steps * len(per_device))
            diagonal[own] = 2 * self.roster.step_hours * np.repeat(per_device, n_steps)
        place = np.flatnonzero(diagonal)
        shape = (layout.n_columns, layout.n_columns)
        return sparse.csc_array((diagonal[place], (place, place)), shape=shape)

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
