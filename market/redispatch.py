r"""Real-time dispatch that knows the error: the benchmark for the cleared recourse shares.

With the first-stage schedule fixed and the forecast errors known, the recourse devices are
dispatched anew:

.. math:: \min_{r, s} \; \sum_k (c^{up}_k r_k^+ + c^{down}_k r_k^-) + \sum_p h_p(\Omega_p + r_p)
          + \pi \sum_d s_d \quad \text{s.t.} \quad y + Y r \le y_{max} + s, \;\;
          \underline r \le r \le \overline r ,

with h the cost of what is left to the upstream grid. What the shares would ask for is feasible
here as long as the devices can follow, so a certificate of the shares covers this dispatch too:
in the linear model it violates a limit only where they do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linprog

from market.errors import SolverFailedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_ROW_SCALE = 1000.0
"""Rows are posed in mp.u., of the order of one."""


@dataclass(frozen=True, eq=False)
class GridState:
    """Linear model of one network at the realised errors, before any recourse.

    Attributes
    ----------
    value, limit : ndarray, shape (n_rows,)
        Constrained quantities and their upper limits. [p.u.]
    sensitivity : ndarray, shape (n_rows, n_devices)
        Change per injection of the network's recourse devices. [p.u./kW]
    devices : ndarray of int, shape (n_devices,)
        These devices, among all recourse devices.
    """

    value: Array
    limit: Array
    sensitivity: Array
    devices: NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class RealTimeMarket:
    """Ranges and prices of the real-time dispatch of one step.

    Attributes
    ----------
    lowest_kw, highest_kw : ndarray, shape (n_recourse,)
        Change of injection that each device can deliver. [kW]
    up_price, down_price : ndarray, shape (n_recourse,)
        Offered prices of more and of less injection. [EUR/kWh]
    imbalance_buy, imbalance_sell : float
        Upstream prices of a shortage and of a surplus. [EUR/kWh]
    violation_price : float
        Price of a limit that cannot be kept. [EUR/(p.u. h)]
    pool_of_device : ndarray of int, shape (n_recourse,)
        Balance group of each device.
    """

    lowest_kw: Array
    highest_kw: Array
    up_price: Array
    down_price: Array
    imbalance_buy: float
    imbalance_sell: float
    violation_price: float
    pool_of_device: NDArray[np.intp]


def redispatch(market: RealTimeMarket, grids: Sequence[GridState], pool_omega_kw: Array) -> Array:
    """Dispatch the recourse devices for a known error.

    Parameters
    ----------
    market : RealTimeMarket
        Ranges and prices.
    grids : sequence of GridState
        The networks at the realised errors.
    pool_omega_kw : ndarray, shape (n_pools,)
        Total error of each balance group, a surplus being positive. [kW]

    Returns
    -------
    ndarray, shape (n_recourse,)
        Change of injection of every device. [kW]

    Raises
    ------
    SolverFailedError
        If the solver gives no solution.
    """
    n, n_pools, n_grids = len(market.lowest_kw), len(pool_omega_kw), len(grids)
    cost = np.concatenate(
        [
            market.up_price,
            market.down_price,
            np.full(n_pools, market.imbalance_buy),
            np.full(n_pools, -market.imbalance_sell),
            np.full(n_grids, market.violation_price / _ROW_SCALE),
        ]
    )
    # Omega + up - down = surplus - shortage, pool by pool.
    answer, unit = np.eye(n_pools)[:, market.pool_of_device], np.eye(n_pools)
    balance = np.hstack([answer, -answer, unit, -unit, np.zeros((n_pools, n_grids))])
    blocks, rooms = [], []
    for d, grid in enumerate(grids):
        spread = np.zeros((len(grid.limit), n))
        spread[:, grid.devices] = _ROW_SCALE * grid.sensitivity
        slack = np.zeros((len(grid.limit), n_grids))
        slack[:, d] = -1.0
        nothing = np.zeros((len(grid.limit), 2 * n_pools))
        blocks.append(np.hstack([spread, -spread, nothing, slack]))
        rooms.append(_ROW_SCALE * (grid.limit - grid.value))
    ceiling = np.concatenate(
        [
            np.maximum(market.highest_kw, 0.0),
            np.maximum(-market.lowest_kw, 0.0),
            np.full(2 * n_pools + n_grids, np.inf),
        ]
    )
    result = linprog(
        cost,
        A_ub=np.vstack(blocks),
        b_ub=np.concatenate(rooms),
        A_eq=balance,
        b_eq=-pool_omega_kw,
        bounds=[(0.0, top) for top in ceiling.tolist()],
        method="highs",
    )
    if result.status != 0 or result.x is None:
        raise SolverFailedError(f"real-time dispatch: {result.message}")
    return np.asarray(result.x[:n] - result.x[n : 2 * n])
