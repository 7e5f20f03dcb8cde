"""Trades that no price suits are taken back."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.schedule import Schedule
from market.worthwhile import keep_worthwhile
from tests.market.builders import settings

FEES = {"network_fee_within_eur_per_kwh": 0.05, "network_fee_across_eur_per_kwh": 0.02}


def kept(networks, sold, bought, asked, offered, *, coordination="across_networks"):
    """Sales, purchases and exchange afterwards, in one step."""
    roster = SimpleNamespace(network_of=np.array([ord(letter) - ord("A") for letter in networks]))
    book = SimpleNamespace(
        sell_limit=np.array([asked], float), buy_limit=np.array([offered], float) + 0.05
    )
    sold, bought = np.array([sold], float), np.array([bought], float)
    exchange = np.zeros((1, roster.network_of.max() + 1))
    if coordination == "across_networks":
        np.add.at(exchange[0], roster.network_of, (sold - bought)[0])
    fields = dict.fromkeys(Schedule.__dataclass_fields__, np.zeros((1, 0)))
    before = Schedule(**fields | {"sold": sold, "bought": bought, "exchange": exchange})
    after = keep_worthwhile(before, book, settings(coordination=coordination, **FEES), roster)
    np.testing.assert_array_equal(before.sold, sold)
    return after.sold[0], after.bought[0], after.exchange[0]


def test_worthwhile_trades_stay():
    sold, bought, exchange = kept("AAB", [3, 0, 0], [0, 1, 2], [0.1, 9, 9], [0, 0.1, 0.12])
    np.testing.assert_array_equal(sold, [3, 0, 0])
    np.testing.assert_array_equal(bought, [0, 1, 2])
    np.testing.assert_array_equal(exchange, [2, -2])


def test_a_seller_too_dear_and_the_lowest_offer_part():
    # The second seller asks more than the second buyer offers, less than the first one does.
    sold, bought, _ = kept(
        "AAAA", [2, 1, 0, 0], [0, 0, 2.5, 0.5], [0.10, 0.13, 9, 9], [0, 0, 0.14, 0.12]
    )
    np.testing.assert_allclose(sold, [2, 0.5, 0, 0])
    np.testing.assert_allclose(bought, [0, 0, 2.5, 0])


def test_sellers_of_one_price_part_in_proportion():
    sold, bought, _ = kept(
        "AAAA", [2, 1, 0, 0], [0, 0, 1.5, 1.5], [0.13, 0.13, 9, 9], [0, 0, 0.14, 0.12]
    )
    np.testing.assert_allclose(sold, [1, 0.5, 0, 0])
    np.testing.assert_allclose(bought, [0, 0, 1.5, 0])


def test_across_networks_the_fee_across_counts():
    # Worth it within A, and in B only with the fee of a trade within.
    placed = ("AAB", [3, 0, 0], [0, 1, 2], [0.1, 9, 9], [0, 0.11, 0.11])
    sold, bought, exchange = kept(*placed)
    np.testing.assert_allclose(sold, [1, 0, 0])
    np.testing.assert_allclose(bought, [0, 1, 0])
    np.testing.assert_allclose(exchange, [0, 0])


def test_a_networks_own_trades_survive_the_end_of_its_exchange():
    # The importer's own seller is dear too, but not too dear for its own buyer.
    sold, bought, _ = kept("ABB", [1, 2, 0], [0, 0, 3], [0.115, 0.12, 9], [0, 0, 0.13])
    np.testing.assert_allclose(sold, [0, 2, 0])
    np.testing.assert_allclose(bought, [0, 0, 2])


def test_no_more_is_undone_than_was_exchanged():
    sold, bought, exchange = kept(
        "AABB", [3, 0, 1, 0], [0, 1, 0, 3], [0.1, 9, 0.1, 9], [0, 0.11, 0, 0.11]
    )
    np.testing.assert_allclose(sold, [1, 0, 1, 0])
    np.testing.assert_allclose(bought, [0, 1, 0, 1])
    np.testing.assert_allclose(exchange, [0, 0], atol=1e-15)


@pytest.mark.parametrize("coordination", ["within_network", "none"])
def test_without_coordination_nothing_is_exchanged(coordination):
    _, _, exchange = kept(
        "AABB", [1, 0, 0, 0], [0, 1, 0, 0], [0.2] * 4, [0.1] * 4, coordination=coordination
    )
    np.testing.assert_array_equal(exchange, [0, 0])


@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(2, 10))
def test_any_seller_may_meet_any_buyer_afterwards(seed, n_networks, n):
    rng = np.random.default_rng(seed)
    network_of = rng.integers(0, n_networks, n)
    networks = [chr(ord("A") + d) for d in network_of]
    selling = rng.random(n) < 0.5
    sold, bought = (np.where(side, rng.uniform(0, 9, n), 0.0) for side in (selling, ~selling))
    total = min(sold.sum(), bought.sum())
    sold, bought = (side * (total / side.sum()) if total else 0 * side for side in (sold, bought))
    asked, offered = rng.choice([0.10, 0.12, 0.14], n), rng.choice([0.11, 0.13, 0.15], n)
    s, b, exchange = kept(networks, sold, bought, asked, offered)
    assert (s >= 0).all()
    assert (b >= 0).all()
    assert (s <= sold).all()
    assert (b <= bought).all()
    assert s.sum() == pytest.approx(b.sum(), abs=1e-9)
    for i in np.flatnonzero(s > 1e-9):
        for j in np.flatnonzero(b > 1e-9):
            if network_of[i] == network_of[j]:
                assert asked[i] <= offered[j] + 1e-12
            elif exchange[network_of[i]] > 1e-9 and exchange[network_of[j]] < -1e-9:
                assert asked[i] + 0.02 <= offered[j] + 1e-12
    # Nothing that was worth its fee to everybody has been taken back.
    if (asked[sold > 0].max(initial=0) + 0.02 <= offered[bought > 0].min(initial=9)).all():
        np.testing.assert_array_equal(s, sold)
        np.testing.assert_array_equal(b, bought)
