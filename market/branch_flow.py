r"""Branch-flow relaxation of the first stage: a second-order cone for every line and step.

The branch flow model of Farivar and Low [1]_ on a tree, with :math:`S = P + jQ` the power that
enters a line at the end nearer to the source, :math:`\ell` the squared current and :math:`v` the
squared voltage, reads for the line from bus :math:`i` to bus :math:`j`

.. math::
    P_{ij} - r_{ij} \ell_{ij} - g_j v_j + p_j = \sum_k P_{jk}, \qquad
    Q_{ij} - x_{ij} \ell_{ij} + b_j v_j + q_j = \sum_k Q_{jk}, \\
    v_j = v_i - 2 (r_{ij} P_{ij} + x_{ij} Q_{ij}) + (r_{ij}^2 + x_{ij}^2)\, \ell_{ij}, \qquad
    P_{ij}^2 + Q_{ij}^2 \le \ell_{ij} v_i ,

where the last relation would be an equality. The losses :math:`\sum r \ell` are bought at the loss
price. Where every inequality is tight the relaxation is exact. It need not be: against an upper
voltage limit with reverse flow, losses that do not exist are a cheap way to consume [2]_, so the
gap is measured.

References
----------
.. [1] M. Farivar, S. H. Low, Branch flow model: relaxations and convexification (parts I and II),
   IEEE Trans. Power Systems 28(3), 2013, doi:10.1109/TPWRS.2013.2255317.
.. [2] L. Gan, N. Li, U. Topcu, S. H. Low, Exact convex relaxation of optimal power flow in radial
   networks, IEEE Trans. Automatic Control 60(1), 2015, doi:10.1109/TAC.2014.2332712.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from market.impedances import BranchFlowData

    Array = NDArray[np.float64]

EXACT = 1e-3
"""The relaxation counts as exact where no line exceeds equality by more than this. [p.u.]"""
CONE = 4
"""Dimension of the cone of a line."""
VARIABLES = ("P", "Q", "l", "v")
"""Power into a line, its squared current, and the squared voltage of the bus it feeds. [p.u.]"""


@dataclass(frozen=True, eq=False)
class Injection:
    """Injections of the peers of one network as functions of the columns of a conic problem.

    Attributes
    ----------
    p, q : sparse array, shape (n_steps * n_members, n_columns)
        Injection per unit of each column, step by step. [kW, kvar]
    fixed_p, fixed_q : ndarray, shape (n_steps, n_members)
        Injection when all columns are zero. [kW, kvar]
    """

    p: sparse.csr_array
    q: sparse.csr_array
    fixed_p: Array
    fixed_q: Array


@dataclass(frozen=True, eq=False)
class Block:
    """Columns and rows to append: ``equal_to - equal x = 0`` and ``offset - cones x`` in cones.

    The columns of ``equal`` and ``cones`` are those of the problem, then those of the relaxation.
    """

    cost: Array
    """Cost of the relaxation's columns. [EUR]"""
    equal: sparse.csr_array
    equal_to: Array
    cones: sparse.csr_array
    offset: Array

    @property
    def dimensions(self) -> tuple[int, ...]:
        """Dimensions of the cones."""
        return (CONE,) * (len(self.offset) // CONE)


@dataclass(frozen=True, eq=False)
class Relaxation:
    r"""How far a solution is from the branch flow model, shape (n_steps, n_networks) each.

    Attributes
    ----------
    gap : ndarray
        Largest excess of a line's :math:`\ell v` over :math:`P^2 + Q^2`. [p.u.]
    loss_kw : ndarray
        Losses of the lines in the relaxation. [kW]
    excess_kw : ndarray
        The part of them that the flows do not explain. [kW]
    vm_pu : tuple of ndarray, shape (n_steps, n_lines) each
        Its voltages at the buses that the lines feed, by network. [p.u.]
    cost : float
        Losses at the loss price. [EUR]
    """

    gap: Array
    loss_kw: Array
    excess_kw: Array
    vm_pu: tuple[Array, ...]
    cost: float

    @property
    def exact(self) -> NDArray[np.bool_]:
        """Whether every line satisfies the equality, (n_steps, n_networks)."""
        return self.gap <= EXACT

    @property
    def loss_gap(self) -> Array:
        """Unexplained part of the losses, (n_steps, n_networks). [-]"""
        return self.excess_kw / np.maximum(self.loss_kw, 1e-9)


class BranchFlow:
    """The relaxation of every network and step of a window.

    The columns of a network are ``VARIABLES`` in this order, each step by step and line by line.

    Parameters
    ----------
    networks : sequence of BranchFlowData
        The networks.
    n_steps : int
        Steps of the window.
    """

    def __init__(self, networks: Sequence[BranchFlowData], n_steps: int) -> None:
        self.networks = tuple(networks)
        self.n_steps = n_steps
        sizes = [4 * n_steps * data.n_lines for data in networks]
        self._start = np.concatenate([[0], np.cumsum(sizes)]).astype(int)

    @property
    def n_columns(self) -> int:
        """Number of columns."""
        return int(self._start[-1])

    def pose(self, injections: Sequence[Injection], loss_price: Array, step_hours: float) -> Block:
        """Pose the relaxation for given injections.

        Parameters
        ----------
        injections : sequence of Injection
            Of every network.
        loss_price : ndarray, shape (n_steps,)
            Price of the losses. [EUR/kWh]
        step_hours : float
            Length of a step. [h]
        """
        parts = [
            _pose(data, injection, self.n_steps)
            for data, injection in zip(self.networks, injections, strict=True)
        ]
        outside = sparse.vstack([part.devices for part in parts])
        inside = sparse.block_diag([part.equal for part in parts])
        cones = sparse.block_diag([part.cones for part in parts])
        none = sparse.csr_array((cones.shape[0], outside.shape[1]))
        price = step_hours * loss_price
        return Block(
            cost=np.concatenate([_cost(data, price) for data in self.networks]),
            equal=sparse.csr_array(sparse.hstack([outside, inside])),
            equal_to=np.concatenate([part.equal_to for part in parts]),
            cones=sparse.csr_array(sparse.hstack([none, cones])),
            offset=np.concatenate([part.offset for part in parts]),
        )

    def column(self, network: int, variable: str, step: int, line: int) -> int:
        """Column of one of the variables P, Q, l and v, counted from the relaxation's first."""
        at = VARIABLES.index(variable) * self.n_steps + step
        return int(self._start[network] + at * self.networks[network].n_lines + line)

    def read(self, x: Array, cost: Array) -> Relaxation:
        """Measure how exact a solution is; ``x`` holds the relaxation's columns."""
        shape = (self.n_steps, len(self.networks))
        gap, loss, excess = (np.zeros(shape) for _ in range(3))
        vm = []
        for d, data in enumerate(self.networks):
            own = x[self._start[d] : self._start[d + 1]]
            P, Q, current, v = own.reshape(4, self.n_steps, data.n_lines)
            sending = np.hstack([np.full((self.n_steps, 1), data.source_vm_pu**2), v])
            sending = sending[:, data.parent]
            slack = current * sending - P**2 - Q**2
            gap[:, d] = slack.max(axis=1)
            loss[:, d] = data.base_kva * current @ data.r_pu
            excess[:, d] = data.base_kva * (slack / sending) @ data.r_pu
            vm.append(np.sqrt(v))
        return Relaxation(gap, loss, excess, tuple(vm), float(cost @ x))


@dataclass(frozen=True, eq=False)
class _Part:
    """One network's share of a :class:`Block`."""

    devices: sparse.csr_array
    equal: sparse.csr_array
    equal_to: Array
    cones: sparse.csr_array
    offset: Array


def _pose(data: BranchFlowData, injection: Injection, n_steps: int) -> _Part:
    m = data.n_lines
    every = sparse.eye_array(n_steps)
    one, none = sparse.eye_array(m), sparse.csr_array((m, m))
    at_source = data.parent == 0
    # up[k, j]: the bus that feeds line k is bus j + 1; its transpose sums over the lines behind.
    fed = np.flatnonzero(~at_source)
    up = sparse.csr_array((np.ones(len(fed)), (fed, data.parent[fed] - 1)), shape=(m, m))
    r, x, g, b = (
        sparse.diags_array(values) for values in (data.r_pu, data.x_pu, data.g_pu, data.b_pu)
    )
    flow = one - up.T
    impedance = sparse.diags_array(data.r_pu**2 + data.x_pu**2)
    # In terms of P, Q, l and v, each step by step.
    equal = sparse.vstack(
        [
            sparse.hstack([sparse.kron(every, part) for part in row])
            for row in (
                (-flow, none, r, g),
                (none, -flow, x, -b),
                (2 * r, 2 * x, -impedance, one - up),
            )
        ]
    )
    members = len(data.line_of)
    to_line = sparse.csr_array(
        (np.full(members, 1 / data.base_kva), (data.line_of, np.arange(members))),
        shape=(m, members),
    )
    to_lines = sparse.kron(every, to_line)
    devices = sparse.vstack(
        [
            -(to_lines @ injection.p),
            -(to_lines @ injection.q),
            sparse.csr_array((n_steps * m, injection.p.shape[1])),
        ]
    )
    v0 = data.source_vm_pu**2
    equal_to = np.concatenate(
        [
            (injection.fixed_p @ to_line.T).ravel(),
            (injection.fixed_q @ to_line.T).ravel(),
            np.tile(v0 * at_source, n_steps),
        ]
    )
    # |(l - v, 2P, 2Q)| <= l + v, the four entries of a line's cone side by side.
    cones = sparse.hstack(
        [
            sparse.kron(every, sparse.kron(part, np.array(column)[:, None]))
            for part, column in (
                (one, [0.0, 0.0, -2.0, 0.0]),
                (one, [0.0, 0.0, 0.0, -2.0]),
                (one, [-1.0, -1.0, 0.0, 0.0]),
                (up, [-1.0, 1.0, 0.0, 0.0]),
            )
        ]
    )
    offset = np.kron(np.tile(v0 * at_source, n_steps), [1.0, -1.0, 0.0, 0.0])
    return _Part(
        devices=sparse.csr_array(devices),
        equal=sparse.csr_array(equal),
        equal_to=equal_to,
        cones=sparse.csr_array(cones),
        offset=offset,
    )


def _cost(data: BranchFlowData, price: Array) -> Array:
    """Cost of the columns of one network: losses in lines and shunts at the loss price. [EUR]"""
    none = np.zeros(len(price) * data.n_lines)
    lines, shunts = (data.base_kva * np.outer(price, z).ravel() for z in (data.r_pu, data.g_pu))
    return np.concatenate([none, none, lines, shunts])
