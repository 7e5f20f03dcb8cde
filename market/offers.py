"""What a network operator offers the DSO: a linear network model and its error samples.

The DSO sees no impedances, no topology beyond which constraint lies next to which, and no
metering data of single peers: only these numbers. The branch-flow relaxation alone asks for more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray

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
        stands around the network without injections, and ``p_kw`` and ``q_kvar`` are zero.
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

    def constant(self, step: int, fixed_p: Array, fixed_q: Array) -> Array:
        """Value of the rows when only the fixed injections remain, (n_rows,). [p.u.]"""
        return (
            self.value[step]
            + self.d_p[step] @ (fixed_p[step] - self.p_kw[step])
            + self.d_q[step] @ (fixed_q[step] - self.q_kvar[step])
        )

    def rows_at(self, step: int, p_kw: Array, q_kvar: Array) -> Array:
        """Value of the rows at other injections of the members, (n_rows,). [p.u.]"""
        moved: Array = (
            self.value[step]
            + self.d_p[step] @ (p_kw - self.p_kw[step])
            + self.d_q[step] @ (q_kvar - self.q_kvar[step])
        )
        return moved

    def peaks(self, exceedance: Array) -> NDArray[np.bool_]:
        """Find rows that exceed at least as much as their neighbours along the tree."""
        has_parent = np.flatnonzero(self.parent >= 0)
        parent = self.parent[has_parent]
        peak = np.ones(len(exceedance), dtype=bool)
        peak[has_parent] &= exceedance[has_parent] >= exceedance[parent]
        topped = exceedance[has_parent] > exceedance[parent]
        peak[parent[topped]] = False
        return peak


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
    """

    steps: tuple[PastErrors, ...]
    to_p: Array
    to_q: Array
    renewable_to_p: Array

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
