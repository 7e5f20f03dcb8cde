"""One process at a time writes a run."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "run.lock"
"""File in the folder of a run. The operating system holds the lock: it ends with its process."""


class LockedError(ValueError):
    """A folder that another process writes to; the message names it."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep every other process from writing the run in a folder.

    Raises
    ------
    LockedError
        If one does already.
    OSError
        If the folder cannot be written.
    """
    lock = FileLock(folder / NAME)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise LockedError(f"{folder}: another process is writing this run") from None
    try:
        yield
    finally:
        lock.release()
