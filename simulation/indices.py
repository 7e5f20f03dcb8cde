"""Indices of a community: how evenly gains are spread, and how far it lives on its own energy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def gini(values: ArrayLike) -> float | None:
    r"""Gini index [1]_: half the mean difference of all pairs, over the mean.

    .. math:: G = \frac{\sum_i \sum_j |x_i - x_j|}{2 n^2 \bar x}
              = \frac{\sum_i (2 i - n - 1)\, x_{(i)}}{n \sum_i x_i},
              \qquad x_{(1)} \le \dots \le x_{(n)}

    0 where all have the same, 1 - 1/n where one has all. Values below zero are taken as they are:
    the index may then exceed one (cf. [2]_), and it has no meaning unless the mean is positive.

    Parameters
    ----------
    values : array_like, shape (n,)
        What each one has.

    Returns
    -------
    float or None
        The index; None without values, or where their mean is not positive. [-]

    References
    ----------
    .. [1] C. Gini, Variabilita e mutabilita, Bologna, 1912.
    .. [2] C.-N. Chen, T.-W. Tsaur, T.-S. Rhai, The Gini coefficient and negative income, Oxford
       Economic Papers 34(3), 1982.
    """
    x = np.sort(np.asarray(values, dtype=np.float64))
    n, total = len(x), x.sum()
    if not n or total <= 0:
        return None
    return float(np.arange(1 - n, n, 2) @ x / (n * total))


def jain(values: ArrayLike) -> float | None:
    r"""Fairness index of Jain, Chiu and Hawe [1]_.

    .. math:: J = \frac{(\sum_i x_i)^2}{n \sum_i x_i^2}

    1 where all have the same; k/n where k of n have the same and the others nothing. Values below
    zero are taken as they are; where they cancel the others the index is 0.

    Parameters
    ----------
    values : array_like, shape (n,)
        What each one has.

    Returns
    -------
    float or None
        The index, between 0 and 1; None without values, or where all are zero. [-]

    References
    ----------
    .. [1] R. K. Jain, D.-M. W. Chiu, W. R. Hawe, A quantitative measure of fairness and
       discrimination for resource allocation in shared computer systems, Digital Equipment
       Corporation, Technical Report DEC-TR-301, 1984.
    """
    x = np.asarray(values, dtype=np.float64)
    squares = len(x) * float(x @ x)
    return float(x.sum()) ** 2 / squares if squares else None


def self_sufficiency(imported_kwh: float, load_kwh: float) -> float | None:
    r"""Part of the load that a community serves itself: 1 - import / load.

    For a community as one whole: energy that its peers give each other within a step is no import
    (the definitions of [1]_, which are those of a single building, applied to the sum of all
    peers in every step). Negative where more was imported than used, to be stored.

    Parameters
    ----------
    imported_kwh : float
        Sum over the steps of the net imports. [kWh]
    load_kwh : float
        Load over the same steps. [kWh]

    Returns
    -------
    float or None
        The index, at most 1; None without load. [-]

    References
    ----------
    .. [1] R. Luthander, J. Widen, D. Nilsson, J. Palm, Photovoltaic self-consumption in
       buildings: a review, Applied Energy 142, 2015, doi:10.1016/j.apenergy.2014.12.028.
    """
    return 1 - imported_kwh / load_kwh if load_kwh else None


def self_consumption(exported_kwh: float, generation_kwh: float) -> float | None:
    """Part of the generation that a community keeps to itself: 1 - export / generation.

    What storage loses counts as kept. Negative where more was exported than generated, out of
    what had been stored before. Source and scope: see :func:`self_sufficiency`.

    Parameters
    ----------
    exported_kwh : float
        Sum over the steps of the net exports. [kWh]
    generation_kwh : float
        Generation over the same steps. [kWh]

    Returns
    -------
    float or None
        The index, at most 1; None without generation. [-]
    """
    return 1 - exported_kwh / generation_kwh if generation_kwh else None
