"""Violations of grid limits in the AC replay, and what caused them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from grid.limits import UNDER_VOLTAGE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from grid.limits import LimitRows

    Array = NDArray[np.float64]

TOLERANCE_PU = 1e-6
"""A limit counts as violated when it is exceeded by more than this. [p.u.]"""

POWER_FLOW_FAILURE = "power_flow_failure"


@dataclass(frozen=True)
class Violation:
    """One limit that one network violated in one step."""

    element: int
    """Bus number, line position, or source bus."""
    kind: str
    """What was violated: one of the kinds of :mod:`grid.limits`, or a failed power flow."""
    value: float
    """Voltage [p.u.], or loading over rating [-]."""
    limit: float
    """Limit of the value."""
    excess: float
    """How far the value lies beyond it, positive."""
    cause: str
    """Why; see :func:`find_violations`."""


@dataclass(frozen=True)
class MissedLimit:
    """One limit that a schedule misses, with its margin, where nothing was promised."""

    element: int
    kind: str
    """As in :class:`Violation`."""
    missed_pu: float
    """By how much, in per unit of the quantity. [p.u.]"""


def missed_limits(rows: LimitRows, missed_pu: Array) -> tuple[MissedLimit, ...]:
    """List the limits that a schedule misses, given by how much it misses each, (n_rows,)."""
    return tuple(
        MissedLimit(int(rows.element[r]), str(rows.kind[r]), float(missed_pu[r]))
        for r in np.flatnonzero(missed_pu > TOLERANCE_PU)
    )


def find_violations(
    rows: LimitRows,
    actual: Array,
    promised: Array,
    delivered: Array,
    *,
    excuse: str = "",
) -> list[Violation]:
    """List the limits that the AC replay exceeds, each with its cause.

    The cause is the excuse where there is one, as nothing was promised then; ``tail`` when the
    linear model violates the limit too at the realised errors, as it may with the promised
    probability; ``recourse`` when it does so only because devices, flexible loads included, could
    not deliver what was scheduled and asked; else ``linearisation``.

    Parameters
    ----------
    rows : LimitRows
        The constrained quantities.
    actual : ndarray, shape (n_rows,)
        Their values in the AC replay. [p.u.]
    promised : ndarray, shape (n_rows,)
        Values of the linear model at the realised errors and the full recourse policy. [p.u.]
    delivered : ndarray, shape (n_rows,)
        Values of the linear model at the realised injections. [p.u.]
    excuse : str
        Why the clearing promised nothing: ``fallback`` of the solver, ``no_room`` for the limits,
        or passes that ended ``unsettled``; empty where it keeps its promise.

    Returns
    -------
    list of Violation
        In the order of the rows; empty if every limit is kept.
    """
    out = []
    for r in np.flatnonzero(actual > rows.limit + TOLERANCE_PU):
        if excuse:
            cause = excuse
        elif promised[r] > rows.limit[r] + TOLERANCE_PU:
            cause = "tail"
        elif delivered[r] > rows.limit[r] + TOLERANCE_PU:
            cause = "recourse"
        else:
            cause = "linearisation"
        sign = -1.0 if rows.kind[r] == UNDER_VOLTAGE else 1.0
        out.append(
            Violation(
                element=int(rows.element[r]),
                kind=str(rows.kind[r]),
                value=sign * float(actual[r]),
                limit=sign * float(rows.limit[r]),
                excess=float(actual[r] - rows.limit[r]),
                cause=cause,
            )
        )
    return out


def power_flow_failure(source_bus: int) -> Violation:
    """Return the violation that stands for a replay without a solution."""
    nan = float("nan")
    return Violation(source_bus, POWER_FLOW_FAILURE, nan, nan, nan, "power_flow")
