"""Every strategy keeps to the contract, and the contract catches those that do not."""

import random
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tests.examples.own_strategy
from agents.strategies.memoryless import Memoryless
from agents.strategies.registry import STRATEGIES, make_strategy
from agents.strategies.truthful import Truthful
from market.plugins import allow
from tests.examples.own_strategy import PatientSeller
from tests.strategy_contract import check_strategy

EXAMPLE = Path(tests.examples.own_strategy.__file__)
CASES = {
    "truthful": [{}],
    "markup": [{"markup": 0.25}, {"markup": 0}],
    "withholding": [
        {},
        {"renewable": 0.5, "dispatchable": 0.3, "storage": 0.2},
        {"renewable": 0, "dispatchable": 0, "storage": 0},
    ],
    "misreporting": [{"load": 0.5, "renewable": 3.0}, {"load": 2, "renewable": 0}],
    "risk_averse": [
        {},
        {"quantile": 0.1, "n_min": 1, "n_max": 5},
        {"quantile": 0.95, "n_min": 2, "n_max": 100},
    ],
    "zero_intelligence": [{}],
    "roth_erev": [
        {},
        {"variant": "original", "forgetting": 0.1, "experimentation": 0.3, "n_actions": 3},
        {"variant": "original", "forgetting": 0, "experimentation": 0, "max_markup": 3},
        {"choice": "softmax", "temperature": 0.5, "initial": 0.1},
    ],
    "bandit": [{}, {"step_size": 0.2, "exploration": 1.0}, {"algorithm": "exp3", "n_actions": 2}],
    "best_response": [{}, {"concession": 0.25}],
}


@pytest.mark.parametrize(
    ("name", "parameters"),
    [(name, parameters) for name in sorted(STRATEGIES) for parameters in CASES[name]],
)
def test_strategies_keep_to_the_contract(name, parameters):
    check_strategy(lambda rng: make_strategy(name, parameters, rng))


# --- the example ------------------------------------------------------------------------------


def test_the_example_keeps_to_the_contract():
    check_strategy(PatientSeller)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("tests.examples.own_strategy:PatientSeller", "tests.examples"),
        ("own_strategy:PatientSeller", str(EXAMPLE)),
    ],
)
def test_the_example_is_loaded_by_its_path(path, allowed, monkeypatch):
    monkeypatch.delitem(sys.modules, "own_strategy", raising=False)
    allow([allowed])
    try:
        strategy = make_strategy(path, {"stride": 0.2}, np.random.default_rng(0))
        with pytest.raises(ValueError, match=rf"strategy '{path}': lapse must be .*, got 2"):
            make_strategy(path, {"lapse": 2}, np.random.default_rng(0))
        with pytest.raises(ValueError, match="draws at random and needs a random stream"):
            make_strategy(path, {})
        with pytest.raises(ValueError, match=r"does not take .*'speed'.*; it takes stride, lapse$"):
            make_strategy(path, {"speed": 1.0}, np.random.default_rng(0))
    finally:
        allow([])
    assert strategy.stride == 0.2


def test_classes_that_were_not_allowed_are_not_loaded():
    with pytest.raises(ValueError, match="--allow-plugins tests"):
        make_strategy("tests.examples.own_strategy:PatientSeller", {})


class Broken(Memoryless):
    """Fails without saying why."""

    def __init__(self):
        raise KeyError("price")

    def submit(self, truthful, observation):
        return truthful


def test_a_constructor_that_fails_is_named():
    allow([__name__.partition(".")[0]])
    try:
        with pytest.raises(ValueError, match=r"Broken' failed with the parameters \{\}: KeyError"):
            make_strategy(f"{__name__}:Broken", {})
    finally:
        allow([])


# --- strategies that break it -----------------------------------------------------------------


class Greedy(Memoryless):
    """Offers more renewable power than is registered."""

    def submit(self, truthful, observation):
        plant = truthful.renewable
        return replace(
            truthful,
            renewable=plant and replace(plant, available_kw=plant.available_kw * 1.1),
        )


class Careless(Memoryless):
    """Marks up the truthful bid itself."""

    def submit(self, truthful, observation):
        truthful.sell_limit_eur_per_kwh[:] *= 1.5
        return truthful


class Vandal(Memoryless):
    """Changes what everybody observes."""

    def submit(self, truthful, observation):
        observation.feed_in[:] = 0.05
        return truthful


class Fickle(Truthful):
    """Asks more every time it is asked."""

    def __init__(self):
        object.__setattr__(self, "n", 0)

    def submit(self, truthful, observation):
        object.__setattr__(self, "n", self.n + 1)
        return replace(truthful, sell_limit_eur_per_kwh=truthful.sell_limit_eur_per_kwh * self.n)


class OwnStream(Memoryless):
    """Draws from a stream that nobody gave it."""

    def __init__(self):
        self.factor = np.random.default_rng().random()

    def submit(self, truthful, observation):
        return replace(
            truthful, sell_limit_eur_per_kwh=truthful.sell_limit_eur_per_kwh * (1 + self.factor)
        )


class GlobalStream(Memoryless):
    """Draws from the global stream, though nothing comes of it."""

    def submit(self, truthful, observation):
        random.random()
        return truthful


class Late(Memoryless):
    """Submits the same arrays again and again, so that old bids change."""

    def __init__(self):
        self.ask = None

    def submit(self, truthful, observation):
        if self.ask is None:
            self.ask = truthful.sell_limit_eur_per_kwh.copy()
        self.ask[:] = truthful.sell_limit_eur_per_kwh
        return replace(truthful, sell_limit_eur_per_kwh=self.ask)


class Crowd(Memoryless):
    """Counts the steps of all peers that use it."""

    n = 0

    def __init__(self):
        type(self).n = 0

    def learn(self, outcome):
        type(self).n += 1

    def submit(self, truthful, observation):
        return replace(
            truthful, sell_limit_eur_per_kwh=truthful.sell_limit_eur_per_kwh * (1 + self.n)
        )


class Forgetful(Memoryless):
    """Learns, but saves nothing."""

    def __init__(self):
        self.sold = 0.0

    def learn(self, outcome):
        self.sold += outcome.sold_kwh

    def submit(self, truthful, observation):
        return replace(
            truthful, sell_limit_eur_per_kwh=truthful.sell_limit_eur_per_kwh * (1 + self.sold)
        )


class Aliased(Forgetful):
    """Saves the very list that it goes on filling."""

    def __init__(self):
        super().__init__()
        self.past = []

    def learn(self, outcome):
        super().learn(outcome)
        self.past.append(outcome.sold_kwh)

    def state(self):
        return {"past": self.past}

    def restore(self, state):
        self.past = list(state["past"])
        self.sold = 0.0
        for sold in self.past:
            self.sold += sold


@pytest.mark.parametrize(
    ("strategy", "told"),
    [
        (Greedy, "not valid.*renewable.available_kw 8.8 exceeds the allowed 8"),
        (Careless, "second answer in the same step|changes the truthful bid"),
        (Vandal, "changes the observation"),
        (Fickle, "a second answer in the same step differs.*sell_limit"),
        (OwnStream, "equal streams give different bids"),
        (GlobalStream, "global random stream"),
        (Late, "a bid changed after it was submitted|equal streams"),
        (Crowd, "a second peer with this strategy changes the bids"),
        (Forgetful, "a restored strategy changes what follows"),
        (Aliased, "what state.. returned changes later"),
    ],
)
def test_the_contract_catches(strategy, told):
    with pytest.raises(AssertionError, match=told):
        check_strategy(strategy)
