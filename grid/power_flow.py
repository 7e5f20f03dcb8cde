"""Batch AC power flow of a radial network with power-grid-model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from power_grid_model import (
    CalculationMethod,
    CalculationType,
    ComponentType,
    LoadGenType,
    PowerGridModel,
    initialize_array,
)
from power_grid_model.validation import assert_valid_input_data

from grid.units import S_BASE_KVA

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from grid.network import RadialNetwork

_U_RATED = 10e3
_Z_BASE = _U_RATED**2 / (S_BASE_KVA * 1e3)
_STIFF_SOURCE_VA = 1e20
"""Short-circuit power of the source: the library's default of 1e10 VA lets the voltage sag."""


class BatchPowerFlow:
    """AC power flows of one network for many injections at once.

    The network is put on one common voltage base, so that per-unit results need no
    conversion. Newton's method; about 0.1 ms a power flow.

    Parameters
    ----------
    network : RadialNetwork
        The network.
    """

    def __init__(self, network: RadialNetwork) -> None:
        self.network = network
        self._model = PowerGridModel(_input_data(network))
        self._ids = np.arange(1, network.n_buses) + 2 * network.n_buses

    def solve(
        self, p_kw: NDArray[np.float64], q_kvar: NDArray[np.float64]
    ) -> NDArray[np.complex128]:
        """Solve the AC power flow of every scenario.

        Parameters
        ----------
        p_kw, q_kvar : ndarray, shape (n_scenarios, n_buses - 1)
            Injections into the grid at every bus but the source. [kW, kvar]

        Returns
        -------
        ndarray of complex, shape (n_scenarios, n_buses)
            Bus voltages; NaN throughout a scenario that has no solution. [p.u.]
        """
        update = initialize_array("update", "sym_gen", p_kw.shape)
        update["id"] = self._ids
        update["p_specified"] = p_kw * 1e3
        update["q_specified"] = q_kvar * 1e3
        result = self._model.calculate_power_flow(
            symmetric=True,
            error_tolerance=1e-10,
            calculation_method=CalculationMethod.newton_raphson,
            update_data={"sym_gen": update},
            output_component_types=["node"],
            continue_on_batch_error=True,
            threading=-1,
        )[ComponentType.node]
        with np.errstate(invalid="ignore"):  # of scenarios that failed
            voltage = result["u_pu"] * np.exp(1j * result["u_angle"])
        error = self._model.batch_error
        if error is not None:
            voltage[np.asarray(error.failed_scenarios)] = np.nan
        return voltage


def _input_data(network: RadialNetwork) -> dict[ComponentType, NDArray[np.void]]:
    """Describe the network in the library's terms."""
    n, m = network.n_buses, network.n_lines
    node = initialize_array("input", "node", n)
    node["id"] = np.arange(n)
    node["u_rated"] = _U_RATED
    line = initialize_array("input", "line", m)
    line["id"] = n + np.arange(m)
    line["from_node"] = network.parent
    line["to_node"] = np.arange(1, n)
    line["from_status"] = line["to_status"] = 1
    line["r1"] = network.z_pu.real * _Z_BASE
    line["x1"] = network.z_pu.imag * _Z_BASE
    line["c1"] = line["tan1"] = 0.0
    generator = initialize_array("input", "sym_gen", n - 1)
    generator["id"] = np.arange(1, n) + 2 * n
    generator["node"] = np.arange(1, n)
    generator["status"] = 1
    generator["type"] = LoadGenType.const_power
    generator["p_specified"] = generator["q_specified"] = 0.0
    shunted = np.flatnonzero(network.shunt_pu)
    shunt = initialize_array("input", "shunt", len(shunted))
    shunt["id"] = shunted + 3 * n
    shunt["node"] = shunted
    shunt["status"] = 1
    shunt["g1"] = network.shunt_pu.real[shunted] / _Z_BASE
    shunt["b1"] = network.shunt_pu.imag[shunted] / _Z_BASE
    source = initialize_array("input", "source", 1)
    source["id"] = 4 * n
    source["node"] = 0
    source["status"] = 1
    source["u_ref"] = network.source_vm_pu
    source["sk"] = _STIFF_SOURCE_VA
    data = {
        ComponentType.node: node,
        ComponentType.line: line,
        ComponentType.sym_gen: generator,
        ComponentType.shunt: shunt,
        ComponentType.source: source,
    }
    assert_valid_input_data(data, calculation_type=CalculationType.power_flow)
    return data
