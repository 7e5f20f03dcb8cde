r"""Safety factors: all that distinguishes the methods of handling the uncertainty.

Every method turns the chance constraint of a row with standardised uncertainty z, mean mu and
standard deviation sigma into the same deterministic equivalent

.. math:: f(x) + \mu(x) + \kappa \, \sigma(x) \le \bar f

and differs only in the number kappa that it reads off the standardised samples. Adding a method
means adding one small class and its line in `METHODS`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

import numpy as np
from scipy.stats import norm

from market.ambiguity import Floats, common_safety_factor, sample_cvar, worst_case_quantiles


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
    def joint(self) -> bool:
        """Whether the risk level holds for all rows together."""

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
            only joint methods look at it.

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
    joint: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0.0 < self.risk_level < 1.0:
            raise ValueError(f"risk_level must lie in (0, 1), got {self.risk_level}")
        if not 0.0 <= self.radius < np.inf:
            raise ValueError(f"radius must be nonnegative and finite, got {self.radius}")

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
        no_slack = np.zeros(1)
        sides = [half.factors(side[:, np.newaxis], weights, no_slack)[0] for side in (z, -z)]
        return float(max(sides))

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

    joint: ClassVar[bool] = True

    def two_sided(self, z: Floats, weights: Floats) -> float:
        """Return the factor of a single `|z|`: with one row nothing is joint."""
        return Wasserstein(self.risk_level, self.radius).two_sided(z, weights)

    def _raw_factors(self, z: Floats, weights: Floats, slack_ratio: Floats) -> Floats:
        kappa = common_safety_factor(z, weights, self.risk_level, self.radius, slack_ratio)
        return np.full(z.shape[1], kappa)


METHODS: dict[str, type[SafetyFactor]] = {
    "deterministic": Deterministic,
    "gaussian": Gaussian,
    "moment": Moment,
    "empirical": Empirical,
    "wasserstein_cvar": WassersteinCvar,
    "wasserstein": Wasserstein,
    "wasserstein_joint": WassersteinJoint,
}


def make_safety_factor(name: str, risk_level: float, radius: float) -> SafetyFactor:
    """Create a method by its configured name.

    Parameters
    ----------
    name : str
        A key of `METHODS`.
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
        If the name is unknown or a parameter out of range.
    """
    if name not in METHODS:
        raise ValueError(f"unknown safety factor {name!r}, choose one of {', '.join(METHODS)}")
    return METHODS[name](risk_level, radius)
