"""Strategies: what they change, and that they change nothing else; what they are created from."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.strategies.best_response import BestResponse
from agents.strategies.markup import Markup
from agents.strategies.misreporting import Misreporting
from agents.strategies.protocol import Observation, Outcome
from agents.strategies.registry import make_strategy
from agents.strategies.risk_averse import RiskAverse, quantile_factor
from agents.strategies.truthful import Truthful
from agents.strategies.withholding import Withholding
from agents.strategies.zero_intelligence import ZeroIntelligence
from market.bids import (
    Bid,
    DispatchableOffer,
    FlexibleOffer,
    RecourseOffer,
    RenewableOffer,
    StorageOffer,
)
from market.price_blocks import PriceBlocks
from tests.strategy_contract import changed

OBSERVATION = Observation(3, np.array([0.25, 0.26]), np.array([0.11, 0.11]))
BLOCKS = PriceBlocks(np.array([5.0, 15.0]), np.array([0.2, 0.24]))


def full_bid() -> Bid:
    """A bid with every device."""
    return Bid(
        peer_id="a",
        network="west",
        step=3,
        load_kw=np.array([4.0, 5.0]),
        load_kvar=np.array([1.0, 1.5]),
        buy_limit_eur_per_kwh=np.array([0.25, 0.26]),
        sell_limit_eur_per_kwh=np.array([0.11, 0.11]),
        q_max_kvar=2.0,
        renewable=RenewableOffer(np.array([6.0, 7.0]), 0.0),
        dispatchable=DispatchableOffer(20.0, 0.2, 1e-3),
        storage=StorageOffer(5.0, 5.0, 0.0, 12.0, 6.0, 0.95, 0.95, 0.02, 0.15),
        flexible=FlexibleOffer(np.array([1.0, 1.0]), 0.3, 0.6, 2.0, 0.0, 6.0, 0.004, 0.25),
        recourse=RecourseOffer(0.2, -0.1, 0.002),
    )


def block_bid() -> Bid:
    """The same with price blocks."""
    return replace(full_bid(), dispatchable=DispatchableOffer(20.0, 0.0, 0.0, BLOCKS))


def bare_bid() -> Bid:
    """A bid without any device."""
    none = dict.fromkeys(("renewable", "dispatchable", "storage", "flexible", "recourse"))
    return replace(full_bid(), **none)


# --- truthful, mark-up ------------------------------------------------------------------------


def test_truthful_submits_the_truth():
    bid = full_bid()
    assert Truthful().submit(bid, OBSERVATION) is bid


def test_markup_shades_prices_and_nothing_else():
    before = full_bid()
    after = Markup(0.25).submit(before, OBSERVATION)
    assert changed(before, after) == {
        "sell_limit_eur_per_kwh",
        "buy_limit_eur_per_kwh",
        "dispatchable.cost_eur_per_kwh",
        "dispatchable.cost_eur_per_kw2h",
    }
    np.testing.assert_allclose(after.sell_limit_eur_per_kwh, [0.1375, 0.1375])
    np.testing.assert_allclose(after.buy_limit_eur_per_kwh, [0.2, 0.208])
    assert after.dispatchable == DispatchableOffer(20.0, 0.25, 1.25e-3)


def test_price_blocks_are_marked_up_too():
    before = block_bid()
    after = Markup(0.25).submit(before, OBSERVATION)
    assert changed(before, after) == {
        "sell_limit_eur_per_kwh",
        "buy_limit_eur_per_kwh",
        "dispatchable.blocks.price_eur_per_kwh",
    }
    np.testing.assert_allclose(after.dispatchable.blocks.price_eur_per_kwh, [0.25, 0.3])


def test_no_markup_is_truthful():
    bid = full_bid()
    assert changed(bid, Markup(0.0).submit(bid, OBSERVATION)) == set()


def test_peers_without_a_unit_mark_up_too():
    after = Markup(1.0).submit(bare_bid(), OBSERVATION)
    assert after.dispatchable is None
    np.testing.assert_allclose(after.sell_limit_eur_per_kwh, 0.22)


# --- withholding ------------------------------------------------------------------------------


def test_withholding_cuts_quantities_and_nothing_else():
    before = full_bid()
    after = Withholding(renewable=0.5, dispatchable=0.25, storage=0.2).submit(before, OBSERVATION)
    assert changed(before, after) == {
        "renewable.available_kw",
        "dispatchable.p_max_kw",
        "storage.discharge_max_kw",
    }
    np.testing.assert_allclose(after.renewable.available_kw, [3.0, 3.5])
    assert after.dispatchable.p_max_kw == 5.0
    assert after.storage.discharge_max_kw == 1.0


@pytest.mark.parametrize(
    ("fraction", "quantity_kw"),
    [(1.0, [5.0, 15.0]), (0.5, [5.0, 5.0]), (0.25, [5.0, 0.0]), (0.1, [2.0, 0.0]), (0.0, [0, 0])],
)
def test_the_dearest_blocks_are_withheld_first(fraction, quantity_kw):
    before = block_bid()
    after = Withholding(dispatchable=fraction).submit(before, OBSERVATION).dispatchable
    np.testing.assert_allclose(after.blocks.quantity_kw, quantity_kw)
    assert after.p_max_kw == sum(quantity_kw)
    np.testing.assert_array_equal(after.blocks.price_eur_per_kwh, [0.2, 0.24])


@pytest.mark.parametrize("strategy", [Withholding(), Misreporting(), BestResponse()])
@pytest.mark.parametrize("bid", [full_bid(), block_bid(), bare_bid()])
def test_what_is_not_asked_for_stays_true(strategy, bid):
    assert changed(bid, strategy.submit(bid, OBSERVATION)) == set()


# --- forecasts --------------------------------------------------------------------------------


def test_misreporting_scales_forecasts_and_nothing_else():
    before = full_bid()
    after = Misreporting(load=1.5, renewable=0.5).submit(before, OBSERVATION)
    assert changed(before, after) == {"load_kw", "load_kvar", "renewable.available_kw"}
    np.testing.assert_allclose(after.load_kw, [6.0, 7.5])
    np.testing.assert_allclose(after.load_kvar, [1.5, 2.25])
    np.testing.assert_allclose(after.renewable.available_kw, [3.0, 3.5])


def test_no_report_exceeds_the_registration():
    observation = replace(OBSERVATION, renewable_rating_kw=10.0)
    after = Misreporting(renewable=1.5).submit(full_bid(), observation)
    np.testing.assert_allclose(after.renewable.available_kw, [9.0, 10.0])


def outcome(load=(1.0, 1.0), renewable=(1.0, 1.0)) -> Outcome:
    """What came, and what was forecast."""
    return Outcome(0, 0.0, 0.0, 0.0, 0.0, float("nan"), *load, *renewable)


def test_risk_averse_peers_bid_quantiles():
    # Renewable power came at 10 % to 100 % of the forecast, load at 110 % to 200 %.
    strategy = RiskAverse(quantile=0.25, n_min=10)
    before = full_bid()
    for k in np.random.default_rng(0).permutation(10) + 1:
        assert strategy.submit(before, OBSERVATION) is before
        strategy.learn(outcome(load=(2.0 + 0.2 * k, 2.0), renewable=(0.5 * k, 5.0)))
    after = strategy.submit(before, OBSERVATION)
    assert changed(before, after) == {"load_kw", "load_kvar", "renewable.available_kw"}
    np.testing.assert_allclose(after.renewable.available_kw, [6.0 * 0.3, 7.0 * 0.3])
    np.testing.assert_allclose(after.load_kw, [4.0 * 1.8, 5.0 * 1.8])


def test_old_errors_are_forgotten():
    strategy = RiskAverse(n_min=3, n_max=3)
    for actual in (0.0, 0.0, 2.0, 2.0, 2.0):
        strategy.learn(outcome(renewable=(actual, 1.0)))
    after = strategy.submit(full_bid(), OBSERVATION)
    np.testing.assert_allclose(after.renewable.available_kw, [12.0, 14.0])


def test_unknown_errors_are_not_learnt():
    strategy = RiskAverse(n_min=1)
    strategy.learn(Outcome(0, 0.0, 0.0, 0.0))
    bid = full_bid()
    assert strategy.submit(bid, OBSERVATION) is bid


@given(
    st.lists(st.tuples(st.floats(0.0, 100.0), st.floats(0.0, 100.0)), min_size=1, max_size=30),
    st.floats(0.05, 0.95),
)
def test_the_factor_minimises_the_check_function(pairs, level):
    actual, forecast = np.array(pairs).T
    forecast = np.where(forecast < 1e-3, 0.0, forecast)

    def loss(factor):
        u = actual - factor * forecast
        return float((u * (level - (u < 0))).sum())

    factor = quantile_factor(actual, forecast, level)
    # Convex and piecewise linear: its minimum is at one of the ratios.
    told = forecast > 0
    least = min(map(loss, actual[told] / forecast[told]), default=loss(factor))
    assert loss(factor) <= least + 1e-9 * (1 + abs(least))


def test_nothing_forecast_is_nothing_learnt():
    assert quantile_factor(np.array([0.0, 1.0]), np.zeros(2), 0.3) == 1.0


# --- zero intelligence ------------------------------------------------------------------------


def test_random_prices_lose_no_money_and_fill_their_range():
    strategy = ZeroIntelligence(rng=np.random.default_rng(0))
    for before, cost, curve in ((full_bid(), 0.2, 1e-3), (block_bid(), 0.2, 0.0)):
        asks, bids, costs = [], [], []
        for step in range(400):
            after = strategy.submit(before, replace(OBSERVATION, step=step))
            asks.append(after.sell_limit_eur_per_kwh)
            bids.append(after.buy_limit_eur_per_kwh)
            unit = after.dispatchable
            if unit.blocks is None:
                costs.append(unit.cost_eur_per_kwh)
            else:
                price = unit.blocks.price_eur_per_kwh
                assert price[1] - price[0] == pytest.approx(0.04)
                costs.append(price[0])
            assert unit.cost_eur_per_kw2h == curve
        for drawn, low, high in (
            (np.array(asks), 0.11, OBSERVATION.retail),
            (np.array(bids), 0.11, OBSERVATION.retail),
            (np.array(costs), cost, 0.255),
        ):
            place = (drawn - low) / (high - low)
            assert -1e-9 <= place.min() < 0.02
            assert 0.98 < place.max() <= 1 + 1e-9
            # Mean and standard deviation of 400 even draws, within four standard errors.
            np.testing.assert_allclose(place.mean(axis=0), 0.5, atol=4 * 0.289 / 20)
            np.testing.assert_allclose(place.std(axis=0), 0.289, atol=0.04)


def test_random_prices_change_with_the_step_and_nothing_else_does():
    strategy = ZeroIntelligence(rng=np.random.default_rng(0))
    before = full_bid()
    first = strategy.submit(before, OBSERVATION)
    assert changed(before, first) == {
        "sell_limit_eur_per_kwh",
        "buy_limit_eur_per_kwh",
        "dispatchable.cost_eur_per_kwh",
    }
    second = strategy.submit(before, replace(OBSERVATION, step=4))
    assert changed(first, second) == changed(before, first)


def test_truths_beyond_the_retail_price_are_bid():
    unit = DispatchableOffer(20.0, 0.5, 0.0)
    before = replace(full_bid(), dispatchable=unit, sell_limit_eur_per_kwh=np.full(2, 0.4))
    after = ZeroIntelligence(rng=np.random.default_rng(0)).submit(before, OBSERVATION)
    assert changed(before, after) == {"buy_limit_eur_per_kwh"}


# --- best response ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("price", "concession", "ask", "bid"),
    [
        (0.15, 0.0, 0.15, 0.22),  # both sides move to the price, the buyer's fee included
        (0.15, 0.25, 0.14, 0.2275),
        (0.15, 1.0, 0.11, 0.25),
        (0.05, 0.0, 0.11, 0.12),  # below the seller's limit
        (0.30, 0.0, 0.30, 0.25),  # above the buyer's
        (-0.2, 0.0, 0.11, 0.0),  # no limit is negative
        (float("nan"), 0.0, 0.11, 0.25),
    ],
)
def test_best_responses_bid_the_last_price(price, concession, ask, bid):
    observation = replace(OBSERVATION, fee=0.07, last_price=price)
    before = bare_bid()
    after = BestResponse(concession).submit(before, observation)
    assert changed(before, after) <= {"sell_limit_eur_per_kwh", "buy_limit_eur_per_kwh"}
    assert after.sell_limit_eur_per_kwh[0] == pytest.approx(ask)
    assert after.buy_limit_eur_per_kwh[0] == pytest.approx(bid)


@pytest.mark.parametrize("bid", [full_bid(), block_bid()])
@pytest.mark.parametrize(("price", "ask"), [(0.23, 0.14), (0.19, 0.11)])
def test_a_unit_asks_the_last_price_with_its_cost(bid, price, ask):
    # Its offered cost, 0.2, and what the ask is above the feed-in price of 0.11 make the price.
    after = BestResponse().submit(bid, replace(OBSERVATION, last_price=price))
    np.testing.assert_allclose(after.sell_limit_eur_per_kwh, ask)
    assert after.dispatchable is bid.dispatchable


# --- creation ---------------------------------------------------------------------------------


def test_unknown_strategies_are_named():
    with pytest.raises(ValueError, match=r"unknown strategy 'greedy'.*'truthful'.*path of a class"):
        make_strategy("greedy", {})


@pytest.mark.parametrize(
    ("name", "parameters", "told"),
    [
        ("truthful", {"markup": 1.0}, r"\{'markup': 1.0\}.*'markup'; it takes none"),
        ("markup", {}, r"\{\}.*'markup'; it takes markup"),
        ("bandit", {"rng": 1}, r"\{'rng': 1\}.*; it takes algorithm, n_actions"),
    ],
)
def test_parameters_must_fit(name, parameters, told):
    with pytest.raises(ValueError, match=f"strategy '{name}' does not take the parameters {told}"):
        make_strategy(name, parameters, np.random.default_rng(0))


@pytest.mark.parametrize("name", ["zero_intelligence", "roth_erev", "bandit"])
def test_random_strategies_need_a_stream(name):
    with pytest.raises(ValueError, match=f"'{name}' draws at random and needs a random stream"):
        make_strategy(name, {})


@pytest.mark.parametrize(
    ("name", "parameters", "told"),
    [
        *(
            ("markup", {"markup": value}, rf"markup must be a number in \[0, inf\), got {value!r}")
            for value in (-0.1, float("nan"), float("inf"), "high", True)
        ),
        ("withholding", {"storage": 1.1}, r"storage must be a number in \[0, 1\], got 1.1"),
        ("misreporting", {"load": -1}, r"load must be a number in \[0, inf\), got -1"),
        ("risk_averse", {"quantile": 1}, r"quantile must be a number in \(0, 1\), got 1"),
        ("risk_averse", {"n_min": 0}, "n_min must be a whole number of at least 1, got 0"),
        ("risk_averse", {"n_min": 9, "n_max": 8}, "n_max must be .* of at least 9, got 8"),
        ("best_response", {"concession": 2}, r"concession must be a number in \[0, 1\], got 2"),
        ("roth_erev", {"n_actions": 1}, "n_actions must be a whole number of at least 2, got 1"),
        ("roth_erev", {"n_actions": 5.0}, "n_actions must be a whole number .*, got 5.0"),
        ("roth_erev", {"n_actions": True}, "n_actions must be a whole number .*, got True"),
        ("roth_erev", {"max_markup": 0}, r"max_markup must be a number in \(0, inf\), got 0"),
        ("roth_erev", {"variant": "new"}, "variant must be original or modified, got 'new'"),
        ("roth_erev", {"forgetting": 1}, r"forgetting must be a number in \[0, 1\), got 1"),
        ("roth_erev", {"experimentation": 1}, r"experimentation must be .* \[0, 1\), got 1"),
        ("roth_erev", {"initial": 0}, r"initial must be a number in \(0, inf\), got 0"),
        ("roth_erev", {"choice": "max"}, "choice must be proportional or softmax, got 'max'"),
        ("roth_erev", {"choice": "softmax"}, r"temperature must be .* \(0, inf\), got None"),
        ("roth_erev", {"temperature": 2.0}, "temperature is given with choice softmax only, got 2"),
        (
            "roth_erev",
            {"experimentation": 0.3},
            r"experimentation must not exceed forgetting \* \(n_actions - 1\) = 0.2 .*, got 0.3",
        ),
        ("bandit", {"algorithm": "ucb"}, "algorithm must be epsilon_greedy or exp3, got 'ucb'"),
        ("bandit", {"exploration": 0}, r"exploration must be a number in \(0, 1\], got 0"),
        ("bandit", {"step_size": 2}, r"step_size must be a number in \[0, 1\], got 2"),
        (
            "bandit",
            {"algorithm": "exp3", "step_size": 0.1},
            "step_size is given with algorithm epsilon_greedy only, got 0.1",
        ),
    ],
)
def test_impossible_parameters_are_named(name, parameters, told):
    with pytest.raises(ValueError, match=f"^strategy '{name}': {told}"):
        make_strategy(name, parameters, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("withholding", {"storage": 1}),
        ("bandit", {"exploration": 1.0, "step_size": 1}),
        ("roth_erev", {"experimentation": 0.2}),
    ],
)
def test_ends_of_ranges_are_allowed(name, parameters):
    make_strategy(name, parameters, np.random.default_rng(0))
