"""One clearing with the branch-flow relaxation: its grid rows, and where it is not exact."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from market.branch_flow import BranchFlow
from market.chance import StateTerm
from market.parameters import LossModel
from market.schedule import fixed_injection

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from market.book import BidBook, TariffWindow
    from market.branch_flow import Block, Injection, Relaxation
    from market.chance import ChanceRow
    from market.impedances import BranchFlowData
    from market.offers import NetworkOffer
    from market.roster import Roster

    Array = NDArray[np.float64]

SMALLEST_ROOT = 0.1
"""Below this a row is too far from its limit for its square root to be linearised. [p.u.]"""
_UPPER, _LOWER, _LOADING = range(3)
"""Blocks of an offer's rows, each as long as there are lines: see ``grid.limits``."""


@dataclass(frozen=True, eq=False)
class Exactness:
    """The relaxation of the first pass, plain, and that of the schedule that is kept."""

    plain: Relaxation
    kept: Relaxation


class RelaxedGrid:
    """The relaxation throughout one clearing.

    Chance rows refer to the relaxation's own voltages and currents. Where a pass turns out not to
    be exact, the upper voltage rows of that network and step are linear in the injections from then
    on, as with the other grid models: losses that do not exist then no longer keep a voltage
    down. (Gan et al. bound the voltage of the lossless flow instead, to the same end.)

    Parameters
    ----------
    networks : sequence of BranchFlowData
        Impedances of every network.
    book : BidBook
        The bids.
    tariff : TariffWindow
        The supplier's prices.
    roster : Roster
        The registered peers.
    """

    def __init__(
        self,
        networks: Sequence[BranchFlowData],
        book: BidBook,
        tariff: TariffWindow,
        roster: Roster,
    ) -> None:
        self.flow = BranchFlow(networks, roster.n_steps)
        fixed_p, fixed_q = fixed_injection(book, roster), -book.load_kvar
        members = [roster.members(d) for d in range(roster.n_networks)]
        self.fixed = tuple((fixed_p[:, own], fixed_q[:, own]) for own in members)
        self._loss_price = tariff.loss
        self._step_hours = roster.step_hours
        self._inexact: set[tuple[int, int]] = set()

    def pose(self, injections: Sequence[Injection]) -> Block:
        """Pose the relaxation at the prices of the clearing."""
        return self.flow.pose(injections, self._loss_price, self._step_hours)

    def rows(self, rows: Iterable[ChanceRow], offer: NetworkOffer) -> list[ChanceRow]:
        """Let rows posed from an offer refer to the relaxation wherever they should."""
        return [self._on_state(row, offer) for row in rows]

    def _on_state(self, row: ChanceRow, offer: NetworkOffer) -> ChanceRow:
        r"""Let one row refer to the relaxation.

        Voltages and loadings :math:`y` are square roots of columns, :math:`y^2 = w s`, linearised
        round the operating point :math:`\hat y`: :math:`y = (\hat y + w s / \hat y) / 2`. The
        substation's row, and those of lines that carry next to nothing, stay as they are.
        """
        if row.support is not None:  # a half-plane is linear in the injections as it stands
            return row
        data, t = self.flow.networks[row.network], row.step
        kind, line = divmod(row.index, data.n_lines)
        at = float(offer.value[t, row.index])
        if kind > _LOADING or abs(at) < SMALLEST_ROOT:
            return row
        if kind == _UPPER and (row.network, t) in self._inexact:
            return row
        weight = 1.0 / data.max_i_pu[line] ** 2 if kind == _LOADING else 1.0
        column = self.flow.column(row.network, "l" if kind == _LOADING else "v", t, line)
        fixed_p, fixed_q = (kw[t] for kw in self.fixed[row.network])
        # The row has room beyond its value at the fixed injections; put back what they moved.
        moved = row.d_p @ (fixed_p - offer.p_kw[t]) + row.d_q @ (fixed_q - offer.q_kvar[t])
        return replace(
            row,
            room=row.room + float(moved) + at / 2,
            state=StateTerm(column, float(weight / at / 2)),
        )

    def note(self, relaxation: Relaxation) -> bool:
        """Note where a pass is not exact; return whether the next one will be posed differently."""
        found = {(int(d), int(t)) for t, d in np.argwhere(~relaxation.exact)}
        new = bool(found - self._inexact)
        self._inexact |= found
        return new


def no_losses(roster: Roster) -> LossModel:
    """Linearised losses where the relaxation has losses of its own."""
    zero = np.zeros((roster.n_steps, roster.n_peers))
    return LossModel(np.zeros((roster.n_steps, roster.n_networks)), zero, zero, zero)
