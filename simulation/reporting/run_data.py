"""What a report is made of: the folder of a run, read and checked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from simulation.manifest import CONFIG
from simulation.manifest import NAME as MANIFEST
from simulation.reporting.partial_summary import summary_of_tables
from simulation.reporting.stored_tables import ReportError, read_tables

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

_NEEDED_OF_SUMMARY = (
    "total_operational_cost_eur",
    "costs_by_component_eur",
    "energy_traded_within_kwh",
    "energy_traded_across_kwh",
    "promised_violation_probability",
    "delivered_violation",
    "uncertified_clearings",
    "n_steps",
)


@dataclass(frozen=True, eq=False)
class RunData:
    """One run.

    Attributes
    ----------
    folder : Path
        Where it lies.
    manifest, config, summary : dict
        Its manifest, its resolved configuration and its key figures; those of a run that is not
        finished are computed from the tables.
    config_text : str
        The configuration as it stands in the folder.
    status : str
        ``finished``, ``interrupted``, ``failed`` or ``running``.
    failure : str
        The error that ended the run, if one is recorded; else empty.
    tables : dict of str to DataFrame
        See :func:`simulation.reporting.stored_tables.read_tables`.
    """

    folder: Path
    manifest: dict[str, Any]
    config: dict[str, Any]
    config_text: str
    summary: dict[str, Any]
    status: str
    failure: str
    tables: dict[str, pd.DataFrame]

    @property
    def name(self) -> str:
        """Name of the scenario."""
        return str(self.config.get("name", self.folder.name))

    @property
    def is_whole(self) -> bool:
        """Whether the run is finished."""
        return self.status == "finished"

    @property
    def networks(self) -> list[str]:
        """Names of the networks, in order."""
        return [str(name) for name in self.tables["buses"].network.unique()]

    @property
    def step_hours(self) -> float:
        """Length of a step. [h]"""
        return float(self.config["step_minutes"]) / 60

    @property
    def n_steps_planned(self) -> int:
        """Steps of the whole run."""
        return round(float(self.config["days"]) * 24 / self.step_hours)

    def of(self, table: str, network: str) -> pd.DataFrame:
        """Rows of a table that belong to one network."""
        rows = self.tables[table]
        return rows[rows.network == network]


@dataclass(frozen=True)
class Head:
    """What a run tells of itself, without its tables; see :class:`RunData`."""

    manifest: dict[str, Any]
    config: dict[str, Any]
    config_text: str
    status: str
    failure: str
    summary: dict[str, Any]
    """Empty unless the run is finished."""


def read_head(folder: Path) -> Head:
    """Read all of a run but its tables.

    Raises
    ------
    ReportError
        If there is no run in the folder, or its files are damaged.
    OSError
        If a file cannot be read.
    """
    if not folder.is_dir():
        raise ReportError(f"{folder}: is no folder")
    failure = _last_line(folder / "error.txt")
    if not (folder / MANIFEST).is_file():
        more = f"; it failed before it began: {failure}" if failure else ""
        raise ReportError(f"{folder}: holds no run (no {MANIFEST}){more}")
    manifest = _json(folder / MANIFEST)
    status = "failed" if failure else str(manifest.get("status", "of unknown status"))
    config, text = _config(folder / CONFIG)
    summary = {}
    if status == "finished":
        summary = _json(folder / "summary.json")
        missing = [key for key in _NEEDED_OF_SUMMARY if key not in summary]
        if missing:
            raise ReportError(f"{folder / 'summary.json'}: has no {', '.join(missing)}")
    return Head(manifest, config, text, status, failure, summary)


def read_run(folder: Path) -> RunData:
    """Read a run, finished or not.

    Raises
    ------
    ReportError
        If there is no run in the folder, nothing of it can be read, or it is damaged.
    OSError
        If a file cannot be read.
    """
    head = read_head(folder)
    whole = head.status == "finished"
    tables = read_tables(folder, whole=whole)
    if tables["clearing"].empty or tables["buses"].empty:
        why = "the tables are empty" if whole else f"it is {head.status}, and no step was written"
        raise ReportError(f"{folder}: there is nothing to report of this run: {why}")
    return RunData(
        folder,
        head.manifest,
        head.config,
        head.config_text,
        head.summary if whole else summary_of_tables(tables, head.config),
        head.status,
        head.failure,
        tables,
    )


def _json(path: Path) -> dict[str, Any]:
    """Read a JSON object."""
    if not path.is_file():
        raise ReportError(f"{path}: is missing, although the run is finished")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # of JSON or of UTF-8
        raise ReportError(f"{path}: is damaged ({error})") from error
    if not isinstance(content, dict):
        raise ReportError(f"{path}: holds no JSON object")
    return content


def _config(path: Path) -> tuple[dict[str, Any], str]:
    """Read the configuration, as data and as text."""
    if not path.is_file():
        raise ReportError(f"{path}: is missing")
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        raise ReportError(f"{path}: is damaged ({error})") from error
    numbers = ("step_minutes", "days")
    if not isinstance(content, dict) or not isinstance(content.get("market"), dict):
        raise ReportError(f"{path}: is no configuration of a run")
    for key in numbers:
        if not isinstance(content.get(key), int | float) or not content[key] > 0:
            raise ReportError(f"{path}: {key} is {content.get(key)!r}, not a positive number")
    return content, text


def _last_line(path: Path) -> str:
    """Last line of a traceback: the error itself."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1]
    except (OSError, IndexError):
        return ""
