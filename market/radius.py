r"""The radius of the Wasserstein ball: fixed, by formula, or by cross-validation.

How far the sample distribution is from the true one depends on the number of samples and on the
shape of the errors, and so does the radius that is worth having. All radii are in standard
deviations, as in :mod:`market.ambiguity`.

``fixed``
    The configured number.
``formula``
    A radius that holds the true distribution with a given confidence, see :func:`formula_radius`.
    A bound for all distributions with the moments found, hence far larger than needed.
``cross_validation``
    The smallest radius whose safety factors, found on some of the days, would have kept the risk
    level on the others, see :func:`cross_validated_radius`.

The last two are found anew once a week for each network and hour of day, from that step's error
samples: these are all past, and so is all that a radius kept from there on depends on. Until a
network and hour of day has been seen once, the fixed radius serves.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from numpy.typing import NDArray

    from market.safety_factors import SafetyFactor

    Array = NDArray[np.float64]
    Days = NDArray[np.int64]

RULES = ("fixed", "formula", "cross_validation")
CANDIDATES = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2)
"""Radii that the cross-validation chooses from. The last one may cost 0.2 standard deviations of
additional margin at a risk level of 5 % (radius over risk level)."""
N_FOLDS = 6
"""Blocks of days that are held out in turn."""
REFRESH_DAYS = 7
"""Days for which a chosen radius is kept. [d]"""
SPREAD_FLOOR = 1e-3
"""Rows whose standardised errors spread less are those that no error reaches."""
_MASS_TOLERANCE = 1e-12


@dataclass(frozen=True)
class RadiusChoice:
    """A radius, and whether it passed its test.

    Attributes
    ----------
    radius : float
        In standard deviations.
    held_out : float
        Weight of the held-out samples that violate with it; NaN for a radius that was not tested.
    kept : bool
        Whether that is within the risk level. If not even the largest candidate passes, it is
        chosen all the same, with this flag down.
    """

    radius: float
    held_out: float = float("nan")
    kept: bool = True


@dataclass(frozen=True, eq=False)
class Situation:
    """The standardised errors of one network and step, at a schedule.

    Attributes
    ----------
    z : ndarray, shape (n_samples, n_rows)
        Standardised errors of the constraint rows.
    weights : ndarray, shape (n_samples,)
        Probabilities of the samples.
    day : ndarray of int, shape (n_samples,)
        Day of each sample.
    kept : ndarray, shape (n_rows,)
        Distance that each row keeps whatever the safety factor, zero for those that follow it; see
        :func:`market.calibration.kept_distance`. [sigma]
    """

    z: Array
    weights: Array
    day: Days
    kept: Array

    def __post_init__(self) -> None:
        if not np.isfinite(self.z).all():
            raise ValueError("standardised errors must be finite")
        if not np.isclose(self.weights.sum(), 1.0) or not (self.weights >= 0.0).all():
            raise ValueError("weights must be nonnegative and sum to one")

    @property
    def follows(self) -> NDArray[np.bool_]:
        """Rows that follow the safety factor."""
        return self.kept <= 0.0


@dataclass
class RadiusRule:
    """Chooses the radius of every network and hour of day, and remembers it for some days.

    Attributes
    ----------
    rule : str
        ``fixed``, ``formula`` or ``cross_validation``.
    factor : SafetyFactor
        The method; its radius is the fixed one, which also serves until there is something to
        choose by. A method that ignores the radius keeps it.
    confidence : float
        Confidence of the formula.
    """

    rule: str
    factor: SafetyFactor
    confidence: float
    _known: dict[Hashable, tuple[int, RadiusChoice]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"unknown radius rule {self.rule!r}, choose one of {', '.join(RULES)}")
        self._is_fixed = self.rule == "fixed" or not needs_radius(self.factor)

    def choice(self, place: Hashable) -> RadiusChoice:
        """Return the radius of a place, as learned last.

        Parameters
        ----------
        place : hashable
            What shares a radius, such as a network and an hour of day.
        """
        known = self._known.get(place)
        return RadiusChoice(self.factor.radius) if known is None else known[1]

    def is_due(self, place: Hashable, day: Days) -> bool:
        """Whether a place has to choose anew: never with a fixed radius, else after some days.

        Parameters
        ----------
        place : hashable
            As in :meth:`choice`.
        day : ndarray of int, shape (n_samples,)
            Day of each error sample at hand.
        """
        if self._is_fixed:
            return False
        known = self._known.get(place)
        return known is None or int(day.max()) - known[0] >= REFRESH_DAYS

    def learn(self, place: Hashable, situation: Situation) -> None:
        """Choose the radius of a place, if that is due.

        Parameters
        ----------
        place : hashable
            As in :meth:`choice`.
        situation : Situation
            Errors to choose by.
        """
        if self.is_due(place, situation.day):
            self._known[place] = int(situation.day.max()), self._found(situation)

    def state(self) -> dict[str, Any]:
        """Return the radii chosen so far."""
        return {"known": self._known}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a state."""
        self._known = state["known"]

    def _found(self, situation: Situation) -> RadiusChoice:
        if self.rule == "formula":
            worst = worst_following(situation)
            return RadiusChoice(formula_radius(worst, situation.weights, self.confidence))
        return cross_validated_radius(self.factor, situation)


def needs_radius(factor: SafetyFactor) -> bool:
    """Whether a method's safety factor depends on the radius at all."""
    z, weights, kept = np.array([[-1.0], [1.0]]), np.full(2, 0.5), np.zeros(1)
    without, with_one = (
        type(factor)(factor.risk_level, radius).factors(z, weights, kept) for radius in (0.0, 1.0)
    )
    return bool((without != with_one).any())


def worst_following(situation: Situation) -> Array:
    """Largest error of each sample among the rows that follow the safety factor, (n_samples,).

    A common factor bounds this scalar. It changes by no more than the Mahalanobis distance that a
    sample is moved, as each row does, so a ball of errors is within a ball of it of equal radius.
    """
    worst: Array = situation.z[:, situation.follows].max(axis=1, initial=-np.inf)
    return worst


def formula_radius(sample: Array, weights: Array, confidence: float) -> float:
    r"""Radius of the ball that holds the true distribution with a confidence, in one dimension.

    .. math:: \rho = C \sqrt{\tfrac{1}{N} \ln \tfrac{1}{1 - \beta}}, \qquad
              C = 2 \inf_{a > 0} \sqrt{\tfrac{1}{2 a} \Big( 1 + \ln \sum_i w_i
              e^{a (x_i - \mu)^2} \Big)}

    [1]_ as used by [2]_, where N is the effective number of samples, :math:`1 / \sum_i w_i^2`. It
    holds for independent samples and one scalar: for the rows of a network together it is
    applied to their worst (:func:`worst_following`); in the whole error space C would grow with
    the root of the dimension.

    Parameters
    ----------
    sample : ndarray, shape (n_samples,)
        Samples, in any unit.
    weights : ndarray, shape (n_samples,)
        Their probabilities.
    confidence : float
        The confidence beta, in (0, 1).

    Returns
    -------
    float
        Radius. [unit of the samples]

    Raises
    ------
    ValueError
        If a sample is not finite or the confidence out of range.

    References
    ----------
    .. [1] C. Zhao, Y. Guan, Data-driven risk-averse stochastic optimization with Wasserstein
       metric, Operations Research Letters 46(2), 2018, doi:10.1016/j.orl.2018.01.011.
    .. [2] C. Duan, W. Fang, L. Jiang, L. Yao, J. Liu, Distributionally robust chance-constrained
       approximate AC-OPF with Wasserstein metric, IEEE Trans. Power Systems 33(5), 2018,
       doi:10.1109/TPWRS.2018.2807623.
    """
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must lie in (0, 1), got {confidence}")
    if not np.isfinite(sample).all():
        raise ValueError("samples must be finite")
    square = (sample - weights @ sample) ** 2
    scale = square.max()
    if scale == 0.0:
        return 0.0

    def half_squared(log_a: float) -> float:
        """C^2 / 4 over the scale, at a = exp(log_a) / scale."""
        a = np.exp(log_a)
        return float((1.0 + logsumexp(a * square / scale, b=weights)) / (2.0 * a))

    # Unimodal, since the logarithm is convex in a; the optimum is of the order of one over the
    # variance, which is no less than the smallest weight times the largest square.
    found = minimize_scalar(half_squared, bounds=(-3.0, 15.0), method="bounded")
    constant = 2.0 * np.sqrt(found.fun * scale)
    return float(constant * np.sqrt((weights @ weights) * np.log(1.0 / (1.0 - confidence))))


def cross_validated_radius(
    factor: SafetyFactor, situation: Situation, candidates: tuple[float, ...] = CANDIDATES
) -> RadiusChoice:
    """Find the smallest candidate that keeps the risk level on days it was not trained on.

    Contiguous blocks of days are held out in turn, since errors of one day are not independent. For
    each the method finds its safety factors from the other days, standardised by their own moments,
    and the held-out samples that violate are counted by weight. Of an exact joint method any
    violated row counts; of another the rate of the worst row.

    With fewer samples than one over the risk level no radius of the candidates may pass: one
    held-out sample beyond the largest of the others is too many. The largest candidate is then
    returned, flagged.

    Parameters
    ----------
    factor : SafetyFactor
        The method; its own radius does not matter.
    situation : Situation
        The errors.
    candidates : tuple of float
        Radii to choose from, ascending.

    Returns
    -------
    RadiusChoice
        The radius and its held-out violation.

    Raises
    ------
    ValueError
        If there are fewer than two days, or one block of days has all the weight.
    """
    folds = [_Fold.of(situation, held_out) for held_out in day_blocks(situation.day)]

    @cache
    def violation(radius: float) -> float:
        tried = type(factor)(factor.risk_level, radius)
        weight = sum(fold.violation(tried) for fold in folds)
        return float(np.max(weight, initial=0.0))

    allowed = factor.risk_level + _MASS_TOLERANCE
    # The larger the radius, the larger the safety factors and the fewer the violations.
    first = bisect_left(candidates, True, key=lambda radius: violation(radius) <= allowed)
    radius = candidates[min(first, len(candidates) - 1)]
    return RadiusChoice(radius, violation(radius), first < len(candidates))


def day_blocks(day: Days) -> list[NDArray[np.bool_]]:
    """Sort the samples into contiguous blocks of days of about equal length.

    Parameters
    ----------
    day : ndarray of int, shape (n_samples,)
        Day of each sample.

    Returns
    -------
    list of ndarray of bool, shape (n_samples,)
        The samples of each block: `N_FOLDS` of them, or one a day if there are fewer days.
    """
    days = np.unique(day)
    if len(days) < 2:
        raise ValueError(f"cross-validation of the radius needs two days, got {len(days)}")
    blocks = np.array_split(days, min(N_FOLDS, len(days)))
    return [(day >= block[0]) & (day <= block[-1]) for block in blocks]


@dataclass(frozen=True, eq=False)
class _Fold:
    """Samples to train on and samples held out, standardised by the moments of the first."""

    train: Array
    train_weights: Array
    test: Array
    test_weights: Array
    kept: Array

    @classmethod
    def of(cls, situation: Situation, held_out: NDArray[np.bool_]) -> _Fold:
        z, weights = situation.z, situation.weights
        weight = weights[~held_out].sum()
        if weight == 0.0:
            raise ValueError("cross-validation of the radius: one block of days has all the weight")
        train, train_weights = z[~held_out], weights[~held_out] / weight
        # Standardising what has been shifted and scaled already gives the same as standardising
        # the errors themselves: nothing of the held-out days is left in the result.
        mean = train_weights @ train
        spread = np.sqrt(np.maximum(train_weights @ train**2 - mean**2, 0.0))
        spread = np.maximum(spread, SPREAD_FLOOR)
        kept = np.where(situation.follows, 0.0, (situation.kept - mean) / spread)
        return cls(
            train=(train - mean) / spread,
            train_weights=train_weights,
            test=(z[held_out] - mean) / spread,
            test_weights=weights[held_out],
            kept=kept,
        )

    def violation(self, factor: SafetyFactor) -> float | Array:
        """Weight of the held-out samples that violate any row, or of other methods each row."""
        kappa = factor.factors(self.train, self.train_weights, self.kept)
        beyond = self.test > np.maximum(kappa, self.kept)
        counted = beyond.any(axis=1) if factor.exact_joint else beyond
        weight: float | Array = self.test_weights @ counted
        return weight
