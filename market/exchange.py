r"""How the DSO finds the price of the exchange between networks that solve their own problems.

Networks d with costs :math:`f_d(e_d)` of their P2P export :math:`e_d` (one value a step) share the
constraint :math:`\sum_d e_d = 0`. Exchange ADMM (Boyd, Parikh, Chu, Peleato, Eckstein, Foundations
and Trends in Machine Learning 3(1), 2011, section 7.3.2, doi:10.1561/2200000016), written as a
Douglas-Rachford iteration on a state :math:`v`: targets that balance and a price,

.. math:: x_d = v_d - \bar v, \qquad \lambda = -\rho \bar v,

go to the networks, each answers with

.. math:: e_d = \arg\min_e f_d(e) - \lambda^\top e + \tfrac{\rho}{2} \lVert e - x_d \rVert^2 ,

and the state moves by :math:`g = e - x` until nobody departs from its target. The costs are
nearly piecewise linear, which makes the plain iteration slow towards its end; Anderson mixing of
the last states (Walker, Ni, SIAM J. Numer. Anal. 49(4), 2011, doi:10.1137/10078356X) takes about
a third of the iterations away. The DSO sees exports only: no bid, no load, no grid.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Ask = Callable[[Array, Array, Array], Array | None]
    """Price and penalty (n_steps,), targets (n_networks, n_steps), to exports like the targets."""

log = logging.getLogger(__name__)

MEMORY = 8
"""States that are mixed."""
_RIDGE = 1e-4
"""Regularisation of the mixing, over the size of the differences."""
_LONGEST = 50.0
"""A mixed move beyond this many plain steps comes of steps too much alike, and is not taken."""
_WORSE = 1.5
"""A step that grows by this factor was mixed from states that no longer tell: they are dropped."""
UNBALANCED = 5.0
"""Ratio of the two kinds of residual at which the penalty is changed."""
CHANGE = 2.0
"""By what factor."""
FARTHEST = 64.0
"""Largest ratio of a penalty to the first one, either way: a tiny one would hold nothing."""
PATIENCE = 4
"""Iterations between changes of the penalty."""
SMALLEST_KW = 1.0
"""Exchanges below this count as this much where residuals are compared with them. [kW]"""


@dataclass(frozen=True, eq=False)
class ExchangeState:
    """Where a coordination ends, and the next one starts.

    Attributes
    ----------
    price : ndarray, shape (n_steps,)
        Price of the exchange. [EUR/kWh]
    target_kw : ndarray, shape (n_networks, n_steps)
        P2P exports that balance in every step. [kW]
    """

    price: Array
    target_kw: Array

    def shifted(self, n_steps: int, *, whole_days: bool, price: Array) -> ExchangeState:
        """Move to a window that starts some steps later.

        Steps that enter the window take what held at the same time of day, where the window is a
        whole number of days; else nothing is exchanged in them, at a given price.
        """
        moved, target = np.roll(self.price, -n_steps), np.roll(self.target_kw, -n_steps, axis=1)
        if not whole_days:
            new = slice(-n_steps, None)
            moved[new], target[:, new] = price[new], 0.0
        return ExchangeState(moved, target)


@dataclass(frozen=True, eq=False)
class Agreement:
    """The end of a coordination.

    Attributes
    ----------
    state : ExchangeState
        Price and balanced exports.
    n_iterations : int
        How often the networks were asked.
    residual : float
        Largest departure from a target, over the largest export. [-]
    agreed : bool
        Whether that is within the tolerance.
    """

    state: ExchangeState
    n_iterations: int
    residual: float
    agreed: bool


def coordinate(
    ask: Ask, start: ExchangeState, *, penalty: float, tolerance: float, max_iterations: int
) -> Agreement:
    """Ask the networks until each exports what the others import.

    Parameters
    ----------
    ask : callable
        The networks' answer to a price, targets and penalties; None where some network has none,
        which ends the coordination.
    start : ExchangeState
        First price and targets.
    penalty : float
        First penalty: about the range of prices over that of exchanges. [EUR/kWh per kW]
    tolerance : float
        Largest residual to stop at. [-]
    max_iterations : int
        Largest number of iterations.
    """
    penalties = np.full(len(start.price), penalty)
    state = start.target_kw - start.price / penalties
    mixing, residual, unchanged = Mixing(), float("inf"), 0
    for n in range(1, max_iterations + 1):
        mean = state.mean(axis=0)
        target, price = state - mean, -penalties * mean
        export = ask(price, target, penalties)
        if export is None:
            break
        step = export - target
        scale = max(float(np.abs(export).max()), SMALLEST_KW)
        residual = float(np.abs(step).max()) / scale
        log.debug("iteration %d: residual %.2e", n, residual)
        if residual <= tolerance:
            break
        state, unchanged = mixing.next(state, step), unchanged + 1
        if unchanged >= PATIENCE:
            open_ = np.abs(step).max(axis=0) > tolerance * scale
            wanted = penalties * np.where(open_, _penalty_change(step), 1.0)
            change = np.clip(wanted, penalty / FARTHEST, penalty * FARTHEST) / penalties
            if (change != 1.0).any():  # the price stays what it is
                mean = state.mean(axis=0)
                state = state - mean + mean / change
                penalties, mixing, unchanged = change * penalties, Mixing(), 0
    return Agreement(ExchangeState(price, target), n, residual, agreed=residual <= tolerance)


def _penalty_change(step: Array) -> Array:
    """Factors of the penalties, larger where exports balance less well than they stay, or smaller.

    Boyd et al. 2011, section 3.4.1, for every step by itself.
    """
    common = np.broadcast_to(step.mean(axis=0), step.shape)
    unbalanced = np.linalg.norm(common, axis=0)
    moved = np.linalg.norm(step - common, axis=0)
    raised = np.where(unbalanced > UNBALANCED * moved, CHANGE, 1.0)
    return np.where(moved > UNBALANCED * unbalanced, 1 / CHANGE, raised)


@dataclass(frozen=True, eq=False)
class Coordination:
    """How well the networks agree.

    Attributes
    ----------
    n_iterations : int
        How often they were asked.
    residual : float
        Largest departure from what was agreed, over the largest export. [-]
    gap : float
        By how much the cost may exceed the optimum, as the price proves, over what all load would
        pay the supplier; not a number where only prices were asked for. [-]
    agreed : bool
        Whether residual and gap are what the settings ask for.
    wall_s, networks_s, longest_s : float
        Seconds altogether; of a core, for the networks' problems; and for the longest of each
        round, which is what remains of them with a worker a network. [s]
    """

    n_iterations: int = 0
    residual: float = 0.0
    gap: float = 0.0
    agreed: bool = True
    wall_s: float = 0.0
    networks_s: float = 0.0
    longest_s: float = 0.0


TOGETHER = Coordination()
"""All networks are one problem, or have nothing to agree on."""


class Mixing:
    """Anderson mixing of the last few states of a fixed-point iteration.

    The plain iteration never takes a larger step than the one before. Where a mixed one does, it
    is taken back, and mixing starts afresh from the plain one.
    """

    def __init__(self) -> None:
        self._states: deque[Array] = deque(maxlen=MEMORY + 1)
        self._steps: deque[Array] = deque(maxlen=MEMORY + 1)
        self._mixed = False

    def next(self, state: Array, step: Array) -> Array:
        """Return the next state, given the plain iteration's step from this one."""
        if self._mixed and np.linalg.norm(step) > _WORSE * np.linalg.norm(self._steps[-1]):
            state, step = self._states[-1], self._steps[-1]
            self._states.clear()
            self._steps.clear()
        self._states.append(state)
        self._steps.append(step)
        plain = state + step
        self._mixed = len(self._steps) > 1
        if not self._mixed:
            return plain
        d_step = np.diff([g.ravel() for g in self._steps], axis=0).T
        d_state = np.diff([v.ravel() for v in self._states], axis=0).T
        ridge = _RIDGE * np.linalg.norm(d_step) * np.eye(d_step.shape[1])
        known = np.concatenate([step.ravel(), np.zeros(len(ridge))])
        weights = np.linalg.lstsq(np.vstack([d_step, ridge]), known, rcond=None)[0]
        mixed: Array = plain - ((d_state + d_step) @ weights).reshape(state.shape)
        if np.linalg.norm(mixed - state) > _LONGEST * np.linalg.norm(step):
            self._mixed = False
            return plain
        return mixed
