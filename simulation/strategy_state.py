"""What strategies have learnt, saved with a run and taken up by another."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from agents.strategies.protocol import StrategyError
from configs.files import InputFileError, read_text
from configs.limits import TABLE_BYTES
from simulation.atomic import write_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from agents.population import PeerSpec
    from agents.strategies.protocol import Strategy

NAME = "strategies.json"
"""File in the folder of a run."""


def read_states(
    players: Mapping[str, Strategy], peers: Iterable[PeerSpec], step: int
) -> dict[str, dict[str, Any]]:
    """Ask every strategy for its state.

    Parameters
    ----------
    players : mapping of str to Strategy
        Strategies by player, see :func:`agents.coalition.make_players`.
    peers : iterable of PeerSpec
        All peers.
    step : int
        The coming step, for messages.

    Raises
    ------
    StrategyError
        If a strategy fails, or its state is not a dictionary of plain JSON data.
    """
    states = {}
    for player, made_as in _made_as(peers).items():
        try:
            state = players[player].state()
            if not isinstance(state, dict):
                raise TypeError(f"state returned {state!r:.40}, which is no dict")
            json.dumps(state)
        except Exception as error:  # user code may raise anything
            msg = (
                f"before step {step}, peer or coalition {player}: the state of strategy "
                f"{made_as['strategy']!r} cannot be saved: {type(error).__name__}: {error}"
            )
            raise StrategyError(msg) from error
        states[player] = state
    return states


def save_states(
    folder: Path, players: Mapping[str, Strategy], peers: Sequence[PeerSpec], step: int
) -> None:
    """Write the state of every strategy that has one; a file there is replaced as a whole.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    players, peers, step
        As in :func:`read_states`.

    Raises
    ------
    StrategyError
        If a state cannot be saved.
    OSError
        If the folder cannot be written.
    """
    states, made_as = read_states(players, peers, step), _made_as(peers)
    saved = {
        player: {**made_as[player], "state": state} for player, state in states.items() if state
    }
    write_json(folder / NAME, saved)


def restore_states(path: Path, players: Mapping[str, Strategy], peers: Iterable[PeerSpec]) -> None:
    """Let strategies continue from a file; players that it does not know start anew.

    Parameters
    ----------
    path : Path
        What :func:`save_states` wrote.
    players, peers
        As there.

    Raises
    ------
    ValueError
        If the file cannot be read, or does not fit the peers and their strategies.
    """
    made_as = _made_as(peers)
    for player, entry in _read(path).items():
        place = f"strategy_state {path}, {player}"
        if player not in made_as:
            raise ValueError(f"{place}: no peer or coalition of this run has this name")
        if not isinstance(entry, dict) or entry.keys() != {*made_as[player], "state"}:
            msg = f"{place}: should have {', '.join(made_as[player])} and state"
            raise ValueError(msg)
        for key, value in made_as[player].items():
            if entry[key] != value:
                raise ValueError(f"{place}: {key} is {entry[key]!r}, but {value!r} in this run")
        try:
            if not isinstance(entry["state"], dict):
                raise TypeError(f"{entry['state']!r:.40} is no dict")
            players[player].restore(entry["state"])
        except (
            Exception
        ) as error:  # any state may stand in a file, and user code may raise anything
            msg = f"{place}: not a state of strategy {entry['strategy']!r}: "
            raise ValueError(f"{msg}{type(error).__name__}: {error}") from error


def _made_as(peers: Iterable[PeerSpec]) -> dict[str, dict[str, Any]]:
    """Strategy and parameters of every player; members of a coalition have the same."""
    return {
        peer.player: {"strategy": peer.strategy, "parameters": peer.strategy_parameters}
        for peer in peers
    }


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number")


def _read(path: Path) -> dict[str, Any]:
    """Read a file of states."""
    try:
        states = json.loads(read_text(path, TABLE_BYTES), parse_constant=_no_number)
    except InputFileError as error:
        raise ValueError(f"strategy_state {error}") from error
    except (RecursionError, ValueError) as error:
        raise ValueError(f"strategy_state {path}: not a JSON file: {error}") from error
    if not isinstance(states, dict):
        msg = f"strategy_state {path}: should hold states by peer, got {type(states).__name__}"
        raise ValueError(msg)
    return states
