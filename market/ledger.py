"""The book of one step: every amount is paid by one account to another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Index = NDArray[np.intp]

SUPPLIER = "supplier"
DSO = "dso"
RESOURCES = "resources"
"""Takes what the peers' devices consume: fuel, wear, comfort."""
COMMON = (DSO, SUPPLIER, RESOURCES)
"""Accounts that there are one of; no peer may have such a name."""


def operator_account(network: str) -> str:
    """Account of a network's operator."""
    return f"operator:{network}"


class Ledger:
    """Double-entry book of one step; amounts received are positive.

    Parameters
    ----------
    peers, networks : sequence of str
        The peers and the networks, in the roster's order.

    Attributes
    ----------
    accounts : tuple of str, length n_accounts
        One for each peer, each network's operator, the DSO, the supplier and the resources.
    peers, operators : ndarray of int, shapes (n_peers,) and (n_networks,)
        Places of their accounts.
    dso, supplier, resources : int
        Places of their accounts.
    items : dict of str to ndarray, shape (n_accounts,)
        What every account received of each item. [EUR]
    """

    def __init__(self, peers: Sequence[str], networks: Sequence[str]) -> None:
        operators = map(operator_account, networks)
        self.accounts = (*peers, *operators, *COMMON)
        self.dso, self.supplier, self.resources = range(len(self.accounts))[-3:]
        self.peers, self.operators = np.split(np.arange(self.dso), [len(peers)])
        self.items: dict[str, Array] = {}

    def pay(self, payer: Index | int, payee: Index | int, item: str, amount_eur: Array) -> None:
        """Move amounts between accounts, given by their places; negative ones move back."""
        payer, payee, amount = np.broadcast_arrays(payer, payee, amount_eur)
        received = self.items.setdefault(item, np.zeros(len(self.accounts)))
        np.subtract.at(received, payer, amount)
        np.add.at(received, payee, amount)

    @property
    def entries(self) -> dict[tuple[str, str], float]:
        """What every account received of each item, where that is not nothing. [EUR]"""
        return {
            (self.accounts[place], item): float(received[place])
            for item, received in self.items.items()
            for place in np.flatnonzero(received).tolist()
        }
