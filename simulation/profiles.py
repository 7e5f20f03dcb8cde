"""Load and renewable profiles on the time step of a run.

A profile is a power relative to a rating or nominal power: loads are positive when they consume,
generation is positive when it feeds in. The kind of a profile is the prefix of its column name:

========== =================================================== ==============
prefix     what                                                allowed values
========== =================================================== ==============
``load_p`` active power of a load over its nominal value       -1000 to 1000
``load_q`` reactive power of a load over its nominal value     -1000 to 1000
``pv``     photovoltaic power over the rating                  0 to 1.5
``wind``   wind power over the rating                          0 to 1.5
========== =================================================== ==============

A time stamp is the beginning of an interval, in UTC; values are means over the interval.
The bundled extract is described in ``simulation/data/README.md``.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from configs.schema import MINUTES_PER_DAY, Profiles
from simulation.time_tables import mean_over_steps, read_time_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from configs.schema import Forecast

BUNDLED = Path(__file__).parent / "data" / "simbench_extract.parquet"
KIND_OF_PREFIX = {"load_p": "load", "load_q": "load", "pv": "pv", "wind": "wind"}
LARGEST_LOAD = 1000.0
LARGEST_GENERATION = 1.5


class ProfileError(ValueError):
    """Profiles that cannot be used; the message names file, column, time and what is allowed."""


@dataclass(frozen=True, eq=False)
class ProfileSet:
    """Profiles on the time step of a run, over whole days.

    The data may be read cyclically: rows *before* the first one are the last rows of the data.
    That serves only the history before the start of a run, such as the forecast errors of the
    weeks before 1 January.

    Attributes
    ----------
    times : DatetimeIndex, length n_times
        Beginning of each step, UTC, from midnight to midnight.
    columns : tuple of str, length n_columns
        Names with their prefix, such as ``pv:PV1``.
    values : ndarray, shape (n_times, n_columns)
        Mean over the step, relative to the rating or nominal power; read-only. [-]
    step_minutes : int
        Length of a step. [min]
    """

    times: pd.DatetimeIndex
    columns: tuple[str, ...]
    values: NDArray[np.float64]
    step_minutes: int

    @property
    def steps_per_day(self) -> int:
        """Steps in a day."""
        return MINUTES_PER_DAY // self.step_minutes

    @property
    def n_days(self) -> int:
        """Days in the data."""
        return len(self.times) // self.steps_per_day

    @property
    def first_day(self) -> dt.date:
        """First day of the data."""
        return self.times[0].date()

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """Kind of each column: ``load``, ``pv`` or ``wind``."""
        return tuple(KIND_OF_PREFIX[name.partition(":")[0]] for name in self.columns)

    @cached_property
    def day_class(self) -> NDArray[np.int64]:
        """0 for the steps of Monday to Friday, 1 at weekends; holidays are not known."""
        return (self.times.dayofweek.to_numpy() >= 5).astype(np.int64)

    @cached_property
    def _position(self) -> dict[str, int]:
        return {name: position for position, name in enumerate(self.columns)}

    def position(self, column: str) -> int:
        """Position of a column.

        Parameters
        ----------
        column : str
            Name with its prefix.

        Returns
        -------
        int
            Index along the second axis of ``values``.

        Raises
        ------
        ProfileError
            If there is no such column.
        """
        if column not in self._position:
            prefix = column.partition(":")[0]
            same = [name for name in self.columns if name.startswith(f"{prefix}:")]
            msg = f"no profile {column!r}; there are {', '.join(same or self.columns)}"
            raise ProfileError(msg)
        return self._position[column]

    def names(self, prefix: str) -> tuple[str, ...]:
        """Names of the profiles of one prefix.

        Parameters
        ----------
        prefix : str
            ``load_p``, ``load_q``, ``pv`` or ``wind``.

        Returns
        -------
        tuple of str
            The part after the colon, in the order of the columns.
        """
        heads = (name.partition(":") for name in self.columns)
        return tuple(name for head, _, name in heads if head == prefix)

    def select(self, columns: Sequence[str]) -> ProfileSet:
        """Restrict to some columns.

        Parameters
        ----------
        columns : sequence of str
            Names with their prefix.

        Returns
        -------
        ProfileSet
            With these columns in this order.
        """
        positions = [self.position(column) for column in columns]
        return ProfileSet(
            self.times, tuple(columns), _read_only(self.values[:, positions]), self.step_minutes
        )

    def row_of(self, start: dt.date) -> int:
        """Row of the first step of a day.

        Parameters
        ----------
        start : date
            A day of the data.

        Returns
        -------
        int
            Index along the first axis of ``values``.

        Raises
        ------
        ProfileError
            If the day lies outside the data.
        """
        require(self, start, 1)
        return (start - self.first_day).days * self.steps_per_day

    def covers(self, start: dt.date, days: int) -> bool:
        """Whether a run lies inside the data.

        Parameters
        ----------
        start : date
            First day of the run.
        days : int
            Length of the run. [d]

        Returns
        -------
        bool
        """
        offset = (start - self.first_day).days
        return offset >= 0 and offset + days <= self.n_days


def require(profiles: ProfileSet, start: dt.date, days: int) -> None:
    """Demand that a run lies inside the data.

    The history before the run may lie outside, and so may the look-ahead behind its end: neither
    needs values that the run does not have.

    Parameters
    ----------
    profiles : ProfileSet
        The data.
    start : date
        First day of the run.
    days : int
        Length of the run. [d]

    Raises
    ------
    ProfileError
        If the start lies outside the data or the data end before the run.
    """
    if profiles.covers(start, days):
        return
    first = profiles.first_day
    last = first + dt.timedelta(days=profiles.n_days - 1)
    offset = (start - first).days
    if not 0 <= offset < profiles.n_days:
        msg = f"start {start} lies outside the profiles: allowed is {first} to {last}"
        raise ProfileError(msg)
    allowed = profiles.n_days - offset
    msg = f"days {days} from {start} exceed the profiles, which end on {last}: at most {allowed}"
    raise ProfileError(msg)


def load_profiles(settings: Profiles, step_minutes: int) -> ProfileSet:
    """Read the profiles of a run.

    Data finer than the step are averaged over it. Incomplete first and last days are left out.

    Parameters
    ----------
    settings : Profiles
        Names the user's file; without one the bundled SimBench extract is read.
    step_minutes : int
        Length of a step. [min]

    Returns
    -------
    ProfileSet
        The profiles.

    Raises
    ------
    ProfileError
        If the file is missing or unreadable, a time is missing, unsorted or doubled, a column has
        an unknown name or an impossible value, or the data are coarser than the step.
    """
    path = BUNDLED if settings.file is None else settings.file
    try:
        times, table = read_time_table(path)
        _check_columns(path, times, table)
        return _on_step(path, times, table, step_minutes)
    except ProfileError:
        raise
    except ValueError as error:
        raise ProfileError(str(error)) from error


def load_known_forecasts(settings: Forecast, profiles: ProfileSet) -> NDArray[np.float64] | None:
    """Read the user's forecast series.

    Error samples come from forecasts of the past, so the series must cover all the data and not
    only the run.

    Parameters
    ----------
    settings : Forecast
        Names the user's file.
    profiles : ProfileSet
        The data that are forecast.

    Returns
    -------
    ndarray, shape (n_times, n_columns), or None
        Forecast of each value, whatever the lead; NaN in the columns without a series. None
        without a file.

    Raises
    ------
    ProfileError
        As in :func:`load_profiles`, and if a column is not among the profiles or the series does
        not cover them.
    """
    if settings.file is None:
        return None
    series = load_profiles(Profiles(file=settings.file), profiles.step_minutes)
    known = np.full(profiles.values.shape, np.nan)
    rows = series.times.get_indexer(profiles.times)
    if (rows < 0).any():
        missing = profiles.times[rows < 0][0]
        msg = f"{settings.file}: no forecast for {missing}; it must cover all profile times"
        raise ProfileError(msg)
    for position, column in enumerate(series.columns):
        known[:, profiles.position(column)] = series.values[rows, position]
    return known


def _check_columns(path: Path, times: pd.DatetimeIndex, table: pd.DataFrame) -> None:
    """Demand known kinds and possible generation."""
    for column in table.columns:
        prefix, _, name = column.partition(":")
        if prefix not in KIND_OF_PREFIX or not name:
            allowed = ", ".join(f"{known}:NAME" for known in KIND_OF_PREFIX)
            msg = f"{path}: column {column!r} is of unknown kind; allowed are {allowed}"
            raise ProfileError(msg)
        is_load = KIND_OF_PREFIX[prefix] == "load"
        low, high = (-LARGEST_LOAD, LARGEST_LOAD) if is_load else (0.0, LARGEST_GENERATION)
        values = table[column].to_numpy()
        outside = (values < low) | (values > high)
        if outside.any():
            row = int(outside.argmax())
            what = "load over nominal value" if is_load else "generation over rating"
            msg = (
                f"{path}: column {column}: {values[row]} at {times[row]}; {what} must lie between "
                f"{low:g} and {high:g}"
            )
            raise ProfileError(msg)


def _on_step(
    path: Path, times: pd.DatetimeIndex, table: pd.DataFrame, step_minutes: int
) -> ProfileSet:
    """Average over the step and keep whole days."""
    steps, values = mean_over_steps(path, times, table.to_numpy(np.float64), step_minutes)
    steps_per_day = MINUTES_PER_DAY // step_minutes
    midnights = np.flatnonzero(steps == steps.normalize())
    n_days = (len(steps) - int(midnights[0])) // steps_per_day if midnights.size else 0
    if n_days == 0:
        msg = f"{path}: {times[0]} to {times[-1]} holds no whole day from 00:00 UTC to 24:00 UTC"
        raise ProfileError(msg)
    rows = slice(int(midnights[0]), int(midnights[0]) + n_days * steps_per_day)
    return ProfileSet(steps[rows], tuple(table.columns), _read_only(values[rows]), step_minutes)


def _read_only(values: NDArray[np.float64]) -> NDArray[np.float64]:
    values = np.ascontiguousarray(values)
    values.flags.writeable = False
    return values
