"""Who uses which strategy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agents.population import PopulationError, check_strategy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np

    from agents.population import PeerSpec
    from configs.schema import StrategyUse

    Groups = Mapping[str, Sequence[PeerSpec]]

AMONG: dict[str, Callable[[PeerSpec], bool]] = {
    "everyone": lambda peer: True,
    "consumers": lambda peer: not peer.owns_generation_or_storage,
    "prosumers": lambda peer: peer.owns_generation_or_storage,
    "storage": lambda peer: peer.battery_kw > 0,
    "dispatchable": lambda peer: peer.dispatchable_kw > 0,
}
"""Which peers each value of ``StrategyUse.among`` allows."""


def assign_strategies(
    groups: Groups, uses: Sequence[StrategyUse], streams: Mapping[str, np.random.Generator]
) -> dict[str, list[PeerSpec]]:
    """Give peers the strategies that the entries of a scenario choose them for.

    Every network's peers are put in one random order, whatever the entries; an entry takes the
    first ones that it allows and that have no strategy yet, from an entry before or named in their
    peer table.

    Parameters
    ----------
    groups : mapping of str to sequence of PeerSpec
        The peers of every network.
    uses : sequence of StrategyUse
        The entries.
    streams : mapping of str to Generator
        Stream of every network for this purpose.

    Returns
    -------
    dict of str to list of PeerSpec
        The same peers in the same order, with their strategies.

    Raises
    ------
    PopulationError
        If a strategy cannot be made, or an entry allows none of the peers.
    """
    out = {network: list(peers) for network, peers in groups.items()}
    order = {network: streams[network].permutation(len(peers)) for network, peers in groups.items()}
    for place, use in enumerate(uses):
        where = f"strategies.{place}"
        check_strategy(use.use, use.parameters, f"{where}.use", f"{where}.parameters")
        given = {
            "strategy": use.use,
            "strategy_parameters": use.parameters,
            "strategy_from_day": use.from_day,
            "coalition": where if use.coalition else None,
        }
        n_allowed = 0
        for network in [use.network] if use.network else list(out):
            peers = out[network]
            allowed = [k for k in order[network].tolist() if AMONG[use.among](peers[k])]
            # A field that was set, in a table or by an entry, is settled.
            free = [k for k in allowed if "strategy" not in peers[k].model_fields_set]
            for k in free[: round(use.share * len(allowed))]:
                peers[k] = peers[k].model_copy(update=given)
            n_allowed += len(allowed)
        if not n_allowed:
            of = f"network {use.network}" if use.network else "any network"
            msg = (
                f"{where}.among: no peer of {of} is among {use.among!r}; choose from {list(AMONG)}"
            )
            raise PopulationError(msg)
    return out


def check_coalitions(peers: Sequence[PeerSpec]) -> None:
    """Refuse coalitions that do not agree on one strategy, or that have the name of a peer.

    Raises
    ------
    PopulationError
        Names the coalition and the peer.
    """
    names = {peer.peer_id for peer in peers}
    first: dict[str, PeerSpec] = {}
    for peer in peers:
        if peer.coalition is None:
            continue
        if peer.coalition in names:
            msg = f"peer {peer.peer_id}, coalition {peer.coalition}: a peer has this name"
            raise PopulationError(msg)
        other = first.setdefault(peer.coalition, peer)
        for field in ("strategy", "strategy_parameters", "strategy_from_day"):
            mine, agreed = getattr(peer, field), getattr(other, field)
            if mine != agreed:
                msg = (
                    f"peer {peer.peer_id}, coalition {peer.coalition}: {field} {mine!r} differs "
                    f"from {agreed!r} of peer {other.peer_id}; one coalition has one strategy"
                )
                raise PopulationError(msg)
