"""Network fees, flat and by distance."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.costs import StepPrices
from market.fees import fee_share, trade_fee
from market.matching import Trades

PRICES = StepPrices(0.25, 0.11, 0.04, 0.3, 0.05, fee_within=0.06, fee_across=0.02, spot=0.03)
DISTANCE = np.array([[0, 1, 4, 5], [1, 0, 3, 8], [4, 3, 0, 2], [5, 8, 2, 0]], float)
NETWORK_OF = np.array([0, 0, 1, 1])
PAIRS = Trades(
    seller=np.array([0, 0, 1, 3, 2]),
    buyer=np.array([1, 3, 3, 2, 0]),
    power_kw=np.ones(5),
    across=np.array([False, True, True, False, True]),
)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("flat", [0.06, 0.08, 0.08, 0.06, 0.08]),
        # The only pair of its network is the farthest one; across, 8 ohm is.
        ("distance", [0.06, 0.08 * 5 / 8, 0.08, 0.06, 0.08 * 4 / 8]),
    ],
)
def test_fees_by_hand(rule, expected):
    share = fee_share(rule, DISTANCE, NETWORK_OF)
    np.testing.assert_allclose(trade_fee(PAIRS, share, PRICES), expected)


def test_within_a_network_its_own_farthest_pair_counts():
    distance = np.array([[0, 1, 2, 9], [1, 0, 2, 9], [2, 2, 0, 9], [9, 9, 9, 0]], float)
    share = fee_share("distance", distance, np.array([0, 0, 0, 1]))
    np.testing.assert_allclose(share[:3, :3], distance[:3, :3] / 2)
    np.testing.assert_array_equal(share[3, :3], 1.0)


def test_peers_at_one_bus_pay_in_full():
    np.testing.assert_array_equal(fee_share("distance", np.zeros((3, 3)), np.zeros(3, int)), 1.0)


fee = st.floats(0.0, 1.0)


@given(st.integers(0, 2**32 - 1), fee, fee)
def test_no_trade_pays_more_than_the_full_fee(seed, within, across):
    rng = np.random.default_rng(seed)
    n = 6
    distance = rng.uniform(0, 1, (n, n))
    distance = distance + distance.T
    np.fill_diagonal(distance, 0)
    network_of = rng.integers(0, 3, n)
    i, j = np.nonzero(~np.eye(n, dtype=bool))
    trades = Trades(i, j, np.ones(len(i)), network_of[i] != network_of[j])
    prices = replace(PRICES, fee_within=within, fee_across=across)
    flat, scaled = (
        trade_fee(trades, fee_share(rule, distance, network_of), prices)
        for rule in ("flat", "distance")
    )
    assert (scaled <= flat).all()
    assert (scaled >= 0).all()
    kinds = [trades.across] + [~trades.across & (network_of[i] == d) for d in range(3)]
    for kind in kinds:
        assert scaled[kind].max(initial=0.0) == flat[kind].max(initial=0.0)
        # Twice the distance, twice the fee.
        np.testing.assert_allclose(
            scaled[kind] * distance[i, j][kind].max(initial=0.0),
            flat[kind] * distance[i, j][kind],
            atol=1e-12,
        )
    back = fee_share("distance", distance, network_of)
    np.testing.assert_array_equal(back, back.T)
