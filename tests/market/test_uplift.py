"""Who gets what the DSO is left with."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.matching import Trades
from market.uplift import ITEMS, dso_surplus, uplift_shares
from tests.market.settled_step import Step, received

NO_TRADES = Trades(np.zeros(0, int), np.zeros(0, int), np.zeros(0), np.zeros(0, bool))
ONE_TRADE = Trades(np.array([0]), np.array([2]), np.array([4.0]), np.array([False]))
LOAD = np.array([1.0, 3.0, 0.0])


@pytest.mark.parametrize(
    ("uplift", "trades", "expected"),
    [
        ("load", ONE_TRADE, [0.25, 0.75, 0.0]),
        ("trades", ONE_TRADE, [0.5, 0.0, 0.5]),
        ("trades", NO_TRADES, [0.25, 0.75, 0.0]),
        ("dso", ONE_TRADE, [0.0, 0.0, 0.0]),
    ],
)
def test_shares(uplift, trades, expected):
    np.testing.assert_allclose(uplift_shares(uplift, LOAD, trades), expected)


def test_without_any_load_all_have_the_same_share():
    np.testing.assert_allclose(uplift_shares("load", np.array([0.0, -2.0]), NO_TRADES), [0.5, 0.5])


@given(st.integers(0, 10**6), st.sampled_from(["load", "trades"]))
def test_the_dso_is_left_with_nothing_unless_it_is_asked_for(seed, uplift):
    shared, kept = (
        Step(seed, risk_allocation="causation", uplift=rule) for rule in (uplift, "dso")
    )
    moved = sum(np.abs(amounts).sum() for amounts in shared.ledger.items.values())
    everything = sum(amounts[shared.ledger.dso] for amounts in shared.ledger.items.values())
    assert everything == pytest.approx(0.0, abs=1e-12 * moved)
    before, after = dso_surplus(kept.ledger), dso_surplus(shared.ledger)
    assert before["uplift"] == 0.0
    for source in ("congestion", "loss", "risk"):
        assert after[source] == pytest.approx(before[source], abs=1e-12 * moved)
    peers = sum(shared.ledger.items[item][shared.ledger.peers].sum() for item in ITEMS)
    assert peers == pytest.approx(-after["uplift"], abs=1e-12 * moved)


def test_each_source_has_an_item_of_its_own():
    s = Step(3, uplift="load")
    surplus = dso_surplus(s.ledger)
    for source in ("congestion", "loss", "risk"):
        assert received(s.ledger, "dso", f"uplift_{source}") == pytest.approx(-surplus[source])
