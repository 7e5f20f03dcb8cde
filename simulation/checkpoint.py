"""The state of a run at the end of a day: plain data in one file that is replaced as a whole.

A ZIP archive with ``state.json`` and the arrays, ``<number>.npy``, that it refers to. Reading it
runs nothing.
"""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from simulation.atomic import replacing
from simulation.plain import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NAME = "checkpoint.zip"
"""File in the folder of a run."""
FORMAT = 1
"""Grows with every change of what the state of a run consists of."""
_STATE = "state.json"


class CheckpointError(ValueError):
    """A run that cannot be resumed; the message says why."""


def write_checkpoint(folder: Path, origin: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Write a checkpoint in the place of the last one.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    origin : mapping
        What the run starts from, as JSON data: see :attr:`simulation.manifest.Manifest.origin`.
    state : mapping
        What :func:`simulation.plain.pack` takes.

    Raises
    ------
    OSError
        If it cannot be written; the last one is still there then.
    """
    arrays: list[np.ndarray[Any, Any]] = []
    content = {"format": FORMAT, "origin": dict(origin), "state": pack(dict(state), arrays)}
    with replacing(folder / NAME) as path, zipfile.ZipFile(path, "w") as archive:
        archive.writestr(_STATE, json.dumps(content))
        for place, array in enumerate(arrays):
            with archive.open(f"{place}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def read_checkpoint(folder: Path, origin: Mapping[str, Any]) -> dict[str, Any] | None:
    """Read the checkpoint of a run; None if its first day has not ended.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    origin : mapping
        What the run at hand starts from.

    Raises
    ------
    CheckpointError
        If it is damaged, of another version, or of a run that starts from something else.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            content = json.loads(archive.read(_STATE))
            if content["format"] != FORMAT:
                raise CheckpointError(
                    f"{path}: was written by another version of this program (format "
                    f"{content['format']}, not {FORMAT})"
                )
            require_same_origin(path, content["origin"], origin)
            arrays = [_array(archive, place) for place in range(len(archive.namelist()) - 1)]
            state: dict[str, Any] = unpack(content["state"], arrays)
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from error
    # What a damaged file, or one of another version, gives rise to.
    except (zipfile.BadZipFile, ImportError, LookupError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: is damaged, or was written by another version of this program ({error})"
        ) from error
    return state


def require_same_origin(path: Path, recorded: Any, origin: Mapping[str, Any]) -> None:
    """Refuse to go on with a run from other settings or data than it started from.

    Raises
    ------
    CheckpointError
        If ``recorded``, which stands in the file ``path``, differs from ``origin``.
    """
    if not isinstance(recorded, dict):
        raise CheckpointError(f"{path}: does not say what the run started from")
    if recorded.get("config_sha256") != origin["config_sha256"]:
        raise CheckpointError(
            f"{path}: the settings in config.yaml are not those that the run started with"
        )
    then, now = recorded.get("data_sha256", {}), origin["data_sha256"]
    differing = sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name))
    if differing:
        raise CheckpointError(
            f"{path}: the data have changed since the run started: {', '.join(differing)}"
        )


def _array(archive: zipfile.ZipFile, place: int) -> np.ndarray[Any, Any]:
    with archive.open(f"{place}.npy") as member:
        array: np.ndarray[Any, Any] = np.lib.format.read_array(member, allow_pickle=False)
    return array
