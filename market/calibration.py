"""How far the errors can push each grid constraint, and what a schedule therefore promises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from market.ambiguity import joint_margin, worst_case_probability
from market.chance import ChanceRow, Moments, Support
from market.magnitudes import SIGMA_FLOOR
from market.parameters import SecondStage
from market.radius import Situation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from market.chance import RowErrors
    from market.grid_rows import GridRows, HalfPlanes
    from market.magnitudes import Scatter
    from market.offers import NetworkOffer
    from market.safety_factors import SafetyFactor
    from market.uncertainty import Uncertainty

    Array = NDArray[np.float64]

NEAR_BINDING, NEAR_AHEAD = 6.0, 0.5
"""A row enters the problem when it misses or exceeds its margin by less than this many sigmas, in
the steps that bind and further ahead."""
RESOLUTION = 1e-4
"""Rooms are measured in standard deviations, but none smaller than this. [p.u.]"""
TOUCHES = 1e-6
"""A sample this close to a limit touches it: the accuracy of the solver. [sigma]"""
FOLLOWS = 0.05
"""A row follows the common safety factor when within this many sigmas of it."""


Promise = Literal["kept", "no_room", "unsettled"]


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
    half_planes : HalfPlanes
        The last of the rows: half-planes of magnitudes near their limits.
    """

    margin: Array
    moments: Moments
    kappa: Array
    gain: Array
    chosen: NDArray[np.intp]
    half_planes: HalfPlanes


@dataclass(frozen=True, eq=False)
class Audit:
    """What the AC-exact schedule promises in one network and binding step.

    Attributes
    ----------
    certificate : float
        Worst-case probability that any limit of the network is violated, over the ball of the
        errors as the rows see them (see :mod:`market.ambiguity`).
    kappa : ndarray, shape (n_rows,)
        Safety factors at the schedule.
    gap : ndarray, shape (n_rows,)
        Room left beyond the margins, in standard deviations or in units of ``RESOLUTION``, if
        this is larger; negative where a margin is missed. [sigma]
    missed_pu : ndarray, shape (n_offered,)
        By how much each of the network's constrained quantities misses its margin. [p.u.]
    binding : bool
        Whether a grid constraint of the step has a nonzero dual, or its promise is not kept.
    radius : float
        Radius of the ball that the certificate holds for.
    half_planes : HalfPlanes
        The last of the rows: half-planes of magnitudes near their limits.
    promise : {"kept", "no_room", "unsettled"}
        What became of the promise: see :class:`~market.acceptance.Acceptance`.
    """

    certificate: float
    kappa: Array
    gap: Array
    missed_pu: Array
    binding: bool
    radius: float
    half_planes: HalfPlanes
    promise: Promise = "kept"

    @property
    def kept(self) -> bool:
        """Whether the promise is kept."""
        return self.promise == "kept"

    def slack_pu(self, bought_pu: float) -> float:
        """How far limits are missed: what the clearing bought, or what its schedule falls short.

        Parameters
        ----------
        bought_pu : float
            Slack that the clearing bought. [p.u.]
        """
        return bought_pu if self.kept else max(bought_pu, float(self.missed_pu.max(initial=0.0)))


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
        rows: GridRows,
        errors: RowErrors,
        *,
        gain: Array,
        known: Hour | None,
    ) -> _Standing:
        moments = Moments.of(errors)
        z, sigma, mean = standardise(errors, moments, gain)
        slack_ratio = (rows.limit - rows.value - mean) / sigma
        kappa = factor.factors(z, errors.weights, kept_distance(slack_ratio, known))
        return cls(z, errors.weights, moments, mean, sigma, slack_ratio, kappa)


def calibrate(
    factor: SafetyFactor,
    rows: GridRows,
    errors: RowErrors,
    *,
    gain: Array,
    known: Hour | None,
    reach: float,
    every: bool = False,
) -> Hour:
    """Find safety factors at a schedule and the rows that stand close to their limits.

    Parameters
    ----------
    factor : SafetyFactor
        The method.
    rows : GridRows
        Linear model at the schedule.
    errors : RowErrors
        What the forecast errors do to the rows.
    gain : ndarray, shape (n_rows, n_signals)
        Recourse gain at the schedule. [p.u./kW]
    known : Hour, optional
        The calibration before; its rows are kept.
    reach : float
        How close a row has to come to its margin to be chosen. [sigma]
    every : bool
        Whether every magnitude that misses its margin is chosen, and not only the worst of
        neighbours.
    """
    at = _Standing.of(factor, rows, errors, gain=gain, known=known)
    exceedance = at.kappa - at.slack_ratio
    # Of neighbouring rows only the worst: the local maxima along the tree.
    close = (exceedance > -reach) & rows.peaks(exceedance * at.sigma)
    chosen = np.flatnonzero(close)
    if known is not None:
        chosen = np.union1d(known.chosen, chosen)
    if len(rows.half_planes.phasor):
        # Half-planes hold a magnitude together only: one alone lets the schedule pass it by.
        half_plane = np.arange(len(rows.value)) >= len(rows.parent)
        missed = half_plane & (exceedance > 0) & every
        elements = np.union1d(rows.element[chosen], rows.element[missed])
        whole = np.flatnonzero(half_plane & np.isin(rows.element, elements))
        # They stand for the tangent too, which would be all but the same row as one of them.
        tangents = rows.element[half_plane]
        chosen = np.union1d(np.setdiff1d(chosen, tangents), whole)
    margin = at.mean + at.kappa * at.sigma
    return Hour(margin, at.moments, at.kappa, gain, chosen, rows.half_planes)


def certify(
    factor: SafetyFactor,
    rows: GridRows,
    errors: RowErrors,
    *,
    gain: Array,
    known: Hour | None,
    scatter: Scatter | None,
    binding: bool,
) -> Audit:
    """Certify one network and step at the AC-exact schedule.

    Arguments as in :func:`calibrate`; ``scatter`` holds the magnitudes near their limits, which
    are certified themselves and not by a tangent.
    """
    at = _Standing.of(factor, rows, errors, gain=gain, known=known)
    if rows.converged:
        # What no error reaches stands within rounding of its limit.
        margin = joint_margin(at.z, at.slack_ratio + (at.sigma <= SIGMA_FLOOR))
        if scatter is not None:
            margin = np.minimum(margin, scatter.distances()[0].min(axis=1))
        if factor.radius == 0.0:  # a sample that touches a limit keeps it, whatever is rounded
            margin = margin + TOUCHES
        certificate = worst_case_probability(margin, at.weights, factor.radius)
    else:
        certificate = 1.0
    room = (at.slack_ratio - at.kappa) * at.sigma
    gap = room / np.maximum(at.sigma, RESOLUTION)
    return Audit(
        certificate=certificate,
        kappa=at.kappa,
        gap=gap,
        missed_pu=np.maximum(-room[: len(rows.parent)], 0.0),
        binding=binding,
        radius=factor.radius,
        half_planes=rows.half_planes,
    )


def situation(
    factor: SafetyFactor,
    rows: GridRows,
    errors: RowErrors,
    day: NDArray[np.int64],
    *,
    gain: Array,
) -> Situation:
    """Describe one network and step to the radius rule; ``day`` is that of each sample."""
    at = _Standing.of(factor, rows, errors, gain=gain, known=None)
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
    moments, rows = hour.moments, offer.rows(t, hour.half_planes)
    room = rows.limit - rows.at(*(kw[t] for kw in fixed)) - moments.mean_u
    n_offered = len(rows.parent)
    planes = zip(hour.half_planes.phasor.tolist(), hour.half_planes.direction.tolist(), strict=True)
    support = [None] * n_offered + [Support(*plane) for plane in planes]
    return [
        ChanceRow(
            network=network,
            step=t,
            index=int(r),
            conic=conic and hour.kappa[r] > 0,
            d_p=rows.d_p[r],
            d_q=rows.d_q[r],
            room=float(room[r]),
            kappa=float(hour.kappa[r]),
            beta=moments.beta[r],
            remainder=float(moments.remainder[r]),
            mean_signal=moments.mean_signal,
            root=moments.root,
            gain=hour.gain[r],
            support=support[r],
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
