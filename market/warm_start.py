"""Where a clearing starts: the last schedule, moved to the new window."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from market.schedule import supplier_only

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from market.book import BidBook
    from market.roster import Roster
    from market.schedule import Schedule


@dataclass(frozen=True, eq=False)
class LastClearing:
    """What a clearing hands on to the next.

    Attributes
    ----------
    step : int
        First step of its window.
    schedule : Schedule
        Its schedule.
    uncontrolled_kw : ndarray, shape (n_steps, n_peers)
        Injections that were forecast if all devices rested. [kW]
    curtailed : ndarray of bool, shape (n_steps, n_renewable)
        Which plants it held below their forecasts.
    """

    step: int
    schedule: Schedule
    uncontrolled_kw: NDArray[np.float64]
    curtailed: NDArray[np.bool_]


def warm_start(
    last: LastClearing | None, step: int, book: BidBook, roster: Roster, n_signals: int
) -> Schedule:
    """Shift the last schedule to a window and move it with the forecasts.

    Steps that enter the window take the schedule of the same time of day, where the window is a
    whole number of days; else their devices rest.

    Parameters
    ----------
    last : LastClearing, optional
        The clearing before; none starts with all devices at rest.
    step : int
        First step of the new window.
    book : BidBook
        The new bids.
    roster : Roster
        The registered peers.
    n_signals : int
        Signals that the recourse policy distinguishes.
    """
    start = supplier_only(book, roster, n_signals)
    if last is None:
        return start
    whole_days = (roster.n_steps * roster.step_hours) % 24 == 0
    source = np.arange(roster.n_steps) + step - last.step
    beyond = source >= roster.n_steps
    source[beyond] = source[beyond] - roster.n_steps if whole_days else -1
    p_kw = last.schedule.p_kw[source] + start.p_kw - last.uncontrolled_kw[source]
    q_kvar = -book.load_kvar
    q_kvar[:, roster.reactive] += last.schedule.reactive[source]
    alpha = last.schedule.alpha[source]
    held = np.minimum(last.schedule.renewable[source], start.renewable)
    renewable = np.where(last.curtailed[source], held, start.renewable)
    flexible = {
        name: getattr(last.schedule, name)[source] for name in ("curtailed", "deferred", "backlog")
    }
    if not whole_days:
        p_kw[beyond], q_kvar[beyond] = start.p_kw[beyond], start.q_kvar[beyond]
        alpha[beyond], renewable[beyond] = 0.0, start.renewable[beyond]
        for name, values in flexible.items():
            values[beyond] = getattr(start, name)[beyond]
    return replace(start, p_kw=p_kw, q_kvar=q_kvar, alpha=alpha, renewable=renewable, **flexible)
