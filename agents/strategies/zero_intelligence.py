"""Ask and bid at random, but never at a loss."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from agents.strategies.parameters import check_count, series
from configs.limits import WHOLE_NUMBER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from agents.strategies.protocol import Observation, Outcome
    from market.bids import Bid, DispatchableOffer

    Array = NDArray[np.float64]


class ZeroIntelligence:
    """Zero intelligence with a budget constraint, ZI-C [1]_.

    Every price is drawn evenly from those that lose no money: asks between the true limit and the
    retail price, bids between the feed-in price and the true limit. The supplier's prices stand
    for the lowest and the highest price of the original, since it offers everybody to trade at
    them. A unit's cost is drawn between the truth and the mean retail price, and its whole curve
    shifted. Where the truth lies beyond the other end, it is bid.

    All submissions of a step use the same draw, those of different members of a coalition too.

    Parameters
    ----------
    rng : numpy.random.Generator
        Stream of the strategy.

    References
    ----------
    .. [1] D. K. Gode, S. Sunder, Allocative efficiency of markets with zero-intelligence traders:
       market as a partial substitute for individual rationality, Journal of Political Economy
       101(1), 1993.
    """

    def __init__(self, *, rng: np.random.Generator) -> None:
        self._rng = rng
        self._step: int | None = None
        self._draw: Array = np.zeros(0)

    def submit(self, truthful: Bid, observation: Observation) -> Bid:
        """Return the bid with random prices."""
        n_steps = len(observation.retail)
        if observation.step != self._step:
            self._step, self._draw = observation.step, self._rng.random(2 * n_steps + 1)
        selling, buying, unit_cost = np.split(self._draw, [n_steps, 2 * n_steps])
        ask, bid = truthful.sell_limit_eur_per_kwh, truthful.buy_limit_eur_per_kwh
        unit = truthful.dispatchable
        dearest = float(observation.retail.mean())
        return replace(
            truthful,
            sell_limit_eur_per_kwh=ask + selling * np.maximum(observation.retail - ask, 0.0),
            buy_limit_eur_per_kwh=bid - buying * np.maximum(bid - observation.feed_in, 0.0),
            dispatchable=unit and _dearer(unit, float(unit_cost[0]), dearest),
        )

    def learn(self, outcome: Outcome) -> None:
        """Learn nothing."""

    def state(self) -> dict[str, Any]:
        """Return the draw of the step and the state of the stream."""
        return {
            "step": self._step,
            "draw": self._draw.tolist(),
            "rng": self._rng.bit_generator.state,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a state."""
        draw = series("draw", state["draw"], (len(state["draw"]),), 0.0)
        if state["step"] is not None:
            check_count("step", state["step"], 0, WHOLE_NUMBER)
        self._step, self._draw = state["step"], draw
        self._rng.bit_generator.state = state["rng"]


def _dearer(unit: DispatchableOffer, draw: float, dearest: float) -> DispatchableOffer:
    """Shift a unit's marginal cost up by a part of its distance to the dearest price."""
    if unit.blocks is None:
        rise = draw * max(dearest - unit.cost_eur_per_kwh, 0.0)
        return replace(unit, cost_eur_per_kwh=unit.cost_eur_per_kwh + rise)
    price = unit.blocks.price_eur_per_kwh
    rise = draw * max(dearest - float(price[0]), 0.0)
    return replace(unit, blocks=replace(unit.blocks, price_eur_per_kwh=price + rise))
