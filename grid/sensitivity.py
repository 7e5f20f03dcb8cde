r"""AC operating points of a radial network and their analytic sensitivities.

With the bus voltages :math:`V = V_{nl} + Z I` (reduced impedance matrix, shunts included)
and constant-power injections :math:`I = \overline{S / V}`, a small change obeys

.. math:: dV = B\, \overline{dS} - A\, \overline{dV}, \qquad
          B = Z \operatorname{diag}(1/\bar V), \quad A = Z \operatorname{diag}(I/\bar V).

Its solution, with :math:`M = 1 - A \bar A`, is

.. math:: \partial V / \partial P = M^{-1} (B - A \bar B), \qquad
          \partial V / \partial Q = -j M^{-1} (B + A \bar B),

the linear system of Christakou et al. [1]_ solved for all injections at once.

References
----------
.. [1] K. Christakou, J.-Y. Le Boudec, M. Paolone, D.-C. Tomozei, Efficient computation of
   sensitivity coefficients of node voltages and line currents in unbalanced radial electrical
   distribution networks, IEEE Trans. Smart Grid 4(2), 2013, doi:10.1109/TSG.2012.2221751.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from grid.units import S_BASE_KVA

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from grid.network import RadialNetwork

_MAX_ITERATIONS = 100


class SensitivityError(RuntimeError):
    """The operating point is too close to voltage collapse to be linearised."""


@dataclass(frozen=True, eq=False)
class ImpedanceModel:
    """The admittance matrix of a network, reduced to the buses other than the source.

    Attributes
    ----------
    network : RadialNetwork
        The network.
    z : ndarray of complex, shape (n_buses - 1, n_buses - 1)
        Reduced impedance matrix. [p.u.]
    y_source : ndarray of complex, shape (n_buses - 1,)
        Source row of the admittance matrix. [p.u.]
    """

    network: RadialNetwork
    z: NDArray[np.complex128]
    y_source: NDArray[np.complex128]

    @classmethod
    def of(cls, network: RadialNetwork) -> ImpedanceModel:
        """Build the matrices of a network."""
        n = network.n_buses
        child = np.arange(1, n)
        y = np.diag(network.shunt_pu)
        series = 1.0 / network.z_pu
        np.add.at(y, (child, child), series)
        np.add.at(y, (network.parent, network.parent), series)
        np.add.at(y, (network.parent, child), -series)
        np.add.at(y, (child, network.parent), -series)
        z = np.asarray(np.linalg.inv(y[1:, 1:]), dtype=np.complex128)
        return cls(network, z, y[0, 1:])


@dataclass(frozen=True, eq=False)
class OperatingPoint:
    """AC solutions of a network at the schedules of several steps.

    Attributes
    ----------
    model : ImpedanceModel
        The network's matrices.
    voltage : ndarray of complex, shape (n_steps, n_buses)
        Bus voltages. [p.u.]
    p_kw, q_kvar : ndarray, shape (n_steps, n_buses - 1)
        Injections into the grid. [kW, kvar]
    """

    model: ImpedanceModel
    voltage: NDArray[np.complex128]
    p_kw: NDArray[np.float64]
    q_kvar: NDArray[np.float64]
    _derivatives: dict[int, tuple[NDArray[np.complex128], NDArray[np.complex128]]] = field(
        default_factory=dict, init=False
    )
    """Derivatives of the voltages by step, as far as they have been asked for."""

    @cached_property
    def vm_pu(self) -> NDArray[np.float64]:
        """Voltage magnitudes, shape (n_steps, n_buses). [p.u.]"""
        return np.abs(self.voltage)

    @cached_property
    def line_current(self) -> NDArray[np.complex128]:
        """Branch currents away from the source, shape (n_steps, n_lines). [p.u.]"""
        network = self.model.network
        return (self.voltage[:, network.parent] - self.voltage[:, 1:]) / network.z_pu

    @cached_property
    def source_power(self) -> NDArray[np.complex128]:
        """Complex power drawn from upstream, shape (n_steps,). [p.u.]"""
        network = self.model.network
        fed = network.parent == 0
        current = self.line_current[:, fed].sum(axis=1)
        v = self.voltage[:, 0]
        power: NDArray[np.complex128] = v * np.conj(current + network.shunt_pu[0] * v)
        return power

    @property
    def loss_kw(self) -> NDArray[np.float64]:
        """Active losses in branches and shunts, shape (n_steps,). [kW]"""
        loss: NDArray[np.float64] = self.source_power.real * S_BASE_KVA + self.p_kw.sum(axis=1)
        return loss

    @cached_property
    def _injected_current(self) -> NDArray[np.complex128]:
        return np.conj((self.p_kw + 1j * self.q_kvar) / S_BASE_KVA / self.voltage[:, 1:])

    def loss_gradient(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Differentiate the losses of every step.

        Solved by the adjoint of the equations in the module's docstring, iterated as a
        fixed point: it contracts by the squared relative voltage drop.

        Returns
        -------
        d_p, d_q : ndarray, shape (n_steps, n_buses - 1)
            Loss per injected power. [kW/kW, kW/kvar]

        Raises
        ------
        SensitivityError
            If the iteration does not converge.
        """
        z, v = self.model.z, self.voltage[:, 1:]
        d = self._injected_current / np.conj(v)
        w = self.voltage[:, :1] * self.model.y_source
        x = np.broadcast_to(w, v.shape)
        for _ in range(_MAX_ITERATIONS):
            xa_z = ((x @ z) * d) @ np.conj(z)
            previous, x = x, w + xa_z * np.conj(d)
            if np.abs(x - previous).max() <= 1e-13 * np.abs(w).max():
                break
        else:
            msg = f"loss gradient of network {self.model.network.name} did not converge"
            raise SensitivityError(msg)
        x_b = (x @ z) / np.conj(v)
        x_ab = ((x @ z) * d) @ np.conj(z) / v
        return 1.0 + (x_b - x_ab).real, (x_b + x_ab).imag

    def voltage_derivatives(
        self, step: int
    ) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
        """Differentiate the complex voltages of one step.

        Parameters
        ----------
        step : int
            The step.

        Returns
        -------
        d_p, d_q : ndarray of complex, shape (n_buses - 1, n_buses - 1)
            Change of the voltage (row) per injection (column). [p.u./kW, p.u./kvar]
        """
        if step not in self._derivatives:
            self._derivatives[step] = self._differentiate(step)
        return self._derivatives[step]

    def _differentiate(self, step: int) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
        """Solve the linear system of the module's docstring for one step."""
        v_bar = np.conj(self.voltage[step, 1:])
        a = self.model.z * (self._injected_current[step] / v_bar)
        b = self.model.z / v_bar
        a_bbar = a @ np.conj(b)
        m = np.eye(len(v_bar)) - a @ np.conj(a)
        right = np.hstack([b - a_bbar, -1j * (b + a_bbar)])
        solved = np.asarray(np.linalg.solve(m, right), dtype=np.complex128) * (1 / S_BASE_KVA)
        n = len(v_bar)
        return solved[:, :n], solved[:, n:]
