"""Models of a network at given injections: limit rows, losses and their derivatives.

The network operator offers the market one of them. :class:`AcModel` is exact at the injections;
:class:`grid.lindistflow.LinDistFlow` is the textbook approximation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from grid.limits import LimitRows
from grid.power_flow import BatchPowerFlow
from grid.sensitivity import ImpedanceModel, OperatingPoint

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from grid.network import RadialNetwork

    Array = NDArray[np.float64]


class NetworkPoint(Protocol):
    """A network at the injections of several steps."""

    @property
    def solved(self) -> NDArray[np.bool_]:
        """Steps whose injections the model can answer; the others stand at none, (n_steps,)."""

    @property
    def value(self) -> Array:
        """Limit rows, shape (n_steps, n_rows). [p.u.]"""

    @property
    def loss_kw(self) -> Array:
        """Active losses in branches and shunts, shape (n_steps,). [kW]"""

    def sensitivities(self, step: int) -> tuple[Array, Array]:
        """Rows per injection, shape (n_rows, n_buses - 1) each. [p.u./kW, p.u./kvar]"""

    def loss_gradient(self) -> tuple[Array, Array]:
        """Losses per injection, shape (n_steps, n_buses - 1) each. [kW/kW, kW/kvar]"""


class NetworkModel(Protocol):
    """A network, ready to be evaluated at injections."""

    @property
    def resistance_pu(self) -> Array:
        """Reduced resistance matrix, shape (n_buses - 1, n_buses - 1). [p.u.]"""

    def at(self, p_kw: Array, q_kvar: Array) -> NetworkPoint:
        """Evaluate the network at injections, shape (n_steps, n_buses - 1). [kW, kvar]"""


class AcModel:
    """The AC power flow and its analytic sensitivities.

    Parameters
    ----------
    network : RadialNetwork
        The network.
    """

    def __init__(self, network: RadialNetwork) -> None:
        self._rows = LimitRows.of(network)
        self._impedance = ImpedanceModel.of(network)
        self._power_flow = BatchPowerFlow(network)

    @property
    def resistance_pu(self) -> Array:
        """Reduced resistance matrix, shunts included, (n_buses - 1, n_buses - 1). [p.u.]"""
        return self._impedance.z.real

    def at(self, p_kw: Array, q_kvar: Array) -> AcPoint:
        """Solve the power flows; a step without a solution stands at zero injections."""
        voltage = self._power_flow.solve(p_kw, q_kvar)
        solved: NDArray[np.bool_] = np.asarray(np.isfinite(voltage).all(axis=1))
        if not solved.all():
            idle = np.zeros((1, p_kw.shape[1]))
            voltage[~solved] = self._power_flow.solve(idle, idle)
        kept = solved[:, None]
        point = OperatingPoint(
            self._impedance, voltage, np.where(kept, p_kw, 0.0), np.where(kept, q_kvar, 0.0)
        )
        return AcPoint(self._rows, point, solved)


@dataclass(frozen=True, eq=False)
class AcPoint:
    """AC solutions, see :class:`NetworkPoint`."""

    rows: LimitRows
    point: OperatingPoint
    solved: NDArray[np.bool_]

    @property
    def value(self) -> Array:
        """Limit rows. [p.u.]"""
        return self.rows.value(self.point)

    @property
    def loss_kw(self) -> Array:
        """Losses. [kW]"""
        return self.point.loss_kw

    def sensitivities(self, step: int) -> tuple[Array, Array]:
        """Differentiate the rows at one step. [p.u./kW, p.u./kvar]"""
        return self.rows.sensitivities(self.point, step)

    def loss_gradient(self) -> tuple[Array, Array]:
        """Differentiate the losses; raises :class:`SensitivityError` next to voltage collapse."""
        return self.point.loss_gradient()
