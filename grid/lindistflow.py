r"""LinDistFlow: squared voltages linear in the injections, losses neglected.

The branch flow equations of Baran and Wu [1]_ without their loss terms: every branch carries what
the buses behind it draw, and

.. math:: P = -D\,p, \quad Q = -D\,q, \qquad
          V_b^2 = V_0^2 + 2 \sum_k (R_{bk}\, p_k + X_{bk}\, q_k), \quad
          R = D^T \operatorname{diag}(r) D, \quad X = D^T \operatorname{diag}(x) D,

with :math:`D_{\ell b} = 1` where branch :math:`\ell` feeds bus :math:`b`. Shunts are constant
injections, those at 1 p.u. Currents and losses are those of the lossless flows at 1 p.u.,
:math:`\sqrt{P^2 + Q^2}` and :math:`\sum_\ell r_\ell (P_\ell^2 + Q_\ell^2)`.

References
----------
.. [1] M. E. Baran, F. F. Wu, Network reconfiguration in distribution systems for loss reduction
   and load balancing, IEEE Trans. Power Delivery 4(2), 1989, doi:10.1109/61.25627.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from grid.network_model import smaller
from grid.units import S_BASE_KVA

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from grid.network import RadialNetwork

    Array = NDArray[np.float64]

_FLAT = 1e-9
"""Below this an apparent power has no direction to differentiate. [p.u.]"""


@dataclass(frozen=True, eq=False)
class LinDistFlow:
    """The matrices of a network.

    Attributes
    ----------
    network : RadialNetwork
        The network.
    downstream : ndarray, shape (n_lines, n_buses - 1)
        1 where a branch feeds a bus.
    resistance_pu, reactance_pu : ndarray, shape (n_buses - 1, n_buses - 1)
        Impedance of the path that two buses share. [p.u.]
    """

    network: RadialNetwork
    downstream: Array
    resistance_pu: Array
    reactance_pu: Array

    @classmethod
    def of(cls, network: RadialNetwork) -> LinDistFlow:
        """Build the matrices of a network."""
        fed = network.downstream[:, 1:].astype(float)
        r, x = ((fed.T * z) @ fed for z in (network.z_pu.real, network.z_pu.imag))
        return cls(network, fed, r, x)

    def at(self, p_kw: Array, q_kvar: Array) -> LinDistFlowPoint:
        """Evaluate the network at injections.

        A step whose load would push a squared voltage to zero or below stands at a part of it.

        Parameters
        ----------
        p_kw, q_kvar : ndarray, shape (n_steps, n_buses - 1)
            Injections into the grid at every bus but the source. [kW, kvar]
        """
        scale = np.ones(len(p_kw))
        while True:
            part = scale[:, None]
            failed = ~(self._squared_voltage(part * p_kw, part * q_kvar) > 0).all(axis=1)
            if not failed.any():
                return LinDistFlowPoint(self, part * p_kw, part * q_kvar, scale)
            scale[failed] = smaller(scale[failed])

    def _net(self, p_kw: Array, q_kvar: Array) -> tuple[Array, Array]:
        """Injections with those of the shunts, (n_steps, n_buses - 1). [p.u.]"""
        p = (p_kw - self.network.shunt_kw[1:]) / S_BASE_KVA
        q = (q_kvar + self.network.shunt_kvar[1:]) / S_BASE_KVA
        return p, q

    def _squared_voltage(self, p_kw: Array, q_kvar: Array) -> Array:
        p, q = self._net(p_kw, q_kvar)
        drop: Array = 2 * (p @ self.resistance_pu + q @ self.reactance_pu)
        return self.network.source_vm_pu**2 + drop


@dataclass(frozen=True, eq=False)
class LinDistFlowPoint:
    """A network at the injections of several steps.

    Attributes
    ----------
    model : LinDistFlow
        The network's matrices.
    p_kw, q_kvar : ndarray, shape (n_steps, n_buses - 1)
        Injections into the grid. [kW, kvar]
    scale : ndarray, shape (n_steps,)
        Part of the injections that were asked for at which the model stands: see
        :class:`~grid.network_model.NetworkPoint`. [-]
    """

    model: LinDistFlow
    p_kw: Array
    q_kvar: Array
    scale: Array

    @cached_property
    def vm_pu(self) -> Array:
        """Voltage magnitudes of the buses but the source, (n_steps, n_buses - 1). [p.u.]"""
        voltage: Array = np.sqrt(self.model._squared_voltage(self.p_kw, self.q_kvar))
        return voltage

    @cached_property
    def line_power(self) -> NDArray[np.complex128]:
        """Power of the branches away from the source, (n_steps, n_lines). [p.u.]"""
        p, q = self.model._net(self.p_kw, self.q_kvar)
        return np.asarray(-(p + 1j * q) @ self.model.downstream.T, dtype=np.complex128)

    @cached_property
    def source_power(self) -> NDArray[np.complex128]:
        """Power drawn from upstream, (n_steps,). [p.u.]"""
        network = self.model.network
        fed = self.line_power[:, network.parent == 0].sum(axis=1)
        return np.asarray(fed + np.conj(network.shunt_pu[0]), dtype=np.complex128)

    @property
    def value(self) -> Array:
        """Limit rows in the order of :class:`~grid.limits.LimitRows`, (n_steps, n_rows). [p.u.]"""
        return np.hstack([self.vm_pu, -self.vm_pu, np.abs(self.phasors)])

    @property
    def phasors(self) -> NDArray[np.complex128]:
        """Powers of the lines and of the substation over their ratings, (n_steps, n_lines + 1)."""
        network = self.model.network
        substation = self.source_power[:, None] * S_BASE_KVA / network.substation_kva
        return np.hstack([self.line_power / network.max_i_pu, substation])

    def sensitivities(self, step: int) -> tuple[Array, Array]:
        """Differentiate the rows at one step.

        Returns
        -------
        d_p, d_q : ndarray, shape (n_rows, n_buses - 1)
            Change of each row per injection at each bus. [p.u./kW, p.u./kvar]
        """
        direction = np.conj(_direction(self.phasors[step]))[:, None]
        out = []
        paths = (self.model.resistance_pu, self.model.reactance_pu)
        for z, d_phasor in zip(paths, self.phasor_sensitivities(step), strict=True):
            d_vm = z / self.vm_pu[step][:, None] / S_BASE_KVA
            out.append(np.vstack([d_vm, -d_vm, (direction * d_phasor).real]))
        return out[0], out[1]

    def phasor_sensitivities(
        self, step: int
    ) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
        """Differentiate the phasors, which are affine: the same at every step.

        Returns
        -------
        d_p, d_q : ndarray of complex, shape (n_lines + 1, n_buses - 1)
            Change of each phasor per injection at each bus. [p.u./kW, p.u./kvar]
        """
        del step
        network = self.model.network
        line = self.model.downstream / network.max_i_pu[:, None]
        source = np.full((1, network.n_lines), S_BASE_KVA / network.substation_kva)
        # An injection relieves every branch towards the source.
        d_p = np.vstack([line, source]) * (-1 / S_BASE_KVA + 0j)
        return d_p, 1j * d_p

    @property
    def loss_kw(self) -> Array:
        """Active losses in branches and shunts, shape (n_steps,). [kW]"""
        network = self.model.network
        branches = S_BASE_KVA * np.abs(self.line_power) ** 2 @ network.z_pu.real
        return np.asarray(branches + network.shunt_kw.sum(), dtype=np.float64)

    def loss_gradient(self) -> tuple[Array, Array]:
        """Differentiate the losses of every step.

        Returns
        -------
        d_p, d_q : ndarray, shape (n_steps, n_buses - 1)
            Loss per injected power. [kW/kW, kW/kvar]
        """
        weighted = -2 * self.line_power * self.model.network.z_pu.real
        gradient = weighted @ self.model.downstream
        return gradient.real, gradient.imag


def _direction(power: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Unit vectors along complex powers: (P + jQ) / |S|, zero where nothing flows."""
    size = np.abs(power)
    return np.where(size > _FLAT, power / np.maximum(size, _FLAT), 0.0)
