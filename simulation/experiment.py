"""``python -m simulation.experiment``: many runs, one table and its pictures."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from simulation.options import add_overrides, add_plugins

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from configs.experiment_schema import Experiment
    from simulation.sweeps import Run

# The libraries behind a run take seconds to import; --help and a wrong option must not wait.


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m simulation.experiment",
        description="Run every treatment of an experiment on every replicate and compare them.",
    )
    parser.add_argument(
        "experiment", help="shipped experiment (market_design, paper, reliability) or YAML file"
    )
    parser.add_argument(
        "--quick", action="store_true", help="the smaller version that the experiment defines"
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=os.cpu_count() or 1,
        help="number of processes (default: cores of this machine, %(default)s)",
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on in the folder; finished runs are kept"
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
    from simulation.sweeps import check, conduct, plan  # noqa: PLC0415

    try:
        if options.jobs < 1:
            msg = f"--jobs {options.jobs}: must be at least 1"
            raise ValueError(msg)
        allow(options.allow_plugins)
        experiment = load_experiment(options.experiment, options.overrides, quick=options.quick)
        folder = _folder(experiment, options)
        runs = plan(experiment)
        stored_energy_value = check(runs)
    except (ValueError, OSError) as error:
        # Messages of libraries may have several lines.
        message = " ".join(str(error).split())
        place = "" if options.experiment in message else f"{options.experiment}: "
        sys.stderr.write(f"error: {place}{message}\n")
        return 2
    code = 0
    try:
        _describe(experiment, folder)
        try:
            conduct(
                runs,
                folder / "runs",
                jobs=options.jobs,
                plugins=options.allow_plugins,
                quiet=options.quiet,
            )
        except KeyboardInterrupt:
            sys.stderr.write("interrupted; the same command with --resume goes on\n")
            code = 130
        except TerminatedWorkerError:
            sys.stderr.write(
                "error: a process ended by force, perhaps for want of memory; the same command "
                "with --resume goes on, --jobs 1 takes the least memory\n"
            )
            code = 1
        text, n_failed = report(experiment, runs, folder, stored_energy_value)
    except OSError as error:
        sys.stderr.write(f"error: {error}; results so far in {folder}\n")
        return 1
    if not options.quiet:
        sys.stdout.write(text)
    if n_failed:
        sys.stderr.write(f"failed runs: {n_failed}; see error in {folder / 'index.csv'}\n")
    return code or int(n_failed > 0)


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
    from simulation.experiment_report import as_text, markdown  # noqa: PLC0415
    from simulation.figures import draw  # noqa: PLC0415
    from simulation.gains import compared_gains, peer_gains  # noqa: PLC0415
    from simulation.sweep_index import index  # noqa: PLC0415

    listed = index(runs, folder / "runs", stored_energy_value)
    compared = comparisons(experiment)
    gained = compared_gains(experiment)
    gains = peer_gains(listed, folder / "runs", gained) if gained else None
    table = tabulate(listed, compared, gains)
    if gains is not None:
        _write(gains, folder / "gains")
    _write(listed, folder / "index")
    _write(table, folder / "table")
    text = markdown(table, compared, f"Experiment {experiment.name}", gained)
    (folder / "table.md").write_text(text, encoding="utf-8")
    if (table.finished > 0).any():
        draw(experiment.figures, table, compared, folder / "figures")
    counts = ", ".join(f"{n} {state}" for state, n in listed.status.value_counts().items())
    intervals = folder / ("table.csv" if gained else "table.md")
    shown = f"\n{as_text(table, compared, gained)}\nruns: {counts}; intervals in {intervals}\n"
    return shown, int((listed.status == "failed").sum())


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
