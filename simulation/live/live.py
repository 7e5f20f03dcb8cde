"""A simulation that is watched as it goes; nothing is written to disk."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mesa
import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from market.errors import MarketError
from simulation.live.controls import changed, in_words
from simulation.live.views import SCHEDULE, Moment, key_figures, make_sites
from simulation.model import CoSimulation
from simulation.recorder import Recorder, schema
from simulation.setup import build_world
from simulation.tables import StepTables

if TYPE_CHECKING:
    from configs.schema import ScenarioConfig
    from simulation.live.views import Site
    from simulation.records import StepRecord
    from simulation.setup import World

log = logging.getLogger(__name__)

_ONE_AT_A_TIME = threading.Lock()
"""Sessions of several browsers take turns: a step is computed by one thread at a time."""
_EXPECTED = (ValueError, OSError, MarketError)
"""What settings and data of the user's own give rise to."""


class MemoryTables(StepTables):
    """Keeps the tables of the last step, and its record.

    Attributes
    ----------
    record : StepRecord or None
        All of the last step.
    """

    def __init__(self, world: World) -> None:
        self._rows = _Rows()
        super().__init__(self._rows, world)
        self.record: StepRecord | None = None

    def write_step(self, record: StepRecord) -> None:
        """Replace the last step."""
        self._rows.clear()
        super().write_step(record)
        self.record = record

    def take(self) -> dict[str, pd.DataFrame]:
        """Return what has been written since the last step, by table."""
        return self._rows.frames()


class _Rows(Recorder):
    """Rows in memory, instead of in a folder."""

    def __init__(self) -> None:
        super().__init__(Path())

    def clear(self) -> None:
        for batches in self._pending.values():
            batches.clear()

    def frames(self) -> dict[str, pd.DataFrame]:
        known = self._gathered()
        return {
            table: known.get(table, schema(table).empty_table()).to_pandas()
            for table in self._pending
        }


class LiveSimulation(mesa.Model):
    """A simulation as Mesa's visualisation drives it; see :class:`simulation.live.views.Watched`.

    Errors do not leave it: they stand in ``message``, and it stops.

    Parameters
    ----------
    scenario : ScenarioConfig
        The scenario as it was loaded.
    **kwargs
        Values of the controls, see :func:`simulation.live.controls.changed`; Mesa asks for this
        name.
    """

    def __init__(self, scenario: ScenarioConfig, **kwargs: Any) -> None:
        super().__init__(rng=np.random.default_rng(scenario.seed))
        self.title = scenario.name
        self.n_steps = 0
        self.sites: tuple[Site, ...] = ()
        self.peers = pd.DataFrame()
        self.moment: Moment | None = None
        self.history = pd.DataFrame()
        self.message = ""
        self._scenario = scenario
        self._accounts: pd.Series | None = None
        self._simulation: CoSimulation | None = None
        self._wanted: ScenarioConfig | None = None
        try:
            with _ONE_AT_A_TIME, threadpool_limits(limits=1):
                config = changed(scenario, kwargs)
                self._build(config)
                self._wanted = config
        except Exception as error:  # a user's own classes may raise anything
            self._fail(error)

    @property
    def settings(self) -> str:
        """The settings of the market in force, in words."""
        return "" if self._simulation is None else in_words(self._simulation.config)

    @property
    def pending(self) -> str:
        """The settings that the next clearing takes over; else empty."""
        if self._simulation is None or self._wanted is None or not self.running:
            return ""
        words = in_words(self._wanted)
        return "" if words == self.settings else words

    def ask(self, **kwargs: Any) -> None:
        """Ask for other values of the controls; they take effect at the next clearing.

        The share of strategic peers, who are drawn at the beginning, stays as it is. Values that
        make no valid scenario change nothing but the message.
        """
        if self._wanted is None or not self.running:
            return
        try:
            wanted = changed(self._scenario, kwargs)
        except ValueError as error:
            self.message = f"this cannot be set: {error}"
            return
        self.message = ""
        self._wanted = wanted.model_copy(update={"strategies": self._wanted.strategies})

    def step(self) -> None:
        """Advance one time step."""
        if self._simulation is None or not self.running:
            return
        try:
            with _ONE_AT_A_TIME, threadpool_limits(limits=1):
                self._take_over()
                self._simulation.step()
                self._show(self._simulation)
        except Exception as error:  # a user's own classes may raise anything
            self._fail(error)

    def _build(self, config: ScenarioConfig) -> None:
        """Make the simulation, or one with other settings that goes on where it stands."""
        world = build_world(config)
        tables = MemoryTables(world)
        simulation = CoSimulation(config, world, tables)
        if self._simulation is None:
            tables.write_networks()
            fixed = tables.take()
            self.sites, self.n_steps = make_sites(fixed), config.n_steps
            self.peers = fixed["peers"].set_index("peer_id")
        else:
            simulation.restore(self._simulation.state())
        self._simulation = simulation

    def _take_over(self) -> None:
        """Put changed settings into force, where a clearing is due."""
        now = self._simulation
        if now is None or self._wanted is None or self._wanted == now.config:
            return
        if now.now % now.config.market.cadence_steps == 0:
            self._build(self._wanted)

    def _show(self, simulation: CoSimulation) -> None:
        """Take what the step left."""
        tables = simulation.tables.take()  # type: ignore[attr-defined]
        if tables["bids"].empty and self.moment is not None:
            tables["bids"] = self.moment.tables["bids"]  # of the clearing that binds
        figures = key_figures(tables)
        self.history = pd.concat([self.history, figures])
        settled = tables["settlement"].groupby(["account", "item"]).amount_eur.sum()
        so_far = settled if self._accounts is None else self._accounts.add(settled, fill_value=0.0)
        self._accounts = so_far
        self.moment = Moment(int(figures.index[0]), figures.time.iloc[0], tables)
        if simulation.now >= self.n_steps:
            self.running = False

    def _fail(self, error: Exception) -> None:
        """Stop with a message; a fault of the program's own goes to the log as well."""
        self.running = False
        self.message = f"stopped: {error or type(error).__name__}"
        if not isinstance(error, _EXPECTED):
            log.error("the simulation stopped", exc_info=error)

    def schedule(self, peer: str) -> tuple[str, pd.DataFrame]:
        """Return the schedule of a peer over the look-ahead window, as it was cleared."""
        words = "as cleared for the look-ahead window"
        now = self._simulation
        record = None if now is None else now.tables.record  # type: ignore[attr-defined]
        if now is None or record is None or self.moment is None:
            return words, pd.DataFrame(columns=list(SCHEDULE))
        roster, cleared = now.world.roster, record.cleared.result.schedule
        k = roster.peer_id.index(peer)
        hours = np.arange(roster.n_steps - record.k) * roster.step_hours
        ahead = slice(record.k, None)
        stored = np.flatnonzero(roster.storage == k)
        columns = {
            "time": self.moment.time + pd.to_timedelta(hours, unit="h"),
            "injection_kw": cleared.p_kw[ahead, k],
            "bought_kw": cleared.bought[ahead, k],
            "sold_kw": cleared.sold[ahead, k],
            "stored_kwh": cleared.energy[ahead, stored[0]] if stored.size else np.nan,
        }
        return words, pd.DataFrame(columns)

    def account(self, peer: str) -> pd.Series:
        """Sum what a peer received so far, by item. [EUR]"""
        if self._accounts is None or peer not in self._accounts.index.get_level_values(0):
            return pd.Series(dtype=float)
        out: pd.Series = self._accounts.loc[peer]
        return out
