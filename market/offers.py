"""What a network operator offers the DSO: a linear network model and its error samples.

The DSO sees no impedances, no topology beyond which constraint lies next to which, and no
metering data of single peers: only these numbers. The branch-flow relaxation alone asks for more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from market.grid_rows import INSIDE, GridRows, HalfPlanes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from numpy.typing import NDArray

    from market.grid_rows import Phasors
    from market.impedances import BranchFlowData

    Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class NetworkOffer:
    """A linear model of one network around a schedule, exact at the schedule itself.

    What is exact the operator's grid model decides: the AC power flow or LinDistFlow, whose
    voltages and losses then stand wherever those of an AC power flow are spoken of.

    Columns are the network's peers in the roster's order.

    Attributes
    ----------
    network : str
        Name of the network.
    p_kw, q_kvar : ndarray, shape (n_steps, n_members)
        The schedule: net injections, loads included. [kW, kvar]
    value : ndarray, shape (n_steps, n_rows)
        Constrained quantities at the schedule, from an AC power flow. [p.u.]
    limit : ndarray, shape (n_rows,)
        Their upper limits. [p.u.]
    parent : ndarray of int, shape (n_rows,)
        For each row the same quantity one place closer to the source, -1 for none.
    d_p, d_q : mapping of int to ndarray, shape (n_rows, n_members)
        Sensitivities of the rows, by step of the window. [p.u./kW, p.u./kvar]
    loss_kw : ndarray, shape (n_steps,)
        AC losses at the schedule. [kW]
    loss_d_p, loss_d_q : ndarray, shape (n_steps, n_members)
        Loss per injected power. [kW/kW, kW/kvar]
    converged : ndarray of bool, shape (n_steps,)
        Whether the AC power flow at the schedule has a solution. Where it has none, the model
        stands around a part of it that has one, and ``p_kw`` and ``q_kvar`` are that part.
    phasors : Phasors, optional
        The complex quantities whose magnitudes are limited; none where no row is a magnitude.
    """

    network: str
    p_kw: Array
    q_kvar: Array
    value: Array
    limit: Array
    parent: NDArray[np.intp]
    d_p: Mapping[int, Array]
    d_q: Mapping[int, Array]
    loss_kw: Array
    loss_d_p: Array
    loss_d_q: Array
    converged: NDArray[np.bool_]
    phasors: Phasors | None = None

    @property
    def n_phasors(self) -> int:
        """Number of quantities whose magnitudes are limited."""
        return 0 if self.phasors is None else len(self.phasors.row)

    def rows_at(self, step: int, p_kw: Array, q_kvar: Array) -> Array:
        """Value of the offered rows at other injections of the members, (n_rows,). [p.u.]"""
        d_p_kw, d_q_kvar = p_kw - self.p_kw[step], q_kvar - self.q_kvar[step]
        moved: Array = self.value[step] + self.d_p[step] @ d_p_kw + self.d_q[step] @ d_q_kvar
        if self.phasors is not None:
            of = self.phasors
            moved[of.row] = np.abs(of.value[step] + of.d_p[step] @ d_p_kw + of.d_q[step] @ d_q_kvar)
        return moved

    def moved_to(self, other: NetworkOffer, steps: Iterable[int]) -> NetworkOffer:
        """Take some steps from a model around another schedule."""
        p, q, value = self.p_kw.copy(), self.q_kvar.copy(), self.value.copy()
        d_p, d_q, phasors = dict(self.d_p), dict(self.d_q), self.phasors
        for t in steps:
            p[t], q[t], value[t] = other.p_kw[t], other.q_kvar[t], other.value[t]
            d_p[t], d_q[t] = other.d_p[t], other.d_q[t]
            if phasors is not None and other.phasors is not None:
                phasors = phasors.moved_to(other.phasors, t)
        return replace(self, p_kw=p, q_kvar=q, value=value, d_p=d_p, d_q=d_q, phasors=phasors)

    def rows(self, step: int, half_planes: HalfPlanes | None = None) -> GridRows:
        """Rows of one step, with half-planes of limited magnitudes behind them."""
        planes = HalfPlanes.none() if half_planes is None else half_planes
        own = np.arange(len(self.limit))
        value, limit, element = self.value[step], self.limit, own
        d_p, d_q = self.d_p[step], self.d_q[step]
        if len(planes.phasor) and self.phasors is not None:
            of, which, normal = self.phasors, planes.phasor, np.conj(planes.direction)
            value = np.concatenate([value, (normal * of.value[step, which]).real])
            limit = np.concatenate([limit, limit[of.row[which]] - INSIDE])
            element = np.concatenate([element, of.row[which]])
            d_p = np.vstack([d_p, (normal[:, None] * of.d_p[step][which]).real])
            d_q = np.vstack([d_q, (normal[:, None] * of.d_q[step][which]).real])
        return GridRows(
            value=value,
            limit=limit,
            d_p=d_p,
            d_q=d_q,
            p_kw=self.p_kw[step],
            q_kvar=self.q_kvar[step],
            parent=self.parent,
            half_planes=planes,
            element=element,
            converged=bool(self.converged[step]),
        )


@dataclass(frozen=True, eq=False)
class PastErrors:
    """Past forecast errors that stand for the coming one of a step.

    Attributes
    ----------
    sources : ndarray, shape (n_samples, n_sources)
        Errors of the underlying series, actual minus forecast.
    weights : ndarray, shape (n_samples,)
        Probabilities of the samples.
    day : ndarray of int, shape (n_samples,)
        Day on which each happened; samples of one day are not independent.
    """

    sources: Array
    weights: Array
    day: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ErrorSamples:
    """Past forecast errors of one network, for every step of the window.

    Errors are actual minus forecast, as injections into the grid.

    Attributes
    ----------
    steps : tuple of PastErrors
        By step of the window.
    to_p, to_q : ndarray, shape (n_sources, n_members)
        Injection of each member per unit of each series. [kW, kvar]
    renewable_to_p : ndarray, shape (n_sources, n_members)
        The part of ``to_p`` that is renewable power. [kW]
    flexible_to_p : ndarray, shape (n_sources, n_members), optional
        The part of ``to_p`` that is flexible load, hence not positive; none: nobody has any. [kW]
    """

    steps: tuple[PastErrors, ...]
    to_p: Array
    to_q: Array
    renewable_to_p: Array
    flexible_to_p: Array | None = None

    def weights(self, step: int) -> Array:
        """Probabilities of the samples of a step."""
        return self.steps[step].weights


class GridOperator(Protocol):
    """The side of a network operator that the DSO deals with."""

    @property
    def network(self) -> str:
        """Name of the network."""

    @property
    def samples(self) -> ErrorSamples:
        """Error samples of the current window."""

    @property
    def reactive_curvature(self) -> Array:
        """Bound on the losses' curvature in the members' reactive power. [kW/kvar2]"""

    @property
    def impedances(self) -> BranchFlowData:
        """Network data for the branch-flow relaxation; other grid models do not ask for it."""

    def linearise(self, p_kw: Array, q_kvar: Array, refresh: Collection[int]) -> NetworkOffer:
        """Offer a model around a schedule; sensitivities are new for the steps to refresh."""
