"""``python -m simulation.report``: a web page, or figures to print, of a run or an experiment."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from simulation.options import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulation.reporting.blocks import Page

NAME = "report.html"
"""File in the folder of a run or an experiment."""

# The libraries behind a report take seconds to import; --help and a wrong option must not wait.


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m simulation.report",
        description="Write the report of a run or of an experiment: one HTML file that opens "
        "offline.",
    )
    parser.add_argument("folder", type=Path, help="folder of a run, or of an experiment")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help=f"the page (default: {NAME} in the folder)"
    )
    parser.add_argument(
        "--base",
        type=Path,
        metavar="RUN",
        help="folder of the base case of a run, on the same draws (default: the one that was run "
        "beside it or, of a run of an experiment, its sibling without coordination)",
    )
    parser.add_argument(
        "--figures",
        type=Path,
        metavar="DIR",
        help="write the main figures of a run to this folder instead, as PDF, SVG and PNG",
    )
    options = parser.parse_args(arguments)
    if options.figures is not None and (options.output is not None or options.base is not None):
        parser.error("--figures writes no page: it goes without --output and --base")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a report.

    Returns
    -------
    int
        0 when done, 1 when it cannot be written, 2 for input that cannot be used.
    """
    options = parse(arguments)
    from simulation.reporting.stored_tables import ReportError  # noqa: PLC0415

    try:
        if options.figures is not None:
            paths = write_figures(options.folder, options.figures)
            sys.stdout.write(f"{len(paths)} files in {options.figures}\n")
        else:
            page = write_report(options.folder, output=options.output, base=options.base)
            sys.stdout.write(f"{page}\n")
    except ReportError as error:
        sys.stderr.write(f"error: {one_line(error)}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"error: {one_line(error)}\n")
        return 1
    return 0


def report_if_possible(folder: Path) -> None:
    """Write the report of what has just been run, which is none the worse without it."""
    from simulation.reporting.stored_tables import ReportError  # noqa: PLC0415

    try:
        write_report(folder)
    except (ReportError, OSError) as error:
        sys.stderr.write(f"no report: {one_line(error)}\n")


def write_report(folder: Path, *, output: Path | None = None, base: Path | None = None) -> Path:
    """Write the report of a run or of an experiment.

    Parameters
    ----------
    folder : Path
        Folder of the run, finished or not, or of the experiment.
    output : Path, optional
        The page; by default ``report.html`` in the folder.
    base : Path, optional
        Folder of the run's base case.

    Returns
    -------
    Path
        The page. It is whole or not there.

    Raises
    ------
    ReportError
        If there is nothing in the folder that can be reported; the message names the file.
    OSError
        If a file cannot be read or written.
    """
    from simulation.reporting.rendering import write_page  # noqa: PLC0415

    page = _experiment_page(folder, base) if is_experiment(folder) else _run_page(folder, base)
    path = folder / NAME if output is None else output
    path.parent.mkdir(parents=True, exist_ok=True)
    write_page(page, path)
    return path


def write_figures(folder: Path, target: Path) -> list[Path]:
    """Write the main figures of a run as PDF, SVG and PNG.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    target : Path
        Folder of the figures.

    Raises
    ------
    ReportError
        If there is no run that can be drawn.
    OSError
        If a file cannot be read or written.
    """
    from simulation.reporting.publication import draw_all  # noqa: PLC0415
    from simulation.reporting.run_data import read_run  # noqa: PLC0415
    from simulation.reporting.stored_tables import ReportError, undamaged  # noqa: PLC0415

    if is_experiment(folder):
        msg = f"{folder}: is an experiment, whose figures are in {folder / 'figures'}"
        raise ReportError(f"--figures: {msg}")
    run = read_run(folder)
    with undamaged(folder):
        return draw_all(run, target)


def is_experiment(folder: Path) -> bool:
    """Whether a folder is that of an experiment."""
    return (folder / "experiment.yaml").is_file()


def _run_page(folder: Path, base: Path | None) -> Page:
    """Compose the page of a run."""
    from simulation.reporting.base_case import own_base, read_base, sibling_base  # noqa: PLC0415
    from simulation.reporting.run_data import read_run  # noqa: PLC0415
    from simulation.reporting.run_page import run_page  # noqa: PLC0415
    from simulation.reporting.stored_tables import undamaged  # noqa: PLC0415

    run = read_run(folder)
    with undamaged(folder):
        place = base or own_base(folder) or sibling_base(folder)
        return run_page(run, None if place is None else read_base(place, run))


def _experiment_page(folder: Path, base: Path | None) -> Page:
    """Compose the page of an experiment."""
    from simulation.reporting.experiment_data import read_experiment  # noqa: PLC0415
    from simulation.reporting.experiment_page import experiment_page  # noqa: PLC0415
    from simulation.reporting.stored_tables import ReportError, undamaged  # noqa: PLC0415

    if base is not None:
        raise ReportError(f"--base {base}: {folder} is an experiment, which has its own base cases")
    with undamaged(folder):
        return experiment_page(read_experiment(folder))


if __name__ == "__main__":
    sys.exit(main())
