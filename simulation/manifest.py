"""Where the results of a run come from: command, versions, seed, data, status."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from configs.loading import dump
from simulation.atomic import write_json, write_text
from simulation.checkpoint import CheckpointError, require_same_origin

if TYPE_CHECKING:
    from configs.schema import ScenarioConfig
    from simulation.base_case import BaseScenario
    from simulation.setup import World

PACKAGES = (
    "mesa",
    "numpy",
    "scipy",
    "cvxpy",
    "clarabel",
    "scs",
    "pandapower",
    "power-grid-model",
    "numba",
    "pandas",
    "pyarrow",
    "pydantic",
)
WRAPPED = (
    "history before the first row of the profiles is read from their end: the forecasts and error "
    "samples of the run's first weeks use the last weeks of the data year"
)


NAME = "manifest.json"
CONFIG = "config.yaml"
"""Files in the folder of a run."""
BASE = "base"
"""Folder of its base case, which is a run like any other."""


class Manifest:
    """``manifest.json`` and ``config.yaml`` of a run.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    config : ScenarioConfig
        The scenario.
    world : World
        What the run starts from.
    base : BaseScenario, optional
        The base case that is begun beside the run.

    Attributes
    ----------
    origin : dict
        Checksums of settings and data: a run is resumed with the same ones only.
    """

    def __init__(
        self, folder: Path, config: ScenarioConfig, world: World, base: BaseScenario | None = None
    ) -> None:
        self.folder = folder
        self._base = base
        self._config = dump(config)
        self.origin: dict[str, Any] = {
            "config_sha256": hashlib.sha256(self._config.encode()).hexdigest(),
            "data_sha256": _checksums(config, world),
        }
        history_days = config.forecast.sample_days + config.forecast.climatology_days + 2
        wraps = world.first_row < history_days * config.steps_per_day
        self._fixed: dict[str, Any] = {
            "scenario": config.name,
            "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
            "seed": config.seed,
            "started": _now(),
            "python": platform.python_version(),
            "versions": {package: metadata.version(package) for package in PACKAGES},
            "git_commit": _git_commit(),
            **self.origin,
            "prices": world.tariff.source,
            "profiles": str(config.profiles.file or "SimBench extract, ODbL 1.0"),
            "notes": [WRAPPED] if wraps else [],
        }
        if base is not None:
            self._fixed["base"] = {"folder": BASE, "overrides": list(base.overrides)}

    def begin(self) -> None:
        """Write the settings, then the manifest of a run that has just been started.

        Those of its base case come first: a run that has begun never lacks them.
        """
        if self._base is not None:
            (self.folder / BASE).mkdir(exist_ok=True)
            write_text(self.folder / BASE / CONFIG, dump(self._base.config))
        write_text(self.folder / CONFIG, self._config)
        self.write("running")

    def resume(self) -> None:
        """Take up the manifest of the run as it was started, if that got so far.

        Raises
        ------
        CheckpointError
            If that run started from something else, or is finished.
        """
        path = self.folder / NAME
        found = read_manifest(self.folder)
        if found is None:
            return
        if found.get("status") == "finished":
            raise CheckpointError(f"{self.folder}: is finished already")
        if "config_sha256" not in found:
            msg = f"{path}: is of a version of this program whose runs cannot be resumed"
            raise CheckpointError(msg)
        require_same_origin(path, found, self.origin)
        again = {key: self._fixed[key] for key in ("started", "versions", "git_commit")}
        self._fixed = {**found, "resumed": [*found.get("resumed", []), again]}

    def write(self, status: str) -> None:
        """Write the manifest.

        Parameters
        ----------
        status : str
            ``running``, ``finished``, ``interrupted`` or ``failed``.
        """
        write_json(self.folder / NAME, {**self._fixed, "status": status, "written": _now()})


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Read the manifest of a run; None if there is none, or none that can be read."""
    try:
        content = json.loads((folder / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _now() -> str:
    return dt.datetime.now(tz=dt.UTC).isoformat(timespec="seconds")


def _git_commit() -> str | None:
    """Commit of the source tree, if it is one."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _checksums(config: ScenarioConfig, world: World) -> dict[str, str]:
    """Checksums of the data as used, and of the user's files."""
    prices = np.stack([world.tariff.retail, world.tariff.feed_in, world.tariff.loss])
    out = {
        "profiles": hashlib.sha256(world.profiles.values.tobytes()).hexdigest(),
        "prices": hashlib.sha256(prices.tobytes()).hexdigest(),
        "peers": hashlib.sha256(repr(world.peers).encode()).hexdigest(),
    }
    for network in world.networks:
        digest = hashlib.sha256()
        for array in (network.bus, network.r_ohm, network.x_ohm, network.load_kw):
            digest.update(array.tobytes())
        out[f"network:{network.name}"] = digest.hexdigest()
    files = [config.prices.file, config.profiles.file, config.forecast.file]
    files += [config.strategy_state]
    files += [network.peer_table for network in config.networks]
    for path in files:
        if path is not None:
            out[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return out
