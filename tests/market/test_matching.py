"""From pool results to bilateral trades."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.schema import Matching
from market.matching import MATCHING, Orders

rules = pytest.mark.parametrize("rule", MATCHING)


def orders(networks, sold, bought, *, sell=0.1, buy=0.3, distance=None):
    """Orders of peers whose networks are letters; without distances all pairs are equally far."""
    n = len(networks)
    return Orders(
        np.array(sold, float),
        np.array(bought, float),
        np.broadcast_to(np.array(sell, float), n),
        np.broadcast_to(np.array(buy, float), n),
        np.array([ord(letter) - ord("A") for letter in networks]),
        np.ones((n, n)) if distance is None else np.array(distance, float),
    )


def matrix(rule, placed):
    """Power from every peer to every other. [kW]"""
    trades = MATCHING[rule](placed)
    assert len(set(zip(trades.seller, trades.buyer, strict=True))) == len(trades.seller)
    assert (trades.power_kw > 0).all()
    home, away = placed.network_of[trades.seller], placed.network_of[trades.buyer]
    np.testing.assert_array_equal(trades.across, home != away)
    out = np.zeros_like(placed.distance)
    out[trades.seller, trades.buyer] = trades.power_kw
    return out


def test_every_configured_rule_exists():
    assert set(MATCHING) == set(get_args(Matching))


# --- what holds for every rule ----------------------------------------------------------------

power = st.one_of(st.sampled_from([1.0, 2.0, 3.0]), st.floats(1e-7, 1e3))
few_prices = st.sampled_from([0.10, 0.11, 0.15])


@st.composite
def drawn_orders(draw, *, within=False):
    """Up to ten peers with ties in prices, quantities and distances; balanced in their pools."""
    n_networks = draw(st.integers(1, 3))
    n = draw(st.integers(0, 10))
    network_of = np.array(draw(st.lists(st.integers(0, n_networks - 1), min_size=n, max_size=n)))
    role = np.array(draw(st.lists(st.sampled_from([-1, 0, 1]), min_size=n, max_size=n)))
    quantity = np.array(draw(st.lists(power, min_size=n, max_size=n)))
    sold, bought = np.where(role > 0, quantity, 0.0), np.where(role < 0, quantity, 0.0)
    for pool in [network_of == d for d in range(n_networks)] if within else [slice(None)]:
        total = min(sold[pool].sum(), bought[pool].sum())
        for side in (sold, bought):
            whole = side[pool].sum()
            side[pool] = side[pool] * (total / whole) if total else 0.0
    distance = np.array(
        draw(st.lists(st.sampled_from([0.0, 1.0, 2.0, 2.5]), min_size=n * n, max_size=n * n))
    ).reshape(n, n)
    prices = [np.array(draw(st.lists(few_prices, min_size=n, max_size=n))) for _ in range(2)]
    return Orders(
        sold,
        bought,
        prices[0],
        prices[1] + 0.2,
        network_of.astype(int),
        np.minimum(distance, distance.T),
    )


@rules
@given(drawn_orders())
def test_cleared_quantities_are_reproduced(rule, placed):
    traded = matrix(rule, placed)
    np.testing.assert_allclose(traded.sum(axis=1), placed.sold_kw, rtol=0, atol=1e-9)
    np.testing.assert_allclose(traded.sum(axis=0), placed.bought_kw, rtol=0, atol=1e-9)


@rules
@given(drawn_orders())
def test_a_network_matches_within_itself_what_it_can(rule, placed):
    traded = matrix(rule, placed)
    for d in range(3):
        own = placed.network_of == d
        most = min(placed.sold_kw[own].sum(), placed.bought_kw[own].sum())
        assert traded[np.ix_(own, own)].sum() == pytest.approx(most, rel=0, abs=1e-9)


@rules
@given(drawn_orders(within=True))
def test_rounding_errors_are_not_traded_across_networks(rule, placed):
    assert not MATCHING[rule](placed).across.any()


@rules
def test_rounding_errors_of_large_sums_are_not_traded_either(rule):
    # In floating point 0.1 + 0.2 is more than 0.3: A could sell, and B buy, a little more.
    sold, bought = [0.1, 0.2, 0, 0.3, 0, 0], [0, 0, 0.3, 0, 0.1, 0.2]
    placed = orders("AAABBB", np.multiply(sold, 2**20), np.multiply(bought, 2**20))
    assert placed.sold_kw[:2].sum() > placed.bought_kw[2]
    assert not MATCHING[rule](placed).across.any()


@rules
@given(drawn_orders(), st.randoms(use_true_random=False))
def test_the_order_of_the_peers_changes_nothing(rule, placed, random):
    order = list(range(len(placed.sold_kw)))
    random.shuffle(order)
    label = {d: place for place, d in enumerate(random.sample(range(3), 3))}
    other = Orders(
        placed.sold_kw[order],
        placed.bought_kw[order],
        placed.sell_limit[order],
        placed.buy_limit[order],
        np.array([label[d] for d in placed.network_of[order].tolist()], dtype=int),
        placed.distance[np.ix_(order, order)],
    )
    expected = matrix(rule, placed)[np.ix_(order, order)]
    np.testing.assert_allclose(matrix(rule, other), expected, rtol=0, atol=1e-9)


@rules
@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e6])
def test_quantities_of_any_size(rule, scale):
    rng = np.random.default_rng(1)
    sold = np.append(rng.uniform(0, 1, 40), np.zeros(40)) * scale
    bought = np.append(np.zeros(40), rng.uniform(0, 1, 40)) * scale
    bought *= sold.sum() / bought.sum()
    distance = rng.uniform(0, 1, (80, 80))
    networks = rng.choice(list("ABC"), 80)
    prices = {"sell": rng.uniform(0, 0.1, 80), "buy": rng.choice([0.2, 0.3], 80)}
    traded = matrix(rule, orders(networks, sold, bought, distance=distance, **prices))
    np.testing.assert_allclose(traded.sum(axis=1), sold, rtol=1e-12, atol=1e-10)
    np.testing.assert_allclose(traded.sum(axis=0), bought, rtol=1e-12, atol=1e-10)


@rules
def test_the_orders_are_left_as_they_are(rule):
    placed = orders("AAB", [3, 0, 0], [0, 1, 2])
    MATCHING[rule](placed)
    np.testing.assert_array_equal(placed.sold_kw, [3, 0, 0])
    np.testing.assert_array_equal(placed.bought_kw, [0, 1, 2])
    np.testing.assert_array_equal(placed.distance, np.ones((3, 3)))


# --- each rule by hand ------------------------------------------------------------------------


def test_proportional_spreads_every_sale_over_all_purchases():
    traded = matrix("proportional", orders("AAAA", [3, 1, 0, 0], [0, 0, 2, 2]))
    np.testing.assert_allclose(traded[:2, 2:], [[1.5, 1.5], [0.5, 0.5]])


def test_proportional_sellers_sell_the_same_share_across():
    # A sells 8, of which its own peer takes 2: a quarter of every seller's; B takes the rest.
    traded = matrix("proportional", orders("AAABB", [6, 2, 0, 0, 0], [0, 0, 2, 4, 2]))
    np.testing.assert_allclose(traded[:2, 2:], [[1.5, 3.0, 1.5], [0.5, 1.0, 0.5]])


def test_the_closest_pair_trades_first():
    distance = np.array([[0, 0, 3, 1], [0, 0, 2, 4], [3, 2, 0, 0], [1, 4, 0, 0]])
    traded = matrix(
        "electrical_distance", orders("AAAA", [3, 2, 0, 0], [0, 0, 4, 1], distance=distance)
    )
    # 0 to 3 over 1 ohm, then 1 to 2 over 2 ohm, then what is left of 0 to 2.
    np.testing.assert_allclose(traded[:2, 2:], [[2, 1], [2, 0]])


def test_pairs_at_the_same_distance_share():
    traded = matrix("electrical_distance", orders("AAA", [3, 1, 0], [0, 0, 4]))
    np.testing.assert_allclose(traded[:2, 2], [3, 1])
    far = np.array([[0, 0, 1, 9], [0, 0, 1, 9], [1, 1, 0, 0], [9, 9, 0, 0]])
    traded = matrix("electrical_distance", orders("AAAA", [3, 1, 0, 0], [0, 0, 2, 2], distance=far))
    np.testing.assert_allclose(traded[:2, 2:], [[1.5, 1.5], [0.5, 0.5]])


def test_the_far_seller_sells_across():
    distance = np.array([[0, 0, 1, 5], [0, 0, 2, 4], [1, 2, 0, 0], [5, 4, 0, 0]])
    placed = orders("AAAB", [2, 2, 0, 0], [0, 0, 2, 2], distance=distance)
    np.testing.assert_allclose(matrix("electrical_distance", placed)[:2, 2:], [[2, 0], [0, 2]])


@given(drawn_orders(), st.randoms(use_true_random=False))
def test_greedy_over_distinct_distances(placed, random):
    n = len(placed.sold_kw)
    distance = np.array(random.sample(range(n * n), n * n), float).reshape(n, n)
    placed = replace(placed, distance=distance, network_of=np.zeros(n, int))
    sold, bought, expected = placed.sold_kw.copy(), placed.bought_kw.copy(), np.zeros((n, n))
    for flat in np.argsort(distance, axis=None):
        i, j = divmod(int(flat), n)
        expected[i, j] = min(sold[i], bought[j])
        sold[i], bought[j] = sold[i] - expected[i, j], bought[j] - expected[i, j]
    traded = matrix("electrical_distance", placed)
    np.testing.assert_allclose(traded, expected, rtol=0, atol=1e-9)


def test_cheap_sellers_meet_dear_buyers():
    placed = orders(
        "AAAA",
        [2, 3, 0, 0],
        [0, 0, 1, 4],
        sell=[0.10, 0.12, 0, 0],
        buy=[0, 0, 0.30, 0.25],
    )
    np.testing.assert_allclose(matrix("merit_order", placed)[:2, 2:], [[1, 1], [0, 3]])


def test_a_tied_level_shares_what_it_meets():
    # The two cheap sellers share the buyer who bids most, 3 to 1.
    placed = orders(
        "AAAA",
        [3, 1, 0, 0],
        [0, 0, 2, 2],
        buy=[0, 0, 0.30, 0.25],
    )
    np.testing.assert_allclose(matrix("merit_order", placed)[:2, 2:], [[1.5, 1.5], [0.5, 0.5]])


def test_the_dearest_seller_sells_across():
    placed = orders("AAAB", [2, 2, 0, 0], [0, 0, 2, 2], sell=[0.12, 0.10, 0, 0])
    np.testing.assert_allclose(matrix("merit_order", placed)[:2, 2:], [[0, 2], [2, 0]])


@given(drawn_orders())
def test_cheaper_sellers_never_stand_behind_dearer_ones(placed):
    placed = replace(placed, network_of=np.zeros_like(placed.network_of))
    trades = MATCHING["merit_order"](placed)
    sell, buy = placed.sell_limit[trades.seller], placed.buy_limit[trades.buyer]
    swapped = (sell[:, None] < sell) & (buy[:, None] < buy)
    # A cheaper seller with a lower-bidding buyer than a dearer seller's: rounding errors at most.
    smaller = np.minimum(trades.power_kw[:, None], trades.power_kw)
    assert smaller[swapped].max(initial=0.0) <= 1e-9


def test_one_price_level_makes_a_short_ledger():
    rng = np.random.default_rng(4)
    sold, bought = np.append(rng.uniform(1, 9, 30), np.zeros(20)), np.zeros(50)
    bought[30:] = sold.sum() / 20
    distance = rng.uniform(0, 9, (50, 50))
    placed = orders("A" * 50, sold, bought, distance=distance)
    assert len(MATCHING["merit_order"](placed).power_kw) <= 49
    np.testing.assert_array_equal(
        matrix("merit_order", placed), matrix("electrical_distance", placed)
    )


@rules
def test_limit_prices_that_exclude_each_other_are_still_matched(rule):
    traded = matrix(rule, orders("AA", [2, 0], [0, 2], sell=0.4, buy=0.3))
    np.testing.assert_array_equal(traded, [[0, 2], [0, 0]])
