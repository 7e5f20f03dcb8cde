r"""The units that a conic problem is solved in.

An interior-point method starts from the slacks and duals of a least-squares problem, shifted into
the cones all together (for Clarabel: Goulart, Chen, arXiv:2405.12762). The further these are from
each other and from what slacks and prices will be, the longer is the way. Two things keep it short:
slacks of all rows are powers of a like size, and the solver sees powers and prices of the order of
one. A window of the default scenario then takes two thirds of the iterations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from market.conic_problem import ConicProblem, ConicSolution
    from market.parameters import Parameters
    from market.recourse import RecoursePolicy
    from market.roster import Roster

    Array = NDArray[np.float64]

SMALLEST_ROOM_KW = 1.0
"""What shares of no error, or of next to none, are multiplied with. [kW]"""
SLACKS_PER_MPU = 10.0
"""The slack of the grid, at its high price, counts ten times. [1/mp.u.]"""


@dataclass(frozen=True)
class Units:
    """Units of a problem in which its numbers are of the order of one.

    Attributes
    ----------
    quantity : float
        Median size of the offsets. [kW, mostly]
    price : float
        Median size of the linear costs. [EUR/kW, mostly]
    """

    quantity: float
    price: float

    @classmethod
    def of(cls, problem: ConicProblem) -> Units:
        """Take the medians of what is not zero."""
        return cls(_median_size(problem.offset), _median_size(problem.linear))

    def pose(self, problem: ConicProblem) -> ConicProblem:
        """State a problem in these units."""
        return replace(
            problem,
            quadratic=problem.quadratic * (self.quantity / self.price),
            linear=problem.linear / self.price,
            offset=problem.offset / self.quantity,
        )

    def read(self, solution: ConicSolution) -> ConicSolution:
        """Restate a solution that was found in these units."""
        return replace(
            solution,
            x=solution.x * self.quantity,
            z=solution.z * self.price,
            objective=solution.objective * self.quantity * self.price,
        )


def _median_size(values: Array) -> float:
    sizes = np.abs(values[values != 0.0])
    return float(np.median(sizes)) if len(sizes) else 1.0


def row_units(p: Parameters, policy: RecoursePolicy, roster: Roster) -> dict[str, Array]:
    """Factors by which rows become as large as those that hold powers.

    Parameters
    ----------
    p : Parameters
        Data of the window.
    policy : RecoursePolicy
        The recourse policy.
    roster : Roster
        The registered peers.

    Returns
    -------
    dict of str to ndarray
        By label of a constraint of :mod:`market.constraints`, in its shape: a recourse share is
        worth the power that is kept ready for it. [kW or 1/mp.u.]
    """
    reserve = np.zeros((policy.n_signals, roster.n_steps, policy.n_pools))
    for signal, kw in (
        (policy.surplus, p.reserve_down_kw),
        (policy.shortage, p.reserve_up_kw),
    ):
        reserve[signal] = np.maximum(reserve[signal], np.asarray(kw.value))
    room = np.maximum(reserve, SMALLEST_ROOM_KW).swapaxes(0, 1)
    pool = policy.pool_of[roster.network_of[roster.recourse]]
    return {
        "alpha_min": room[:, :, pool].reshape(roster.n_steps, -1),
        "alpha_upstream_min": room.reshape(roster.n_steps, -1),
        "violation_min": np.full((roster.n_steps, roster.n_networks), SLACKS_PER_MPU),
    }
