"""Violations of a run as its report shows them: what was promised, and what was delivered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from simulation.reporting.blocks import NONE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from simulation.reporting.run_data import RunData

TOGETHER = "together"
MARGINAL = (
    "Monte Carlo draws the errors of the next days, whatever the situation: it tests the promise "
    "on the average of situations, not given the one at hand, and what really came is among its "
    "draws."
)


def delivered_rates(run: RunData) -> pd.DataFrame:
    """Delivered violation rates as the summary tells them.

    Returns
    -------
    DataFrame
        One row for the networks together and one each: ``network``, ``scope`` (``binding`` or
        ``all`` network-steps), ``source`` (``replay``, or ``Monte Carlo``), ``rate``, ``low``,
        ``high`` (by days) [%] and ``counts``, in words. Without steps there is no rate.
    """
    rows = []
    for source, tallies in (
        ("replay", run.summary["delivered_violation"]),
        ("Monte Carlo", run.summary.get("out_of_sample") or {}),
    ):
        for scope in ("binding", "all"):
            for network, tally in tallies.get(scope, {}).items():
                ends = [tally.get("rate"), *shown_interval(tally)]
                rate, low, high = (np.nan if end is None else 100 * float(end) for end in ends)
                rows.append(
                    {
                        "network": network,
                        "scope": scope,
                        "source": source,
                        "rate": rate,
                        "low": low,
                        "high": high,
                        "counts": _counts(tally),
                    }
                )
    columns = ["network", "scope", "source", "rate", "low", "high", "counts"]
    return pd.DataFrame(rows, columns=columns)


def shown_interval(tally: dict[str, Any]) -> tuple[Any, Any]:
    """Ends of the interval to show of a rate: that by days, where the run tells it."""
    return (
        tally.get("ci_days_low", tally.get("ci_low")),
        tally.get("ci_days_high", tally.get("ci_high")),
    )


def judged(intervals: Iterable[tuple[float, float]], promised: float) -> str:
    """Judge a promise by all intervals of a rate: kept or broken only where every one says so."""
    low, high = zip(*intervals, strict=True)
    if max(high) <= promised:
        return "kept"
    return "broken" if min(low) > promised else "consistent"


def verdict_of(row: pd.Series) -> str:
    """Judge the promise of one treatment by the intervals of its binding network-steps.

    Parameters
    ----------
    row : Series
        A row of what :func:`simulation.analysis.tabulate` returns.
    """
    name, promised = "violation_binding_rate", float(row.get("market.risk_level", np.nan))
    if np.isnan(promised) or f"{name}_low" not in row:
        return NONE
    ends = [(f"{name}{kind}_low", f"{name}{kind}_high") for kind in ("", "_days")]
    intervals = [(float(row[low]), float(row[high])) for low, high in ends if low in row]
    known = [interval for interval in intervals if not np.isnan(interval).any()]
    return judged(known, promised) if known else "not tested"


def _counts(tally: dict[str, Any]) -> str:
    if "scenarios" in tally:
        return f"{tally['scenarios']:,} scenarios in {tally['network_steps']:,} network-steps"
    return f"{tally['events']:,} of {tally['steps']:,}"


def certificates(run: RunData) -> pd.DataFrame:
    """Certificates of binding network-steps, and whether the step was violated in AC.

    Returns
    -------
    DataFrame
        ``time``, ``network``, ``certificate`` [%], ``violated``.
    """
    c = run.tables["clearing"]
    bound = c[c.binding.astype(bool)].astype({"network": str})
    hit = run.tables["violations"][["step", "network"]].astype({"network": str}).drop_duplicates()
    joined = bound.merge(hit.assign(violated=True), on=["step", "network"], how="left")
    return pd.DataFrame(
        {
            "time": joined.time,
            "network": joined.network,
            "certificate": 100 * joined.certified_violation_probability,
            "violated": joined.violated.notna(),
        }
    )


def causes(run: RunData) -> pd.DataFrame:
    """Number of single violations by cause (rows) and kind (columns)."""
    found = run.tables["violations"]
    return pd.crosstab(found.cause.astype(str), found.kind.astype(str))
