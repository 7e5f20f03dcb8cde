"""Coalitions: one strategy, one lesson a step, one random stream."""

from dataclasses import replace
from math import isnan, nan

import numpy as np
import pytest

from agents.coalition import Coalition, make_players, pool
from agents.population import PeerSpec
from agents.strategies.protocol import Observation, Outcome
from agents.strategies.truthful import Truthful
from tests.agents.test_strategies import full_bid

ONE = Outcome(4, 1.0, 0.0, -0.3, 0.1, nan, 5.0, 4.0, 0.0, 0.0)
OTHER = Outcome(4, 0.0, 2.0, 0.5, 0.2, 0.16, 1.0, 2.0, 7.0, 6.0)


class Listener(Truthful):
    def __init__(self):
        object.__setattr__(self, "lessons", [])

    def learn(self, outcome):
        self.lessons.append(outcome)


def test_outcomes_add_up():
    assert pool([ONE, OTHER]) == Outcome(4, 1.0, 2.0, 0.2, pytest.approx(0.3), 0.16, 6, 6, 7, 6)
    assert pool([OTHER]) == OTHER
    assert pool([replace(ONE, pool_price=0.2), OTHER]).pool_price == 0.2
    assert isnan(pool([ONE, ONE]).pool_price)
    assert isnan(pool([OTHER, replace(OTHER, load_kw=nan)]).load_kw)


def test_a_coalition_learns_once_a_step():
    listener = Listener()
    coalition = Coalition(listener, 2)
    for step in (4, 5):
        coalition.learn(replace(ONE, step=step))
        assert len(listener.lessons) == step - 4
        coalition.learn(replace(OTHER, step=step))
        assert listener.lessons[-1] == replace(pool([ONE, OTHER]), step=step)


def peer(peer_id, strategy="zero_intelligence", **settings) -> PeerSpec:
    return PeerSpec(peer_id=peer_id, bus=2, strategy=strategy, **settings)


def players(*peers):
    return make_players(peers, lambda name: np.random.default_rng(list(name.encode())))


def asks(strategy):
    observation = Observation(3, np.array([0.25, 0.26]), np.array([0.11, 0.11]))
    return strategy.submit(full_bid(), observation).sell_limit_eur_per_kwh


def test_members_share_a_strategy_and_nobody_else_does():
    made = players(peer("a", coalition="club"), peer("b"), peer("c", coalition="club"))
    assert made.keys() == {"club", "b"}
    assert isinstance(made["club"], Coalition)
    np.testing.assert_array_equal(asks(made["club"]), asks(made["club"]))
    assert (asks(made["club"]) != asks(made["b"])).all()


def test_a_player_s_stream_is_its_own():
    """Who else plays, and in which order, changes nothing."""
    expected = asks(players(peer("a"))["a"])
    for others in ([peer("b")], [peer("b", "bandit")], [peer("b", coalition="club")]):
        np.testing.assert_array_equal(asks(players(*others, peer("a"))["a"]), expected)


def test_a_coalition_s_state_is_its_strategy_s():
    before, after = (players(peer("a", "bandit", coalition="club"))["club"] for _ in range(2))
    asks(before)
    before.learn(OTHER)
    assert after.state() != before.state()
    after.restore(before.state())
    assert after.state() == before.state()
    assert before.state()["gain_eur"] == 0.2
