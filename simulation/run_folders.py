"""The folders of the runs of a sweep: begun aside, moved to their place when whole."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

ATTEMPTS = 3
"""How often a run is begun before it counts as one that its process does not survive."""


def status(folder: Path) -> str:
    """Return the status of a run.

    ``finished``, ``failed``, ``interrupted``, ``running`` (or ended by force), or ``not started``.
    """
    if (folder / "error.txt").exists():
        return "failed"
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        if manifest["status"] == "finished" and read_summary(folder) is None:
            return "running"
        return str(manifest["status"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "running" if folder.exists() else "not started"


def read_summary(folder: Path) -> dict[str, Any] | None:
    """Read the summary of a run, if there is one."""
    try:
        content = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def begun(folder: Path) -> Path:
    """Folder of the runs under way; beside that of the finished ones, so that moving is cheap."""
    return folder.with_name("begun")


def attempts(folder: Path, token: str) -> list[Path]:
    """Attempts at a run that have not ended, or ended with their process."""
    return list(begun(folder.parent).glob(f"{folder.name}.{token}.*"))


def begin(folder: Path, token: str) -> Path | None:
    """Name the folder of the next attempt at a run; none after too many."""
    for number in range(1, ATTEMPTS + 1):
        attempt = begun(folder.parent) / f"{folder.name}.{token}.{number}"
        try:
            attempt.mkdir(parents=True)
        except FileExistsError:
            continue
        return attempt / folder.name
    return None


def publish(aside: Path, folder: Path) -> None:
    """Move a run to its place, unless another process was first."""
    if not (aside / "error.txt").exists() and status(aside) != "finished":
        return  # interrupted
    if status(folder) != "finished":
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside.rename(folder)
    shutil.rmtree(aside.parent, ignore_errors=True)
