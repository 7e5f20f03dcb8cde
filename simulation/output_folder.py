"""Which folder a run is written to: a new one, or that of a run that goes on."""

from __future__ import annotations

import datetime as dt
import shutil
from contextlib import suppress
from pathlib import Path

from simulation import checkpoint, lock
from simulation.atomic import UNFINISHED
from simulation.manifest import BASE, CONFIG
from simulation.recorder import PARTS
from simulation.run_folders import read_summary, status


class FolderError(ValueError):
    """A folder that a run cannot be written to, or resumed in; the message names it."""


def named_after(scenario: str) -> Path:
    """Name a folder under ``results`` after a scenario and the time."""
    return Path("results") / f"{scenario}-{dt.datetime.now(tz=dt.UTC):%Y%m%dT%H%M%S%f}"


def require_new(folder: Path) -> None:
    """Refuse a folder with anything in it, but for what a run killed at its very start leaves.

    Raises
    ------
    FolderError
        If it exists already and is not an empty folder.
    """
    if folder.exists() and (not folder.is_dir() or any(map(_counts, folder.iterdir()))):
        msg = f"--output {folder}: exists already and is not an empty folder"
        raise FolderError(msg)


def is_begun(folder: Path) -> bool:
    """Whether there is a run in a folder."""
    return (folder / CONFIG).is_file()


def is_finished(folder: Path) -> bool:
    """Whether the run in a folder needs no resuming."""
    return status(folder) == "finished"


def base_is_left(folder: Path) -> bool:
    """Whether the summary of a run tells of no finished base case, although it has one."""
    if not (folder / BASE).is_dir():
        return False
    told = (read_summary(folder) or {}).get("base_case")
    return not isinstance(told, dict) or told.get("failure") is not None


def config_of(folder: Path) -> Path:
    """Find the scenario of the run in a folder.

    Raises
    ------
    FolderError
        If no run has been started there.
    """
    if not is_begun(folder):
        msg = f"--resume {folder}: holds no run, or one that ended before its first step"
        raise FolderError(msg)
    return folder / CONFIG


def clear(folder: Path) -> None:
    """Take away what only an unfinished run needs."""
    shutil.rmtree(folder / PARTS, ignore_errors=True)
    with suppress(OSError):  # not every system removes open files
        (folder / checkpoint.NAME).unlink(missing_ok=True)
        (folder / lock.NAME).unlink(missing_ok=True)
        for half_written in folder.glob(f"*{UNFINISHED}"):
            half_written.unlink()


def _counts(path: Path) -> bool:
    if path.name == BASE and path.is_dir():  # a run's own settings come after those of its base
        return any(inner.name != CONFIG and _counts(inner) for inner in path.iterdir())
    return path.name != lock.NAME and path.suffix != UNFINISHED
