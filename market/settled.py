"""What the later passes of a clearing leave as it is: networks that keep their promises.

With many networks there is always one whose margins are not right yet, and solving all of them
anew would move those that are. So only the others are solved again. The devices of settled
networks stay as they are, and so do their prices; who trades with whom, and what is left to the
supplier, is open in all networks, as the others may have to sell less.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from market.networks import KIND_OF

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from market.chance import ChanceRow
    from market.decisions import Decisions

    Array = NDArray[np.float64]
    Mask = NDArray[np.bool_]


TRADES = frozenset({"bought", "sold", "exchange_out", "exchange_in"})
"""Variables that move no injection."""


@dataclass(frozen=True, eq=False)
class Settled:
    """Decisions of an earlier pass, of which those of some networks stay.

    Attributes
    ----------
    networks : ndarray of bool, shape (n_networks,)
        Networks whose devices stay as they are.
    decisions : Decisions
        The decisions.
    rows : sequence of ChanceRow
        The chance constraints that they were made with.
    """

    networks: Mask
    decisions: Decisions
    rows: Sequence[ChanceRow]

    def others(self, rows: Sequence[ChanceRow]) -> list[ChanceRow]:
        """Chance constraints of the networks that are solved again."""
        return [row for row in rows if not self.networks[row.network]]

    def columns(
        self, name: str, n_entries: int, networks_of: Mapping[str, NDArray[np.intp]]
    ) -> Mask:
        """Which entries of a variable, or of a dual, stay, shape (n_entries,).

        Parameters
        ----------
        name : str
            The variable, or the label of the constraint.
        n_entries : int
            How many it has a step.
        networks_of : mapping of str to ndarray
            What :func:`market.networks.networks_of_kinds` gives.
        """
        stays = self.networks[networks_of[KIND_OF[name]]]
        # The entries of a kind stand there once or several times over (signals, price blocks).
        return np.tile(stays, n_entries // len(stays)) if len(stays) else stays

    def duals(
        self, found: Mapping[str, Array], networks_of: Mapping[str, NDArray[np.intp]]
    ) -> dict[str, Array]:
        """Complete the duals of the networks that were solved again."""
        out = dict(found)
        for name, before in self.decisions.duals.items():
            if name in KIND_OF:
                stays = self.columns(name, before.shape[1], networks_of)
                out[name] = np.where(stays, before, found[name])
        return out

    def mu(self, rows: Sequence[ChanceRow], found: Array) -> Array:
        """Complete the duals of the chance constraints. [EUR/p.u.]

        Parameters
        ----------
        rows : sequence of ChanceRow
            All of this pass. Those of settled networks are what they were.
        found : ndarray
            Duals of :meth:`others`. [EUR/p.u.]
        """
        new, pairs = iter(found.tolist()), zip(self.rows, self.decisions.mu.tolist(), strict=True)
        old = iter([dual for row, dual in pairs if self.networks[row.network]])
        return np.array([next(old if self.networks[row.network] else new) for row in rows])
