"""Prices of the trades between peers."""

import sys
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.schema import PricingName
from market.costs import StepPrices
from market.matching import Trades
from market.plugins import allow
from market.price_checks import checked_prices
from market.pricing import RULES, TradePrices, is_nodal, make_pricing
from tests.market.priced_pools import PRICES, one_trade, pools

rules = pytest.mark.parametrize("rule", RULES)


def priced(rule, pool):
    """Prices of the only trade: paid, received, kept."""
    prices = make_pricing(rule).trade_prices(pool)
    return prices.paid[0], prices.received[0], prices.kept[0]


def test_every_configured_rule_exists_and_one_is_nodal():
    assert set(RULES) == set(get_args(PricingName))
    assert [name for name in RULES if is_nodal(make_pricing(name))] == ["dlmp"]


# --- each rule by hand ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "across", "paid", "received"),
    [
        ("uniform", False, 0.15, 0.15),
        ("uniform", True, 0.16, 0.15),  # the buyer's network at 0.17, less the fee across
        ("dlmp", False, 0.15, 0.15),
        ("dlmp", True, 0.16, 0.15),
        ("mid_market_rate", False, 0.18, 0.18),
        ("mid_market_rate", True, 0.18, 0.18),
        # Half the demand is met: 0.21 * 0.11 / (0.10 * 0.5 + 0.11), and 0.20 across.
        ("supply_demand_ratio", False, 0.144375, 0.144375),
        ("supply_demand_ratio", True, 0.2 * 0.11 / 0.155, 0.2 * 0.11 / 0.155),
        ("pay_as_bid", False, 0.16, 0.16),
        ("pay_as_bid", True, 0.155, 0.155),
    ],
)
def test_a_trade_by_hand(rule, across, paid, received):
    assert priced(rule, one_trade(across=across)) == pytest.approx(
        (paid, received, paid - received)
    )


@rules
@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"sell": 0.20, "buy": 0.25}, (0.20, 0.21)),
        ({"sell": 0.05, "buy": 0.12}, (0.05, 0.08)),
        ({"sell": 0.05, "floor": 0.19}, (0.19, 0.21)),
        ({"sell": 0.05, "cap": 0.08}, (0.05, 0.08)),
    ],
)
def test_limits_floor_and_cap_bound_every_rule(rule, limits, expected):
    paid, received, kept = priced(rule, one_trade(**limits))
    assert expected[0] - 1e-12 <= received == paid <= expected[1] + 1e-12
    assert kept == 0


def test_an_exchange_limit_leaves_a_rent_and_a_solver_none():
    assert priced("uniform", one_trade(across=True, pool_price=(0.12, 0.19)))[2] == pytest.approx(
        0.06
    )
    # Duals of an unlimited exchange that differ by a little less than the fee.
    assert priced("uniform", one_trade(across=True, pool_price=(0.15, 0.16 - 1e-7)))[2] == 0


def test_duals_a_little_beyond_the_limits_are_clipped():
    assert priced("uniform", one_trade(sell=0.15, pool_price=(0.15 - 1e-7,)))[0] == 0.15
    high = one_trade(buy=0.19, pool_price=(0.15 + 1e-7,))
    assert priced("uniform", high)[0] == pytest.approx(0.15, abs=1e-12)


@pytest.mark.parametrize(("exports", "expected"), [(1e-9, 0.21), (4.0, 0.11), (40.0, 0.11)])
def test_scarcity_moves_the_price_between_the_suppliers(exports, expected):
    pool = one_trade(sell=0.0, exports=exports)
    assert priced("supply_demand_ratio", pool)[0] == pytest.approx(expected)


@pytest.mark.parametrize("exports", np.linspace(0.1, 4, 5))
def test_buyers_pay_on_average_what_the_paper_says(exports):
    """Eq. of the paper: their buying price is a mean, with what the supplier delivers."""
    ratio = exports / 4
    selling = priced("supply_demand_ratio", one_trade(exports=exports))[0]
    paper = 0.21 * 0.11 / ((0.21 - 0.11) * ratio + 0.11)
    assert selling == pytest.approx(paper)
    peers, supplier = exports * selling, (4 - exports) * 0.21
    assert (peers + supplier) / 4 == pytest.approx(paper * ratio + 0.21 * (1 - ratio))


@pytest.mark.parametrize("feed_in", [-0.02, 0.0, 0.5])
def test_the_ratio_needs_prices_it_can_divide(feed_in):
    pool = one_trade(sell=-1.0, prices=replace(PRICES, feed_in=feed_in))
    assert priced("supply_demand_ratio", pool)[0] == pytest.approx(min(feed_in, 0.21))


def test_the_ratio_within_is_that_of_the_network():
    """Another network and its demand do not matter."""
    pool = one_trade()
    pool = replace(
        pool,
        network_of=np.array([0, 0, 1]),
        imports_kw=np.append(pool.imports_kw, 100.0),
        exports_kw=np.append(pool.exports_kw, 0.0),
        pool_price=np.array([0.15, 0.17]),
    )
    assert priced("supply_demand_ratio", pool)[0] == pytest.approx(0.144375)


@rules
def test_no_trades_no_prices(rule):
    none = np.zeros(0)
    trades = Trades(none.astype(int), none.astype(int), none, none.astype(bool))
    pool = replace(one_trade(), trades=trades, fee=none, pool_price=np.array([np.nan]))
    prices = checked_prices(make_pricing(rule), pool, step=0, hours=1.0, peer_id="ab")
    assert prices.paid.shape == prices.received.shape == prices.kept.shape == (0,)


# --- what holds for every rule ----------------------------------------------------------------


@rules
@given(pools())
def test_money_balances_and_suits_both_sides(rule, pool):
    prices = make_pricing(rule).trade_prices(pool)
    np.testing.assert_allclose(prices.paid, prices.received + prices.kept, rtol=0, atol=1e-15)
    seller, buyer = pool.trades.seller, pool.trades.buyer
    assert (prices.received >= pool.sell_limit[seller] - 1e-12).all()
    assert (prices.paid + pool.fee <= pool.buy_limit[buyer] + 1e-12).all()
    for price in (prices.paid, prices.received):
        assert (price >= pool.floor - 1e-12).all()
        assert (price <= pool.cap + 1e-12).all()
    assert (prices.kept >= 0).all()
    if not rule.startswith(("dlmp", "uniform")):
        assert (prices.kept == 0).all()
    checked_prices(make_pricing(rule), pool, step=0, hours=1.0, peer_id=["x"] * 12)


@rules
@given(pools(), st.randoms(use_true_random=False))
def test_the_order_of_the_peers_changes_no_price(rule, pool, random):
    n = len(pool.sell_limit)
    order = np.array(random.sample(range(n), n))
    place = np.argsort(order)
    shuffled = replace(
        pool,
        trades=replace(
            pool.trades, seller=place[pool.trades.seller], buyer=place[pool.trades.buyer]
        ),
        sell_limit=pool.sell_limit[order],
        buy_limit=pool.buy_limit[order],
        imports_kw=pool.imports_kw[order],
        exports_kw=pool.exports_kw[order],
        network_of=pool.network_of[order],
    )
    one, other = (make_pricing(rule).trade_prices(each) for each in (pool, shuffled))
    np.testing.assert_allclose(one.paid, other.paid, rtol=1e-12)
    np.testing.assert_allclose(one.received, other.received, rtol=1e-12)


@pytest.mark.parametrize("rule", ["uniform", "dlmp"])
@given(pools())
def test_trades_of_a_network_have_one_price_where_no_limit_binds(rule, pool):
    prices = make_pricing(rule).trade_prices(pool)
    home = pool.network_of[pool.trades.seller]
    free = (prices.received > pool.lowest) & (prices.received < pool.highest)
    np.testing.assert_array_equal(prices.received[free], pool.pool_price[home[free]])


# --- rules of the user's own ------------------------------------------------------------------

OWN = """
from market.pricing import TradePrices


class Halves:
    nodal = True

    def trade_prices(self, pool):
        price = (pool.lowest + pool.highest) / 2
        return TradePrices(price, price, 0 * price)


class NeedsMore:
    def __init__(self, share):
        self.share = share

    def trade_prices(self, pool):
        return None


class OddFlag:
    nodal = "yes"

    def trade_prices(self, pool):
        return None


class NoRule:
    pass
"""


@pytest.fixture
def own(tmp_path):
    file = tmp_path / "own_pricing_rules.py"
    file.write_text(OWN, encoding="utf-8")
    allow([str(file)])
    yield "own_pricing_rules"
    allow([])
    sys.modules.pop("own_pricing_rules", None)


def test_a_rule_of_the_users_own(own):
    rule = make_pricing(f"{own}:Halves")
    assert is_nodal(rule)
    assert isinstance(rule.trade_prices(one_trade()), TradePrices)
    assert rule.trade_prices(one_trade()).paid == pytest.approx([0.16])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("NeedsMore", "not usable: TypeError: .*share"),
        ("OddFlag", "nodal must be a bool, got 'yes'"),
        ("NoRule", "lacks the methods trade_prices"),
        ("Nobody", "has no class Nobody"),
    ],
)
def test_rules_that_cannot_be_used(own, name, message):
    with pytest.raises(ValueError, match=f"^{own}:{name}: .*{message}"):
        make_pricing(f"{own}:{name}")


def test_a_rule_that_was_not_allowed():
    with pytest.raises(ValueError, match="--allow-plugins somebody"):
        make_pricing("somebody.rules:Greedy")


def test_negative_tariffs_have_prices_too():
    prices = StepPrices(-0.05, -0.1, 0.0, 0.0, -0.2, fee_within=0.0, fee_across=0.0, spot=0.03)
    pool = one_trade(sell=-0.1, buy=-0.05, prices=prices, pool_price=(-0.07,))
    for rule in RULES:
        paid, received, _ = priced(rule, pool)
        assert -0.1 <= received == paid <= -0.05
