"""Input files, opened only when they are ordinary files of a bearable size."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class InputFileError(ValueError):
    """A file that cannot be read; the message names it and says what is wrong."""


class NoFileError(InputFileError):
    """There is no ordinary file of this name."""


def check_file(path: Path, largest: int) -> None:
    """Demand an ordinary file that is not too large.

    Devices and pipes are refused: reading one may never end.

    Parameters
    ----------
    path : Path
        The file.
    largest : int
        Largest size allowed. [B]

    Raises
    ------
    NoFileError
        If there is no such file, or it is no ordinary one.
    InputFileError
        If it is too large.
    """
    try:
        found = path.stat()
    except FileNotFoundError as error:
        raise NoFileError(f"{path}: no such file") from error
    except OSError as error:
        raise NoFileError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:  # a path with a null character
        raise NoFileError(f"{str(path)!r}: cannot be the name of a file") from error
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "no ordinary file"
        raise NoFileError(f"{path}: is {kind}; needed is a file")
    if found.st_size > largest:
        msg = f"{path}: has {found.st_size:,} bytes; allowed are at most {largest:,}"
        raise InputFileError(msg)


def read_text(path: Path, largest: int) -> str:
    """Read a text file.

    Parameters
    ----------
    path : Path
        The file, UTF-8, with or without a byte order mark.
    largest : int
        Largest size allowed. [B]

    Raises
    ------
    InputFileError
        If it is missing, too large, not readable or not UTF-8.
    """
    check_file(path, largest)
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputFileError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        msg = f"{path}: not a UTF-8 text file (byte {error.start + 1})"
        raise InputFileError(msg) from error
