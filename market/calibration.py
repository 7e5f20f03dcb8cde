"""How far the errors can push each grid constraint, and what a schedule therefore promises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from market.ambiguity import joint_margin, worst_case_probability
from market.chance import ChanceRow, Moments
from market.parameters import SecondStage
from market.radius import Situation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from market.chance import RowErrors
    from market.offers import NetworkOffer
    from market.safety_factors import SafetyFactor
    from market.uncertainty import Uncertainty

    Array = NDArray[np.float64]

NEAR_BINDING, NEAR_AHEAD = 6.0, 0.5
"""A row enters the problem when it misses or exceeds its margin by less than this many sigmas, in
the steps that bind and further ahead."""
SIGMA_FLOOR = 1e-6
"""Standard deviations below this are those of rows no error reaches; above the solver's accuracy,
so that a schedule on its limit is not taken for one beyond it. [p.u.]"""
RESOLUTION = 1e-4
"""Rooms are measured in standard deviations, but none smaller than this. [p.u.]"""
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
    gain : ndarray, shape (n_rows, n_signals)
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
        Room left beyond the margins, in standard deviations or in units of ``RESOLUTION``, if
        this is larger; negative where a margin is missed. [sigma]
    binding : bool
        Whether a grid constraint of the step has a nonzero dual.
    radius : float
        Radius of the ball that the certificate holds for.
    """

    certificate: float
    kappa: Array
    gap: Array
    binding: bool
    radius: float


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
        errors: RowErrors,
        *,
        t: int,
        gain: Array,
        known: Hour | None,
    ) -> _Standing:
        moments = Moments.of(errors)
        z, sigma, mean = standardise(errors, moments, gain)
        slack_ratio = (offer.limit - offer.value[t] - mean) / sigma
        kappa = factor.factors(z, errors.weights, kept_distance(slack_ratio, known))
        return cls(z, errors.weights, moments, mean, sigma, slack_ratio, kappa)


def calibrate(
    factor: SafetyFactor,
    offer: NetworkOffer,
    errors: RowErrors,
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
    errors : RowErrors
        What the forecast errors do to the rows.
    t : int
        Step of the window.
    gain : ndarray, shape (n_rows, n_signals)
        Recourse gain at the schedule. [p.u./kW]
    known : Hour, optional
        The calibration before; its rows are kept.
    reach : float
        How close a row has to come to its margin to be chosen. [sigma]
    """
    at = _Standing.of(factor, offer, errors, t=t, gain=gain, known=known)
    exceedance = at.kappa - at.slack_ratio
    # Of neighbouring rows only the worst: the local maxima along the tree.
    chosen = np.flatnonzero((exceedance > -reach) & offer.peaks(exceedance * at.sigma))
    if known is not None:
        chosen = np.union1d(known.chosen, chosen)
    return Hour(at.mean + at.kappa * at.sigma, at.moments, at.kappa, gain, chosen)


def certify(
    factor: SafetyFactor,
    offer: NetworkOffer,
    errors: RowErrors,
    t: int,
    *,
    gain: Array,
    known: Hour | None,
    binding: bool,
) -> Audit:
    """Certify one network and step at the AC-exact schedule; arguments as in :func:`calibrate`."""
    at = _Standing.of(factor, offer, errors, t=t, gain=gain, known=known)
    if offer.converged[t]:
        margin = joint_margin(at.z, at.slack_ratio)
        certificate = worst_case_probability(margin, at.weights, factor.radius)
    else:
        certificate = 1.0
    room = (at.slack_ratio - at.kappa) * at.sigma
    gap = room / np.maximum(at.sigma, RESOLUTION)
    return Audit(certificate, at.kappa, gap, binding, factor.radius)


def situation(
    factor: SafetyFactor,
    offer: NetworkOffer,
    errors: RowErrors,
    day: NDArray[np.int64],
    t: int,
    *,
    gain: Array,
) -> Situation:
    """Describe one network and step to the radius rule; ``day`` is that of each sample."""
    at = _Standing.of(factor, offer, errors, t=t, gain=gain, known=None)
    return Situation(at.z, at.weights, day, kept_distance(at.slack_ratio, None))


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
    return errors.deviation(gain, mean) / sigma, sigma, mean


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
            index=int(r),
            conic=conic and hour.kappa[r] > 0,
            d_p=offer.d_p[t][r],
            d_q=offer.d_q[t][r],
            room=float(room[r]),
            kappa=float(hour.kappa[r]),
            beta=moments.beta[r],
            remainder=float(moments.remainder[r]),
            mean_signal=moments.mean_signal,
            root=moments.root,
            gain=hour.gain[r],
        )
        for r in hour.chosen
    ]


def second_stage(
    factors: Sequence[Sequence[SafetyFactor]], uncertainty: Uncertainty, n_steps: int
) -> SecondStage:
    """Gather the statistics of each pool's total error, by step.

    Parameters
    ----------
    factors : sequence of sequence of SafetyFactor
        The method by network and step.
    uncertainty : Uncertainty
        The errors.
    n_steps : int
        Steps of the window.
    """
    policy = uncertainty.policy
    steps = range(n_steps)
    statistics = []
    for pool in range(policy.n_pools):
        # Networks of one pool may see the same past differently; the first one's view stands.
        first = int(policy.networks(pool)[0])
        weights = np.stack([uncertainty.weights(first, t) for t in steps])
        omega = np.stack([uncertainty.pool_omega(pool, t) for t in steps])
        statistics.append(_pool_statistics(factors[first], weights, omega, policy.n_signals))
    return SecondStage(*np.stack(statistics, axis=-1))


def _pool_statistics(
    factors: Sequence[SafetyFactor], weights: Array, omega: Array, n_signals: int
) -> Array:
    """Statistics of one pool's total error by step, in the order of SecondStage, (5, n_steps).

    Weights and errors have shape (n_steps, n_samples). [kW]
    """
    mean = (weights * omega).sum(axis=1)
    deviation = omega - mean[:, None]
    sigma = np.sqrt((weights * deviation**2).sum(axis=1))
    z = np.divide(deviation, sigma[:, None], out=np.zeros_like(omega), where=sigma[:, None] > 0)
    radius = np.array([factor.radius for factor in factors])
    kappa = [
        factor.two_sided(*of_step) for factor, *of_step in zip(factors, z, weights, strict=True)
    ]
    margin = np.array(kappa) * sigma
    # One common share is answered in both directions alike.
    up, down = (np.abs(mean),) * 2 if n_signals == 1 else (-mean, mean)
    return np.stack(
        [
            (weights * np.maximum(omega, 0.0)).sum(axis=1),
            (weights * np.maximum(-omega, 0.0)).sum(axis=1),
            radius * sigma,
            np.maximum(margin + up, 0.0),
            np.maximum(margin + down, 0.0),
        ]
    )
