"""``python -m simulation.run``: one run from a scenario to a folder of tables."""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from simulation.options import add_overrides, add_plugins, one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from configs.schema import ScenarioConfig
    from simulation.journal import Journal
    from simulation.model import CoSimulation
    from simulation.setup import World
    from simulation.stops import Stops
    from simulation.tables import StepTables

# The libraries behind a run take seconds to import; --help and a wrong option must not wait.


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m simulation.run",
        description="Simulate a peer-to-peer energy market on distribution networks.",
    )
    parser.add_argument("--days", type=int, help="length of the run [d]")
    parser.add_argument(
        "--config", help="shipped scenario or YAML file (default: default)", metavar="NAME"
    )
    parser.add_argument("--start", help="first day, YYYY-MM-DD, 00:00 UTC")
    parser.add_argument("--seed", type=int, help="seed of all random streams")
    add_overrides(parser, "override any setting, e.g. market.risk_level=0.1 (repeatable)")
    parser.add_argument(
        "--output",
        type=Path,
        help="new or empty folder of the run (default: results/<scenario>-<time>)",
    )
    parser.add_argument(
        "--resume",
        type=Path,
        metavar="FOLDER",
        help="go on with the run in a folder that was stopped or killed, from the end of its last "
        "whole day; it has its scenario, so that only --allow-plugins and --quiet go with it",
    )
    add_plugins(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no summary")
    options = parser.parse_args(arguments)
    if options.resume is not None:
        for name in ("days", "config", "start", "seed", "output"):
            if getattr(options, name) is not None:
                parser.error(f"--{name} does not go with --resume: a run keeps its scenario")
        if options.overrides:
            parser.error("--set does not go with --resume: a run keeps its scenario")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a scenario.

    Returns
    -------
    int
        0 when done, 1 when the results cannot be written, 2 for input that cannot be used, 3 when
        done, but solvers failed in too many steps, 130 when interrupted by Ctrl-C, 143 by SIGTERM.
    """
    start = time.perf_counter()
    options = parse(arguments)
    from simulation.output_folder import clear, is_finished  # noqa: PLC0415

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        if options.resume is not None and is_finished(options.resume):
            clear(options.resume)
            sys.stdout.write(f"{options.resume}: is finished already\n")
            return 0
        prepared = _prepare(options)
    except (ValueError, OSError) as error:
        return _fail(2, error)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; nothing has been written\n")
        return 130
    return _execute(prepared, options, start)


def _prepare(options: argparse.Namespace) -> Prepared:
    """Prepare the run that the command line describes."""
    from configs.loading import load  # noqa: PLC0415
    from market.plugins import allow  # noqa: PLC0415
    from simulation.output_folder import config_of  # noqa: PLC0415

    allow(options.allow_plugins)
    if options.resume is not None:
        return prepare(load(str(config_of(options.resume))), options.resume, resume=True)
    overrides = list(options.overrides)
    overrides += [f"days={options.days}"] if options.days is not None else []
    overrides += [f"start={options.start}"] if options.start is not None else []
    overrides += [f"seed={options.seed}"] if options.seed is not None else []
    return prepare(
        load("default" if options.config is None else options.config, overrides), options.output
    )


def _execute(prepared: Prepared, options: argparse.Namespace, start: float) -> int:
    """Execute a run and say how it ended."""
    from agents.strategies.protocol import StrategyError  # noqa: PLC0415
    from market.accounts import AccountsError  # noqa: PLC0415
    from market.errors import NotFiniteError  # noqa: PLC0415
    from market.price_checks import PricingError  # noqa: PLC0415
    from simulation.checkpoint import CheckpointError  # noqa: PLC0415
    from simulation.lock import LockedError  # noqa: PLC0415
    from simulation.output_folder import FolderError, is_begun  # noqa: PLC0415
    from simulation.report import report_if_possible  # noqa: PLC0415
    from simulation.stops import StopRequested, Stops  # noqa: PLC0415

    folder = prepared.folder
    plugins = [word for name in options.allow_plugins for word in ("--allow-plugins", name)]
    command = ["python", "-m", "simulation.run", "--resume", str(folder), *plugins]
    go_on, kept = f"to go on: {shlex.join(command)}", f"{folder} keeps all whole days so far"
    with Stops() as stops:
        try:
            summary = execute(prepared, quiet=options.quiet, start=start, stops=stops)
        except (CheckpointError, FolderError, LockedError) as error:
            return _fail(2, error)
        except OSError as error:
            return _fail(1, error, f"{kept}; {go_on}" if is_begun(folder) else "")
        except (AccountsError, NotFiniteError, PricingError, StrategyError) as error:
            # Data, a rule or a strategy of the user's own: the step where it fails is not written.
            return _fail(2, error, f"results so far in {folder}")
        except StopRequested:
            sys.stderr.write(f"interrupted; results so far in {folder}; {go_on}\n")
            report_if_possible(folder)
            return stops.exit_code
        except KeyboardInterrupt:
            sys.stderr.write(f"stopped at once; {kept}; {go_on}\n")
            return stops.exit_code
    if not options.quiet:
        sys.stdout.write(summary)
    report_if_possible(folder)
    return _judged(prepared)


def _judged(prepared: Prepared) -> int:
    """Exit code of a finished run: whether it failed its promise, or the solvers it, too often."""
    totals, config = prepared.model.totals, prepared.config
    judged = []
    if totals.uncertified_share > config.max_uncertified_share:
        judged.append(
            f"UNCERTIFIED: {totals.uncertified} network-steps ({totals.uncertified_share:.1%}, "
            f"max_uncertified_share {config.max_uncertified_share:.1%}) do not keep their promise; "
            f"in {totals.without_room} of them no schedule could have"
        )
    if totals.fallback_share > config.max_fallback_share:
        names = ", ".join(f"{name} {n}" for name, n in totals.fallbacks.items())
        judged.append(
            f"FALLBACKS: solvers failed in {totals.fallback_steps} of {totals.steps} steps "
            f"({totals.fallback_share:.1%}, max_fallback_share {config.max_fallback_share:.1%}): "
            f"{names}"
        )
    for line in judged:
        sys.stderr.write(f"{line}\n")
    return 3 if judged else 0


def _fail(code: int, error: Exception, more: str = "") -> int:
    """Say what is wrong in one line."""
    sys.stderr.write(f"error: {one_line(error)}{'; ' if more else ''}{more}\n")
    return code


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


def prepare(
    config: ScenarioConfig, output: Path | None = None, *, resume: bool = False
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
    return Prepared(config, world, model, tables, folder, resume)


def execute(
    prepared: Prepared,
    *,
    quiet: bool = True,
    start: float | None = None,
    stops: Stops | None = None,
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
        journal = Journal(folder, model, prepared.tables, start)
        journal.begin(resume=prepared.resume)
        model.stopwatch.credit("start_up", time.perf_counter() - start)
        with journal:
            _advance(prepared, journal, stops, quiet=quiet)
            return journal.finish()


def run(config: ScenarioConfig, output: Path | None = None) -> Path:
    """Run a scenario without a word and return the folder of its results.

    Raises
    ------
    ValueError
        If the input cannot be used; nothing has been written then.
    OSError
        If the folder cannot be written.
    """
    prepared = prepare(config, output)
    execute(prepared)
    return prepared.folder


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


if __name__ == "__main__":
    sys.exit(main())
