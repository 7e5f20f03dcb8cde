r"""Learn a mark-up by reinforcement: what paid is tried more often.

Every mark-up j has a propensity q, at first all the same. When mark-up k has brought the reward r,

.. math:: q_j \leftarrow (1 - \varphi) q_j + E_j ,

with the forgetting (recency) :math:`\varphi` and the experience E, which spills over to other
mark-ups by the experimentation :math:`\varepsilon`, for n mark-ups:

============  =============================  ===============================================
variant       E of the chosen one            E of every other one
============  =============================  ===============================================
original      :math:`(1 - \varepsilon) r`    :math:`\varepsilon r / (n - 1)`
modified      :math:`(1 - \varepsilon) r`    :math:`\varepsilon q_j / (n - 1)`
============  =============================  ===============================================

Without forgetting and experimentation the original is the basic model of [1]_; with both it is the
three-parameter model of [2]_, with a spill-over to all mark-ups alike as in [3]_. The modified
one [3]_ also learns from a reward of zero: the chosen mark-up then becomes less likely.

Mark-ups are chosen with probabilities proportional to q, as in all three, or to
:math:`\exp(q_j / (T \bar q))` with their mean :math:`\bar q` and a temperature T.

References
----------
.. [1] A. E. Roth, I. Erev, Learning in extensive-form games: experimental data and simple dynamic
   models in the intermediate term, Games and Economic Behavior 8, 1995.
.. [2] I. Erev, A. E. Roth, Predicting how people play games: reinforcement learning in experimental
   games with unique, mixed strategy equilibria, American Economic Review 88(4), 1998.
.. [3] J. Nicolaisen, V. Petrov, L. Tesfatsion, Market power and efficiency in a computational
   electricity market with discriminatory double-auction pricing, IEEE Trans. Evol. Comput. 5(5),
   2001, doi:10.1109/4235.956714.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from agents.strategies.learning import MarkupLearner, softmax
from agents.strategies.parameters import check_choice, check_number, series

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

LEAST_PROPENSITY = 1e-9
"""No propensity falls below, so that long times without any gain leave a choice. [-]"""


class RothErev(MarkupLearner):
    """Roth-Erev reinforcement learning of a mark-up.

    Parameters
    ----------
    n_actions : int
        Number of mark-ups.
    max_markup : float
        Largest mark-up; the others are evenly spaced from zero. [-]
    variant : str
        ``original`` or ``modified``.
    forgetting : float
        Part of the propensities that is lost in a step. [-]
    experimentation : float
        Part of the experience that spills over. Over n - 1 it may not exceed the forgetting of the
        modified variant, where propensities would grow by themselves otherwise. [-]
    initial : float
        Propensity of every mark-up at first, in units of the largest reward. [-]
    choice : str
        ``proportional`` or ``softmax``.
    temperature : float
        Temperature T of ``softmax``, given there and only there; with eleven mark-ups it takes
        about 3 to find the best one. [-]
    rng : numpy.random.Generator
        Stream of the strategy.
    """

    def __init__(
        self,
        *,
        n_actions: int = 11,
        max_markup: float = 1.0,
        variant: str = "modified",
        forgetting: float = 0.02,
        experimentation: float = 0.05,
        initial: float = 1.0,
        choice: str = "proportional",
        temperature: float | None = None,
        rng: np.random.Generator,
    ) -> None:
        super().__init__(n_actions, max_markup, rng)
        check_choice("variant", variant, ("original", "modified"))
        check_number("forgetting", forgetting, 0.0, 1.0, "[)")
        check_number("experimentation", experimentation, 0.0, 1.0, "[)")
        check_number("initial", initial, 0.0, ends="()")
        check_choice("choice", choice, ("proportional", "softmax"))
        if choice == "softmax":
            check_number("temperature", temperature, 0.0, ends="()")
        elif temperature is not None:
            msg = f"temperature is given with choice softmax only, got {temperature!r}"
            raise ValueError(msg)
        if variant == "modified" and experimentation > forgetting * (n_actions - 1):
            msg = (
                "experimentation must not exceed forgetting * (n_actions - 1) = "
                f"{forgetting * (n_actions - 1):g} with variant modified, got {experimentation!r}"
            )
            raise ValueError(msg)
        self._modified = variant == "modified"
        self._forgetting, self._experimentation = forgetting, experimentation
        self._temperature = temperature
        self._propensity = np.full(n_actions, float(initial))

    def probabilities(self) -> NDArray[np.float64]:
        """Probability of each mark-up to be chosen next, (n_actions,). [-]"""
        if self._temperature is None:
            return np.asarray(self._propensity / self._propensity.sum())
        return softmax(self._propensity / self._propensity.mean() / self._temperature)

    def reinforce(self, action: int, reward: float) -> None:
        """Learn that an action brought a reward between zero and one."""
        q = self._propensity
        spill = self._experimentation / (len(q) - 1)
        experience = spill * q if self._modified else np.full(len(q), spill * reward)
        experience[action] = (1 - self._experimentation) * reward
        self._propensity = np.maximum((1 - self._forgetting) * q + experience, LEAST_PROPENSITY)

    def state(self) -> dict[str, Any]:
        """Return the propensities, the last choice, and the state of the stream."""
        return super().state() | {"propensity": self._propensity.tolist()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a state."""
        super().restore(state)
        n = len(self.markups)
        self._propensity = series("propensity", state["propensity"], (n,), LEAST_PROPENSITY)
