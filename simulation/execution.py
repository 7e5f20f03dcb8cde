"""A run from its scenario to its folder of tables: what is checked first, and what is executed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from configs.schema import ScenarioConfig
    from simulation.base_case import BaseScenario
    from simulation.journal import Journal
    from simulation.model import CoSimulation
    from simulation.setup import World
    from simulation.stops import Stops
    from simulation.tables import StepTables

# The libraries behind a run take seconds to import; the commands import this one at once.


@dataclass(frozen=True, eq=False)
class Prepared:
    """A run whose input has been checked; nothing has been written yet."""

    config: ScenarioConfig
    world: World
    model: CoSimulation
    tables: StepTables
    folder: Path
    resume: bool
    """Whether to go on with the run in the folder."""
    base: BaseScenario | None = None
    """The base case that is begun beside it."""


def prepare(
    config: ScenarioConfig,
    output: Path | None = None,
    *,
    resume: bool = False,
    base: BaseScenario | None = None,
) -> Prepared:
    """Check the input of a run and build everything it starts from.

    Parameters
    ----------
    config : ScenarioConfig
        The scenario.
    output : Path, optional
        New or empty folder; by default one under ``results`` named after scenario and time.
    resume : bool
        Go on with the run in that folder instead.
    base : BaseScenario, optional
        The base case that is begun beside it.

    Raises
    ------
    ValueError
        If the input cannot be used.
    OSError
        If a file cannot be read.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # noqa: PLC0415

    from simulation.model import CoSimulation  # noqa: PLC0415
    from simulation.output_folder import named_after, require_new  # noqa: PLC0415
    from simulation.recorder import Recorder  # noqa: PLC0415
    from simulation.setup import build_world  # noqa: PLC0415
    from simulation.tables import StepTables  # noqa: PLC0415

    folder = named_after(config.name) if output is None else output
    if not resume:
        require_new(folder)
    with threadpool_limits(limits=1):
        world = build_world(config)
        tables = StepTables(Recorder(folder), world)
        model = CoSimulation(config, world, tables)
    return Prepared(config, world, model, tables, folder, resume, base)


def execute(
    prepared: Prepared,
    *,
    quiet: bool = True,
    start: float | None = None,
    stops: Stops | None = None,
    when_begun: Callable[[], None] | None = None,
) -> str:
    """Run what has been prepared, write its folder, and return the summary as text.

    Parameters
    ----------
    prepared : Prepared
        The run.
    quiet : bool
        Show no progress bar.
    start : float, optional
        When the preparation began, on the clock of ``time.perf_counter``. [s]
    stops : Stops, optional
        Tells whether to stop after the step under way.
    when_begun : callable, optional
        Is called as soon as the run has its folder.

    Raises
    ------
    OSError
        If the folder cannot be written.
    LockedError
        If another process writes there.
    CheckpointError
        If the run cannot be resumed.
    """
    from threadpoolctl import threadpool_limits  # noqa: PLC0415

    from simulation.journal import Journal  # noqa: PLC0415
    from simulation.lock import locked  # noqa: PLC0415
    from simulation.output_folder import require_new  # noqa: PLC0415

    start = time.perf_counter() if start is None else start
    folder, model = prepared.folder, prepared.model
    folder.mkdir(parents=True, exist_ok=True)
    # Threads cost the many small matrix products more than they gain them.
    with locked(folder), threadpool_limits(limits=1):
        if not prepared.resume:
            require_new(folder)  # another process may have been faster
        journal = Journal(folder, model, prepared.tables, start, prepared.base)
        journal.begin(resume=prepared.resume)
        if when_begun is not None:
            when_begun()
        model.stopwatch.credit("start_up", time.perf_counter() - start)
        with journal:
            _advance(prepared, journal, stops, quiet=quiet)
            return journal.finish()


def _advance(prepared: Prepared, journal: Journal, stops: Stops | None, *, quiet: bool) -> None:
    """Step through the run, with a progress bar in days."""
    from tqdm import tqdm  # noqa: PLC0415

    model, config = prepared.model, prepared.config
    per_step = 1 / config.steps_per_day
    layout = "{desc}: {percentage:3.0f}%|{bar}| {n:.1f}/{total} d [{elapsed}<{remaining}{postfix}]"
    with tqdm(
        total=config.days,
        initial=model.now * per_step,
        desc=config.name,
        disable=quiet,
        bar_format=layout,
        mininterval=0.5,
    ) as bar:
        while model.now < config.n_steps:
            model.step()
            if model.now % config.steps_per_day == 0:
                journal.end_of_day()
            bar.set_postfix_str(
                f"cost {model.totals.total_cost_eur:,.0f} EUR, "
                f"violated steps {model.totals.violated_steps}",
                refresh=False,
            )
            # The sum of the steps' shares would miss the whole by a rounding error.
            bar.update(model.now * per_step - bar.n)
            if stops is not None and model.now < config.n_steps:
                stops.check()
