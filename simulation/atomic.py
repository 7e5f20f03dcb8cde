"""Files that are whole or not there: written under another name, then renamed."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UNFINISHED = ".part"
"""Ending of the names of files that are being written."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the name under which a file is to be written; it takes the place of ``path`` when whole.

    The content reaches the disk before the name does, so that not even a power failure leaves a
    file of that name with anything else. If writing fails, what was there stays.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    unfinished = path.with_name(path.name + UNFINISHED)
    try:
        yield unfinished
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise
    _sync_names(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a text file as a whole; an :class:`OSError` leaves what was there."""
    with replacing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file as a whole; an :class:`OSError` leaves what was there."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def _sync_names(folder: Path) -> None:
    """Bring the names in a folder to the disk, where folders can be opened."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
