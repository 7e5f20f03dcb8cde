"""Strategies: what they change, and that they change nothing else."""

import copy
from dataclasses import fields, is_dataclass

import numpy as np
import pytest

from agents.strategies.markup import Markup
from agents.strategies.protocol import Observation, Outcome
from agents.strategies.registry import STRATEGIES, make_strategy
from agents.strategies.truthful import Truthful
from market.bids import (
    Bid,
    DispatchableOffer,
    FlexibleOffer,
    RecourseOffer,
    RenewableOffer,
    StorageOffer,
)

OBSERVATION = Observation(3, np.array([0.25, 0.26]), np.array([0.11, 0.11]))
PARAMETERS = {"truthful": {}, "markup": {"markup": 0.25}}


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


def flatten(bid, prefix="") -> dict[str, object]:
    """All values by dotted name."""
    out = {}
    for field in fields(bid):
        value = getattr(bid, field.name)
        if is_dataclass(value):
            out |= flatten(value, f"{prefix}{field.name}.")
        else:
            out[prefix + field.name] = value
    return out


def changed(before: Bid, after: Bid) -> set[str]:
    one, other = flatten(before), flatten(after)
    assert one.keys() == other.keys()
    return {name for name in one if not np.array_equal(one[name], other[name])}


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_registered_strategies_work(name):
    strategy = make_strategy(name, PARAMETERS[name])
    submitted = strategy.submit(full_bid(), OBSERVATION)
    assert isinstance(submitted, Bid)
    assert (submitted.peer_id, submitted.network, submitted.step) == ("a", "west", 3)
    strategy.learn(Outcome(3, 1.0, 0.0, -0.2))


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_the_truthful_bid_is_left_alone(name):
    truthful = full_bid()
    before = copy.deepcopy(truthful)
    strategy = make_strategy(name, PARAMETERS[name])
    first = strategy.submit(truthful, OBSERVATION)
    second = strategy.submit(truthful, OBSERVATION)
    assert changed(before, truthful) == set()
    assert changed(first, second) == set()


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


def test_no_markup_is_truthful():
    bid = full_bid()
    assert changed(bid, Markup(0.0).submit(bid, OBSERVATION)) == set()


def test_peers_without_a_unit_mark_up_too():
    bid = Bid(
        "a", "west", 3, np.ones(2), np.zeros(2), np.full(2, 0.25), np.full(2, 0.1), q_max_kvar=0.0
    )
    after = Markup(1.0).submit(bid, OBSERVATION)
    assert after.dispatchable is None
    np.testing.assert_allclose(after.sell_limit_eur_per_kwh, 0.2)


@pytest.mark.parametrize("markup", [-0.1, float("nan"), float("inf")])
def test_impossible_markups_are_refused(markup):
    with pytest.raises(ValueError, match=f"markup must be at least 0.*{markup}"):
        Markup(markup)


def test_unknown_strategies_are_named():
    with pytest.raises(ValueError, match=r"unknown strategy 'greedy'.*'truthful'"):
        make_strategy("greedy", {})


@pytest.mark.parametrize(("name", "parameters"), [("truthful", {"markup": 1.0}), ("markup", {})])
def test_parameters_must_fit(name, parameters):
    with pytest.raises(ValueError, match=f"'{name}' does not take the parameters"):
        make_strategy(name, parameters)
