"""Raw buses and lines put in the order of a radial network, or refused."""

from __future__ import annotations

import heapq
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from configs.limits import BUSES, FIGURE
from grid.network import NetworkError, RadialNetwork
from grid.units import impedance_base_ohm

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from grid.loaders_data import NetworkData

_N_NAMED = 5
"""Elements that a message names before it only counts the rest."""

_Z_MIN_PU = 1e-7
"""Series impedances below this drown in the rounding errors of a power flow. [p.u.]"""


_LEAST_SOURCE_PU, _LARGEST_SOURCE_PU = 0.5, 1.5
"""Voltages that a source may hold: the widest limits that settings allow. [p.u.]"""


def order(data: NetworkData, v_min_pu: float, v_max_pu: float) -> RadialNetwork:
    """Order and direct the lines away from the source.

    Buses keep the order of the source data as far as parents come before children. Behind an
    off-nominal transformer the rated voltages are multiplied by its ratio, and shunts and
    limits converted with them, so that they mean the same siemens and volts.

    Parameters
    ----------
    data : NetworkData
        The raw network.
    v_min_pu, v_max_pu : float
        Limits of the buses without one, relative to their nominal voltage. [p.u.]

    Returns
    -------
    RadialNetwork
        Not rated yet: ``max_i_ka`` is nan for lines without a rating in the data, and
        ``substation_kva`` is nan.

    Raises
    ------
    NetworkError
        If values are faulty or the network is not radial and connected.
    """
    _refuse(data, _size_faults(data))
    _refuse(data, [*_bus_faults(data), *_line_faults(data)])
    _refuse(data, _topology_faults(data))

    position = {int(number): k for k, number in enumerate(data.bus)}
    bus, line, parent, forward = _walk(data, position)
    n_buses = len(bus)

    vn_kv = np.empty(n_buses)
    vn_kv[0] = data.vn_kv[bus[0]]
    turns = np.empty(n_buses - 1)  # voltage at from_bus over voltage at to_bus, unloaded
    for k in range(n_buses - 1):
        i = line[k]
        nominal = data.vn_kv[position[int(data.from_bus[i])]]
        turns[k] = data.ratio[i] * nominal / data.vn_kv[position[int(data.to_bus[i])]]
        vn_kv[k + 1] = vn_kv[parent[k]] / turns[k] if forward[k] else vn_kv[parent[k]] * turns[k]

    rescale = vn_kv / data.vn_kv[bus]
    referred = np.where(forward, 1.0, turns)
    return RadialNetwork(
        name=data.name,
        bus=data.bus[bus],
        vn_kv=vn_kv,
        v_min_pu=_given(data.v_min_pu, v_min_pu)[bus] / rescale,
        v_max_pu=_given(data.v_max_pu, v_max_pu)[bus] / rescale,
        shunt_kw=data.shunt_kw[bus] * rescale**2,
        shunt_kvar=data.shunt_kvar[bus] * rescale**2,
        load_kw=data.load_kw[bus],
        load_kvar=data.load_kvar[bus],
        parent=parent,
        r_ohm=data.r_ohm[line] * referred**2,
        x_ohm=data.x_ohm[line] * referred**2,
        max_i_ka=data.max_i_ka[line] / referred,
        source_vm_pu=data.source_vm_pu,
        substation_kva=np.nan,
    )


def _walk(
    data: NetworkData, position: dict[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Visit the buses from the source, always the first reachable one of the source data.

    Returns
    -------
    bus : ndarray of int, shape (n_buses,)
        Positions in the source data.
    line : ndarray of int, shape (n_buses - 1,)
        The line that feeds each bus but the source.
    parent : ndarray of int, shape (n_buses - 1,)
        Position in ``bus`` of the bus on the line's other side.
    forward : ndarray of bool, shape (n_buses - 1,)
        Whether the line feeds its ``to_bus``.
    """
    neighbours: list[list[tuple[int, int, bool]]] = [[] for _ in data.bus]
    for i, (a, b) in enumerate(zip(data.from_bus, data.to_bus, strict=True)):
        neighbours[position[int(a)]].append((position[int(b)], i, True))
        neighbours[position[int(b)]].append((position[int(a)], i, False))
    start = position[data.source]
    bus, line, parent, forward = [start], [], [], []
    seen = {start}
    reachable = [(b, i, 0, ahead) for b, i, ahead in neighbours[start]]
    heapq.heapify(reachable)
    while reachable:
        b, i, above, ahead = heapq.heappop(reachable)
        seen.add(b)
        bus.append(b)
        line.append(i)
        parent.append(above)
        forward.append(ahead)
        for nearby, j, on in neighbours[b]:
            if nearby not in seen:
                heapq.heappush(reachable, (nearby, j, len(bus) - 1, on))
    return (
        np.array(bus, dtype=np.int64),
        np.array(line, dtype=np.int64),
        np.array(parent, dtype=np.int64),
        np.array(forward, dtype=bool),
    )


def _size_faults(data: NetworkData) -> Iterator[str]:
    """Say if there are more buses than allowed."""
    if len(data.bus) > BUSES:
        yield f"{len(data.bus):,} buses; allowed are at most {BUSES:,}"


def _bus_faults(data: NetworkData) -> Iterator[str]:
    """Name every faulty number of the buses."""
    count = Counter(int(number) for number in data.bus)
    if twice := [number for number, times in count.items() if times > 1]:
        yield f"duplicate bus {_named(twice)}"
    if data.source not in count:
        yield f"source bus {data.source} is not among the buses"
    if not _LEAST_SOURCE_PU <= data.source_vm_pu <= _LARGEST_SOURCE_PU:
        yield (
            f"the source is held at {data.source_vm_pu:g} p.u.: it must be held at "
            f"{_LEAST_SOURCE_PU:g} to {_LARGEST_SOURCE_PU:g}"
        )
    for k, number in enumerate(data.bus):
        if not (np.isfinite(data.vn_kv[k]) and data.vn_kv[k] > 0):
            yield f"bus {number} has rated voltage {data.vn_kv[k]:g} kV: it must be positive"
        if not (np.isfinite(data.load_kw[k]) and data.load_kw[k] >= 0):
            yield (
                f"bus {number} has load {data.load_kw[k]:g} kW: it must be at least 0, since "
                "generation is set up by the peers"
            )
        others = np.array([data.load_kvar[k], data.shunt_kw[k], data.shunt_kvar[k]])
        if not np.isfinite(others).all():
            yield f"bus {number} has a reactive load or shunt that is not a finite number"
        largest = max(data.load_kw[k], data.vn_kv[k], np.abs(others).max())
        if np.isfinite(largest) and largest > FIGURE:
            yield f"bus {number} has a load, shunt or voltage of {largest:g}: at most {FIGURE:g}"


def _line_faults(data: NetworkData) -> Iterator[str]:
    """Name every faulty number of the lines and every bus that is not there."""
    vn_kv = {int(number): kv for number, kv in zip(data.bus, data.vn_kv, strict=True)}
    if not data.line:
        yield "no line"
    for i, label in enumerate(data.line):
        a, b = int(data.from_bus[i]), int(data.to_bus[i])
        if missing := [number for number in (a, b) if number not in vn_kv]:
            yield f"{label} refers to unknown bus {_named(missing)}"
            continue
        r, x = data.r_ohm[i], data.x_ohm[i]
        if not (np.isfinite([r, x]).all() and r >= 0 and x >= 0 and r + x > 0):
            yield (
                f"{label} ({a}-{b}) has impedance r {r:g}, x {x:g} ohm: both must be at least 0 "
                "and one positive"
            )
        elif max(r, x) > FIGURE:
            yield f"{label} ({a}-{b}) has impedance r {r:g}, x {x:g} ohm: at most {FIGURE:g}"
        elif max(r, x) < _Z_MIN_PU * impedance_base_ohm(vn_kv[b]):
            yield (
                f"{label} ({a}-{b}) has impedance r {r:g}, x {x:g} ohm, too small for a power "
                "flow: make its two buses one"
            )
        if not (np.isfinite(data.ratio[i]) and data.ratio[i] > 0):
            yield f"{label} ({a}-{b}) has ratio {data.ratio[i]:g}: it must be positive"
        if not (np.isnan(data.max_i_ka[i]) or data.max_i_ka[i] > 0):
            yield f"{label} ({a}-{b}) has rating {data.max_i_ka[i]:g} kA: it must be positive"


def _topology_faults(data: NetworkData) -> Iterator[str]:
    """Name the lines that close a loop and the buses that nothing feeds."""
    group = {int(number): int(number) for number in data.bus}

    def find(number: int) -> int:
        while group[number] != number:
            group[number] = group[group[number]]
            number = group[number]
        return number

    closing = []
    for label, a, b in zip(data.line, data.from_bus, data.to_bus, strict=True):
        one, other = find(int(a)), find(int(b))
        if one == other:
            closing.append(f"{label} ({a}-{b})")
        group[one] = other
    if closing:
        yield f"meshed, not radial: a loop is closed by {_named(closing)}"
    fed = find(data.source)
    if unfed := [number for number in group if find(number) != fed]:
        yield f"not connected to source bus {data.source}: bus {_named(unfed)}"


def _given(values: NDArray[np.float64], default: float) -> NDArray[np.float64]:
    """Fill in the default where the source has no value."""
    return np.where(np.isnan(values), default, values)


def _named(elements: Iterable[object]) -> str:
    """List a few elements and count the others."""
    names = [str(element) for element in elements]
    more = f" and {len(names) - _N_NAMED} more" if len(names) > _N_NAMED else ""
    return ", ".join(names[:_N_NAMED]) + more


def _refuse(data: NetworkData, faults: Iterable[str]) -> None:
    """Raise one error that tells the faults, if there are any."""
    if found := list(faults):
        more = f"; and {len(found) - _N_NAMED} more faults" if len(found) > _N_NAMED else ""
        msg = f"network {data.name} ({data.origin}): {'; '.join(found[:_N_NAMED])}{more}"
        raise NetworkError(msg)
