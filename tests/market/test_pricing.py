"""Prices of bilateral trades."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.costs import StepPrices
from market.matching import Trades
from market.pricing import mid_market_rate

PRICES = StepPrices(0.25, 0.11, 0.04, 0.3, 0.05, fee_within=0.04, fee_across=0.01)


def one_trade(sell, buy, *, across=False, prices=PRICES):
    trades = Trades(np.array([0]), np.array([1]), np.array([2.0]), np.array([across]))
    return mid_market_rate(trades, np.array([sell, 9.0]), np.array([9.0, buy]), prices)[0]


@pytest.mark.parametrize(
    ("sell", "buy", "across", "expected"),
    [
        (0.11, 0.25, False, 0.18),  # half way
        (0.20, 0.25, False, 0.20),  # the seller's limit
        (0.11, 0.20, False, 0.16),  # the buyer's, less the fee
        (0.11, 0.20, True, 0.15),  # and the fee across networks
    ],
)
def test_the_rate_lies_half_way_unless_a_limit_price_is_beyond(sell, buy, across, expected):
    assert one_trade(sell, buy, across=across) == pytest.approx(expected)


price = st.floats(0.0, 1.0)
step_prices = st.builds(
    StepPrices, price, price, price, price, price, st.floats(0.0, 0.2), st.floats(0.0, 0.2)
)


@given(step_prices, price, price, st.booleans())
def test_both_limit_prices_are_respected_where_they_can_be(prices, sell, surplus, across):
    fee = prices.fee_within + prices.fee_across * across
    buy = sell + fee + surplus
    rate = one_trade(sell, buy, across=across, prices=prices)
    assert sell - 1e-12 <= rate <= buy - fee + 1e-12


def test_no_trades_no_prices():
    none = Trades(np.zeros(0, int), np.zeros(0, int), np.zeros(0), np.zeros(0, bool))
    assert mid_market_rate(none, np.ones(2), np.ones(2), PRICES).shape == (0,)
