r"""Forecasts of load and renewable power from history, and the archive of their past errors.

Time is counted in steps. A *step* is an index u that may be negative or exceed the data: its value
is row ``u mod n_times`` of the data, whose first row is at midnight and which hold whole days. So
the history before the first row is the end of the data. This is a reuse of data and
not a look-ahead: a forecast issued at step s reads steps u < s only, never the value of step s
itself, and the archive demands that these steps and the forecast window are different rows.

With s the issue step, l = 0, 1, ... the lead, t = s + l the target, Δ the step length in hours and
τ = ``persistence_hours``, the built-in forecaster uses, from the ``climatology_days`` whole days
before the day of s,

- C_t, the mean at the time of day of t; for loads over the days of t's class only (workday or
  weekend), or over all days if there is none of that class;
- B_t, the largest value at the time of day of t: the clear-sky envelope of photovoltaic power;
- m, the mean of all values;
- r_l, the autocorrelation of the departures x − C at lag l.

.. math::
    \text{load:}\quad & \hat x_t = C_t + w_l (x_{s-1} - C_{s-1}),
        && w_l = \min\{\max(0, r_{l+1}),\; e^{-l \Delta / 4\tau}\} \\
    \text{wind:}\quad & \hat x_t = m + w_l (x_{s-1} - m), && w_l = e^{-l \Delta / 3\tau} \\
    \text{pv:}\quad & \hat x_t = C_t + w_l B_t k, && w_l = e^{-(l \Delta + a) / \tau}

where the departure k of the clear-sky index and the mean age a of the light behind it are

.. math::
    k = \frac{\sum_j \omega_j (x_{s-1-j} - C_{s-1-j})}{\sum_j \omega_j B_{s-1-j}}, \qquad
    a = \frac{\sum_j \omega_j B_{s-1-j}\, j \Delta}{\sum_j \omega_j B_{s-1-j}}, \qquad
    \omega_j = e^{-4 j \Delta} + 0.003 \Delta

over the past day: the last quarter of an hour by day, yesterday's mean at night. The results are
clipped to the range of the history, wind and PV at zero below; for loads and wind it includes the
last value. Wind and loads depart for longer than clouds, hence the
multiples of τ. They were chosen by the errors over the year of the bundled profiles.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from configs.limits import FORECASTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from configs.schema import Forecast

KINDS = ("load", "pv", "wind")
_LOAD_FADE = 4.0
_WIND_FADE = 3.0
_INDEX_MEMORY_HOURS = 0.25
_INDEX_FLOOR_PER_HOUR = 0.003


@dataclass(frozen=True, eq=False)
class Past:
    """Past forecasts that resemble the coming one, and how far off they were.

    Those of several leads are stacked along a first axis.

    Attributes
    ----------
    errors, forecasts : ndarray, shape (..., n_samples, n_columns)
        Actual minus forecast, and forecast; oldest first. [-]
    day : ndarray of int, shape (..., n_samples)
        Day of each, counted from the first row of the data; negative before it.
    age_days : ndarray, shape (..., n_samples)
        Time from each to the issue of the coming forecast. [d]
    """

    errors: NDArray[np.float64]
    forecasts: NDArray[np.float64]
    day: NDArray[np.int64]
    age_days: NDArray[np.float64]


class ForecastError(ValueError):
    """Data or settings that the forecasts cannot work with; the message says what is allowed."""


class Forecaster(Protocol):
    """A forecaster that the archive can use in place of the built-in one."""

    @property
    def history_days(self) -> int:
        """Whole days before the day of the issue step that it reads, at least one."""

    def forecast_day(
        self, values: NDArray[np.float64], day_class: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Forecast at every issue step of one day.

        Parameters
        ----------
        values : ndarray, shape (n_rows, n_columns)
            The history days and the day itself but for its last step: ``n_rows = (history_days +
            1) * steps_per_day - 1``. Issue step k of the day may read the first ``history_days *
            steps_per_day + k`` rows only. [-]
        day_class : ndarray of int, shape (n_rows + n_leads,)
            Class of each row's day and of those ahead: 0 workday, 1 weekend.

        Returns
        -------
        ndarray, shape (steps_per_day, n_leads, n_columns)
            Forecasts by issue step and lead; lead 0 is the issue step itself. [-]
        """


class ClimatologyPersistence:
    """The built-in forecaster: climatology plus a fading departure; see the module docstring.

    Parameters
    ----------
    kinds : sequence of str, length n_columns
        ``load``, ``pv`` or ``wind``.
    steps_per_day : int
        Steps in a day.
    n_leads : int
        Steps to forecast.
    settings : Forecast
        ``climatology_days`` and ``persistence_hours``.
    """

    def __init__(
        self, kinds: Sequence[str], steps_per_day: int, n_leads: int, settings: Forecast
    ) -> None:
        unknown = sorted(set(kinds) - set(KINDS))
        if unknown:
            msg = f"kind {unknown[0]!r} is unknown; allowed are {', '.join(KINDS)}"
            raise ForecastError(msg)
        self._columns = {kind: np.flatnonzero(np.array(kinds, dtype=str) == kind) for kind in KINDS}
        self._steps_per_day = steps_per_day
        self._n_leads = n_leads
        self._history_days = settings.climatology_days
        self._step_hours = 24.0 / steps_per_day
        self._tau = settings.persistence_hours
        # Issue step k of the forecast day, lead l: place of the target after the day's midnight.
        self._target = np.add.outer(np.arange(steps_per_day), np.arange(n_leads))

    @property
    def history_days(self) -> int:
        """Whole days before the day of the issue step that it reads."""
        return self._history_days

    def forecast_day(
        self, values: NDArray[np.float64], day_class: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Forecast at every issue step of one day; see :class:`Forecaster`.

        Parameters
        ----------
        values : ndarray, shape (n_rows, n_columns)
            The history days and the day itself but for its last step.
        day_class : ndarray of int, shape (n_rows + n_leads,)
            Class of each row's day and of those ahead.

        Returns
        -------
        ndarray, shape (steps_per_day, n_leads, n_columns)
            Forecasts by issue step and lead.
        """
        forecast = np.empty((*self._target.shape, values.shape[1]))
        for kind, columns in self._columns.items():
            if not columns.size:
                continue
            part = values[:, columns]
            match kind:
                case "load":
                    forecast[:, :, columns] = self._load(part, day_class)
                case "pv":
                    forecast[:, :, columns] = self._pv(part)
                case _:
                    forecast[:, :, columns] = self._wind(part)
        return forecast

    def _load(
        self, values: NDArray[np.float64], day_class: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        history = self._by_day(values)
        of_day = day_class[: self._n_history : self._steps_per_day]
        mean = history.mean(axis=0)
        by_class = np.stack(
            [history[of_day == c].mean(axis=0) if (of_day == c).any() else mean for c in (0, 1)]
        )
        departure = (history - by_class[of_day]).reshape(self._n_history, -1)
        weight: NDArray[np.float64] = np.minimum(
            np.maximum(0.0, _autocorrelation(departure, self._n_leads)),
            self._fade(_LOAD_FADE * self._tau)[:, np.newaxis],
        )
        last = self._last(values)
        before = np.arange(self._n_history - 1, self._n_history + self._steps_per_day - 1)
        ahead = self._n_history + self._target
        climatology_before = by_class[day_class[before], before % self._steps_per_day]
        climatology = by_class[day_class[ahead], ahead % self._steps_per_day]
        forecast = climatology + weight * (last - climatology_before)[:, np.newaxis]
        lowest = np.minimum(history.min(axis=(0, 1)), last)[:, np.newaxis]
        highest = np.maximum(history.max(axis=(0, 1)), last)[:, np.newaxis]
        return _clip(forecast, lowest, highest)

    def _wind(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        history = self._by_day(values)
        mean = history.mean(axis=(0, 1))
        weight = self._fade(_WIND_FADE * self._tau)[:, np.newaxis]
        last = self._last(values)[:, np.newaxis]
        highest = np.maximum(history.max(axis=(0, 1)), last)
        return _clip(mean + weight * (last - mean), np.zeros(1), highest)

    def _pv(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        history = self._by_day(values)
        mean, envelope = history.mean(axis=0), history.max(axis=0)
        day = self._steps_per_day
        age = self._step_hours * np.arange(day - 1, -1, -1)
        omega = np.exp(-age / _INDEX_MEMORY_HOURS) + _INDEX_FLOOR_PER_HOUR * self._step_hours
        past = sliding_window_view(values[self._n_history - day :], day, axis=0)  # (k, column, j)
        # The same windows of the climatology repeat it: times of day k, k + 1, ..., k - 1.
        turn = np.add.outer(np.arange(day), np.arange(day)) % day
        light = np.einsum("j,kjc->kc", omega, envelope[turn])
        excess = np.einsum("j,kcj->kc", omega, past) - np.einsum("j,kjc->kc", omega, mean[turn])
        aged = np.einsum("j,kjc->kc", omega * age, envelope[turn])
        # Without any light in the history the envelope, and with it the departure, is zero.
        light = np.where(light > 0.0, light, 1.0)
        weight = self._fade(self._tau)[:, np.newaxis] * np.exp(-aged / light / self._tau)[:, None]
        time_of_day = self._target % day
        departure = (excess / light)[:, np.newaxis] * envelope[time_of_day]
        forecast = mean[time_of_day] + weight * departure
        return _clip(forecast, np.zeros(1), envelope.max(axis=0))

    @property
    def _n_history(self) -> int:
        return self._history_days * self._steps_per_day

    def _by_day(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """History, shape (history_days, steps_per_day, n_columns)."""
        return values[: self._n_history].reshape(self._history_days, self._steps_per_day, -1)

    def _last(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Last known value of each issue step, shape (steps_per_day, n_columns)."""
        return values[self._n_history - 1 : self._n_history - 1 + self._steps_per_day]

    def _fade(self, hours: float) -> NDArray[np.float64]:
        """Exponential fading with the lead, shape (n_leads,)."""
        fade: NDArray[np.float64] = np.exp(-np.arange(self._n_leads) * self._step_hours / hours)
        return fade


class ForecastArchive:
    """Forecasts of every step and the errors of the past ones.

    Forecasts are computed by the day when they are first asked for, and kept for the trailing
    window of the error samples only, as 32-bit floats: about ``4 * sample_days * steps_per_day *
    n_leads * n_columns`` bytes, 13 MB for hourly and 200 MB for quarter-hourly steps with 90
    columns and a day ahead. Errors are not kept but computed from forecasts and values when
    asked for, so the archive never holds anything that depends on values yet to come.

    Parameters
    ----------
    values : ndarray, shape (n_times, n_columns)
        The data; the first row at midnight, whole days. Only the columns in use should be
        given. [-]
    kinds : sequence of str, length n_columns
        ``load``, ``pv`` or ``wind``.
    day_class : ndarray of int, shape (n_times,)
        0 for workdays, 1 for weekends.
    steps_per_day : int
        Steps in a day.
    n_leads : int
        Steps that are forecast, from the issue step on.
    settings : Forecast
        Settings of the forecaster and the samples.
    known : ndarray, shape (n_times, n_columns), optional
        The user's forecast series: the forecast of each value at every lead. NaN in all rows of the
        columns that the forecaster serves. [-]
    forecaster : Forecaster, optional
        In place of :class:`ClimatologyPersistence`.

    Raises
    ------
    ForecastError
        If the shapes do not fit, a value is not finite, or the data are too short for history
        and forecast window to be different rows.
    """

    def __init__(
        self,
        values: NDArray[np.float64],
        kinds: Sequence[str],
        day_class: NDArray[np.int64],
        *,
        steps_per_day: int,
        n_leads: int,
        settings: Forecast,
        known: NDArray[np.float64] | None = None,
        forecaster: Forecaster | None = None,
    ) -> None:
        self._forecaster: Forecaster = forecaster or ClimatologyPersistence(
            kinds, steps_per_day, n_leads, settings
        )
        self._values = values
        self._day_class = day_class
        self._steps_per_day = steps_per_day
        self._n_leads = n_leads
        self._check_data(kinds)
        self._check_length(settings)
        self._known_columns, self._known = self._split_known(known)
        self._hold(settings, n_leads)

    def _hold(self, settings: Forecast, n_leads: int) -> None:
        """Choose the past targets of the first leads and make room for their forecasts."""
        day = self._steps_per_day
        # Past targets of each lead, relative to the issue step, oldest first.
        self._past: NDArray[np.int64] = _past_targets(settings, day, n_leads)
        n_kept = settings.sample_days + -(-(n_leads - 1) // day) + 2
        self._kept_day: NDArray[np.int64] = np.full(n_kept, np.iinfo(np.int64).min)
        self._kept: NDArray[np.float32] = np.empty(
            (n_kept * day, n_leads, self._values.shape[1]), dtype=np.float32
        )

    def resampled(self, settings: Forecast, n_leads: int) -> ForecastArchive:
        """Make an archive of the same forecasts with error samples of its own.

        Parameters
        ----------
        settings : Forecast
            Settings of the samples; the forecasts stay as they are.
        n_leads : int
            Leads to keep.
        """
        other = copy.copy(self)
        other._hold(settings, n_leads)
        return other

    @property
    def n_samples(self) -> int:
        """Error samples per step and lead: days times steps within ± ``sample_hours``."""
        return int(self._past.shape[1])

    def forecast(self, step: int) -> NDArray[np.float64]:
        """Forecast issued at a step, from the values before it.

        Parameters
        ----------
        step : int
            Issue step.

        Returns
        -------
        ndarray, shape (n_leads, n_columns)
            Forecast of step, step + 1, ... [-]
        """
        day = step // self._steps_per_day
        self._keep(day, day)
        forecast: NDArray[np.float32] = self._kept[step % len(self._kept)]
        return forecast.astype(np.float64)

    def error_samples(self, step: int, lead: int) -> NDArray[np.float64]:
        """Past forecast errors, actual minus forecast, that resemble the coming one.

        They are those of all targets in the ``sample_days`` before the issue step whose time of
        day is within ± ``sample_hours`` of the coming target's, forecast with the same lead.

        Parameters
        ----------
        step : int
            Issue step.
        lead : int
            Lead of the coming target, less than n_leads.

        Returns
        -------
        ndarray, shape (n_samples, n_columns)
            Oldest first. [-]
        """
        return self.past(step, lead).errors

    def rows(self, step: int, lead: int) -> NDArray[np.int64]:
        """Rows of the data whose errors are the samples, in their order."""
        rows: NDArray[np.int64] = (step + self._past[lead]) % len(self._values)
        return rows

    def past(self, step: int, lead: int | NDArray[np.int64]) -> Past:
        """Past forecasts and their errors, chosen as in :meth:`error_samples`.

        Parameters
        ----------
        step : int
            Issue step.
        lead : int or ndarray of int, shape (n,)
            Lead of the coming target, or several of them, each less than n_leads.
        """
        day, leads = self._steps_per_day, np.expand_dims(lead, -1)
        targets = step + self._past[lead]
        issues = targets - leads
        self._keep(int(issues.min()) // day, int(issues.max()) // day)
        forecast = self._kept[issues % len(self._kept), leads].astype(np.float64)
        errors: NDArray[np.float64] = self._values[targets % len(self._values)]
        errors -= forecast
        return Past(
            errors=errors,
            forecasts=forecast,
            day=targets // day,
            age_days=(step - targets) / day,
        )

    def _keep(self, first: int, last: int) -> None:
        """Make sure that the forecasts issued from the first to the last day are kept."""
        days = np.arange(first, last + 1)
        for day in days[self._kept_day[days % len(self._kept_day)] != days]:
            place = int(day) % len(self._kept_day)
            rows = slice(place * self._steps_per_day, (place + 1) * self._steps_per_day)
            self._kept[rows] = self._forecast_day(int(day))[:, : self._kept.shape[1]]
            self._kept_day[place] = day

    def _forecast_day(self, day: int) -> NDArray[np.float64]:
        """Forecasts issued on one day, shape (steps_per_day, n_leads, n_columns)."""
        midnight = day * self._steps_per_day
        first = midnight - self._forecaster.history_days * self._steps_per_day
        end = midnight + self._steps_per_day - 1
        n_times = len(self._values)
        forecast = self._forecaster.forecast_day(
            self._values[np.arange(first, end) % n_times],
            self._day_class[np.arange(first, end + self._n_leads) % n_times],
        )
        if self._known_columns.size:
            issue = midnight + np.arange(self._steps_per_day)
            target = np.add.outer(issue, np.arange(self._n_leads))
            forecast[:, :, self._known_columns] = self._known[target % n_times]
        return forecast

    def _check_data(self, kinds: Sequence[str]) -> None:
        n_times, n_columns = self._values.shape
        if len(kinds) != n_columns or self._day_class.shape != (n_times,):
            msg = (
                f"{len(kinds)} kinds and {self._day_class.shape} day classes do not fit "
                f"values of shape {self._values.shape}"
            )
            raise ForecastError(msg)
        if n_times % self._steps_per_day:
            msg = f"{n_times} rows are no whole days of {self._steps_per_day} steps"
            raise ForecastError(msg)
        if not np.isfinite(self._values).all():
            row, column = np.argwhere(~np.isfinite(self._values))[0]
            value = self._values[row, column]
            msg = f"row {row}, column {column}: {value}; allowed are finite values"
            raise ForecastError(msg)

    def _check_length(self, settings: Forecast) -> None:
        """Demand that the forecast window never shares a row with the history behind it."""
        day = self._steps_per_day
        # From the window's last step back to the first row of the oldest sample's climatology, an
        # issue step late in the day at worst.
        days = settings.sample_days + self._forecaster.history_days + 1
        needed = days * day + 2 * (self._n_leads - 1)
        if len(self._values) < needed:
            msg = (
                f"the data hold {len(self._values) / day:g} days; sample_days "
                f"{settings.sample_days} and {self._forecaster.history_days} days of history "
                f"(climatology_days) with {self._n_leads} leads need at least {needed / day:g}"
            )
            raise ForecastError(msg)
        n_kept = (settings.sample_days + 1) * day * self._n_leads * self._values.shape[1]
        if n_kept > FORECASTS:
            msg = (
                f"sample_days {settings.sample_days} of {day} steps, {self._n_leads} leads and "
                f"{self._values.shape[1]} profiles make {n_kept:,} forecasts to keep; allowed are "
                f"at most {FORECASTS:,}"
            )
            raise ForecastError(msg)

    def _split_known(
        self, known: NDArray[np.float64] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Columns with a user's series, and these series."""
        if known is None:
            return np.empty(0, dtype=np.int64), np.empty((len(self._values), 0))
        if known.shape != self._values.shape:
            msg = f"known forecasts of shape {known.shape} do not fit {self._values.shape}"
            raise ForecastError(msg)
        missing = np.isnan(known)
        partial = missing.any(axis=0) & ~missing.all(axis=0)
        if partial.any():
            column = int(partial.argmax())
            row = int(missing[:, column].argmax())
            msg = f"known forecast of column {column} is missing in row {row}; all rows are needed"
            raise ForecastError(msg)
        columns = np.flatnonzero(~missing.all(axis=0))
        return columns, known[:, columns]


def _past_targets(settings: Forecast, steps_per_day: int, n_leads: int) -> NDArray[np.int64]:
    """Targets of the error samples relative to the issue step, shape (n_leads, n_samples)."""
    reach = settings.sample_hours * steps_per_day // 24
    offsets = np.arange(min(2 * reach + 1, steps_per_day)) - reach
    # In each of the day-long windows before the issue step, lead l stands at place l.
    places = np.add.outer(np.arange(n_leads), offsets) % steps_per_day
    places.sort(axis=1)
    day_starts = -steps_per_day * np.arange(settings.sample_days, 0, -1)
    past: NDArray[np.int64] = day_starts[:, np.newaxis] + places[:, np.newaxis]
    return past.reshape(n_leads, -1)


def _autocorrelation(series: NDArray[np.float64], n_lags: int) -> NDArray[np.float64]:
    """Autocorrelation at lags 1 to n_lags, shape (n_lags, n_columns); zero for a constant zero.

    The sums run over the pairs that the series has, divided by the sum of all squares.
    """
    length = 2 ** int(np.ceil(np.log2(len(series) + n_lags)))  # no wrap-around up to n_lags
    spectrum = np.fft.rfft(series, length, axis=0)
    power = np.fft.irfft(np.abs(spectrum) ** 2, length, axis=0)
    squares = (series**2).sum(axis=0)
    correlation: NDArray[np.float64] = power[1 : n_lags + 1] / np.where(squares > 0, squares, 1.0)
    return correlation


def _clip(
    values: NDArray[np.float64], lowest: NDArray[np.float64], highest: NDArray[np.float64]
) -> NDArray[np.float64]:
    clipped: NDArray[np.float64] = np.clip(values, lowest, highest)
    return clipped
