"""Bid what is true."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agents.strategies.protocol import Observation, Outcome
    from market.bids import Bid


@dataclass(frozen=True)
class Truthful:
    """Submit the truthful bid: true quantities, costs, and supplier prices as limit prices."""

    def submit(self, truthful: Bid, observation: Observation) -> Bid:
        """Return the truthful bid."""
        return truthful

    def learn(self, outcome: Outcome) -> None:
        """Learn nothing."""
