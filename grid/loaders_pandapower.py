"""The conversion of a pandapower network."""

from __future__ import annotations

import logging
import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pandapower.converter.pypower.to_ppc import to_ppc
from pandapower.pypower import idx_brch, idx_bus

from configs.limits import BUSES
from grid.loaders_branches import Branch, open_ends_as_shunts, parallel_as_one
from grid.loaders_data import NetworkData
from grid.network import NetworkError
from grid.units import KW_PER_MW

if TYPE_CHECKING:
    from collections.abc import Iterator

_log = logging.getLogger(__name__)

_UNDERSTOOD = {"bus", "line", "trafo", "load", "asymmetric_load", "shunt", "ext_grid"}
_LEFT_OUT = {"sgen", "asymmetric_sgen", "storage"}
_IGNORED = {"controller", "group", "measurement"}
_LARGEST_BUS_NUMBER = 10_000_000
"""The library makes a list as long as the largest bus number."""


def from_pandapower(name: str, origin: str, net: Any) -> NetworkData:
    """Convert a pandapower network.

    Pandapower's own branch model is taken over: buses joined by closed switches are one bus
    (under the lowest number), what is out of service or unsupplied is left out, transformers
    and line charging have become series impedances, ratios and shunts. A branch that is open
    at one end is the shunt it looks like from the other. Voltage-dependent loads are constant
    powers; static generation and storage are left out, since peers are drawn anew.

    Parameters
    ----------
    name : str
        Name of the network.
    origin : str
        The file or case, for messages.
    net : pandapowerNet
        The network.

    Returns
    -------
    NetworkData
        The raw network.

    Raises
    ------
    NetworkError
        If it holds elements that have no place in a radial network with one source.
    """
    try:
        return _converted(name, origin, net)
    except NetworkError:
        raise
    except Exception as error:  # tables of a file may lack columns or hold anything
        msg = (
            f"network {name} ({origin}): its tables cannot be used "
            f"({type(error).__name__}: {error})"
        )
        raise NetworkError(msg) from error


def _converted(name: str, origin: str, net: Any) -> NetworkData:
    """Convert a network whose tables may be faulty."""
    _check_size(name, origin, net)
    source, source_vm_pu = _check(name, origin, net)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # on old data formats
            model = to_ppc(net, init="flat", mode="pf", calculate_voltage_angles=False)
    except Exception as error:  # the library raises what its parts raise
        msg = f"network {name} ({origin}): pandapower cannot convert it ({error})"
        raise NetworkError(msg) from error
    row = net["_pd2ppc_lookups"]["bus"]

    supplied = {
        bus: int(row[bus])
        for bus in sorted(int(b) for b in net.bus.index[net.bus["in_service"].astype(bool)])
        if 0 <= row[bus] < len(model["bus"])
    }
    number: dict[int, int] = {}  # row of the branch model -> lowest bus number
    for bus, at in supplied.items():
        number.setdefault(at, bus)
    joined = {bus: number[at] for bus, at in supplied.items() if number[at] != bus}
    rows = np.array(list(number), dtype=np.int64)
    vn_kv = model["bus"][:, idx_bus.BASE_KV].astype(float)
    shunt_mva = model["bus"][:, idx_bus.GS] + 1j * model["bus"][:, idx_bus.BS]
    branches = open_ends_as_shunts(_branches(net, model), set(number), shunt_mva, vn_kv)
    for branch in branches:
        shunt_mva[branch.f] += branch.y_f_mva / branch.ratio**2
        shunt_mva[branch.t] += branch.y_t_mva
    branches = parallel_as_one(branches)

    load_kw = np.zeros(len(vn_kv))
    load_kvar = np.zeros(len(vn_kv))
    for bus, p_mw, q_mvar in _loads(net):
        if bus in supplied:
            load_kw[supplied[bus]] += p_mw * KW_PER_MW
            load_kvar[supplied[bus]] += q_mvar * KW_PER_MW
    return NetworkData(
        name=name,
        origin=origin,
        bus=np.array(list(number.values()), dtype=np.int64),
        vn_kv=vn_kv[rows],
        load_kw=load_kw[rows],
        load_kvar=load_kvar[rows],
        shunt_kw=shunt_mva.real[rows] * KW_PER_MW,
        shunt_kvar=shunt_mva.imag[rows] * KW_PER_MW,
        v_min_pu=np.full(len(rows), np.nan),
        v_max_pu=np.full(len(rows), np.nan),
        source=joined.get(source, source),
        source_vm_pu=source_vm_pu,
        line=tuple(branch.label for branch in branches),
        from_bus=np.array([number[branch.f] for branch in branches], dtype=np.int64),
        to_bus=np.array([number[branch.t] for branch in branches], dtype=np.int64),
        r_ohm=np.array([branch.z_ohm.real for branch in branches]),
        x_ohm=np.array([branch.z_ohm.imag for branch in branches]),
        ratio=np.array([branch.ratio for branch in branches]),
        max_i_ka=np.array([branch.max_i_ka for branch in branches]),
        joined=joined,
    )


def _check_size(name: str, origin: str, net: Any) -> None:
    """Refuse more buses than allowed, and bus numbers that the library could not list."""
    n, largest = len(net.bus), int(net.bus.index.max()) if len(net.bus) else 0
    if n > BUSES:
        msg = f"network {name} ({origin}): {n:,} buses; allowed are at most {BUSES:,}"
        raise NetworkError(msg)
    if largest > _LARGEST_BUS_NUMBER or (n and int(net.bus.index.min()) < 0):
        msg = (
            f"network {name} ({origin}): bus numbers up to {largest}; allowed are 0 to "
            f"{_LARGEST_BUS_NUMBER:,}"
        )
        raise NetworkError(msg)


def _check(name: str, origin: str, net: Any) -> tuple[int, float]:
    """Refuse elements without a place here; return the source bus and its voltage."""
    left_out = 0
    for element in list(net):
        table = net[element]
        if not isinstance(table, pd.DataFrame) or "in_service" not in table.columns:
            continue
        in_service = int(table["in_service"].astype(bool).sum())
        if element.startswith(("res_", "_")) or element in _UNDERSTOOD | _IGNORED:
            continue
        if element in _LEFT_OUT:
            left_out += in_service
        elif in_service:
            msg = (
                f"network {name} ({origin}): {in_service} {element} in service; a radial network "
                "of lines, two-winding transformers, loads and shunts is needed"
            )
            raise NetworkError(msg)
    if left_out:
        _log.info(
            "network %s: %d static generators and storages of %s are left out, since peers are "
            "drawn anew",
            name,
            left_out,
            origin,
        )
    sources = net.ext_grid[net.ext_grid["in_service"].astype(bool)]
    if len(sources) != 1:
        buses = ", ".join(str(bus) for bus in sources["bus"]) or "none"
        msg = (
            f"network {name} ({origin}): exactly one ext_grid in service is needed, found "
            f"{len(sources)} (bus {buses})"
        )
        raise NetworkError(msg)
    bus = int(sources["bus"].iloc[0])
    if bus not in net.bus.index or not net.bus["in_service"].astype(bool)[bus]:
        msg = f"network {name} ({origin}): bus {bus} of the ext_grid is not in service"
        raise NetworkError(msg)
    return bus, float(sources["vm_pu"].iloc[0])


def _branches(net: Any, model: dict[str, Any]) -> list[Branch]:
    """Read the branches in service from pandapower's branch model."""
    base_mva = float(model["baseMVA"])
    vn_kv = model["bus"][:, idx_bus.BASE_KV].astype(float)
    element_of = [
        (element, k)
        for element, (first, end) in net["_pd2ppc_lookups"]["branch"].items()
        for k in range(end - first)
    ]
    in_service = np.flatnonzero(model["internal"]["branch_is"])
    zero = np.zeros(len(element_of))
    # Columns that are all zero are left out of the model.
    g, g_more, b_more = (
        np.real(model.get(f"branch_{column}", zero)) for column in ("g", "g_asym", "b_asym")
    )
    branches = []
    for i, values in enumerate(np.real(model["branch"])):
        element, k = element_of[in_service[i]]
        t = int(values[idx_brch.T_BUS])
        z_pu = complex(values[idx_brch.BR_R], values[idx_brch.BR_X])
        y_f_mva = complex(g[i], values[idx_brch.BR_B]) / 2 * base_mva
        branches.append(
            Branch(
                label=f"{element} {net[element].index[k]}",
                f=int(values[idx_brch.F_BUS]),
                t=t,
                z_ohm=z_pu * vn_kv[t] ** 2 / base_mva,
                ratio=float(values[idx_brch.TAP]) or 1.0,
                shift_degree=float(values[idx_brch.SHIFT]),
                y_f_mva=y_f_mva,
                y_t_mva=y_f_mva + complex(g_more[i], b_more[i]) / 2 * base_mva,
                max_i_ka=_rating_ka(net, element, k),
            )
        )
    return branches


def _rating_ka(net: Any, element: str, k: int) -> float:
    """Return the current rating of a line, or of a transformer at its low-voltage side."""
    if element not in ("line", "trafo"):
        return math.nan
    row = net[element].iloc[k]
    if element == "line":
        rating = row["max_i_ka"]
    else:
        rating = row["sn_mva"] / (math.sqrt(3) * row["vn_lv_kv"])
    return float(rating * row["df"] * row["parallel"])


def _loads(net: Any) -> Iterator[tuple[int, float, float]]:
    """Give bus, active and reactive power of every load in service. [MW, Mvar]"""
    for element, p, q in (
        ("load", ("p_mw",), ("q_mvar",)),
        ("asymmetric_load", ("p_a_mw", "p_b_mw", "p_c_mw"), ("q_a_mvar", "q_b_mvar", "q_c_mvar")),
    ):
        table = net[element]
        table = table[table["in_service"].astype(bool)]
        p_mw = table[list(p)].sum(axis=1) * table["scaling"]
        q_mvar = table[list(q)].sum(axis=1) * table["scaling"]
        for bus, mw, mvar in zip(table["bus"], p_mw, q_mvar, strict=True):
            yield int(bus), float(mw), float(mvar)
