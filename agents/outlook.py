"""What profiles mean for peers: forecasts, or what really came, scaled to their devices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from agents.population import PeerSpec

    Series = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Outlook:
    """A peer's own forecast, or what really came: shape (n_steps,) each."""

    load_kw: Series
    """Must-serve load. [kW]"""
    load_kvar: Series
    """Reactive load, flexible load included. [kvar]"""
    flexible_kw: Series
    """Flexible load. [kW]"""
    renewable_kw: Series
    """Available renewable power. [kW]"""


class Scaling:
    """Scales profiles to the devices of peers, all peers at once.

    Parameters
    ----------
    peers : sequence of PeerSpec
        The peers.
    position : mapping of str to int
        Position of each profile column.
    """

    def __init__(self, peers: Sequence[PeerSpec], position: Mapping[str, int]) -> None:
        sources = [_sources(peer) for peer in peers]
        # What a peer does not have is nothing of any profile.
        place = [[position[column] if size else 0 for column, size in own] for own in sources]
        size = [[[size] for _, size in own] for own in sources]
        self._position = np.array(place).T  # (n_sources, n_peers)
        self._size = np.array(size).swapaxes(0, 1)  # (n_sources, n_peers, 1)

    def outlooks(self, profiles: Series) -> list[Outlook]:
        """Scale profiles, (n_steps, n_columns); one outlook for every peer."""
        load, load_q, flexible, pv, wind = self._size * profiles.T[self._position]
        _, _, flexible_kw, pv_kw, wind_kw = self._size
        # Profiles may exceed one by a rounding error; a plant never exceeds its rating.
        flexible = np.minimum(flexible, flexible_kw)
        renewable = np.minimum(pv + wind, pv_kw + wind_kw)
        return list(map(Outlook, load, load_q, flexible, renewable))


def _sources(peer: PeerSpec) -> list[tuple[str, float]]:
    """Profile column and size of all that a peer may have. [kW, kvar]"""
    return [
        (f"load_p:{peer.load_profile}", peer.load_kw),
        (f"load_q:{peer.load_profile}", peer.load_kvar),
        (f"load_p:{peer.flexible_profile}", peer.flexible_kw),
        (f"pv:{peer.pv_profile}", peer.pv_kw),
        (f"wind:{peer.wind_profile}", peer.wind_kw),
    ]
