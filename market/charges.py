"""What peers owe for their use of the grid at nodal prices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from market.nodal_prices import NodalPrices

    Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class GridCharges:
    """Nodal charges of every peer for one step, shape (n_peers,) each; negative: earned. [EUR]"""

    loss: Array
    congestion: Array
    risk: Array


def grid_charges(
    prices: NodalPrices,
    k: int,
    p_scheduled_kw: Array,
    participates: NDArray[np.bool_],
    hours: float,
    *,
    nodal: bool = True,
) -> GridCharges:
    r"""Charge the schedules at the nodal prices of the grid.

    A peer that injects :math:`p_j` at a bus with the grid components :math:`\pi_j` pays
    :math:`-\pi_j p_j` an hour: a load pays, and an injection earns, what it costs the grid
    (Bohn, Caramanis, Schweppe, RAND J. Econ. 15(3), 1984, for spot prices that differ by place).

    Parameters
    ----------
    prices : NodalPrices
        Their ``loss``, ``voltage`` (congestion without safety margins) and ``margin`` (congestion
        that is due to the margins) are charged.
    k : int
        Place of the step among those that bind.
    p_scheduled_kw : ndarray, shape (n_peers,)
        Scheduled net injections. [kW]
    participates : ndarray of bool, shape (n_peers,)
        Who takes part in the market; nobody else is charged.
    hours : float
        Length of the step. [h]
    nodal : bool
        Whether the pricing rule is nodal; with any other, only losses are charged.
    """
    drawn_kwh = np.where(participates, -hours * p_scheduled_kw, 0.0)
    congested_kwh = drawn_kwh if nodal else np.zeros_like(drawn_kwh)
    return GridCharges(
        loss=prices.loss[k] * drawn_kwh,
        congestion=prices.voltage[k] * congested_kwh,
        risk=prices.margin[k] * congested_kwh,
    )
