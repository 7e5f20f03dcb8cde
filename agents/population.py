"""Who lives in a network: peers drawn from the configuration or read from a table."""

from __future__ import annotations

import csv
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import BeforeValidator, Field, ValidationError

from agents.strategies.registry import make_strategy
from configs.files import InputFileError, check_file
from configs.limits import FIGURE, PARAMETERS, PEERS, TABLE_BYTES, WHOLE_NUMBER
from configs.schema import BusNumber, Name, NonNegative, Positive, Settings, StrategyParameters

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from configs.schema import Population
    from grid.network import RadialNetwork

FLEXIBLE_PROFILES = ("own", "own", "heat_pump", "ev")
"""What a flexible load is, in equal parts: part of the ordinary load (twice), heating, charging."""


class PopulationError(ValueError):
    """Peers that cannot be; the message names file, row and column."""


def _parameters(written: object) -> object:
    """Read parameters as a cell of a table has them: ``name=value; name=value``."""
    if not isinstance(written, str):
        return written
    pairs = [pair.partition("=") for pair in written.split(";") if pair.strip()]
    if not all(separator for _, separator, _ in pairs):
        msg = "should be name=value; name=value"
        raise ValueError(msg)
    return {name.strip(): _value(text.strip()) for name, _, text in pairs}


def _value(text: str) -> bool | int | float | str:
    """Read a number, true or false, or a word."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:  # also of too many digits
            pass
    return {"true": True, "false": False}.get(text.lower(), text)


class PeerSpec(Settings):
    """One peer: its connection, devices and strategy. Ratings of zero mean no such device."""

    peer_id: Name
    """Name, unique in the run."""
    bus: BusNumber
    """Bus number of the source data."""
    load_kw: NonNegative = 0.0
    """Peak of the must-serve load. [kW]"""
    load_kvar: float = Field(default=0.0, ge=-FIGURE, le=FIGURE, allow_inf_nan=False)
    """Reactive load at the peak of the reactive profile, flexible load included. [kvar]"""
    load_profile: str = "G0-A"
    """Profile of the must-serve and of the reactive load."""
    flexible_kw: NonNegative = 0.0
    """Peak of the flexible load. [kW]"""
    flexible_profile: str = "G0-A"
    """Profile of the flexible load."""
    pv_kw: NonNegative = 0.0
    """Rated PV. [kW]"""
    pv_profile: str = "PV1"
    """Profile of the PV plant."""
    wind_kw: NonNegative = 0.0
    """Rated wind. [kW]"""
    wind_profile: str = "WP4"
    """Profile of the wind plant."""
    battery_kw: NonNegative = 0.0
    """Battery power. [kW]"""
    battery_kwh: NonNegative = 0.0
    """Battery energy. [kWh]"""
    dispatchable_kw: NonNegative = 0.0
    """Rating of the dispatchable unit. [kW]"""
    dispatchable_eur_per_kwh: Positive = 0.2
    """Its linear cost; the quadratic one adds a fifth of this at full power. [EUR/kWh]"""
    power_factor: float = Field(default=0.995, gt=0.5, le=1.0)
    """Power factor at full power down to which the devices supply or take reactive power. [-]"""
    strategy: str = "truthful"
    """Name of the strategy, or the path of a class, ``package.module:ClassName``."""
    strategy_parameters: Annotated[StrategyParameters, BeforeValidator(_parameters)] = Field(
        default={}, max_length=PARAMETERS
    )
    """Its parameters; ``name=value; name=value`` in a table."""
    strategy_from_day: int = Field(default=1, ge=1, le=WHOLE_NUMBER)
    """Day of the run from which on it is used; the peer bids truthfully before. [d]"""
    coalition: Name | None = None
    """Coalition that shares the strategy; none: the peer has it alone."""

    @property
    def player(self) -> str:
        """Who plays the strategy: the coalition, or the peer alone."""
        return self.coalition or self.peer_id

    @property
    def owns_generation_or_storage(self) -> bool:
        """Whether the peer is a prosumer."""
        return self.renewable_kw + self.battery_kw + self.dispatchable_kw > 0

    @property
    def renewable_kw(self) -> float:
        """Rated PV and wind. [kW]"""
        return self.pv_kw + self.wind_kw

    @property
    def columns(self) -> tuple[str, ...]:
        """Profile columns the peer needs."""
        return (
            f"load_p:{self.load_profile}",
            f"load_q:{self.load_profile}",
            f"load_p:{self.flexible_profile}",
            *((f"pv:{self.pv_profile}",) if self.pv_kw else ()),
            *((f"wind:{self.wind_profile}",) if self.wind_kw else ()),
        )


class ProfileNames(Settings):
    """Profiles a draw chooses from, by use; names without their prefix."""

    load: tuple[str, ...]
    heat_pump: tuple[str, ...]
    ev: tuple[str, ...]
    pv: tuple[str, ...]
    wind: tuple[str, ...]


def draw_population(
    network: RadialNetwork,
    settings: Population,
    profiles: ProfileNames,
    rng: np.random.Generator,
) -> list[PeerSpec]:
    """Draw one peer for every load bus but the source.

    Parameters
    ----------
    network : RadialNetwork
        The network, its loads scaled.
    settings : Population
        Shares and sizes.
    profiles : ProfileNames
        What there is to choose from.
    rng : Generator
        The stream of this network's population.

    Returns
    -------
    list of PeerSpec
        In the order of the network's buses.

    Raises
    ------
    PopulationError
        If there is no load bus.
    """
    at = 1 + np.flatnonzero(network.load_kw[1:] > 0)
    if not len(at):
        msg = f"network {network.name}: no bus but the source has a load, so there are no peers"
        raise PopulationError(msg)
    n, load_kw = len(at), network.load_kw[at]
    peak_kw = load_kw.sum()
    owner = _choose(rng, n, settings.renewable_owner_share)
    wind_owner = _part(rng, owner, settings.wind_fraction)
    pv_owner = np.setdiff1d(owner, wind_owner)
    pv_kw, wind_kw = np.zeros(n), np.zeros(n)
    installed = settings.renewable_to_peak * peak_kw
    # Few owners may all be of one kind: it takes the other's part.
    wind_part = settings.wind_fraction if len(pv_owner) and len(wind_owner) else len(wind_owner) > 0
    pv_kw[pv_owner] = _sizes(rng, load_kw[pv_owner], installed * (1 - wind_part))
    wind_kw[wind_owner] = _sizes(rng, load_kw[wind_owner], installed * wind_part)
    battery_kw = np.zeros(n)
    battery_owner = _part(rng, owner, settings.battery_owner_share)
    battery_kw[battery_owner] = settings.battery_to_renewable * (pv_kw + wind_kw)[battery_owner]
    unit_kw = np.zeros(n)
    without_battery = np.setdiff1d(np.arange(n), battery_owner)
    n_units = min(settings.n_dispatchable, len(without_battery))
    if n_units:
        chosen = rng.choice(without_battery, n_units, replace=False)
        unit_kw[chosen] = settings.dispatchable_to_peak * peak_kw / n_units
    flexible = _choose(rng, n, settings.flexible_owner_share)
    share = np.zeros(n)
    if len(flexible):
        wanted = settings.flexible_load_share * peak_kw / load_kw[flexible].sum()
        share[flexible] = min(wanted, 1.0)
    rng.permutation(n)  # Not used any more; without it every seed would stand for other peers.
    peers = []
    for k in range(n):
        load_profile = str(rng.choice(profiles.load))
        kind = str(rng.choice(FLEXIBLE_PROFILES))
        flexible_profile = (
            load_profile if kind == "own" else str(rng.choice(getattr(profiles, kind)))
        )
        given = {
            "peer_id": f"{network.name}-{network.bus[at[k]]}",
            "bus": int(network.bus[at[k]]),
            "load_kw": float(load_kw[k] * (1 - share[k])),
            "load_kvar": float(network.load_kvar[at[k]]),
            "load_profile": load_profile,
            "flexible_kw": float(load_kw[k] * share[k]),
            "flexible_profile": flexible_profile,
            "pv_kw": float(pv_kw[k]),
            "pv_profile": str(rng.choice(profiles.pv)),
            "wind_kw": float(wind_kw[k]),
            "wind_profile": str(rng.choice(profiles.wind)),
            "battery_kw": float(battery_kw[k]),
            "battery_kwh": float(battery_kw[k] * settings.battery_hours),
            "dispatchable_kw": float(unit_kw[k]),
            "dispatchable_eur_per_kwh": float(rng.uniform(0.18, 0.24)),
            "power_factor": settings.power_factor,
        }
        try:
            peers.append(PeerSpec.model_validate(given))
        except ValidationError as error:
            first = error.errors()[0]
            msg = (
                f"network {network.name}: its population gives bus {network.bus[at[k]]} "
                f"{first['loc'][0]} {first['input']!r:.40}: {first['msg']}"
            )
            raise PopulationError(msg) from error
    return peers


def _choose(rng: np.random.Generator, n: int, share: float) -> NDArray[np.int64]:
    """Choose a share of n peers, in ascending order."""
    return np.sort(rng.permutation(n)[: round(share * n)])


def _part(rng: np.random.Generator, owners: NDArray[np.int64], share: float) -> NDArray[np.int64]:
    """Choose a share of some owners, in ascending order."""
    return owners[_choose(rng, len(owners), share)]


def _sizes(
    rng: np.random.Generator, load_kw: NDArray[np.float64], total_kw: float
) -> NDArray[np.float64]:
    """Split an installed power at random, larger where the load is larger."""
    weight = load_kw * rng.uniform(0.5, 1.5, len(load_kw))
    return total_kw * weight / weight.sum() if len(weight) else weight


def read_population(path: Path, network: RadialNetwork) -> list[PeerSpec]:
    """Read a peer table: a CSV file with the fields of :class:`PeerSpec` as columns.

    Parameters
    ----------
    path : Path
        The file. Empty cells and missing columns take the defaults.
    network : RadialNetwork
        The network whose bus numbers the table uses.

    Returns
    -------
    list of PeerSpec
        In the order of the table.

    Raises
    ------
    PopulationError
        If the file is missing, a column or value is not allowed, a bus is unknown or a peer
        stands twice.
    """
    try:
        check_file(path, TABLE_BYTES)
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = list(reader.fieldnames or ())
            table = [(reader.line_num, row) for row in islice(reader, PEERS + 1)]
    except InputFileError as error:
        raise PopulationError(str(error)) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        msg = f"{path}: cannot be read as a CSV file ({error})"
        raise PopulationError(msg) from error
    if twice := [column for column in columns if columns.count(column) > 1]:
        msg = f"{path}: column {twice[0]!r} stands twice"
        raise PopulationError(msg)
    if len(table) > PEERS:
        msg = f"{path}: more than {PEERS:,} peers; allowed are at most {PEERS:,}"
        raise PopulationError(msg)
    buses = set(network.bus[1:].tolist())
    peers: dict[str, PeerSpec] = {}
    for number, row in table:
        place = f"{path}, line {number}"
        if None in row or None in row.values():
            msg = f"{place}: as many values as columns are needed"
            raise PopulationError(msg)
        try:
            peer = PeerSpec.model_validate({k: v for k, v in row.items() if v != ""})
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            msg = f"{place}, column {where}: {first['msg']} (got {first['input']!r:.80})"
            raise PopulationError(msg) from error
        if peer.peer_id in peers:
            msg = f"{place}: peer {peer.peer_id} stands twice"
            raise PopulationError(msg)
        if peer.bus not in buses:
            msg = f"{place}: bus {peer.bus} is not a load bus of network {network.name}"
            raise PopulationError(msg)
        _check(peer, place)
        peers[peer.peer_id] = peer
    if not peers:
        msg = f"{path}: no peers"
        raise PopulationError(msg)
    return list(peers.values())


def _check(peer: PeerSpec, place: str) -> None:
    """Refuse what no single field can tell."""
    if (peer.battery_kw > 0) != (peer.battery_kwh > 0):
        msg = f"{place}: battery_kw and battery_kwh must both be positive or both zero"
        raise PopulationError(msg)
    columns = f"{place}, column strategy", f"{place}, column strategy_parameters"
    check_strategy(peer.strategy, peer.strategy_parameters, *columns)


def check_strategy(
    name: str, parameters: StrategyParameters, name_place: str, parameters_place: str
) -> None:
    """Refuse a strategy that cannot be made.

    Parameters
    ----------
    name : str
        Its name.
    parameters : dict of str to number, str or bool
        Its parameters.
    name_place, parameters_place : str
        Where they stand.

    Raises
    ------
    PopulationError
        Names the place, the value and what is allowed.
    """
    try:
        make_strategy(name, parameters, np.random.default_rng())
    except ValueError as error:
        # Messages on a parameter begin with its name or quote it.
        reason = str(error.__cause__)
        meant = [p for p in parameters if reason.startswith(f"{p} ") or f"'{p}'" in reason]
        place = f"{parameters_place}.{meant[0]}" if meant else name_place
        raise PopulationError(f"{place}: {error}") from error
