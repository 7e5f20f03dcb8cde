import datetime as dt
import hashlib
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.schema import Forecast, Profiles
from simulation.profiles import (
    BUNDLED,
    ProfileError,
    load_known_forecasts,
    load_profiles,
    require,
)

FIRST = dt.date(2016, 1, 1)


def table(n_days=2, minutes=60, start="2016-03-01"):
    times = pd.date_range(start, periods=n_days * 1440 // minutes, freq=f"{minutes}min", tz="UTC")
    ramp = np.arange(len(times), dtype=float)
    return pd.DataFrame({"time": times, "load_p:A": ramp, "pv:B": ramp / len(times)})


@pytest.fixture
def save(tmp_path):
    def write(frame, name="profiles.csv"):
        path = tmp_path / name
        if name.endswith(".csv"):
            frame.to_csv(path, index=False)
        else:
            frame.to_parquet(path)
        return Profiles(file=path)

    return write


@pytest.fixture(scope="module")
def bundled():
    return load_profiles(Profiles(), 60)


# --- the bundled extract ----------------------------------------------------------------------


def test_bundled_extract_covers_the_leap_year(bundled):
    assert bundled.values.shape == (366 * 24, 102)
    assert bundled.times[0] == pd.Timestamp("2016-01-01", tz="UTC")
    assert bundled.times[-1] == pd.Timestamp("2016-12-31 23:00", tz="UTC")
    assert bundled.steps_per_day == 24
    assert len(bundled.names("load_p")) == len(bundled.names("load_q")) == 41
    assert bundled.names("load_p") == bundled.names("load_q")
    assert bundled.names("pv") == tuple(f"PV{i}" for i in range(1, 9))
    assert bundled.names("wind") == tuple(f"WP{i}" for i in range(1, 13))
    assert not bundled.values.flags.writeable


def test_bundled_extract_is_the_documented_file():
    assert BUNDLED.stat().st_size < 4_000_000
    documented = BUNDLED.with_name("README.md").read_text(encoding="utf-8")
    assert hashlib.sha256(BUNDLED.read_bytes()).hexdigest() in documented


def test_hourly_values_are_means_of_quarter_hours(bundled):
    fine = load_profiles(Profiles(), 15)
    expected = fine.values.reshape(366 * 24, 4, -1).mean(axis=1)
    np.testing.assert_allclose(bundled.values, expected, atol=1e-12)


def test_rows_are_utc_by_the_sun(bundled):
    pv = bundled.values[:, [kind == "pv" for kind in bundled.kinds]].sum(axis=1).reshape(366, 24)
    june = pv[152:182].sum(axis=0)
    assert 11.0 < june @ (np.arange(24) + 0.5) / june.sum() < 11.7


def test_day_class_follows_the_calendar(bundled):
    row = bundled.row_of(dt.date(2016, 6, 4))  # a Saturday
    assert bundled.day_class[row] == 1
    assert bundled.day_class[row - 1] == 0


# --- selection and coverage -------------------------------------------------------------------


def test_select_keeps_order_and_names_the_missing(bundled):
    part = bundled.select(["wind:WP3", "load_p:H0-A"])
    assert part.kinds == ("wind", "load")
    np.testing.assert_array_equal(part.values[:, 0], bundled.values[:, -10])
    with pytest.raises(ProfileError, match=r"no profile 'pv:PV9'; there are pv:PV1"):
        bundled.select(["pv:PV9"])


@given(offset=st.integers(-400, 800), days=st.integers(1, 400))
def test_covers_exactly_the_runs_inside(bundled, offset, days):
    start = FIRST + dt.timedelta(days=offset)
    inside = offset >= 0 and offset + days <= 366
    assert bundled.covers(start, days) == inside
    if inside:
        require(bundled, start, days)
        assert bundled.times[bundled.row_of(start)].date() == start
    else:
        with pytest.raises(ProfileError, match=r"allowed|at most"):
            require(bundled, start, days)


def test_require_says_what_is_allowed(bundled):
    with pytest.raises(ProfileError, match=r"2015-12-31 lies outside.*2016-01-01 to 2016-12-31"):
        require(bundled, dt.date(2015, 12, 31), 1)
    with pytest.raises(ProfileError, match=r"days 30 from 2016-12-20 exceed.*at most 12"):
        require(bundled, dt.date(2016, 12, 20), 30)


# --- the user's file --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["profiles.csv", "profiles.parquet"])
def test_user_file_is_averaged_over_the_step(save, name):
    profiles = load_profiles(save(table(minutes=30), name), 60)
    assert profiles.columns == ("load_p:A", "pv:B")
    np.testing.assert_allclose(profiles.values[:3, 0], [0.5, 2.5, 4.5])
    assert profiles.first_day == dt.date(2016, 3, 1)
    assert profiles.n_days == 2


def test_times_without_offset_are_utc_and_offsets_count(save):
    frame = table(n_days=3)
    naive = load_profiles(save(frame.assign(time=frame["time"].dt.tz_localize(None))), 60)
    berlin = load_profiles(save(frame.assign(time=frame["time"].dt.tz_convert("Etc/GMT-1"))), 60)
    np.testing.assert_array_equal(naive.values, berlin.values)
    assert (naive.times == berlin.times).all()


def test_incomplete_first_and_last_days_are_left_out(save):
    profiles = load_profiles(save(table(n_days=4)[5:-3]), 60)
    assert profiles.first_day == dt.date(2016, 3, 2)
    assert profiles.n_days == 2
    assert profiles.values[0, 0] == 24.0


def edit(column, row, value):
    def change(frame):
        frame = frame.astype({column: object})
        frame.loc[row, column] = value
        return frame

    return change


BAD = {
    "missing value": (edit("load_p:A", 3, np.nan), r"load_p:A: missing value at 2016-03-01 03:00"),
    "infinity": (edit("load_p:A", 4, np.inf), r"load_p:A: value inf at 2016-03-01 04:00"),
    "text": (edit("load_p:A", 5, "much"), r"load_p:A: 'much' at 2016-03-01 05:00.* not a number"),
    "gap": (lambda f: f.drop(index=[7, 8]), r"row 8: gap between .*06:00.* and .*09:00.*60 min"),
    "doubled": (
        lambda f: pd.concat([f[:6], f[5:]]),
        r"row 7: time 2016-03-01 05:00.* comes twice",
    ),
    "unsorted": (lambda f: f.iloc[[0, 1, 3, 2, *range(4, 48)]], r"02:00.* comes after .*03:00"),
    "bad time": (
        edit("time", 2, "3rd of May"),
        r"data row 3: time '3rd of May' is not an ISO 8601 time",
    ),
    "no time": (lambda f: f.rename(columns={"time": "hour"}), r"no column 'time'.*hour"),
    "numbers as time": (lambda f: f.assign(time=range(48)), r"time 0 is a number"),
    "unknown kind": (lambda f: f.rename(columns={"pv:B": "solar:B"}), r"'solar:B'.*pv:NAME"),
    "no name": (lambda f: f.rename(columns={"pv:B": "pv:"}), r"column 'pv:' is of unknown kind"),
    "negative pv": (edit("pv:B", 9, -0.01), r"pv:B: -0.01 at 2016-03-01 09:00.*0 and 1.5"),
    "pv too large": (edit("pv:B", 9, 1.51), r"pv:B: 1.51 at 2016-03-01 09:00.*0 and 1.5"),
    "no whole day": (lambda f: f[1:24], r"no whole day"),
    "one row": (lambda f: f[:1], r"1 rows and 3 columns"),
    "no values": (lambda f: f[["time"]], r"48 rows and 1 columns"),
}


@pytest.mark.parametrize("name", BAD)
def test_faults_are_named(save, name):
    change, message = BAD[name]
    settings = save(change(table()))
    with pytest.raises(ProfileError, match=message) as error:
        load_profiles(settings, 60)
    assert "profiles.csv" in str(error.value)


@pytest.mark.parametrize(("minutes", "step"), [(60, 30), (30, 40), (20, 30)])
def test_coarser_or_odd_data_are_refused(save, minutes, step):
    frame = table(minutes=minutes)
    with pytest.raises(ProfileError, match=rf"every {minutes} min.*step of {step} min"):
        load_profiles(save(frame), step)


def test_unknown_files_are_refused(tmp_path):
    missing = tmp_path / "none.csv"
    with pytest.raises(ProfileError, match=re.escape(str(missing)) + ": no such file"):
        load_profiles(Profiles(file=missing), 60)
    other = tmp_path / "a.xlsx"
    other.write_text("x")
    with pytest.raises(ProfileError, match=r"unknown file type '.xlsx'.*\.csv and \.parquet"):
        load_profiles(Profiles(file=other), 60)
    for damaged in (tmp_path / "a.parquet", tmp_path / "empty.csv"):
        damaged.write_text("")
        with pytest.raises(ProfileError, match="cannot be read"):
            load_profiles(Profiles(file=damaged), 60)


# --- the user's forecasts ---------------------------------------------------------------------


def test_known_forecasts_are_aligned_with_the_profiles(save):
    profiles = load_profiles(save(table(n_days=3)), 60)
    series = table(n_days=5, start="2016-02-29")[["time", "pv:B"]]
    known = load_known_forecasts(Forecast(file=save(series, "f.csv").file), profiles)
    assert np.isnan(known[:, 0]).all()
    np.testing.assert_allclose(known[:, 1], series["pv:B"][24:96])
    assert load_known_forecasts(Forecast(), profiles) is None


def test_known_forecasts_must_cover_the_profiles(save):
    profiles = load_profiles(save(table(n_days=3)), 60)
    short = save(table(n_days=2)[["time", "pv:B"]], "f.csv")
    with pytest.raises(ProfileError, match=r"f\.csv: no forecast for 2016-03-03 00:00"):
        load_known_forecasts(Forecast(file=short.file), profiles)
    other = save(table(n_days=3).rename(columns={"pv:B": "pv:C"})[["time", "pv:C"]], "f.csv")
    with pytest.raises(ProfileError, match="no profile 'pv:C'"):
        load_known_forecasts(Forecast(file=other.file), profiles)
