"""Operators of the distribution networks: they check bids and offer linear network models."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import mesa
import numpy as np

from agents.prosumer import registration, source_maps
from grid.limits import LimitRows
from grid.power_flow import BatchPowerFlow
from grid.sensitivity import ImpedanceModel, OperatingPoint, SensitivityError
from grid.units import S_BASE_KVA
from market.bids import faults
from market.offers import ErrorSamples, NetworkOffer

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from agents.population import PeerSpec
    from grid.network import RadialNetwork
    from market.bids import Bid

    Array = NDArray[np.float64]

log = logging.getLogger(__name__)


class DnOperator(mesa.Agent):
    """The operator of one network.

    Parameters
    ----------
    model : mesa.Model
        The simulation.
    network : RadialNetwork
        The network.
    peers : sequence of PeerSpec
        Its peers, in the roster's order.
    position : mapping of str to int
        Position of each profile column in forecast arrays.
    """

    def __init__(
        self,
        model: Any,
        network: RadialNetwork,
        peers: Sequence[PeerSpec],
        position: Mapping[str, int],
    ) -> None:
        super().__init__(model)
        self.grid = network
        self.network = network.name
        self.peers = tuple(peers)
        self.rows = LimitRows.of(network)
        self.ac_seconds = 0.0
        self._impedance = ImpedanceModel.of(network)
        self._power_flow = BatchPowerFlow(network)
        self._bus = np.array([network.position[peer.bus] - 1 for peer in peers], dtype=np.intp)
        self._rating = {peer.peer_id: registration(peer) for peer in peers}
        self._to_p, self._to_q = _source_matrices(peers, position)
        self._step = 0
        self._samples: ErrorSamples | None = None
        self._sensitivities: dict[int, tuple[Array, Array]] = {}

    def validate(
        self, bids: Sequence[Bid], step: int, n_steps: int
    ) -> tuple[dict[str, Bid], dict[str, str]]:
        """Sort out the bids that are malformed or impossible.

        Parameters
        ----------
        bids : sequence of Bid
            What was submitted.
        step : int
            Current step.
        n_steps : int
            Steps of the window.

        Returns
        -------
        accepted : dict of str to Bid
            Valid bids by peer.
        rejected : dict of str to str
            Reasons by peer; an unknown sender is named as it named itself.
        """
        accepted: dict[str, Bid] = {}
        rejected: dict[str, str] = {}
        for bid in bids:
            sender = str(bid.peer_id)
            rating = self._rating.get(bid.peer_id)
            if rating is None:
                rejected[sender] = f"unknown peer {sender!r} in network {self.network!r}"
                continue
            found = faults(bid, rating, step, n_steps, self.network)
            if sender in accepted:
                found.append("second bid of the same peer")
            if found:
                rejected[sender] = "; ".join(found)
            else:
                accepted[sender] = bid
        return accepted, rejected

    def open_window(self, step: int, errors: tuple[Array, ...]) -> None:
        """Start a new window.

        Parameters
        ----------
        step : int
            First step of the window.
        errors : tuple of ndarray, shape (n_samples, n_columns) each
            Past forecast errors of the profiles, by step of the window.
        """
        self._step = step
        self._samples = ErrorSamples(errors, self._to_p, self._to_q)
        self._sensitivities = {s: d for s, d in self._sensitivities.items() if s >= step}

    @property
    def samples(self) -> ErrorSamples:
        """Error samples of the current window."""
        if self._samples is None:
            msg = f"operator of {self.network} has no window open"
            raise RuntimeError(msg)
        return self._samples

    @property
    def reactive_curvature(self) -> Array:
        r"""Bound on the curvature of the losses in the members' reactive power. [kW/kvar2]

        Near 1 p.u. the losses are :math:`q^T R q` with R the reduced resistance matrix, which its
        row sums dominate.
        """
        r = self._impedance.z.real / S_BASE_KVA
        able = [rating.reactive_kvar > 0 for rating in self._rating.values()]
        # One column a peer, not a bus: peers at one bus move together at worst.
        row_sum: Array = r[:, self._bus[able]].sum(axis=1)[self._bus]
        return row_sum

    def linearise(self, p_kw: Array, q_kvar: Array, refresh: Collection[int]) -> NetworkOffer:
        """Offer a linear model around a schedule.

        Parameters
        ----------
        p_kw, q_kvar : ndarray, shape (n_steps, n_members)
            Net injections, loads included. [kW, kvar]
        refresh : collection of int
            Steps of the window whose sensitivities are computed anew; the others keep those of
            the operating point at which they were last computed.

        Returns
        -------
        NetworkOffer
            The model; where the power flow has no solution it stands at zero injections.
        """
        point, converged = self._operating_point(p_kw, q_kvar)
        for t in range(len(p_kw)):
            if t in refresh or self._step + t not in self._sensitivities:
                d_p, d_q = self.rows.sensitivities(point, t)
                self._sensitivities[self._step + t] = d_p[:, self._bus], d_q[:, self._bus]
        known = [self._sensitivities[self._step + t] for t in range(len(p_kw))]
        loss_d_p, loss_d_q = self._loss_gradient(point)
        kept = converged[:, None]
        return NetworkOffer(
            network=self.network,
            p_kw=np.where(kept, p_kw, 0.0),
            q_kvar=np.where(kept, q_kvar, 0.0),
            value=self.rows.value(point),
            limit=self.rows.limit,
            parent=self.rows.parent,
            d_p={t: d[0] for t, d in enumerate(known)},
            d_q={t: d[1] for t, d in enumerate(known)},
            loss_kw=point.loss_kw,
            loss_d_p=loss_d_p[:, self._bus],
            loss_d_q=loss_d_q[:, self._bus],
            converged=converged,
        )

    def _loss_gradient(self, point: OperatingPoint) -> tuple[Array, Array]:
        """Differentiate the losses; next to voltage collapse they count as constant."""
        try:
            return point.loss_gradient()
        except SensitivityError as error:
            log.warning("step %d: %s; its losses count as constant", self._step, error)
            nothing = np.zeros_like(point.p_kw)
            return nothing, nothing

    def bus_injections(self, per_peer: Array) -> Array:
        """Add members' values, (..., n_members), at their buses, (..., n_buses - 1)."""
        out = np.zeros((*per_peer.shape[:-1], self.grid.n_buses - 1))
        np.add.at(out.T, self._bus, per_peer.T)
        return out

    def _operating_point(
        self, p_kw: Array, q_kvar: Array
    ) -> tuple[OperatingPoint, NDArray[np.bool_]]:
        """Solve the AC power flow; a step without a solution stands at zero injections."""
        p_bus, q_bus = self.bus_injections(p_kw), self.bus_injections(q_kvar)
        start = time.perf_counter()
        voltage = self._power_flow.solve(p_bus, q_bus)
        self.ac_seconds += time.perf_counter() - start
        converged: NDArray[np.bool_] = np.asarray(np.isfinite(voltage).all(axis=1))
        if not converged.all():
            idle = np.zeros((1, self.grid.n_buses - 1))
            voltage[~converged] = self._power_flow.solve(idle, idle)
            p_bus[~converged] = q_bus[~converged] = 0.0
        return OperatingPoint(self._impedance, voltage, p_bus, q_bus), converged


def _source_matrices(peers: Sequence[PeerSpec], position: Mapping[str, int]) -> tuple[Array, Array]:
    """Injection of each peer per unit of each profile column, (n_columns, n_members)."""
    to_p, to_q = np.zeros((len(position), len(peers))), np.zeros((len(position), len(peers)))
    for k, peer in enumerate(peers):
        for column, kw, kvar in source_maps(peer):
            to_p[position[column], k] += kw
            to_q[position[column], k] += kvar
    return to_p, to_q
