"""Quantities that are no numbers are stopped where they come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from market.errors import NotFiniteError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike


def require_finite(what: str, values: ArrayLike, names: Sequence[str] = (), *, step: int) -> None:
    """Make sure that every value is a finite number.

    Parameters
    ----------
    what : str
        The quantity, for the message.
    values : array_like
        Its values.
    names : sequence of str
        What the entries of the last axis belong to: peers, networks, columns.
    step : int
        The step, for the message.

    Raises
    ------
    NotFiniteError
        If one is not; the message names the step, the quantity and the first such entry.
    """
    array = np.asarray(values, dtype=float)
    with np.errstate(invalid="ignore", over="ignore"):
        if np.isfinite(array.sum()):  # which takes a fraction of the time
            return
    finite = np.isfinite(array)
    if finite.all():
        return
    place = tuple(np.argwhere(~finite)[0].tolist())
    owner = f" of {names[place[-1]]}" if len(names) else ""
    raise NotFiniteError(f"step {step}: {what}{owner} is {array[place]}, not a finite number")
