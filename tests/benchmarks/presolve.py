"""What the presolve saves, and that it changes no optimum.

``python tests/benchmarks/presolve.py [--steps N] [--start DATE]``

Solves every problem of a run whole and presolved, in turn. Prints the ratio of the solver's times,
of the clearings and of the solves for prices without risk (whose idle blocks are left out), and the
largest relative difference of the optima. Where several schedules are equally good to the solver's
accuracy, the two may choose different ones.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from threadpoolctl import threadpool_limits

from configs.loading import load
from market.first_stage import FirstStage
from market.solve import solve
from simulation.run import prepare

if TYPE_CHECKING:
    from market.conic_form import Layout
    from market.conic_problem import ConicProblem, ConicSolution


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--start", default="2016-06-09")
    parser.add_argument("--config", default="default")
    options = parser.parse_args()
    days = -(-options.steps // 24)
    config = load(options.config, [f"start={options.start}", f"days={days}"])
    model = prepare(config, Path(tempfile.mkdtemp())).model
    presolved = FirstStage._solve
    seconds = {False: [0.0, 0.0], True: [0.0, 0.0]}
    apart = 0.0

    def compared(
        first_stage: FirstStage, problem: ConicProblem, layout: Layout, *, only_prices: bool
    ) -> ConicSolution:
        nonlocal apart
        solution = presolved(first_stage, problem, layout, only_prices=only_prices)
        whole = solve(problem)
        seconds[only_prices][0] += solution.seconds
        seconds[only_prices][1] += whole.seconds
        if not only_prices:  # the others' objective lacks that of the idle blocks
            apart = max(apart, abs(solution.objective / whole.objective - 1))
        return solution

    FirstStage._solve = compared
    with threadpool_limits(limits=1):
        for _ in range(options.steps):
            model.step()
    for only_prices, name in ((False, "clearings"), (True, "prices without risk")):
        ours, whole = seconds[only_prices]
        print(f"{name}: {ours:.1f} s presolved, {whole:.1f} s whole, ratio {ours / whole:.2f}")
    print(f"largest relative difference of the optima: {apart:.1e}")


if __name__ == "__main__":
    main()
