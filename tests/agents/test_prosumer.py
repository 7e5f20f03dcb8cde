"""Prosumers: valid truthful bids, and meter readings that balance."""

from dataclasses import fields
from unittest.mock import ANY

import mesa
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.outlook import Outlook, Scaling
from agents.population import PeerSpec
from agents.prosumer import EFFICIENCY, Prosumer, registration, retail_bid, source_maps
from agents.strategies.markup import Markup
from agents.strategies.protocol import Observation, Outcome
from market.bid_checks import faults
from market.bids import Activation, Award

N_STEPS = 4
FULL = PeerSpec(
    peer_id="a",
    bus=2,
    load_kw=20.0,
    load_kvar=6.0,
    flexible_kw=10.0,
    flexible_profile="Air_1",
    pv_kw=50.0,
    wind_kw=30.0,
    battery_kw=15.0,
    battery_kwh=40.0,
    dispatchable_kw=25.0,
    power_factor=0.95,
)
DEVICES = {
    "nothing": {},
    "pv": {"pv_kw": 50.0},
    "wind": {"wind_kw": 30.0},
    "battery": {"battery_kw": 15.0, "battery_kwh": 40.0},
    "unit": {"dispatchable_kw": 25.0},
    "flexible": {"flexible_kw": 10.0},
}
SPECS = {
    "everything": FULL,
    **{
        name: PeerSpec(peer_id="a", bus=2, load_kw=20.0, load_kvar=6.0, **devices)
        for name, devices in DEVICES.items()
    },
}
OBSERVATION = Observation(
    5, np.linspace(0.24, 0.27, N_STEPS), np.full(N_STEPS, 0.11), last_price=0.17
)


def make_prosumer(spec: PeerSpec = FULL, n_blocks: int = 0, **options) -> Prosumer:
    position = position_of(spec)
    prosumer = Prosumer(mesa.Model(), spec, "west", position, n_blocks, **options)
    prosumer.forecast(prosumer.outlook(forecast(len(position))))
    return prosumer


def position_of(*specs: PeerSpec) -> dict[str, int]:
    columns = dict.fromkeys(column for spec in specs for column in spec.columns)
    return {column: k for k, column in enumerate(columns)}


def forecast(n_columns: int) -> np.ndarray:
    return np.random.default_rng(8).uniform(0, 1, (N_STEPS, n_columns))


# --- forecasts and bids -----------------------------------------------------------------------


@pytest.mark.parametrize("n_blocks", [0, 1, 4])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_truthful_bids_are_valid(spec, n_blocks):
    prosumer = make_prosumer(spec, n_blocks)
    for bid in (prosumer.truthful_bid(OBSERVATION), prosumer.bid(OBSERVATION)):
        assert faults(bid, prosumer.rating, 5, N_STEPS, "west", n_blocks=n_blocks) == []


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_retail_bids_are_valid(spec):
    outlook = make_prosumer(spec).outlook(forecast(len(position_of(spec))))
    bid = retail_bid(spec, "west", outlook, OBSERVATION)
    assert faults(bid, registration(spec), 5, N_STEPS, "west") == []
    np.testing.assert_array_equal(bid.load_kw, outlook.load_kw + outlook.flexible_kw)


@given(level=st.floats(0, 1), waiting=st.floats(0, 1))
def test_bids_are_valid_whatever_the_state(level, waiting):
    prosumer = make_prosumer()
    prosumer.battery.energy_kwh = level * prosumer.battery.capacity_kwh
    prosumer.flexible.backlog_kwh = waiting * prosumer.flexible.backlog_max_kwh
    bid = prosumer.truthful_bid(OBSERVATION)
    assert faults(bid, prosumer.rating, 5, N_STEPS, "west") == []
    assert bid.storage.energy_kwh == prosumer.battery.energy_kwh
    assert bid.flexible.backlog_kwh == prosumer.flexible.backlog_kwh


def test_a_bid_offers_the_devices_there_are():
    for name, devices in DEVICES.items():
        bid = make_prosumer(SPECS[name]).truthful_bid(OBSERVATION)
        offered = {offer for offer, _ in bid.offers}
        expected = set()
        if {"pv_kw", "wind_kw"} & devices.keys():
            expected |= {"renewable"}
        if "battery_kw" in devices:
            expected |= {"storage", "recourse"}
        if "dispatchable_kw" in devices:
            expected |= {"dispatchable", "recourse"}
        if "flexible_kw" in devices:
            expected |= {"flexible"}
        assert offered == expected


def test_a_bid_tells_the_truth():
    prosumer = make_prosumer()
    profiles = forecast(len(FULL.columns))
    load, load_q, flexible, pv, wind = profiles.T
    bid = prosumer.bid(OBSERVATION)
    np.testing.assert_allclose(bid.load_kw, 20 * load)
    np.testing.assert_allclose(bid.load_kvar, 6 * load_q)
    np.testing.assert_allclose(bid.flexible.baseline_kw, 10 * flexible)
    np.testing.assert_allclose(bid.renewable.available_kw, 50 * pv + 30 * wind)
    np.testing.assert_array_equal(bid.buy_limit_eur_per_kwh, OBSERVATION.retail)
    np.testing.assert_array_equal(bid.sell_limit_eur_per_kwh, OBSERVATION.feed_in)
    assert bid.dispatchable.p_max_kw == 25.0
    # At 95 % of its apparent power every kW of rating has tan(acos(0.95)) kvar to spare.
    assert bid.q_max_kvar == pytest.approx(0.3286841 * (50 + 30 + 15 + 25))
    assert bid.storage.charge_efficiency == bid.storage.discharge_efficiency == EFFICIENCY


def test_a_unit_bids_its_true_cost_in_blocks():
    curve = make_prosumer().truthful_bid(OBSERVATION).dispatchable
    offer = make_prosumer(n_blocks=5).truthful_bid(OBSERVATION).dispatchable
    assert (offer.p_max_kw, offer.cost_eur_per_kwh, offer.cost_eur_per_kw2h) == (25.0, 0.0, 0.0)
    np.testing.assert_allclose(offer.blocks.quantity_kw, 5.0)
    spent = np.cumsum(offer.blocks.quantity_kw * offer.blocks.price_eur_per_kwh)
    end = np.array([5.0, 10.0, 15.0, 20.0, 25.0])
    true = curve.cost_eur_per_kwh * end + curve.cost_eur_per_kw2h * end**2
    np.testing.assert_allclose(spent, true)


class Watcher(Markup):
    """A mark-up that keeps what it is told."""

    def __init__(self):
        super().__init__(0.2)
        object.__setattr__(self, "told", [])

    def submit(self, truthful, observation):
        self.told.append(observation)
        return super().submit(truthful, observation)

    def learn(self, outcome):
        self.told.append(outcome)


def test_strategies_are_asked():
    watcher = Watcher()
    truthful = make_prosumer().truthful_bid(OBSERVATION)
    submitted = make_prosumer(strategy=watcher).bid(OBSERVATION)
    np.testing.assert_allclose(
        submitted.sell_limit_eur_per_kwh, 1.2 * truthful.sell_limit_eur_per_kwh
    )
    assert watcher.told == [ANY]
    assert watcher.told[0].renewable_rating_kw == 80.0
    assert watcher.told[0].last_price == 0.17


@pytest.mark.parametrize(("first_step", "strategic"), [(4, True), (5, True), (6, False)])
def test_before_its_day_a_strategy_neither_bids_nor_learns(first_step, strategic):
    watcher = Watcher()
    prosumer = make_prosumer(strategy=watcher, first_step=first_step)
    marked_up = prosumer.bid(OBSERVATION).sell_limit_eur_per_kwh > OBSERVATION.feed_in
    assert marked_up.all() == marked_up.any() == strategic
    prosumer.learn(Outcome(5, 0.0, 0.0, 0.0))
    assert len(watcher.told) == 2 * strategic


def test_strategies_learn_what_the_peer_alone_knows():
    watcher = Watcher()
    prosumer = make_prosumer(strategy=watcher)
    expected = prosumer.outlook(forecast(5))
    prosumer.follow(make_award(), Activation("a", 6, 0.0, 0.0), actual(load=11.0), 1, 1.0)
    prosumer.learn(Outcome(6, 1.0, 2.0, 3.0, 4.0, 5.0))
    (outcome,) = watcher.told
    assert outcome == Outcome(
        *(6, 1.0, 2.0, 3.0, 4.0, 5.0),
        load_kw=11.0,
        load_forecast_kw=expected.load_kw[1],
        renewable_kw=40.0,
        renewable_forecast_kw=expected.renewable_kw[1],
    )


def test_plants_do_not_exceed_their_rating():
    outlook = make_prosumer().outlook(np.full((1, 5), 1.4))
    assert outlook.renewable_kw[0] == 80.0
    assert outlook.flexible_kw[0] == 10.0
    assert outlook.load_kw[0] == pytest.approx(28.0)


def test_bidding_needs_a_forecast():
    prosumer = Prosumer(mesa.Model(), FULL, "west", position_of(FULL))
    with pytest.raises(RuntimeError, match="peer a has to forecast"):
        prosumer.bid(OBSERVATION)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_injection_per_profile_is_the_outlook(spec):
    """The operators' map from profile errors to injections fits the peers' own scaling."""
    position = position_of(spec)
    profiles = forecast(len(position))
    outlook = make_prosumer(spec).outlook(profiles)
    p_kw, q_kvar = np.zeros(N_STEPS), np.zeros(N_STEPS)
    for column, kw, kvar in source_maps(spec):
        p_kw += kw * profiles[:, position[column]]
        q_kvar += kvar * profiles[:, position[column]]
    np.testing.assert_allclose(
        p_kw, outlook.renewable_kw - outlook.load_kw - outlook.flexible_kw, atol=1e-12
    )
    np.testing.assert_allclose(q_kvar, -outlook.load_kvar)


def test_peers_see_alone_what_they_see_together():
    specs = list(SPECS.values())
    position = position_of(*specs)
    profiles = forecast(len(position))
    together = Scaling(specs, position).outlooks(profiles)
    assert len(together) == len(specs)
    for spec, outlook in zip(specs, together, strict=True):
        alone = make_prosumer(spec).outlook(profiles[:, [position[c] for c in position_of(spec)]])
        for name in Outlook.__dataclass_fields__:
            np.testing.assert_array_equal(getattr(outlook, name), getattr(alone, name))


# --- following the award ----------------------------------------------------------------------


def make_award(**columns) -> Award:
    """Award two steps, the second one with the given values; no plant is capped unless told."""
    names = [field.name for field in fields(Award)[2:]]
    values = dict.fromkeys(names, 0.0) | {"cap_kw": np.inf} | columns
    return Award("a", 5, **{name: np.array([0.0, value]) for name, value in values.items()})


def actual(load=10.0, kvar=3.0, flexible=6.0, renewable=40.0) -> Outlook:
    return Outlook(*(np.array([value]) for value in (load, kvar, flexible, renewable)))


KW = st.floats(-60.0, 60.0)
AMOUNT = st.floats(0.0, 60.0)


@given(
    plan=st.fixed_dictionaries(
        {
            "renewable_kw": AMOUNT,
            "held_back_kw": AMOUNT,
            "cap_kw": st.one_of(AMOUNT, st.just(np.inf)),
            "dispatchable_kw": st.floats(0, 25),
            "charge_kw": st.floats(0, 15),
            "discharge_kw": st.floats(0, 15),
            "curtailed_load_kw": st.floats(0, 10),
            "deferred_load_kw": st.floats(-10, 10),
            "q_kvar": st.floats(-30, 30),
        }
    ),
    load=st.floats(0, 25),
    flexible=st.floats(0, 10),
    renewable=st.floats(0, 80),
    asked=st.tuples(KW, KW),
    level=st.floats(0, 1),
    waiting=st.floats(0, 1),
    hours=st.sampled_from([0.25, 1.0]),
)
def test_readings_balance_within_the_limits(
    *, plan, load, flexible, renewable, asked, level, waiting, hours
):
    prosumer = make_prosumer()
    prosumer.battery.energy_kwh = before = level * 40.0
    prosumer.flexible.backlog_kwh = owed = waiting * 30.0
    reading = prosumer.follow(
        make_award(**plan),
        Activation("a", 6, *asked),
        actual(load, 3.0, flexible, renewable),
        1,
        hours,
    )
    assert reading.step == 6
    battery_kw = reading.discharge_kw - reading.charge_kw
    assert reading.p_kw == pytest.approx(
        reading.renewable_kw + reading.dispatchable_kw + battery_kw - reading.load_kw, abs=1e-9
    )
    assert reading.load_kw == pytest.approx(
        load + flexible - reading.curtailed_load_kw - reading.deferred_load_kw, abs=1e-9
    )
    assert reading.q_kvar == plan["q_kvar"] - 3.0
    assert 0 <= reading.renewable_kw <= reading.renewable_available_kw == renewable
    assert reading.renewable_kw <= plan["cap_kw"]
    assert 0 <= reading.dispatchable_kw <= 25
    assert 0 <= reading.charge_kw <= 15
    assert 0 <= reading.discharge_kw <= 15
    assert 0 <= reading.soc_kwh <= 40
    assert reading.soc_kwh - before == pytest.approx(
        hours * (reading.charge_kw * EFFICIENCY - reading.discharge_kw / EFFICIENCY), abs=1e-9
    )
    assert load - 1e-9 <= reading.load_kw <= load + 10 + 1e-9
    assert 0 <= reading.backlog_kwh <= 30
    assert reading.backlog_kwh - owed == pytest.approx(hours * reading.deferred_load_kw, abs=1e-9)
    planned = plan["discharge_kw"] - plan["charge_kw"] + plan["dispatchable_kw"]
    assert reading.recourse_kw == pytest.approx(
        battery_kw + reading.dispatchable_kw - planned, abs=1e-9
    )
    assert reading.recourse_asked_kw == pytest.approx(sum(asked))


def test_an_award_is_followed_exactly_where_reality_allows():
    prosumer = make_prosumer()
    award = make_award(
        renewable_kw=35.0,
        held_back_kw=3.0,
        dispatchable_kw=12.0,
        discharge_kw=4.0,
        curtailed_load_kw=1.0,
        deferred_load_kw=2.0,
        q_kvar=5.0,
    )
    reading = prosumer.follow(award, Activation("a", 6, 3.0, -2.0), actual(), 1, 1.0)
    assert reading.renewable_kw == 37.0  # 2 kW more than forecast, 3 kW held back as scheduled
    assert reading.dispatchable_kw == 10.0
    assert (reading.charge_kw, reading.discharge_kw) == (0.0, 7.0)
    assert reading.load_kw == 13.0
    assert reading.p_kw == 37 + 10 + 7 - 13
    assert reading.q_kvar == 2.0
    assert reading.recourse_kw == reading.recourse_asked_kw == 1.0


@pytest.mark.parametrize(("available", "given"), [(10.0, 0.0), (20.0, 5.0), (60.0, 45.0)])
def test_a_plant_keeps_its_distance_from_the_forecast(available, given):
    award = make_award(renewable_kw=25.0, held_back_kw=15.0)
    reading = make_prosumer().follow(
        award, Activation("a", 6, 0.0, 0.0), actual(renewable=available), 1, 1.0
    )
    assert reading.renewable_kw == given


@pytest.mark.parametrize(("available", "given"), [(0.0, 0.0), (20.0, 20.0), (60.0, 25.0)])
def test_a_capped_plant_gives_what_there_is_below_its_cap(available, given):
    prosumer = make_prosumer()
    award = make_award(renewable_kw=25.0, cap_kw=25.0)
    real = actual(flexible=0.0, renewable=available)
    # Before it follows: without load errors the deviation is the plant's own.
    expected = prosumer.outlook(forecast(5))
    load = Outlook(
        expected.load_kw[1:2], expected.load_kvar[1:2], expected.flexible_kw[1:2], real.renewable_kw
    )
    reported = float(expected.load_kw[1]), float(expected.flexible_kw[1])
    assert prosumer.deviation(award, load, 1, reported, 1.0) == pytest.approx(given - 25.0)
    reading = prosumer.follow(award, Activation("a", 6, 0.0, 0.0), real, 1, 1.0)
    assert reading.renewable_kw == given


def test_peers_without_devices_just_consume():
    prosumer = make_prosumer(SPECS["nothing"])
    reading = prosumer.follow(
        make_award(), Activation("a", 6, 0.0, 0.0), actual(flexible=0.0, renewable=0.0), 1, 1.0
    )
    assert (reading.p_kw, reading.load_kw, reading.soc_kwh) == (-10.0, 10.0, 0.0)
    assert reading.recourse_kw == 0.0


def test_deviation_is_the_difference_to_what_was_reported():
    prosumer = make_prosumer()
    expected = prosumer.outlook(forecast(5))
    held_back = float(expected.renewable_kw[1]) - 10.0
    award = make_award(renewable_kw=10.0, held_back_kw=held_back)
    real = Outlook(
        expected.load_kw[1:2] + 2.0,
        expected.load_kvar[1:2],
        expected.flexible_kw[1:2] - 0.5,
        expected.renewable_kw[1:2] + 1.0,
    )
    load, flexible = float(expected.load_kw[1]), float(expected.flexible_kw[1])
    truthful = prosumer.deviation(award, real, 1, (load, flexible), 1.0)
    assert truthful == pytest.approx(1.0 - 2.0 + 0.5)
    assert prosumer.deviation(award, real, 1, (load + 7.0, flexible), 1.0) == pytest.approx(
        truthful + 7.0
    )
    none = Outlook(*(getattr(expected, name)[1:2] for name in Outlook.__dataclass_fields__))
    assert prosumer.deviation(award, none, 1, (load, flexible), 1.0) == pytest.approx(
        0.0, abs=1e-12
    )
