"""``python -m simulation.run``: one run from a scenario to a folder of tables."""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulation.execution import execute, prepare
from simulation.options import add_overrides, add_plugins, one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from configs.schema import ScenarioConfig
    from simulation.stops import Stops
    from simulation.task import Task

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
    parser.add_argument(
        "--base",
        action="append",
        default=[],
        metavar="CASE",
        help="run a base case beside the run, on the same draws, and tell what is saved: a "
        "coordination (none, within_network, across_networks) or settings of the market, e.g. "
        "market.pricing=dlmp (repeatable)",
    )
    add_plugins(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no summary")
    options = parser.parse_args(arguments)
    if options.resume is not None:
        for name in ("days", "config", "start", "seed", "output"):
            if getattr(options, name) is not None:
                parser.error(f"--{name} does not go with --resume: a run keeps its scenario")
        for name, given in (("set", options.overrides), ("base", options.base)):
            if given:
                parser.error(f"--{name} does not go with --resume: a run keeps its scenario")
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
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        from simulation.output_folder import base_is_left, clear, is_finished  # noqa: PLC0415

        if options.resume is not None and is_finished(options.resume):
            clear(options.resume)
            if not base_is_left(options.resume):
                sys.stdout.write(f"{options.resume}: is finished already\n")
                return 0
        task = _prepare(options)
    except (ValueError, OSError) as error:
        return _fail(2, error)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; nothing has been written\n")
        return 130
    return _execute(task, options, start)


def _prepare(options: argparse.Namespace) -> Task:
    """Prepare what the command line describes."""
    from configs.loading import load  # noqa: PLC0415
    from market.plugins import allow  # noqa: PLC0415
    from simulation.task import rest_of, task_of  # noqa: PLC0415

    plugins = options.allow_plugins
    allow(plugins)
    if options.resume is not None:
        return rest_of(options.resume, plugins)
    overrides = list(options.overrides)
    overrides += [f"days={options.days}"] if options.days is not None else []
    overrides += [f"start={options.start}"] if options.start is not None else []
    overrides += [f"seed={options.seed}"] if options.seed is not None else []
    config = load("default" if options.config is None else options.config, overrides)
    return task_of(config, options.output, base=options.base, plugins=plugins)


def _execute(task: Task, options: argparse.Namespace, start: float) -> int:
    """Execute a run and its base case, and say how they ended."""
    from simulation.stops import Stops  # noqa: PLC0415

    with Stops() as stops:
        code = _conduct(task, options, start, stops)
    if task.base is not None and task.base.failure:
        sys.stderr.write(f"no base case: {task.base.failure}\n")
    return code


def _conduct(task: Task, options: argparse.Namespace, start: float, stops: Stops) -> int:
    """Execute a run and its base case, and say how the run ended."""
    from agents.strategies.protocol import StrategyError  # noqa: PLC0415
    from market.accounts import AccountsError  # noqa: PLC0415
    from market.errors import NotFiniteError  # noqa: PLC0415
    from market.price_checks import PricingError  # noqa: PLC0415
    from simulation.checkpoint import CheckpointError  # noqa: PLC0415
    from simulation.lock import LockedError  # noqa: PLC0415
    from simulation.output_folder import FolderError, is_begun  # noqa: PLC0415
    from simulation.report import report_if_possible  # noqa: PLC0415
    from simulation.stops import StopRequested  # noqa: PLC0415

    folder = task.folder
    plugins = [word for name in options.allow_plugins for word in ("--allow-plugins", name)]
    command = ["python", "-m", "simulation.run", "--resume", str(folder), *plugins]
    go_on, kept = f"to go on: {shlex.join(command)}", f"{folder} keeps all whole days so far"
    try:
        task.execute(quiet=options.quiet, start=start, stops=stops)
        summary = task.summary()
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
        from simulation.summary import as_text  # noqa: PLC0415

        sys.stdout.write(as_text(summary, folder))
    report_if_possible(folder)
    return _judged(summary, task.config)


def _judged(summary: dict[str, Any], config: ScenarioConfig) -> int:
    """Exit code of a finished run: whether it failed its promise, or the solvers it, too often."""
    s, judged = summary, []
    if s["uncertified_share"] > config.max_uncertified_share:
        judged.append(
            f"UNCERTIFIED: {s['uncertified_clearings']} network-steps "
            f"({s['uncertified_share']:.1%}, max_uncertified_share "
            f"{config.max_uncertified_share:.1%}) do not keep their promise; in "
            f"{s['uncertified_without_room']} of them no schedule could have"
        )
    if s["fallback_share"] > config.max_fallback_share:
        names = ", ".join(f"{name} {n}" for name, n in s["fallbacks"].items())
        judged.append(
            f"FALLBACKS: solvers failed in {s['fallback_steps']} of {s['n_steps']} steps "
            f"({s['fallback_share']:.1%}, max_fallback_share {config.max_fallback_share:.1%}): "
            f"{names}"
        )
    for line in judged:
        sys.stderr.write(f"{line}\n")
    return 3 if judged else 0


def _fail(code: int, error: Exception, more: str = "") -> int:
    """Say what is wrong in one line."""
    sys.stderr.write(f"error: {one_line(error)}{'; ' if more else ''}{more}\n")
    return code


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


if __name__ == "__main__":
    sys.exit(main())
