"""A strategy of one's own: copy this file, change it, and name it in the configuration.

.. code-block:: yaml

    strategies:
      - {use: "own_strategy:PatientSeller", share: 0.2, parameters: {stride: 0.05}}

A scenario may not run code by itself, so the run has to allow the file:

.. code-block:: bash

    python -m simulation.run --config mine.yaml --allow-plugins own_strategy.py

Before that, run it through the contract that every strategy keeps to:

.. code-block:: python

    from tests.strategy_contract import check_strategy
    check_strategy(lambda rng: PatientSeller(stride=0.05, rng=rng))
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agents.strategies.protocol import Observation, Outcome
    from market.bids import Bid


class PatientSeller:
    """Ask a little more after every sale, and less after every step without one.

    The ask lies between the true limit and the retail price. Now and then it is the true limit, so
    that a seller who has priced itself out sells again.

    Parameters
    ----------
    stride : float
        Change of the ask's place between the true limit (0) and the retail price (1). [-]
    lapse : float
        Probability of asking the true limit. [-]
    rng : numpy.random.Generator
        Stream of the strategy: the run gives every peer its own. A strategy that draws nothing
        leaves this parameter out.
    """

    def __init__(self, stride: float = 0.1, lapse: float = 0.05, *, rng: np.random.Generator):
        # Parameters come from the configuration: say what is wrong with them.
        for name, value in (("stride", stride), ("lapse", lapse)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be between 0 and 1, got {value}")
        self.stride, self.lapse = stride, lapse
        self._rng = rng
        self._place = 0.0
        self._step: int | None = None
        self._ask = 0.0

    def submit(self, truthful: Bid, observation: Observation) -> Bid:
        """Return the bid with another lowest selling price; all else stays true."""
        # A coalition asks once for every member: draw once a step only.
        if observation.step != self._step:
            self._step = observation.step
            self._ask = 0.0 if self._rng.random() < self.lapse else self._place
        true = truthful.sell_limit_eur_per_kwh
        ask = true + self._ask * np.maximum(observation.retail - true, 0.0)
        return replace(truthful, sell_limit_eur_per_kwh=ask)

    def learn(self, outcome: Outcome) -> None:
        """Move the ask."""
        change = self.stride if outcome.sold_kwh > 0 else -self.stride
        self._place = min(max(self._place + change, 0.0), 1.0)

    def state(self) -> dict[str, Any]:
        """Return all that the next bids depend on, as plain JSON data."""
        return {
            "place": self._place,
            "step": self._step,
            "ask": self._ask,
            "rng": self._rng.bit_generator.state,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a state."""
        self._place, self._step, self._ask = state["place"], state["step"], state["ask"]
        self._rng.bit_generator.state = state["rng"]
