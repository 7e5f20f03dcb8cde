"""What really happened: AC power flows of pandapower."""

from __future__ import annotations

import copy
import logging
import warnings
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandapower as pp
from numba.core.dispatcher import Dispatcher
from pandapower import build_bus
from pandapower.auxiliary import LoadflowNotConverged
from pandapower.pf import create_jacobian_numba, dSbus_dV_numba, makeYbus_numba
from pandapower.pypower import idx_bus

from grid.units import KW_PER_MW, S_BASE_KVA, current_base_ka, impedance_base_ohm

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from grid.network import RadialNetwork

_VN_KV = 10.0
"""The common rated voltage of the replayed network, whose per-unit values are all that count."""
_TOLERANCE_MVA = 1e-9
_RECYCLE = {"bus_pq": True, "gen": False, "trafo": False}

logging.getLogger("pandapower").setLevel(logging.ERROR)


class PowerFlowError(RuntimeError):
    """An AC power flow without a solution; the message names the network."""


@dataclass(frozen=True, eq=False)
class ReplayResult:
    """One AC power flow.

    Attributes
    ----------
    vm_pu : ndarray, shape (n_buses,)
        Voltage magnitudes. [p.u.]
    i_ka : ndarray, shape (n_lines,)
        Currents, at the rated voltage of the fed bus. [kA]
    loading_percent : ndarray, shape (n_lines,)
        Currents over ratings. [%]
    p_source_kw, q_source_kvar : float
        Power drawn from upstream. [kW, kvar]
    losses_kw : float
        All that lines and shunts consume: what comes from upstream plus all injections. [kW]
    """

    vm_pu: NDArray[np.float64]
    i_ka: NDArray[np.float64]
    loading_percent: NDArray[np.float64]
    p_source_kw: float
    q_source_kvar: float
    losses_kw: float


class AcReplay:
    """AC power flow of one network, again and again.

    The pandapower network is made once, with all buses at one rated voltage (the network's
    own rated voltages hold its transformer ratios); a run only changes the injections. Every
    run starts flat, so that its result does not depend on the runs before.

    Parameters
    ----------
    network : RadialNetwork
        The network.
    """

    def __init__(self, network: RadialNetwork) -> None:
        _keep_compiled()
        self.network = network
        self._net = _build(network)
        self._i_base_ka = np.array([current_base_ka(kv) for kv in network.vn_kv[1:]])
        # Options are remembered with the admittance matrix: later runs recycle both.
        if not _converges(
            self._net,
            init="flat",
            calculate_voltage_angles=False,
            voltage_depend_loads=False,
            check_connectivity=False,
            tolerance_mva=_TOLERANCE_MVA,
            max_iteration=30,
            lightsim2grid=False,
            only_v_results=True,
        ):
            msg = f"network {network.name}: the AC power flow does not converge without injections"
            raise PowerFlowError(msg)
        self._row = self._net["_pd2ppc_lookups"]["bus"].copy()

    def run(self, p_kw: NDArray[np.float64], q_kvar: NDArray[np.float64]) -> ReplayResult:
        """Run the power flow.

        Parameters
        ----------
        p_kw, q_kvar : ndarray, shape (n_buses,)
            Injections into the grid. [kW, kvar]

        Returns
        -------
        ReplayResult
            Voltages, currents and powers.

        Raises
        ------
        PowerFlowError
            If the power flow has no solution that Newton's method finds, or an injection is
            not a finite number.
        """
        network = self.network
        injection_kva = np.asarray(p_kw, dtype=float) + 1j * np.asarray(q_kvar, dtype=float)
        if injection_kva.shape != (network.n_buses,):
            msg = f"injections of shape {injection_kva.shape}, not ({network.n_buses},)"
            raise ValueError(msg)
        if not np.isfinite(injection_kva).all():
            bus = network.bus[np.flatnonzero(~np.isfinite(injection_kva))[0]]
            msg = f"network {network.name}: the injection at bus {bus} is not a finite number"
            raise PowerFlowError(msg)
        v = self._voltages(injection_kva)
        i = (v[network.parent] - v[1:]) / network.z_pu
        i_ka = np.abs(i) * self._i_base_ka
        at_source = i[network.parent == 0].sum() + network.shunt_pu[0] * v[0]
        upstream_kva = v[0] * np.conj(at_source) * S_BASE_KVA - injection_kva[0]
        return ReplayResult(
            vm_pu=np.abs(v),
            i_ka=i_ka,
            loading_percent=100 * i_ka / network.max_i_ka,
            p_source_kw=float(upstream_kva.real),
            q_source_kvar=float(upstream_kva.imag),
            losses_kw=float(upstream_kva.real + injection_kva.real.sum()),
        )

    def _voltages(self, injection_kva: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """Return the complex bus voltages, shape (n_buses,). [p.u.]"""
        net = self._net
        net["load"]["p_mw"] = -injection_kva.real / KW_PER_MW
        net["load"]["q_mvar"] = -injection_kva.imag / KW_PER_MW
        state = net["_ppc"]["bus"]
        state[:, idx_bus.VM] = 1.0
        state[:, idx_bus.VA] = 0.0
        if not _converges(net):
            total = injection_kva.sum()
            msg = (
                f"network {self.network.name}: the AC power flow does not converge (injections "
                f"of {total.real:.0f} kW, {total.imag:.0f} kvar)"
            )
            raise PowerFlowError(msg)
        solved = net["_ppc"]["bus"][self._row]
        angle = np.deg2rad(solved[:, idx_bus.VA])
        voltages: NDArray[np.complex128] = solved[:, idx_bus.VM] * np.exp(1j * angle)
        return voltages


@cache
def _keep_compiled() -> None:
    """Have numba keep what it compiles of pandapower on disk: it takes seconds in every process."""
    for module in (build_bus, create_jacobian_numba, dSbus_dV_numba, makeYbus_numba):
        for function in vars(module).values():
            if isinstance(function, Dispatcher):
                # Without a folder to write to, every process compiles for itself.
                with suppress(RuntimeError):
                    function.enable_caching()


def _converges(net: Any, **options: Any) -> bool:
    """Run a power flow; one that diverges may run into singular matrices without a word."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            pp.runpp(net, recycle=_RECYCLE, **options)
        except LoadflowNotConverged:
            return False
    return bool(net["_ppc"]["success"])


def _build(network: RadialNetwork) -> Any:
    """Make the pandapower network, all injections zero."""
    net = copy.deepcopy(_empty())
    buses = pp.create_buses(net, network.n_buses, vn_kv=_VN_KV)
    z_ohm = network.z_pu * impedance_base_ohm(_VN_KV)
    pp.create_lines_from_parameters(
        net,
        from_buses=buses[network.parent],
        to_buses=buses[1:],
        length_km=1.0,
        r_ohm_per_km=z_ohm.real,
        x_ohm_per_km=z_ohm.imag,
        c_nf_per_km=0.0,
        max_i_ka=network.max_i_pu * current_base_ka(_VN_KV),
    )
    pp.create_ext_grid(net, bus=buses[0], vm_pu=network.source_vm_pu)
    pp.create_loads(net, buses=buses, p_mw=0.0, q_mvar=0.0)
    with_shunt = np.flatnonzero(network.shunt_pu)
    if len(with_shunt):
        pp.create_shunts(
            net,
            buses=buses[with_shunt],
            p_mw=network.shunt_kw[with_shunt] / KW_PER_MW,
            q_mvar=-network.shunt_kvar[with_shunt] / KW_PER_MW,
        )
    return net


@cache
def _empty() -> Any:
    """Make a pandapower network without elements: a copy takes a tenth of the time."""
    return pp.create_empty_network(sn_mva=S_BASE_KVA / KW_PER_MW)
