"""Bilateral trades reproduce the cleared quantities, in merit order and within networks first."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.matching import NEGLIGIBLE_KW, merit_order
from tests.market.builders import Peer, make_roster


def roster_of(networks):
    return make_roster({f"p{k}": Peer(network=network) for k, network in enumerate(networks)})


def match(networks, sold, bought, sell=None, buy=None):
    n = len(networks)
    sell = np.full(n, 0.1) if sell is None else np.array(sell)
    buy = np.full(n, 0.3) if buy is None else np.array(buy)
    return merit_order(
        np.array(sold, dtype=float), np.array(bought, dtype=float), sell, buy, roster_of(networks)
    )


def listed(trades):
    rows = zip(trades.seller, trades.buyer, trades.power_kw, trades.across, strict=True)
    return sorted((int(s), int(b), round(float(p), 9), bool(x)) for s, b, p, x in rows)


def test_quantities_are_filled_from_the_front_of_both_queues():
    trades = match("AAAA", [3, 4, 0, 0], [0, 0, 5, 2], sell=[0.2, 0.1, 0, 0], buy=[0, 0, 0.2, 0.3])
    # The cheaper seller meets the buyer that bids most.
    assert listed(trades) == [(0, 2, 3.0, False), (1, 2, 2.0, False), (1, 3, 2.0, False)]


def test_ties_follow_the_order_of_the_roster():
    trades = match("AAAA", [2, 2, 0, 0], [0, 0, 2, 2])
    assert listed(trades) == [(0, 2, 2.0, False), (1, 3, 2.0, False)]


def test_a_network_matches_within_before_it_trades_across():
    # The cheaper seller sits in the other network, which does not matter within.
    trades = match("AAB", [5, 0, 3], [0, 8, 0], sell=[0.2, 0, 0.1])
    assert listed(trades) == [(0, 1, 5.0, False), (2, 1, 3.0, True)]


def test_nothing_to_trade():
    assert listed(match("AB", [0, 0], [0, 0])) == []
    assert listed(match("AB", [1e-7, 0], [0, 1e-7])) == []


def test_the_cleared_quantities_are_left_untouched():
    sold, bought = np.array([2.0, 0.0]), np.array([0.0, 2.0])
    merit_order(sold, bought, np.zeros(2), np.ones(2), roster_of("AA"))
    assert sold.tolist() == [2.0, 0.0]
    assert bought.tolist() == [0.0, 2.0]


quantity = st.one_of(st.just(0.0), st.floats(0.0, 1e-5), st.floats(1e-3, 500.0))
peer = st.tuples(st.sampled_from("ABC"), quantity, quantity, st.sampled_from([0.1, 0.15, 0.2]))


@st.composite
def pools(draw):
    """Cleared sales and purchases with equal sums; some peers do both."""
    networks, sold, bought, price = zip(*draw(st.lists(peer, min_size=1, max_size=9)), strict=True)
    sold, bought = np.array(sold), np.array(bought)
    if sold.sum() <= 1e-3 or bought.sum() <= 1e-3:
        sold, bought = np.zeros_like(sold), np.zeros_like(bought)
    elif sold.sum() < bought.sum():
        bought *= sold.sum() / bought.sum()
    else:
        sold *= bought.sum() / sold.sum()
    return networks, sold, bought, np.array(price)


@given(pools())
def test_every_peers_cleared_quantities_are_reproduced(pool):
    networks, sold, bought, price = pool
    trades = match(networks, sold, bought, sell=price, buy=price + 0.1)
    n = len(networks)
    assert (trades.power_kw > 0).all()
    by_seller = np.bincount(trades.seller, trades.power_kw, minlength=n)
    by_buyer = np.bincount(trades.buyer, trades.power_kw, minlength=n)
    # Remainders too small to match may meet at one peer.
    tolerance = n * NEGLIGIBLE_KW
    np.testing.assert_allclose(by_seller, sold, atol=tolerance)
    np.testing.assert_allclose(by_buyer, bought, atol=tolerance)


@given(pools())
def test_only_what_a_network_has_left_crosses_networks(pool):
    networks, sold, bought, price = pool
    trades = match(networks, sold, bought, sell=price, buy=price + 0.1)
    place = np.unique(networks, return_inverse=True)[1]
    np.testing.assert_array_equal(trades.across, place[trades.seller] != place[trades.buyer])
    net = np.bincount(place, sold - bought)
    sent = np.bincount(place[trades.seller], trades.power_kw * trades.across, minlength=len(net))
    got = np.bincount(place[trades.buyer], trades.power_kw * trades.across, minlength=len(net))
    np.testing.assert_allclose(sent, np.maximum(net, 0), atol=2e-6 * len(networks))
    np.testing.assert_allclose(got, np.maximum(-net, 0), atol=2e-6 * len(networks))


@pytest.mark.parametrize("seed", range(3))
def test_cheaper_sellers_never_stand_behind_dearer_ones(seed):
    rng = np.random.default_rng(seed)
    sold, bought = (
        np.r_[rng.uniform(1, 5, 5), np.zeros(5)],
        np.r_[np.zeros(5), rng.uniform(1, 5, 5)],
    )
    bought *= sold.sum() / bought.sum()
    sell, buy = rng.uniform(0.1, 0.2, 10), rng.uniform(0.2, 0.3, 10)
    trades = match("A" * 10, sold, bought, sell=sell, buy=buy)
    in_order = np.lexsort((sell[trades.seller], -buy[trades.buyer]))
    assert (np.diff(sell[trades.seller][in_order]) >= 0).all()
