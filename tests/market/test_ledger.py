"""The book nets an item per account, and whatever is paid is received."""

import numpy as np
import pytest

from market.ledger import Ledger


@pytest.fixture
def ledger():
    return Ledger(["a", "b"], ["west", "east"])


def test_every_account_has_its_place(ledger):
    places = [*ledger.peers, *ledger.operators, ledger.dso, ledger.supplier, ledger.resources]
    assert [ledger.accounts[k] for k in places] == [
        "a",
        "b",
        "operator:west",
        "operator:east",
        "dso",
        "supplier",
        "resources",
    ]


def test_an_item_is_netted_per_account(ledger):
    ledger.pay(0, 1, "x", np.array(2.0))
    ledger.pay(1, 0, "x", np.array(0.5))
    ledger.pay(0, 1, "y", np.array(0.0))
    ledger.pay(ledger.peers, ledger.dso, "z", np.array([1.0, -3.0]))
    assert ledger.entries == {
        ("a", "x"): -1.5,
        ("b", "x"): 1.5,
        ("a", "z"): -1.0,
        ("b", "z"): 3.0,
        ("dso", "z"): -2.0,
    }


def test_an_account_may_pay_and_be_paid_many_times_at_once(ledger):
    ledger.pay(np.array([0, 0, 1]), np.array([1, 3, 0]), "x", np.array([1.0, 2.0, 5.0]))
    assert ledger.entries == {("a", "x"): 2.0, ("b", "x"): -4.0, ("operator:east", "x"): 2.0}
