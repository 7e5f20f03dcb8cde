r"""Distributionally robust chance constraints of the grid as second-order cone rows.

A constrained quantity (a voltage, a line current, the substation's power) is, to first order
round the AC operating point :math:`\hat x`,

.. math:: y(x, \xi) = \hat y + Y (x - \hat x) + u(\xi) - g(\alpha)\, \Omega(\xi), \qquad
          g(\alpha) = \sum_k Y_k \alpha_k ,

with :math:`u = Y \xi` what the forecast errors do and :math:`g \Omega` what the recourse takes
back. Splitting :math:`u = \bar u + \beta (\Omega - \bar\Omega) + o` into the part explained by
the network's total error and a remainder, the standard deviation is
:math:`\sigma = \lVert ((\beta - g) \sigma_\Omega,\ \sigma_o) \rVert_2`: a cone of dimension
three, whatever the number of error sources. The deterministic equivalent is

.. math:: \hat y + Y (x - \hat x) + \bar u - g \bar\Omega + \kappa \sigma \le y_{max} + s .
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

SCALE = 1000.0
"""Rows and their slack are posed in mp.u., so that their entries are of the order of one."""


@dataclass(frozen=True, eq=False)
class RowErrors:
    """What the forecast errors do to the rows of one network and step.

    Attributes
    ----------
    u : ndarray, shape (n_samples, n_rows)
        Effect on every row without recourse. [p.u.]
    omega : ndarray, shape (n_samples,)
        Sum of the network's forecast errors, a surplus being positive. [kW]
    weights : ndarray, shape (n_samples,)
        Probabilities.
    """

    u: Array
    omega: Array
    weights: Array

    def recourse(self, gain: Array) -> Array:
        """Return the effect with recourse of a gain per row, (n_samples, n_rows). [p.u.]"""
        return self.u - np.outer(self.omega, gain)


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and standard deviation of rows as functions of the recourse gain."""

    mean_u: Array
    beta: Array
    remainder: Array
    mean_omega: float
    std_omega: float

    @classmethod
    def of(cls, errors: RowErrors) -> Moments:
        """Split the row errors into total error and remainder."""
        w = errors.weights
        mean_u = w @ errors.u
        mean_omega = float(w @ errors.omega)
        du, d_omega = errors.u - mean_u, errors.omega - mean_omega
        variance = float(w @ d_omega**2)
        beta = (w * d_omega) @ du / variance if variance > 0 else np.zeros_like(mean_u)
        remainder = np.sqrt(w @ (du - np.outer(d_omega, beta)) ** 2)
        return cls(mean_u, beta, remainder, mean_omega, float(np.sqrt(variance)))

    def mean(self, gain: Array) -> Array:
        """Mean of every row's error. [p.u.]"""
        return self.mean_u - gain * self.mean_omega

    def sigma(self, gain: Array) -> Array:
        """Return the standard deviation of every row's error. [p.u.]"""
        return np.hypot((self.beta - gain) * self.std_omega, self.remainder)


@dataclass(frozen=True, eq=False)
class ChanceRow:
    """One chance constraint of one network and step, ready for the conic problem.

    In the steps that bind the row is a cone. Further ahead the standard deviation is replaced by
    its tangent at the last recourse gain, which makes the row linear in everything: a lower bound
    of a convex function, tight at convergence, and much cheaper than a cone.

    Attributes
    ----------
    network, step : int
        Where it belongs.
    conic : bool
        Whether the row is a cone.
    d_p, d_q : ndarray, shape (n_members,)
        Sensitivity to the members' injections. [p.u./kW, p.u./kvar]
    room : float
        Limit less the value where every member injects nothing, less the mean error without
        recourse. [p.u.]
    kappa : float
        Safety factor.
    beta, remainder, mean_omega, std_omega : float
        Moments of the row's error, see :class:`Moments`.
    gain : float
        Recourse gain at which the tangent touches. [p.u./kW]
    """

    network: int
    step: int
    conic: bool
    d_p: Array
    d_q: Array
    room: float
    kappa: float
    beta: float
    remainder: float
    mean_omega: float
    std_omega: float
    gain: float

    @property
    def tangent(self) -> tuple[float, float]:
        """Value at no gain, and slope, of the tangent of the standard deviation. [p.u., kW]"""
        explained = (self.beta - self.gain) * self.std_omega
        sigma = float(np.hypot(explained, self.remainder))
        slope = -explained * self.std_omega / sigma if sigma > 0 else 0.0
        return sigma - slope * self.gain, slope
