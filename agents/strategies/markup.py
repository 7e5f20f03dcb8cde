"""Ask more and offer less than is true."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agents.strategies.protocol import Observation, Outcome
    from market.bids import Bid


@dataclass(frozen=True)
class Markup:
    """Shade every price by a fixed relative mark-up.

    The lowest selling price and the cost of the dispatchable unit are raised by the mark-up, the
    highest buying price is lowered by it; quantities stay true.

    Attributes
    ----------
    markup : float
        Relative mark-up, at least zero. [-]
    """

    markup: float

    def __post_init__(self) -> None:
        if not 0 <= self.markup < float("inf"):
            msg = f"markup must be at least 0 and finite, got {self.markup}"
            raise ValueError(msg)

    def submit(self, truthful: Bid, observation: Observation) -> Bid:
        """Return the bid with its prices shaded."""
        up = 1.0 + self.markup
        unit = truthful.dispatchable
        return replace(
            truthful,
            sell_limit_eur_per_kwh=truthful.sell_limit_eur_per_kwh * up,
            buy_limit_eur_per_kwh=truthful.buy_limit_eur_per_kwh / up,
            dispatchable=unit
            and replace(
                unit,
                cost_eur_per_kwh=unit.cost_eur_per_kwh * up,
                cost_eur_per_kw2h=unit.cost_eur_per_kw2h * up,
            ),
        )

    def learn(self, outcome: Outcome) -> None:
        """Learn nothing."""
