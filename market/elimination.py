"""Which rows the solver's factorisation leaves for the end.

An interior-point method eliminates first what touches little (minimum degree: Amestoy, Davis, Duff,
SIAM J. Matrix Anal. Appl. 17(4), 1996, doi:10.1137/S0895479894278952). The balance of all exchanges
touches little of every network, but something of each: once it is eliminated, the networks are one
dense block. It has to come last, and touches much where its steps share their columns.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from market.conic_problem import ConicProblem


def leave_for_last(problem: ConicProblem, rows: NDArray[np.intp]) -> ConicProblem:
    """Let rows share all of their columns, by zeros that change nothing else.

    Parameters
    ----------
    problem : ConicProblem
        The problem.
    rows : ndarray of int
        The rows.
    """
    matrix = sparse.coo_array(problem.matrix)
    columns = np.unique(matrix.col[np.isin(matrix.row, rows)])
    at = (
        np.concatenate([matrix.row, np.repeat(rows, len(columns))]),
        np.concatenate([matrix.col, np.tile(columns, len(rows))]),
    )
    # Entries at the same place are added up; zeros stay.
    values = np.concatenate([matrix.data, np.zeros(len(rows) * len(columns))])
    return replace(problem, matrix=sparse.csr_array((values, at), shape=matrix.shape))
