"""What a strategy is: it turns the truthful bid into the submitted one, and may learn."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, nan
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from market.bids import Bid


class StrategyError(ValueError):
    """A strategy that fails in a run; the message names step, peer and strategy."""


@dataclass(frozen=True, eq=False)
class Observation:
    """What a peer may know when it bids.

    Attributes
    ----------
    step : int
        First step of the window.
    retail, feed_in : ndarray, shape (n_steps,)
        The supplier's published selling and buying price. [EUR/kWh]
    fee : float
        Network fee of a trade within the network, which the buyer pays. [EUR/kWh]
    last_price : float
        Price of the own network's pool in the last settled step, from the seller's side; NaN where
        there was none. [EUR/kWh]
    renewable_rating_kw : float
        Registered rating of the peer's renewable plant, which no offer may exceed; infinite where
        somebody else sees to that. [kW]
    """

    step: int
    retail: NDArray[np.float64]
    feed_in: NDArray[np.float64]
    fee: float = 0.0
    last_price: float = nan
    renewable_rating_kw: float = inf


@dataclass(frozen=True)
class Outcome:
    """What a peer learns after a step.

    Attributes
    ----------
    step : int
        The step.
    bought_kwh, sold_kwh : float
        Energy traded with peers. [kWh]
    payment_eur : float
        Net amount received in the step, from all accounts. [EUR]
    gain_eur : float
        What the trades brought against trading the same energy with the supplier, network fees
        included, less what the energy of a dispatchable unit cost beyond its worth at the
        supplier's prices (:func:`simulation.outcomes.gains`). [EUR]
    pool_price : float
        Price of the own network's pool, from the seller's side; NaN where there is none. [EUR/kWh]
    load_kw, load_forecast_kw : float
        Load that came, and the peer's own forecast of it when it bid; NaN where unknown. [kW]
    renewable_kw, renewable_forecast_kw : float
        Available renewable power that came, and the peer's own forecast of it when it bid; NaN
        where unknown. [kW]
    """

    step: int
    bought_kwh: float
    sold_kwh: float
    payment_eur: float
    gain_eur: float = 0.0
    pool_price: float = nan
    load_kw: float = nan
    load_forecast_kw: float = nan
    renewable_kw: float = nan
    renewable_forecast_kw: float = nan


class Strategy(Protocol):
    """How a peer turns its truthful bid into the one it submits.

    A step begins with one or several calls of ``submit`` for the same ``observation.step``: one,
    or one for each member of a coalition that shares the strategy. Asked twice for the same bid in
    the same step, a strategy answers the same. Every step that the bid binds ends with one call of
    ``learn``, with the sum of the members' outcomes; where a bid binds several steps, several
    outcomes follow each other.

    A strategy that draws at random takes its stream, a ``numpy.random.Generator`` of its own, as
    the keyword ``rng`` of its constructor, and uses no other.

    A strategy may have an attribute ``markup``, the mark-up that it chose last, or None before the
    first one; runs write it to the table ``strategies``.
    """

    def submit(self, truthful: Bid, observation: Observation) -> Bid:
        """Return the submitted bid; the arguments are not changed."""

    def learn(self, outcome: Outcome) -> None:
        """Take note of what a step brought."""

    def state(self) -> dict[str, Any]:
        """Return all that was learnt, and the state of the stream, as plain JSON data."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a state that a strategy with the same parameters returned."""
