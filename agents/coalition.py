"""Peers that act as one: they share a strategy, which learns from what they get together."""

from __future__ import annotations

from math import fsum, isfinite, nan
from typing import TYPE_CHECKING, Any

from agents.strategies.protocol import Outcome
from agents.strategies.registry import make_strategy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np

    from agents.population import PeerSpec
    from agents.strategies.protocol import Observation, Strategy
    from market.bids import Bid


class Coalition:
    """A strategy that several peers share.

    Every member submits by it, and tells it its own outcome of every step; the strategy learns
    once a step, from the sum.

    Parameters
    ----------
    strategy : Strategy
        The strategy.
    n_members : int
        Number of peers that share it.
    """

    def __init__(self, strategy: Strategy, n_members: int) -> None:
        self._strategy = strategy
        self._n_members = n_members
        self._told: list[Outcome] = []

    def submit(self, truthful: Bid, observation: Observation) -> Bid:
        """Return the submitted bid of a member."""
        return self._strategy.submit(truthful, observation)

    def learn(self, outcome: Outcome) -> None:
        """Take note of a member's outcome; the last member's completes the step."""
        self._told.append(outcome)
        if len(self._told) == self._n_members:
            self._strategy.learn(pool(self._told))
            self._told.clear()

    @property
    def markup(self) -> object:
        """The mark-up chosen last; None of a strategy that tells none. [-]"""
        return getattr(self._strategy, "markup", None)

    def state(self) -> dict[str, Any]:
        """Return the state of the shared strategy."""
        return self._strategy.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore the shared strategy."""
        self._strategy.restore(state)


def pool(outcomes: Sequence[Outcome]) -> Outcome:
    """Add the outcomes of one step up; of pool prices, the first there is stands for all."""

    def total(name: str) -> float:
        return fsum(getattr(outcome, name) for outcome in outcomes)

    prices = (outcome.pool_price for outcome in outcomes)
    return Outcome(
        step=outcomes[0].step,
        bought_kwh=total("bought_kwh"),
        sold_kwh=total("sold_kwh"),
        payment_eur=total("payment_eur"),
        gain_eur=total("gain_eur"),
        pool_price=next(filter(isfinite, prices), nan),
        load_kw=total("load_kw"),
        load_forecast_kw=total("load_forecast_kw"),
        renewable_kw=total("renewable_kw"),
        renewable_forecast_kw=total("renewable_forecast_kw"),
    )


def make_players(
    peers: Sequence[PeerSpec], stream: Callable[[str], np.random.Generator]
) -> dict[str, Strategy]:
    """Make the strategies of all peers.

    Parameters
    ----------
    peers : sequence of PeerSpec
        The peers of all networks.
    stream : callable of str to Generator
        Random stream of a player; every player has its own, so that none changes another.

    Returns
    -------
    dict of str to Strategy
        By player: the peer, or the coalition, whose members then share one strategy.
    """
    members: dict[str, list[PeerSpec]] = {}
    for peer in peers:
        members.setdefault(peer.player, []).append(peer)
    players: dict[str, Strategy] = {}
    for player, (first, *others) in members.items():
        made = make_strategy(first.strategy, first.strategy_parameters, stream(player))
        players[player] = made if first.coalition is None else Coalition(made, 1 + len(others))
    return players
