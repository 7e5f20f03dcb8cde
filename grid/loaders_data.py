"""Network data as read from a source, before it is put in order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class NetworkData:
    """Buses and lines in the order and direction of the source data.

    Nothing is checked here: `grid.loaders_radial.order` does that. Rated voltages are
    nominal; an off-nominal transformer is a line with a ratio.

    Attributes
    ----------
    name : str
        Name of the network.
    origin : str
        The file or case it was read from, for messages.
    bus : ndarray of int, shape (n_buses,)
        Bus numbers.
    vn_kv : ndarray, shape (n_buses,)
        Nominal voltage. [kV]
    load_kw, load_kvar : ndarray, shape (n_buses,)
        Peak load. [kW, kvar]
    shunt_kw, shunt_kvar : ndarray, shape (n_buses,)
        Power drawn (kW) and reactive power *injected* (kvar) at the nominal voltage.
    v_min_pu, v_max_pu : ndarray, shape (n_buses,)
        Voltage limits relative to the nominal voltage; nan where the source has none. [p.u.]
    source : int
        Number of the bus that feeds the network.
    source_vm_pu : float
        Voltage held there. [p.u.]
    line : tuple of str, length n_lines
        What messages call the lines.
    from_bus, to_bus : ndarray of int, shape (n_lines,)
        Bus numbers; either may be the one that is fed.
    r_ohm, x_ohm : ndarray, shape (n_lines,)
        Series impedance, seen from ``to_bus``. [ohm]
    ratio : ndarray, shape (n_lines,)
        Off-nominal voltage ratio at ``from_bus``: unloaded, V(to) = V(from) / ratio in per
        unit of the nominal voltages; 1 for lines. [-]
    max_i_ka : ndarray, shape (n_lines,)
        Current rating at ``to_bus``; nan where the source has none. [kA]
    joined : mapping of int to int
        Numbers of buses that closed switches join to another one, and the number they go by.
    """

    name: str
    origin: str
    bus: NDArray[np.int64]
    vn_kv: NDArray[np.float64]
    load_kw: NDArray[np.float64]
    load_kvar: NDArray[np.float64]
    shunt_kw: NDArray[np.float64]
    shunt_kvar: NDArray[np.float64]
    v_min_pu: NDArray[np.float64]
    v_max_pu: NDArray[np.float64]
    source: int
    source_vm_pu: float
    line: tuple[str, ...]
    from_bus: NDArray[np.int64]
    to_bus: NDArray[np.int64]
    r_ohm: NDArray[np.float64]
    x_ohm: NDArray[np.float64]
    ratio: NDArray[np.float64]
    max_i_ka: NDArray[np.float64]
    joined: Mapping[int, int] = field(default_factory=dict)
