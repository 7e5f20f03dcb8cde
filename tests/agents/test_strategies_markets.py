"""What strategies bring in small markets whose best mark-up is found by trying all of them."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from agents.strategies.bandit import Bandit
from agents.strategies.best_response import BestResponse
from agents.strategies.markup import Markup
from agents.strategies.protocol import Observation, Outcome, Strategy
from agents.strategies.roth_erev import RothErev
from agents.strategies.truthful import Truthful
from agents.strategies.withholding import Withholding
from tests.market.builders import FEE, FEED_IN, RETAIL, Peer, clear, make_tariff, unit

TARIFF = make_tariff()
MARKUPS = np.linspace(0.0, 1.0, 11)


def observation(step=0, last_price=float("nan")) -> Observation:
    return Observation(step, TARIFF.retail, TARIFF.feed_in, FEE, last_price)


def profit(peers: Mapping[str, Peer], who: str, strategy: Strategy, last_price=float("nan")):
    """Clear with one strategic peer; its profit in a uniform-price pool, and the pool's price."""
    peer = peers[who]
    bid = strategy.submit(peer.bid(who, TARIFF), observation(last_price=last_price))
    strategic = replace(
        peer,
        pv=None if bid.renewable is None else bid.renewable.available_kw,
        rated=None if peer.pv is None else float(np.max(peer.pv)),
        unit=bid.dispatchable,
        buy=float(bid.buy_limit_eur_per_kwh[0]),
        sell=float(bid.sell_limit_eur_per_kwh[0]),
    )
    cleared = clear({**peers, who: strategic})
    price = float(cleared.result.prices.pool[0, 0])
    sold = float(cleared.sold[0, list(peers).index(who)])
    # Power of a plant would otherwise go to the supplier.
    cost = FEED_IN if peer.unit is None else peer.unit.cost_eur_per_kwh
    return (price - cost) * sold, price


# --- competition ------------------------------------------------------------------------------

RIVALS = {f"rival {k}": Peer(unit=unit(5.0, 0.13)) for k in range(3)}
"""Three units, any two of which could serve what the third leaves."""


@pytest.mark.parametrize("cost", [0.12, 0.13, 0.14])
def test_with_ample_competition_no_markup_beats_the_truth(cost):
    # At or below the rivals' cost, which is the pool's price, or above it.
    peers = {"me": Peer(unit=unit(5.0, cost)), **RIVALS, "home": Peer(load=9.0)}
    truthful, price = profit(peers, "me", Truthful())
    assert price == pytest.approx(0.13, abs=1e-5)
    assert truthful == pytest.approx(5.0 * max(0.13 - cost, 0.0), abs=1e-4)
    for markup in MARKUPS[1:]:
        assert profit(peers, "me", Markup(markup))[0] <= truthful + 1e-5


def test_a_pivotal_peer_gains_by_a_markup():
    # One rival alone cannot serve the home: 3 kWh are left for whatever price.
    peers = {
        "me": Peer(unit=unit(5.0, 0.12)),
        "rival": RIVALS["rival 0"],
        "home": Peer(load=8.0),
    }
    truthful, price = profit(peers, "me", Truthful())
    assert price == pytest.approx(0.13, abs=1e-5)
    assert truthful == pytest.approx(5.0 * 0.01, abs=1e-4)
    # The ask is the marked-up cost and what the limit asks beyond the feed-in price.
    marked_up, price = profit(peers, "me", Markup(0.2))
    assert price == pytest.approx(1.2 * 0.12 + 0.2 * FEED_IN, abs=1e-5)
    assert marked_up == pytest.approx(3.0 * (0.164 - 0.12), abs=1e-4)
    # Nobody pays more than the supplier asks.
    assert profit(peers, "me", Markup(0.3))[0] == pytest.approx(0.0, abs=1e-4)


def test_withholding_raises_the_price_of_a_pivotal_peer():
    peers = {"sun": Peer(pv=10.0), "home": Peer(load=8.0)}
    truthful, price = profit(peers, "sun", Truthful())
    assert (truthful, price) == pytest.approx((0.0, FEED_IN), abs=1e-4)
    withheld, price = profit(peers, "sun", Withholding(renewable=0.7))
    assert price == pytest.approx(RETAIL - FEE, abs=1e-5)
    assert withheld == pytest.approx(7.0 * (RETAIL - FEE - FEED_IN), abs=1e-3)


def test_a_best_response_keeps_a_price_up():
    # A long pool falls to the feed-in price unless the only seller asks for the last one.
    peers = {"sun": Peer(pv=10.0), "home": Peer(load=8.0)}
    gained, price = profit(peers, "sun", BestResponse(), last_price=0.16)
    assert price == pytest.approx(0.16, abs=1e-5)
    assert gained == pytest.approx(8.0 * 0.06, abs=1e-3)


def test_a_unit_responds_with_the_last_price():
    peers = {"me": Peer(unit=unit(5.0, 0.12)), "home": Peer(load=4.0)}
    gained, price = profit(peers, "me", BestResponse(), last_price=0.16)
    assert price == pytest.approx(0.16, abs=1e-5)
    assert gained == pytest.approx(4.0 * 0.04, abs=1e-3)


# --- learning the best mark-up ----------------------------------------------------------------

MONOPOLY = {
    "sun": Peer(pv=40.0),
    "high": Peer(load=10.0, buy=0.175 + FEE),
    "middle": Peer(load=12.0, buy=0.155 + FEE),
    "low": Peer(load=10.0, buy=0.135 + FEE),
}
"""One seller with plenty; the dearer it asks, the fewer buy."""


@pytest.fixture(scope="module")
def payoff() -> np.ndarray:
    """Profit of the only seller by mark-up, one clearing each. [EUR]"""
    return np.array([profit(MONOPOLY, "sun", Markup(markup))[0] for markup in MARKUPS])


def test_the_payoffs_are_those_of_the_demand_curve(payoff):
    ask = FEED_IN * (1 + MARKUPS)
    demand = 10.0 * (ask < 0.175) + 12.0 * (ask < 0.155) + 10.0 * (ask < 0.135)
    np.testing.assert_allclose(payoff, (ask - FEED_IN) * demand, atol=1e-3)
    assert MARKUPS[payoff.argmax()] == 0.5
    # The best is not the neighbour of the second best.
    assert MARKUPS[np.argsort(payoff)[-2]] == pytest.approx(0.3)


def learn(strategy: Strategy, payoff: np.ndarray, n_rounds: int) -> np.ndarray:
    """Let a strategy play the monopoly; the mark-ups it asked."""
    truthful = MONOPOLY["sun"].bid("sun", TARIFF)
    asked = np.zeros(n_rounds, dtype=int)
    for step in range(n_rounds):
        bid = strategy.submit(truthful, observation(step))
        asked[step] = round((bid.sell_limit_eur_per_kwh[0] / FEED_IN - 1) * 10)
        strategy.learn(Outcome(step, 0.0, 0.0, 0.0, gain_eur=float(payoff[asked[step]])))
    return asked


@pytest.mark.parametrize(
    ("make", "parameters", "n_rounds"),
    [
        (RothErev, {}, 3000),
        (RothErev, {"experimentation": 0.1, "variant": "original"}, 3000),
        (RothErev, {"choice": "softmax", "temperature": 3.0}, 3000),
        (Bandit, {}, 1000),
        (Bandit, {"step_size": 0.1}, 1000),
        (Bandit, {"algorithm": "exp3"}, 3000),
    ],
)
def test_learners_find_the_best_markup(payoff, make, parameters, n_rounds):
    favourite, late = [], []
    for seed in range(10):
        strategy = make(**parameters, rng=np.random.default_rng(seed))
        asked = learn(strategy, payoff, n_rounds)
        favourite.append(strategy.probabilities().argmax())
        late.append(payoff[asked[-500:]].mean())
    # Reinforcement may settle on a mark-up that was lucky early; most streams find the best one.
    assert favourite.count(payoff.argmax()) >= 8
    # What it brings in the end is much more than random choice does.
    assert np.mean(late) > 1.3 * payoff.mean()
