"""Branches of a pi model: those open at one end, and those in parallel."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Branch:
    """A branch between two rows of a bus table.

    Admittances are powers at nominal voltage: drawn active plus j times injected reactive.

    Attributes
    ----------
    label : str
        What messages call it.
    f, t : int
        Rows of its buses.
    z_ohm : complex
        Series impedance, seen from ``t``. [ohm]
    ratio : float
        Off-nominal voltage ratio at ``f``. [-]
    shift_degree : float
        Phase shift. [degree]
    y_f_mva, y_t_mva : complex
        Admittances at both ends, behind the ratio. [MVA]
    max_i_ka : float
        Current rating at ``t``; nan without one. [kA]
    """

    label: str
    f: int
    t: int
    z_ohm: complex
    ratio: float
    shift_degree: float
    y_f_mva: complex
    y_t_mva: complex
    max_i_ka: float


def open_ends_as_shunts(
    branches: Iterable[Branch],
    buses: Collection[int],
    shunt_mva: NDArray[np.complex128],
    vn_kv: NDArray[np.float64],
) -> list[Branch]:
    """Turn branches open at one end into what the other end sees.

    Parameters
    ----------
    branches : iterable of Branch
        All branches.
    buses : collection of int
        Rows of the buses that exist; a branch is open at an end that is none of them.
    shunt_mva : ndarray of complex, shape (n_rows,)
        Shunts of the buses, to which the open branches are added. [MVA]
    vn_kv : ndarray, shape (n_rows,)
        Nominal voltages. [kV]

    Returns
    -------
    list of Branch
        The branches with both ends.
    """
    closed = []
    for branch in branches:
        z_per_mva = branch.z_ohm / vn_kv[branch.t] ** 2
        if branch.f in buses and branch.t in buses:
            closed.append(branch)
        elif branch.f in buses:
            behind = branch.y_t_mva / (1 + z_per_mva * branch.y_t_mva)
            shunt_mva[branch.f] += (branch.y_f_mva + behind) / branch.ratio**2
        elif branch.t in buses:
            behind = branch.y_f_mva / (1 + z_per_mva * branch.y_f_mva)
            shunt_mva[branch.t] += branch.y_t_mva + behind
    return closed


def parallel_as_one(branches: Iterable[Branch]) -> list[Branch]:
    """Combine branches of equal ratio between the same buses.

    The rating of the whole is the current at which its first branch reaches its own. Branches
    of different ratio stay apart: they form a loop.

    Parameters
    ----------
    branches : iterable of Branch
        All branches; their end admittances are not combined. Those without impedance stay
        as they are.

    Returns
    -------
    list of Branch
        At most one for every pair of buses and ratio, in the order of the first of each.
    """
    combined: dict[tuple[int, int, float, float], Branch] = {}
    apart = []
    for branch in branches:
        if not branch.z_ohm:
            apart.append(branch)
            continue
        backwards = (branch.t, branch.f, branch.ratio, branch.shift_degree)
        turned = branch
        if backwards in combined and branch.ratio == 1:
            turned = replace(branch, f=branch.t, t=branch.f)
        key = (turned.f, turned.t, turned.ratio, turned.shift_degree)
        if (other := combined.get(key)) is None:
            combined[key] = turned
            continue
        z_ohm = 1 / (1 / other.z_ohm + 1 / turned.z_ohm)
        ratings = [
            part.max_i_ka * abs(part.z_ohm / z_ohm)
            for part in (other, turned)
            if not math.isnan(part.max_i_ka)
        ]
        combined[key] = replace(
            other,
            label=f"{other.label} and {turned.label}",
            z_ohm=z_ohm,
            max_i_ka=min(ratings, default=math.nan),
        )
    return [*combined.values(), *apart]
