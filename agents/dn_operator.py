"""Operators of the distribution networks: they check bids and offer linear network models."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import mesa
import numpy as np

from agents.prosumer import registration, source_maps
from grid.limits import LimitRows
from grid.lindistflow import LinDistFlow
from grid.network_model import AcModel
from grid.sensitivity import SensitivityError
from grid.units import S_BASE_KVA
from market.bid_checks import faults, shown
from market.conditional import sample_weights
from market.finite import require_finite
from market.grid_rows import Phasors
from market.impedances import BranchFlowData
from market.offers import ErrorSamples, NetworkOffer, PastErrors
from market.price_blocks import n_blocks

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from agents.forecasting import Past
    from agents.population import PeerSpec
    from configs.schema import Market
    from grid.network import RadialNetwork
    from grid.network_model import NetworkModel, NetworkPoint
    from market.bids import Bid
    from market.nodal_prices import NodalPrices

    Array = NDArray[np.float64]
    Complex = NDArray[np.complex128]

log = logging.getLogger(__name__)

CONNECTION_OVER_SUBSTATION, CONNECTION_OVER_LOAD = 2.0, 4.0
"""A peer may bid a load up to this many times the rating of its network's substation or, where that
is more, up to this many times its own registered load: a load that is real is never refused because
the substation is too small for it. [-]"""


@dataclass(frozen=True, eq=False)
class _Sensitivities:
    """Sensitivities of the limit rows, and of their phasors, in one step."""

    of_buses: Array
    """To the active power of every bus, (n_rows, n_lines). [p.u./kW]"""
    d_p: Array
    d_q: Array
    """To the active and reactive power of every member, (n_rows, n_members). [p.u./kW]"""
    phasors_of_buses: Complex
    """Of the phasors to the active power of every bus, (n_phasors, n_lines). [p.u./kW]"""
    phasors_d_p: Complex
    phasors_d_q: Complex
    """Of the phasors to the power of every member, (n_phasors, n_members). [p.u./kW]"""


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
    settings : Market
        The market's configuration: its grid model, and how error samples are weighed.
    """

    def __init__(
        self,
        model: Any,
        network: RadialNetwork,
        peers: Sequence[PeerSpec],
        position: Mapping[str, int],
        settings: Market,
    ) -> None:
        super().__init__(model)
        self.grid = network
        self.network = network.name
        self.peers = tuple(peers)
        self.rows = LimitRows.of(network)
        self.ac_seconds = 0.0
        self._market = settings
        self._grid_model: NetworkModel = (
            LinDistFlow.of(network) if settings.grid_model == "lindistflow" else AcModel(network)
        )
        self._bus = np.array([network.position[peer.bus] - 1 for peer in peers], dtype=np.intp)
        self._rating = {
            peer.peer_id: replace(registration(peer), connection_kw=_connection_kw(peer, network))
            for peer in peers
        }
        self._to_p, self._to_q, self._renewable_to_p = _source_matrices(peers, position)
        self._flexible_to_p = _flexible_matrix(peers, position)
        self._step = 0
        self._samples: ErrorSamples | None = None
        self._sensitivities: dict[int, _Sensitivities] = {}
        self._loss_d_p = np.zeros((0, network.n_lines))
        self._window_is_new = False

    def validate(
        self, bids: Sequence[tuple[str, Bid]], step: int, n_steps: int
    ) -> tuple[dict[str, Bid], dict[str, str]]:
        """Sort out the bids that are malformed or impossible.

        Parameters
        ----------
        bids : sequence of tuple of str and Bid
            Senders and what they submitted.
        step : int
            Current step.
        n_steps : int
            Steps of the window.

        Returns
        -------
        accepted : dict of str to Bid
            Valid bids by peer.
        rejected : dict of str to str
            Reasons by sender. Of two bids of one peer the first counts.
        """
        blocks = n_blocks(self._market)
        accepted: dict[str, Bid] = {}
        rejected: dict[str, str] = {}
        for sender, bid in bids:
            rating = self._rating.get(sender)
            if rating is None:
                rejected[sender] = f"unknown peer {sender!r:.80} in network {self.network!r}"
                continue
            found = faults(bid, rating, step, n_steps, self.network, n_blocks=blocks)
            signed = getattr(bid, "peer_id", None)
            if not isinstance(signed, str) or signed != sender:
                found.append(f"peer_id {shown(signed)} is not the sender {sender!r}")
            if sender in accepted:
                found.append("second bid of the same peer")
            if found:
                rejected[sender] = "; ".join(found)
            else:
                accepted[sender] = bid
        return accepted, rejected

    def open_window(self, step: int, forecast: Array, past: Past) -> None:
        """Start a new window.

        Parameters
        ----------
        step : int
            First step of the window.
        forecast : ndarray, shape (n_steps, n_columns)
            Forecast of the profiles.
        past : Past
            Past forecasts of the profiles and their errors, by step of the window.
        """
        self._step, self._window_is_new = step, True
        weights = self._weights(past, self._situation(forecast))
        steps = tuple(map(PastErrors, past.errors, weights, past.day))
        self._samples = ErrorSamples(
            steps, self._to_p, self._to_q, self._renewable_to_p, self._flexible_to_p
        )
        self._sensitivities = {s: d for s, d in self._sensitivities.items() if s >= step}

    def _situation(self, profiles: Array) -> Array:
        """Renewable power and load of the network, (..., n_columns) to (..., 2). [kW]"""
        renewable = self._renewable_to_p.sum(axis=1)
        load = renewable - self._to_p.sum(axis=1)
        return np.stack([profiles @ renewable, profiles @ load], axis=-1)

    def _weights(self, past: Past, situation: Array) -> Array:
        """Probabilities of the error samples in the situations that are forecast, by step."""
        market = self._market
        return sample_weights(
            market.sample_weights,
            past.age_days,
            self._situation(past.forecasts),
            situation,
            forgetting_days=market.forgetting_days,
            width=market.similarity_width,
            largest=market.risk_level / 2,
        )

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
        r = self._grid_model.resistance_pu / S_BASE_KVA
        able = [rating.reactive_kvar > 0 for rating in self._rating.values()]
        # One column a peer, not a bus: peers at one bus move together at worst.
        row_sum: Array = r[:, self._bus[able]].sum(axis=1)[self._bus]
        return row_sum

    @property
    def impedances(self) -> BranchFlowData:
        """Network data that only the branch-flow relaxation asks for."""
        network = self.grid
        return BranchFlowData(
            parent=network.parent,
            r_pu=network.z_pu.real,
            x_pu=network.z_pu.imag,
            g_pu=network.shunt_pu.real[1:],
            b_pu=network.shunt_pu.imag[1:],
            max_i_pu=network.max_i_pu,
            source_vm_pu=network.source_vm_pu,
            base_kva=S_BASE_KVA,
            line_of=self._bus,
        )

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
            The model; where the power flow has no solution it stands at a part of the injections.

        Raises
        ------
        NotFiniteError
            If the schedule or the model is not made of finite numbers.
        """
        peers = list(self._rating)
        require_finite("scheduled p_kw", p_kw, peers, step=self._step)
        require_finite("scheduled q_kvar", q_kvar, peers, step=self._step)
        point = self._evaluate(p_kw, q_kvar)
        for t in range(len(p_kw)):
            if t in refresh or self._step + t not in self._sensitivities:
                d_p, d_q = point.sensitivities(t)
                self._require_finite("sensitivity", d_p)
                self._require_finite("sensitivity", d_q)
                phasor_d_p, phasor_d_q = point.phasor_sensitivities(t)
                self._sensitivities[self._step + t] = _Sensitivities(
                    of_buses=d_p,
                    d_p=d_p[:, self._bus],
                    d_q=d_q[:, self._bus],
                    phasors_of_buses=phasor_d_p,
                    phasors_d_p=phasor_d_p[:, self._bus],
                    phasors_d_q=phasor_d_q[:, self._bus],
                )
        known = [self._sensitivities[self._step + t] for t in range(len(p_kw))]
        loss_d_p, loss_d_q = self._loss_gradient(point)
        if self._window_is_new:  # the market prices losses as they are offered first
            self._loss_d_p, self._window_is_new = loss_d_p, False
        part = point.scale[:, None]
        offer = NetworkOffer(
            network=self.network,
            p_kw=part * p_kw,
            q_kvar=part * q_kvar,
            value=point.value,
            limit=self.rows.limit,
            parent=self.rows.parent,
            d_p={t: s.d_p for t, s in enumerate(known)},
            d_q={t: s.d_q for t, s in enumerate(known)},
            loss_kw=point.loss_kw,
            loss_d_p=loss_d_p[:, self._bus],
            loss_d_q=loss_d_q[:, self._bus],
            converged=point.scale == 1.0,
            phasors=Phasors(
                row=self.rows.phasor_row,
                value=point.phasors,
                d_p={t: s.phasors_d_p for t, s in enumerate(known)},
                d_q={t: s.phasors_d_q for t, s in enumerate(known)},
            ),
        )
        for name in ("value", "loss_kw", "loss_d_p", "loss_d_q"):
            self._require_finite(name, getattr(offer, name))
        return offer

    def _require_finite(self, name: str, values: Array) -> None:
        """Nobody is offered what is not made of finite numbers."""
        require_finite(f"{name} of network {self.network}", values, step=self._step)

    def publish_prices(
        self,
        prices: NodalPrices,
        network: int,
        members: NDArray[np.intp],
        k: int,
        loss_price: float,
    ) -> dict[str, Array]:
        """Price every bus of a binding step but the source.

        A bus with one peer has the price of that peer. The others, where the market has no say,
        have that of a consumer without devices, at the operator's own sensitivities.

        Parameters
        ----------
        prices : NodalPrices
            What the clearing says.
        network : int
            Place of the network in the clearing.
        members : ndarray of int, shape (n_members,)
            The network's peers, in the clearing's order.
        k : int
            Binding step.
        loss_price : float
            Price of losses. [EUR/kWh]

        Returns
        -------
        dict of str to ndarray, shape (n_lines,)
            The price ``dlmp`` and its components ``energy``, ``loss``, ``voltage`` and ``risk``.
            [EUR/kWh]
        """
        s = self._sensitivities[self._step + k]
        out = prices.of_consumers(network, k, s.of_buses, s.phasors_of_buses)
        out["loss"] = -loss_price * self._loss_d_p[k]
        out["dlmp"] = out["dlmp"] + out["loss"]
        bus, first, count = np.unique(self._bus, return_index=True, return_counts=True)
        alone = first[count == 1]
        for name, at_bus in out.items():
            at_bus[bus[count == 1]] = getattr(prices, name)[k, members[alone]]
        return out

    def state(self) -> dict[str, Any]:
        """Return what it remembers from one clearing to the next, and while one binds."""
        return {
            "step": self._step,
            "sensitivities": self._sensitivities,
            "loss_d_p": self._loss_d_p,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a state."""
        self._step, self._loss_d_p = state["step"], state["loss_d_p"]
        self._sensitivities = state["sensitivities"]

    def _loss_gradient(self, point: NetworkPoint) -> tuple[Array, Array]:
        """Differentiate the losses; next to voltage collapse they count as constant."""
        try:
            return point.loss_gradient()
        except SensitivityError as error:
            log.warning("step %d: %s; its losses count as constant", self._step, error)
            nothing = np.zeros((len(point.scale), self.grid.n_lines))
            return nothing, nothing

    def bus_injections(self, per_peer: Array) -> Array:
        """Add members' values, (..., n_members), at their buses, (..., n_buses - 1)."""
        out = np.zeros((*per_peer.shape[:-1], self.grid.n_buses - 1))
        np.add.at(out.T, self._bus, per_peer.T)
        return out

    def _evaluate(self, p_kw: Array, q_kvar: Array) -> NetworkPoint:
        """Evaluate the network model at a schedule."""
        start = time.perf_counter()
        point = self._grid_model.at(self.bus_injections(p_kw), self.bus_injections(q_kvar))
        self.ac_seconds += time.perf_counter() - start
        return point


def _connection_kw(peer: PeerSpec, network: RadialNetwork) -> float:
    """Largest load that a peer may bid, active or reactive. [kW, kvar]"""
    registered = max(peer.load_kw + peer.flexible_kw, abs(peer.load_kvar))
    return max(
        CONNECTION_OVER_SUBSTATION * network.substation_kva, CONNECTION_OVER_LOAD * registered
    )


def _source_matrices(
    peers: Sequence[PeerSpec], position: Mapping[str, int]
) -> tuple[Array, Array, Array]:
    """Injection of each peer per unit of each profile column, (n_columns, n_members).

    Active and reactive power of all devices, and active power of the renewable ones alone.
    """
    to_p, to_q, renewable_to_p = (np.zeros((len(position), len(peers))) for _ in range(3))
    for k, peer in enumerate(peers):
        for column, kw, kvar in source_maps(peer):
            to_p[position[column], k] += kw
            to_q[position[column], k] += kvar
            # Injections come from renewable plants, the other sources are loads.
            renewable_to_p[position[column], k] += max(kw, 0.0)
    return to_p, to_q, renewable_to_p


def _flexible_matrix(peers: Sequence[PeerSpec], position: Mapping[str, int]) -> Array:
    """Injection of each peer's flexible load per unit of each column, (n_columns, n_members)."""
    out = np.zeros((len(position), len(peers)))
    for k, peer in enumerate(peers):
        if peer.flexible_kw:
            out[position[f"load_p:{peer.flexible_profile}"], k] -= peer.flexible_kw
    return out
