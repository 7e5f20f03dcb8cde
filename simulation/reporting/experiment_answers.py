"""The answer of an experiment in five figures, and what has to be known before reading them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulation.reporting.blocks import NONE, Answer, count, number
from simulation.reporting.picks import largest, smallest
from simulation.reporting.risk_views import verdict_of

if TYPE_CHECKING:
    import pandas as pd

    from simulation.reporting.experiment_data import ExperimentData


def warnings(data: ExperimentData) -> list[str]:
    """Say what is missing."""
    states = data.index.status.value_counts()
    missing = {str(state): int(n) for state, n in states.items() if state != "finished"}
    if not missing:
        return []
    words = ", ".join(f"{n} {state}" for state, n in missing.items())
    return [
        f"This experiment is not complete: of {len(data.index):,} runs {words}. Means over "
        "different replicates are not comparable as they are."
    ]


def answers(data: ExperimentData) -> list[Answer]:
    """Answer in five figures; each says how it was picked."""
    table = data.table
    states = data.index.status.value_counts()
    return [
        Answer(
            "Runs finished",
            f"{int(states.get('finished', 0)):,} of {len(data.index):,}",
            f"{count(int(states.get('failed', 0)), 'run')} failed",
        ),
        _largest_change(data),
        _traded(data),
        _promises(table),
        Answer(
            "Clearings with a fallback",
            number(_sum(table, "fallback_clearings")),
            f"of {number(_sum(table, 'clearings'))} clearings in all runs; "
            f"{number(_sum(table, 'uncertified_clearings'))} network-steps without their promise",
        ),
    ]


def _largest_change(data: ExperimentData) -> Answer:
    """Largest reduction of costs."""
    for words, column in data.changes().items():
        if words.startswith("reduction"):
            best = largest(data.table, column)
            low, high = best[f"{column}_low"], best[f"{column}_high"]
            return Answer(
                f"Largest {words}",
                f"{number(best[column], '.1f')} %",
                f"of the adjusted cost, by {best.treatment}, picked after the fact; 95 % interval "
                f"{number(low, '.1f')} to {number(high, '.1f')} %",
            )
    if "adjusted_cost_eur" in data.table and data.table.adjusted_cost_eur.notna().any():
        best = smallest(data.table, "adjusted_cost_eur")
        return Answer(
            "Lowest adjusted cost at tariff",
            f"{number(best.adjusted_cost_eur)} EUR",
            f"mean per run, by {best.treatment}, picked after the fact; no base case was named",
        )
    return Answer("Largest reduction", NONE, "no costs in the table")


def _traded(data: ExperimentData) -> Answer:
    """Traded energy by run."""
    columns = ["traded_within_kwh", "traded_across_kwh"]
    if not set(columns) <= set(data.index):
        return Answer("Energy traded between peers", NONE, "not in the index")
    means = data.index.groupby("treatment", sort=False)[columns].mean().sum(axis=1).dropna()
    if means.empty:
        return Answer("Energy traded between peers", NONE, "no finished run")
    return Answer(
        "Energy traded between peers",
        f"{number(means.min())} to {number(means.max())} kWh",
        f"mean per run, least by {means.idxmin()}, most by {means.idxmax()}",
    )


def _promises(table: pd.DataFrame) -> Answer:
    """How many treatments kept what they promised in binding steps."""
    label = "Treatments that kept their promise where it binds"
    if not {"market.risk_level", "violation_binding_rate_low"} <= set(table):
        return Answer(label, NONE, "no rates in the table")
    verdicts = [verdict_of(row) for _, row in table.iterrows()]
    kept, broken, open_ = (verdicts.count(word) for word in ("kept", "broken", "consistent"))
    return Answer(
        label,
        f"{kept} of {kept + broken + open_}",
        f"with both 95 % intervals, by days and by steps, below the promise; {broken} broke it "
        f"(both above), {open_} are consistent with it, but have too few binding steps to tell",
    )


def _sum(table: pd.DataFrame, column: str) -> float | None:
    return float(table[column].sum()) if column in table else None
