"""One day of clearings against the obvious formulation of the same problem, in one process.

``python tests/benchmarks/clearing_vs_dense.py [--steps N] [--dense N] [--start DATE]``

Ours: the compiled first stage, to which only the grid rows that can bind are appended. Obvious: the
same first stage stated anew in CVXPY in every step, with dense AC sensitivities and the tangents of
the safety margins for the voltage of every bus in every hour, both limits. Both use Clarabel; AC
power flows, sensitivities and safety factors are left out of both, so that only stating and solving
is compared. The optima differ by what the rows left out and the cones of the binding step cost.
Prints the median seconds per step of each and their ratio; absolute times depend on the machine.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import cvxpy as cp
import numpy as np
from threadpoolctl import threadpool_limits

from configs.loading import load
from market import constraints as con
from market.chance import SCALE
from market.first_stage import FirstStage
from market.schedule import fixed_injection
from simulation.run import prepare

if TYPE_CHECKING:
    from market.book import BidBook
    from market.calibration import Hour
    from market.offers import NetworkOffer
    from market.roster import Roster


def dense_voltage_rows(
    first_stage: FirstStage,
    book: BidBook,
    offers: tuple[NetworkOffer, ...],
    hours: dict[tuple[int, int], Hour],
) -> list[cp.Constraint]:
    """State both voltage limits of every bus, network and step with dense sensitivities."""
    roster: Roster = first_stage.roster
    v = first_stage.variables
    injection = con.controlled_injection(v, roster)
    fixed_p, fixed_q = fixed_injection(book, roster), -book.load_kvar
    rows = []
    for (d, t), hour in hours.items():
        offer, members = offers[d], roster.members(d)
        n_voltages = 2 * ((len(offer.limit) - 1) // 3)
        active = np.flatnonzero(roster.network_of[roster.active] == d)
        reactive = np.flatnonzero(roster.network_of[roster.reactive] == d)
        d_p = offer.d_p[t][:n_voltages, np.searchsorted(members, roster.active[active])]
        d_q = offer.d_q[t][:n_voltages, np.searchsorted(members, roster.reactive[reactive])]
        at_rest = offer.constant(t, fixed_p[:, members], fixed_q[:, members])[:n_voltages]
        value = at_rest + d_p @ injection[t, active] + d_q @ v.reactive[t, reactive]
        devices = np.flatnonzero(roster.network_of[roster.recourse] == d)
        owners = np.searchsorted(members, roster.recourse[devices])
        d_recourse = offer.d_p[t][:n_voltages, owners]
        mean, sigma, slope = (part[:n_voltages] for part in tangents(hour))
        kappa, error = hour.kappa[:n_voltages], mean
        for signal in range(first_stage.policy.n_signals):
            gain = d_recourse @ con.shares(v, roster, signal)[t, devices]
            per_gain = kappa * slope[:, signal] - hour.moments.mean_signal[signal]
            error = error + cp.multiply(per_gain, gain)
        error = error + kappa * sigma
        room = offer.limit[:n_voltages]
        rows.append(SCALE * (value + error) <= SCALE * room + v.violation[t, d])
    return rows


def tangents(hour: Hour) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean error without recourse; value at no gain and slopes of the tangents of sigma."""
    m = hour.moments
    explained = (m.beta - hour.gain) @ m.root.T
    sigma = np.sqrt((explained**2).sum(axis=1) + m.remainder**2)
    slope = -(explained @ m.root) / np.maximum(sigma, 1e-12)[:, None]
    return m.mean_u, sigma - (slope * hour.gain).sum(axis=1), slope


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=24, help="clearings of ours")
    parser.add_argument("--dense", type=int, default=2, help="clearings of the obvious formulation")
    parser.add_argument("--start", default="2016-06-04")
    options = parser.parse_args()
    config = load("default", [f"start={options.start}", f"days={-(-options.steps // 24)}"])
    model = prepare(config, Path(tempfile.mkdtemp())).model
    clearing = model.dso.clearing
    ours: list[float] = []
    theirs: list[float] = []
    dense_at = set(np.linspace(0, options.steps - 1, options.dense + 2, dtype=int)[1:-1].tolist())
    solve, passes = FirstStage.solve, clearing._passes

    def timed(first_stage: FirstStage, *problem: object) -> object:
        start = time.perf_counter()
        decisions = solve(first_stage, *problem)
        ours[-1] += time.perf_counter() - start
        return decisions

    def compared(first_stage: FirstStage, book: BidBook, offers: tuple, **rest: object) -> object:
        if model.now in dense_at:
            start = time.perf_counter()
            groups, damping = first_stage.groups, first_stage.q_damping
            anew = FirstStage(model.roster, groups, config.market, damping)
            for name in vars(anew.parameters):
                value = getattr(first_stage.parameters, name).value
                getattr(anew.parameters, name).value = value
            extra = dense_voltage_rows(anew, book, offers, clearing.margins.hours)
            problem = cp.Problem(anew.problem.objective, anew.problem.constraints + extra)
            problem.solve(solver=cp.CLARABEL, ignore_dpp=True)
            theirs.append(time.perf_counter() - start)
            print(f"step {model.now}: obvious {theirs[-1]:.1f} s, {problem.value:.2f} EUR")
        ours.append(0.0)
        result = passes(first_stage, book, offers, **rest)
        if model.now in dense_at:
            cleared = result[-1].decisions.objective
            print(
                f"step {model.now}: ours {ours[-1]:.2f} s, {len(result)} passes, {cleared:.2f} EUR"
            )
        return result

    FirstStage.solve, clearing._passes = timed, compared
    with threadpool_limits(limits=1):
        for _ in range(options.steps):
            model.step()
    first, ours_s, theirs_s = ours[0], statistics.median(ours), statistics.median(theirs)
    print(f"ours: median {ours_s:.3f} s a step over {len(ours)} (first, compiling: {first:.2f} s)")
    print(f"obvious: median {theirs_s:.2f} s a step over {len(theirs)}")
    print(f"ratio obvious / ours: {theirs_s / ours_s:.0f}")


if __name__ == "__main__":
    main()
