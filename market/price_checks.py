"""What a pricing rule returns is checked before anybody is charged."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

import numpy as np

from market.pricing import TradePrices

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from market.pricing import Pool, PricingRule

    Array = NDArray[np.float64]

TOLERANCE = 1e-9
"""Rounding errors that a rule is allowed. [EUR, EUR/kWh]"""


class PricingError(ValueError):
    """A pricing rule whose prices cannot be settled; the message names step and account."""


def checked_prices(
    rule: PricingRule, pool: Pool, *, step: int, hours: float, peer_id: Sequence[str]
) -> TradePrices:
    """Ask a rule for the prices of a step, and refuse what cannot be settled.

    Parameters
    ----------
    rule : PricingRule
        The rule.
    pool : Pool
        The step.
    step : int
        Number of the step, for the message.
    hours : float
        Length of a step. [h]
    peer_id : sequence of str
        The peers, for the message.

    Returns
    -------
    TradePrices
        Balanced prices that suit both sides of every trade and lie between floor and cap.

    Raises
    ------
    PricingError
        If the rule fails, or its prices have the wrong shape, are not finite, do not balance, or
        are beyond a limit price, the floor or the cap. The message names step, rule, account and
        value.
    """
    name = f"step {step}: pricing rule {type(rule).__name__}"
    try:
        # A copy, so that no rule can change the results of the clearing.
        answer = rule.trade_prices(deepcopy(pool))
        prices = TradePrices(*(np.array(part, float) for part in _parts(answer)))
    except Exception as error:  # a user's code may raise anything
        raise PricingError(f"{name} failed: {type(error).__name__}: {error}") from error
    for part in _parts(prices):
        if part.shape != pool.fee.shape:
            msg = f"{name} returns prices of shape {part.shape}, not one for each of the trades, "
            raise PricingError(f"{msg}{pool.fee.shape}")
    for wrong, peers, text, values in _faults(pool, prices, hours):
        if wrong.any():
            k = int(wrong.argmax())
            told = text.format(*(f"{value[k]:.9g}" for value in values))
            raise PricingError(f"{name}, account {peer_id[peers[k]]}: {told}")
    return prices


def _parts(prices: TradePrices) -> tuple[Array, Array, Array]:
    return prices.paid, prices.received, prices.kept


def _faults(
    pool: Pool, prices: TradePrices, hours: float
) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.intp], str, tuple[Array, ...]]]:
    """Yield for each requirement the trades that miss it, the account, and what to say."""
    seller, buyer = pool.trades.seller, pool.trades.buyer
    for part in ("paid", "received", "kept"):
        value = getattr(prices, part)
        account = seller if part == "received" else buyer
        yield ~np.isfinite(value), account, f"the price {part} is {{}} EUR/kWh", (value,)
    paid, received, kept = _parts(prices)
    missing = np.abs(paid - received - kept) * pool.trades.power_kw * hours
    # Many small amounts must not add up either; the largest one is named.
    unbalanced = (missing == missing.max(initial=0.0)) & (missing.sum() > TOLERANCE)
    text = "does not balance: the buyer pays {} EUR/kWh, the seller gets {}, the DSO keeps {}"
    yield unbalanced, buyer, text, (paid, received, kept)
    limit = pool.buy_limit[buyer]
    text = "a buyer pays {} EUR/kWh, network fee included, above its limit price {}"
    yield paid + pool.fee > limit + TOLERANCE, buyer, text, (paid + pool.fee, limit)
    limit = pool.sell_limit[seller]
    text = "a seller gets {} EUR/kWh, below its limit price {}"
    yield received < limit - TOLERANCE, seller, text, (received, limit)
    for price, account in ((paid, buyer), (received, seller)):
        outside = (price < pool.floor - TOLERANCE) | (price > pool.cap + TOLERANCE)
        text = f"the price {{}} EUR/kWh is not between floor {pool.floor} and cap {pool.cap}"
        yield outside, account, text, (price,)
