"""Forecasts that are the truth, as a benchmark."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agents.forecasting import Past

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_SAMPLES = 2
"""Number of the error samples, all zero."""


class PerfectForesight:
    """Stands in for the forecast archive where every forecast is what really comes.

    This looks ahead on purpose. It is no strategy but a benchmark: the cost that remains when no
    forecast errs. It is no bound: the window still ends, and what comes after it is not foreseen.

    Parameters
    ----------
    values : ndarray, shape (n_times, n_columns)
        The data. [-]
    steps_per_day : int
        Steps in a day.
    n_leads : int
        Steps that are forecast, from the issue step on.
    """

    def __init__(self, values: NDArray[np.float64], steps_per_day: int, n_leads: int) -> None:
        self._values = values
        self._steps_per_day = steps_per_day
        self._n_leads = n_leads

    def forecast(self, step: int) -> NDArray[np.float64]:
        """Return the truth from a step on, shape (n_leads, n_columns). [-]"""
        rows = np.arange(step, step + self._n_leads) % len(self._values)
        truth: NDArray[np.float64] = self._values[rows]
        return truth

    def past(self, step: int, lead: int | NDArray[np.int64]) -> Past:
        """Return past forecasts that were all true, those of the last days at the same time."""
        ahead = np.expand_dims(lead, -1)
        targets = step + ahead - self._steps_per_day * np.arange(N_SAMPLES, 0, -1)
        forecasts = self._values[targets % len(self._values)]
        day = self._steps_per_day
        return Past(np.zeros_like(forecasts), forecasts, targets // day, (step - targets) / day)
