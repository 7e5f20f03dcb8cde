import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.schema import Prices
from simulation.prices import SPOT, PriceError, daily_shape, make_tariff

WEEKS = pd.date_range("2016-06-06", periods=14 * 24, freq="h", tz="UTC")  # from a Monday
QUIET = Prices(spot_noise_eur_per_kwh=0.0)


def rng(seed=1):
    return np.random.default_rng(seed)


def spot_file(path, spot, freq="h", start=WEEKS[0]):
    times = pd.date_range(start, periods=len(spot), freq=freq)
    frame = pd.DataFrame({"time": times, SPOT: spot})
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    return path


# --- the synthetic spot price -----------------------------------------------------------------


def test_synthetic_price_has_the_mean_and_shape_of_the_settings():
    tariff = make_tariff(QUIET, WEEKS, rng())
    assert "synthetic" in tariff.source
    assert tariff.spot.mean() == pytest.approx(0.029, abs=1e-6)
    days = tariff.spot.reshape(14, 24)
    assert days[0].mean() - days[5].mean() == pytest.approx(0.006)
    assert np.ptp(days[0]) == pytest.approx(0.020, rel=0.03)
    maxima = [h for h in range(1, 23) if days[0, h] > max(days[0, h - 1], days[0, h + 1])]
    assert len(maxima) == 2
    assert maxima[0] == 7
    assert maxima[1] in (17, 18)


def test_daily_shape_is_centred_and_scaled():
    shape = daily_shape(np.arange(0.0, 24.0, 0.01))
    assert shape.mean() == pytest.approx(0.0, abs=1e-3)
    assert np.ptp(shape) == pytest.approx(2.0, abs=1e-3)


def test_quarter_hours_average_to_hours():
    fine = pd.date_range(WEEKS[0], periods=4 * 24, freq="15min")
    means = make_tariff(QUIET, fine, rng()).spot.reshape(24, 4).mean(axis=1)
    np.testing.assert_allclose(means, make_tariff(QUIET, WEEKS[:24], rng()).spot, atol=2e-4)


def test_noise_has_the_spread_of_the_settings_at_any_step():
    for freq, n in (("h", 20000), ("15min", 80000)):
        times = pd.date_range(WEEKS[0], periods=n, freq=freq)
        settings = Prices(spot_mean_eur_per_kwh=0.1)
        noise = make_tariff(settings, times, rng()).spot
        noise = (
            noise
            - make_tariff(
                QUIET.model_copy(update={"spot_mean_eur_per_kwh": 0.1}), times, rng()
            ).spot
        )
        assert noise.std() == pytest.approx(0.004, rel=0.1)
        hour = n // 20000
        assert np.corrcoef(noise[hour:], noise[:-hour])[0, 1] == pytest.approx(0.9, abs=0.02)


def test_noise_follows_the_stream():
    one, again, other = (make_tariff(Prices(), WEEKS, rng(seed)).spot for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


def test_longer_look_ahead_leaves_the_run_unchanged():
    short = make_tariff(Prices(), WEEKS[:48], rng()).spot
    np.testing.assert_array_equal(short, make_tariff(Prices(), WEEKS, rng()).spot[:48])


# --- the tariff -------------------------------------------------------------------------------


def test_tariff_by_hand(tmp_path):
    path = spot_file(tmp_path / "spot.csv", [0.03, 0.05, -0.02])
    tariff = make_tariff(Prices(file=path), WEEKS[:3], rng())
    np.testing.assert_allclose(tariff.spot, [0.03, 0.05, -0.02])
    np.testing.assert_allclose(tariff.retail, [0.255, 0.275, 0.205])
    np.testing.assert_allclose(tariff.feed_in, 0.11)
    np.testing.assert_allclose(tariff.loss, [0.04, 0.06, 0.0])
    np.testing.assert_allclose(tariff.imbalance_buy, [0.29325, 0.31625, 0.23575])
    np.testing.assert_allclose(tariff.imbalance_sell, 0.055)
    assert tariff.source == str(path)


def test_feed_in_that_follows_the_spot_price(tmp_path):
    """A tariff that reflects costs: retail may then lie just above the wholesale price."""
    path = spot_file(tmp_path / "spot.csv", [0.03, 0.05, 0.004])
    settings = Prices(
        file=path, retail_adder_eur_per_kwh=0.01, feed_in_below_spot_eur_per_kwh=0.005
    )
    tariff = make_tariff(settings, WEEKS[:3], rng())
    np.testing.assert_allclose(tariff.retail, [0.04, 0.06, 0.014])
    np.testing.assert_allclose(tariff.feed_in, [0.025, 0.045, 0.0])
    assert Prices(retail_adder_eur_per_kwh=0.0, feed_in_below_spot_eur_per_kwh=0.0)
    with pytest.raises(ValueError, match="must be at least"):
        Prices(retail_adder_eur_per_kwh=0.01)


@given(
    figures=st.fixed_dictionaries(
        {
            "spot_mean_eur_per_kwh": st.floats(0, 0.3),
            "spot_noise_eur_per_kwh": st.floats(0, 0.2),
            "retail_adder_eur_per_kwh": st.floats(0.11, 0.4),
            "imbalance_buy_factor": st.floats(1, 3),
            "imbalance_sell_factor": st.floats(0, 1),
        }
    ),
    seed=st.integers(0, 99),
)
def test_prices_are_ordered(figures, seed):
    settings = Prices(**figures)
    tariff = make_tariff(settings, WEEKS[:48], rng(seed))
    assert (tariff.imbalance_sell <= tariff.feed_in).all()
    assert (tariff.feed_in <= tariff.retail).all()
    assert (tariff.retail <= tariff.imbalance_buy).all()
    assert (tariff.spot >= 0).all()
    assert (tariff.loss >= 0).all()


# --- the user's file --------------------------------------------------------------------------


def test_finer_prices_are_averaged_and_coarser_ones_hold(tmp_path):
    fine = spot_file(tmp_path / "fine.parquet", np.arange(8) / 100, "15min")
    spot = make_tariff(Prices(file=fine), WEEKS[:2], rng()).spot
    np.testing.assert_allclose(spot, [0.015, 0.055])
    coarse = spot_file(tmp_path / "coarse.csv", [0.01, 0.02], "h")
    quarters = pd.date_range(WEEKS[0], periods=8, freq="15min")
    spot = make_tariff(Prices(file=coarse), quarters, rng()).spot
    np.testing.assert_allclose(spot, np.repeat([0.01, 0.02], 4))


@pytest.mark.parametrize(("shift", "first"), [(1, "2016-06-06 00:00"), (-1, "2016-06-07 23:00")])
def test_file_must_cover_run_and_look_ahead(tmp_path, shift, first):
    path = spot_file(
        tmp_path / "s.csv", np.full(48, 0.03), start=WEEKS[0] + pd.Timedelta(hours=shift)
    )
    with pytest.raises(PriceError, match=rf"s\.csv: no price for {first}.*need 2016-06-06 00:00"):
        make_tariff(Prices(file=path), WEEKS[:48], rng())


def test_selling_below_feed_in_is_refused(tmp_path):
    path = spot_file(tmp_path / "s.csv", [0.03, -0.116, -0.2])
    with pytest.raises(PriceError, match=r"s\.csv: retail price 0\.10900 .*06-06 01:00.*0\.11000"):
        make_tariff(Prices(file=path), WEEKS[:3], rng())


def test_faults_are_named(tmp_path):
    with pytest.raises(PriceError, match="no such file"):
        make_tariff(Prices(file=tmp_path / "none.csv"), WEEKS, rng())
    path = spot_file(tmp_path / "s.csv", [0.03, np.nan, 0.03])
    with pytest.raises(PriceError, match=rf"{SPOT}: missing value at 2016-06-06 01:00"):
        make_tariff(Prices(file=path), WEEKS[:3], rng())
    frame = pd.DataFrame({"time": WEEKS[[0, 1, 3]], SPOT: 0.03})
    frame.to_csv(path, index=False)
    with pytest.raises(PriceError, match=r"data row 3: gap between .*06 01:00.* and .*06 03:00"):
        make_tariff(Prices(file=path), WEEKS[:3], rng())
    frame.assign(time=WEEKS[[0, 1, 1]]).to_csv(path, index=False)
    with pytest.raises(PriceError, match="comes twice"):
        make_tariff(Prices(file=path), WEEKS[:3], rng())
    frame.rename(columns={SPOT: "price"}).assign(time=WEEKS[:3]).to_csv(path, index=False)
    with pytest.raises(PriceError, match=rf"no column '{SPOT}'; there are price"):
        make_tariff(Prices(file=path), WEEKS[:3], rng())
