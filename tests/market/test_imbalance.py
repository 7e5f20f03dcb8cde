"""What errors cost: by the sign of the pool, of the error itself, or at the margin."""

from dataclasses import replace

import numpy as np
import pytest

from market.costs import Flows, StepPrices
from market.imbalance import Recourse, imbalance_prices
from market.recourse import network_errors
from tests.market.builders import Peer, make_roster, unit

PRICES = StepPrices(
    0.25,
    0.1,
    0.04,
    imbalance_buy=0.3,
    imbalance_sell=0.05,
    fee_within=0.0,
    fee_across=0.0,
    spot=0.03,
)
BUY, SELL = 0.3, 0.05
ROSTER = make_roster(
    {
        "a": Peer(unit=unit(5.0)),
        "b": Peer(),
        "c": Peer(network="B", unit=unit(5.0)),
    }
)
NOTHING = Flows(
    *(np.zeros(3), np.zeros(3), np.zeros(2), np.zeros(2)),
    *(np.zeros(0),) * 4,
    *(np.zeros(2),) * 4,
    pool_of=np.arange(2),
)
IDLE = Recourse(np.zeros(2), up_price=np.array([0.4, 0.2]), down_price=np.array([-0.15, 0.02]))


def priced(pricing, error_kw, *, delivered=(0.0, 0.0), left=(0.0, 0.0), pool_of=(0, 1)):
    flows = replace(NOTHING, deviation_kw=np.array(left), pool_of=np.array(pool_of))
    recourse = replace(IDLE, delivered_kw=np.array(delivered))
    return imbalance_prices(
        pricing, np.array(error_kw), flows, recourse, PRICES, roster=ROSTER
    ).tolist()


@pytest.mark.parametrize(
    ("error_kw", "one_sided", "two_sided"),
    [
        ([3.0, 1.0, 2.0], [SELL, SELL, SELL], [SELL, SELL, SELL]),
        ([-3.0, -1.0, -2.0], [BUY, BUY, BUY], [BUY, BUY, BUY]),
        # Who errs against its pool is paid, or pays, what the others do.
        ([3.0, -1.0, -2.0], [SELL, SELL, BUY], [SELL, BUY, BUY]),
        ([-3.0, 1.0, 2.0], [BUY, BUY, SELL], [BUY, SELL, SELL]),
    ],
)
def test_every_sign_and_both_rules(error_kw, one_sided, two_sided):
    assert priced("one_sided", error_kw) == one_sided
    assert priced("two_sided", error_kw) == two_sided


@pytest.mark.parametrize("left", [1e-7, -1e-7, 0.5, -0.5])
def test_what_is_left_after_recourse_has_no_say(left):
    assert priced("one_sided", [165.6, 0.0, 0.0], left=(left, 0.0))[0] == SELL
    assert priced("one_sided", [-165.6, 0.0, 0.0], left=(left, 0.0))[0] == BUY


def test_networks_of_one_pool_have_one_price():
    assert priced("one_sided", [3.0, 0.0, -5.0], pool_of=(0, 0)) == [BUY] * 3


@pytest.mark.parametrize(
    ("error", "delivered", "left", "expected"),
    [
        pytest.param(-2.0, 2.0, 0.0, 0.4, id="a unit makes up for all"),
        pytest.param(-2.0, 1.0, -1.0, 0.4, id="dearer than the upstream grid, which does the rest"),
        pytest.param(-2.0, 0.0, -2.0, BUY, id="the upstream grid alone"),
        pytest.param(2.0, -2.0, 0.0, 0.15, id="a unit saves its fuel"),
        pytest.param(2.0, -1.0, 1.0, SELL, id="the rest is worth what the supplier pays"),
        pytest.param(2.0, 0.0, 2.0, SELL, id="all is sold upstream"),
    ],
)
def test_the_last_answer_sets_the_marginal_price(error, delivered, left, expected):
    found = priced("marginal", [error, 0.0, 0.0], delivered=(delivered, 0.0), left=(left, 0.0))
    assert found[:2] == [expected] * 2


def test_a_marginal_price_knows_the_devices_of_its_own_pool_only():
    found = priced("marginal", [-1.0, 0.0, -1.0], delivered=(1.0, 1.0))
    assert found == [0.4, 0.4, 0.2]


def test_nobody_gains_by_hiding_a_plant():
    """Its sun, not announced, is a surplus: paid less than the supplier pays for what is."""
    for pricing in ("one_sided", "two_sided"):
        (price, *_) = priced(pricing, [10.0, 0.0, 0.0])
        assert price < PRICES.feed_in


def test_errors_add_up_by_network():
    np.testing.assert_array_equal(network_errors(np.array([1.0, -3.0, 5.0]), ROSTER), [-2.0, 5.0])
