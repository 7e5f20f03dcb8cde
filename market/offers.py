"""What a network operator offers the DSO: a linear network model and its error samples.

The DSO sees no impedances, no topology beyond which constraint lies next to which, and no
metering data of single peers: only these numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from market.chance import RowErrors

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray

    Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class NetworkOffer:
    """A linear model of one network around a schedule, AC-exact at the schedule itself.

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
class ErrorSamples:
    """Past forecast errors of one network, for every step of the window.

    Errors are actual minus forecast, as injections into the grid.

    Attributes
    ----------
    sources : tuple of ndarray, shape (n_samples, n_sources) each
        Errors of the underlying series, by step.
    to_p, to_q : ndarray, shape (n_sources, n_members)
        Injection of each member per unit of each series. [kW, kvar]
    """

    sources: tuple[Array, ...]
    to_p: Array
    to_q: Array

    def weights(self, step: int) -> Array:
        """Probabilities of the samples of a step."""
        n_samples = len(self.sources[step])
        return np.full(n_samples, 1.0 / n_samples)

    def omega(self, step: int) -> Array:
        """Sum of the network's errors, shape (n_samples,). [kW]"""
        return self.sources[step] @ self.to_p.sum(axis=1)

    def rows(self, step: int, d_p: Array, d_q: Array) -> RowErrors:
        """Carry the errors of a step through to constraint rows."""
        effect = d_p @ self.to_p.T + d_q @ self.to_q.T
        return RowErrors(self.sources[step] @ effect.T, self.omega(step), self.weights(step))


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

    def linearise(self, p_kw: Array, q_kvar: Array, refresh: Collection[int]) -> NetworkOffer:
        """Offer a model around a schedule; sensitivities are new for the steps to refresh."""
