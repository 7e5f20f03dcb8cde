"""What strategies that learn a mark-up have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np

from agents.strategies.markup import shade
from agents.strategies.parameters import check_count, check_number
from configs.limits import WHOLE_NUMBER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from agents.strategies.protocol import Observation, Outcome
    from market.bids import Bid

    Array = NDArray[np.float64]


class MarkupLearner(ABC):
    """Choose one of several mark-ups in every step, and learn from what they bring.

    A mark-up is chosen once a step and shades the prices as :func:`agents.strategies.markup.shade`
    says. Its reward is the gain of all settled steps until the next one is chosen. Rewards are
    divided by the largest one so far, so that peers of every size learn alike; losses count as no
    gain.

    Parameters
    ----------
    n_actions : int
        Number of mark-ups.
    max_markup : float
        Largest mark-up; the others are evenly spaced from zero. [-]
    rng : numpy.random.Generator
        Stream of the strategy.
    """

    def __init__(self, n_actions: int, max_markup: float, rng: np.random.Generator) -> None:
        check_count("n_actions", n_actions, 2)
        check_number("max_markup", max_markup, 0.0, ends="()")
        self.markups = np.linspace(0.0, max_markup, n_actions)
        self._rng = rng
        self._step: int | None = None
        self._action = 0
        self._gain_eur: float | None = None
        self._largest_eur = 0.0

    @property
    def markup(self) -> float | None:
        """The mark-up chosen last; None before the first one. [-]"""
        return None if self._step is None else float(self.markups[self._action])

    @abstractmethod
    def probabilities(self) -> Array:
        """Probability of each mark-up to be chosen next, (n_actions,). [-]"""

    @abstractmethod
    def reinforce(self, action: int, reward: float) -> None:
        """Learn that an action brought a reward between zero and one."""

    def submit(self, truthful: Bid, observation: Observation) -> Bid:
        """Return the bid with the prices shaded by the mark-up of the step."""
        if observation.step != self._step:
            self._conclude()
            self._step = observation.step
            self._action = int(self._rng.choice(len(self.markups), p=self.probabilities()))
        return shade(truthful, float(self.markups[self._action]))

    def _conclude(self) -> None:
        """Reward the last choice, if anything has come of it."""
        if self._gain_eur is None:
            return
        gain, self._gain_eur = max(self._gain_eur, 0.0), None
        self._largest_eur = max(self._largest_eur, gain)
        self.reinforce(self._action, gain / self._largest_eur if gain else 0.0)

    def learn(self, outcome: Outcome) -> None:
        """Add to the gain of the last choice; before the first there is nothing to learn."""
        if self._step is not None:
            self._gain_eur = (self._gain_eur or 0.0) + outcome.gain_eur

    def state(self) -> dict[str, Any]:
        """Return the last choice, what came of it so far, and the state of the stream."""
        return {
            "step": self._step,
            "action": self._action,
            "gain_eur": self._gain_eur,
            "largest_eur": self._largest_eur,
            "rng": self._rng.bit_generator.state,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a state."""
        if state["step"] is not None:
            check_count("step", state["step"], 0, WHOLE_NUMBER)
        check_count("action", state["action"], 0, len(self.markups) - 1)
        if state["gain_eur"] is not None:
            check_number("gain_eur", state["gain_eur"], -inf)
        check_number("largest_eur", state["largest_eur"], 0.0)
        self._step, self._action = state["step"], state["action"]
        self._gain_eur, self._largest_eur = state["gain_eur"], state["largest_eur"]
        self._rng.bit_generator.state = state["rng"]


def softmax(x: Array) -> Array:
    """Probabilities proportional to the exponentials, (n,); they may be of any size."""
    weight = np.exp(x - x.max())
    return np.asarray(weight / weight.sum())
