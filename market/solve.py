"""The only caller of the conic solver: every status becomes a solution or a named error."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import clarabel
import numpy as np
from scipy import sparse

from market.errors import SolverFailedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ConicProblem:
    """Minimise ``x'Px/2 + c'x`` subject to ``b - Ax`` in a product of cones.

    The rows stand in the order zero cone, nonnegative cone, then ``cones``.
    """

    quadratic: sparse.csc_array
    linear: NDArray[np.float64]
    matrix: sparse.csc_array
    offset: NDArray[np.float64]
    n_zero: int
    n_nonnegative: int
    second_order: tuple[int, ...] = ()
    """Dimensions of second-order cones behind the linear rows."""

    def with_columns(
        self, cost: NDArray[np.float64], equal: sparse.sparray, equal_to: NDArray[np.float64]
    ) -> ConicProblem:
        """Append free columns, and zero-cone rows ``equal_to - equal x`` over all columns."""
        zero, n_new = self.n_zero, len(cost)
        untouched = sparse.csr_array((self.matrix.shape[0], n_new))
        rows = sparse.csr_array(sparse.hstack([self.matrix, untouched]))
        linear_only = sparse.csc_array((n_new, n_new))
        return replace(
            self,
            quadratic=sparse.block_diag([self.quadratic, linear_only], format="csc"),
            linear=np.concatenate([self.linear, cost]),
            matrix=sparse.vstack([rows[:zero], equal, rows[zero:]], format="csc"),
            offset=np.insert(self.offset, zero, equal_to),
            n_zero=zero + len(equal_to),
        )

    def with_rows(
        self,
        matrix: sparse.sparray,
        offset: NDArray[np.float64],
        n_nonnegative: int,
        dimensions: tuple[int, ...],
    ) -> ConicProblem:
        """Append nonnegative rows, as long as there are no cones yet, and second-order cones."""
        return replace(
            self,
            matrix=sparse.vstack([self.matrix, matrix], format="csc"),
            offset=np.concatenate([self.offset, offset]),
            n_nonnegative=self.n_nonnegative + n_nonnegative,
            second_order=self.second_order + dimensions,
        )


@dataclass(frozen=True, eq=False)
class ConicSolution:
    """Primal and dual solution."""

    x: NDArray[np.float64]
    z: NDArray[np.float64]
    objective: float
    status: str
    iterations: int
    seconds: float


@dataclass(frozen=True)
class Attempt:
    """Settings of one attempt; later ones are looser."""

    name: str
    tolerance: float
    max_iterations: int
    equilibrate: bool
    refine: bool
    accepts: frozenset[str]


ATTEMPTS = (
    Attempt("tight", 1e-8, 100, equilibrate=False, refine=False, accepts=frozenset({"Solved"})),
    Attempt("scaled", 1e-7, 300, equilibrate=True, refine=True, accepts=frozenset({"Solved"})),
    Attempt(
        "loose",
        1e-6,
        300,
        equilibrate=False,
        refine=True,
        accepts=frozenset({"Solved", "AlmostSolved"}),
    ),
)


def solve(problem: ConicProblem) -> ConicSolution:
    """Solve a conic problem, trying again with looser settings where the first attempt fails.

    Raises
    ------
    SolverFailedError
        If no attempt gives a usable solution; the message lists each attempt's outcome.
    """
    outcomes = []
    for attempt in ATTEMPTS:
        try:
            solution = _attempt(problem, attempt)
        except Exception as error:  # the solver may panic with any exception type
            outcomes.append(f"{attempt.name}: {type(error).__name__} {error}")
            continue
        if solution.status in attempt.accepts and np.isfinite(solution.x).all():
            if outcomes:
                log.warning("solver succeeded only on a retry (%s)", "; ".join(outcomes))
            return solution
        outcomes.append(f"{attempt.name}: {solution.status}")
    raise SolverFailedError("; ".join(outcomes))


def _attempt(problem: ConicProblem, attempt: Attempt) -> ConicSolution:
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_feas = settings.tol_gap_abs = settings.tol_gap_rel = attempt.tolerance
    settings.max_iter = attempt.max_iterations
    # The problem is posed in kW, EUR and mp.u., all of the order of one; the solver's own
    # equilibration chases the tiny curvature of the loss terms and needs four times the iterations.
    settings.equilibrate_enable = attempt.equilibrate
    # Refining every linear solve doubles the time and, at this tolerance, changes no iteration.
    settings.iterative_refinement_enable = attempt.refine
    cones: list[Any] = [
        clarabel.ZeroConeT(problem.n_zero),
        clarabel.NonnegativeConeT(problem.n_nonnegative),
        *(clarabel.SecondOrderConeT(n) for n in problem.second_order),
    ]
    result = clarabel.DefaultSolver(
        problem.quadratic, problem.linear, problem.matrix, problem.offset, cones, settings
    ).solve()
    return ConicSolution(
        x=np.array(result.x),
        z=np.array(result.z),
        objective=result.obj_val,
        status=str(result.status),
        iterations=result.iterations,
        seconds=result.solve_time,
    )
