"""What flexible loads cannot follow of their schedules when their load errs.

A load that shall drop or put off more than comes up cannot, and one that shall make up for waiting
energy is held by its connection. What it departs by is an error like any other: it adds up with
those of plants and loads, is answered by the recourse and covered by the margins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from market.devices import flexible_output

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from market.book import BidBook
    from market.roster import Roster
    from market.schedule import Schedule

    Array = NDArray[np.float64]


class FlexibleResponse:
    """How flexible loads answer a schedule at other loads than were forecast.

    Before a schedule is followed, loads are neither dropped nor put off, and follow exactly.

    Parameters
    ----------
    book : BidBook
        The bids.
    roster : Roster
        The registered peers.
    """

    def __init__(self, book: BidBook, roster: Roster) -> None:
        self._hours = roster.step_hours
        self._baseline_kw = book.flexible_baseline_kw
        self._power_kw = book.served_max_kw
        self._curtailable_share = book.curtailable_share
        self._backlog_max_kwh = book.backlog_max_kwh
        self._start_kwh = book.backlog_kwh
        self._curtailed_kw = np.zeros_like(self._baseline_kw)
        self._deferred_kw = np.zeros_like(self._baseline_kw)
        self._backlog_kwh = np.tile(book.backlog_kwh, (roster.n_steps, 1))

    def follow(self, schedule: Schedule, steps: Iterable[int]) -> None:
        """Take over what a schedule asks of the loads in some steps."""
        rows = np.array(sorted(steps), dtype=np.intp)
        self._curtailed_kw[rows] = schedule.curtailed[rows]
        self._deferred_kw[rows] = schedule.deferred[rows]
        before = np.vstack([self._start_kwh, schedule.backlog[:-1]])
        self._backlog_kwh[rows] = np.clip(before[rows], 0.0, self._backlog_max_kwh)

    def errors(self, step: int, error_kw: Array, loads: NDArray[np.intp]) -> Array:
        """What loads leave undone of their schedule when their forecasts err.

        Parameters
        ----------
        step : int
            Step of the window.
        error_kw : ndarray, shape (n_samples, n_loads)
            Errors of the forecasts of flexible load, more load being positive. [kW]
        loads : ndarray of int, shape (n_loads,)
            The loads, among all flexible ones.

        Returns
        -------
        ndarray, shape (n_samples, n_loads)
            Load dropped and put off, less what was scheduled: as an injection. [kW]
        """
        curtailed, deferred = self._curtailed_kw[step, loads], self._deferred_kw[step, loads]
        if not (curtailed.any() or deferred.any()):
            return np.zeros_like(error_kw)
        done_kw, put_off_kw, _ = flexible_output(
            curtailed,
            deferred,
            np.maximum(self._baseline_kw[step, loads] + error_kw, 0.0),
            self._hours,
            power_kw=self._power_kw[loads],
            curtailable_share=self._curtailable_share[loads],
            backlog_kwh=self._backlog_kwh[step, loads],
            backlog_max_kwh=self._backlog_max_kwh[loads],
        )
        undone: Array = done_kw + put_off_kw - curtailed - deferred
        return undone
