r"""What cannot move, or moves nothing else, is taken out of a conic problem before it is solved.

Plants without sun, closed batteries and reactive power where no grid row is near make up a fifth
of the columns. Three kinds are left out, exactly:

- a *fixed* column, whose bounds meet;
- a *lone* column, which stands in no row but its bounds: its optimum is known in closed form;
- an *idle* block: columns that share rows with each other, but with none of those that are asked
  for. They stay at zero, and their part of the solution means nothing.

The duals of the bounds of a column that was left out are its reduced cost
:math:`r = P x + q + A^T z`, on the side it has the sign of (the presolve of linear programmes as in
Andersen and Andersen, Math. Program. 71, 1995, doi:10.1007/BF01586000).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from market.conic_problem import ConicProblem, ConicSolution

    Array = NDArray[np.float64]
    Mask = NDArray[np.bool_]
    Index = NDArray[np.intp]

MEET = 1e-9
"""Bounds that are closer than this meet. [unit of the column]"""
CROSS = 1e-6
"""Bounds that cross by more than this contradict each other: the solver shall say so."""


@dataclass(frozen=True, eq=False)
class Box:
    """Bounds of the columns, as nonnegative rows with a single entry state them."""

    lower: Array
    upper: Array
    lower_row: Index
    """Row of the tightest lower bound, -1 where there is none."""
    upper_row: Index
    is_bound: Mask
    """By row, whether it is a bound."""

    @classmethod
    def of(cls, problem: ConicProblem, rows: sparse.csr_array) -> Box:
        """Read the bounds of a problem whose matrix is given by rows."""
        n_columns = rows.shape[1]
        is_bound = np.diff(rows.indptr) == 1
        is_bound[: problem.n_zero] = is_bound[problem.n_linear :] = False
        row = np.flatnonzero(is_bound)
        entry = rows.indptr[row]
        column, slope = rows.indices[entry], rows.data[entry]
        bound = problem.offset[row] / slope
        sides = []
        for tighten, which, free in (
            (np.maximum, slope < 0, -np.inf),
            (np.minimum, slope > 0, np.inf),
        ):
            limit = np.full(n_columns, free)
            tighten.at(limit, column[which], bound[which])
            stated_by = np.full(n_columns, -1, dtype=np.intp)
            tightest = bound[which] == limit[column[which]]
            stated_by[column[which][tightest]] = row[which][tightest]
            sides += [limit, stated_by]
        lower, lower_row, upper, upper_row = sides
        return cls(lower, upper, lower_row, upper_row, is_bound)


@dataclass(frozen=True, eq=False)
class Presolved:
    """A problem without the columns that need no solver.

    Attributes
    ----------
    full : ConicProblem
        The whole problem.
    rows : sparse array, shape (n_rows, n_columns)
        Its matrix without zeros.
    box : Box
        Its bounds.
    out : ndarray of bool, shape (n_columns,)
        Columns that are left out.
    idle : ndarray of bool, shape (n_columns,)
        Those of them that stand in idle blocks.
    value : ndarray, shape (n_columns,)
        Their values; zero for the others.
    """

    full: ConicProblem
    rows: sparse.csr_array
    box: Box
    out: Mask
    idle: Mask
    value: Array

    def touched(self, columns: Mask) -> Mask:
        """Rows in which any of some columns stands."""
        entries = np.repeat(np.arange(self.rows.shape[0]), np.diff(self.rows.indptr))
        return np.bincount(entries, columns[self.rows.indices], minlength=self.rows.shape[0]) > 0

    @cached_property
    def kept_rows(self) -> Mask:
        """Rows in which any column is left; second-order cones stay whole."""
        left = self.touched(~self.out)
        left[self.full.n_linear :] = True
        return left

    @cached_property
    def problem(self) -> ConicProblem:
        """What is left."""
        full, keep, rows = self.full, ~self.out, self.kept_rows
        quadratic = full.quadratic[:, keep]
        return replace(
            full,
            quadratic=sparse.csc_array(quadratic[keep]),
            linear=(full.linear + _times(full.quadratic, self.value))[keep],
            matrix=self.rows[rows][:, keep],
            offset=(full.offset - self.rows @ self.value)[rows],
            n_zero=int(rows[: full.n_zero].sum()),
            n_nonnegative=int(rows[full.n_zero : full.n_linear].sum()),
        )

    def restore(self, solution: ConicSolution) -> ConicSolution:
        """Complete a solution of what is left."""
        full = self.full
        x, z = self.value.copy(), np.zeros(len(full.offset))
        x[~self.out] = solution.x
        z[self.kept_rows] = solution.z
        slope = _times(full.quadratic, x)
        reduced_cost = slope + full.linear + self.rows.T @ z
        priced = self.out & ~self.idle
        for stated_by, side in ((self.box.lower_row, 1.0), (self.box.upper_row, -1.0)):
            pushed = np.flatnonzero(priced & (side * reduced_cost > 0) & (stated_by >= 0))
            row = stated_by[pushed]
            z[row] = np.abs(reduced_cost[pushed] / self.rows.data[self.rows.indptr[row]])
        objective = float(x @ slope / 2 + full.linear @ x)
        return replace(solution, x=x, z=z, objective=objective)


def presolve(
    problem: ConicProblem, asked: Mask | None = None, held: tuple[Mask, Array] | None = None
) -> Presolved:
    """Find the columns that need no solver.

    Parameters
    ----------
    problem : ConicProblem
        The problem.
    asked : ndarray of bool, shape (n_columns,), optional
        Columns whose part of the solution matters; by default all.
    held : tuple of ndarray of bool and ndarray, shape (n_columns,) each, optional
        Columns that stay as they are, and their values. What rows say of nothing else is not looked
        at, and their duals mean nothing.

    Returns
    -------
    Presolved
        With nothing left out where bounds or rows contradict each other at first sight.
    """
    rows = problem.matrix.copy()
    rows.eliminate_zeros()  # parameters that happen to be zero keep their place in the matrix
    box = Box.of(problem, rows)
    n_columns = len(problem.linear)
    lower, upper = box.lower, box.upper
    fixed = upper - lower <= MEET
    lone, optimum = _lone(problem, rows, box)
    idle = np.zeros(n_columns, dtype=bool) if asked is None else ~_reached(problem, rows, asked)
    value = np.zeros(n_columns)
    value[lone] = optimum[lone]
    value[fixed] = (lower[fixed] + upper[fixed]) / 2
    value[idle] = 0.0
    stays, at = (np.zeros(n_columns, dtype=bool), value) if held is None else held
    value = np.where(stays, at, value)
    found = Presolved(problem, rows, box, fixed | lone | idle | stays, idle, value)
    settled = ~(found.kept_rows | found.touched(idle | stays))
    rest = problem.offset - rows @ value
    contradiction = (upper - lower).min(initial=0.0) < -CROSS
    missed = np.where(np.arange(len(rest)) < problem.n_zero, np.abs(rest), -rest)
    if contradiction or missed[settled].max(initial=0.0) > CROSS:
        return Presolved(problem, rows, box, stays, idle & stays, np.where(stays, at, 0.0))
    return found


def _lone(problem: ConicProblem, rows: sparse.csr_array, box: Box) -> tuple[Mask, Array]:
    """Find columns that stand in no row but their bounds, and where their optimum is."""
    n_columns = len(problem.linear)
    shared = np.repeat(~box.is_bound, np.diff(rows.indptr))
    in_rows = np.bincount(rows.indices[shared], minlength=n_columns)
    curvature, entries = problem.quadratic.diagonal(), problem.quadratic.tocoo()
    off = entries.row != entries.col
    mixed = np.bincount(np.concatenate([entries.row[off], entries.col[off]]), minlength=n_columns)
    cost = problem.linear
    curved = curvature > 0
    downhill = np.where(cost > 0, -np.inf, np.where(cost < 0, np.inf, 0.0))
    bottom = np.divide(-cost, curvature, out=downhill, where=curved)
    optimum = np.clip(bottom, box.lower, box.upper)
    return (in_rows == 0) & (mixed == 0) & np.isfinite(optimum), optimum


def _reached(problem: ConicProblem, rows: sparse.csr_array, asked: Mask) -> Mask:
    """Find the columns that share rows, or squares, with the ones that are asked for."""
    block = connected_components(_neighbours(problem, rows), directed=False)[1]
    block = block[: len(asked)]
    wanted = np.zeros(block.max(initial=0) + 1, dtype=bool)
    wanted[block[asked]] = True
    return wanted[block]


def _neighbours(problem: ConicProblem, rows: sparse.csr_array) -> sparse.coo_array:
    """Join columns by their rows and their products; the rows stand behind the columns."""
    n_columns = rows.shape[1]
    by_row, squares = rows.tocoo(), problem.quadratic.tocoo()
    # The rows of a cone belong together: the first one stands for all.
    place = np.arange(rows.shape[0])
    place[problem.n_linear :] = np.repeat(
        problem.n_linear + np.cumsum([0, *problem.second_order])[:-1], problem.second_order
    )
    ends = (
        np.concatenate([by_row.col, squares.row]),
        np.concatenate([n_columns + place[by_row.row], squares.col]),
    )
    size = n_columns + rows.shape[0]
    return sparse.coo_array((np.ones(len(ends[0])), ends), shape=(size, size))


def _times(upper_triangle: sparse.csc_array, x: Array) -> Array:
    """Multiply the symmetric matrix of an upper triangle with a vector."""
    product: Array = upper_triangle @ x + upper_triangle.T @ x - upper_triangle.diagonal() * x
    return product
