r"""Electrical distance between buses: the resistance of the path between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from grid.units import impedance_base_ohm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from grid.network import RadialNetwork

    Array = NDArray[np.float64]


def electrical_distance(networks: Sequence[RadialNetwork], buses: Sequence[Sequence[int]]) -> Array:
    r"""Electrical distance between all pairs of peers.

    Within a radial network it is the resistance of the path between two buses, as for a radial
    network the resistance distance [1]_ is; between two networks, the resistance from one bus to
    its source plus that from the other source to the other bus:

    .. math:: d_{ij} = \sum_{k \in P_i \bigtriangleup P_j} r_k ,

    with P the branches between a bus and its source. Resistances are referred to one voltage, the
    rated voltage of the first network's source, so that they add up across transformers and
    networks; the losses of a transport are proportional to them.

    Parameters
    ----------
    networks : sequence of RadialNetwork
        The networks.
    buses : sequence of sequence of int, one per network
        Bus number of every peer.

    Returns
    -------
    ndarray, shape (n_peers, n_peers)
        Symmetric, zero between peers at one bus; peers in the order of ``buses``. [ohm]

    References
    ----------
    .. [1] D. J. Klein, M. Randic, Resistance distance, J. Math. Chem. 12, 1993,
       doi:10.1007/BF01164627.
    """
    base_ohm = impedance_base_ohm(float(networks[0].vn_kv[0]))
    r_ohm = [network.z_pu.real * base_ohm for network in networks]
    upstream = [
        network.downstream[:, [network.position[bus] for bus in own]]
        for network, own in zip(networks, buses, strict=True)
    ]
    to_source = [r @ path for r, path in zip(r_ohm, upstream, strict=True)]
    # Branches on the way from one bus to the source, but not from the other: both ways round.
    one_way = [(r[:, None] * path).T @ ~path for r, path in zip(r_ohm, upstream, strict=True)]
    return np.block(
        [
            [
                one_way[d] + one_way[d].T if d == e else to_source[d][:, None] + to_source[e]
                for e in range(len(networks))
            ]
            for d in range(len(networks))
        ]
    )
