"""What the report of an experiment is made of: its folder, read and checked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa

from simulation.reporting.stored_tables import ReportError

if TYPE_CHECKING:
    from pathlib import Path

_NEEDED = {
    "table": ("treatment", "runs", "finished"),
    "index": ("run_id", "treatment", "replicate", "status"),
}


@dataclass(frozen=True, eq=False)
class ExperimentData:
    """One experiment.

    Attributes
    ----------
    folder : Path
        Where it lies.
    text : str
        The resolved experiment as it stands in the folder.
    table, index : DataFrame
        One row a treatment, with at least one finished run, and one row a run: see
        :func:`simulation.analysis.tabulate` and :func:`simulation.sweep_index.index`.
    effects : DataFrame
        See :func:`simulation.effects.effects`; empty where there are none.
    """

    folder: Path
    text: str
    table: pd.DataFrame
    index: pd.DataFrame
    effects: pd.DataFrame

    @property
    def name(self) -> str:
        """Name of the experiment."""
        found = re.search(r"^name: *(.+)$", self.text, re.MULTILINE)
        return found[1].strip() if found else self.folder.resolve().name

    def changes(self) -> dict[str, str]:
        """Comparisons of costs: column of the relative change by its name in words."""
        found = [
            re.fullmatch("((?:reduction_against|premium_over)_.+)_percent", str(column))
            for column in self.table
        ]
        return {match[1].replace("_", " "): match[0] for match in found if match}

    def gains(self) -> dict[str, list[str]]:
        """Comparisons of gains: what is told of each, such as ``mean_consumer``."""
        out: dict[str, list[str]] = {}
        figures = "mean_consumer|mean_prosumer|strategic|others|worst|saved_(?:at_tariff|resources)"
        for column in self.table:
            match = re.fullmatch(f"(gains_over_.+?)_({figures})_eur", str(column))
            if match and self.table[column].notna().any():
                out.setdefault(match[1], []).append(match[2])
        return out


def read_experiment(folder: Path) -> ExperimentData:
    """Read an experiment with its results so far.

    Raises
    ------
    ReportError
        If there are no results, or they are damaged.
    OSError
        If a file cannot be read.
    """
    tables = {name: _table(folder / f"{name}.parquet", needed) for name, needed in _NEEDED.items()}
    path = folder / "effects.parquet"
    effects = _table(path, ("factor", "level")) if path.is_file() else pd.DataFrame()
    path = folder / "experiment.yaml"
    try:
        text = path.read_text(encoding="utf-8")
    except ValueError as error:
        raise ReportError(f"{path}: is damaged ({error})") from error
    table = tables["table"]
    table = table[table.finished > 0].reset_index(drop=True)
    if table.empty:
        states = ", ".join(f"{n} {s}" for s, n in tables["index"].status.value_counts().items())
        raise ReportError(f"{folder}: none of its runs is finished ({states})")
    return ExperimentData(folder, text, table, tables["index"], effects)


def _table(path: Path, needed: tuple[str, ...]) -> pd.DataFrame:
    if not path.is_file():
        raise ReportError(
            f"{path}: is missing; the experiment writes it when it ends or is interrupted"
        )
    try:
        table = pd.read_parquet(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError | PermissionError):
            raise
        raise ReportError(f"{path}: is damaged, or no Parquet file ({error})") from error
    missing = [column for column in needed if column not in table]
    if missing:
        raise ReportError(f"{path}: has no column {', '.join(missing)}")
    return table
