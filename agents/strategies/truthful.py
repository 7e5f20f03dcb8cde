"""Bid what is true."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agents.strategies.memoryless import Memoryless

if TYPE_CHECKING:
    from agents.strategies.protocol import Observation
    from market.bids import Bid


@dataclass(frozen=True)
class Truthful(Memoryless):
    """Submit the truthful bid: true quantities, costs, and supplier prices as limit prices."""

    def submit(self, truthful: Bid, observation: Observation) -> Bid:
        """Return the truthful bid."""
        return truthful
