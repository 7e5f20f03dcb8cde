"""From a configuration to the world of a run: networks, peers, profiles, forecasts, prices."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from agents.assignment import assign_strategies, check_coalitions
from agents.forecasting import ForecastArchive
from agents.foresight import PerfectForesight
from agents.population import PopulationError, ProfileNames, draw_population, read_population
from agents.prosumer import registration
from configs.limits import PEERS
from configs.schema import Population
from grid.cases import build_network
from market.ambiguity import enough_samples
from market.ledger import COMMON
from market.roster import Roster
from simulation.prices import make_tariff
from simulation.profiles import load_known_forecasts, load_profiles, require
from simulation.streams import stream

if TYPE_CHECKING:
    from agents.population import PeerSpec
    from configs.schema import Network, ScenarioConfig
    from grid.network import RadialNetwork
    from simulation.prices import Tariff
    from simulation.profiles import ProfileSet

IMPLAUSIBLE_WIND = ("WP1", "WP2", "WP9")
"""SimBench wind profiles with half the year's hours at full load: not onshore plants."""
HEAT_PUMPS = ("Air_", "Soil_")
"""Beginnings of the names of SimBench load profiles of heat pumps."""
CHARGERS = ("HLS_",)
"""Beginnings of the names of SimBench load profiles of car chargers."""


@dataclass(frozen=True, eq=False)
class World:
    """Everything a run starts from.

    Attributes
    ----------
    networks : tuple of RadialNetwork
        The networks.
    peers : tuple of tuple of PeerSpec
        The peers of each network.
    roster : Roster
        All peers in one order.
    profiles : ProfileSet
        The profile columns in use.
    archive : ForecastArchive or PerfectForesight
        Forecasts and past errors; steps count from the first row of the profiles.
    tariff : Tariff
        Prices of the run and its look-ahead.
    first_row : int
        Row of the profiles at which the run starts.
    """

    networks: tuple[RadialNetwork, ...]
    peers: tuple[tuple[PeerSpec, ...], ...]
    roster: Roster
    profiles: ProfileSet
    archive: ForecastArchive | PerfectForesight
    tariff: Tariff
    first_row: int


def build_world(config: ScenarioConfig) -> World:
    """Build the world of a run; every fault of the input is found here, before anything is run.

    Raises
    ------
    ValueError
        If networks, peers, profiles, forecasts or prices cannot be used; the message names the
        place, the value and what is allowed.
    """
    profiles = load_profiles(config.profiles, config.step_minutes)
    require(profiles, config.start, config.days)
    networks = _networks(config)
    peers = _peers(config, networks, profiles)
    used = sorted({column for group in peers for peer in group for column in peer.columns})
    profiles = profiles.select(used)
    times = pd.date_range(
        pd.Timestamp(config.start, tz="UTC"),
        periods=config.n_steps + config.n_window_steps,
        freq=pd.Timedelta(minutes=config.step_minutes),
    )
    return World(
        networks=networks,
        peers=peers,
        roster=_roster(config, peers),
        profiles=profiles,
        archive=_archive(config, profiles),
        tariff=make_tariff(config.prices, times, stream(config.seed, "prices")),
        first_row=profiles.row_of(config.start),
    )


def _networks(config: ScenarioConfig) -> tuple[RadialNetwork, ...]:
    """Build the networks; those that differ in name and peers alone share one grid."""
    nobody = {"name": "grid", "population": Population(), "peer_table": None}
    grids: dict[Network, RadialNetwork] = {}
    for settings in config.networks:
        grid = settings.model_copy(update=nobody)
        if grid not in grids:
            grids[grid] = build_network(settings)
    return tuple(
        replace(grids[settings.model_copy(update=nobody)], name=settings.name)
        for settings in config.networks
    )


def _archive(config: ScenarioConfig, profiles: ProfileSet) -> ForecastArchive | PerfectForesight:
    """Make the source of all forecasts."""
    if config.forecast.perfect_foresight:
        return PerfectForesight(profiles.values, config.steps_per_day, config.n_window_steps)
    archive = ForecastArchive(
        profiles.values,
        profiles.kinds,
        profiles.day_class,
        steps_per_day=config.steps_per_day,
        n_leads=config.n_window_steps,
        settings=config.forecast,
        known=load_known_forecasts(config.forecast, profiles),
    )
    risk_level = config.market.risk_level
    equal = np.full(archive.n_samples, 1 / archive.n_samples)
    if not enough_samples(equal, risk_level):
        msg = (
            f"forecast.sample_days {config.forecast.sample_days} and sample_hours "
            f"{config.forecast.sample_hours} give {archive.n_samples} error samples; "
            f"market.risk_level {risk_level} needs at least {math.ceil(1 / risk_level)}"
        )
        raise ValueError(msg)
    return archive


def _peers(
    config: ScenarioConfig, networks: tuple[RadialNetwork, ...], profiles: ProfileSet
) -> tuple[tuple[PeerSpec, ...], ...]:
    """Draw or read the peers of every network, and give them their strategies."""
    groups: dict[str, list[PeerSpec]] = {}
    taken: set[str] = set()
    for settings, network in zip(config.networks, networks, strict=True):
        if settings.peer_table is not None:
            peers = read_population(settings.peer_table, network)
        else:
            peers = draw_population(
                network,
                settings.population,
                _profile_names(profiles),
                stream(config.seed, "population", network.name),
            )
        if len(taken) + len(peers) > PEERS:
            msg = (
                f"network {network.name}: {len(taken) + len(peers):,} peers with those of the "
                f"networks before; allowed are at most {PEERS:,}"
            )
            raise PopulationError(msg)
        for peer in peers:
            _check_peer(peer, network.name, taken, profiles)
            taken.add(peer.peer_id)
        groups[network.name] = peers
    streams = {name: stream(config.seed, "strategies", name) for name in groups}
    assigned = assign_strategies(groups, config.strategies, streams)
    check_coalitions([peer for group in assigned.values() for peer in group])
    return tuple(map(tuple, assigned.values()))


def _check_peer(peer: PeerSpec, network: str, taken: set[str], profiles: ProfileSet) -> None:
    """Refuse a peer without a profile, or with the name of another account."""
    if peer.peer_id in taken:
        msg = f"network {network}: peer {peer.peer_id} stands in another network too"
        raise PopulationError(msg)
    if peer.peer_id in COMMON:
        msg = f"network {network}: no peer may be called {' or '.join(COMMON)}: accounts are"
        raise PopulationError(msg)
    for column in peer.columns:
        if column not in profiles.columns:
            prefix = column.partition(":")[0]
            msg = (
                f"network {network}, peer {peer.peer_id}: no profile {column}; there are "
                f"{', '.join(profiles.names(prefix)) or 'none of this kind'}"
            )
            raise PopulationError(msg)


def _profile_names(profiles: ProfileSet) -> ProfileNames:
    """Sort the profiles by what a draw uses them for; without chargers or heat pumps, any load."""
    loads = tuple(name for name in profiles.names("load_p") if name in profiles.names("load_q"))
    special = HEAT_PUMPS + CHARGERS
    ordinary = tuple(name for name in loads if not name.startswith(special)) or loads
    wind = profiles.names("wind")
    return ProfileNames(
        load=ordinary,
        heat_pump=tuple(name for name in loads if name.startswith(HEAT_PUMPS)) or ordinary,
        ev=tuple(name for name in loads if name.startswith(CHARGERS)) or ordinary,
        pv=profiles.names("pv"),
        wind=tuple(name for name in wind if name not in IMPLAUSIBLE_WIND) or wind,
    )


def _roster(config: ScenarioConfig, peers: tuple[tuple[PeerSpec, ...], ...]) -> Roster:
    """Put all peers in one order, network by network."""
    everyone = [peer for group in peers for peer in group]
    return Roster(
        peer_id=tuple(peer.peer_id for peer in everyone),
        network=tuple(settings.name for settings in config.networks),
        network_of=np.repeat(np.arange(len(peers)), [len(group) for group in peers]),
        rating=tuple(registration(peer) for peer in everyone),
        n_steps=config.n_window_steps,
        step_hours=config.step_hours,
    )
