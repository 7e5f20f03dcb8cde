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
from market.parameters import Parameters
from market.solve import ConicProblem, solve
from market.variables import Variables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from configs.schema import Market
    from market.chance import ChanceRow
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
    """

    values: dict[str, Array]
    duals: dict[str, Array]
    mu: Array
    objective: float
    solver_s: float


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
        self.variables = v = Variables.create(roster, n_groups)
        self.parameters = p = Parameters.create(roster, n_groups)
        self.problem = cp.Problem(
            cp.Minimize(self._objective(v, p, settings)), self._constraints(v, p, settings)
        )
        if not self.problem.is_dpp():
            msg = "the first stage must be DPP, or every solve would compile it anew"
            raise AssertionError(msg)
        self._devices = [_device_columns(roster, d) for d in range(roster.n_networks)]

    def _objective(self, v: Variables, p: Parameters, settings: Market) -> cp.Expression:
        roster = self.roster
        controlled_kw = con.controlled_injection(v, roster)
        per_hour = (
            obj.upstream_energy(v, p, controlled_kw)
            + obj.bid_premiums(v, p)
            + obj.dispatchable_fuel(v, p)
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
        roster, groups = self.roster, self.groups
        recourse_kw = con.recourse_power(v, p, roster)
        n_storage = len(roster.storage)
        return [
            *con.peer_balance(v, p, roster),
            *con.peer_to_peer(v, p, roster, groups),
            *con.pool_balance(v, roster, groups, settings.coordination),
            *(
                con.exchange_limit(v, settings.exchange_limit_kw)
                if settings.exchange_limit_kw is not None
                else []
            ),
            *con.renewable_range(v, p),
            *con.dispatchable_range(v, p, recourse_kw[:, n_storage:]),
            *con.storage_dynamics(v, p, roster),
            *con.storage_range(v, p, roster, recourse_kw[:, :n_storage]),
            *con.flexible_load(v, p, roster),
            *con.reactive_range(v, p),
            *con.recourse_shares(v, roster),
            *con.second_stage_slopes(v, p, roster),
            *con.violation_range(v),
        ]

    def solve(self, rows: Sequence[ChanceRow]) -> Decisions:
        """Solve with the parameters assigned and the given chance constraints.

        Raises
        ------
        SolverFailedError
            If the solver gives no usable solution.
        """
        data, chain, inverse = self.problem.get_problem_data(cp.CLARABEL, solver_opts={})
        # Second-order cones follow the linear rows.
        ordered = sorted(rows, key=lambda row: row.conic)
        cones = _Cones.of(ordered, self._layout(data))
        dims = data[cp.settings.DIMS]
        solution = solve(
            ConicProblem(
                quadratic=sparse.triu(data["P"], format="csc"),
                linear=data["c"],
                matrix=sparse.vstack([data["A"], cones.matrix], format="csc"),
                offset=np.concatenate([data["b"], cones.offset]),
                n_zero=dims.zero,
                n_nonnegative=dims.nonneg + cones.n_linear,
                second_order=(3,) * cones.n_conic,
            )
        )
        n_base = len(data["b"])
        self.problem.unpack_results(_as_clarabel(solution, n_base), chain, inverse)
        mu = dict(zip(map(id, ordered), cones.heads(solution.z[n_base:]) * SCALE, strict=True))
        return Decisions(
            values={
                field.name: _value(getattr(self.variables, field.name))
                for field in fields(self.variables)
            },
            duals={c.label: np.asarray(c.dual_value) for c in self.problem.constraints},
            mu=np.array([mu[id(row)] for row in rows]),
            objective=float(self.problem.objective.value),
            solver_s=solution.seconds,
        )

    def _layout(self, data: dict[str, Any]) -> _Layout:
        """Where the conic form keeps the entries of the variables."""
        column = data[cp.settings.PARAM_PROB].var_id_to_col
        # CVXPY leaves variables without entries, of devices that nobody owns, out of the form.
        variables = {f.name: getattr(self.variables, f.name) for f in fields(Variables)}
        start = {name: column.get(variable.id, 0) for name, variable in variables.items()}
        return _Layout(start, self.roster.n_steps, data["A"].shape[1], self._devices)


@dataclass(frozen=True, eq=False)
class _Devices:
    """Devices of one kind in one network: their columns, owners and signs."""

    variable: str
    place: NDArray[np.intp]
    """Column of the variable."""
    member: NDArray[np.intp]
    """Owner, among the network's members."""
    sign: float
    """Injection per unit of the variable."""


@dataclass(frozen=True, eq=False)
class _Layout:
    """Columns of the conic form; CVXPY stores a variable column by column."""

    start: dict[str, int]
    n_steps: int
    n_columns: int
    devices: list[list[_Devices]]

    def columns(self, variable: str, place: NDArray[np.intp], step: int) -> NDArray[np.intp]:
        """Columns of some entries of a variable at one step."""
        return self.start[variable] + step + self.n_steps * place


@dataclass(frozen=True, eq=False)
class _Cones:
    """Chance constraints posed as ``offset - matrix x`` in cones, linear rows first."""

    matrix: sparse.csc_array
    offset: Array
    n_linear: int
    n_conic: int

    @classmethod
    def of(cls, rows: Sequence[ChanceRow], layout: _Layout) -> _Cones:
        """Pose the rows, linear ones first."""
        n_linear = sum(not row.conic for row in rows)
        n_conic = len(rows) - n_linear
        head = np.concatenate([np.arange(n_linear), n_linear + 3 * np.arange(n_conic)])
        offset = np.zeros(n_linear + 3 * n_conic)
        entries: list[tuple[NDArray[np.intp], NDArray[np.intp], Array]] = []

        def put(place: int, columns: NDArray[np.intp], values: Array) -> None:
            entries.append((np.full(len(columns), place, dtype=np.intp), columns, values))

        for row, top in zip(rows, head, strict=True):
            offset[top] = row.room
            recourse_cost = -row.mean_omega
            if row.conic:
                offset[top + 1] = row.kappa * row.std_omega * row.beta
                offset[top + 2] = row.kappa * row.remainder
            else:
                sigma, slope = row.tangent
                offset[top] -= row.kappa * sigma
                recourse_cost += row.kappa * slope
            violation = layout.columns("violation", np.array([row.network]), row.step)
            put(top, violation, np.array([-1.0 / SCALE]))
            for devices in layout.devices[row.network]:
                columns = layout.columns(devices.variable, devices.place, row.step)
                if devices.variable == "alpha":
                    gain = row.d_p[devices.member]
                    put(top, columns, recourse_cost * gain)
                    if row.conic:
                        put(top + 1, columns, row.kappa * row.std_omega * gain)
                else:
                    sensitivity = row.d_q if devices.variable == "reactive" else row.d_p
                    put(top, columns, devices.sign * sensitivity[devices.member])
        place, column, value = (
            (np.concatenate(part) for part in zip(*entries, strict=True))
            if entries
            else (np.zeros(0, dtype=int), np.zeros(0, dtype=int), np.zeros(0))
        )
        shape = (len(offset), layout.n_columns)
        matrix = sparse.csc_array((SCALE * value, (place, column)), shape=shape)
        return cls(matrix, SCALE * offset, n_linear, n_conic)

    def heads(self, z: Array) -> Array:
        """Duals of the rows' own inequality, leaving those of the margins out."""
        return np.concatenate([z[: self.n_linear], z[self.n_linear :: 3]])


def _value(variable: cp.Variable) -> Array:
    """Value of a variable, empty where it has no entries."""
    return np.zeros(variable.shape) if variable.value is None else np.asarray(variable.value)


def _device_columns(roster: Roster, network: int) -> list[_Devices]:
    """List the devices of a network whose variables move its injections."""
    members = roster.members(network)
    kinds = [
        ("renewable", roster.renewable, 1.0),
        ("dispatchable", roster.dispatchable, 1.0),
        ("discharge", roster.storage, 1.0),
        ("charge", roster.storage, -1.0),
        ("curtailed", roster.flexible, 1.0),
        ("deferred", roster.flexible, 1.0),
        ("reactive", roster.reactive, 1.0),
        ("alpha", roster.recourse, 1.0),
    ]
    out = []
    for variable, owners, sign in kinds:
        place = np.flatnonzero(roster.network_of[owners] == network)
        out.append(_Devices(variable, place, np.searchsorted(members, owners[place]), sign))
    return out


def _as_clarabel(solution: ConicSolution, n_base: int) -> SimpleNamespace:
    """Present the compiled rows' part of a solution the way CVXPY expects it."""
    return SimpleNamespace(
        x=solution.x,
        z=solution.z[:n_base],
        s=np.zeros(n_base),
        status="Solved",
        obj_val=solution.objective,
        iterations=solution.iterations,
        solve_time=solution.seconds,
    )
