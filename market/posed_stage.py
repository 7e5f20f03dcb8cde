"""A first-stage problem put together: numbers alone, which any thread may solve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from market.elimination import leave_for_last
from market.presolve import presolve
from market.solve import solve

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from market.branch_flow import Block
    from market.chance import ChanceRow
    from market.conic_form import ChanceCones, Layout
    from market.conic_problem import ConicProblem, ConicSolution
    from market.relaxation import RelaxedGrid
    from market.settled import Settled
    from market.time_blocks import Coarse

    Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PosedStage:
    """A first stage put together, with all that its solution needs.

    Attributes
    ----------
    problem : ConicProblem
        The problem, its rows multiplied by ``factor``.
    factor : ndarray, shape (n_rows,)
        Units of the rows, see :mod:`market.units`.
    base : ConicProblem
        What CVXPY compiled of it: the first columns, and rows at the head of their cones.
    constant_cost : float
        What no decision changes. [EUR]
    layout : Layout
        Where the variables are.
    rows : tuple of ChanceRow
        The chance constraints as they were given.
    order : ndarray of int
        Order in which those of networks that are not settled stand in the problem.
    cones : ChanceCones
        Their rows.
    relaxed : tuple of RelaxedGrid and Block, optional
        The branch-flow relaxation, where it is part of the problem.
    blocks : callable, optional
        Poses the problem in the blocks of the look-ahead, if there are any.
    asked : ndarray of bool, shape (n_columns,), optional
        Columns that matter; by default all.
    joining : ndarray of bool, shape (n_rows,), optional
        Rows that join many networks.
    settled : Settled, optional
        Networks that stay as an earlier pass left them.
    held : tuple of ndarray of bool and ndarray, shape (n_columns,) each, optional
        Their columns, and what these are; not together with blocks.
    """

    problem: ConicProblem
    factor: Array
    base: ConicProblem
    constant_cost: float
    layout: Layout
    rows: tuple[ChanceRow, ...]
    order: NDArray[np.intp]
    cones: ChanceCones
    relaxed: tuple[RelaxedGrid, Block] | None
    blocks: Callable[[ConicProblem], Coarse] | None
    asked: NDArray[np.bool_] | None
    joining: NDArray[np.bool_] | None
    settled: Settled | None
    held: tuple[NDArray[np.bool_], Array] | None

    def solve(self) -> ConicSolution:
        """Solve in the blocks of the look-ahead, without what needs no solver.

        Raises
        ------
        SolverFailedError
            If the solver gives no usable solution.
        """
        if self.blocks is None:
            return _without_the_idle(self.problem, self.asked, self.joining, self.held)
        coarse = self.blocks(self.problem)
        asked = None if self.asked is None else coarse.spread.T @ self.asked > 0
        joining = None if self.joining is None else coarse.gather @ self.joining > 0
        return coarse.restore(_without_the_idle(coarse.problem, asked, joining))


def _without_the_idle(
    problem: ConicProblem,
    asked: NDArray[np.bool_] | None,
    joining: NDArray[np.bool_] | None,
    held: tuple[NDArray[np.bool_], Array] | None = None,
) -> ConicSolution:
    """Solve what the presolve leaves."""
    presolved = presolve(problem, asked, held)
    left = presolved.problem
    if joining is not None:
        left = leave_for_last(left, np.flatnonzero(joining[presolved.kept_rows]))
    return presolved.restore(solve(left))
