r"""The second stage: the policy that answers the forecast errors.

The errors of a *pool* of networks (each network by itself, or all together) add up to
:math:`\Omega`. A recourse device k changes its injection by

.. math:: -\sum_s \alpha_{k,s} \, \omega_s(\Omega), \qquad \sum_s \omega_s(\Omega) = \Omega,

where the *signals* :math:`\omega_s` are the error itself (one common share) or its positive and
its negative part (separate shares for a surplus and a shortage; a piecewise affine policy, cf.
Georghiou, Wiesemann, Kuhn, Mathematical Programming 152, 2015, doi:10.1007/s10107-014-0789-6).
The shares of all devices and of the upstream grid sum to one for each signal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from configs.schema import Market
    from market.roster import Roster

    Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RecoursePolicy:
    """Which errors are answered together, and with how many shares.

    Attributes
    ----------
    n_signals : int
        1 for one share whatever the sign of the error, 2 for a share each of surplus and shortage.
    pool_of : ndarray of int, shape (n_networks,)
        Pool of each network; errors add up within a pool.
    """

    n_signals: int
    pool_of: NDArray[np.intp]

    @classmethod
    def of(cls, settings: Market, n_networks: int) -> RecoursePolicy:
        """Take the policy from the market's configuration."""
        own = np.arange(n_networks)
        pool_of = own if settings.recourse_pool == "network" else np.zeros_like(own)
        return cls(2 if settings.recourse_shares == "up_down" else 1, pool_of)

    @property
    def n_pools(self) -> int:
        """Number of pools."""
        return int(self.pool_of.max()) + 1

    @property
    def surplus(self) -> int:
        """Position of the signal that tells of a surplus."""
        return 0

    @property
    def shortage(self) -> int:
        """Position of the signal that tells of a shortage."""
        return self.n_signals - 1

    def networks(self, pool: int) -> NDArray[np.intp]:
        """Networks of a pool."""
        return np.flatnonzero(self.pool_of == pool)

    def pooled(self, omega_kw: Array) -> Array:
        """Add the networks' errors, (..., n_networks), by pool, (..., n_pools). [kW]"""
        out = np.zeros((*omega_kw.shape[:-1], self.n_pools))
        np.add.at(out.T, self.pool_of, omega_kw.T)
        return out

    def signals(self, omega_kw: Array) -> Array:
        """Split an error, any shape, into signals along a new last axis. [kW]"""
        if self.n_signals == 1:
            return omega_kw[..., None]
        return np.stack([np.maximum(omega_kw, 0.0), np.minimum(omega_kw, 0.0)], axis=-1)

    def asked(self, alpha: Array, omega_kw: Array, roster: Roster) -> Array:
        """Change of injection asked of every recourse device.

        Parameters
        ----------
        alpha : ndarray, shape (n_signals, n_recourse)
            Recourse shares of the step.
        omega_kw : ndarray, shape (..., n_networks)
            Sum of each network's forecast errors, a surplus being positive. [kW]
        roster : Roster
            The registered peers.

        Returns
        -------
        ndarray, shape (..., n_recourse)
            Asked change of injection. [kW]
        """
        signals = self.signals(self.pooled(omega_kw))
        of_device = signals[..., self.pool_of[roster.network_of[roster.recourse]], :]
        return -np.einsum("...ks,sk->...k", of_device, alpha)


def network_errors(error_kw: Array, roster: Roster) -> Array:
    """Sum the peers' errors, (..., n_peers), by network, (..., n_networks). [kW]"""
    sums: Array = error_kw @ roster.by_network(np.arange(roster.n_peers))
    return sums
