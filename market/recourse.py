"""The second stage: the affine policy that answers the forecast errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from market.roster import Roster

    Array = NDArray[np.float64]


def asked_recourse(alpha: Array, omega_kw: Array, roster: Roster) -> Array:
    """Change of injection asked of every recourse device.

    Device k answers its share of its network's error: ``-alpha_k * Omega``. The upstream grid
    takes the rest.

    Parameters
    ----------
    alpha : ndarray, shape (n_recourse,)
        Recourse shares of the step.
    omega_kw : ndarray, shape (n_networks,)
        Sum of each network's forecast errors, a surplus being positive. [kW]
    roster : Roster
        The registered peers.

    Returns
    -------
    ndarray, shape (n_recourse,)
        Asked change of injection. [kW]
    """
    return -alpha * omega_kw[roster.network_of[roster.recourse]]


def network_errors(error_kw: Array, roster: Roster) -> Array:
    """Sum the peers' forecast errors by network, shape (n_networks,). [kW]"""
    sums = np.bincount(roster.network_of, error_kw, minlength=roster.n_networks)
    return np.asarray(sums, dtype=np.float64)
