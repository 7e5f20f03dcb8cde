"""Means, ratios and paired changes over the replicates of an experiment, with intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.stats import t

from simulation.tallies import CONFIDENCE

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % confidence interval."""

    mean: float
    low: float
    high: float


def clusters_of(index: pd.DataFrame) -> pd.Series:
    """What replicates are independent of each other, by replicate.

    Replicates with the same start share the weather: they are one cluster, whatever their seeds.
    Where all start on the same day, every replicate is its own: then intervals hold given that
    weather. Either way they hold given the seeds, as far as replicates share these.
    """
    each = index.drop_duplicates("replicate").set_index("replicate")
    if "start" not in each or each.start.nunique() < 2:
        return each.index.to_series()
    return each.start


def mean_interval(
    values: pd.Series | Sequence[float], clusters: pd.Series | None = None
) -> Interval:
    r"""Mean of replicates, with Student's interval over independent clusters of them.

    .. math:: \bar x \pm t_{0.975,\,n-1} \, s / \sqrt{n}

    It supposes that the means of the clusters are about normal. One cluster has no interval (NaN),
    no replicate no mean either.

    Parameters
    ----------
    values : Series or sequence, shape (n_replicates,)
        A figure by replicate.
    clusters : Series, optional
        What :func:`clusters_of` returns; by default replicates are independent.
    """
    x = pd.Series(values, dtype=float)
    return ratio_interval(x, pd.Series(1.0, index=x.index), clusters)


def ratio_interval(
    numerator: pd.Series, denominator: pd.Series, clusters: pd.Series | None = None
) -> Interval:
    r"""Ratio of two sums over the same replicates.

    .. math:: r = \frac{\sum y}{\sum x}, \qquad
        r \pm t_{0.975,\,n-1} \, \frac{s(y - r x)}{\bar x \sqrt n} ,

    the ratio estimator with its linearised error [1]_: what y and x have in common cancels,
    replicate by replicate, before the interval is formed. With clusters, y and x are the sums over
    each of the n clusters.

    Parameters
    ----------
    numerator, denominator : Series, shape (n_replicates,)
        The terms y and x of the sums, by replicate.
    clusters : Series, optional
        What :func:`clusters_of` returns; by default replicates are independent.

    Returns
    -------
    Interval
        NaN unless the denominators sum to something positive.

    References
    ----------
    .. [1] W. G. Cochran, Sampling Techniques, 3rd edition, Wiley, 1977, chapter 6.
    """
    total = float(denominator.sum())
    if not total > 0:
        return Interval(np.nan, np.nan, np.nan)
    ratio = float(numerator.sum()) / total
    error = numerator - ratio * denominator
    if clusters is not None:
        error = error.groupby(clusters.reindex(error.index)).sum()
    n = len(error)
    if n < 2:
        return Interval(ratio, np.nan, np.nan)
    half = float(t.ppf(0.5 + CONFIDENCE / 2, n - 1) * error.std(ddof=1) * np.sqrt(n)) / total
    return Interval(ratio, ratio - half, ratio + half)


def paired_change(
    cost: pd.Series, reference: pd.Series, clusters: pd.Series | None = None
) -> Interval:
    """Relative change of the total cost over the same replicates.

    Parameters
    ----------
    cost, reference : Series
        Costs by replicate; replicates that are not in both do not count. [EUR]
    clusters : Series, optional
        What :func:`clusters_of` returns; by default replicates are independent.

    Returns
    -------
    Interval
        Difference over reference; see :func:`ratio_interval`. [%]
    """
    both = pd.concat({"own": cost, "reference": reference}, axis=1, join="inner").dropna()
    change = ratio_interval(both.own - both.reference, both.reference, clusters)
    return scaled(change, 100)


def scaled(interval: Interval, factor: float) -> Interval:
    """Multiply an interval by a factor, which may be negative."""
    ends = sorted((factor * interval.low, factor * interval.high))
    return Interval(factor * interval.mean, *ends)
