r"""Safety factors: all that distinguishes the methods of handling the uncertainty.

Every method turns the chance constraint of a row with standardised uncertainty z, mean mu and
standard deviation sigma into the same deterministic equivalent

.. math:: f(x) + \mu(x) + \kappa \, \sigma(x) \le \bar f

and differs only in the number kappa that it reads off the standardised samples. Adding a method
means adding one small class and its line in `METHODS`; a class outside this package is named by its
path instead (see `market.plugins`).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

import numpy as np
from scipy.stats import norm

from configs.schema import CLASS_PATH
from market.ambiguity import (
    Floats,
    common_safety_factor,
    sample_cvar,
    worst_case_quantile,
    worst_case_quantiles,
)
from market.plugins import load_class


class SafetyFactor(Protocol):
    """What the clearing asks of a method."""

    def __init__(self, risk_level: float, radius: float) -> None: ...

    @property
    def risk_level(self) -> float:
        """Allowed probability of violation, in (0, 1)."""

    @property
    def radius(self) -> float:
        """Radius of the Wasserstein ball, in standard deviations; ignored by some methods."""

    @property
    def exact_joint(self) -> bool:
        """Whether the factors put the joint worst-case probability exactly at the risk level.

        That is the worst case over the ball of the samples that the factors are found for.
        The clearing then repeats until this probability, its certificate, is kept and used up
        where limits bind; otherwise until every row keeps its margin.
        """

    def factors(self, z: Floats, weights: Floats, slack_ratio: Floats) -> Floats:
        """Return the safety factor of every row.

        Parameters
        ----------
        z : ndarray, shape (n_samples, n_rows)
            Standardised samples of the constraint rows.
        weights : ndarray, shape (n_samples,)
            Probabilities of the samples.
        slack_ratio : ndarray, shape (n_rows,)
            Distance of each row to its limit in standard deviations, kept whatever the factor is;
            only an exact joint method needs it.

        Returns
        -------
        ndarray, shape (n_rows,)
            Nonnegative factors.
        """

    def two_sided(self, z: Floats, weights: Floats) -> float:
        """Return the factor that bounds a single scalar on both sides, `|z| <= kappa`.

        Parameters
        ----------
        z : ndarray, shape (n_samples,)
            Standardised samples.
        weights : ndarray, shape (n_samples,)
            Probabilities of the samples.

        Returns
        -------
        float
            Nonnegative factor.
        """


@dataclass(frozen=True)
class _Method(ABC):
    """Fields and two-sided factor shared by the methods of this module.

    Attributes
    ----------
    risk_level : float
        Allowed probability of violation, in (0, 1).
    radius : float
        Radius of the Wasserstein ball, in standard deviations.
    """

    risk_level: float
    radius: float
    exact_joint: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check(self.risk_level, self.radius)

    def factors(self, z: Floats, weights: Floats, slack_ratio: Floats) -> Floats:
        """Return the safety factor of every row; see `SafetyFactor.factors`."""
        # A negative factor would turn the norm kappa * sigma into a concave term, and the
        # deterministic equivalent would no longer be a convex constraint.
        return np.maximum(self._raw_factors(z, weights, slack_ratio), 0.0)

    def two_sided(self, z: Floats, weights: Floats) -> float:
        """Return the factor of a single `|z|`; see `SafetyFactor.two_sided`.

        Both sides are given half of the risk (Bonferroni), for every method alike, so that the
        methods remain comparable; it is exact for symmetric distributions.
        """
        half = replace(self, risk_level=0.5 * self.risk_level)
        sides = half.factors(np.column_stack([z, -z]), weights, np.zeros(2))
        return float(sides.max())

    @abstractmethod
    def _raw_factors(self, z: Floats, weights: Floats, slack_ratio: Floats) -> Floats:
        """Return the factors before they are clipped at zero."""


@dataclass(frozen=True)
class Deterministic(_Method):
    r"""Forecast errors are ignored.

    .. math:: \kappa = 0

    Each constraint holds for the mean error only.
    """

    def _raw_factors(self, z: Floats, weights: Floats, slack_ratio: Floats) -> Floats:
        return np.zeros(z.shape[1])


@dataclass(frozen=True)
class Gaussian(_Method):
    r"""Individual chance constraints under a normal distribution [1]_.

    .. math:: \kappa = \Phi^{-1}(1 - \varepsilon)

    Assumes that the errors are jointly normal with the samples' mean and covariance.

    References
    ----------
    .. [1] D. Bienstock, M. Chertkov, S. Harnett, Chance-constrained optimal power flow: risk-aware
       network control under uncertainty, SIAM Review 56(3), 2014, doi:10.1137/130910312.
    """

    def _raw_factors(self, z: Floats, weights: Floats, slack_ratio: Floats) -> Floats:
        return np.full(z.shape[1], norm.ppf(1.0 - self.risk_level))


@dataclass(frozen=True)
class Moment(_Method):
    r"""Individual chance constraints under every distribution with the given moments [1]_.

    .. math:: \kappa = \sqrt{(1 - \varepsilon) / \varepsilon}

    The one-sided Chebyshev (Cantelli) bound. Assumes only that the samples' mean and covariance are
    those of the errors.

    References
    ----------
    .. [1] G. C. Calafiore, L. El Ghaoui, On distributionally robust chance-constrained linear
       programs, Journal of Optimization Theory and Applications 130, 2006,
       doi:10.1007/s10957-006-9084-x.
    """

    def _raw_factors(self, z: Floats, weights: Floats, slack_ratio: Floats) -> Floats:
        return np.full(z.shape[1], np.sqrt((1.0 - self.risk_level) / self.risk_level))


@dataclass(frozen=True)
class Empirical(_Method):
    r"""Individual chance constraints under the sample distribution [1]_.

    .. math:: \kappa = \min \{ k : \textstyle\sum_i w_i 1[z_i > k] \le \varepsilon \}

    Sample average approximation: trusts the samples, hence optimistic out of sample.

    References
    ----------
    .. [1] J. Luedtke, S. Ahmed, A sample approximation approach for optimization with probabilistic
       constraints, SIAM Journal on Optimization 19(2), 2008, doi:10.1137/070702928.
    """

    def _raw_factors(self, z: Floats, weights: Floats, slack_ratio: Floats) -> Floats:
        return worst_case_quantiles(z, weights, self.risk_level, 0.0)


@dataclass(frozen=True)
class WassersteinCvar(_Method):
    r"""CVaR approximation of the individual Wasserstein chance constraints [1]_ [2]_.

    .. math:: \kappa = \sup_Q \mathrm{CVaR}^Q_\varepsilon(z)
              = \mathrm{CVaR}_\varepsilon(z) + \rho / \varepsilon

    Every distribution in the type-1 ball (Mahalanobis ground metric, unbounded support). Convex
    and safe, but conservative: CVaR bounds the quantile from above.

    References
    ----------
    .. [1] P. Mohajerin Esfahani, D. Kuhn, Data-driven distributionally robust optimization using
       the Wasserstein metric, Mathematical Programming 171, 2018, doi:10.1007/s10107-017-1172-1.
    .. [2] A. Nemirovski, A. Shapiro, Convex approximations of chance constrained programs, SIAM
       Journal on Optimization 17(4), 2006, doi:10.1137/050622328.
    """

    def _raw_factors(self, z: Floats, weights: Floats, slack_ratio: Floats) -> Floats:
        return sample_cvar(z, weights, self.risk_level) + self.radius / self.risk_level


@dataclass(frozen=True)
class Wasserstein(_Method):
    r"""Exact individual Wasserstein chance constraints [1]_ [2]_.

    .. math:: \kappa = \min \{ k : \sup_Q Q(z > k) \le \varepsilon \}

    Every distribution in the type-1 ball (Mahalanobis ground metric, unbounded support); each row
    has the whole risk level to itself. Radius zero gives `Empirical`.

    References
    ----------
    .. [1] Z. Chen, D. Kuhn, W. Wiesemann, Data-driven chance constrained programs over Wasserstein
       balls, Operations Research 72(1), 2024, doi:10.1287/opre.2022.2330.
    .. [2] W. Xie, On distributionally robust chance constrained programs with Wasserstein distance,
       Mathematical Programming 186, 2021, doi:10.1007/s10107-019-01445-5.
    """

    def _raw_factors(self, z: Floats, weights: Floats, slack_ratio: Floats) -> Floats:
        return worst_case_quantiles(z, weights, self.risk_level, self.radius)


@dataclass(frozen=True)
class WassersteinJoint(_Method):
    r"""Exact joint Wasserstein chance constraint, one factor for all rows [1]_ [2]_.

    .. math:: \kappa = \min \{ k \ge 0 : \sup_Q Q(\exists b : z_b > \max(s_b, k)) \le \varepsilon \}

    Every distribution in the type-1 ball (Mahalanobis ground metric, unbounded support); all rows
    together have the risk level. A row whose slack ratio s_b exceeds kappa keeps its distance but
    takes its part of the risk. That the other rows have one factor in common is a choice: any
    vector of factors with the same joint worst case would be as safe.

    References
    ----------
    .. [1] Z. Chen, D. Kuhn, W. Wiesemann, Data-driven chance constrained programs over Wasserstein
       balls, Operations Research 72(1), 2024, doi:10.1287/opre.2022.2330.
    .. [2] W. Xie, On distributionally robust chance constrained programs with Wasserstein distance,
       Mathematical Programming 186, 2021, doi:10.1007/s10107-019-01445-5.
    """

    exact_joint: ClassVar[bool] = True

    def two_sided(self, z: Floats, weights: Floats) -> float:
        """Return the factor of a single `|z|`: with one row nothing is joint."""
        return Wasserstein(self.risk_level, self.radius).two_sided(z, weights)

    def _raw_factors(self, z: Floats, weights: Floats, slack_ratio: Floats) -> Floats:
        kappa = common_safety_factor(z, weights, self.risk_level, self.radius, slack_ratio)
        return np.full(z.shape[1], kappa)


@dataclass(frozen=True)
class Hypercube(_Method):
    r"""Robust over the smallest box that holds 1 - risk_level of the mass, after [1]_.

    .. math:: \kappa = \min \{ s \ge 0 : \sup_Q Q(\exists b : |z_b| > s) \le \varepsilon \}

    Every distribution in the type-1 ball (Mahalanobis ground metric, unbounded support) has at
    least the mass 1 - risk_level in the box, so that a schedule that is feasible in all of the box
    keeps the joint chance constraint. Safe but conservative, never below `WassersteinJoint`: the
    box spans both sides of all rows however far from their limits, so that part of the risk level
    is spent where nothing binds and the certificate lies below it.

    In [1]_ the box spans the standardised error sources, and a row takes its worst corner: the sum
    of its absolute effects. Here it spans the standardised rows, all that a method sees, and a row
    takes the side. The side is exact for the ball, by sorting.

    References
    ----------
    .. [1] C. Duan, W. Fang, L. Jiang, L. Yao, J. Liu, Distributionally robust chance-constrained
       approximate AC-OPF with Wasserstein metric, IEEE Transactions on Power Systems 33(5), 2018,
       arXiv:1706.05538.
    """

    def _raw_factors(self, z: Floats, weights: Floats, slack_ratio: Floats) -> Floats:
        largest = np.abs(z).max(axis=1, initial=0.0)
        side = worst_case_quantile(largest, weights, self.risk_level, self.radius)
        return np.full(z.shape[1], side)


@dataclass(frozen=True)
class Robust(_Method):
    r"""Robust over the samples: no limit is exceeded in any of them [1]_.

    .. math:: \kappa_b = \max_{i : w_i > 0} z_{bi}

    The scenario approach: the support is taken to be the samples, neither the risk level nor the
    radius has any effect, and no ball is hedged against. The factor of every row is its own; as no
    sample violates any row, the samples keep the joint constraint too. What this says about other
    errors depends on the number of samples [1]_, and under the ball it promises nothing.

    References
    ----------
    .. [1] G. C. Calafiore, M. C. Campi, The scenario approach to robust control design, IEEE
       Transactions on Automatic Control 51(5), 2006, doi:10.1109/TAC.2006.875041.
    """

    def _raw_factors(self, z: Floats, weights: Floats, slack_ratio: Floats) -> Floats:
        largest: Floats = z[weights > 0.0].max(axis=0)
        return largest


METHODS: dict[str, type[SafetyFactor]] = {
    "deterministic": Deterministic,
    "gaussian": Gaussian,
    "moment": Moment,
    "empirical": Empirical,
    "wasserstein_cvar": WassersteinCvar,
    "wasserstein": Wasserstein,
    "wasserstein_joint": WassersteinJoint,
    "hypercube": Hypercube,
    "robust": Robust,
}


def make_safety_factor(name: str, risk_level: float, radius: float) -> SafetyFactor:
    """Create a method by its configured name.

    With fewer than ``1 / risk_level`` equal samples (see `market.ambiguity.enough_samples`) no
    sample may violate: `Empirical` then equals `Robust`, and the methods of the ball put their
    factors at the largest sample or beyond it. They stay safe, but the samples no longer tell one
    risk level from another.

    Parameters
    ----------
    name : str
        A key of `METHODS`, or the path of a class, ``package.module:ClassName``, that is called
        with the two numbers below and behaves like `SafetyFactor`.
    risk_level : float
        Allowed probability of violation, in (0, 1).
    radius : float
        Radius of the Wasserstein ball, in standard deviations.

    Returns
    -------
    SafetyFactor
        The method.

    Raises
    ------
    ValueError
        If the name is unknown, a parameter out of range, or the class of the user not allowed, not
        found or not usable.
    """
    _check(risk_level, radius)
    if name in METHODS:
        return METHODS[name](risk_level, radius)
    if CLASS_PATH.fullmatch(name):
        return _user_defined(name, risk_level, radius)
    raise ValueError(
        f"unknown safety factor {name!r}, choose one of {', '.join(METHODS)}, or the path of a "
        "class, package.module:ClassName"
    )


def _user_defined(path: str, risk_level: float, radius: float) -> SafetyFactor:
    """Create a method of the user and try it on a few samples, so that it fails before the run."""
    method = load_class(path, ("factors", "two_sided"))
    weights = np.full(20, 0.05)
    z = np.outer(np.linspace(-1.6, 1.6, 20), [1.0, -1.0, 0.5])
    try:
        factor: SafetyFactor = method(risk_level, radius)
        given = factor.risk_level, factor.radius, factor.exact_joint
        kappa = np.asarray(factor.factors(z, weights, np.zeros(3)), dtype=float)
        two_sided = float(factor.two_sided(z[:, 0], weights))
    except Exception as error:  # user code may raise anything
        raise ValueError(f"{path}: not usable: {type(error).__name__}: {error}") from error
    if given[:2] != (risk_level, radius) or not isinstance(given[2], bool):
        raise ValueError(f"{path}: must keep risk_level and radius, and exact_joint be a bool")
    if kappa.shape != (3,) or not (np.isfinite(kappa) & (kappa >= 0.0)).all():
        raise ValueError(f"{path}: factors must be nonnegative, one per row, got {kappa} for 3")
    if not 0.0 <= two_sided < np.inf:
        raise ValueError(f"{path}: two_sided must be nonnegative and finite, got {two_sided}")
    return factor


def _check(risk_level: float, radius: float) -> None:
    """Raise ValueError for parameters out of range; NaN is."""
    if not 0.0 < risk_level < 1.0:
        raise ValueError(f"risk_level must lie in (0, 1), got {risk_level}")
    if not 0.0 <= radius < np.inf:
        raise ValueError(f"radius must be nonnegative and finite, got {radius}")
