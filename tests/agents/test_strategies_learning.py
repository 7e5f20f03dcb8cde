"""Learning strategies: their updates by hand, and when they choose and are rewarded."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.strategies.bandit import Bandit
from agents.strategies.protocol import Outcome
from agents.strategies.roth_erev import RothErev
from tests.agents.test_strategies import OBSERVATION, full_bid

BID = full_bid()
MAKE = {"roth_erev": RothErev, "bandit": Bandit}


def learner(make, **parameters):
    return make(**parameters, rng=np.random.default_rng(1))


def gained(eur: float) -> Outcome:
    return Outcome(0, 0.0, 0.0, 0.0, gain_eur=eur)


def markup_of(bid) -> float:
    return float(bid.sell_limit_eur_per_kwh[0] / BID.sell_limit_eur_per_kwh[0]) - 1


class Diary(RothErev):
    """Remembers what it is told."""

    def __init__(self):
        super().__init__(rng=np.random.default_rng(0))
        self.told = []

    def reinforce(self, action, reward):
        self.told.append((action, reward))


# --- when -------------------------------------------------------------------------------------


def test_all_outcomes_between_two_bids_reward_the_first():
    diary = Diary()
    diary.learn(gained(9.0))  # before the first choice
    actions = []
    for step, gains in (
        (0, [1.0]),
        (1, [1.0, 0.5, 0.5]),
        (4, [0.5]),
        (5, []),
        (6, [-3.0]),
        (7, []),
    ):
        markup = markup_of(diary.submit(BID, replace(OBSERVATION, step=step)))
        assert markup_of(diary.submit(BID, replace(OBSERVATION, step=step))) == markup
        actions.append(round(markup * 10))
        for gain in gains:
            diary.learn(gained(gain))
    # In units of the largest so far: 1, then 2, which is larger; losses count as no gain. Nothing
    # came of the bid of step 5.
    expected = [(actions[0], 1.0), (actions[1], 1.0), (actions[2], 0.25), (actions[4], 0.0)]
    assert diary.told == expected
    assert len(set(actions)) > 1


def test_no_gain_at_all_is_a_reward_of_zero():
    diary = Diary()
    for step in range(3):
        diary.submit(BID, replace(OBSERVATION, step=step))
        diary.learn(gained(0.0))
    assert [reward for _, reward in diary.told] == [0.0, 0.0]


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_markups_are_drawn_with_their_probabilities(make):
    strategy = learner(make, n_actions=4, max_markup=0.6)
    for reward in (1.0, 0.5):
        strategy.reinforce(2, reward)
    expected = strategy.probabilities()
    drawn = [markup_of(strategy.submit(BID, replace(OBSERVATION, step=k))) for k in range(4000)]
    counts = [np.isclose(drawn, markup).sum() for markup in (0.0, 0.2, 0.4, 0.6)]
    assert sum(counts) == 4000
    # Four standard errors.
    np.testing.assert_allclose(np.array(counts) / 4000, expected, atol=4 * 0.5 / np.sqrt(4000))


@pytest.mark.parametrize("make", [RothErev, Bandit])
def test_at_first_all_markups_are_alike(make):
    np.testing.assert_allclose(learner(make, n_actions=5).probabilities(), 0.2)


# --- what: Roth-Erev --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variant", "forgetting", "experimentation", "propensity"),
    [
        ("original", 0.0, 0.0, [2.0, 2.6, 2.0]),  # propensities add up
        ("original", 0.1, 0.0, [1.8, 2.4, 1.8]),
        ("original", 0.1, 0.2, [1.8 + 0.06, 1.8 + 0.48, 1.8 + 0.06]),
        ("modified", 0.1, 0.0, [1.8, 2.4, 1.8]),
        ("modified", 0.1, 0.2, [1.8 + 0.2, 1.8 + 0.48, 1.8 + 0.2]),
    ],
)
def test_propensities_by_hand(variant, forgetting, experimentation, propensity):
    strategy = learner(
        RothErev,
        n_actions=3,
        variant=variant,
        forgetting=forgetting,
        experimentation=experimentation,
        initial=2.0,
    )
    strategy.reinforce(1, 0.6)
    expected = np.array(propensity)
    np.testing.assert_allclose(strategy.state()["propensity"], expected)
    np.testing.assert_allclose(strategy.probabilities(), expected / expected.sum())


@pytest.mark.parametrize(("variant", "chosen"), [("original", 1 / 3), ("modified", 1.8 / 5.8)])
def test_only_the_modified_variant_learns_from_no_gain(variant, chosen):
    strategy = learner(
        RothErev, n_actions=3, variant=variant, forgetting=0.1, experimentation=0.2, initial=2.0
    )
    strategy.reinforce(1, 0.0)
    assert strategy.probabilities()[1] == pytest.approx(chosen)


def test_softmax_by_hand():
    strategy = learner(
        RothErev,
        n_actions=2,
        forgetting=0.0,
        experimentation=0.0,
        choice="softmax",
        temperature=0.5,
    )
    strategy.reinforce(0, 1.0)  # propensities 2 and 1, their mean 1.5
    odds = np.exp((2 - 1) / 1.5 / 0.5)
    np.testing.assert_allclose(strategy.probabilities(), [odds / (1 + odds), 1 / (1 + odds)])


# --- what: bandits ----------------------------------------------------------------------------


def test_epsilon_greedy_takes_the_best_mean():
    strategy = learner(Bandit, n_actions=4, exploration=0.2)
    for action, reward in ((1, 0.9), (2, 0.5), (1, 0.3), (2, 0.9)):
        strategy.reinforce(action, reward)
    np.testing.assert_allclose(strategy.state()["value"], [0.0, 0.6, 0.7, 0.0])
    np.testing.assert_allclose(strategy.probabilities(), [0.05, 0.05, 0.85, 0.05])


def test_equal_means_are_equally_likely():
    strategy = learner(Bandit, n_actions=4, exploration=0.2)
    for action in (0, 3):
        strategy.reinforce(action, 0.5)
    np.testing.assert_allclose(strategy.probabilities(), [0.45, 0.05, 0.05, 0.45])


def test_a_step_size_weighs_the_latest_reward():
    strategy = learner(Bandit, n_actions=2, step_size=0.5)
    values = []
    for reward in (1.0, 0.0, 0.0, 1.0):
        strategy.reinforce(0, reward)
        values.append(strategy.state()["value"][0])
    # The mean of the first two, then half of each new one.
    np.testing.assert_allclose(values, [1.0, 0.5, 0.25, 0.625])


def test_exp3_by_hand():
    strategy = learner(Bandit, algorithm="exp3", n_actions=2, exploration=0.4)
    strategy.reinforce(0, 1.0)  # chosen with probability 1/2: w = exp(0.4 / 2 * 2)
    weight = np.exp(0.4)
    chance = 0.6 * weight / (weight + 1) + 0.2
    np.testing.assert_allclose(strategy.probabilities(), [chance, 1 - chance])
    strategy.reinforce(1, 0.5)
    other = np.exp(0.4 / 2 * 0.5 / (1 - chance))
    np.testing.assert_allclose(strategy.probabilities()[1], 0.6 * other / (weight + other) + 0.2)


@pytest.mark.parametrize(
    ("make", "parameters"),
    [
        (RothErev, {"variant": "original"}),
        (RothErev, {"variant": "modified", "experimentation": 0.2}),
        (RothErev, {"variant": "original", "choice": "softmax", "temperature": 1e-3}),
        (Bandit, {}),
        (Bandit, {"algorithm": "exp3", "exploration": 0.01}),
    ],
)
@pytest.mark.parametrize("reward", [0.0, 1.0])
def test_a_year_of_the_same_leaves_a_choice(make, parameters, reward):
    strategy = learner(make, **parameters)
    for _ in range(8760):
        strategy.reinforce(3, reward)
    chances = strategy.probabilities()
    assert np.isfinite(chances).all()
    assert chances.sum() == pytest.approx(1.0)
    strategy.submit(BID, OBSERVATION)


@given(
    st.sampled_from(["original", "modified", "epsilon_greedy", "exp3"]),
    st.lists(st.tuples(st.integers(0, 10), st.floats(0.0, 1.0)), max_size=40),
)
def test_choices_are_always_probabilities(kind, history):
    if kind in {"original", "modified"}:
        strategy = learner(RothErev, variant=kind)
    else:
        strategy = learner(Bandit, algorithm=kind)
    for action, reward in history:
        strategy.reinforce(action, reward)
    chances = strategy.probabilities()
    assert (chances >= 0).all()
    assert chances.sum() == pytest.approx(1.0)
