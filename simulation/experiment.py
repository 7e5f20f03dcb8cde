"""``python -m simulation.experiment``: many runs, one table and its pictures."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from simulation.options import add_overrides, add_plugins, one_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    import pandas as pd

    from configs.experiment_schema import Experiment
    from simulation.sweeps import Run

# The libraries behind a run take seconds to import; --help and a wrong option must not wait.

BY_FORCE = "processes ended by force, perhaps for want of memory"


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m simulation.experiment",
        description="Run every treatment of an experiment on every replicate and compare them.",
    )
    parser.add_argument(
        "experiment",
        help="shipped experiment (behaviour, market_design, paper, reliability) or YAML file",
    )
    parser.add_argument(
        "--quick", action="store_true", help="the smaller version that the experiment defines"
    )
    parser.add_argument(
        "--jobs",
        type=int,
        help=f"number of local processes (default: cores of this machine, {os.cpu_count() or 1})",
    )
    parser.add_argument(
        "--engine",
        choices=("local", "dask"),
        default="local",
        help="where runs are executed: in local processes or on a Dask cluster "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="scheduler of the Dask cluster, e.g. tcp://127.0.0.1:8786; its workers, of one thread "
        "each, must reach the folder of the experiment under the same path",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on in the folder: finished runs are kept, failed ones are run again",
    )
    add_overrides(parser, "override any setting of all runs, e.g. days=7 (repeatable)")
    parser.add_argument(
        "--output",
        type=Path,
        help="folder of the experiment (default: results/experiments/<name>, with -quick)",
    )
    add_plugins(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no table")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run an experiment.

    Returns
    -------
    int
        0 when all runs are finished, 1 when some failed or results cannot be written, 2 for input
        that cannot be used, 130 when interrupted.
    """
    options = parse(arguments)
    from joblib.externals.loky.process_executor import TerminatedWorkerError  # noqa: PLC0415

    from configs.loading import load_experiment  # noqa: PLC0415
    from market.plugins import allow  # noqa: PLC0415
    from simulation.report import report_if_possible  # noqa: PLC0415
    from simulation.sweeps import check, plan  # noqa: PLC0415

    with ExitStack() as stack:
        try:
            allow(options.allow_plugins)
            experiment = load_experiment(options.experiment, options.overrides, quick=options.quick)
            folder = _folder(experiment, options)
            runs = plan(experiment)
            stack.enter_context(_engine(options, folder))
            stored_energy_value = check(runs, _plugins(options))
        except (ValueError, OSError) as error:
            message = one_line(error)
            place = "" if options.experiment in message else f"{options.experiment}: "
            sys.stderr.write(f"error: {place}{message}\n")
            return 2
        except KeyboardInterrupt:
            sys.stderr.write("interrupted; nothing has been written\n")
            return 130
        except TerminatedWorkerError:
            sys.stderr.write(f"error: {BY_FORCE}; --jobs 1 takes the least memory\n")
            return 1
        try:
            _describe(experiment, folder)
            code = _conduct(runs, folder, options)
            text, n_failed = report(experiment, runs, folder, stored_energy_value)
        except OSError as error:
            sys.stderr.write(f"error: {error}; results so far in {folder}\n")
            return 1
    if not options.quiet:
        sys.stdout.write(text)
    report_if_possible(folder)
    if n_failed:
        sys.stderr.write(f"failed runs: {n_failed}; see error in {folder / 'index.csv'}\n")
    return code or int(n_failed > 0)


def _engine(options: argparse.Namespace, folder: Path) -> AbstractContextManager[None]:
    """Choose where the runs are executed."""
    from simulation.engines import dask_cluster, local_processes  # noqa: PLC0415

    if options.engine == "dask":
        if options.scheduler is None:
            msg = "--engine dask: needs the address of a scheduler, --scheduler tcp://HOST:PORT"
            raise ValueError(msg)
        if options.jobs is not None:
            msg = f"--jobs {options.jobs}: is of --engine local; Dask uses all its workers"
            raise ValueError(msg)
        return dask_cluster(options.scheduler, folder)
    if options.scheduler is not None:
        msg = f"--scheduler {options.scheduler}: is of --engine dask, which has not been chosen"
        raise ValueError(msg)
    jobs = (os.cpu_count() or 1) if options.jobs is None else options.jobs
    if jobs < 1:
        msg = f"--jobs {jobs}: must be at least 1"
        raise ValueError(msg)
    return local_processes(jobs)


def _conduct(runs: Sequence[Run], folder: Path, options: argparse.Namespace) -> int:
    """Execute what is not finished; return the exit code so far."""
    from joblib.externals.loky.process_executor import TerminatedWorkerError  # noqa: PLC0415

    from simulation.sweeps import conduct  # noqa: PLC0415

    try:
        folder = folder.resolve()
        conduct(runs, folder / "runs", plugins=_plugins(options), quiet=options.quiet)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; the same command with --resume goes on\n")
        return 130
    except TerminatedWorkerError:
        sys.stderr.write(
            f"error: {BY_FORCE}; the same command with --resume goes on, --jobs 1 takes the least "
            "memory\n"
        )
        return 1
    return 0


def _plugins(options: argparse.Namespace) -> list[str]:
    """Name the plugins so that workers, whose working folder may be another, find them."""
    return [
        str(Path(name).resolve()) if name.endswith(".py") else name
        for name in options.allow_plugins
    ]


def report(
    experiment: Experiment, runs: Sequence[Run], folder: Path, stored_energy_value: dict[str, float]
) -> tuple[str, int]:
    """Write index, table and pictures of what is finished.

    Parameters
    ----------
    experiment : Experiment
        The experiment.
    runs : sequence of Run
        Its runs.
    folder : Path
        Folder of the experiment.
    stored_energy_value : dict of str to float
        What :func:`simulation.sweeps.check` returns. [EUR/kWh]

    Returns
    -------
    str
        The table for the terminal.
    int
        Number of failed runs.
    """
    from simulation.analysis import comparisons, tabulate  # noqa: PLC0415
    from simulation.daily_rates import counts_of_runs  # noqa: PLC0415
    from simulation.effects import as_markdown, effects  # noqa: PLC0415
    from simulation.experiment_report import as_text, markdown  # noqa: PLC0415
    from simulation.figures import draw  # noqa: PLC0415
    from simulation.gains import compared_gains, peer_gains  # noqa: PLC0415
    from simulation.sweep_index import index  # noqa: PLC0415

    listed = index(runs, folder / "runs", stored_energy_value)
    compared = comparisons(experiment)
    gained = compared_gains(experiment)
    gains = peer_gains(listed, folder / "runs", gained) if gained else None
    table = tabulate(listed, compared, gains, counts_of_runs(listed, folder / "runs"))
    if gains is not None:
        _write(gains, folder / "gains")
    _write(listed, folder / "index")
    _write(table, folder / "table")
    text = markdown(table, compared, f"Experiment {experiment.name}", gained)
    by_factor = effects(listed, _factors(experiment), folder / "runs")
    if len(by_factor):
        _write(by_factor, folder / "effects")
        text += "\n" + as_markdown(by_factor)
    (folder / "table.md").write_text(text, encoding="utf-8")
    if (table.finished > 0).any():
        draw(experiment.figures, table, compared, folder / "figures")
    counts = ", ".join(f"{n} {state}" for state, n in listed.status.value_counts().items())
    intervals = folder / ("table.csv" if gained else "table.md")
    shown = f"\n{as_text(table, compared, gained)}\nruns: {counts}; intervals in {intervals}\n"
    return shown, int((listed.status == "failed").sum())


def _factors(experiment: Experiment) -> list[str]:
    """Places that the treatments differ in, in the order of the file."""
    return list(dict.fromkeys(place for block in experiment.factors for place in block))


def _write(table: pd.DataFrame, stem: Path) -> None:
    """Write a table as Parquet and CSV."""
    table.to_parquet(stem.with_suffix(".parquet"), index=False)
    table.to_csv(stem.with_suffix(".csv"), index=False)


def _folder(experiment: Experiment, options: argparse.Namespace) -> Path:
    """Name the folder; one with anything in it is taken only to go on."""
    name = f"{experiment.name}-quick" if options.quick else experiment.name
    folder: Path = options.output or Path("results") / "experiments" / name
    if folder.exists() and not folder.is_dir():
        msg = f"--output {folder}: exists already and is not a folder"
        raise ValueError(msg)
    if folder.exists() and any(folder.iterdir()):
        if not options.resume:
            msg = (
                f"--output {folder}: exists already and is not empty; --resume goes on there, "
                "another --output begins anew"
            )
            raise ValueError(msg)
        if not (folder / "experiment.yaml").exists():
            msg = f"--output {folder}: holds no experiment that --resume could go on with"
            raise ValueError(msg)
    return folder


def _describe(experiment: Experiment, folder: Path) -> None:
    """Write the resolved experiment, which can be run again."""
    from configs.loading import dump  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "experiment.yaml").write_text(dump(experiment), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
