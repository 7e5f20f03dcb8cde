"""A conic programme and its solution."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class ConicProblem:
    """Minimise ``x'Px/2 + c'x`` subject to ``b - Ax`` in a product of cones.

    The rows stand in the order zero cone, nonnegative cone, then ``cones``.
    """

    quadratic: sparse.csc_array
    """Upper triangle of P."""
    linear: NDArray[np.float64]
    matrix: sparse.csr_array
    """By rows, which are appended and left out."""
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
        old = self.matrix
        wider = old.shape[0], old.shape[1] + n_new
        rows = sparse.csr_array((old.data, old.indices, old.indptr), shape=wider)
        linear_only = sparse.csc_array((n_new, n_new))
        return replace(
            self,
            quadratic=sparse.block_diag([self.quadratic, linear_only], format="csc"),
            linear=np.concatenate([self.linear, cost]),
            matrix=sparse.vstack([rows[:zero], equal, rows[zero:]], format="csr"),
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
            matrix=sparse.vstack([self.matrix, matrix], format="csr"),
            offset=np.concatenate([self.offset, offset]),
            n_nonnegative=self.n_nonnegative + n_nonnegative,
            second_order=self.second_order + dimensions,
        )

    def with_row_units(self, factor: NDArray[np.float64]) -> ConicProblem:
        """Multiply the rows, shape (n_rows,); the duals are divided. A cone has one factor."""
        matrix = self.matrix.copy()
        matrix.data *= np.repeat(factor, np.diff(matrix.indptr))
        return replace(self, matrix=matrix, offset=factor * self.offset)

    @property
    def n_linear(self) -> int:
        """Rows before the second-order cones."""
        return self.n_zero + self.n_nonnegative

    def infeasibility(self, x: NDArray[np.float64]) -> float:
        """Largest distance by which a point misses a row or a cone."""
        slack = self.offset - self.matrix @ x
        worst = max(
            np.abs(slack[: self.n_zero]).max(initial=0.0),
            -slack[self.n_zero : self.n_linear].min(initial=0.0),
        )
        if self.second_order:
            heads = np.cumsum((0, *self.second_order[:-1]))
            head, squares = slack[self.n_linear + heads], slack[self.n_linear :] ** 2
            squares[heads] = 0.0
            worst = max(worst, (np.sqrt(np.add.reduceat(squares, heads)) - head).max())
        return float(worst)


@dataclass(frozen=True, eq=False)
class ConicSolution:
    """Primal and dual solution.

    Attributes
    ----------
    x : ndarray, shape (n_columns,)
        Primal solution.
    z : ndarray, shape (n_rows,)
        Duals of the rows.
    objective : float
        Value of the solution.
    status : str
        What the solver says of it.
    iterations : int
        Iterations of the solver.
    seconds : float
        Time inside the solver, failed attempts included. [s]
    fallback : str
        Empty, or the name of the rung that found it: see :mod:`market.solve`.
    """

    x: NDArray[np.float64]
    z: NDArray[np.float64]
    objective: float
    status: str
    iterations: int
    seconds: float
    fallback: str = ""
