r"""Distributionally robust chance constraints of the grid as second-order cone rows.

A constrained quantity (a voltage, a line current, the substation's power) is, to first order
round the AC operating point :math:`\hat x`,

.. math:: y(x, \xi) = \hat y + Y (x - \hat x) + u(\xi) - g(\alpha)^\top \omega(\xi), \qquad
          g_s(\alpha) = \sum_k Y_k \alpha_{k,s} ,

with :math:`u = Y \xi` what the forecast errors do and :math:`g^\top \omega` what the recourse takes
back; the signals :math:`\omega` (one or two, see :mod:`market.recourse`) add up to the total error.
Splitting :math:`u = \bar u + \beta^\top (\omega - \bar\omega) + o` into the part explained by the
signals and a remainder, with :math:`C = L^\top L` the covariance of the signals, the standard
deviation is :math:`\sigma = \lVert (L (\beta - g),\ \sigma_o) \rVert_2`: a cone of dimension three
or four, whatever the number of error sources. The deterministic equivalent is

.. math:: \hat y + Y (x - \hat x) + \bar u - g^\top \bar\omega + \kappa \sigma \le y_{max} + s .
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_RANK = 1e-12
"""Variance of a combination of signals, over the largest, below which it counts as constant."""
SCALE = 1000.0
"""Rows and their slack are posed in mp.u., so that their entries are of the order of one."""


@dataclass(frozen=True, eq=False)
class RowErrors:
    """What the forecast errors do to the rows of one network and step.

    Attributes
    ----------
    u : ndarray, shape (n_samples, n_rows)
        Effect on every row without recourse. [p.u.]
    signals : ndarray, shape (n_samples, n_signals)
        What the recourse answers: see :class:`~market.recourse.RecoursePolicy`. [kW]
    weights : ndarray, shape (n_samples,)
        Probabilities.
    """

    u: Array
    signals: Array
    weights: Array

    def deviation(self, gain: Array, mean: Array) -> Array:
        """Effect left by a recourse, less its mean: (n_samples, n_rows). [p.u.]

        Parameters
        ----------
        gain : ndarray, shape (n_rows, n_signals)
            Recourse gain. [p.u./kW]
        mean : ndarray, shape (n_rows,)
            Mean of the effect at this gain. [p.u.]
        """
        # The mean is the gain of a signal that is always one: a single product.
        ones = np.ones((len(self.signals), 1))
        return self.u - np.hstack([ones, self.signals]) @ np.column_stack([mean, gain]).T


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and standard deviation of rows as functions of the recourse gain.

    Attributes
    ----------
    mean_u, remainder : ndarray, shape (n_rows,)
        Mean without recourse, and standard deviation of what the signals do not explain. [p.u.]
    beta : ndarray, shape (n_rows, n_signals)
        Part of the effect that the signals explain. [p.u./kW]
    mean_signal : ndarray, shape (n_signals,)
        Mean of the signals. [kW]
    root : ndarray, shape (n_signals, n_signals)
        L with covariance of the signals L'L. [kW]
    """

    mean_u: Array
    remainder: Array
    beta: Array
    mean_signal: Array
    root: Array

    @classmethod
    def of(cls, errors: RowErrors) -> Moments:
        """Regress the row errors on the signals (weighted least squares)."""
        u, w = errors.u, errors.weights
        mean_u, mean_signal = w @ u, w @ errors.signals
        ds = errors.signals - mean_signal
        weighted = w[:, None] * ds
        variance, axes = np.linalg.eigh(weighted.T @ ds)
        variance = np.maximum(variance, 0.0)
        # Directions in which the signals hardly vary explain nothing.
        known = variance > _RANK * variance.max()
        inverse = np.divide(1.0, variance, out=np.zeros_like(variance), where=known)
        beta = (u.T @ weighted) @ (axes * inverse) @ axes.T
        unexplained = errors.deviation(beta, mean_u - beta @ mean_signal)
        remainder = np.sqrt(w @ unexplained**2)
        return cls(mean_u, remainder, beta, mean_signal, np.sqrt(variance)[:, None] * axes.T)

    def mean(self, gain: Array) -> Array:
        """Mean of every row's error at a gain (n_rows, n_signals). [p.u.]"""
        return self.mean_u - gain @ self.mean_signal

    def sigma(self, gain: Array) -> Array:
        """Return the standard deviation of every row's error. [p.u.]"""
        explained = ((self.beta - gain) @ self.root.T) ** 2
        return np.asarray(np.sqrt(explained.sum(axis=1) + self.remainder**2))


@dataclass(frozen=True, eq=False)
class StateTerm:
    """A column of the grid's own state that stands for what the devices' schedules do to a row.

    Attributes
    ----------
    column : int
        Column, counted from the first of the branch-flow relaxation.
    slope : float
        Change of the row per unit of the column. [p.u.]
    """

    column: int
    slope: float


@dataclass(frozen=True)
class Support:
    """The half-plane of a limited magnitude that a row stands for, see ``grid_rows``.

    Attributes
    ----------
    phasor : int
        The phasor, among those of the network.
    direction : complex
        Outward normal, of length one.
    """

    phasor: int
    direction: complex


@dataclass(frozen=True, eq=False)
class ChanceRow:
    """One chance constraint of one network and step, ready for the conic problem.

    In the steps that bind the row is a cone. Further ahead the standard deviation is replaced by
    its tangent at the last recourse gain, which makes the row linear in everything: a lower bound
    of a convex function, tight at the gain last known, and much cheaper than a cone. A row that
    binds without a safety factor is linear as well.

    Attributes
    ----------
    network, step : int
        Where it belongs.
    index : int
        Its place among the network's constrained quantities.
    conic : bool
        Whether the row is a cone.
    d_p, d_q : ndarray, shape (n_members,)
        Sensitivity to the members' injections. [p.u./kW, p.u./kvar]
    room : float
        Limit less the value where every member injects nothing, less the mean error without
        recourse. [p.u.]
    kappa : float
        Safety factor.
    remainder : float
        Standard deviation that the signals do not explain. [p.u.]
    beta : ndarray, shape (n_signals,)
        Effect that the signals explain. [p.u./kW]
    mean_signal, root : ndarray
        Moments of the signals, see :class:`Moments`.
    gain : ndarray, shape (n_signals,)
        Recourse gain at which the tangent touches. [p.u./kW]
    state : StateTerm, optional
        Replaces the sensitivities, but for what the recourse does: see ``relaxation``.
    support : Support, optional
        The half-plane that the row is, where it is one; ``index`` then lies behind the network's
        constrained quantities.
    """

    network: int
    step: int
    index: int
    conic: bool
    d_p: Array
    d_q: Array
    room: float
    kappa: float
    remainder: float
    beta: Array
    mean_signal: Array
    root: Array
    gain: Array
    state: StateTerm | None = None
    support: Support | None = None

    @cached_property
    def tangent(self) -> tuple[float, Array]:
        """Value at no gain, and slopes, of the tangent of the standard deviation. [p.u., kW]"""
        explained = self.root @ (self.beta - self.gain)
        sigma = float(np.hypot(np.linalg.norm(explained), self.remainder))
        slope = -(explained @ self.root) / sigma if sigma > 0 else np.zeros_like(self.gain)
        return sigma - float(slope @ self.gain), slope
