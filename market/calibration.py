"""How far the errors can push each grid constraint, and what a schedule therefore promises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from market.ambiguity import joint_margin, worst_case_probability
from market.chance import ChanceRow, Moments
from market.parameters import SecondStage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from market.chance import RowErrors
    from market.offers import ErrorSamples, NetworkOffer
    from market.safety_factors import SafetyFactor

    Array = NDArray[np.float64]

NEAR_BINDING, NEAR_AHEAD = 6.0, 0.5
"""A row enters the problem when it misses or exceeds its margin by less than this many sigmas, in
the steps that bind and further ahead."""
SIGMA_FLOOR = 1e-6
"""Standard deviations below this are those of rows no error reaches; above the solver's accuracy,
so that a schedule on its limit is not taken for one beyond it. [p.u.]"""
FOLLOWS = 0.05
"""A row follows the common safety factor when within this many sigmas of it."""


@dataclass(frozen=True, eq=False)
class Hour:
    """Chance constraints of one network and step as last calibrated.

    Attributes
    ----------
    margin : ndarray, shape (n_rows,)
        Mean error plus safety margin. [p.u.]
    moments : Moments
        Moments of the rows' errors.
    kappa : ndarray, shape (n_rows,)
        Safety factors.
    gain : ndarray, shape (n_rows,)
        Recourse gain at the schedule. [p.u./kW]
    chosen : ndarray of int
        Rows that stand in the problem.
    """

    margin: Array
    moments: Moments
    kappa: Array
    gain: Array
    chosen: NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Audit:
    """What the AC-exact schedule promises in one network and binding step.

    Attributes
    ----------
    certificate : float
        Exact worst-case probability that any limit of the network is violated.
    kappa : ndarray, shape (n_rows,)
        Safety factors at the schedule.
    gap : ndarray, shape (n_rows,)
        Room left beyond the margins; negative where a margin is missed. [sigma]
    binding : bool
        Whether a grid constraint of the step has a nonzero dual.
    """

    certificate: float
    kappa: Array
    gap: Array
    binding: bool


@dataclass(frozen=True, eq=False)
class _Standing:
    """Where the rows of one network and step stand under the errors and the recourse."""

    z: Array
    """Standardised errors, (n_samples, n_rows)."""
    weights: Array
    moments: Moments
    mean: Array
    sigma: Array
    slack_ratio: Array
    """Distance to the limit beyond the mean error. [sigma]"""
    kappa: Array
    """Safety factors."""

    @classmethod
    def of(
        cls,
        factor: SafetyFactor,
        offer: NetworkOffer,
        samples: ErrorSamples,
        *,
        t: int,
        gain: Array,
        known: Hour | None,
    ) -> _Standing:
        errors = samples.rows(t, offer.d_p[t], offer.d_q[t])
        moments = Moments.of(errors)
        z, sigma, mean = standardise(errors, moments, gain)
        slack_ratio = (offer.limit - offer.value[t] - mean) / sigma
        kappa = factor.factors(z, errors.weights, kept_distance(slack_ratio, known))
        return cls(z, errors.weights, moments, mean, sigma, slack_ratio, kappa)


def calibrate(
    factor: SafetyFactor,
    offer: NetworkOffer,
    samples: ErrorSamples,
    t: int,
    *,
    gain: Array,
    known: Hour | None,
    reach: float,
) -> Hour:
    """Find safety factors at a schedule and the rows that stand close to their limits.

    Parameters
    ----------
    factor : SafetyFactor
        The method.
    offer : NetworkOffer
        Linear model at the schedule.
    samples : ErrorSamples
        Error samples of the network.
    t : int
        Step of the window.
    gain : ndarray, shape (n_rows,)
        Recourse gain at the schedule. [p.u./kW]
    known : Hour, optional
        The calibration before; its rows are kept.
    reach : float
        How close a row has to come to its margin to be chosen. [sigma]
    """
    at = _Standing.of(factor, offer, samples, t=t, gain=gain, known=known)
    exceedance = at.kappa - at.slack_ratio
    # Of neighbouring rows only the worst: the local maxima along the tree.
    chosen = np.flatnonzero((exceedance > -reach) & offer.peaks(exceedance * at.sigma))
    if known is not None:
        chosen = np.union1d(known.chosen, chosen)
    return Hour(at.mean + at.kappa * at.sigma, at.moments, at.kappa, gain, chosen)


def certify(
    factor: SafetyFactor,
    offer: NetworkOffer,
    samples: ErrorSamples,
    t: int,
    *,
    gain: Array,
    known: Hour | None,
    binding: bool,
) -> Audit:
    """Certify one network and step at the AC-exact schedule; arguments as in :func:`calibrate`."""
    at = _Standing.of(factor, offer, samples, t=t, gain=gain, known=known)
    if offer.converged[t]:
        margin = joint_margin(at.z, at.slack_ratio)
        certificate = worst_case_probability(margin, at.weights, factor.radius)
    else:
        certificate = 1.0
    return Audit(certificate, at.kappa, at.slack_ratio - at.kappa, binding)


def kept_distance(slack_ratio: Array, known: Hour | None) -> Array:
    """Distance that rows keep whatever the safety factor; zero for rows that follow it.

    Rows follow the factor that stand where the last one put them, or closer to their limits.
    """
    imposed = known.kappa.max() if known is not None else 0.0
    follows = slack_ratio <= max(float(slack_ratio.min()), imposed) + FOLLOWS
    return np.where(follows, 0.0, slack_ratio)


def standardise(errors: RowErrors, moments: Moments, gain: Array) -> tuple[Array, Array, Array]:
    """Standardise the row errors under a recourse gain.

    Returns
    -------
    z : ndarray, shape (n_samples, n_rows)
        Errors with mean zero and standard deviation one.
    sigma, mean : ndarray, shape (n_rows,)
        Standard deviation and mean. [p.u.]
    """
    mean = moments.mean(gain)
    sigma = np.maximum(moments.sigma(gain), SIGMA_FLOOR)
    return (errors.recourse(gain) - mean) / sigma, sigma, mean


def pose_rows(
    offer: NetworkOffer,
    hour: Hour,
    fixed: tuple[Array, Array],
    *,
    network: int,
    t: int,
    conic: bool,
) -> list[ChanceRow]:
    """Pose the chosen rows of one network and step.

    Parameters
    ----------
    offer : NetworkOffer
        Linear model.
    hour : Hour
        Calibration.
    fixed : tuple of ndarray, shape (n_steps, n_members)
        Active and reactive injections when all devices rest. [kW, kvar]
    network, t : int
        Network and step of the window.
    conic : bool
        Whether the step binds, so that its rows are cones.
    """
    if not len(hour.chosen):
        return []
    moments = hour.moments
    room = offer.limit - offer.constant(t, *fixed) - moments.mean_u
    return [
        ChanceRow(
            network=network,
            step=t,
            conic=conic and hour.kappa[r] > 0,
            d_p=offer.d_p[t][r],
            d_q=offer.d_q[t][r],
            room=float(room[r]),
            kappa=float(hour.kappa[r]),
            beta=float(moments.beta[r]),
            remainder=float(moments.remainder[r]),
            mean_omega=moments.mean_omega,
            std_omega=moments.std_omega,
            gain=float(hour.gain[r]),
        )
        for r in hour.chosen
    ]


def second_stage(
    factor: SafetyFactor, samples: Sequence[ErrorSamples], n_steps: int
) -> SecondStage:
    """Gather the statistics of each network's total error, by step."""
    shape = (n_steps, len(samples))
    surplus, shortage, transport, reserve = (np.zeros(shape) for _ in range(4))
    for d, sample in enumerate(samples):
        for t in range(n_steps):
            omega, weights = sample.omega(t), sample.weights(t)
            mean = weights @ omega
            sigma = float(np.sqrt(weights @ (omega - mean) ** 2))
            surplus[t, d] = weights @ np.maximum(omega, 0)
            shortage[t, d] = weights @ np.maximum(-omega, 0)
            transport[t, d] = factor.radius * sigma
            z = (omega - mean) / sigma if sigma > 0 else np.zeros_like(omega)
            reserve[t, d] = abs(mean) + factor.two_sided(z, weights) * sigma
    return SecondStage(surplus, shortage, transport, reserve)
