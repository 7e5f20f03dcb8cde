"""``python -m simulation.run``: one run from a scenario to a folder of tables."""

from __future__ import annotations

import argparse
import datetime as dt
import logging
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from simulation.options import add_overrides, add_plugins

if TYPE_CHECKING:
    from collections.abc import Sequence

    from configs.schema import ScenarioConfig
    from simulation.model import CoSimulation
    from simulation.setup import World
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
        "--config", default="default", help="shipped scenario or YAML file (default: %(default)s)"
    )
    parser.add_argument("--start", help="first day, YYYY-MM-DD, 00:00 UTC")
    parser.add_argument("--seed", type=int, help="seed of all random streams")
    add_overrides(parser, "override any setting, e.g. market.risk_level=0.1 (repeatable)")
    parser.add_argument(
        "--output",
        type=Path,
        help="new or empty folder of the run (default: results/<scenario>-<time>)",
    )
    add_plugins(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no summary")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a scenario.

    Returns
    -------
    int
        0 when done, 1 when the results cannot be written, 2 for input that cannot be used, 130
        when interrupted.
    """
    options = parse(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    from agents.strategies.protocol import StrategyError  # noqa: PLC0415
    from configs.loading import load  # noqa: PLC0415
    from market.accounts import AccountsError  # noqa: PLC0415
    from market.plugins import allow  # noqa: PLC0415
    from market.price_checks import PricingError  # noqa: PLC0415

    overrides = list(options.overrides)
    overrides += [f"days={options.days}"] if options.days is not None else []
    overrides += [f"start={options.start}"] if options.start is not None else []
    overrides += [f"seed={options.seed}"] if options.seed is not None else []
    start = time.perf_counter()
    try:
        allow(options.allow_plugins)
        prepared = prepare(load(options.config, overrides), options.output)
    except (ValueError, OSError) as error:
        # Messages of libraries may have several lines.
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        return 2
    try:
        summary = execute(prepared, quiet=options.quiet, start=start)
    except OSError as error:
        sys.stderr.write(f"error: {error}; results so far in {prepared.folder}\n")
        return 1
    except (AccountsError, PricingError, StrategyError) as error:
        # A rule or a strategy of the user's own: the step at which it fails is not written.
        sys.stderr.write(
            f"error: {' '.join(str(error).split())}; results so far in {prepared.folder}\n"
        )
        return 2
    except KeyboardInterrupt:
        sys.stderr.write(f"interrupted; results so far in {prepared.folder}\n")
        return 130
    if not options.quiet:
        sys.stdout.write(summary)
    return 0


@dataclass(frozen=True, eq=False)
class Prepared:
    """A run whose input has been checked; nothing has been written yet."""

    config: ScenarioConfig
    world: World
    model: CoSimulation
    tables: StepTables
    folder: Path


def prepare(config: ScenarioConfig, output: Path | None = None) -> Prepared:
    """Check the input of a run and build everything it starts from.

    Parameters
    ----------
    config : ScenarioConfig
        The scenario.
    output : Path, optional
        New or empty folder; by default one under ``results`` named after scenario and time.

    Raises
    ------
    ValueError
        If the input cannot be used.
    OSError
        If a file cannot be read.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # noqa: PLC0415

    from simulation.model import CoSimulation  # noqa: PLC0415
    from simulation.recorder import Recorder  # noqa: PLC0415
    from simulation.setup import build_world  # noqa: PLC0415
    from simulation.tables import StepTables  # noqa: PLC0415

    folder = _free_folder(config, output)
    with threadpool_limits(limits=1):
        world = build_world(config)
        tables = StepTables(Recorder(folder), config, world)
        return Prepared(config, world, CoSimulation(config, world, tables), tables, folder)


def execute(prepared: Prepared, *, quiet: bool = True, start: float | None = None) -> str:
    """Run what has been prepared, write its folder, and return the summary as text.

    Parameters
    ----------
    prepared : Prepared
        The run.
    quiet : bool
        Show no progress bar.
    start : float, optional
        When the preparation began, on the clock of ``time.perf_counter``. [s]

    Raises
    ------
    OSError
        If the folder cannot be written.
    """
    from threadpoolctl import threadpool_limits  # noqa: PLC0415

    from simulation.manifest import Manifest  # noqa: PLC0415
    from simulation.summary import summarise, write_summary  # noqa: PLC0415

    start = time.perf_counter() if start is None else start
    config, model, folder = prepared.config, prepared.model, prepared.folder
    folder.mkdir(parents=True, exist_ok=True)
    manifest = Manifest(folder, config, prepared.world)
    manifest.write("running")
    status = "failed"
    try:
        prepared.tables.write_networks()
        # Threads cost the many small matrix products more than they gain them.
        with threadpool_limits(limits=1):
            _advance(prepared, quiet=quiet)
        status = "finished"
    except KeyboardInterrupt:
        status = "interrupted"
        raise
    finally:
        prepared.tables.write_totals(model.market_totals)
        prepared.tables.recorder.close()
        manifest.write(status)
        model.save_strategies(folder)
    return write_summary(folder, summarise(model, time.perf_counter() - start))


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


def _advance(prepared: Prepared, *, quiet: bool) -> None:
    """Step through the run, with a progress bar in days."""
    from tqdm import tqdm  # noqa: PLC0415

    model, config = prepared.model, prepared.config
    per_step = 1 / config.steps_per_day
    layout = "{desc}: {percentage:3.0f}%|{bar}| {n:.1f}/{total} d [{elapsed}<{remaining}{postfix}]"
    with tqdm(
        total=config.days, desc=config.name, disable=quiet, bar_format=layout, mininterval=0.5
    ) as bar:
        for step in range(config.n_steps):
            model.step()
            if (step + 1) % config.steps_per_day == 0:
                model.save_strategies(prepared.folder)
            bar.set_postfix_str(
                f"cost {model.totals.total_cost_eur:,.0f} EUR, "
                f"violated steps {model.totals.violated_steps}",
                refresh=False,
            )
            # The sum of the steps' shares would miss the whole by a rounding error.
            bar.update((step + 1) * per_step - bar.n)


def _free_folder(config: ScenarioConfig, output: Path | None) -> Path:
    """Name the folder of the run; one with anything in it is refused."""
    if output is None:
        now = dt.datetime.now(tz=dt.UTC)
        output = Path("results") / f"{config.name}-{now:%Y%m%dT%H%M%S%f}"
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        msg = f"--output {output}: exists already and is not an empty folder"
        raise ValueError(msg)
    return output


if __name__ == "__main__":
    sys.exit(main())
