"""A radial distribution network as frozen arrays in a fixed bus order."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from grid.units import S_BASE_KVA, current_base_ka, impedance_base_ohm

if TYPE_CHECKING:
    from numpy.typing import NDArray


class NetworkError(ValueError):
    """A network that is not what the simulation needs; the message names the place."""


@dataclass(frozen=True, eq=False)
class RadialNetwork:
    """A balanced, radial network fed from one bus.

    Every branch is a series impedance; shunts are constant admittances. An off-nominal
    transformer is expressed by the rated voltage of the buses behind it, so that no ratio
    is left in the branches. The first bus is the source. Branch ``k`` feeds bus ``k + 1``:
    the branches are ordered and directed away from the source.

    Attributes
    ----------
    name : str
        Name of the network.
    bus : ndarray of int, shape (n_buses,)
        Bus numbers of the source data; the source comes first, parents before children.
    vn_kv : ndarray, shape (n_buses,)
        Rated voltage, the base of the bus's per-unit values. [kV]
    v_min_pu, v_max_pu : ndarray, shape (n_buses,)
        Voltage limits. [p.u.]
    shunt_kw, shunt_kvar : ndarray, shape (n_buses,)
        Power drawn and reactive power *injected* by the shunts at 1 p.u. [kW, kvar]
    load_kw, load_kvar : ndarray, shape (n_buses,)
        Nominal peak loads of the source data, times the load scale. [kW, kvar]
    parent : ndarray of int, shape (n_buses - 1,)
        Position of the bus that feeds bus ``k + 1`` through branch ``k``.
    r_ohm, x_ohm : ndarray, shape (n_buses - 1,)
        Series impedance, at the rated voltage of the fed bus. [ohm]
    max_i_ka : ndarray, shape (n_buses - 1,)
        Current rating, at the rated voltage of the fed bus. [kA]
    source_vm_pu : float
        Voltage magnitude held at the source. [p.u.]
    substation_kva : float
        Rating of the source's apparent power. [kVA]
    """

    name: str
    bus: NDArray[np.int64]
    vn_kv: NDArray[np.float64]
    v_min_pu: NDArray[np.float64]
    v_max_pu: NDArray[np.float64]
    shunt_kw: NDArray[np.float64]
    shunt_kvar: NDArray[np.float64]
    load_kw: NDArray[np.float64]
    load_kvar: NDArray[np.float64]
    parent: NDArray[np.int64]
    r_ohm: NDArray[np.float64]
    x_ohm: NDArray[np.float64]
    max_i_ka: NDArray[np.float64]
    source_vm_pu: float
    substation_kva: float

    @property
    def n_buses(self) -> int:
        """Number of buses, the source included."""
        return len(self.bus)

    @property
    def n_lines(self) -> int:
        """Number of branches."""
        return len(self.parent)

    @cached_property
    def position(self) -> dict[int, int]:
        """Position of each bus number in the arrays."""
        return {int(number): k for k, number in enumerate(self.bus)}

    @cached_property
    def z_pu(self) -> NDArray[np.complex128]:
        """Series impedances, shape (n_lines,). [p.u.]"""
        base = np.array([impedance_base_ohm(kv) for kv in self.vn_kv[1:]])
        return np.asarray((self.r_ohm + 1j * self.x_ohm) / base, dtype=np.complex128)

    @cached_property
    def shunt_pu(self) -> NDArray[np.complex128]:
        """Shunt admittances, shape (n_buses,). [p.u.]"""
        return np.asarray((self.shunt_kw + 1j * self.shunt_kvar) / S_BASE_KVA, dtype=np.complex128)

    @cached_property
    def max_i_pu(self) -> NDArray[np.float64]:
        """Current ratings, shape (n_lines,). [p.u.]"""
        base = np.array([current_base_ka(kv) for kv in self.vn_kv[1:]])
        return np.asarray(self.max_i_ka / base, dtype=np.float64)

    @cached_property
    def downstream(self) -> NDArray[np.bool_]:
        """Whether a bus is fed through a branch, shape (n_lines, n_buses)."""
        fed = np.zeros((self.n_lines, self.n_buses), dtype=bool)
        for k in range(self.n_lines - 1, -1, -1):
            fed[k, k + 1] = True
            fed[k] |= fed[self.parent == k + 1].any(axis=0)
        return fed
