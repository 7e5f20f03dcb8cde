"""Accounts that close: a step's ledger sums to zero and reconciles with its operational cost."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from market.costs import COMPONENTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from market.ledger import Ledger

    Array = NDArray[np.float64]

ZERO_EUR = 1e-9
"""Largest sum of all accounts."""
SAME_EUR = 1e-6
"""Largest difference between a component of the operational cost and its items."""
ROUNDING = 1e-12
"""Either tolerance as a share of all money moved, where that is more: double precision."""

RECONCILED = {
    "upstream_energy": ("supplier", ("energy_bought", "energy_sold")),
    "dispatchable_fuel": ("resources", ("fuel",)),
    "storage_wear": ("resources", ("wear",)),
    "flexible_discomfort": ("resources", ("discomfort",)),
    "network_fees": ("operators", ("network_fee",)),
    "losses": ("supplier", ("losses",)),
    "recourse_capacity": ("peers", ("recourse_capacity",)),
    "imbalance": ("supplier", ("imbalance_upstream",)),
}
"""Which of the ledger's accounts receive each component of the operational cost, as which items."""


class AccountsError(ValueError):
    """The accounts of a step do not close; the message names the step and the account."""


def check(ledger: Ledger, costs: Mapping[str, Array], *, step: int) -> None:
    """Make sure that the accounts of a step close.

    Parameters
    ----------
    ledger : Ledger
        The payments of the step.
    costs : mapping of str to ndarray, shape (n_networks,)
        Operational cost by component. [EUR]
    step : int
        The step, for the message.

    Raises
    ------
    AccountsError
        If an amount is not finite, the accounts do not sum to zero within ``ZERO_EUR``, or a
        component differs from what is paid for it by more than ``SAME_EUR``; either tolerance is
        at least ``ROUNDING`` times the money moved.
    """
    for item, received in ledger.items.items():
        _check_finite(ledger, item, received, step)
    moved = sum(float(np.abs(received).sum()) for received in ledger.items.values())
    _check_zero_sum(ledger, max(ZERO_EUR, ROUNDING * moved), step)
    for component in COMPONENTS:
        accounts, items = RECONCILED[component]
        paid, cost = _received(ledger, accounts, items), float(costs[component].sum())
        if not abs(paid - cost) <= max(SAME_EUR, ROUNDING * moved):
            msg = (
                f"step {step}: {component} costs {cost:.9g} EUR, but {' and '.join(items)} of "
                f"account {accounts} amounts to {paid:.9g} EUR"
            )
            raise AccountsError(msg)


def _check_finite(ledger: Ledger, item: str, received: Array, step: int) -> None:
    """Every amount is a number."""
    wrong = np.flatnonzero(~np.isfinite(received))
    if wrong.size:
        account, amount = ledger.accounts[wrong[0]], received[wrong[0]]
        msg = f"step {step}: account {account} receives {amount} EUR as {item}"
        raise AccountsError(msg)


def _check_zero_sum(ledger: Ledger, tolerance: float, step: int) -> None:
    """What some accounts pay, others receive: item by item, and altogether."""
    totals = {item: math.fsum(received) for item, received in ledger.items.items()}
    if sum(map(abs, totals.values())) > tolerance:
        item = max(totals, key=lambda name: abs(totals[name]))
        worst = int(np.abs(ledger.items[item]).argmax())
        msg = (
            f"step {step}: {item} of all accounts sums to {totals[item]:.9g} EUR instead of zero; "
            f"the largest amount, {ledger.items[item][worst]:.9g} EUR, is of account "
            f"{ledger.accounts[worst]}"
        )
        raise AccountsError(msg)


def _received(ledger: Ledger, accounts: str, items: tuple[str, ...]) -> float:
    """What some accounts of the ledger received of some items. [EUR]"""
    places = np.atleast_1d(getattr(ledger, accounts))
    return sum(float(ledger.items[item][places].sum()) for item in items if item in ledger.items)
