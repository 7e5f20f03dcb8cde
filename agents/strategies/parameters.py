"""Checks of the parameters that a configuration gives to a strategy."""

from __future__ import annotations

from math import inf, isfinite
from typing import TYPE_CHECKING

import numpy as np

from configs.limits import FIGURE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

MOST = 100_000
"""Largest number of actions, steps or samples of a strategy."""


def check_number(name: str, value: object, low: float, high: float = inf, ends: str = "[]") -> None:
    """Refuse what is no number of an interval.

    Parameters
    ----------
    name, value : str, object
        The parameter.
    low, high : float
        Ends of the interval; an infinite one never belongs to it, nor does what is beyond
        :data:`configs.limits.FIGURE`.
    ends : str
        Whether they belong to it: ``[`` or ``(``, then ``]`` or ``)``.

    Raises
    ------
    ValueError
        Names the parameter, the value and what is allowed.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= FIGURE:
        inside = low < value < high
        first, last = ends[0] == "[" and value == low, ends[1] == "]" and value == high
        if inside or ((first or last) and isfinite(value)):
            return
    right = ")" if high == inf else ends[1]
    msg = f"{name} must be a number in {ends[0]}{low:g}, {high:g}{right}, got {value!r}"
    raise ValueError(msg)


def check_count(name: str, value: object, least: int, most: int = MOST) -> None:
    """Refuse what is no whole number, or too small or large a one.

    Raises
    ------
    ValueError
        Names the parameter, the value and what is allowed.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")
    if value > most:
        raise ValueError(f"{name} must be a whole number of at most {most:,}, got {value!r}")


def series(name: str, values: object, shape: tuple[int, ...], least: float = -inf) -> Array:
    """Read finite numbers of a shape from a saved state.

    Parameters
    ----------
    name, values : str, object
        What is read, as nested lists.
    shape : tuple of int
        Shape it must have.
    least : float
        Smallest value allowed.

    Raises
    ------
    ValueError
        Names the values and what is allowed.
    """
    array = np.array(values, dtype=float)
    if array.shape != shape or not np.isfinite(array).all() or (array < least).any():
        above = "" if least == -inf else f" of at least {least:g}"
        raise ValueError(
            f"{name} must be finite numbers{above} of shape {shape}, got {values!r:.60}"
        )
    return array


def check_choice(name: str, value: object, allowed: Sequence[str]) -> None:
    """Refuse what is not one of the allowed words.

    Raises
    ------
    ValueError
        Names the parameter, the value and what is allowed.
    """
    if value not in allowed:
        raise ValueError(f"{name} must be {' or '.join(allowed)}, got {value!r}")
