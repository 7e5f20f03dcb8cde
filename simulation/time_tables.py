"""Tables over time from the user's files: uniform UTC times, finite numbers."""

from __future__ import annotations

import csv
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from configs.files import InputFileError, check_file
from configs.limits import INPUT_BYTES, TABLE_VALUES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray


class TimeTableError(ValueError):
    """A table that cannot be used; the message names file, column or row, and what is allowed."""


def read_time_table(path: Path) -> tuple[pd.DatetimeIndex, pd.DataFrame]:
    """Read a CSV or Parquet file with a ``time`` column and columns of finite numbers.

    Parameters
    ----------
    path : Path
        File ending in ``.csv`` or ``.parquet``. Times are ISO 8601; those without an offset are
        UTC.

    Returns
    -------
    times : DatetimeIndex
        UTC, in uniform steps.
    table : DataFrame
        The other columns as 64-bit floats.

    Raises
    ------
    TimeTableError
        If the file cannot be read, a time is missing, unsorted or doubled, or a value is not a
        finite number.
    """
    raw = _read_file(path)
    try:
        return _checked(path, raw)
    except TimeTableError:
        raise
    # Columns of lists, times beyond the calendar: the library raises what its parts raise.
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        msg = f"{path}: cannot be used ({type(error).__name__}: {error})"
        raise TimeTableError(msg) from error


def _checked(path: Path, raw: pd.DataFrame) -> tuple[pd.DatetimeIndex, pd.DataFrame]:
    """Check times and values."""
    if "time" not in raw:
        msg = f"{path}: no column 'time'; there are {', '.join(map(str, raw.columns[:5]))}"
        raise TimeTableError(msg)
    if len(raw) < 2 or raw.shape[1] < 2:
        msg = (
            f"{path}: {len(raw)} rows and {raw.shape[1]} columns; needed are at least two "
            "rows, the column 'time' and one column of values"
        )
        raise TimeTableError(msg)
    times = _times(path, raw.pop("time"))
    table = pd.DataFrame(
        {str(name): _numbers(path, times, raw[name]) for name in raw.columns}, copy=False
    )
    return times, table


def mean_over_steps(
    path: Path, times: pd.DatetimeIndex, values: NDArray[np.float64], step_minutes: int
) -> tuple[pd.DatetimeIndex, NDArray[np.float64]]:
    """Average a uniform series over the steps that it covers completely.

    Parameters
    ----------
    path : Path
        File of the series, for messages.
    times : DatetimeIndex, length n_times
        Uniform times.
    values : ndarray, shape (n_times, n_columns)
        The series.
    step_minutes : int
        Length of a step, counted from midnight. [min]

    Returns
    -------
    times : DatetimeIndex
        Beginning of each step.
    values : ndarray, shape (n_steps, n_columns)
        Means.

    Raises
    ------
    TimeTableError
        If the series is coarser than the step, no divisor of it, or never starts a step.
    """
    step = pd.Timedelta(minutes=step_minutes)
    resolution = times[1] - times[0]
    if resolution > step or step % resolution != pd.Timedelta(0):
        msg = (
            f"{path}: data every {_minutes(resolution)} min; the time step of {step_minutes} min "
            "must be a multiple of it"
        )
        raise TimeTableError(msg)
    n_means = step // resolution
    starts = np.flatnonzero((times - times.normalize()) % step == pd.Timedelta(0))
    if starts.size == 0:
        msg = (
            f"{path}: no time on a full step of {step_minutes} min after midnight; first {times[0]}"
        )
        raise TimeTableError(msg)
    first = int(starts[0])
    n_steps = (len(times) - first) // n_means
    rows = slice(first, first + n_steps * n_means)
    return times[rows][::n_means], values[rows].reshape(n_steps, n_means, -1).mean(axis=1)


def _read_file(path: Path) -> pd.DataFrame:
    try:
        check_file(path, INPUT_BYTES)
    except InputFileError as error:
        raise TimeTableError(str(error)) from error
    try:
        if path.suffix.lower() == ".csv":
            with path.open(encoding="utf-8-sig", newline="") as file:
                _refuse_twice(path, next(csv.reader(file), []))
                file.seek(0)
                return pd.read_csv(file, low_memory=False)
        if path.suffix.lower() == ".parquet":
            content = pq.read_metadata(path)
            _refuse_twice(path, content.schema.names)
            n_values = content.num_rows * content.num_columns
            if n_values > TABLE_VALUES:
                msg = f"{path}: {n_values:,} values; allowed are at most {TABLE_VALUES:,}"
                raise TimeTableError(msg)
            return pd.read_parquet(path)
    except TimeTableError:
        raise
    # Parsers raise their own kinds of ValueError and, for damaged files, OSError.
    except (ValueError, OSError, csv.Error) as error:
        msg = f"{path}: cannot be read ({error})"
        raise TimeTableError(msg) from error
    msg = f"{path}: unknown file type {path.suffix!r}; allowed are .csv and .parquet"
    raise TimeTableError(msg)


def _refuse_twice(path: Path, names: Sequence[str]) -> None:
    """Refuse two columns of one name; the reader would call the second one something else."""
    twice = [name for name, n in Counter(names).items() if n > 1]
    if twice:
        msg = f"{path}: column {twice[0]!r} stands twice"
        raise TimeTableError(msg)


def _times(path: Path, column: pd.Series) -> pd.DatetimeIndex:
    """Parse the times and demand uniform steps."""
    if pd.api.types.is_numeric_dtype(column):
        msg = f"{path}: time {column.iloc[0]} is a number; allowed are ISO 8601 times (UTC)"
        raise TimeTableError(msg)
    parsed = pd.to_datetime(column, utc=True, errors="coerce", format="ISO8601")
    if parsed.isna().any():
        row = int(parsed.isna().to_numpy().argmax())
        msg = f"{path}: data row {row + 1}: time {column.iloc[row]!r} is not an ISO 8601 time"
        raise TimeTableError(msg)
    times = pd.DatetimeIndex(parsed).as_unit("ns")
    gaps = times[1:] - times[:-1]
    backward = np.asarray(gaps <= pd.Timedelta(0))
    if backward.any():
        row = int(backward.argmax()) + 1
        state = "twice" if gaps[row - 1] == pd.Timedelta(0) else f"after {times[row - 1]}"
        msg = f"{path}: data row {row + 1}: time {times[row]} comes {state}; times must increase"
        raise TimeTableError(msg)
    resolution = pd.Timedelta(gaps.to_series().mode()[0])
    uneven = np.asarray(gaps != resolution)
    if uneven.any():
        row = int(uneven.argmax()) + 1
        msg = (
            f"{path}: data row {row + 1}: gap between {times[row - 1]} and {times[row]}; times "
            f"must be {_minutes(resolution)} min apart, as most are"
        )
        raise TimeTableError(msg)
    return times


def _numbers(path: Path, times: pd.DatetimeIndex, column: pd.Series) -> NDArray[np.float64]:
    """Demand finite numbers."""
    numbers = pd.to_numeric(column, errors="coerce")
    is_text = (numbers.isna() & column.notna()).to_numpy()
    if is_text.any() or pd.api.types.is_bool_dtype(column):
        row = int(is_text.argmax())
        msg = f"{path}: column {column.name}: {column.iloc[row]!r} at {times[row]} is not a number"
        raise TimeTableError(msg)
    values = numbers.to_numpy(np.float64, na_value=np.nan)
    if not np.isfinite(values).all():
        row = int(np.isfinite(values).argmin())
        what = "missing value" if np.isnan(values[row]) else f"value {values[row]}"
        msg = f"{path}: column {column.name}: {what} at {times[row]}; allowed are finite numbers"
        raise TimeTableError(msg)
    return values


def _minutes(duration: pd.Timedelta) -> str:
    return f"{duration / pd.Timedelta(minutes=1):g}"
