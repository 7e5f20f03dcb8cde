r"""Probabilities of the error samples, given what is known when the window opens.

Equal probabilities take the coming error for one more draw from the trailing window. Errors are
neither stationary nor independent of the situation, however: those of spring differ from those of
winter, and on a day without wind no wind can be missed. A *conditional* ambiguity set is centred at
the distribution that weighs past errors by their resemblance to the coming one [1]_ [2]_, with

.. math:: w_i \propto \exp\Big( -\frac{\text{age}_i}{\tau} \Big)
          \exp\Big( -\frac{1}{2 h^2} \sum_j \frac{(f_{ij} - f_j)^2}{s_j^2} \Big),

the first factor for recency, the second, a Gaussian kernel (Nadaraya-Watson weights), for the
similarity of the forecasts f, in standard deviations s of the past ones. Only past forecasts, the
ages of their errors and the coming forecast go in.

No weight exceeds a given share: a chance constraint of risk level epsilon reads the largest errors
of total mass epsilon, which would be a single one if a sample could weigh as much. A largest weight
w also keeps the effective number of samples, :math:`1 / \sum_i w_i^2`, from falling below 1 / w.

References
----------
.. [1] D. Bertsimas, N. Kallus, From predictive to prescriptive analytics, Management Science 66(3),
   2020, doi:10.1287/mnsc.2018.3253.
.. [2] A. Esteban-Pérez, J. M. Morales, Distributionally robust stochastic programs with side
   information based on trimmings, Mathematical Programming 195, 2022,
   doi:10.1007/s10107-021-01724-0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import softmax

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

RULES = ("equal", "recency", "similarity", "recency_similarity")


def sample_weights(
    rule: str,
    age_days: Array,
    past_features: Array,
    features: Array,
    *,
    forgetting_days: float,
    width: float,
    largest: float,
) -> Array:
    """Weigh the error samples of one step, or of several along the first axes.

    Parameters
    ----------
    rule : str
        ``equal``, ``recency``, ``similarity`` or ``recency_similarity``, the product.
    age_days : ndarray, shape (..., n_samples)
        Age of each sample. [d]
    past_features : ndarray, shape (..., n_samples, n_features)
        What had been forecast for each, in any unit.
    features : ndarray, shape (..., n_features)
        What is forecast now, in the same units.
    forgetting_days : float
        Age at which a sample weighs 1/e of a fresh one. [d]
    width : float
        Width of the kernel, in standard deviations of the past forecasts.
    largest : float
        Largest weight of a sample; with fewer samples than 1 / largest all weigh the same.

    Returns
    -------
    ndarray, shape (..., n_samples)
        Probabilities.

    Raises
    ------
    ValueError
        If the rule is unknown, there is no sample, a number is not finite or a scale not positive.
    """
    if rule not in RULES:
        raise ValueError(f"unknown sample weights {rule!r}, choose one of {', '.join(RULES)}")
    if not age_days.size:
        raise ValueError("there are no samples to be weighed")
    log_weights = np.zeros(age_days.shape)
    if "recency" in rule:
        log_weights += log_recency(age_days, forgetting_days)
    if "similarity" in rule:
        log_weights += log_similarity(past_features, features, width)
    return bounded(softmax(log_weights, axis=-1), largest)


def log_recency(age_days: Array, forgetting_days: float) -> Array:
    """Logarithm of the exponential forgetting, up to a constant; see :func:`sample_weights`."""
    _check_scale("forgetting_days", forgetting_days)
    _check_finite("age_days", age_days)
    return -age_days / forgetting_days


def log_similarity(past_features: Array, features: Array, width: float) -> Array:
    """Logarithm of the Gaussian kernel, up to a constant; see :func:`sample_weights`.

    A feature that was always forecast alike, as solar power at night, tells no samples apart and
    drops out.
    """
    _check_scale("width", width)
    _check_finite("past_features", past_features)
    _check_finite("features", features)
    spread = past_features.std(axis=-2, keepdims=True)
    # The mean of equal numbers may differ from them by a rounding error.
    varies = spread > 1e-9 * np.abs(past_features).max(axis=-2, keepdims=True)
    departure = past_features - np.expand_dims(features, -2)
    scaled = np.divide(departure, spread, out=np.zeros_like(departure), where=varies)
    log_kernel: Array = -0.5 * (scaled**2).sum(axis=-1) / width**2
    return log_kernel


def bounded(weights: Array, largest: float) -> Array:
    r"""Mix probabilities with equal ones, just enough that none exceeds a bound.

    .. math:: w' = (1 - \lambda) w + \lambda / N, \qquad
              \lambda = \frac{w_{max} - b}{w_{max} - 1/N}
              \quad\text{for}\quad w_{max} > b \ge 1/N

    With fewer samples than 1 / b no such mixture exists and all weigh the same.

    Parameters
    ----------
    weights : ndarray, shape (..., n_samples)
        Probabilities.
    largest : float
        The bound b.

    Returns
    -------
    ndarray, shape (..., n_samples)
        Probabilities.
    """
    _check_scale("largest", largest)
    top, equal = weights.max(axis=-1, keepdims=True), 1.0 / weights.shape[-1]
    heavy = top > max(largest, equal)
    excess = np.divide(top - largest, top - equal, out=np.zeros_like(top), where=heavy)
    share = np.minimum(excess, 1.0)
    mixed: Array = (1.0 - share) * weights + share * equal
    return mixed


def _check_scale(name: str, value: float) -> None:
    if not 0.0 < value < np.inf:
        raise ValueError(f"{name} must be positive and finite, got {value}")


def _check_finite(name: str, values: Array) -> None:
    if not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite, got {values[~np.isfinite(values)][0]}")
