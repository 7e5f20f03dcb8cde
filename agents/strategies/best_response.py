"""Bid at the last price of the pool, as if the others would do again what they did."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isnan
from typing import TYPE_CHECKING

import numpy as np

from agents.strategies.memoryless import Memoryless
from agents.strategies.parameters import check_number

if TYPE_CHECKING:
    from agents.strategies.protocol import Observation
    from market.bids import Bid


@dataclass(frozen=True)
class BestResponse(Memoryless):
    r"""Ask and offer the last pool price where that beats the true limits.

    The answer to the expectation that the pool's price stays what it was (naive, or Cournot,
    expectations): with the last price :math:`\lambda`, the network fee f, the concession
    :math:`\kappa` and the true limits s and b,

    .. math:: s' = s + (1 - \kappa) (\lambda - \max(s, c))^+, \qquad
              b' = b - (1 - \kappa) (b - f - \lambda)^+ .

    Without a dispatchable unit c is no limit. A unit asks its peers for its cost c, here that of
    its first kWh, and for what the selling price asks beyond the supplier's; with both it comes to
    the last price. Costs and quantities stay true, and without a last price the whole bid does.

    Attributes
    ----------
    concession : float
        Part of the expected gain that is given up in order to be served before those who bid the
        last price itself. [-]
    """

    concession: float = 0.0

    def __post_init__(self) -> None:
        check_number("concession", self.concession, 0.0, 1.0)

    def submit(self, truthful: Bid, observation: Observation) -> Bid:
        """Return the bid with its limits moved to the last price."""
        price = observation.last_price
        if isnan(price):
            return truthful
        ask, bid = truthful.sell_limit_eur_per_kwh, truthful.buy_limit_eur_per_kwh
        part = 1.0 - self.concession
        dearest = np.maximum(ask, _first_cost(truthful))
        return replace(
            truthful,
            sell_limit_eur_per_kwh=ask + part * np.maximum(price - dearest, 0.0),
            buy_limit_eur_per_kwh=np.maximum(
                bid - part * np.maximum(bid - observation.fee - price, 0.0), 0.0
            ),
        )


def _first_cost(bid: Bid) -> float:
    """Cost of the first kWh of the dispatchable unit; nothing without one. [EUR/kWh]"""
    unit = bid.dispatchable
    if unit is None:
        return 0.0
    return unit.cost_eur_per_kwh if unit.blocks is None else float(unit.blocks.price_eur_per_kwh[0])
