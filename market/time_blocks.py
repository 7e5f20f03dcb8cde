r"""Coarser blocks late in the look-ahead window: several steps that decide as one.

With the columns of the first stage :math:`x = M y` and its rows :math:`R (b - A x)`, the coarse
problem is that of y. M holds every decision over the steps of a block, and lets stored energy and
backlogs move along a straight line; R takes the mean of a block's rows, except that what is stored
has to fit at its end only. A block of one step changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from market.conic_problem import ConicProblem, ConicSolution

    Array = NDArray[np.float64]

STATES = ("energy", "backlog")
"""Variables that carry over from step to step."""
OF_STATES = (
    "energy_min",
    "energy_max",
    "energy_floor",
    "energy_ceiling",
    "backlog_min",
    "backlog_max",
)
"""Constraints that a state keeps at the end of a block."""


@dataclass(frozen=True, eq=False)
class Coarse:
    """A problem in blocks, and the way back to its steps.

    Attributes
    ----------
    problem : ConicProblem
        The coarse problem.
    spread : sparse array, shape (n_columns, n_coarse_columns)
        M: what the blocks mean for the steps.
    gather : sparse array, shape (n_coarse_rows, n_rows)
        R: which rows of the steps a block keeps.
    """

    problem: ConicProblem
    spread: sparse.csc_array
    gather: sparse.csr_array

    def restore(self, solution: ConicSolution) -> ConicSolution:
        """Spread a solution over the steps; the dual of a mean is shared by its steps."""
        return replace(solution, x=self.spread @ solution.x, z=self.gather.T @ solution.z)


@dataclass(frozen=True, eq=False)
class TimeBlocks:
    """Blocks of steps that span the window.

    Attributes
    ----------
    lengths : tuple of int
        Steps of each block; the first is one step long.
    """

    lengths: tuple[int, ...]

    @property
    def n_steps(self) -> int:
        """Steps of the window."""
        return sum(self.lengths)

    @property
    def hold(self) -> sparse.csr_array:
        """Carry a value of each block to its steps, (n_steps, n_blocks)."""
        block = np.repeat(np.arange(len(self.lengths)), self.lengths)
        entries = (np.ones(self.n_steps), (np.arange(self.n_steps), block))
        return sparse.csr_array(entries, shape=(self.n_steps, len(self.lengths)))

    @property
    def ends(self) -> sparse.csr_array:
        """Pick the last step of each block, (n_blocks, n_steps)."""
        n_blocks = len(self.lengths)
        last = np.cumsum(self.lengths) - 1
        return sparse.csr_array(
            (np.ones(n_blocks), (np.arange(n_blocks), last)), shape=(n_blocks, self.n_steps)
        )

    @property
    def interpolate(self) -> sparse.csr_array:
        """Draw a straight line through the ends of the blocks, (n_steps, n_blocks)."""
        length = np.array(self.lengths)
        done = np.concatenate([np.arange(1, n + 1) / n for n in self.lengths])
        block = np.repeat(np.arange(len(length)), length)
        step = np.arange(self.n_steps)
        before = block > 0
        rows = np.concatenate([step, step[before]])
        columns = np.concatenate([block, block[before] - 1])
        weights = np.concatenate([done, 1 - done[before]])
        return sparse.csr_array((weights, (rows, columns)), shape=(self.n_steps, len(length)))

    def coarsen(
        self,
        problem: ConicProblem,
        variables: Sequence[tuple[str, int, int]],
        equal: Sequence[tuple[str, int]],
        unequal: Sequence[tuple[str, int]],
    ) -> Coarse:
        """Pose a first stage in blocks.

        Parameters
        ----------
        problem : ConicProblem
            The problem. What it holds beyond the variables and constraints below stays as it is.
        variables : sequence of (str, int, int)
            Name, first column and number of columns of every variable with a value a step, the
            steps of each entry side by side.
        equal, unequal : sequence of (str, int)
            Label and number of rows of the constraints at the head of the zero and of the
            nonnegative cone, in order, laid out like the variables.
        """
        n_rows, n_columns = problem.matrix.shape
        mean = self.hold.T / np.array(self.lengths)[:, None]
        hold, ends, interpolate = self.hold, self.ends, self.interpolate
        columns = [
            (start, size, interpolate if name in STATES else hold)
            for name, start, size in variables
        ]
        rows = []
        for head, labelled in ((0, equal), (problem.n_zero, unequal)):
            heads = head + np.cumsum([0, *(size for _, size in labelled)])
            rows += [
                (int(at), size, sparse.csr_array((ends if label in OF_STATES else mean).T))
                for at, (label, size) in zip(heads, labelled, strict=False)
            ]
        spread = _blockwise(columns, n_columns)
        gather = _blockwise(rows, n_rows).T
        zero = gather[:, : problem.n_zero]
        nonnegative = gather[:, problem.n_zero : problem.n_linear]
        symmetric = problem.quadratic + sparse.triu(problem.quadratic, 1).T
        coarse = replace(
            problem,
            quadratic=sparse.csc_array(sparse.triu(spread.T @ symmetric @ spread)),
            linear=spread.T @ problem.linear,
            matrix=sparse.csr_array(gather @ problem.matrix @ spread),
            offset=gather @ problem.offset,
            n_zero=int((np.diff(sparse.csr_array(zero).indptr) > 0).sum()),
            n_nonnegative=int((np.diff(sparse.csr_array(nonnegative).indptr) > 0).sum()),
        )
        return Coarse(coarse, spread, sparse.csr_array(gather))


def _blockwise(parts: Sequence[tuple[int, int, sparse.csr_array]], size: int) -> sparse.csc_array:
    """Put maps of the steps of each entry on a diagonal, and ones where there is no map.

    Parameters
    ----------
    parts : sequence of (int, int, sparse array)
        First place, number of places, and the map of its steps, (n_steps, n_blocks).
    size : int
        Number of places.
    """
    diagonal: list[sparse.sparray] = []
    done = 0
    for start, length, steps in sorted(parts, key=lambda part: part[:2]):
        if not length:
            continue
        if start > done:
            diagonal.append(sparse.eye_array(start - done))
        entries = length // steps.shape[0]
        diagonal.append(sparse.kron(sparse.eye_array(entries), steps))
        done = start + length
    if size > done:
        diagonal.append(sparse.eye_array(size - done))
    return sparse.csc_array(sparse.block_diag(diagonal, format="csc"))
