r"""Learn a mark-up as a multi-armed bandit does.

``epsilon_greedy`` estimates the value Q of every mark-up by the mean of its rewards r, and takes
the best one but for random exploration with probability :math:`\gamma` [1]_:

.. math:: Q_k \leftarrow Q_k + \max(1 / N_k, \alpha) (r - Q_k)

after :math:`N_k` trials. A step size :math:`\alpha > 0` lets it forget old rewards.

``exp3`` assumes nothing about where rewards come from, other peers that learn included [2]_: of n
mark-ups, k is chosen with probability

.. math:: p_k = (1 - \gamma) \frac{w_k}{\sum_j w_j} + \frac{\gamma}{n}, \qquad
          w_k \leftarrow w_k \exp\left(\frac{\gamma}{n} \frac{r}{p_k}\right) .

References
----------
.. [1] R. S. Sutton, A. G. Barto, Reinforcement learning: an introduction, 2nd edition, MIT Press,
   2018, chapter 2.
.. [2] P. Auer, N. Cesa-Bianchi, Y. Freund, R. E. Schapire, The nonstochastic multiarmed bandit
   problem, SIAM J. Comput. 32(1), 2002, doi:10.1137/S0097539701398375.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from agents.strategies.learning import MarkupLearner, softmax
from agents.strategies.parameters import check_choice, check_number, series

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


class Bandit(MarkupLearner):
    """A bandit over mark-ups.

    Parameters
    ----------
    algorithm : str
        ``epsilon_greedy`` or ``exp3``.
    n_actions : int
        Number of mark-ups.
    max_markup : float
        Largest mark-up; the others are evenly spaced from zero. [-]
    exploration : float
        Probability of a random choice. [-]
    step_size : float
        Least weight of the latest reward, with ``epsilon_greedy`` only; zero: all count alike. [-]
    rng : numpy.random.Generator
        Stream of the strategy.
    """

    def __init__(
        self,
        *,
        algorithm: str = "epsilon_greedy",
        n_actions: int = 11,
        max_markup: float = 1.0,
        exploration: float = 0.1,
        step_size: float = 0.0,
        rng: np.random.Generator,
    ) -> None:
        super().__init__(n_actions, max_markup, rng)
        check_choice("algorithm", algorithm, ("epsilon_greedy", "exp3"))
        check_number("exploration", exploration, 0.0, 1.0, "(]")
        check_number("step_size", step_size, 0.0, 1.0)
        if step_size and algorithm != "epsilon_greedy":
            msg = f"step_size is given with algorithm epsilon_greedy only, got {step_size!r}"
            raise ValueError(msg)
        self._exp3 = algorithm == "exp3"
        self._exploration, self._step_size = exploration, step_size
        self._value = np.zeros(n_actions)  # with exp3 the logarithms of the weights
        self._trials = np.zeros(n_actions, dtype=int)

    def probabilities(self) -> NDArray[np.float64]:
        """Probability of each mark-up to be chosen next, (n_actions,). [-]"""
        if self._exp3:
            favoured = softmax(self._value)
        else:
            best = self._value == self._value.max()
            favoured = best / best.sum()
        return (1 - self._exploration) * favoured + self._exploration / len(favoured)

    def reinforce(self, action: int, reward: float) -> None:
        """Learn that an action brought a reward between zero and one."""
        self._trials[action] += 1
        if self._exp3:
            chance = self.probabilities()[action]
            self._value[action] += self._exploration / len(self._value) * reward / chance
        else:
            weight = max(1 / self._trials[action], self._step_size)
            self._value[action] += weight * (reward - self._value[action])

    def state(self) -> dict[str, Any]:
        """Return what is known of every mark-up, the last choice, and the state of the stream."""
        known = {"value": self._value.tolist(), "trials": self._trials.tolist()}
        return super().state() | known

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a state."""
        super().restore(state)
        n = len(self.markups)
        self._value = series("value", state["value"], (n,))
        self._trials = series("trials", state["trials"], (n,), 0).astype(int)
