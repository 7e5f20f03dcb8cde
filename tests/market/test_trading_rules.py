"""Who may trade, the price band, and exchange limits: in the book and in the clearing."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from market.clearing import MarketClearing
from market.trading_rules import (
    apply_trading_rules,
    exchange_limits,
    largest_fee,
    owns_supply,
    price_band,
)
from tests.market.builders import (
    FEE,
    FEED_IN,
    RETAIL,
    Cleared,
    Peer,
    battery,
    flexible,
    make_book,
    make_operators,
    make_roster,
    make_tariff,
    settings,
    unit,
)

ACROSS = 0.01
PEERS = {
    "sun": Peer(load=1.0, pv=10.0),
    "dear sun": Peer(load=1.0, pv=10.0, sell=0.16),
    "home": Peer(load=3.0),
    "thrifty": Peer(load=3.0, buy=0.20),
    "shifter": Peer(load=1.0, flexible=flexible([2.0])),
    "cell": Peer(load=1.0, battery=battery(), network="B"),
    "unit": Peer(load=1.0, unit=unit(), network="B"),
    "far": Peer(load=3.0, network="B"),
}
ROSTER = make_roster(PEERS)
TARIFF = make_tariff()


def ruled(peers=PEERS, tariff=TARIFF, **options):
    roster = make_roster(peers, len(tariff.retail))
    return apply_trading_rules(make_book(peers, tariff, roster), settings(**options), roster)


def left_out(book, peers=PEERS):
    """Who may not buy and who may not sell in the first step."""
    names = np.array(list(peers))
    return set(names[~book.may_buy[0]]), set(names[~book.may_sell[0]])


def clear(peers, market, tariff=TARIFF):
    """Clear one window under the trading rules."""
    roster = make_roster(peers, len(tariff.retail))
    operators = tuple(make_operators(peers, {}, {}, len(tariff.retail)))
    book = apply_trading_rules(make_book(peers, tariff, roster), market, roster)
    return Cleared(
        MarketClearing(roster, market, operators).clear(0, book, tariff), roster, book, operators
    )


# --- the book ---------------------------------------------------------------------------------


def test_by_default_the_book_stays_what_it_is():
    before, after = make_book(PEERS, TARIFF, ROSTER), ruled()
    for field in fields(before):
        np.testing.assert_array_equal(getattr(after, field.name), getattr(before, field.name))


def test_consumers_own_neither_generation_nor_storage():
    owners = [name for name, owns in zip(PEERS, owns_supply(ROSTER), strict=True) if owns]
    assert owners == ["sun", "dear sun", "cell", "unit"]
    consumers = {"home", "thrifty", "shifter", "far"}
    assert left_out(ruled(traders="prosumers")) == (consumers, consumers)


@pytest.mark.parametrize(
    ("band", "no_buyers", "no_sellers"),
    [
        ({"price_cap_eur_per_kwh": 0.15}, set(), {"dear sun"}),
        ({"price_cap_eur_per_kwh": 0.16}, set(), set()),
        ({"price_cap_eur_per_kwh": 0.09}, set(), set(PEERS)),
        # A buyer has to be able to pay the fees of 8 ct too.
        ({"price_floor_eur_per_kwh": 0.119}, set(), set()),
        ({"price_floor_eur_per_kwh": 0.121}, {"thrifty"}, set()),
        ({"price_floor_eur_per_kwh": 0.18}, set(PEERS), set()),
        (
            {"price_floor_eur_per_kwh": 0.13, "price_cap_eur_per_kwh": 0.15},
            {"thrifty"},
            {"dear sun"},
        ),
    ],
)
def test_who_does_not_fit_the_band_is_left_out(band, no_buyers, no_sellers):
    book = ruled(**band)
    assert left_out(book) == (no_buyers, no_sellers)
    plain = make_book(PEERS, TARIFF, ROSTER)
    np.testing.assert_array_equal(book.buy_limit[book.may_buy], plain.buy_limit[book.may_buy])
    np.testing.assert_array_equal(book.sell_limit[book.may_sell], plain.sell_limit[book.may_sell])


def test_the_band_is_applied_step_by_step():
    book = ruled(tariff=make_tariff(3, retail=[0.25, 0.19, 0.30]), price_floor_eur_per_kwh=0.15)
    home = list(PEERS).index("home")
    np.testing.assert_array_equal(book.may_buy[:, home], [True, False, True])


@pytest.mark.parametrize(
    ("coordination", "fee"),
    [("none", FEE), ("within_network", FEE), ("across_networks", FEE + ACROSS)],
)
def test_buyers_can_pay_the_dearest_trade_open_to_them(coordination, fee):
    assert largest_fee(settings(coordination=coordination), ROSTER) == pytest.approx(fee)


def test_there_is_nobody_to_trade_across_with_in_a_single_network():
    roster = make_roster({"a": Peer(), "b": Peer()})
    assert largest_fee(settings(coordination="across_networks"), roster) == FEE


def test_a_band_without_ends_is_infinite():
    assert price_band(settings()) == (-np.inf, np.inf)
    assert price_band(settings(price_floor_eur_per_kwh=0.0, price_cap_eur_per_kwh=0.2)) == (0, 0.2)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(None, [np.inf, np.inf]), (5.0, [5.0, 5.0]), ({"B": 3.0}, [np.inf, 3.0]), ({}, [np.inf] * 2)],
)
def test_exchange_limits_by_network(limit, expected):
    np.testing.assert_array_equal(
        exchange_limits(settings(exchange_limit_kw=limit), ROSTER), expected
    )


# --- the clearing -----------------------------------------------------------------------------


SUN_AND_HOMES = {
    "sun": Peer(pv=10.0),
    "cell": Peer(load=2.0, battery=battery()),
    "home": Peer(load=4.0),
    "shifter": Peer(
        flexible=flexible([3.0], curtailable_share=0.5, willingness_to_pay_eur_per_kwh=0.2)
    ),
}


def test_consumers_buy_from_the_supplier_and_their_load_still_answers_prices():
    c = clear(SUN_AND_HOMES, settings(traders="prosumers"))
    # Of the sun's 10 kW the battery's owner takes 2 kW; flexible load worth less than the retail
    # price is dropped.
    np.testing.assert_allclose(c.bought, [[0.0, 2.0, 0.0, 0.0]], atol=1e-4)
    np.testing.assert_allclose(c.curtailed, [[1.5]], atol=1e-4)
    assert (c.bought[:, [0, 2, 3]] == 0).all()
    cost = 2.0 * FEE - 8.0 * FEED_IN + (4.0 + 1.5) * RETAIL + 1.5 * 0.2
    assert c.result.objective == pytest.approx(cost, abs=1e-5)
    everyone = clear(SUN_AND_HOMES, settings())
    assert everyone.bought.sum() == pytest.approx(10.0 - 1.0, abs=1e-3)


def test_load_of_consumers_is_still_put_off_to_the_cheap_step():
    shifting = flexible([2.0, 2.0], backlog_max_kwh=5.0, served_max_kw=5.0)
    peers = {"shifter": Peer(flexible=shifting), "sun": Peer(pv=[1.0, 1.0])}
    tariff = make_tariff(2, retail=[0.30, 0.20])
    c = clear(peers, settings(traders="prosumers"), tariff)
    assert c.bought.sum() == 0.0
    np.testing.assert_allclose(c.deferred[:, 0], [2.0, -2.0], atol=1e-4)


def test_one_network_may_be_limited_and_the_other_not():
    peers = {
        "sun": Peer(pv=10.0),
        "far": Peer(load=8.0, network="B"),
        "farther": Peer(load=8.0, network="C", buy=0.24),
    }
    free = clear(peers, settings())
    np.testing.assert_allclose(free.exchange, [[10.0, -8.0, -2.0]], atol=1e-4)
    limited = clear(peers, settings(exchange_limit_kw={"B": 3.0}))
    np.testing.assert_allclose(limited.exchange, [[10.0, -3.0, -7.0]], atol=1e-4)


@pytest.mark.parametrize(
    "band",
    [
        {"price_cap_eur_per_kwh": 0.11},
        {"price_floor_eur_per_kwh": 0.16},
        {"price_floor_eur_per_kwh": 0.14, "price_cap_eur_per_kwh": 0.14},
    ],
)
def test_a_band_that_everybody_fits_moves_no_dispatch(band):
    # The unit runs for peers only, and more so the more a trade is worth: a limit price cut to
    # the band would throttle it.
    peers = {"unit": Peer(unit=unit(10.0, 0.05, 0.01)), "home": Peer(load=9.0)}
    free, banded = clear(peers, settings()), clear(peers, settings(**band))
    np.testing.assert_array_equal(banded.dispatchable, free.dispatchable)
    np.testing.assert_array_equal(banded.bought, free.bought)
    assert banded.result.objective == free.result.objective
    # Marginal cost meets retail less the fee.
    assert free.dispatchable[0, 0] == pytest.approx((RETAIL - FEE - 0.05) / 0.02, abs=1e-3)


def test_a_seller_above_the_cap_and_a_buyer_below_the_floor_simply_do_not_trade():
    peers = {
        "sun": Peer(pv=2.0),
        "dear sun": Peer(pv=5.0, sell=0.16),
        "home": Peer(load=4.0),
        "thrifty": Peer(load=4.0, buy=0.20),
    }
    free = clear(peers, settings())
    np.testing.assert_allclose(free.sold, [[2.0, 2.0, 0.0, 0.0]], atol=1e-4)
    capped = clear(peers, settings(price_cap_eur_per_kwh=0.15))
    np.testing.assert_allclose(capped.sold, [[2.0, 0.0, 0.0, 0.0]], atol=1e-4)
    assert capped.sold[0, 1] == 0.0
    # It loses its trades, not its sun: the supplier takes it.
    np.testing.assert_allclose(capped.renewable, [[2.0, 5.0]], atol=1e-4)
    shady = {**peers, "sun": Peer(pv=6.0), "dear sun": Peer(pv=0.0, rated=5.0)}
    np.testing.assert_allclose(clear(shady, settings()).bought, [[0, 0, 4, 2]], atol=1e-4)
    floored = clear(shady, settings(price_floor_eur_per_kwh=0.15))
    np.testing.assert_allclose(floored.bought, [[0, 0, 4, 0]], atol=1e-4)
    assert floored.bought[0, 3] == 0.0


def test_nobody_trades_where_nobody_fits():
    c = clear(SUN_AND_HOMES, settings(price_floor_eur_per_kwh=0.3, price_cap_eur_per_kwh=0.4))
    assert c.bought.sum() == c.sold.sum() == 0.0
    none = clear(SUN_AND_HOMES, settings(coordination="none"))
    assert c.result.objective == pytest.approx(none.result.objective, abs=1e-5)


@pytest.mark.parametrize(("buy", "sell"), [(5.0, None), (None, 0.0), (1e6, 0.0)])
def test_no_limit_price_makes_it_pay_to_buy_from_the_supplier_in_order_to_trade(buy, sell):
    peers = {"sun": Peer(pv=5.0, sell=sell), "home": Peer(load=4.0, buy=buy)}
    c = clear(peers, settings())
    assert c.result.fallback == ""
    np.testing.assert_allclose(c.bought, [[0.0, 4.0]], atol=1e-4)
    cost = 4.0 * FEE - 1.0 * FEED_IN
    assert c.result.objective == pytest.approx(cost, abs=1e-5)


def test_the_shut_out_do_not_trade_even_where_energy_is_given_away():
    peers = {"sun": Peer(pv=5.0, sell=0.0), "eager": Peer(load=4.0, buy=5.0)}
    free = {"network_fee_within_eur_per_kwh": 0.0, "network_fee_across_eur_per_kwh": 0.0}
    assert clear(peers, settings(**free)).bought.sum() == pytest.approx(4.0, abs=1e-4)
    assert clear(peers, settings(**free, traders="prosumers")).bought.sum() == 0.0
    peers["sun"] = replace(peers["sun"], sell=0.05)
    assert clear(peers, settings(**free, price_cap_eur_per_kwh=0.04)).sold.sum() == 0.0


limits = st.sampled_from([0.05, 0.11, 0.13, 0.15, 0.17, 0.21, 0.25, 0.3])
ends = st.none() | limits


@given(
    st.lists(st.tuples(st.sampled_from("AB"), limits, limits), min_size=2, max_size=5),
    st.tuples(ends, ends),
    st.sampled_from([0.0, 0.03, 0.07]),
    st.sampled_from(["within_network", "across_networks"]),
    st.integers(0, 10**6),
)
@hypothesis_settings(max_examples=40)
def test_every_pair_that_may_be_matched_finds_a_price(asked, band, fee, coordination, seed):
    rng = np.random.default_rng(seed)
    floor, cap = band if None in band else sorted(band)
    peers = {
        f"p{k}": Peer(network=network, load=rng.uniform(0, 5), pv=rng.uniform(0, 8), buy=b, sell=s)
        for k, (network, b, s) in enumerate(asked)
    }
    market = settings(
        price_floor_eur_per_kwh=floor,
        price_cap_eur_per_kwh=cap,
        coordination=coordination,
        network_fee_within_eur_per_kwh=fee,
        exchange_limit_kw=float(rng.uniform(0.5, 5)),
    )
    c = clear(peers, market)
    free = make_book(peers, TARIFF, c.roster)
    lowest, highest = price_band(market)
    for s in np.flatnonzero(c.sold[0] > 1e-3):
        for b in np.flatnonzero(c.bought[0] > 1e-3):
            here, there = c.roster.network_of[[s, b]]
            if here == there:
                paid = fee
            elif c.exchange[0, here] > 1e-3 and c.exchange[0, there] < -1e-3:
                paid = fee + ACROSS
            else:
                continue
            asked_for = max(free.sell_limit[0, s], lowest)
            assert asked_for <= min(free.buy_limit[0, b] - paid, highest) + 1e-6
    assert (c.bought[~c.book.may_buy] == 0).all()
    assert (c.sold[~c.book.may_sell] == 0).all()
