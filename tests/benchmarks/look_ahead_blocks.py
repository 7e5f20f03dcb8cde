"""What coarser blocks late in the look-ahead window save in time and cost in optimality.

``python tests/benchmarks/look_ahead_blocks.py [--steps N] [--start DATE] [--blocks 1 1 2 ...]``

Follows a run that plans step by step. Every window is also cleared in blocks, and then once more
step by step with the decisions of the binding step held at those of the blocks: what that costs
more than the optimum is the price of the blocks, as nothing but the binding step is carried out.
Prints the mean and the largest such cost, over the window's cost of energy and in EUR a step, and
the ratio of the solver's times; absolute times depend on the machine.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from threadpoolctl import threadpool_limits

from configs.loading import load
from market import window
from market.posed_stage import PosedStage
from market.presolve import presolve
from market.solve import solve
from market.time_blocks import TimeBlocks
from simulation.run import prepare

if TYPE_CHECKING:
    from market.conic_form import Layout
    from market.conic_problem import ConicProblem, ConicSolution
    from market.first_stage import FirstStage

CARRIED_OUT = (
    "renewable",
    "dispatchable",
    "charge",
    "discharge",
    "curtailed",
    "deferred",
    "reactive",
    "alpha",
)


def binding_columns(first_stage: FirstStage, layout: Layout) -> np.ndarray:
    """Columns of the decisions of the binding step."""
    return np.concatenate(
        [
            layout.start[name]
            + layout.n_steps * np.arange(getattr(first_stage.variables, name).shape[1])
            for name in CARRIED_OUT
        ]
    )


def held(problem: ConicProblem, columns: np.ndarray, at: np.ndarray) -> ConicProblem:
    """Hold some columns; slightly off their bounds, as a solver leaves them, is allowed for."""
    n = len(columns)
    entries = (np.ones(n), (np.arange(n), columns))
    picked = sparse.csr_array(entries, shape=(n, len(problem.linear)))
    slack = np.full(n, 1e-6)
    both = sparse.vstack([picked, -picked], format="csr")
    cones = problem.matrix[problem.n_linear :]
    linear = problem.matrix[: problem.n_linear]
    return type(problem)(
        quadratic=problem.quadratic,
        linear=problem.linear,
        matrix=sparse.csr_array(sparse.vstack([linear, both, cones])),
        offset=np.concatenate(
            [
                problem.offset[: problem.n_linear],
                at + slack,
                slack - at,
                problem.offset[problem.n_linear :],
            ]
        ),
        n_zero=problem.n_zero,
        n_nonnegative=problem.n_nonnegative + 2 * n,
        second_order=problem.second_order,
    )


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--start", default="2016-06-09")
    parser.add_argument(
        "--blocks", type=int, nargs="+", default=[1, 1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 3, 3]
    )
    options = parser.parse_args()
    blocks = TimeBlocks(tuple(options.blocks))
    config = load("default", [f"start={options.start}", f"days={-(-options.steps // 24)}"])
    model = prepare(config, Path(tempfile.mkdtemp())).model
    plain = PosedStage.solve
    seconds, coarse_seconds, extra = [], [], []

    def compared(posed: PosedStage) -> ConicSolution:
        solution = plain(posed)
        if posed.asked is not None:  # only prices matter
            return solution
        first_stage, layout = model.dso.clearing._first_stage, posed.layout
        problem = posed.problem
        part = first_stage._coarsen(blocks, layout, problem)
        presolved = presolve(part.problem)
        coarse = part.restore(presolved.restore(solve(presolved.problem)))
        columns = binding_columns(first_stage, layout)
        carried_out = solve(held(problem, columns, coarse.x[columns]))
        seconds.append(solution.seconds)
        coarse_seconds.append(coarse.seconds)
        extra.append(carried_out.objective - solution.objective)
        return solution

    PosedStage.solve = compared
    window.SPARE_CORE = False  # solves shall not disturb each other
    with threadpool_limits(limits=1):
        for _ in range(options.steps):
            model.step()
    per_step = model.totals.total_cost_eur / options.steps
    print(f"{len(blocks.lengths)} blocks: {options.blocks}, {len(extra)} clearings")
    print(
        f"solver time over that of {blocks.n_steps} steps: {sum(coarse_seconds) / sum(seconds):.2f}"
    )
    print(
        f"cost of the binding step's other decisions: mean {np.mean(extra):.3f} EUR, largest "
        f"{np.max(extra):.3f} EUR; a step costs {per_step:.1f} EUR: {np.mean(extra) / per_step:.3%}"
    )


if __name__ == "__main__":
    main()
