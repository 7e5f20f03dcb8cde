"""Checks of the parameters that a configuration gives to a strategy."""

from __future__ import annotations

from math import inf, isfinite
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def check_number(name: str, value: object, low: float, high: float = inf, ends: str = "[]") -> None:
    """Refuse what is no number of an interval.

    Parameters
    ----------
    name, value : str, object
        The parameter.
    low, high : float
        Ends of the interval; an infinite one never belongs to it.
    ends : str
        Whether they belong to it: ``[`` or ``(``, then ``]`` or ``)``.

    Raises
    ------
    ValueError
        Names the parameter, the value and what is allowed.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        inside = low < value < high
        first, last = ends[0] == "[" and value == low, ends[1] == "]" and value == high
        if inside or ((first or last) and isfinite(value)):
            return
    right = ")" if high == inf else ends[1]
    msg = f"{name} must be a number in {ends[0]}{low:g}, {high:g}{right}, got {value!r}"
    raise ValueError(msg)


def check_count(name: str, value: object, least: int) -> None:
    """Refuse what is no whole number, or too small a one.

    Raises
    ------
    ValueError
        Names the parameter, the value and what is allowed.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")


def check_choice(name: str, value: object, allowed: Sequence[str]) -> None:
    """Refuse what is not one of the allowed words.

    Raises
    ------
    ValueError
        Names the parameter, the value and what is allowed.
    """
    if value not in allowed:
        raise ValueError(f"{name} must be {' or '.join(allowed)}, got {value!r}")
