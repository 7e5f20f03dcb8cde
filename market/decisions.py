"""What a solution of the first stage decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from market.exchange import TOGETHER

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from market.branch_flow import Relaxation
    from market.exchange import Coordination

    Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Decisions:
    """Optimal values of the variables, named like them, and the duals of all rows.

    Attributes
    ----------
    values : dict of str to ndarray
        Every variable of :class:`~market.variables.Variables`.
    duals : dict of str to ndarray
        Dual of every labelled constraint. [EUR per unit of the constraint and step]
    mu : ndarray, shape (n_rows,)
        Duals of the chance constraints: what a higher limit would save. [EUR/p.u.]
    objective : float
        Optimal value of the window. [EUR]
    solver_s : float
        Time inside the solver. [s]
    relaxation : Relaxation, optional
        How exact the branch-flow relaxation is, where it is part of the problem.
    fallback : str
        Empty, or the rung of :mod:`market.solve` that found the solution.
    coordination : Coordination
        How well networks agree that solve their own problems.
    """

    values: dict[str, Array]
    duals: dict[str, Array]
    mu: Array
    objective: float
    solver_s: float
    relaxation: Relaxation | None = None
    fallback: str = ""
    coordination: Coordination = TOGETHER
