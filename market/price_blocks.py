r"""Price-quantity blocks: the cost of a unit as a convex, piecewise linear function of its power.

Block b offers the power between :math:`Q_{b-1}` and :math:`Q_b = \sum_{j \le b} q_j` at the price
:math:`\pi_b`. With prices that do not fall, the cost of power p is the highest of the lines
through the blocks,

.. math:: C(p) = \max_b \; \pi_b p + o_b, \qquad o_b = \sum_{j<b} q_j \pi_j - \pi_b Q_{b-1} ,

which a linear programme states as an epigraph (Boyd and Vandenberghe, Convex Optimization,
Cambridge University Press 2004, section 4.3.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from configs.schema import Market

    Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PriceBlocks:
    """Successive parts of a unit's power, each at its own price."""

    quantity_kw: Array
    """Power of each block, (n_blocks,); together they are the unit's rating. [kW]"""
    price_eur_per_kwh: Array
    """Price of each block, (n_blocks,), never falling. [EUR/kWh]"""

    @classmethod
    def along(cls, p_max_kw: float, linear: float, quadratic: float, n_blocks: int) -> PriceBlocks:
        """Cut a quadratic cost curve into equal blocks at their mean marginal cost.

        The blocks cost as much as the curve wherever one of them ends, and more in between.

        Parameters
        ----------
        p_max_kw : float
            Rating. [kW]
        linear, quadratic : float
            Coefficients of the curve. [EUR/kWh, EUR/(kW2 h)]
        n_blocks : int
            Number of blocks.
        """
        end = p_max_kw * np.arange(n_blocks + 1) / n_blocks
        return cls(np.diff(end), linear + quadratic * (end[:-1] + end[1:]))


def n_blocks(settings: Market) -> int:
    """Largest number of blocks of an offer; zero where units bid cost curves."""
    return settings.bid_blocks if settings.bid_format == "blocks" else 0


def cost_offset(quantity_kw: Array, price: Array) -> Array:
    """Cost at zero power of the line through each block. [EUR/h]

    Parameters
    ----------
    quantity_kw, price : ndarray, shape (..., n_blocks)
        Blocks of one unit or of several. [kW, EUR/kWh]

    Returns
    -------
    ndarray, shape (..., n_blocks)
        At most zero where prices do not fall.
    """
    before_kw = quantity_kw.cumsum(axis=-1) - quantity_kw
    spent = quantity_kw * price
    return np.asarray(spent.cumsum(axis=-1) - spent - price * before_kw)
