"""What a strategy is: a pure function from the truthful bid to the submitted one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from market.bids import Bid


@dataclass(frozen=True, eq=False)
class Observation:
    """What a peer may know when it bids.

    Attributes
    ----------
    step : int
        First step of the window.
    retail, feed_in : ndarray, shape (n_steps,)
        The supplier's published selling and buying price. [EUR/kWh]
    """

    step: int
    retail: NDArray[np.float64]
    feed_in: NDArray[np.float64]


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
    """

    step: int
    bought_kwh: float
    sold_kwh: float
    payment_eur: float


class Strategy(Protocol):
    """How a peer turns its truthful bid into the one it submits."""

    def submit(self, truthful: Bid, observation: Observation) -> Bid:
        """Return the submitted bid; the truthful one is not changed."""

    def learn(self, outcome: Outcome) -> None:
        """Take note of what a step brought."""
