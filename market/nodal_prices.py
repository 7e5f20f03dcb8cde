r"""Nodal prices from the duals of the first stage.

The distribution locational marginal price (DLMP) of a peer is the derivative of the optimal cost
with respect to its load. With the Lagrangian of the first stage at its optimum,

.. math:: \pi_j = \underbrace{\pi^{retail} - \mu^{bought}_{g(j)} - \mu^{import}_j}_{energy}
          \underbrace{- \pi^{loss} \frac{\partial L}{\partial P_j}}_{loss}
          \underbrace{- \sum_r \mu_r \frac{\partial y_r}{\partial P_j}}_{congestion} ,

with r the constrained voltages, currents and substation powers of the network and :math:`\mu_r`
what a higher limit would save (for radial networks cf. Papavasiliou, IEEE Trans. Smart Grid 9(5),
2018, doi:10.1109/TSG.2017.2673860). Energy costs what the peer pays for one more kWh, network
fee included, while it buys; what it earns for one less while it sells; and what its devices are
worth in between.

Safety margins and the room kept for recourse move these prices too. How much they do is the
difference to the prices of the same clearing without them: the *risk* component (for prices of
chance-constrained voltages and reserves cf. Mieth, Dvorkin, Distribution electricity pricing under
uncertainty, IEEE Trans. Power Syst., 2020, arXiv:1905.07526). A deterministic clearing has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from market.book import BidBook, TariffWindow
    from market.chance import ChanceRow
    from market.decisions import Decisions
    from market.roster import Roster

    Array = NDArray[np.float64]
    Complex = NDArray[np.complex128]


SELLS_KW = 1e-3
"""A peer that exports less than this, the solver's accuracy, sells nothing. [kW]"""


@dataclass(frozen=True, eq=False)
class MarginalCosts:
    """Derivatives of the optimal cost of one solution, in the steps that bind. [EUR/kWh]

    Attributes
    ----------
    energy, congestion : ndarray, shape (n_binding, n_peers)
        With respect to each peer's load: of the energy, and of the grid limits.
    consumer : ndarray, shape (n_binding, n_networks)
        Energy for a consumer without devices, network fee included.
    pool : ndarray, shape (n_binding, n_networks)
        Price of the P2P pool of each network: the dual of its balance.
    mu : tuple of ndarray, shape (n_binding, n_rows), by network
        What a higher limit would save. [EUR/(p.u. h)]
    nu : tuple of ndarray of complex, shape (n_binding, n_phasors), by network
        The same of half-planes that support magnitudes, times the conjugates of their directions
        and summed by phasor. [EUR/(p.u. h)]
    """

    energy: Array
    congestion: Array
    consumer: Array
    pool: Array
    mu: tuple[Array, ...]
    nu: tuple[Complex, ...]

    def congestion_at(self, network: int, k: int, d_p: Array, d_phasor: Complex) -> Array:
        """Price of the grid limits for a load by its sensitivities, (n_buses,). [EUR/kWh]"""
        # A load moves the rows the other way than an injection.
        price: Array = -self.mu[network][k] @ d_p - (self.nu[network][k] @ d_phasor).real
        return price


@dataclass(frozen=True, eq=False)
class NodalPrices:
    """Nodal prices of the binding steps and what they are made of.

    The price of a peer is ``energy + loss + voltage + risk``. What it owes for its use of the grid,
    on top of the price that its energy is traded at, is ``loss + voltage + margin``.

    Attributes
    ----------
    actual : MarginalCosts
        Of the clearing.
    riskless : MarginalCosts, optional
        Of the same clearing without margins and reserves; none where it was not computed.
    loss : ndarray, shape (n_binding, n_peers)
        Loss component. [EUR/kWh]
    """

    actual: MarginalCosts
    riskless: MarginalCosts | None
    loss: Array

    @property
    def _base(self) -> MarginalCosts:
        return self.riskless or self.actual

    @property
    def pool(self) -> Array:
        """Price of each network's P2P pool, (n_binding, n_networks). [EUR/kWh]"""
        return self.actual.pool

    @property
    def energy(self) -> Array:
        """Energy without the effect of risk, (n_binding, n_peers). [EUR/kWh]"""
        return self._base.energy

    @property
    def voltage(self) -> Array:
        """Voltage and current congestion without safety margins, (n_binding, n_peers). [EUR/kWh]"""
        return self._base.congestion

    @property
    def margin(self) -> Array:
        """Congestion that is due to margins and reserves, (n_binding, n_peers). [EUR/kWh]"""
        return self.actual.congestion - self._base.congestion

    @property
    def risk(self) -> Array:
        """All that margins and reserves add to the price, (n_binding, n_peers). [EUR/kWh]

        Not a number where it was not told apart.
        """
        if self.riskless is None:
            return np.full_like(self.loss, np.nan)
        return self.margin + self.actual.energy - self._base.energy

    @property
    def dlmp(self) -> Array:
        """Derivative of the optimal cost by each peer's load, (n_binding, n_peers). [EUR/kWh]"""
        return self.actual.energy + self.loss + self.actual.congestion

    def of_consumers(self, network: int, k: int, d_p: Array, d_phasor: Complex) -> dict[str, Array]:
        """Price consumers without devices at other buses than the peers'.

        Parameters
        ----------
        network : int
            Network of the buses.
        k : int
            Binding step.
        d_p : ndarray, shape (n_rows, n_buses)
            Sensitivities of the constrained quantities to the buses' injections. [p.u./kW]
        d_phasor : ndarray of complex, shape (n_phasors, n_buses)
            Sensitivities of the phasors. [p.u./kW]

        Returns
        -------
        dict of str to ndarray, shape (n_buses,)
            ``energy``, ``voltage``, ``risk``, and their sum ``dlmp``. [EUR/kWh]
        """
        base = self._base
        voltage = base.congestion_at(network, k, d_p, d_phasor)
        energy = np.full(d_p.shape[1], base.consumer[k, network])
        whole = self.actual.consumer[k, network] + self.actual.congestion_at(
            network, k, d_p, d_phasor
        )
        risk = whole - energy - voltage if self.riskless else np.full_like(energy, np.nan)
        return {"dlmp": whole, "energy": energy, "voltage": voltage, "risk": risk}


def marginal_costs(
    decisions: Decisions,
    rows: Sequence[ChanceRow],
    *,
    book: BidBook,
    tariff: TariffWindow,
    roster: Roster,
    groups: NDArray[np.intp],
    n_binding: int,
    n_rows: Sequence[int],
    n_phasors: Sequence[int],
) -> MarginalCosts:
    """Read the marginal costs from the duals of a solution.

    Parameters
    ----------
    decisions : Decisions
        The solution.
    rows : sequence of ChanceRow
        The chance constraints that it was solved with.
    book : BidBook
        The bids.
    tariff : TariffWindow
        The supplier's prices.
    roster : Roster
        The registered peers.
    groups : ndarray of int, shape (n_peers,)
        Price group of every peer.
    n_binding : int
        Number of steps that bind.
    n_rows, n_phasors : sequence of int
        Number of constrained quantities, and of phasors among them, by network.
    """
    binding, hours = slice(0, n_binding), roster.step_hours
    retail, feed_in = tariff.retail[binding, None], tariff.feed_in[binding, None]
    bought = retail - decisions.duals["bought_max"][binding] / hours
    energy = bought[:, groups]
    energy[:, roster.active] -= decisions.duals["imports_min"][binding] / hours
    # Who is on a retail contract trades with the supplier only, whatever its group does.
    sells = decisions.values["exports"][binding] > SELLS_KW
    on_contract = np.broadcast_to(retail, energy.shape).copy()
    on_contract[:, roster.active] = np.where(sells, feed_in, retail)
    mu, nu = shadow_prices(rows, decisions.mu / hours, n_binding, n_rows, n_phasors)
    return MarginalCosts(
        energy=np.where(book.participates, energy, on_contract),
        congestion=_congestion(rows, decisions.mu / hours, roster, n_binding),
        consumer=np.array(
            [
                bought[:, np.unique(groups[_consumers(roster, d)])].min(axis=1)
                for d in range(roster.n_networks)
            ]
        ).T,
        # The dual of an equality has the sign of its left-hand side: sales less purchases.
        pool=-decisions.duals["pool_balance"][binding] / hours,
        mu=mu,
        nu=nu,
    )


def shadow_prices(
    rows: Sequence[ChanceRow],
    mu: Array,
    n_binding: int,
    n_rows: Sequence[int],
    n_phasors: Sequence[int],
) -> tuple[tuple[Array, ...], tuple[Complex, ...]]:
    """Duals of all constrained quantities and phasors by network, zero for those not posed.

    Returns
    -------
    mu, nu
        See :class:`MarginalCosts`. [EUR/(p.u. h)]
    """
    of_rows = tuple(np.zeros((n_binding, n)) for n in n_rows)
    of_phasors = tuple(np.zeros((n_binding, n), dtype=np.complex128) for n in n_phasors)
    for row, dual in zip(rows, mu.tolist(), strict=True):
        if row.step >= n_binding:
            continue
        if row.support is None:
            of_rows[row.network][row.step, row.index] = dual
        else:
            normal = row.support.direction.conjugate()
            of_phasors[row.network][row.step, row.support.phasor] += dual * normal
    return of_rows, of_phasors


def _consumers(roster: Roster, network: int) -> NDArray[np.intp]:
    """Peers of a network without devices; all of them where everybody has some."""
    members = roster.members(network)
    idle = np.setdiff1d(members, roster.active)
    return idle if len(idle) else members


def _congestion(rows: Sequence[ChanceRow], mu: Array, roster: Roster, n_binding: int) -> Array:
    """Price of the grid limits at every peer, shape (n_binding, n_peers). [EUR/kWh]"""
    out = np.zeros((n_binding, roster.n_peers))
    for row, dual in zip(rows, mu.tolist(), strict=True):
        if row.step < n_binding:
            # A load moves the row the other way than an injection.
            out[row.step, roster.members(row.network)] -= dual * row.d_p
    return out
