"""The constrained quantities of a network: every voltage, line current and the substation.

Each is a row ``value <= limit`` in per unit: bus voltages against their upper limits, their
negatives against the lower limits, line currents over their ratings, and the substation's
apparent power over its rating. The row order is fixed by :class:`LimitRows`.

Loadings are magnitudes of complex quantities, the *phasors*: line currents and the substation's
power over their ratings. A magnitude has a kink where nothing flows, a phasor has none: it is
smooth in the injections everywhere, and nearly affine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from grid.units import S_BASE_KVA

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from grid.network import RadialNetwork
    from grid.sensitivity import OperatingPoint

OVER_VOLTAGE = "over_voltage"
UNDER_VOLTAGE = "under_voltage"
OVER_CURRENT = "over_current"
SUBSTATION_OVERLOAD = "substation_overload"

_FLAT = 1e-9
"""Below this a current or apparent power has no direction to differentiate. [p.u.]"""


@dataclass(frozen=True, eq=False)
class LimitRows:
    """Layout of the constraint rows of one network.

    Attributes
    ----------
    network : RadialNetwork
        The network.
    kind : ndarray of str, shape (n_rows,)
        Kind of violation when the row exceeds its limit.
    element : ndarray of int, shape (n_rows,)
        Bus number (voltages), line position (currents) or source bus (substation).
    limit : ndarray, shape (n_rows,)
        Upper limit of the row's value. [p.u.]
    parent : ndarray of int, shape (n_rows,)
        Row of the same kind one bus closer to the source; -1 where there is none.
    """

    network: RadialNetwork
    kind: NDArray[np.str_]
    element: NDArray[np.int64]
    limit: NDArray[np.float64]
    parent: NDArray[np.int64]

    @classmethod
    def of(cls, network: RadialNetwork) -> LimitRows:
        """Lay out the rows of a network."""
        m = network.n_lines
        # Bus k + 1 and branch k stand at place k of their block, so one tree serves all three.
        up = np.where(network.parent > 0, network.parent - 1, -1)
        blocks = [np.where(up >= 0, up + k * m, -1) for k in range(3)]
        return cls(
            network=network,
            kind=np.repeat(
                [OVER_VOLTAGE, UNDER_VOLTAGE, OVER_CURRENT, SUBSTATION_OVERLOAD], [m, m, m, 1]
            ),
            element=np.concatenate([network.bus[1:]] * 2 + [np.arange(m), network.bus[:1]]),
            limit=np.concatenate([network.v_max_pu[1:], -network.v_min_pu[1:], np.ones(m + 1)]),
            parent=np.concatenate([*blocks, [-1]]),
        )

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.limit)

    def value(self, point: OperatingPoint) -> NDArray[np.float64]:
        """Evaluate the rows at AC operating points, shape (n_steps, n_rows). [p.u.]"""
        vm = point.vm_pu[:, 1:]
        loading = np.abs(point.line_current) / self.network.max_i_pu
        substation = np.abs(point.source_power)[:, None] * S_BASE_KVA / self.network.substation_kva
        return np.hstack([vm, -vm, loading, substation])

    @property
    def phasor_row(self) -> NDArray[np.intp]:
        """Row that holds the magnitude of each phasor, shape (n_lines + 1,)."""
        return np.arange(2 * self.network.n_lines, self.n_rows)

    def phasors(self, point: OperatingPoint) -> NDArray[np.complex128]:
        """Line currents and the substation's power over their ratings. [p.u.]

        Returns
        -------
        ndarray of complex, shape (n_steps, n_lines + 1)
            Away from the source, as drawn from upstream; the substation's power comes last.
        """
        current = point.line_current / self.network.max_i_pu
        substation = point.source_power[:, None] * self._per_rating
        return np.hstack([current, substation])

    def sensitivities(
        self, point: OperatingPoint, step: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Differentiate the rows at one step.

        Parameters
        ----------
        point : OperatingPoint
            AC solutions of several steps.
        step : int
            The step among them.

        Returns
        -------
        d_p, d_q : ndarray, shape (n_rows, n_buses - 1)
            Change of each row per injection at each bus. [p.u./kW, p.u./kvar]
        """
        d_p, d_q = (
            self._rows_change(point, step, d_voltage)
            for d_voltage in point.voltage_derivatives(step)
        )
        return d_p, d_q

    def phasor_sensitivities(
        self, point: OperatingPoint, step: int
    ) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
        """Differentiate the phasors at one step; arguments as in :meth:`sensitivities`.

        Returns
        -------
        d_p, d_q : ndarray of complex, shape (n_lines + 1, n_buses - 1)
            Change of each phasor per injection at each bus. [p.u./kW, p.u./kvar]
        """
        d_p, d_q = (
            np.vstack([d_current / self.network.max_i_pu[:, None], self._per_rating * d_source])
            for d_current, d_source in (
                self._flow_change(point.voltage[step], d_voltage)
                for d_voltage in point.voltage_derivatives(step)
            )
        )
        return d_p, d_q

    @property
    def _per_rating(self) -> float:
        """Unit of power over the substation's rating. [-]"""
        return S_BASE_KVA / self.network.substation_kva

    def _rows_change(
        self, point: OperatingPoint, step: int, d_voltage: NDArray[np.complex128]
    ) -> NDArray[np.float64]:
        """Carry a change of the voltages through to the rows."""
        v = point.voltage[step]
        d_current, d_source = self._flow_change(v, d_voltage)
        d_vm = _magnitude_change(v[1:], d_voltage)
        d_loading = _magnitude_change(point.line_current[step], d_current)
        d_substation = _magnitude_change(point.source_power[step : step + 1], d_source[None, :])
        rating = self.network.max_i_pu[:, None]
        return np.vstack([d_vm, -d_vm, d_loading / rating, d_substation * self._per_rating])

    def _flow_change(
        self, v: NDArray[np.complex128], d_voltage: NDArray[np.complex128]
    ) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
        """Carry a change of the voltages through to line currents and the source's power."""
        network = self.network
        feeding = np.vstack([np.zeros(d_voltage.shape[1]), d_voltage])[network.parent]
        d_current = (feeding - d_voltage) / network.z_pu[:, None]
        return d_current, v[0] * np.conj(d_current[network.parent == 0].sum(axis=0))


def _magnitude_change(
    value: NDArray[np.complex128], change: NDArray[np.complex128]
) -> NDArray[np.float64]:
    """Differentiate the magnitudes of complex values given the values' derivatives (rows)."""
    size = np.abs(value)
    direction = np.where(size > _FLAT, np.conj(value) / np.maximum(size, _FLAT), 0.0)
    return (direction[:, None] * change).real
