"""What an operator hands over for the branch-flow relaxation, beyond its linear offer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class BranchFlowData:
    """Impedances and topology of one network.

    This goes beyond the linear offer of the other grid models: an operator that takes part in the
    relaxation shares its network data with the DSO.

    Attributes
    ----------
    parent : ndarray of int, shape (n_lines,)
        Line ``k`` feeds bus ``k + 1`` from this bus; bus 0 is the source.
    r_pu, x_pu : ndarray, shape (n_lines,)
        Series impedance. [p.u.]
    g_pu, b_pu : ndarray, shape (n_lines,)
        Shunt conductance and susceptance of the fed bus; a capacitor's is positive. [p.u.]
    max_i_pu : ndarray, shape (n_lines,)
        Current ratings, by which the loading of a line is measured. [p.u.]
    source_vm_pu : float
        Voltage held at the source. [p.u.]
    base_kva : float
        Base power. [kVA]
    line_of : ndarray of int, shape (n_members,)
        Line that feeds each peer's bus.
    """

    parent: NDArray[np.intp]
    r_pu: Array
    x_pu: Array
    g_pu: Array
    b_pu: Array
    max_i_pu: Array
    source_vm_pu: float
    base_kva: float
    line_of: NDArray[np.intp]

    @property
    def n_lines(self) -> int:
        """Number of lines, and of buses but the source."""
        return len(self.parent)
