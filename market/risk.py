r"""Who causes the cost of risk, and who relieves it.

A binding chance constraint gives up the room :math:`\kappa \sigma_r` of its limit, worth
:math:`\mu_r \kappa \sigma_r` with :math:`\mu_r` what a higher limit would save. The standard
deviation is homogeneous of degree one in the errors of the peers and in what the recourse takes
back, so that the marginal contributions add up to all of it (Euler; cf. Tasche, in: Resti (ed.),
Pillar II in the New Basel Accord, Risk Books, 2008, for such allocations):

.. math:: \sigma_r = \sum_j \frac{\mathrm{Cov}(Y_{rj} \xi_j, z_r)}{\sigma_r}
          - \sum_k \frac{\mathrm{Cov}(Y_{rk} \alpha_k^\top \omega, z_r)}{\sigma_r} .

The first sum is what the forecast errors of the peers take of the grid, the second what the
recourse devices give back. Likewise the share of a peer in the total error of its pool, which
recourse capacity is kept for, is :math:`\mathrm{Cov}(\xi_j, \Omega) / \mathrm{Var}(\Omega)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from market.chance import ChanceRow
    from market.roster import Roster
    from market.schedule import Schedule
    from market.uncertainty import Uncertainty

    Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RiskShares:
    """Allocation of the cost of risk in one step.

    Attributes
    ----------
    margin : ndarray, shape (n_peers,)
        Worth of the room that each peer's forecast error takes; negative where it makes up for
        the errors of others. [EUR/h]
    relief : ndarray, shape (n_recourse,)
        Worth of the room that each recourse device gives back; negative where it takes some.
        [EUR/h]
    imbalance : ndarray, shape (n_peers,)
        Share of each peer in the variance of its pool's total error; sums to one by pool, or to
        zero where nothing is uncertain.
    """

    margin: Array
    relief: Array
    imbalance: Array


def risk_shares(
    rows: Sequence[ChanceRow],
    mu: Array,
    *,
    schedule: Schedule,
    uncertainty: Uncertainty,
    roster: Roster,
    step: int,
) -> RiskShares:
    """Allocate the cost of risk of one binding step.

    Parameters
    ----------
    rows : sequence of ChanceRow
        The chance constraints of the window.
    mu : ndarray, shape (n_rows,)
        What a higher limit of each would save. [EUR/(p.u. h)]
    schedule : Schedule
        The schedule, with the recourse shares.
    uncertainty : Uncertainty
        The errors.
    roster : Roster
        The registered peers.
    step : int
        Step of the window.
    """
    margin, relief = np.zeros(roster.n_peers), np.zeros(len(roster.recourse))
    for row, dual in zip(rows, mu.tolist(), strict=True):
        if row.step == step and row.kappa > 0 and dual > 0:
            of_peers, of_devices = _contributions(row, schedule, uncertainty, roster)
            margin[roster.members(row.network)] += dual * row.kappa * of_peers
            relief += dual * row.kappa * of_devices
    return RiskShares(margin, relief, _imbalance(uncertainty, roster, step))


def _contributions(
    row: ChanceRow, schedule: Schedule, uncertainty: Uncertainty, roster: Roster
) -> tuple[Array, Array]:
    """What members add to, and devices take off, the standard deviation of a row. [p.u.]"""
    d, t = row.network, row.step
    p_error, q_error = uncertainty.member_errors(d, t)
    per_member = p_error * row.d_p + q_error * row.d_q
    signals = uncertainty.signals(d, t)
    devices = np.flatnonzero(roster.network_of[roster.recourse] == d)
    owner = np.searchsorted(roster.members(d), roster.recourse[devices])
    per_device = signals @ schedule.alpha[t][:, devices] * row.d_p[owner]
    weights = uncertainty.weights(d, t)
    z = per_member.sum(axis=1) - per_device.sum(axis=1)
    toward = weights * (z - weights @ z)
    sigma = float(np.sqrt(toward @ z))
    relief = np.zeros(len(roster.recourse))
    if sigma == 0.0:
        return np.zeros(per_member.shape[1]), relief
    relief[devices] = toward @ per_device / sigma
    return toward @ per_member / sigma, relief


def _imbalance(uncertainty: Uncertainty, roster: Roster, step: int) -> Array:
    """Shares of the peers in the variance of their pools' total errors, (n_peers,)."""
    out = np.zeros(roster.n_peers)
    policy = uncertainty.policy
    for pool in range(policy.n_pools):
        networks = policy.networks(pool)
        omega, weights = uncertainty.pool_omega(pool, step), uncertainty.weights(networks[0], step)
        toward = weights * (omega - weights @ omega)
        variance = float(toward @ omega)
        for d in networks if variance > 0 else ():
            out[roster.members(d)] = toward @ uncertainty.member_errors(d, step)[0] / variance
    return out
