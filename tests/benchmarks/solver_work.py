"""What the presolve and the solver's units save, and that they change no optimum.

``python tests/benchmarks/solver_work.py [--steps N] [--start DATE]``

Solves every problem of a run three times, in turn: as the clearing does, without the presolve, and
in the units that it is stated in. Prints the ratios of the solver's times, for
the clearings and for the solves for prices without risk (whose idle blocks are left out), and the
largest relative difference of the optima. Where several schedules are equally good to the solver's
accuracy, the variants may choose different ones.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from threadpoolctl import threadpool_limits

from configs.loading import load
from market import first_stage, solvers
from market.first_stage import FirstStage
from market.posed_stage import PosedStage
from market.solve import solve
from market.units import Units
from simulation.run import prepare

if TYPE_CHECKING:
    from market.conic_problem import ConicProblem, ConicSolution
    from market.decisions import Decisions

OURS = "ours"


class Unchanged:
    """Units that are those of the problem."""

    @staticmethod
    def of(problem: ConicProblem) -> Units:
        """Change nothing."""
        return Units(1.0, 1.0)


def whole(posed: PosedStage) -> ConicSolution:
    """Leave nothing out."""
    return solve(posed.problem)


VARIANTS: dict[str, list[Any]] = {
    "no presolve": [mock.patch.object(PosedStage, "solve", whole)],
    "stated units": [
        mock.patch.object(first_stage, "row_units", return_value={}),
        mock.patch.object(solvers, "Units", Unchanged),
    ],
    OURS: [],
}


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
    as_shipped = FirstStage.solve
    seconds: dict[tuple[bool, str], float] = defaultdict(float)
    apart: dict[str, float] = defaultdict(float)

    def compared(
        stage: FirstStage,
        rows: Any,
        relaxed: Any = None,
        *,
        only_prices: bool = False,
        settled: Any = None,
    ) -> Decisions:
        found = {}
        for variant, patches in VARIANTS.items():
            with ExitStack() as stack:
                for patch in patches:
                    stack.enter_context(patch)
                found[variant] = as_shipped(
                    stage, rows, relaxed, only_prices=only_prices, settled=settled
                )
            seconds[only_prices, variant] += found[variant].solver_s
            if not only_prices:  # the others' objective lacks that of the idle blocks
                gap = abs(found[variant].objective / found["no presolve"].objective - 1)
                apart[variant] = max(apart[variant], gap)
        return found[OURS]

    with (
        mock.patch.object(FirstStage, "solve", compared),
        mock.patch("market.window.SPARE_CORE", False),  # solves shall not disturb each other
        threadpool_limits(limits=1),
    ):
        for _ in range(options.steps):
            model.step()
    for only_prices, name in ((False, "clearings"), (True, "prices without risk")):
        ours = seconds[only_prices, OURS]
        for variant in VARIANTS:
            spent = seconds[only_prices, variant]
            print(f"{name}, {variant}: {spent:.2f} s, ours / this {ours / spent:.2f}")
    print("largest relative difference of the optima:", {k: f"{v:.1e}" for k, v in apart.items()})


if __name__ == "__main__":
    main()
