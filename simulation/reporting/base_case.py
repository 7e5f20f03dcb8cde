"""What a run is compared with: another one on the same draws, usually without coordination."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from simulation.base_saving import Saving, savings
from simulation.comparison import ComparisonError
from simulation.manifest import BASE
from simulation.rationality import SAME_DRAWS, rationality_of_runs
from simulation.reporting.run_data import RunData, read_head
from simulation.reporting.stored_tables import ReportError
from simulation.run_folders import status

if TYPE_CHECKING:
    from pathlib import Path

    from simulation.rationality import Rationality

_OF_TRADE = ("market.coordination", "market.pricing", "market.matching", "market.network_fee")
"""Settings that are without effect where nobody trades."""


@dataclass(frozen=True)
class BaseCase:
    """A run to compare with.

    Attributes
    ----------
    name : str
        Name of its folder.
    coordination, method : str
        How it was cleared.
    savings : dict of str to Saving
        What the run saves against it, by cost; empty of a run that is not finished.
    worse_off : Rationality, optional
        Which peers of the run are worse off than in it, if it is without coordination.
    """

    name: str
    coordination: str
    method: str
    savings: dict[str, Saving]
    worse_off: Rationality | None


def read_base(folder: Path, run: RunData) -> BaseCase:
    """Read the key figures of a base case.

    Raises
    ------
    ReportError
        If there is no finished run in the folder, or one that cannot be compared.
    """
    head = read_head(folder)
    if head.status != "finished":
        raise ReportError(f"--base {folder}: this run is not finished (it is {head.status})")
    differing = [key for key in SAME_DRAWS if head.config.get(key) != run.config.get(key)]
    if _network_names(head.config) != _network_names(run.config):
        differing.append("networks")
    if differing:
        raise ReportError(
            f"--base {folder}: cannot be compared, it differs in {', '.join(differing)}"
        )
    summary = head.summary
    try:
        saved = savings(run.folder, folder) if run.is_whole else {}
    except ComparisonError as error:
        raise ReportError(str(error)) from error
    worse_off = None
    if summary.get("coordination") == "none" and run.is_whole:
        worse_off = rationality_of_runs(run.folder, run.summary, folder, summary)
    return BaseCase(
        name=folder.resolve().name,
        coordination=str(summary.get("coordination", "unknown")),
        method=str(summary.get("method", "unknown")),
        savings=saved,
        worse_off=worse_off,
    )


def own_base(folder: Path) -> Path | None:
    """Find the base case that was run beside a run; none unless it is finished."""
    return folder / BASE if status(folder / BASE) == "finished" else None


def sibling_base(folder: Path) -> Path | None:
    """Find the run without coordination that belongs to a run of an experiment.

    It is that of the same replicate whose settings are the same but for what has no effect where
    nobody trades. None if the run is of no experiment, has no such sibling, or is one itself.
    """
    place = folder.resolve()
    listing = place.parent.parent / "index.parquet"
    if place.parent.name != "runs" or not listing.is_file():
        return None
    try:
        index = pd.read_parquet(listing)
        own = index[index.run_id == place.name].iloc[0]
        held = [
            str(name)
            for name in index.columns
            if "." in str(name) and ":" not in str(name) and not str(name).startswith(_OF_TRADE)
        ]
        other = index[
            (index.replicate == own.replicate)
            & (index["market.coordination"] == "none")
            & (index.status == "finished")
            & (index.run_id != own.run_id)
        ]
        if own["market.coordination"] == "none":
            return None
        for name in held:
            other = other[(other[name] == own[name]) | (other[name].isna() & pd.isna(own[name]))]
    except (OSError, ValueError, KeyError, IndexError, AttributeError):
        return None  # an index of another kind is no reason to go without the report
    return place.parent / str(other.run_id.iloc[0]) if len(other) == 1 else None


def _network_names(config: dict[str, Any]) -> list[str]:
    return [str(network.get("name")) for network in config.get("networks", [])]
