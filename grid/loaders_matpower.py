"""A network from a MATPOWER case file, its unit conversion code included."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

import numpy as np

from grid.loaders_data import NetworkData
from grid.loaders_mfile import MatpowerCase
from grid.network import NetworkError
from grid.units import KW_PER_MW

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_log = logging.getLogger(__name__)

_PV, _REF, _ISOLATED = 2, 3, 4  # values of BUS_TYPE


def load_matpower(name: str, path: Path) -> NetworkData:
    """Read a network from a MATPOWER case file.

    The reference bus is the source. Line charging becomes shunts at both ends; branches out
    of service and isolated buses are left out. Phase shifts only turn angles and are ignored.
    Fixed generation at PQ buses and negative loads are left out too, since peers are drawn anew.

    Parameters
    ----------
    name : str
        Name of the network.
    path : Path
        The ``.m`` file, case format 2.

    Returns
    -------
    NetworkData
        The raw network.

    Raises
    ------
    NetworkError
        If the file is missing or not understood, or has no single reference bus, or a
        generator holds the voltage of another bus.
    """
    case = MatpowerCase(path)
    kind = case.column("bus", "BUS_TYPE")
    numbers = case.numbers("bus", "BUS_I")
    source = _reference(path, numbers[kind == _REF])
    source_vm_pu = _source_voltage(case, numbers, source)
    _look_at_generators(name, case, numbers[kind == _PV], source)

    vn_kv = case.column("bus", "BASE_KV")
    from_bus = case.numbers("branch", "F_BUS")
    to_bus = case.numbers("branch", "T_BUS")
    isolated = numbers[kind == _ISOLATED]
    on = case.column("branch", "BR_STATUS") > 0
    on &= ~np.isin(from_bus, isolated) & ~np.isin(to_bus, isolated)
    label = tuple(f"branch {k + 1}" for k in np.flatnonzero(on))
    if missing := [
        text
        for text, ends in zip(label, zip(from_bus[on], to_bus[on], strict=True), strict=True)
        if not np.isin(ends, numbers).all()
    ]:
        msg = f"{path}: {', '.join(missing[:5])} refers to an unknown bus"
        raise NetworkError(msg)
    from_bus, to_bus = from_bus[on], to_bus[on]
    at = {int(number): k for k, number in enumerate(numbers)}
    to_row = np.array([at[int(number)] for number in to_bus], dtype=np.int64)
    from_row = np.array([at[int(number)] for number in from_bus], dtype=np.int64)

    tap = case.column("branch", "TAP")[on]
    ratio = np.where(tap == 0, 1.0, tap)
    z_base = vn_kv[to_row] ** 2 / case.base_mva
    half_charging = case.column("branch", "BR_B")[on] / 2 * case.base_mva
    shunt_mvar = case.column("bus", "BS").copy()
    np.add.at(shunt_mvar, to_row, half_charging)
    np.add.at(shunt_mvar, from_row, half_charging / ratio**2)
    rate_mva = case.column("branch", "RATE_A")[on]
    rated = np.where(rate_mva > 0, rate_mva, np.nan)
    with np.errstate(divide="ignore"):  # a rated voltage of 0 is refused later
        max_i_ka = rated / (math.sqrt(3) * vn_kv[to_row])

    keep = kind != _ISOLATED
    consumer = case.column("bus", "PD") >= 0  # a negative load is generation
    return NetworkData(
        name=name,
        origin=str(path),
        bus=numbers[keep],
        vn_kv=vn_kv[keep],
        load_kw=(case.column("bus", "PD") * consumer)[keep] * KW_PER_MW,
        load_kvar=(case.column("bus", "QD") * consumer)[keep] * KW_PER_MW,
        shunt_kw=case.column("bus", "GS")[keep] * KW_PER_MW,
        shunt_kvar=shunt_mvar[keep] * KW_PER_MW,
        v_min_pu=np.full(keep.sum(), np.nan),
        v_max_pu=np.full(keep.sum(), np.nan),
        source=source,
        source_vm_pu=source_vm_pu,
        line=label,
        from_bus=from_bus,
        to_bus=to_bus,
        r_ohm=case.column("branch", "BR_R")[on] * z_base,
        x_ohm=case.column("branch", "BR_X")[on] * z_base,
        ratio=ratio,
        max_i_ka=max_i_ka,
    )


def _reference(path: Path, numbers: NDArray[np.int64]) -> int:
    """Find the one reference bus."""
    if len(numbers) != 1:
        listed = ", ".join(str(number) for number in numbers) or "none"
        msg = f"{path}: exactly one reference bus (type 3) is needed, found {listed}"
        raise NetworkError(msg)
    return int(numbers[0])


def _source_voltage(case: MatpowerCase, numbers: NDArray[np.int64], source: int) -> float:
    """Return the set-point of the generator at the reference bus, or the bus's voltage."""
    at_source = case.numbers("gen", "GEN_BUS") == source
    at_source &= case.column("gen", "GEN_STATUS") > 0
    if at_source.any():
        return float(case.column("gen", "VG")[at_source][0])
    return float(case.column("bus", "VM")[numbers == source][0])


def _look_at_generators(name: str, case: MatpowerCase, pv: NDArray[np.int64], source: int) -> None:
    """Refuse voltage control outside the source; note generation that is left out."""
    running = case.numbers("gen", "GEN_BUS")[case.column("gen", "GEN_STATUS") > 0]
    others = running[running != source]
    if holding := sorted({int(number) for number in others if number in pv}):
        listed = ", ".join(str(number) for number in holding[:5])
        more = f" and {len(holding) - 5} more" if len(holding) > 5 else ""
        msg = (
            f"{case.path}: a generator holds the voltage of bus {listed}{more}: only the source may"
        )
        raise NetworkError(msg)
    n_left_out = len(others) + int((case.column("bus", "PD") < 0).sum())
    if n_left_out:
        _log.info(
            "network %s: %d generators and negative loads of %s are left out, since peers are "
            "drawn anew",
            name,
            n_left_out,
            case.path,
        )
