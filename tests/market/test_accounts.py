"""Accounts that do not close are refused, by step and account."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.accounts import RECONCILED, AccountsError, check
from market.costs import COMPONENTS
from tests.market.settled_step import Step


@given(st.integers(0, 10**6))
def test_settled_steps_pass(seed):
    step = Step(seed)
    check(step.ledger, step.cost, step=seed)


@pytest.mark.parametrize("item", sorted(Step(1).ledger.items))
@pytest.mark.parametrize("missing", [3e-9, 1.0, np.nan, np.inf])
def test_what_one_account_pays_too_much_is_refused(item, missing):
    step = Step(1)
    step.ledger.items[item][step.ledger.supplier] += missing
    with pytest.raises(AccountsError, match=rf"^step 7: (?=.*\b{item}\b).*EUR") as refused:
        check(step.ledger, step.cost, step=7)
    assert any(account in str(refused.value) for account in step.ledger.accounts)


def test_errors_that_cancel_between_items_are_refused():
    step = Step(1)
    step.ledger.items["fuel"][0] += 1e-6
    step.ledger.items["wear"][0] -= 1e-6
    with pytest.raises(AccountsError, match="account"):
        check(step.ledger, step.cost, step=7)


def test_rounding_errors_pass():
    step = Step(1)
    step.ledger.items["fuel"][0] += 5e-10
    check(step.ledger, step.cost, step=7)


@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize("wrong", [3e-6, -1.0, np.nan])
def test_costs_that_are_not_paid_are_refused(component, wrong):
    step = Step(1)
    cost = step.cost
    cost[component][0] += wrong
    accounts, _ = RECONCILED[component]
    with pytest.raises(AccountsError, match=rf"^step 7: {component} .*{accounts}"):
        check(step.ledger, cost, step=7)


@pytest.mark.parametrize("component", COMPONENTS)
def test_payments_that_are_no_cost_are_refused(component):
    step = Step(1)
    accounts, items = RECONCILED[component]
    place = np.atleast_1d(getattr(step.ledger, accounts))[0]
    step.ledger.pay(step.ledger.dso, place, items[0], np.array(0.01))
    with pytest.raises(AccountsError, match=rf"^step 7: {component} "):
        check(step.ledger, step.cost, step=7)


def test_tolerances_grow_with_the_money_that_is_moved():
    step = Step(1)
    step.ledger.pay(step.ledger.dso, step.ledger.supplier, "imbalance_upstream", np.array(1e7))
    cost = step.cost
    cost["imbalance"] += np.array([1e7, 0.0, 0.0])
    step.ledger.items["fuel"][0] += 1e-6
    check(step.ledger, cost, step=7)
    step.ledger.items["fuel"][0] += 1e-3
    with pytest.raises(AccountsError):
        check(step.ledger, cost, step=7)
