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

from configs.loading import dump

if TYPE_CHECKING:
    from configs.schema import ScenarioConfig
    from simulation.setup import World

PACKAGES = (
    "mesa",
    "numpy",
    "scipy",
    "cvxpy",
    "clarabel",
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
    """

    def __init__(self, folder: Path, config: ScenarioConfig, world: World) -> None:
        self.folder = folder
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
            "data_sha256": _checksums(config, world),
            "prices": world.tariff.source,
            "profiles": str(config.profiles.file or "SimBench extract, ODbL 1.0"),
            "notes": [WRAPPED] if wraps else [],
        }
        (folder / "config.yaml").write_text(dump(config), encoding="utf-8")

    def write(self, status: str) -> None:
        """Write the manifest.

        Parameters
        ----------
        status : str
            ``running``, ``finished``, ``interrupted`` or ``failed``.
        """
        content = {**self._fixed, "status": status, "written": _now()}
        path = self.folder / "manifest.json"
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


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
    out = {"profiles": hashlib.sha256(world.profiles.values.tobytes()).hexdigest()}
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
