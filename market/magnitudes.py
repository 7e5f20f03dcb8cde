r"""Limited magnitudes under the forecast errors: how far every sample is from the limit.

A phasor :math:`\varphi(\xi)` that is affine in the errors violates its limit outside a disc of
radius L, the union of the half-planes :math:`\operatorname{Re}(\bar u\varphi) > L` over all
directions u. The distance of a sample to that set is therefore the smallest of its distances to the
half-planes, each over the standard deviation :math:`\sigma_u` of its own row (the dual norm of the
ground metric, see :mod:`market.ambiguity`):

.. math:: d_i = \min_u \frac{L - \operatorname{Re}(\bar u \, \varphi_i)}{\sigma_u} , \qquad
          \sigma_u^2 = (\Re u, \Im u) \, \Sigma \, (\Re u, \Im u)^\top ,

with :math:`\Sigma` the covariance of the real and the imaginary part: a search over one angle,
whatever the number of errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from market.grid_rows import HalfPlanes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from market.offers import NetworkOffer
    from market.roster import Roster
    from market.schedule import Schedule
    from market.uncertainty import Uncertainty

    Array = NDArray[np.float64]
    Complex = NDArray[np.complex128]

NEAR = 0.8
"""A magnitude is near its limit when a sample takes it beyond this part of the limit."""
SIGMA_FLOOR = 1e-6
"""Standard deviations below this are those of rows no error reaches; above the solver's accuracy,
so that a schedule on its limit is not taken for one beyond it: by as much such a row may exceed its
limit. [p.u.]"""
_POLYGON = np.exp(2j * np.pi * np.arange(8) / 8)
"""Directions that enclose a disc wherever the schedule stands."""
_SKETCH = np.exp(1j * np.pi * np.array([0.0, 0.25, -0.25, 1.0]))
"""Directions, from that of the schedule, that enclose a disc roughly."""
_FINE = np.exp(2j * np.pi * np.arange(64) / 64)
_HALVINGS = 14
"""Bisections of the angle between two of the fine directions: to 1e-5 rad."""
_TAIL = 2.0
"""Directions are taken of the nearest samples, of so many times the risk level."""
_MOST_DIRECTIONS = 6
"""Largest number of directions of samples that a phasor gains at a time."""


@dataclass(frozen=True, eq=False)
class Scatter:
    """Where the errors and the recourse take the phasors that come near their limits.

    Attributes
    ----------
    phasor : ndarray of int, shape (n_near,)
        The phasors.
    scheduled : ndarray of complex, shape (n_near,)
        Their values at the schedule. [p.u.]
    samples : ndarray of complex, shape (n_samples, n_near)
        Their values in every sample. [p.u.]
    weights : ndarray, shape (n_samples,)
        Probabilities of the samples.
    limit : ndarray, shape (n_near,)
        Limits of their magnitudes. [p.u.]
    """

    phasor: NDArray[np.intp]
    scheduled: Complex
    samples: Complex
    weights: Array
    limit: Array

    @classmethod
    def of(
        cls,
        offer: NetworkOffer,
        uncertainty: Uncertainty,
        schedule: Schedule,
        roster: Roster,
        place: tuple[int, int],
    ) -> Scatter | None:
        """Find the phasors of one network and step that come near their limits, if any do."""
        phasors = offer.phasors
        if phasors is None:
            return None
        network, t = place
        d_p, d_q, value = phasors.d_p[t], phasors.d_q[t], phasors.value[t]
        limit = offer.limit[phasors.row]
        gain = schedule.gain(roster, network, t, d_p)
        signals = uncertainty.signals(network, t)
        # First a bound that costs next to nothing: no error is larger than the largest sample.
        p_error, q_error = uncertainty.largest_errors(network, t)
        reach = np.abs(d_p) @ p_error + np.abs(d_q) @ q_error
        reach += np.abs(gain) @ np.abs(signals).max(axis=0, initial=0.0)
        able = np.flatnonzero(np.abs(value) + reach >= NEAR * limit)
        if not len(able):
            return None
        effects = uncertainty.effects(network, t, d_p[able], d_q[able])
        samples = value[able] + effects - signals @ gain[able].T
        near = np.abs(samples).max(axis=0) >= NEAR * limit[able]
        if not near.any():
            return None
        return cls(
            phasor=able[near],
            scheduled=value[able[near]],
            samples=samples[:, near],
            weights=uncertainty.weights(network, t),
            limit=limit[able[near]],
        )

    def distances(self) -> tuple[Array, Complex]:
        """Signed distance of every sample to each limit, and the direction it lies in.

        Returns
        -------
        distance : ndarray, shape (n_samples, n_near)
            Negative where the sample violates the limit. [sigma]
        direction : ndarray of complex, shape (n_samples, n_near)
            Normal of the nearest half-plane.
        """
        found = [self._nearest(k) for k in range(len(self.phasor))]
        return (
            np.column_stack([distance for distance, _ in found]),
            np.column_stack([direction for _, direction in found]),
        )

    def half_planes(self, known: HalfPlanes, risk_level: float) -> HalfPlanes:
        """Add the half-planes that describe the limits where they matter.

        A polygon that encloses the disc; the tangent at the schedule, and those halfway to its
        neighbours, as the next schedule will stand somewhere between; and the half-planes that the
        samples nearest to the limit are nearest to.
        """
        distance, direction = self.distances()
        found = {}
        for k, phasor in enumerate(self.phasor.tolist()):
            order = np.argsort(distance[:, k])
            n_tail = 1 + int(np.searchsorted(np.cumsum(self.weights[order]), _TAIL * risk_level))
            tail = order[: min(n_tail, len(order))]
            picked = tail[np.unique(np.linspace(0, len(tail) - 1, _MOST_DIRECTIONS).astype(int))]
            around = _halfway(self.scheduled[k], np.append(known.of(phasor), _POLYGON))
            found[phasor] = np.concatenate([_POLYGON, around, direction[picked, k]])
        return known.joined_with(found)

    def _nearest(self, k: int) -> tuple[Array, Complex]:
        """Distances and directions of one phasor."""
        c, limit = self.samples[:, k], self.limit[k]
        deviation = c - self.weights @ c
        parts = np.stack([deviation.real, deviation.imag])
        covariance = (parts * self.weights) @ parts.T

        def distance(u: Complex) -> Array:
            """Distance of the samples, (n_samples, 1), to half-planes."""
            normal = np.stack([u.real, u.imag])
            variance = np.einsum("a...,ab,b...->...", normal, covariance, normal)
            room: Array = limit - (np.conj(u) * c[:, None]).real
            sigma = np.sqrt(np.maximum(variance, 0.0))
            return room / np.maximum(sigma, SIGMA_FLOOR) + (sigma <= SIGMA_FLOOR)

        own = np.exp(1j * np.angle(c))[:, None]
        trials = np.hstack([np.broadcast_to(_FINE, (len(c), len(_FINE))), own])
        of_trials = distance(trials)
        best = of_trials.argmin(axis=1)[:, None]
        angle = np.angle(np.take_along_axis(trials, best, axis=1))
        smallest = np.take_along_axis(of_trials, best, axis=1)
        width = 2 * np.pi / len(_FINE)
        for _ in range(_HALVINGS):
            for turned in (angle - width, angle + width):
                other = distance(np.exp(1j * turned))
                angle = np.where(other < smallest, turned, angle)
                smallest = np.minimum(smallest, other)
            width /= 2
        return smallest[:, 0], np.exp(1j * angle[:, 0])


def sketched(offer: NetworkOffer, step: int) -> HalfPlanes:
    """Enclose the phasors near their limits roughly: for steps that will be cleared again.

    Parameters
    ----------
    offer : NetworkOffer
        Linear model.
    step : int
        Step of the window.
    """
    if offer.phasors is None:
        return HalfPlanes.none()
    value = offer.phasors.value[step]
    near = np.flatnonzero(np.abs(value) >= NEAR * offer.limit[offer.phasors.row])
    directions = np.exp(1j * np.angle(value[near]))[:, None] * _SKETCH
    return HalfPlanes(np.repeat(near, len(_SKETCH)), directions.ravel())


def _halfway(scheduled: complex, known: Complex) -> Complex:
    """Direction of a phasor and those halfway to the known ones next to it."""
    if abs(scheduled) <= SIGMA_FLOOR:
        return known[:0]
    angle = np.angle(scheduled)
    turn = np.angle(known * np.exp(-1j * angle))
    left, right = turn[turn > 0].min(initial=np.pi), turn[turn <= 0].max(initial=-np.pi)
    directions: Complex = np.exp(1j * (angle + np.array([0.0, left / 2, right / 2])))
    return directions
