r"""The grid constraints of one network and step as linear rows.

Voltages are rows of their own. A line current or the substation's power is the magnitude of a
*phasor* :math:`\varphi`, a complex quantity that is affine in the injections round an operating
point. Its limit is an intersection of half-planes,

.. math:: |\varphi| \le L \iff \operatorname{Re}(\bar u \, \varphi) \le L
          \quad \forall u \in \mathbb{C}, |u| = 1 ,

of which the tangent at the operating point is one. A half-plane holds for every schedule, so that
those found in one pass of a clearing are kept in all that follow: replacing the tangent instead
lets the passes alternate between two schedules on either side of the disc.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Complex = NDArray[np.complex128]

SAME_DIRECTION = np.pi / 256
"""Half-planes whose directions differ by less than this angle are one. [rad]"""
INSIDE = 5e-5
"""Half-planes are posed so far inside their limit that a schedule in a corner between two of them,
which enclose the disc closely there, does not stand outside it. [p.u.]"""


@dataclass(frozen=True, eq=False)
class Phasors:
    """Complex quantities whose magnitudes are limited, around a schedule.

    Attributes
    ----------
    row : ndarray of int, shape (n_phasors,)
        Row of the offer that holds the magnitude of each.
    value : ndarray of complex, shape (n_steps, n_phasors)
        At the schedule, over the rating. [p.u.]
    d_p, d_q : mapping of int to ndarray of complex, shape (n_phasors, n_members)
        Sensitivities, by step of the window. [p.u./kW, p.u./kvar]
    """

    row: NDArray[np.intp]
    value: Complex
    d_p: Mapping[int, Complex]
    d_q: Mapping[int, Complex]

    def moved_to(self, other: Phasors, step: int) -> Phasors:
        """Take one step from phasors around another schedule."""
        value = self.value.copy()
        value[step] = other.value[step]
        d_p, d_q = {**self.d_p, step: other.d_p[step]}, {**self.d_q, step: other.d_q[step]}
        return replace(self, value=value, d_p=d_p, d_q=d_q)


@dataclass(frozen=True, eq=False)
class HalfPlanes:
    """Half-planes that support the limits of magnitudes, in the order in which they were found.

    Attributes
    ----------
    phasor : ndarray of int, shape (n_half_planes,)
        The phasor whose magnitude each one limits.
    direction : ndarray of complex, shape (n_half_planes,)
        Outward normal, of length one.
    """

    phasor: NDArray[np.intp]
    direction: Complex

    @classmethod
    def none(cls) -> HalfPlanes:
        """No half-plane."""
        return cls(np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.complex128))

    def of(self, phasor: int) -> Complex:
        """Directions of one phasor."""
        return self.direction[self.phasor == phasor]

    def joined_with(self, found: Mapping[int, Complex]) -> HalfPlanes:
        """Add half-planes, by phasor, whose directions are new, behind those known."""
        phasors, directions = [self.phasor], [self.direction]
        for phasor, several in found.items():
            known = self.of(phasor)
            for u in several:
                if not len(known) or (np.conj(known) * u).real.max() < np.cos(SAME_DIRECTION):
                    known = np.append(known, u)
            new = known[np.count_nonzero(self.phasor == phasor) :]
            phasors.append(np.full(len(new), phasor, dtype=np.intp))
            directions.append(new)
        return HalfPlanes(np.concatenate(phasors), np.concatenate(directions))


@dataclass(frozen=True, eq=False)
class GridRows:
    """Rows ``value + d_p (p - p_kw) + d_q (q - q_kvar) <= limit`` of one network and step.

    The rows that the network offers come first, then the half-planes.

    Attributes
    ----------
    value : ndarray, shape (n_rows,)
        Constrained quantities at the schedule. [p.u.]
    limit : ndarray, shape (n_rows,)
        Their upper limits. [p.u.]
    d_p, d_q : ndarray, shape (n_rows, n_members)
        Sensitivities. [p.u./kW, p.u./kvar]
    p_kw, q_kvar : ndarray, shape (n_members,)
        The schedule: net injections, loads included. [kW, kvar]
    parent : ndarray of int, shape (n_offered,)
        For each offered row the same quantity one place closer to the source, -1 for none.
    half_planes : HalfPlanes
        The half-planes.
    element : ndarray of int, shape (n_rows,)
        The offered row that each row belongs to: itself, or that of the magnitude it supports.
    converged : bool
        Whether the power flow at the schedule has a solution.
    """

    value: Array
    limit: Array
    d_p: Array
    d_q: Array
    p_kw: Array
    q_kvar: Array
    parent: NDArray[np.intp]
    half_planes: HalfPlanes
    element: NDArray[np.intp]
    converged: bool

    def at(self, p_kw: Array, q_kvar: Array) -> Array:
        """Value of the rows at other injections of the members, (n_rows,). [p.u.]"""
        moved: Array = (
            self.value + self.d_p @ (p_kw - self.p_kw) + self.d_q @ (q_kvar - self.q_kvar)
        )
        return moved

    def peaks(self, exceedance: Array) -> NDArray[np.bool_]:
        """Find rows whose element exceeds at least as much as its neighbours along the tree.

        Parameters
        ----------
        exceedance : ndarray, shape (n_rows,)
            How far each row exceeds its limit, in any unit. An element exceeds as far as the
            worst of its rows.
        """
        of_element = exceedance[: len(self.parent)].copy()
        np.maximum.at(of_element, self.element, exceedance)
        has_parent = np.flatnonzero(self.parent >= 0)
        parent = self.parent[has_parent]
        peak = np.ones(len(of_element), dtype=bool)
        peak[has_parent] &= of_element[has_parent] >= of_element[parent]
        topped = of_element[has_parent] > of_element[parent]
        peak[parent[topped]] = False
        return peak[self.element]
