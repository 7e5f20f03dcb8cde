"""Who takes part in the market and with which devices: the fixed structure of the clearing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from market.bids import Rating

    Index = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Roster:
    """All registered peers in one fixed order, and where their devices stand.

    A device of any kind is identified by its place among the devices of its kind; the index
    arrays give the peer that owns it.

    Attributes
    ----------
    peer_id : tuple of str, length n_peers
        The peers.
    network : tuple of str, length n_networks
        The networks.
    network_of : ndarray of int, shape (n_peers,)
        Each peer's network.
    rating : tuple of Rating, length n_peers
        What each peer registered.
    n_steps : int
        Steps of the look-ahead window.
    step_hours : float
        Length of a step. [h]
    """

    peer_id: tuple[str, ...]
    network: tuple[str, ...]
    network_of: Index
    rating: tuple[Rating, ...]
    n_steps: int
    step_hours: float

    @property
    def n_peers(self) -> int:
        """Number of peers."""
        return len(self.peer_id)

    @property
    def n_networks(self) -> int:
        """Number of networks."""
        return len(self.network)

    def _owners(self, attribute: str) -> Index:
        return np.flatnonzero([getattr(rating, attribute) > 0 for rating in self.rating])

    @cached_property
    def renewable(self) -> Index:
        """Owners of renewable plants."""
        return self._owners("renewable_kw")

    @cached_property
    def dispatchable(self) -> Index:
        """Owners of dispatchable units."""
        return self._owners("dispatchable_kw")

    @cached_property
    def storage(self) -> Index:
        """Owners of batteries."""
        return self._owners("storage_kwh")

    @cached_property
    def flexible(self) -> Index:
        """Owners of flexible load."""
        return self._owners("flexible_kw")

    @cached_property
    def reactive(self) -> Index:
        """Owners of reactive capability."""
        return self._owners("reactive_kvar")

    @cached_property
    def recourse(self) -> Index:
        """Owners of recourse-capable devices: all batteries, then all dispatchable units."""
        return np.concatenate([self.storage, self.dispatchable])

    @cached_property
    def active(self) -> Index:
        """Peers with any device: those whose injection is a decision."""
        kinds = (self.renewable, self.dispatchable, self.storage, self.flexible)
        return np.unique(np.concatenate(kinds))

    def members(self, network: int) -> Index:
        """Peers of one network."""
        return np.flatnonzero(self.network_of == network)

    def by_network(self, owners: Index) -> sparse.csr_array:
        """Sum over the devices of each network, shape (len(owners), n_networks)."""
        return indicator(self.network_of[owners], self.n_networks)

    def to_active(self, owners: Index) -> sparse.csr_array:
        """Carry device values to the active peers, shape (len(owners), n_active)."""
        return indicator(np.searchsorted(self.active, owners), len(self.active))

    def to_peers(self, owners: Index) -> sparse.csr_array:
        """Carry device values to all peers, shape (len(owners), n_peers)."""
        return indicator(owners, self.n_peers)

    @cached_property
    def charge_efficiency(self) -> NDArray[np.float64]:
        """Charging efficiency of every battery. [-]"""
        return np.array([self.rating[k].charge_efficiency for k in self.storage])

    @cached_property
    def discharge_efficiency(self) -> NDArray[np.float64]:
        """Discharging efficiency of every battery. [-]"""
        return np.array([self.rating[k].discharge_efficiency for k in self.storage])


def indicator(target: Sequence[int] | Index, n_targets: int) -> sparse.csr_array:
    """Return the 0/1 matrix that adds entry ``k`` to ``target[k]``."""
    target = np.asarray(target, dtype=np.intp)
    entries = (np.ones(len(target)), (np.arange(len(target)), target))
    return sparse.csr_array(entries, shape=(len(target), n_targets))
