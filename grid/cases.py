"""The network of a configuration: read, put in order, modified and rated."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from grid.loaders import load
from grid.loaders_radial import order
from grid.network import NetworkError
from grid.replay import AcReplay, PowerFlowError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from configs.schema import Network
    from grid.loaders_data import NetworkData
    from grid.network import RadialNetwork

LOWEST_IDLE_PU, HIGHEST_IDLE_PU = 0.5, 1.5
"""Voltages that a network without load may have: the widest limits that settings allow. [p.u.]"""


def build_network(settings: Network) -> RadialNetwork:
    """Build the network that the settings describe.

    Parameters
    ----------
    settings : Network
        Source of the data and modifications.

    Returns
    -------
    RadialNetwork
        The network, with all ratings.

    Raises
    ------
    NetworkError
        If the source data or a modification cannot be used; the message names the place.
    """
    data = load(settings)
    nominal = order(data, settings.v_min_pu, settings.v_max_pu)
    max_i_ka, substation_kva = _ratings(nominal, settings)
    modified = order(_modify(data, settings), settings.v_min_pu, settings.v_max_pu)
    network = replace(modified, max_i_ka=max_i_ka, substation_kva=substation_kva)
    _check_limits(network)
    _check_idle_voltages(network)
    return network


def _modify(data: NetworkData, settings: Network) -> NetworkData:
    """Scale the loads, set the source's voltage and add the capacitors."""
    position = {int(number): k for k, number in enumerate(data.bus)}
    shunt_kvar = data.shunt_kvar.copy()
    for capacitor in settings.capacitors:
        number = data.joined.get(capacitor.bus, capacitor.bus)
        if number not in position:
            msg = (
                f"network {data.name} ({data.origin}): capacitor of {capacitor.kvar:g} kvar at "
                f"unknown bus {capacitor.bus}"
            )
            raise NetworkError(msg)
        shunt_kvar[position[number]] += capacitor.kvar
    given = settings.source_vm_pu
    return replace(
        data,
        load_kw=data.load_kw * settings.load_scale,
        load_kvar=data.load_kvar * settings.load_scale,
        shunt_kvar=shunt_kvar,
        source_vm_pu=data.source_vm_pu if given is None else given,
    )


def _ratings(network: RadialNetwork, settings: Network) -> tuple[NDArray[np.float64], float]:
    """Rate lines and substation.

    Lines without a rating and the substation are rated at ``rating_margin`` times their
    loading at the nominal peak load, the source at the voltage of the source data; lines not
    below ``min_rating_a``.

    Returns
    -------
    max_i_ka : ndarray, shape (n_lines,)
        Ratings of the lines. [kA]
    substation_kva : float
        Rating of the substation. [kVA]
    """
    unrated = np.isnan(network.max_i_ka)
    if not unrated.any() and settings.substation_kva is not None:
        return network.max_i_ka, settings.substation_kva
    try:
        peak = AcReplay(network).run(-network.load_kw, -network.load_kvar)
    except PowerFlowError as error:
        msg = f"{error} at the nominal peak load, from which ratings follow"
        raise NetworkError(msg) from error
    by_rule = np.maximum(settings.rating_margin * peak.i_ka, settings.min_rating_a / 1000)
    substation_kva = settings.substation_kva
    if substation_kva is None:
        if not network.load_kw.any():
            msg = (
                f"network {network.name} has no load to rate the substation by: set substation_kva"
            )
            raise NetworkError(msg)
        peak_kva = float(np.hypot(peak.p_source_kw, peak.q_source_kvar))
        substation_kva = settings.rating_margin * peak_kva
    return np.where(unrated, by_rule, network.max_i_ka), substation_kva


def _check_limits(network: RadialNetwork) -> None:
    """Refuse limits that cross, or that the source's own voltage breaks."""
    crossed = network.bus[~(network.v_min_pu < network.v_max_pu)]
    if len(crossed):
        msg = f"network {network.name}: v_min_pu is not below v_max_pu at bus {crossed[0]}"
        raise NetworkError(msg)
    low, high = network.v_min_pu[0], network.v_max_pu[0]
    if not low <= network.source_vm_pu <= high:
        msg = (
            f"network {network.name}: the source is held at {network.source_vm_pu:g} p.u., outside "
            f"its limits {low:g} to {high:g} p.u."
        )
        raise NetworkError(msg)


def _check_idle_voltages(network: RadialNetwork) -> None:
    """Refuse shunts with which no voltage would be near its rated value, even without load."""
    idle = np.zeros(network.n_buses)
    try:
        vm_pu = AcReplay(network).run(idle, idle).vm_pu
    except PowerFlowError as error:
        msg = f"{error}; check its capacitors and shunts"
        raise NetworkError(msg) from error
    worst = int(np.abs(vm_pu - 1.0).argmax())
    if not LOWEST_IDLE_PU <= vm_pu[worst] <= HIGHEST_IDLE_PU:
        msg = (
            f"network {network.name}: without any load the voltage at bus {network.bus[worst]} is "
            f"{vm_pu[worst]:.3g} p.u., not within {LOWEST_IDLE_PU:g} to {HIGHEST_IDLE_PU:g}; check "
            "its capacitors and shunts"
        )
        raise NetworkError(msg)
