"""The only caller of the conic solvers: every status becomes a solution or a named error.

A problem goes down a ladder of rungs until one gives a usable solution: the first solver with
tight settings, twice with other ones, a second solver, and at last the first one again on the
problem with softened constraints. A solution is usable if its status says so, its size is that of
the problem, all its numbers are finite, and it keeps the constraints.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from market.errors import NotFiniteError, SolverFailedError
from market.softening import harden, soften
from market.solvers import solve_with_clarabel, solve_with_scs

if TYPE_CHECKING:
    from collections.abc import Callable

    from market.conic_problem import ConicProblem, ConicSolution

log = logging.getLogger(__name__)

FEASIBILITY = 1e-5
"""By how much a constraint may be missed, over the largest offset: ten times the loosest tolerance,
and far below what matters. [-]"""
SOFTENED = "softened"


@dataclass(frozen=True)
class Rung:
    """One way to solve a problem."""

    name: str
    solver: Callable[[ConicProblem], ConicSolution]
    accepts: frozenset[str]
    """Statuses of a solution that may be used."""


SOLVED = frozenset({"Solved"})
ALMOST = SOLVED | {"AlmostSolved"}


def _clarabel(tolerance: float, enough: float, **settings: Any) -> partial[ConicSolution]:
    """Ask Clarabel with settings of its own."""
    defaults = {"max_iterations": 300, "equilibrate": True, "refine": True}
    asked = defaults | settings
    return partial(solve_with_clarabel, tolerance=tolerance, enough=enough, **asked)


LADDER = (
    # All numbers are of the order of one; the solver's own equilibration chases the tiny curvature
    # of the loss terms and needs half as many iterations again.
    # Refining every linear solve doubles the time and, at this tolerance, changes no iteration.
    Rung(
        "tight", _clarabel(1e-9, 1e-7, max_iterations=100, equilibrate=False, refine=False), ALMOST
    ),
    Rung("scaled", _clarabel(1e-7, 1e-7), SOLVED),
    Rung("loose", _clarabel(1e-6, 5e-5, equilibrate=False), ALMOST),
    Rung(
        "second_solver",
        partial(solve_with_scs, tolerance=1e-6, max_iterations=10_000),
        frozenset({"solved"}),
    ),
    # The price of the slack makes the equilibration worth its while.
    Rung(SOFTENED, _clarabel(1e-8, 1e-8), SOLVED),
)


def solve(problem: ConicProblem) -> ConicSolution:
    """Solve a conic problem by the first rung of the ladder that can.

    Parameters
    ----------
    problem : ConicProblem
        The problem.

    Returns
    -------
    ConicSolution
        The solution; ``fallback`` names its rung, unless it is the first. That of the last rung
        misses some constraints, by as little as it can.

    Raises
    ------
    SolverFailedError
        If no rung gives a usable solution; the message lists what became of each.
    NotFiniteError
        If the problem itself holds what is not a number.
    """
    _require_numbers(problem)
    outcomes: list[str] = []
    seconds = 0.0
    for rung in LADDER:
        solution, outcome = _climb(problem, rung)
        if solution is not None:
            seconds += solution.seconds
            if not outcome:
                return _told(solution, rung, seconds, outcomes)
        outcomes.append(f"{rung.name}: {outcome}")
    raise SolverFailedError("; ".join(outcomes))


def _climb(problem: ConicProblem, rung: Rung) -> tuple[ConicSolution | None, str]:
    """Try one rung; return its solution, if any, and what is wrong with it."""
    try:
        posed = soften(problem) if rung.name == SOFTENED else problem
        solution = _attempt(posed, rung)
        outcome = _fault(posed, solution, rung)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of the solver is none of the ordinary exceptions
        return None, f"{type(error).__name__} {error}"
    if not outcome and posed is not problem:
        solution = harden(problem, posed, solution)
    return solution, outcome


def _attempt(problem: ConicProblem, rung: Rung) -> ConicSolution:
    return rung.solver(problem)


def _fault(problem: ConicProblem, solution: ConicSolution, rung: Rung) -> str:
    """Say why a solution cannot be used; empty if it can."""
    if solution.status not in rung.accepts:
        return solution.status
    sizes = solution.z.shape + solution.x.shape
    if sizes != problem.matrix.shape:
        return f"{solution.status}, but of size {sizes} instead of {problem.matrix.shape}"
    if not (np.isfinite(solution.x).all() and np.isfinite(solution.z).all()):
        return f"{solution.status}, but not finite"
    missed = problem.infeasibility(solution.x)
    if not missed <= FEASIBILITY * max(1.0, float(np.abs(problem.offset).max(initial=0.0))):
        return f"{solution.status}, but misses a constraint by {missed:.3g}"
    return ""


def _told(
    solution: ConicSolution, rung: Rung, seconds: float, outcomes: list[str]
) -> ConicSolution:
    """Name the rung that a solution comes from, and log it unless it is the first."""
    if not outcomes:
        return solution
    log.warning("solved only by fallback %s (%s)", rung.name, "; ".join(outcomes))
    return replace(solution, fallback=rung.name, seconds=seconds)


def _require_numbers(problem: ConicProblem) -> None:
    """No rung can help a problem that is not made of numbers."""
    parts = {
        "quadratic cost": problem.quadratic.data,
        "cost": problem.linear,
        "coefficient": problem.matrix.data,
        "offset": problem.offset,
    }
    for name, values in parts.items():
        if not np.isfinite(values).all():
            raise NotFiniteError(f"the clearing problem has a {name} that is not a finite number")
