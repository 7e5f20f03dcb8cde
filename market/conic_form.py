"""Where the conic form keeps devices and constraints, and the grid rows that are appended to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from cvxpy.constraints.zero import Equality
from scipy import sparse

from market.branch_flow import Injection
from market.chance import SCALE

if TYPE_CHECKING:
    from collections.abc import Sequence

    import cvxpy as cp
    from numpy.typing import NDArray

    from market.chance import ChanceRow
    from market.conic_problem import ConicProblem
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
class LabelledRows:
    """Rows of the labelled constraints: equalities first, in order, then inequalities."""

    equal: list[tuple[str, int]]
    """Label and number of rows of every equality."""
    unequal: list[tuple[str, int]]
    """Label and number of rows of every inequality."""
    shape: dict[str, tuple[int, ...]]

    @classmethod
    def of(cls, constraints: Sequence[cp.Constraint]) -> LabelledRows:
        """List the constraints, which keep their order within each cone."""
        rows = [(c.label, c.size, isinstance(c, Equality)) for c in constraints]
        return cls(
            equal=[(label, size) for label, size, equality in rows if equality],
            unequal=[(label, size) for label, size, equality in rows if not equality],
            shape={c.label: c.shape for c in constraints},
        )

    def places(self, n_zero: int) -> dict[str, slice]:
        """Rows of every constraint, given how many rows the zero cone has."""
        out = {}
        for start, labelled in ((0, self.equal), (n_zero, self.unequal)):
            ends = start + np.cumsum([size for _, size in labelled])
            for (label, size), end in zip(labelled, ends.tolist(), strict=True):
                out[label] = slice(end - size, end)
        return out

    def read(self, z: Array, n_zero: int) -> dict[str, Array]:
        """Read the duals of every constraint."""
        return {
            label: z[place].reshape(self.shape[label], order="F")
            for label, place in self.places(n_zero).items()
        }

    def factors(self, of_label: dict[str, Array], problem: ConicProblem) -> Array:
        """Put factors of some constraints at their rows, and ones elsewhere, (n_rows,)."""
        out, places = np.ones(len(problem.offset)), self.places(problem.n_zero)
        for label, factor in of_label.items():
            out[places[label]] = factor.ravel(order="F")
        return out


@dataclass(frozen=True, eq=False)
class ChanceCones:
    """Chance constraints posed as ``offset - matrix x`` in cones, linear rows first."""

    matrix: sparse.csr_array
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
        entries = _Entries()
        for network in sorted({row.network for row in rows}):
            mine = [k for k, row in enumerate(rows) if row.network == network]
            _pose(entries, layout, network, [rows[k] for k in mine], head[mine])
        offset = np.zeros(n_linear + dimension * n_conic)
        for row, top in zip(rows, head, strict=True):
            offset[top] = row.room
            if row.conic:
                last = top + 1 + layout.n_signals
                offset[top + 1 : last] = row.kappa * row.root @ row.beta
                offset[last] = row.kappa * row.remainder
            else:
                offset[top] -= row.kappa * row.tangent[0]
        matrix = entries.matrix((len(offset), n_columns))
        return cls(SCALE * matrix, SCALE * offset, n_linear, n_conic, dimension)

    def heads(self, z: Array) -> Array:
        """Duals of the rows' own inequality, leaving those of the margins out."""
        end = len(self.offset)
        return np.concatenate([z[: self.n_linear], z[self.n_linear : end : self.dimension]])


@dataclass(eq=False)
class _Entries:
    """Entries of a matrix as they are gathered."""

    rows: list[NDArray[np.intp]] = field(default_factory=list)
    columns: list[NDArray[np.intp]] = field(default_factory=list)
    values: list[Array] = field(default_factory=list)

    def put(self, rows: NDArray[np.intp], columns: NDArray[np.intp], values: Array) -> None:
        """Add a block; rows, columns and values are broadcast against each other."""
        rows, columns, values = np.broadcast_arrays(rows, columns, values)
        self.rows.append(rows.ravel())
        self.columns.append(columns.ravel())
        self.values.append(values.ravel())

    def matrix(self, shape: tuple[int, int]) -> sparse.csr_array:
        """Make the matrix."""
        if not self.rows:
            return sparse.csr_array(shape)
        at = np.concatenate(self.rows), np.concatenate(self.columns)
        return sparse.csr_array((np.concatenate(self.values), at), shape=shape)


def _pose(
    entries: _Entries,
    layout: Layout,
    network: int,
    rows: Sequence[ChanceRow],
    head: NDArray[np.intp],
) -> None:
    """Put the rows of one network in place; ``head`` is the first conic row of each."""
    step = np.array([row.step for row in rows])[:, None]
    head = head[:, None]
    sensitivity = {
        "p": np.array([row.d_p for row in rows]),
        "q": np.array([row.d_q for row in rows]),
    }
    violation = layout.columns("violation", np.array([network]), step)
    entries.put(head, violation, np.array([-1.0 / SCALE]))
    devices_only = np.array([row.state is None for row in rows])
    # What the recourse does to the mean and, further ahead, to the tangent of the margin; in the
    # steps that bind the margin is a cone of its own.
    conic = np.flatnonzero([row.conic for row in rows])
    scaled_root = [rows[int(k)].kappa * rows[int(k)].root for k in conic]
    per_gain = np.array(
        [(0.0 if row.conic else row.kappa * row.tangent[1]) - row.mean_signal for row in rows]
    )
    for row, top in zip(rows, head, strict=True):
        if row.state is not None:
            column = np.array([layout.n_columns + row.state.column])
            entries.put(top, column, np.array([row.state.slope]))
    for devices in layout.devices[network]:
        kind = "q" if devices.variable == "reactive" else "p"
        effect = devices.sign * sensitivity[kind][:, devices.member]
        if devices.variable == "alpha":
            for signal in range(layout.n_signals):
                columns = layout.columns("alpha", devices.place + signal * layout.n_recourse, step)
                entries.put(head, columns, per_gain[:, signal, None] * effect)
                for margin in range(layout.n_signals if len(conic) else 0):
                    weight = np.array([root[margin, signal] for root in scaled_root])[:, None]
                    entries.put(head[conic] + 1 + margin, columns[conic], weight * effect[conic])
        else:
            columns = layout.columns(devices.variable, devices.place, step[devices_only])
            entries.put(head[devices_only], columns, effect[devices_only])


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
