r"""Worst cases over a type-1 Wasserstein ball round weighted samples.

The ball holds every distribution that can be made from the samples by moving probability mass,
where moving mass w over the distance d costs w d and the total cost is at most the radius. The
ground metric is the Mahalanobis norm of the error space, so that a standardised constraint row

.. math:: z = (a^\top \xi - a^\top \mu) / \sigma, \qquad \sigma^2 = a^\top \Sigma a

has dual norm one: the distance of a sample to the half-space z > kappa is (kappa - z)_+, in the
whole error space and not only along the row. Every worst case below is therefore a matter of
sorting standardised samples; none needs an optimisation.

Worst cases are those of the ball round the samples given. Where rows see errors that are no linear
image of the forecast errors (shares by direction, capped or clipped plants, see
:mod:`market.uncertainty`), the ball is one of these transformed errors: its worst case is neither
that of the ball of the forecast errors themselves nor a bound for it.

Conventions: z, thresholds, slack ratios, margins and radii are dimensionless (in standard
deviations). A violation is *strict*, z > kappa. With a positive radius this makes no difference,
since a sample that touches the boundary is pushed over it at no cost; with radius zero a touching
sample is safe. Results are therefore not continuous at radius zero when risk_level falls on the
boundary between two samples.

References
----------
.. [1] P. Mohajerin Esfahani, D. Kuhn, Data-driven distributionally robust optimization using the
   Wasserstein metric, Mathematical Programming 171, 2018, doi:10.1007/s10107-017-1172-1.
.. [2] Z. Chen, D. Kuhn, W. Wiesemann, Data-driven chance constrained programs over Wasserstein
   balls, Operations Research 72(1), 2024, doi:10.1287/opre.2022.2330.
.. [3] W. Xie, On distributionally robust chance constrained programs with Wasserstein distance,
   Mathematical Programming 186, 2021, doi:10.1007/s10107-019-01445-5.
.. [4] R. T. Rockafellar, S. Uryasev, Conditional value-at-risk for general loss distributions,
   Journal of Banking & Finance 26(7), 2002, doi:10.1016/S0378-4266(02)00271-6.
"""

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Rows: TypeAlias = NDArray[np.bool_]

# Sums of weights carry rounding errors: 9 of 180 equal samples must count as 5 %, not as more.
_MASS_TOLERANCE = 1e-12
# Relative to the radius. An error of this size changes a worst-case probability by no more than
# the same fraction of the risk level.
_COST_TOLERANCE = 1e-12
_KAPPA_TOLERANCE = 1e-13


def joint_margin(z: Floats, threshold: Floats) -> Floats:
    r"""Signed distance of each sample to the nearest violated row.

    .. math:: m_i = \min_b (\theta_b - z_{bi})

    Parameters
    ----------
    z : ndarray, shape (n_samples, n_rows)
        Standardised samples of the constraint rows.
    threshold : ndarray, shape (n_rows,)
        Value that row b must not exceed; infinite for a row without limit.

    Returns
    -------
    ndarray, shape (n_samples,)
        Negative where a row is strictly violated, zero where one is touched, infinite without rows.
    """
    margin: Floats = (threshold - z).min(axis=1, initial=np.inf)
    return margin


def worst_case_probability(margin: Floats, weights: Floats, radius: float) -> float:
    r"""Largest probability of violation that a distribution in the ball can have.

    The mass nearest to the violation set is moved into it first, until the cost reaches the radius,
    the last sample fractionally [2]_ [3]_:

    .. math:: \max_{0 \le \pi_i \le w_i} \Big\{ \sum_i \pi_i :
              \sum_i \pi_i \, (m_i)_+ \le \rho \Big\}

    With radius zero this is the weight of the samples that strictly violate.

    Parameters
    ----------
    margin : ndarray, shape (n_samples,)
        Signed distances, negative for a strict violation (see `joint_margin`); may be infinite.
    weights : ndarray, shape (n_samples,)
        Probabilities of the samples.
    radius : float
        Radius of the ball.

    Returns
    -------
    float
        Probability in [0, 1].
    """
    _check(margin, weights, radius)
    return _probability(margin, weights, radius)


def _probability(margin: Floats, weights: Floats, radius: float) -> float:
    """Return the worst-case probability; see `worst_case_probability`."""
    if radius == 0.0:
        return float(weights[margin < 0.0].sum())
    reachable = margin < np.inf
    distance, mass = np.maximum(margin[reachable], 0.0), weights[reachable]
    order = np.argsort(distance)
    distance, mass = distance[order], mass[order]
    cost = np.cumsum(mass * distance)
    n_moved = int(np.searchsorted(cost, radius, side="right"))
    probability = float(mass[:n_moved].sum())
    if n_moved < distance.size:
        spent = cost[n_moved - 1] if n_moved else 0.0
        probability += float((radius - spent) / distance[n_moved])
    return min(probability, 1.0)


def worst_case_expectation(
    values: Floats, weights: Floats, radius: float, lipschitz: float
) -> float:
    r"""Largest expectation of a convex piecewise-linear loss over the ball.

    With unbounded support the supremum is the sample mean plus a constant [1]_, Theorem 6.3:

    .. math:: \sup_Q E_Q[\ell] = \sum_i w_i \ell_i + \rho L

    Parameters
    ----------
    values : ndarray, shape (n_samples,)
        Loss at each sample, in any unit.
    weights : ndarray, shape (n_samples,)
        Probabilities of the samples.
    radius : float
        Radius of the ball.
    lipschitz : float
        Largest slope of the loss per unit of the ground metric. [unit of the loss]

    Returns
    -------
    float
        Worst-case expectation. [unit of the loss]
    """
    _check(values, weights, radius)
    if not lipschitz >= 0.0:
        raise ValueError(f"lipschitz must be nonnegative, got {lipschitz}")
    return float(weights @ values) + radius * lipschitz


def worst_case_quantiles(z: Floats, weights: Floats, risk_level: float, radius: float) -> Floats:
    r"""Smallest kappa of each row whose worst-case P(z > kappa) is at most risk_level.

    The worst case stays below risk_level exactly if pushing the largest samples with total mass
    risk_level, of weights v_1, v_2, ... in descending order of z, costs at least the radius:
    sum_i v_i (kappa - z_i)_+ >= radius. The left side is the maximum of its partial sums over the
    smallest of these samples, hence

    .. math:: \kappa = \min_j \frac{\rho + \sum_{i \ge j} v_i z_i}{\sum_{i \ge j} v_i}

    (cf. [2]_, [3]_). The term j = 1 is the CVaR bound, which shows how conservative that one is.
    With radius zero kappa is the sample quantile.

    Parameters
    ----------
    z : ndarray, shape (n_samples, n_rows)
        Standardised samples.
    weights : ndarray, shape (n_samples,)
        Probabilities of the samples.
    risk_level : float
        Allowed probability of violation, in (0, 1).
    radius : float
        Radius of the ball.

    Returns
    -------
    ndarray, shape (n_rows,)
        Kappa of each row; may be negative.
    """
    _check(z, weights, radius, risk_level)
    return _quantiles(z, weights, risk_level, radius)


def _quantiles(z: Floats, weights: Floats, risk_level: float, radius: float) -> Floats:
    """Return the worst-case quantile of each row; see `worst_case_quantiles`."""
    descending, mass = _sort_descending(z, weights)
    if radius == 0.0:
        n_above = (np.cumsum(mass, axis=0) <= risk_level + _MASS_TOLERANCE).sum(axis=0)
        first = np.minimum(n_above, weights.size - 1)
        quantile: Floats = descending[first, np.arange(z.shape[1])]
        return quantile
    tail = _first_mass(mass, risk_level)
    n_tail = 1 + int(np.flatnonzero(tail.any(axis=1))[-1])
    tail, descending = tail[:n_tail][::-1], descending[:n_tail][::-1]
    # Partial sums from the smallest sample of the tail upwards; none before the tail begins.
    tail_mass = np.cumsum(tail, axis=0)
    tail_sum = np.cumsum(tail * descending, axis=0)
    bounds = np.full_like(tail_sum, np.inf)
    np.divide(radius + tail_sum, tail_mass, out=bounds, where=tail_mass > 0.0)
    kappa: Floats = bounds.min(axis=0)
    return kappa


def worst_case_quantile(z: Floats, weights: Floats, risk_level: float, radius: float) -> float:
    """Smallest kappa with worst-case P(z > kappa) at most risk_level, for a single row.

    Parameters
    ----------
    z : ndarray, shape (n_samples,)
        Standardised samples.
    weights : ndarray, shape (n_samples,)
        Probabilities of the samples.
    risk_level : float
        Allowed probability of violation, in (0, 1).
    radius : float
        Radius of the ball.

    Returns
    -------
    float
        Kappa; may be negative. See `worst_case_quantiles`.
    """
    return float(worst_case_quantiles(z[:, np.newaxis], weights, risk_level, radius)[0])


def sample_cvar(z: Floats, weights: Floats, risk_level: float) -> Floats:
    r"""Conditional value-at-risk of the upper tail of each row.

    Mean of the largest samples with total mass risk_level, the last one fractionally [4]_:

    .. math:: \mathrm{CVaR}_\varepsilon(z) = \min_\tau \; \tau + \tfrac{1}{\varepsilon}
              \sum_i w_i (z_i - \tau)_+

    Parameters
    ----------
    z : ndarray, shape (n_samples, n_rows)
        Samples, in any unit.
    weights : ndarray, shape (n_samples,)
        Probabilities of the samples.
    risk_level : float
        Mass of the tail, in (0, 1).

    Returns
    -------
    ndarray, shape (n_rows,)
        CVaR of each row. [unit of z]
    """
    _check(z, weights, 0.0, risk_level)
    descending, mass = _sort_descending(z, weights)
    tail = _first_mass(mass, risk_level)
    cvar: Floats = (tail * descending).sum(axis=0) / risk_level
    return cvar


def common_safety_factor(
    z: Floats, weights: Floats, risk_level: float, radius: float, slack_ratio: Floats
) -> float:
    r"""Smallest common kappa that keeps the joint worst-case violation within risk_level.

    Row b is kept at the distance max(slack_ratio_b, kappa) from its limit: rows that are further
    away than kappa anyway stay where they are. The margin of sample i is thus kappa - M_i with

    .. math:: M_i(\kappa) = \max_b \big( z_{bi} - (s_b - \kappa)_+ \big)

    and kappa >= 0 is the smallest value with
    ``worst_case_probability(joint_margin(z, max(s, kappa)), weights, radius) <= risk_level``,
    the exact joint chance constraint of [2]_ and [3]_ for right-hand side uncertainty.

    Parameters
    ----------
    z : ndarray, shape (n_samples, n_rows)
        Standardised samples of the constraint rows.
    weights : ndarray, shape (n_samples,)
        Probabilities of the samples.
    risk_level : float
        Allowed joint probability of violation, in (0, 1).
    radius : float
        Radius of the ball.
    slack_ratio : ndarray, shape (n_rows,)
        Distance s_b of each row to its limit that it keeps whatever kappa is, over its standard
        deviation; zero or negative for a row that follows kappa, infinite for one without limit.

    Returns
    -------
    float
        The safety factor kappa.
    """
    _check(z, weights, radius, risk_level)
    if np.isnan(slack_ratio).any():
        raise ValueError("slack_ratio must not contain NaN")
    if not slack_ratio.size:
        return 0.0
    # No factor is larger than the one that pushes all samples beyond the largest of all.
    largest = z.max(axis=0)
    rows = _may_be_nearest(z, largest, slack_ratio, float(largest.max()) + radius / risk_level)
    z, largest, slack_ratio = z[:, rows], largest[rows], slack_ratio[rows]
    # If every row followed kappa, M would be the plain maximum: an upper bound of the factor.
    upper = _largest_quantile(z, weights, risk_level, radius)
    if slack_ratio.max() <= 0.0:
        return upper
    reach = _reach(joint_margin(z, np.maximum(slack_ratio, upper)), weights, risk_level)
    # Margins grow with kappa: whatever is out of reach of the nearest mass at `upper` is so at
    # every smaller kappa too. Typically a few rows and samples remain.
    rows = slack_ratio - largest <= reach
    z, slack_ratio = z[:, rows], slack_ratio[rows]
    if radius == 0.0:
        # Sample i violates if the largest of its z_bi > s_b exceeds kappa.
        return _largest_quantile(np.where(z > slack_ratio, z, -np.inf), weights, risk_level, 0.0)
    margin = joint_margin(z, np.maximum(slack_ratio, 0.0))
    if _probability(margin, weights, radius) <= risk_level + _MASS_TOLERANCE:
        return 0.0
    near = margin <= reach
    return _smallest_factor(
        _MassMover(z[near], weights[near], slack_ratio, risk_level), radius, upper
    )


def enough_samples(weights: Floats, risk_level: float) -> bool:
    r"""Tell whether the samples resolve the risk level.

    .. math:: \max_i w_i \le \varepsilon

    Otherwise the heaviest sample alone exceeds the risk level and must not violate, whatever the
    radius; with equal weights, N < 1 / risk_level samples, no sample may. The worst-case quantiles
    are then at the largest sample or, with a positive radius, beyond it: safe, but no quantiles.

    Parameters
    ----------
    weights : ndarray, shape (n_samples,)
        Probabilities of the samples.
    risk_level : float
        Allowed probability of violation, in (0, 1).

    Returns
    -------
    bool
        Whether no sample is heavier than the risk level.
    """
    _check(weights, weights, 0.0, risk_level)
    return bool(weights.max() <= risk_level + _MASS_TOLERANCE)


def _largest_quantile(z: Floats, weights: Floats, risk_level: float, radius: float) -> float:
    """Return the worst-case quantile of the largest row of each sample, zero if it is negative."""
    largest = z.max(axis=1, keepdims=True)
    return max(float(_quantiles(largest, weights, risk_level, radius)[0]), 0.0)


def _may_be_nearest(z: Floats, largest: Floats, slack_ratio: Floats, upper: float) -> Rows:
    """Find the rows that can be the nearest of some sample, for any kappa up to `upper`.

    No margin exceeds the largest one of any single row. A row whose own margins, with `largest`
    the largest z of each row, all exceed that is never the nearest; most are so.
    """
    tight = int((slack_ratio - largest).argmin())
    bound = max(slack_ratio[tight], upper) - z[:, tight].min()
    return np.maximum(slack_ratio, 0.0) - largest <= bound


def _reach(margin: Floats, weights: Floats, risk_level: float) -> float:
    """Return the distance within which the nearest mass risk_level lies."""
    order = np.argsort(margin)
    last = np.searchsorted(np.cumsum(weights[order]), risk_level)
    return max(float(margin[order[np.minimum(last, order.size - 1)]]), 0.0)


@dataclass(frozen=True)
class _MassMover:
    """Moves the nearest mass risk_level into violation, for a common factor kappa.

    Attributes
    ----------
    z : ndarray, shape (n_samples, n_rows)
        Standardised samples that may be moved.
    weights : ndarray, shape (n_samples,)
        Their probabilities.
    slack_ratio : ndarray, shape (n_rows,)
        Distance each row keeps at least.
    risk_level : float
        Mass to move, including the mass that violates already.
    """

    z: Floats
    weights: Floats
    slack_ratio: Floats
    risk_level: float

    def cost(self, kappa: float) -> tuple[float, float]:
        """Return the cost of the movement and its left derivative with respect to kappa."""
        gap = np.maximum(self.slack_ratio, kappa) - self.z
        row = gap.argmin(axis=1)
        margin = gap[np.arange(len(row)), row]
        order = np.argsort(margin)
        margin, row = margin[order], row[order]
        moved = _first_mass(self.weights[order], self.risk_level)
        grows = (margin > 0.0) & (self.slack_ratio[row] < kappa)
        return float(moved @ np.maximum(margin, 0.0)), float(moved @ grows)


def _smallest_factor(mover: _MassMover, radius: float, upper: float) -> float:
    """Find the smallest kappa in (0, upper] at which the movement costs the radius.

    The cost is continuous, nondecreasing and piecewise linear in kappa, but not convex: Newton
    steps, exact on the piece of the solution, and bisection where they leave what is left of the
    interval, as they do on a plateau and after a step too far.
    """
    lower = 0.0
    cost, slope = mover.cost(upper)
    while upper - lower > _KAPPA_TOLERANCE * max(1.0, upper):
        # A zero left slope means a plateau, whose left end is the smallest kappa.
        if slope > 0.0 and cost <= radius * (1.0 + _COST_TOLERANCE):
            break
        trial = upper - (cost - radius) / slope if slope > 0.0 else lower
        if not lower < trial < upper:
            trial = 0.5 * (lower + upper)
        trial_cost, trial_slope = mover.cost(trial)
        if trial_cost >= radius * (1.0 - _COST_TOLERANCE):
            upper, cost, slope = trial, trial_cost, trial_slope
        else:
            lower = trial
    return upper


def _sort_descending(z: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Sort the samples of every row in descending order, with their weights."""
    order = np.argsort(-z, axis=0)
    return z[order, np.arange(z.shape[1])], weights[order]


def _first_mass(mass: Floats, total: float) -> Floats:
    """Take mass from the first entries along axis 0 until `total`, the last one fractionally."""
    before = np.cumsum(mass, axis=0) - mass
    taken: Floats = np.minimum(np.maximum(total - before, 0.0), mass)
    return taken


def _check(samples: Floats, weights: Floats, radius: float, risk_level: float = 0.5) -> None:
    """Raise ValueError unless the arguments describe a ball and a risk level.

    NaN is refused because it compares as "not violated" and would pass as safe.
    """
    if weights.shape != samples.shape[:1]:
        raise ValueError(f"weights of shape {weights.shape} for {samples.shape[:1]} samples")
    if not (weights >= 0.0).all():
        raise ValueError("weights must be nonnegative")
    if not abs(weights.sum() - 1.0) <= 1e-9:
        raise ValueError(f"weights must sum to one, they sum to {weights.sum()}")
    if not 0.0 <= radius < math.inf:
        raise ValueError(f"radius must be nonnegative and finite, got {radius}")
    if not 0.0 < risk_level < 1.0:
        raise ValueError(f"risk_level must lie in (0, 1), got {risk_level}")
    if np.isnan(samples).any():
        raise ValueError("samples must not contain NaN")
