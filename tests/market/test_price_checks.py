"""Prices that cannot be settled are refused, with the step, the rule and the account."""

from types import SimpleNamespace

import numpy as np
import pytest

from market.matching import Trades
from market.price_checks import PricingError, checked_prices
from market.pricing import Pool, TradePrices
from tests.market.priced_pools import PRICES


def pool(**changes):
    """Two trades: 2 kW from s to a, 5 kW from t to b."""
    fields = {
        "trades": Trades(
            np.array([0, 1]), np.array([2, 3]), np.array([2.0, 5.0]), np.array([False, False])
        ),
        "fee": np.array([0.04, 0.04]),
        "sell_limit": np.array([0.10, 0.12, 9.0, 9.0]),
        "buy_limit": np.array([-9.0, -9.0, 0.25, 0.20]),
        "imports_kw": np.array([0.0, 0.0, 2.0, 5.0]),
        "exports_kw": np.array([2.0, 5.0, 0.0, 0.0]),
        "network_of": np.zeros(4, int),
        "prices": PRICES,
        "pool_price": np.array([0.15]),
        "floor": 0.05,
        "cap": 0.2,
    }
    return Pool(**fields | changes)


class Fixed:
    """Returns what it was told."""

    def __init__(self, paid, received=None, kept=None):
        received = paid if received is None else received
        kept = np.zeros(2) if kept is None else kept
        self.answer = TradePrices(*map(np.array, (paid, received, kept)))

    def trade_prices(self, pool):
        return self.answer


def ask(rule, seen=None, hours=0.5):
    return checked_prices(rule, seen or pool(), step=17, hours=hours, peer_id=["s", "t", "a", "b"])


def test_good_prices_pass():
    prices = ask(Fixed([0.15, 0.16], [0.10, 0.12], [0.05, 0.04]))
    np.testing.assert_array_equal(prices.kept, [0.05, 0.04])


def test_whole_numbers_and_lists_are_prices():
    answer = SimpleNamespace(paid=[0, 0], received=(0, 0), kept=[0, 0])
    rule = SimpleNamespace(trade_prices=lambda _: answer)
    free = pool(sell_limit=np.zeros(4), floor=-np.inf)
    assert ask(rule, free).paid.dtype == np.float64


@pytest.mark.parametrize(
    ("rule", "account", "text"),
    [
        (
            Fixed([0.15, 0.16], [0.15, 0.14]),
            "b",
            "does not balance: the buyer pays 0.16 EUR/kWh, the seller gets 0.14, the DSO keeps 0",
        ),
        (Fixed([0.15, 0.15], [0.15, 0.15], [0.01, 0.0]), "a", "does not balance"),
        (Fixed([0.15, 0.17]), "b", "pays 0.21 EUR/kWh, network fee included, above .* 0.2$"),
        (Fixed([0.15, 0.11]), "t", "a seller gets 0.11 EUR/kWh, below its limit price 0.12"),
        (Fixed([np.nan, 0.15]), "a", "the price paid is nan EUR/kWh"),
        (Fixed([0.15, 0.15], [0.15, -np.inf]), "t", "the price received is -inf EUR/kWh"),
        (Fixed([0.15, 0.15], kept=[0.0, np.nan]), "b", "the price kept is nan EUR/kWh"),
    ],
)
def test_what_is_refused(rule, account, text):
    with pytest.raises(
        PricingError, match=f"^step 17: pricing rule Fixed, account {account}: .*{text}"
    ):
        ask(rule)


@pytest.mark.parametrize(
    ("band", "account", "text"),
    [
        ({"cap": 0.14}, "a", "0.15 EUR/kWh is not between floor 0.05 and cap 0.14"),
        (
            {"floor": 0.155, "cap": np.inf},
            "a",
            "0.15 EUR/kWh is not between floor 0.155 and cap inf",
        ),
    ],
)
def test_the_band_is_kept(band, account, text):
    with pytest.raises(PricingError, match=f"account {account}: the price {text}"):
        ask(Fixed([0.15, 0.16]), pool(**band))


def test_the_dso_may_not_bring_a_seller_outside_the_band():
    with pytest.raises(PricingError, match=r"account s: the price 0\.11 EUR/kWh is not between"):
        ask(Fixed([0.15, 0.15], [0.11, 0.15], [0.04, 0.0]), pool(floor=0.12))


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 1)])
def test_one_price_for_each_trade(shape):
    with pytest.raises(PricingError, match=r"step 17: pricing rule Fixed returns .* \(2,\)"):
        ask(Fixed([0.15, 0.15], np.full(shape, 0.15)))


def test_rounding_is_allowed_and_nothing_more():
    paid = np.array([0.15, 0.16])
    ask(Fixed(paid, paid * (1 + 1e-15)))
    # 5 kW for half an hour: 1e-9 EUR are 4e-10 EUR/kWh.
    ask(Fixed(paid, paid - [0, 3.9e-10]))
    with pytest.raises(PricingError, match="account b: does not balance"):
        ask(Fixed(paid, paid - [0, 4.1e-10]))
    # Two small gaps that add up to more.
    with pytest.raises(PricingError, match="account b: does not balance"):
        ask(Fixed(paid, paid - [5e-10, 2.5e-10]))


def test_gaps_do_not_cancel():
    with pytest.raises(PricingError, match=r"account [ab]: does not balance"):
        ask(Fixed([0.15, 0.15], [0.15 + 0.005, 0.15 - 0.002]))


@pytest.mark.parametrize("returned", [None, 3.0, SimpleNamespace(paid=["x"] * 2)])
def test_a_rule_that_fails_is_named(returned):
    rule = SimpleNamespace(trade_prices=lambda _: returned)
    with pytest.raises(PricingError, match=r"^step 17: pricing rule SimpleNamespace failed: "):
        ask(rule)


def test_a_rule_cannot_change_the_clearing():
    class Greedy:
        def trade_prices(self, pool):
            price = np.full(2, 0.15)
            pool.exports_kw[:] = 0
            pool.buy_limit[:] = 99
            pool.trades.power_kw[:] = 99
            return TradePrices(price, price, 0 * price)

    before = pool()
    ask(Greedy(), before)
    np.testing.assert_array_equal(before.exports_kw, pool().exports_kw)
    np.testing.assert_array_equal(before.buy_limit, pool().buy_limit)
    np.testing.assert_array_equal(before.trades.power_kw, pool().trades.power_kw)
