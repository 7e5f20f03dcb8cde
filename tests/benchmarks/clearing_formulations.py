"""One window, cleared by our formulation, by the obvious one, and by a sparse one.

``python tests/benchmarks/clearing_formulations.py [--hours H ...] [--start DATE]``

All three solve the same problem: the first stage, with both voltage limits of every bus in every
hour of the window, linearised round one AC operating point, and with the safety margins' tangents.

- *Ours*: the first stage compiled once; only the rows that come close are appended. After each
  solve the rows that the solution misses are added, until it misses none.
- *Obvious*: everything stated in CVXPY for this window, with the dense matrix of sensitivities.
- *Sparse*: the same, with the voltages of every bus and hour as variables that obey the linearised
  power-flow equations, likewise what the recourse does to them.

Prints the seconds of each (all of ours, first solve to last; stating, compiling and solving of the
others), the ratios, and how far the optima are apart. The run itself solves once where ours is here
repeated: far ahead it is content with the rows that are close at the operating point.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import cvxpy as cp
import numpy as np
from scipy import sparse
from threadpoolctl import threadpool_limits

from configs.loading import load
from grid.units import S_BASE_KVA
from market import constraints as con
from market.calibration import pose_rows
from market.chance import SCALE
from market.conic_form import ChanceCones
from market.conic_problem import ConicProblem
from market.first_stage import FirstStage
from market.posed_stage import PosedStage
from market.schedule import fixed_injection
from market.solve import ALMOST, LADDER
from market.units import Units
from simulation.run import prepare

if TYPE_CHECKING:
    from agents.dn_operator import DnOperator
    from grid.sensitivity import OperatingPoint
    from market.calibration import Hour
    from market.conic_problem import ConicSolution
    from market.offers import NetworkOffer
    from market.window import Window
    from simulation.model import CoSimulation

MISSED = 1e-9
"""Rows count as missed beyond this. [p.u.]"""


@dataclass(frozen=True, eq=False)
class Case:
    """A window with its linear models and safety margins."""

    model: CoSimulation
    window: Window
    offers: tuple[NetworkOffer, ...]
    points: tuple[OperatingPoint, ...]
    hours: dict[tuple[int, int], Hour]
    """With all voltage rows chosen."""

    @property
    def fixed(self) -> tuple[np.ndarray, np.ndarray]:
        """Injections when all devices rest."""
        book, roster = self.window.book, self.model.roster
        return fixed_injection(book, roster), -book.load_kvar


def voltage_rows(offer: NetworkOffer) -> np.ndarray:
    """Both limits of every bus."""
    return np.arange(2 * ((len(offer.limit) - 1) // 3))


def make_case(model: CoSimulation, window: Window) -> Case:
    """Linearise a cleared window round the schedule of its clearing."""
    clearing, roster = model.dso.clearing, model.roster
    schedule, steps = clearing._last.schedule, range(roster.n_steps)
    offers = clearing._linearise(schedule, steps)
    points = tuple(
        operator._grid_model.at(
            operator.bus_injections(schedule.p_kw[:, roster.members(d)]),
            operator.bus_injections(schedule.q_kvar[:, roster.members(d)]),
        ).point
        for d, operator in enumerate(model.operators)
    )
    hours = {
        (d, t): replace(hour, chosen=voltage_rows(offers[d]))
        for (d, t), hour in clearing.margins.hours.items()
    }
    return Case(model, window, offers, points, hours)


def ours(case: Case) -> tuple[float, int]:
    """Add rows until none is missed; return the optimum and the number of solves."""
    stage, roster = case.window.first_stage, case.model.roster
    fixed_p, fixed_q = case.fixed
    rows = []
    for (d, t), hour in case.hours.items():
        members = roster.members(d)
        fixed = fixed_p[:, members], fixed_q[:, members]
        rows += pose_rows(case.offers[d], hour, fixed, network=d, t=t, conic=False)
    chosen = np.zeros(len(rows), dtype=bool)
    plain, seen = PosedStage.solve, {}

    def watched(posed: PosedStage) -> ConicSolution:
        seen["x"], seen["layout"] = plain(posed), posed.layout
        return seen["x"]

    PosedStage.solve = watched
    try:
        for n_solves in range(1, 20):
            decisions = stage.solve([row for row, has in zip(rows, chosen, strict=True) if has])
            x, layout = seen["x"].x, seen["layout"]
            cones = ChanceCones.of(rows, layout, len(x))
            slack = (cones.offset - cones.matrix @ x) / SCALE
            if slack.min() >= -MISSED or chosen[slack < -MISSED].all():
                return decisions.objective, n_solves
            chosen |= slack < MISSED
    finally:
        PosedStage.solve = plain
    raise RuntimeError("rows were still missed after 19 solves")


def restated(case: Case, *, with_voltages: bool) -> float:
    """State the whole problem in CVXPY and solve it."""
    old = case.window.first_stage
    new = FirstStage(case.model.roster, old.groups, case.model.config.market, old.q_damping)
    for name in vars(new.parameters):
        getattr(new.parameters, name).value = getattr(old.parameters, name).value
    rows = []
    for (d, t), hour in case.hours.items():
        parts = Parts.of(case, new, d, t, hour)
        rows += parts.sparse_rows() if with_voltages else parts.dense_rows()
    problem = cp.Problem(new.problem.objective, new.problem.constraints + rows)
    data, _, inverse = problem.get_problem_data(cp.CLARABEL, ignore_dpp=True)
    dims = data[cp.settings.DIMS]
    # CVXPY's own equilibration stalls on the sparse problem, whose voltages and powers have no
    # median in common, and which needs its linear solves refined.
    stated = ConicProblem(
        quadratic=sparse.triu(data["P"], format="csc"),
        linear=data["c"],
        matrix=sparse.csr_array(data["A"]),
        offset=data["b"],
        n_zero=dims.zero,
        n_nonnegative=dims.nonneg,
    )
    with mock.patch.object(Units, "of", return_value=Units(quantity=10.0, price=0.3)):
        solution = LADDER[0].solver(
            stated, tolerance=1e-8, enough=1e-6, max_iterations=400, refine=with_voltages
        )
    if solution.status not in ALMOST:
        print(f"  not solved: {solution.status}")
        return float("nan")
    return float(solution.objective + inverse[-1][cp.settings.OFFSET])


@dataclass(frozen=True, eq=False)
class Parts:
    """What a voltage limit of one network and step is made of."""

    p: cp.Expression
    """Change of the members' injections from the operating point. [kW]"""
    q: cp.Expression
    alpha: list[cp.Expression]
    """Members' shares in every signal."""
    slack: cp.Expression
    offer: NetworkOffer
    hour: Hour
    operator: DnOperator
    point: OperatingPoint
    t: int

    @classmethod
    def of(cls, case: Case, stage: FirstStage, d: int, t: int, hour: Hour) -> Parts:
        """Gather the expressions of one network and step."""
        roster, v, offer = case.model.roster, stage.variables, case.offers[d]
        members = roster.members(d)

        def at_members(owners: np.ndarray, values: cp.Expression) -> cp.Expression:
            mine = np.flatnonzero(roster.network_of[owners] == d)
            place = np.searchsorted(members, owners[mine])
            entries = (np.ones(len(mine)), (place, mine))
            return sparse.csr_array(entries, shape=(len(members), len(owners))) @ values

        fixed_p, fixed_q = case.fixed
        return cls(
            p=at_members(roster.active, con.controlled_injection(v, roster)[t])
            + (fixed_p[t, members] - offer.p_kw[t]),
            q=at_members(roster.reactive, v.reactive[t]) + (fixed_q[t, members] - offer.q_kvar[t]),
            alpha=[
                at_members(roster.recourse, con.shares(v, roster, signal)[t])
                for signal in range(stage.policy.n_signals)
            ],
            slack=v.violation[t, d],
            offer=offer,
            hour=hour,
            operator=case.model.operators[d],
            point=case.points[d],
            t=t,
        )

    def limits(self, change: cp.Expression, gains: list[cp.Expression]) -> cp.Constraint:
        """Keep the voltages, given their change and what a kW of each signal does to them."""
        rows = voltage_rows(self.offer)
        m, hour = self.hour.moments, self.hour
        explained = (m.beta - hour.gain) @ m.root.T
        sigma = np.sqrt((explained**2).sum(axis=1) + m.remainder**2)
        slope = -(explained @ m.root) / np.maximum(sigma, 1e-12)[:, None]
        constant = m.mean_u + hour.kappa * (sigma - (slope * hour.gain).sum(axis=1))
        value = self.offer.value[self.t, rows] + constant[rows] + change
        for s, gain in enumerate(gains):
            per_gain = hour.kappa[rows] * slope[rows, s] - m.mean_signal[s]
            value = value + cp.multiply(per_gain, gain)
        return SCALE * value <= SCALE * self.offer.limit[rows] + self.slack

    def dense_rows(self) -> list[cp.Constraint]:
        """State the limits with the sensitivities of every bus to every peer."""
        rows = voltage_rows(self.offer)
        d_p, d_q = self.offer.d_p[self.t][rows], self.offer.d_q[self.t][rows]
        return [self.limits(d_p @ self.p + d_q @ self.q, [d_p @ a for a in self.alpha])]

    def sparse_rows(self) -> list[cp.Constraint]:
        """State the limits with voltages and currents that obey the linearised power flow."""
        flow = BranchFlow.of(self.operator, self.point, self.t)
        laws, change = flow.state(self.p, self.q)
        per_kw = []
        for alpha in self.alpha:
            # Per 100 kW, so that the entries are of the order of one.
            law, moved = flow.state(100 * alpha, np.zeros(alpha.shape))
            laws += law
            per_kw.append(moved / 100)
        return [*laws, self.limits(change, per_kw)]


@dataclass(frozen=True, eq=False)
class BranchFlow:
    """Power-flow equations of a radial network, linearised round an operating point.

    With J the currents away from the source, y the shunts and I = conj(S / V) what is injected:
    dV_k = dV_parent - z_k dJ_k and dJ_k = sum of the children's dJ + y_k dV_k - dI_k, where
    dI = conj(dS / V) - conj(S / V^2) conj(dV).
    """

    drop: sparse.csr_array
    kirchhoff: sparse.csr_array
    injected: tuple[sparse.csr_array, sparse.csr_array]
    """Current injected per kW and kvar of each member."""
    magnitude: sparse.csr_array

    @classmethod
    def of(cls, operator: DnOperator, point: OperatingPoint, t: int) -> BranchFlow:
        """Linearise one step."""
        network, v = operator.grid, point.voltage[t, 1:]
        n = network.n_lines
        inner = np.flatnonzero(network.parent > 0)
        up = sparse.csr_array(
            (np.ones(len(inner)), (inner, network.parent[inner] - 1)), shape=(n, n)
        )
        one = sparse.eye_array(n)
        s = (point.p_kw[t] + 1j * point.q_kvar[t]) / S_BASE_KVA
        load = np.conj(s / v**2) / SCALE
        shunt, z = network.shunt_pu[1:] / SCALE, SCALE * network.z_pu
        bus = operator._bus
        at_bus = sparse.csr_array((np.ones(len(bus)), (bus, np.arange(len(bus)))), (n, len(bus)))
        per_kw = np.conj(1 / v) / S_BASE_KVA
        direction = np.conj(v) / np.abs(v)
        d = sparse.diags_array
        return cls(
            drop=sparse.csr_array(
                sparse.bmat(
                    [
                        [one - up, None, d(z.real), d(-z.imag)],
                        [None, one - up, d(z.imag), d(z.real)],
                    ]
                )
            ),
            kirchhoff=sparse.csr_array(
                sparse.bmat(
                    [
                        [d(-shunt.real - load.real), d(shunt.imag - load.imag), one - up.T, None],
                        [d(-shunt.imag - load.imag), d(-shunt.real + load.real), None, one - up.T],
                    ]
                )
            ),
            injected=(
                sparse.csr_array(sparse.vstack([d(per_kw.real), d(per_kw.imag)]) @ at_bus),
                sparse.csr_array(sparse.vstack([d(per_kw.imag), d(-per_kw.real)]) @ at_bus),
            ),
            magnitude=sparse.csr_array(sparse.hstack([d(direction.real), d(-direction.imag)])),
        )

    def state(
        self, p: cp.Expression, q: cp.Expression
    ) -> tuple[list[cp.Constraint], cp.Expression]:
        """State what injections do to the voltage rows. [p.u.]"""
        n = self.magnitude.shape[0]
        state = cp.Variable(4 * n)  # voltages in mp.u., currents in p.u.
        laws = [
            self.drop @ state == 0,
            self.kirchhoff @ state == -(self.injected[0] @ p + self.injected[1] @ q),
        ]
        both = sparse.csr_array(sparse.vstack([self.magnitude, -self.magnitude]))
        return laws, both @ state[: 2 * n] / SCALE


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=int, nargs="+", default=[3, 13], help="of the first day")
    parser.add_argument("--start", default="2016-06-09")
    parser.add_argument("--config", default="default")
    options = parser.parse_args()
    config = load(options.config, [f"start={options.start}", "days=1"])
    model = prepare(config, Path(tempfile.mkdtemp())).model
    clearing = model.dso.clearing
    windows: list[Window] = []
    passes = clearing._passes

    def noted(window: Window, *rest: object) -> object:
        windows.append(window)
        return passes(window, *rest)

    clearing._passes = noted
    ratios: dict[str, list[float]] = {"obvious": [], "sparse": []}
    with threadpool_limits(limits=1):
        for hour in range(max(options.hours) + 1):
            model.step()
            if hour not in options.hours:
                continue
            case = make_case(model, windows[-1])
            case.window._assign(case.window.second)
            start = time.perf_counter()
            best, n_solves = ours(case)
            seconds = time.perf_counter() - start
            print(f"hour {hour}: ours {seconds:.2f} s, {n_solves} solves, {best:.4f} EUR")
            for name, measured in ratios.items():
                start = time.perf_counter()
                value = restated(case, with_voltages=name == "sparse")
                took = time.perf_counter() - start
                measured.append(took / seconds)
                gap = abs(value - best) / max(abs(best), 1.0)
                print(f"  {name} {took:.1f} s, {value:.4f} EUR, relative difference {gap:.1e}")
    for name, measured in ratios.items():
        print(f"ratio {name} / ours: median {statistics.median(measured):.0f}")


if __name__ == "__main__":
    main()
