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
    Phasors = NDArray[np.complex128]


SMALLEST_PART = 1 / 64
"""Injections of which not even this part has a solution are taken for none at all."""


def smaller(scale: Array) -> Array:
    """Halve parts of injections, and take nothing for what is too small."""
    half = scale / 2
    return np.where(half < SMALLEST_PART, 0.0, half)


class NetworkPoint(Protocol):
    """A network at the injections of several steps."""

    @property
    def scale(self) -> Array:
        """Part of the injections at which the model stands, (n_steps,). [-]

        One where they have a solution; else the largest of their halves, quarters and so on that
        has one.
        """

    @property
    def value(self) -> Array:
        """Limit rows, shape (n_steps, n_rows). [p.u.]"""

    @property
    def loss_kw(self) -> Array:
        """Active losses in branches and shunts, shape (n_steps,). [kW]"""

    def sensitivities(self, step: int) -> tuple[Array, Array]:
        """Rows per injection, shape (n_rows, n_buses - 1) each. [p.u./kW, p.u./kvar]"""

    @property
    def phasors(self) -> Phasors:
        """Complex quantities whose magnitudes are limited, (n_steps, n_phasors). [p.u.]"""

    def phasor_sensitivities(self, step: int) -> tuple[Phasors, Phasors]:
        """Phasors per injection, shape (n_phasors, n_buses - 1) each. [p.u./kW, p.u./kvar]"""

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
        """Solve the power flows; a step without a solution stands at a part of its injections."""
        voltage = self._power_flow.solve(p_kw, q_kvar)
        scale = np.ones(len(voltage))
        while (failed := ~np.isfinite(voltage).all(axis=1)).any():
            scale[failed] = smaller(scale[failed])
            part = scale[failed, None]
            voltage[failed] = self._power_flow.solve(part * p_kw[failed], part * q_kvar[failed])
        part = scale[:, None]
        point = OperatingPoint(self._impedance, voltage, part * p_kw, part * q_kvar)
        return AcPoint(self._rows, point, scale)


@dataclass(frozen=True, eq=False)
class AcPoint:
    """AC solutions, see :class:`NetworkPoint`."""

    rows: LimitRows
    point: OperatingPoint
    scale: Array

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

    @property
    def phasors(self) -> Phasors:
        """Line currents and the substation's power over their ratings. [p.u.]"""
        return self.rows.phasors(self.point)

    def phasor_sensitivities(self, step: int) -> tuple[Phasors, Phasors]:
        """Differentiate the phasors at one step. [p.u./kW, p.u./kvar]"""
        return self.rows.phasor_sensitivities(self.point, step)

    def loss_gradient(self) -> tuple[Array, Array]:
        """Differentiate the losses; raises :class:`SensitivityError` next to voltage collapse."""
        return self.point.loss_gradient()
