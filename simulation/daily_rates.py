"""Violated network-steps by day, from the tables of runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from simulation.tallies import DayTally

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

SCOPES = ("all", "binding")
"""Over all network-steps, and over those in which a grid limit binds."""
_PLACE = ["step", "network"]
COLUMNS = (
    "run_id",
    "network",
    "day",
    *(f"{n}_{scope}" for scope in SCOPES for n in ("steps", "violated")),
)
"""Counts of the runs of an experiment."""


def daily_counts(clearing: pd.DataFrame, violations: pd.DataFrame) -> pd.DataFrame:
    """Count the violated network-steps of a run by network and day.

    Parameters
    ----------
    clearing, violations : DataFrame
        Tables of the run.

    Returns
    -------
    DataFrame
        ``network``, ``day`` (days since 1970, UTC), and for either of :data:`SCOPES`
        ``steps_<scope>`` and ``violated_<scope>``.
    """
    seen = clearing[[*_PLACE, "time", "binding"]].astype({"network": str, "binding": bool})
    hit = violations[_PLACE].astype({"network": str}).drop_duplicates().assign(violated=True)
    seen = seen.merge(hit, on=_PLACE, how="left")
    violated = seen.violated.notna()
    counted = pd.DataFrame(
        {
            "network": seen.network,
            "day": (pd.DatetimeIndex(seen.time).tz_localize(None) - pd.Timestamp(0)).days,
            "steps_all": 1,
            "violated_all": violated,
            "steps_binding": seen.binding,
            "violated_binding": violated & seen.binding,
        }
    )
    return counted.groupby(["network", "day"], sort=False).sum().astype(int).reset_index()


def counts_of_runs(index: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Count the violated network-steps of the finished runs of an experiment.

    Runs without their tables are left out.

    Parameters
    ----------
    index : DataFrame
        What :func:`simulation.sweep_index.index` returns.
    folder : Path
        Folder of all runs.

    Returns
    -------
    DataFrame
        What :func:`daily_counts` returns of every run, with its ``run_id``.
    """
    parts = []
    for run_id in index.run_id[index.status == "finished"]:
        files = [folder / run_id / f"{name}.parquet" for name in ("clearing", "violations")]
        if all(file.exists() for file in files):
            parts.append(daily_counts(*map(pd.read_parquet, files)).assign(run_id=run_id))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)


def pooled(counts: pd.DataFrame, scope: str) -> dict[str, DayTally]:
    """Add up counts by network; what fell on the same day is one block, whatever the run.

    Parameters
    ----------
    counts : DataFrame
        Rows of what :func:`daily_counts` returns.
    scope : str
        One of :data:`SCOPES`.
    """
    out: dict[str, DayTally] = {}
    columns = ["network", "day", f"violated_{scope}", f"steps_{scope}"]
    for network, day, events, steps in counts[columns].itertuples(index=False):
        tally = out.setdefault(network, DayTally())
        if steps:
            tally.add_day(day, events, steps)
    return out


def interval_of(column: str, columns: Collection[str]) -> tuple[str, str]:
    """Name the ends of the interval to show of a column: that by days where there is one."""
    by_days = f"{column}_days"
    shown = by_days if f"{by_days}_low" in columns else column
    return f"{shown}_low", f"{shown}_high"
