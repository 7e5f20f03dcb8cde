import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.forecasting import ClimatologyPersistence, ForecastArchive, ForecastError
from configs.schema import Forecast

DAY = 8
N_DAYS = 35
N = N_DAYS * DAY
N_LEADS = DAY
SETTINGS = Forecast(climatology_days=7, sample_days=10, sample_hours=3, persistence_hours=6)
KINDS = ("load", "pv", "wind", "load")
CLASS = np.repeat([0, 0, 0, 0, 0, 1, 1] * 5, DAY)
# First step of the data behind forecasts and errors at the issue step, at most.
DEPTH = (10 + 7 + 1) * DAY + N_LEADS - 2


def noisy_values(seed=0, n=N):
    rng = np.random.default_rng(seed)
    hours = np.arange(n) % DAY
    light = np.maximum(0.0, np.sin(np.pi * (hours - 1) / (DAY - 2)))
    wind = np.clip(0.4 + 0.1 * np.cumsum(rng.standard_normal(n)), 0, 1)
    load = 0.5 + 0.2 * np.cos(hours) + 0.1 * rng.standard_normal(n)
    return np.stack([load, light * rng.uniform(0.1, 0.6, n), wind, -load], axis=1)


def archive(values=None, options=SETTINGS, n_leads=N_LEADS, **more):
    values = noisy_values() if values is None else values
    return ForecastArchive(
        values,
        KINDS[: values.shape[1]],
        CLASS,
        steps_per_day=DAY,
        n_leads=n_leads,
        settings=options,
        **more,
    )


# --- no look-ahead ----------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(step=st.integers(0, N - 1), seed=st.integers(1, 50))
def test_only_earlier_steps_are_used(step, seed):
    """Also at the start of the data, where the history is the data's end."""
    before = noisy_values()
    after = before.copy()
    not_history = np.arange(step, step + N - DEPTH) % N
    after[not_history] = noisy_values(seed)[not_history]
    one, other = archive(before), archive(after)
    np.testing.assert_array_equal(one.forecast(step), other.forecast(step))
    for lead in range(N_LEADS):
        np.testing.assert_array_equal(
            one.error_samples(step, lead), other.error_samples(step, lead)
        )


@settings(max_examples=20, deadline=None)
@given(step=st.integers(0, N - 1))
def test_the_step_before_is_used(step):
    before = noisy_values()
    after = before.copy()
    after[step - 1, 2] = 1.0 - after[step - 1, 2] + 1e-3
    one, other = archive(before), archive(after)
    assert (one.forecast(step)[0, 2] != other.forecast(step)[0, 2]).all()
    assert (one.error_samples(step, 0)[-1, 2] != other.error_samples(step, 0)[-1, 2]).all()


def test_a_run_reveals_its_values_one_by_one():
    """An archive that has already been used gives the same as a fresh one on longer data."""
    values = noisy_values()
    step = 25 * DAY
    used, masked = archive(values), values.copy()
    masked[step + DAY :] = 0.123  # not yet revealed to the second archive
    fresh = archive(masked)
    for s in range(step, step + DAY):
        np.testing.assert_array_equal(used.forecast(s), fresh.forecast(s))
        np.testing.assert_array_equal(used.error_samples(s, 3), fresh.error_samples(s, 3))


# --- the forecasts ----------------------------------------------------------------------------


def test_periodic_series_are_forecast_exactly():
    hours = np.arange(N) % DAY
    load = np.where(CLASS == 1, 0.3, 0.6) + 0.1 * np.sin(hours)
    values = np.stack([load, np.maximum(0.0, np.sin(hours)), np.full(N, 0.37)], axis=1)
    periodic = archive(values)
    for step in range(20 * DAY, 27 * DAY):
        np.testing.assert_allclose(
            periodic.forecast(step), values[step : step + N_LEADS], rtol=1e-6, atol=1e-7
        )
        assert np.abs(periodic.error_samples(step, 2)).max() < 1e-6


def test_wind_by_hand():
    values = noisy_values()
    step = 20 * DAY + 5
    mean = values[13 * DAY : 20 * DAY, 2].mean()
    weight = np.exp(-3 * np.arange(N_LEADS) / (3 * 6))
    expected = mean + weight * (values[step - 1, 2] - mean)
    np.testing.assert_allclose(archive(values).forecast(step)[:, 2], expected, rtol=1e-6)


def test_load_by_hand():
    values = noisy_values()
    step = 20 * DAY + 5  # a Saturday
    history = values[13 * DAY : 20 * DAY, 0].reshape(7, DAY)
    weekend = CLASS[13 * DAY : 20 * DAY : DAY] == 1
    climatology = np.stack([history[~weekend].mean(0), history[weekend].mean(0)])
    departure = (history - climatology[weekend.astype(int)]).ravel()
    targets = step + np.arange(N_LEADS)
    expected = []
    for lead, target in enumerate(targets):
        r = departure[lead + 1 :] @ departure[: -lead - 1] / (departure @ departure)
        weight = min(max(0.0, r), np.exp(-3 * lead / 24))
        last = values[step - 1, 0] - climatology[CLASS[step - 1], (step - 1) % DAY]
        expected.append(climatology[CLASS[target], target % DAY] + weight * last)
    expected = np.clip(expected, *_range(history, values[step - 1, 0]))
    np.testing.assert_allclose(archive(values).forecast(step)[:, 0], expected, rtol=1e-5)


def _range(history, last):
    return min(history.min(), last), max(history.max(), last)


def test_pv_by_hand():
    values = noisy_values()
    step = 20 * DAY + 5
    history = values[13 * DAY : 20 * DAY, 1].reshape(7, DAY)
    mean, envelope = history.mean(0), history.max(0)
    j = np.arange(DAY)
    omega = np.exp(-4 * 3 * j) + 0.003 * 3
    times = (step - 1 - j) % DAY
    light = omega @ envelope[times]
    k = omega @ (values[step - 1 - j, 1] - mean[times]) / light
    age = omega @ (envelope[times] * 3 * j) / light
    targets = (step + np.arange(N_LEADS)) % DAY
    weight = np.exp(-(3 * np.arange(N_LEADS) + age) / 6)
    expected = np.clip(mean[targets] + weight * envelope[targets] * k, 0, envelope.max())
    np.testing.assert_allclose(archive(values).forecast(step)[:, 1], expected, rtol=1e-5, atol=1e-7)


@settings(max_examples=30, deadline=None)
@given(step=st.integers(0, N - 1), seed=st.integers(0, 50))
def test_forecasts_stay_in_the_range_of_the_history(step, seed):
    values = noisy_values(seed)
    forecast = archive(values).forecast(step)
    assert forecast.shape == (N_LEADS, 4)
    assert (forecast[:, 1:3] >= 0).all()
    history = values[np.arange(step - 8 * DAY, step) % N]
    assert (forecast <= history.max(axis=0) + 1e-6).all()
    assert (forecast >= np.minimum(history.min(axis=0), 0) - 1e-6).all()


def test_dark_and_constant_columns_are_no_trouble():
    values = np.zeros((N, 4))
    values[:, 3] = 0.1
    np.testing.assert_allclose(archive(values).forecast(200), values[:N_LEADS], atol=1e-8)


def test_a_class_without_days_falls_back_on_all_days():
    options = SETTINGS.model_copy(update={"climatology_days": 1})
    values = noisy_values()
    step = 19 * DAY  # Friday after one Thursday; leads reach into Saturday
    forecast = archive(values, options, n_leads=2 * DAY).forecast(step)
    assert np.isfinite(forecast).all()


# --- the error samples ------------------------------------------------------------------------


def test_error_samples_by_hand():
    values = noisy_values()
    step, lead = 25 * DAY + 3, 4  # sample_hours 3 is one step of three hours
    target_hour = (step + lead) % DAY
    targets = [
        tau for tau in range(step - 10 * DAY, step) if (tau - target_hour + 1) % DAY in (0, 1, 2)
    ]
    fresh = archive(values)
    expected = [values[tau] - archive(values).forecast(tau - lead)[lead] for tau in targets]
    samples = fresh.error_samples(step, lead)
    assert samples.shape == (fresh.n_samples, 4) == (30, 4)
    np.testing.assert_array_equal(samples, expected)
    np.testing.assert_array_equal(fresh.past(step, lead).day, np.array(targets) // DAY)


def test_samples_at_the_start_come_from_the_end_of_the_data():
    values = noisy_values()
    fresh = archive(values)
    days = fresh.past(3, 0).day
    assert days.min() == -10
    expected = values[N - 1] - fresh.forecast(-1)[0]  # targets at places 2, 3 and 4 of each day
    assert -1 in days
    np.testing.assert_array_equal(fresh.error_samples(0, 0)[-1], expected)


@pytest.mark.parametrize(
    ("day", "hours", "n"), [(24, 1, 180), (96, 1, 540), (24, 0, 60), (24, 12, 1440), (6, 1, 60)]
)
def test_number_of_samples(day, hours, n):
    n_times = 100 * day
    options = Forecast(sample_hours=hours)
    data = ForecastArchive(
        np.zeros((n_times, 1)),
        ["wind"],
        np.zeros(n_times, dtype=np.int64),
        steps_per_day=day,
        n_leads=2,
        settings=options,
    )
    assert data.n_samples == n
    days = data.past(95 * day, 1).day
    assert (np.diff(days) >= 0).all()
    assert len(np.unique(days)) in (60, 61)


def test_order_of_use_does_not_matter():
    values = noisy_values()
    steps = np.random.default_rng(3).integers(0, N, 30)
    used = archive(values)
    for step in steps:
        np.testing.assert_array_equal(used.forecast(int(step)), archive(values).forecast(int(step)))
        np.testing.assert_array_equal(
            used.error_samples(int(step), 5), archive(values).error_samples(int(step), 5)
        )


# --- the user's series and forecaster ---------------------------------------------------------


def test_known_series_replaces_the_forecast():
    values = noisy_values()
    known = np.full(values.shape, np.nan)
    known[:, 1] = values[:, 1] + np.linspace(0, 0.5, N)
    with_series, without = archive(values, known=known), archive(values)
    step, lead = 25 * DAY, 3
    forecast = with_series.forecast(step)
    np.testing.assert_allclose(forecast[:, 1], known[step : step + N_LEADS, 1], rtol=1e-6)
    np.testing.assert_array_equal(forecast[:, 2], without.forecast(step)[:, 2])
    samples = with_series.error_samples(step, lead)
    assert np.allclose(samples[-1, 1], values[step - 4, 1] - known[step - 4, 1], atol=1e-6)


class Yesterday:
    history_days = 1

    def forecast_day(self, values, day_class):
        del day_class
        place = np.add.outer(np.arange(DAY), np.arange(N_LEADS))
        return values[place]


def test_own_forecaster_plugs_in():
    values = noisy_values()
    own = archive(values, forecaster=Yesterday())
    np.testing.assert_allclose(own.forecast(100), values[100 - DAY : 100], rtol=1e-6)


# --- bad input --------------------------------------------------------------------------------


def test_too_short_data_are_refused():
    options = SETTINGS.model_copy(update={"sample_days": 30})
    with pytest.raises(ForecastError, match=r"hold 35 days; sample_days 30 and 7 days of history"):
        archive(options=options)


def test_shortest_allowed_data_keep_history_and_window_apart():
    days = -(-((10 + 7 + 1) * DAY + 2 * (N_LEADS - 1)) // DAY)
    values = noisy_values(n=days * DAY)
    kinds, classes = KINDS, CLASS[: days * DAY]
    more = {"steps_per_day": DAY, "n_leads": N_LEADS, "settings": SETTINGS}
    ForecastArchive(values, kinds, classes, **more)
    with pytest.raises(ForecastError, match="need at least"):
        ForecastArchive(values[:-DAY], kinds, classes[:-DAY], **more)


def test_faults_are_named():
    values = noisy_values()
    bad = values.copy()
    bad[5, 2] = np.nan
    with pytest.raises(ForecastError, match="row 5, column 2: nan"):
        archive(bad)
    with pytest.raises(ForecastError, match="kind 'hydro' is unknown; allowed are load, pv, wind"):
        ClimatologyPersistence(["hydro"], DAY, N_LEADS, SETTINGS)
    with pytest.raises(ForecastError, match="do not fit"):
        archive(np.zeros((N - DAY, 4)))
    more = {"steps_per_day": DAY, "n_leads": N_LEADS, "settings": SETTINGS}
    with pytest.raises(ForecastError, match="no whole days"):
        ForecastArchive(values[:-1], KINDS, CLASS[:-1], **more)
    known = np.full(values.shape, np.nan)
    known[7:, 3] = 0.5
    with pytest.raises(ForecastError, match="column 3 is missing in row 0"):
        archive(values, known=known)
    with pytest.raises(ForecastError, match="known forecasts of shape"):
        archive(values, known=known[1:])
