"""Where the conic form keeps the devices, and the grid rows that are appended to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from market.branch_flow import Injection
from market.chance import SCALE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from market.chance import ChanceRow
    from market.roster import Roster

    Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Devices:
    """Devices of one kind in one network: their columns, owners and signs."""

    variable: str
    place: NDArray[np.intp]
    """Column of the variable."""
    member: NDArray[np.intp]
    """Owner, among the network's members."""
    sign: float
    """Injection per unit of the variable."""


@dataclass(frozen=True, eq=False)
class Layout:
    """Columns of the conic form; CVXPY stores a variable column by column."""

    start: dict[str, int]
    n_steps: int
    n_columns: int
    devices: list[list[Devices]]
    n_recourse: int
    n_signals: int

    def columns(
        self, variable: str, place: NDArray[np.intp], step: int | NDArray[np.intp]
    ) -> NDArray[np.intp]:
        """Columns of some entries of a variable at one step, or at several."""
        return self.start[variable] + step + self.n_steps * place

    def injection(self, network: int, fixed_p: Array, fixed_q: Array) -> Injection:
        """Injections of a network's members, given those when all devices rest. [kW, kvar]"""
        n_members = fixed_p.shape[1]
        shape = (self.n_steps * n_members, self.n_columns)
        p, q = sparse.csr_array(shape), sparse.csr_array(shape)
        steps = np.arange(self.n_steps)[:, None]
        for devices in self.devices[network]:
            if devices.variable == "alpha":  # moves nothing until the errors are known
                continue
            row = (steps * n_members + devices.member).ravel()
            column = self.columns(devices.variable, devices.place, steps).ravel()
            entries = np.full(len(row), devices.sign)
            part = sparse.csr_array((entries, (row, column)), shape=shape)
            if devices.variable == "reactive":
                q = sparse.csr_array(q + part)
            else:
                p = sparse.csr_array(p + part)
        return Injection(p, q, fixed_p, fixed_q)


@dataclass(frozen=True, eq=False)
class ChanceCones:
    """Chance constraints posed as ``offset - matrix x`` in cones, linear rows first."""

    matrix: sparse.csc_array
    offset: Array
    n_linear: int
    n_conic: int
    dimension: int
    """Of every cone: the row itself, the signals, and what they do not explain."""

    @classmethod
    def of(cls, rows: Sequence[ChanceRow], layout: Layout, n_columns: int) -> ChanceCones:
        """Pose the rows, linear ones first, over all columns: those of the state come last."""
        n_linear = sum(not row.conic for row in rows)
        n_conic = len(rows) - n_linear
        dimension = layout.n_signals + 2
        head = np.concatenate([np.arange(n_linear), n_linear + dimension * np.arange(n_conic)])
        offset = np.zeros(n_linear + dimension * n_conic)
        entries: list[tuple[NDArray[np.intp], NDArray[np.intp], Array]] = []

        def put(place: int, columns: NDArray[np.intp], values: Array) -> None:
            entries.append((np.full(len(columns), place, dtype=np.intp), columns, values))

        for row, top in zip(rows, head, strict=True):
            offset[top] = row.room
            per_gain = -row.mean_signal
            margins = top + 1 + np.arange(layout.n_signals)
            if row.conic:
                offset[margins] = row.kappa * row.root @ row.beta
                offset[top + 1 + layout.n_signals] = row.kappa * row.remainder
            else:
                sigma, slope = row.tangent
                offset[top] -= row.kappa * sigma
                per_gain = per_gain + row.kappa * slope
            violation = layout.columns("violation", np.array([row.network]), row.step)
            put(top, violation, np.array([-1.0 / SCALE]))
            if row.state is not None:
                column = np.array([layout.n_columns + row.state.column])
                put(top, column, np.array([row.state.slope]))
            for devices in layout.devices[row.network]:
                if devices.variable == "alpha":
                    gain = row.d_p[devices.member]
                    for s in range(layout.n_signals):
                        place = devices.place + s * layout.n_recourse
                        columns = layout.columns("alpha", place, row.step)
                        put(top, columns, per_gain[s] * gain)
                        if row.conic:
                            for margin, root in zip(margins, row.root[:, s], strict=True):
                                put(margin, columns, row.kappa * root * gain)
                elif row.state is None:
                    columns = layout.columns(devices.variable, devices.place, row.step)
                    sensitivity = row.d_q if devices.variable == "reactive" else row.d_p
                    put(top, columns, devices.sign * sensitivity[devices.member])
        at, columns, value = (
            (np.concatenate(part) for part in zip(*entries, strict=True))
            if entries
            else (np.zeros(0, dtype=int), np.zeros(0, dtype=int), np.zeros(0))
        )
        shape = (len(offset), n_columns)
        matrix = sparse.csc_array((SCALE * value, (at, columns)), shape=shape)
        return cls(matrix, SCALE * offset, n_linear, n_conic, dimension)

    def heads(self, z: Array) -> Array:
        """Duals of the rows' own inequality, leaving those of the margins out."""
        end = len(self.offset)
        return np.concatenate([z[: self.n_linear], z[self.n_linear : end : self.dimension]])


def device_columns(roster: Roster, network: int) -> list[Devices]:
    """List the devices of a network whose variables move its injections."""
    members = roster.members(network)
    kinds = [
        ("renewable", roster.renewable, 1.0),
        ("dispatchable", roster.dispatchable, 1.0),
        ("discharge", roster.storage, 1.0),
        ("charge", roster.storage, -1.0),
        ("curtailed", roster.flexible, 1.0),
        ("deferred", roster.flexible, 1.0),
        ("reactive", roster.reactive, 1.0),
        ("alpha", roster.recourse, 1.0),
    ]
    out = []
    for variable, owners, sign in kinds:
        place = np.flatnonzero(roster.network_of[owners] == network)
        out.append(Devices(variable, place, np.searchsorted(members, owners[place]), sign))
    return out
