"""The conic solvers, each asked with given settings."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import clarabel
import numpy as np
import scs
from scipy import sparse

from market.conic_problem import ConicSolution
from market.units import Units

if TYPE_CHECKING:
    from market.conic_problem import ConicProblem


def solve_with_clarabel(
    problem: ConicProblem,
    *,
    tolerance: float,
    enough: float,
    max_iterations: int,
    equilibrate: bool,
    refine: bool,
) -> ConicSolution:
    """Ask Clarabel, an interior-point method.

    Parameters
    ----------
    problem : ConicProblem
        The problem.
    tolerance : float
        Of feasibility and gap, in the problem's own :class:`~market.units.Units`.
    enough : float
        Tolerance of what counts as almost solved, where rounding leaves no more to be gained.
    max_iterations : int
        When to give up.
    equilibrate, refine : bool
        Whether to scale the data, and to refine the solution of every linear system.
    """
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    # By itself Clarabel takes another factorisation for large problems, whose ordering fills twice
    # as much: five networks took it three times as long.
    settings.direct_solve_method = "qdldl"
    settings.tol_feas = settings.tol_gap_abs = settings.tol_gap_rel = tolerance
    settings.reduced_tol_feas = enough
    settings.reduced_tol_gap_abs = settings.reduced_tol_gap_rel = enough
    settings.max_iter = max_iterations
    settings.equilibrate_enable = equilibrate
    settings.iterative_refinement_enable = refine
    cones: list[Any] = [
        clarabel.ZeroConeT(problem.n_zero),
        clarabel.NonnegativeConeT(problem.n_nonnegative),
        *(clarabel.SecondOrderConeT(n) for n in problem.second_order),
    ]
    units = Units.of(problem)
    posed = units.pose(problem)
    by_column = sparse.csc_array(posed.matrix)
    start = time.perf_counter()  # the solver's own clock leaves out that it reads the problem
    result = clarabel.DefaultSolver(
        posed.quadratic,
        posed.linear,
        by_column,
        posed.offset,
        cones,
        settings,
    ).solve()
    solution = ConicSolution(
        x=np.array(result.x),
        z=np.array(result.z),
        objective=result.obj_val,
        status=str(result.status),
        iterations=result.iterations,
        seconds=time.perf_counter() - start,
    )
    return units.read(solution)


def solve_with_scs(
    problem: ConicProblem, *, tolerance: float, max_iterations: int
) -> ConicSolution:
    """Ask SCS, an operator-splitting method: slow, and different in every way from Clarabel.

    Parameters
    ----------
    problem : ConicProblem
        The problem.
    tolerance : float
        Of feasibility and gap.
    max_iterations : int
        When to give up; a limit of time would make results depend on the machine.
    """
    data = {
        "P": sparse.csc_matrix(problem.quadratic),
        "A": sparse.csc_matrix(problem.matrix),
        "b": problem.offset,
        "c": problem.linear,
    }
    cone = {"z": problem.n_zero, "l": problem.n_nonnegative, "q": list(problem.second_order)}
    result = scs.solve(
        data, cone, verbose=False, eps_abs=tolerance, eps_rel=tolerance, max_iters=max_iterations
    )
    info = result["info"]
    return ConicSolution(
        x=np.array(result["x"]),
        z=np.array(result["y"]),
        objective=info["pobj"],
        status=info["status"],
        iterations=info["iter"],
        seconds=(info["setup_time"] + info["solve_time"]) / 1000,
    )
