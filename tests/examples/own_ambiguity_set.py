"""An ambiguity set of one's own: copy this file, change it, and name it in the configuration.

.. code-block:: yaml

    market:
      method: "own_ambiguity_set:TotalVariation"
      radius_rule: fixed
      radius: 0.01

A scenario may not run code by itself, so the run has to allow the file:

.. code-block:: bash

    python -m simulation.run --config mine.yaml --allow-plugins own_ambiguity_set.py
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from market.ambiguity import worst_case_quantiles

if TYPE_CHECKING:
    from market.ambiguity import Floats


@dataclass(frozen=True)
class TotalVariation:
    r"""Individual chance constraints under all re-weightings of the samples near their own weights.

    The set holds every distribution on the samples whose total variation distance
    :math:`\tfrac12 \sum_i |q_i - w_i|` is at most the radius. Mass up to the radius can be moved to
    the samples that violate, so that the worst case is :math:`P(z > \kappa) + \rho` and

    .. math:: \kappa = \min \{ k \ge 0 : \textstyle\sum_i w_i 1[z_i > k] \le \varepsilon - \rho \}

    One of the sets of A. Ben-Tal, D. den Hertog, A. De Waegenaere, B. Melenberg, G. Rennen, Robust
    solutions of optimization problems affected by uncertain probabilities, Management Science
    59(2), 2013, doi:10.1287/mnsc.1120.1641.

    Attributes
    ----------
    risk_level : float
        Allowed probability of violation, in (0, 1).
    radius : float
        Largest total variation distance, a probability.
    """

    risk_level: float
    radius: float
    exact_joint: ClassVar[bool] = False

    def factors(self, z: Floats, weights: Floats, slack_ratio: Floats) -> Floats:
        """Return the safety factor of every row, each with the whole risk level to itself."""
        return self._quantiles(z, weights, self.risk_level)

    def two_sided(self, z: Floats, weights: Floats) -> float:
        """Return the factor that bounds one scalar on both sides, half of the risk on each."""
        both_sides = np.column_stack([z, -z])
        return float(self._quantiles(both_sides, weights, self.risk_level / 2).max())

    def _quantiles(self, z: Floats, weights: Floats, risk_level: float) -> Floats:
        left = risk_level - self.radius
        if left > 0:
            kappa = worst_case_quantiles(z, weights, left, radius=0.0)
        else:  # any sample may be given all the mass that is allowed to violate
            kappa = z[weights > 0].max(axis=0)
        return np.maximum(kappa, 0.0)
