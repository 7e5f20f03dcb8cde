"""Sections of an experiment's page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from simulation.daily_rates import interval_of
from simulation.reporting.blocks import (
    NONE,
    Code,
    Picture,
    Prose,
    Section,
    Table,
    number,
    number_cell,
    text_cell,
)
from simulation.reporting.experiment_figures import (
    GAINS,
    RATES,
    SAVINGS,
    by_coordination,
    change_figure,
    frontier_figure,
    gain_figure,
    rate_figure,
    saving_figure,
)
from simulation.reporting.picks import largest, smallest
from simulation.reporting.risk_views import MARGINAL, verdict_of
from simulation.stored_value import ADJUSTED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulation.reporting.experiment_data import ExperimentData

MOST_RUNS = 1_000
"""Rows of the table of runs."""
_INTERVALS = (
    "Dots are means over the replicates, bars Student's 95 % intervals, in which replicates with "
    "the same start are one; without bars there is one start only."
)
_COSTS = (
    "Adjusted costs credit what the batteries hold more at the end of a run than at its start, "
    "midway between the supplier's selling and buying price, times the efficiency of discharging."
)
_TWO_COSTS = (
    "At tariff counts what is paid at the supplier's prices; resources are upstream energy at the "
    "wholesale price, fuel, wear and discomfort, without levies, taxes, margins and fees."
)


def costs(data: ExperimentData) -> Section:
    """Costs and what they are compared with."""
    blocks: list[Picture | Prose] = []
    table = data.table
    paired = " The paired differences below have them." if data.changes() else ""
    for column, words in ADJUSTED.items():
        if column not in table or not table[column].notna().any():
            continue
        best, worst = smallest(table, column), largest(table, column)
        blocks.append(
            Picture(
                words.capitalize(),
                by_coordination(
                    table, column, f"mean {words} [EUR per run]", "EUR", intervals=False
                ),
                f"The cheapest treatment is {best.treatment} ({number(best[column])} EUR per run), "
                f"the dearest {worst.treatment} ({number(worst[column])} EUR).",
                f"{_TWO_COSTS} {_COSTS} Without intervals: what weather and season change from "
                f"replicate to replicate would hide what the treatments change.{paired}",
            )
        )
    for words, column in data.changes().items():
        if not table[column].notna().any():
            continue
        top = largest(table, column)
        blocks.append(
            Picture(
                words.capitalize(),
                change_figure(table, column, words),
                f"It is largest for {top.treatment}: {number(top[column], '.1f')} %, 95 % interval "
                f"{number(top[f'{column}_low'], '.1f')} to "
                f"{number(top[f'{column}_high'], '.1f')} %.",
                "Differences of adjusted costs on common random numbers over the reference's "
                f"cost. {_INTERVALS}",
            )
        )
    return Section("costs", "Costs", blocks)


def promise(data: ExperimentData) -> Section:
    """Violation rates."""
    table = data.table
    if not any(name in table and table[name].notna().any() for name in RATES):
        return Section("promise", "Promised and delivered", [])
    name = "violation_binding_rate"
    seen = "No network-step was binding."
    if name in table and table[name].notna().any():
        worst = largest(table, name)
        seen = (
            f"The highest rate in binding network-steps is that of {worst.treatment}: "
            f"{number(100 * worst[name], '.1f')} % ({_counts(worst, 'binding')})."
        )
    picture = Picture(
        "Delivered violation rates",
        rate_figure(table),
        seen,
        "Rates are pooled over the replicates. Bars are 95 % intervals: of the AC replay those of "
        "a bootstrap that resamples calendar days (Clopper and Pearson's stand in table.csv), of "
        "the Monte Carlo checks Student's over the starts. Upright strokes are the promises. "
        "Binding are the network-steps where a grid limit shapes the clearing; rates over all "
        f"steps flatter. {MARGINAL}",
    )
    return Section("promise", "Promised and delivered", [picture, _rate_table(table)])


def _counts(row: pd.Series, scope: str) -> str:
    events, steps = (row.get(f"violation_{scope}_{what}") for what in ("events", "steps"))
    return f"{number(events)} of {number(steps)}"


def _rate_table(table: pd.DataFrame) -> Table:
    """Rates with their counts and the verdict."""
    rows = []
    for _, row in table.iterrows():
        cells = [text_cell(row.treatment), _percent_cell(row.get("market.risk_level"))]
        for scope in ("binding", "all"):
            name = f"violation_{scope}_rate"
            cells += [_percent_cell(row.get(at)) for at in (name, *interval_of(name, row.index))]
            cells.append(text_cell(_counts(row, scope)))
        cells.append(_percent_cell(row.get("out_of_sample_binding_rate")))
        cells.append(text_cell(verdict_of(row)))
        rows.append(cells)
    heads = ["treatment", "promised [%]"]
    for scope in ("binding", "all"):
        heads += [f"{scope} [%]", "from [%]", "to [%]", "counts"]
    note = (
        "Verdict on the binding network-steps: kept or broken where both 95 % intervals, by days "
        "and by steps, lie below or above the promise, else consistent; not tested where nothing "
        "binds."
    )
    return Table("Rates and counts", [*heads, "Monte Carlo, binding [%]", "verdict"], rows, note)


def _percent_cell(share: Any) -> Any:
    return number_cell(None if share is None or pd.isna(share) else 100 * float(share), ".2f")


def frontier(data: ExperimentData) -> Section:
    """Cost against violation."""
    table = data.table
    rates = ("out_of_sample_all_rate", "violation_all_rate")
    rate = next((name for name in rates if name in table and table[name].notna().any()), None)
    if rate is None or "adjusted_cost_eur" not in table or len(table) < 3:
        return Section("frontier", "Cost against violation", [])
    known = table[table[rate].notna()]
    picture = Picture(
        "Cost against violation",
        frontier_figure(
            known, rate, "adjusted_cost_eur", "mean adjusted cost at tariff [EUR per run]"
        ),
        _frontier_seen(known, rate),
        "Every marker is a treatment: squares trade with the supplier alone, triangles within "
        "networks, circles across them. Rates over all network-steps, since which steps bind "
        "depends on the treatment. Cheap and safe is at the lower left.",
    )
    return Section("frontier", "Cost against violation", [picture])


def _frontier_seen(table: pd.DataFrame, rate: str) -> str:
    """Count the treatments that no other one beats in both respects."""
    cost = table.adjusted_cost_eur.to_numpy(float)
    share = table[rate].to_numpy(float)
    beaten = [
        bool((((cost <= c) & (share <= s)) & ((cost < c) | (share < s))).any())
        for c, s in zip(cost, share, strict=True)
    ]
    free = [str(name) for name, worse in zip(table.treatment, beaten, strict=True) if not worse]
    shown = "; ".join(free[:3]) + (" and others" if len(free) > 3 else "")
    return (
        f"{len(free)} of {len(table)} treatments are beaten by none that is both cheaper and "
        f"violates less, intervals left aside: {shown}."
    )


def gains(data: ExperimentData) -> Section:
    """Who gains."""
    blocks: list[Picture] = []
    table = data.table
    for comparison, figures in data.gains().items():
        words = comparison.replace("_", " ")
        per_peer = [name for name in figures if name in GAINS]
        if per_peer:
            blocks.append(
                Picture(
                    f"{words.capitalize()}, per peer",
                    gain_figure(table, comparison, per_peer),
                    _gain_seen(table, comparison, per_peer),
                    "What peers are left with more than in the reference, on the same draws, "
                    "stored "
                    "energy credited. " + _INTERVALS,
                )
            )
        saved = [name for name in figures if name in SAVINGS]
        if saved:
            seen = [_saving_seen(table, f"{comparison}_{name}_eur", name) for name in saved]
            blocks.append(
                Picture(
                    f"{words.capitalize()}, savings",
                    saving_figure(table, comparison),
                    " ".join(seen),
                    f"{_TWO_COSTS} {_INTERVALS}",
                )
            )
    return Section("gains", "Who gains", blocks)


def _saving_seen(table: pd.DataFrame, column: str, name: str) -> str:
    best = largest(table, column)
    return (
        f"{SAVINGS[name][0].capitalize()}: most with {best.treatment}, "
        f"{number(best[column], ',.2f')} EUR per run."
    )


def _gain_seen(table: pd.DataFrame, comparison: str, figures: Sequence[str]) -> str:
    name = "worst" if "worst" in figures else figures[0]
    column = f"{comparison}_{name}_eur"
    lowest, highest = smallest(table, column), largest(table, column)
    return (
        f"The {GAINS[name][0]} ranges from {number(lowest[column], ',.2f')} EUR "
        f"({lowest.treatment}) "
        f"to {number(highest[column], ',.2f')} EUR ({highest.treatment})."
    )


def effects(data: ExperimentData) -> Section:
    """Effects of the factors."""
    columns = ("mean_difference", "low", "high", "replicates", "pairs")
    if data.effects.empty or not {*columns, "reference", "figure"} <= set(data.effects):
        return Section("effects", "Effects of the factors", [])
    rows = []
    for row in data.effects.to_dict("records"):
        is_share = row["figure"] == "violation_rate"
        form, scale = (".3f", 100.0) if is_share else (",.2f", 1.0)
        name = "violated network-steps [%]" if is_share else f"{row['figure']}".replace("_", " ")
        rows.append(
            [
                *(text_cell(row[key]) for key in ("factor", "level", "reference")),
                text_cell(name),
                *(
                    number_cell(scale * row[key], form)
                    for key in ("mean_difference", "low", "high")
                ),
                *(number_cell(row[key]) for key in ("replicates", "pairs")),
            ]
        )
    heads = ["factor", "level", "against", "figure [unit in its name]", "mean difference"]
    note = (
        "Differences per run against the first level of the factor, everything else equal; "
        "Student's 95 % intervals over the starts of the replicates."
    )
    heads += ["from", "to", "replicates", "pairs"]
    return Section("effects", "Effects of the factors", [Table("Effects", heads, rows, note)])


def treatments(data: ExperimentData) -> Section:
    """All treatments as a table."""
    forms = {
        "cost_eur": ("cost at tariff [EUR]", ",.0f"),
        "adjusted_cost_eur": ("adjusted [EUR]", ",.0f"),
        "adjusted_cost_eur_low": ("from [EUR]", ",.0f"),
        "adjusted_cost_eur_high": ("to [EUR]", ",.0f"),
        "resource_cost_eur": ("resource cost [EUR]", ",.0f"),
        "adjusted_resource_cost_eur": ("adjusted resource cost [EUR]", ",.0f"),
        "market_mean_price_paid_eur_per_kwh": ("price of trades [EUR/kWh]", ".4f"),
        "uncertified_clearings": ("uncertified network-steps", ",.0f"),
        "fallback_clearings": ("fallbacks", ",.0f"),
        "seconds_per_day": ("time per day [s]", ",.1f"),
    }
    shown = {name: entry for name, entry in forms.items() if name in data.table}
    rows = [
        [
            text_cell(row["treatment"]),
            text_cell(f"{row['finished']} of {row['runs']}"),
            *(number_cell(row[name], form) for name, (_, form) in shown.items()),
        ]
        for row in data.table.to_dict("records")
    ]
    heads = ["treatment", "replicates finished", *(head for head, _ in shown.values())]
    note = (
        "Means per run over the replicates; 95 % intervals of the adjusted cost at tariff. "
        + _COSTS
    )
    table = Table("Treatments", heads, rows, note + " table.csv has all columns.")
    return Section("treatments", "Treatments", [table])


def runs(data: ExperimentData) -> Section:
    """All runs as a table."""
    forms = {
        "cost_eur": ("cost at tariff [EUR]", ",.0f"),
        "resource_cost_eur": ("resource cost [EUR]", ",.0f"),
        "traded_within_kwh": ("traded within [kWh]", ",.0f"),
        "traded_across_kwh": ("traded across [kWh]", ",.0f"),
        "uncertified_clearings": ("uncertified network-steps", ",.0f"),
        "fallback_clearings": ("fallbacks", ",.0f"),
        "total_s": ("time [s]", ",.1f"),
    }
    shown = {name: entry for name, entry in forms.items() if name in data.index}
    listed = data.index.head(MOST_RUNS)
    rows = [
        [
            text_cell(row["run_id"]),
            text_cell(row["treatment"]),
            text_cell(row["replicate"]),
            text_cell(row["status"]),
            *(number_cell(row[name], form) for name, (_, form) in shown.items()),
            text_cell(row.get("error") or NONE),
        ]
        for row in listed.to_dict("records")
    ]
    heads = [
        "run",
        "treatment",
        "replicate",
        "status",
        *(head for head, _ in shown.values()),
        "error",
    ]
    note = "Every run has its own report: python -m simulation.report RUN."
    if len(data.index) > len(listed):
        note += f" Only the first {len(listed):,} of {len(data.index):,}; index.csv has them all."
    return Section("runs", "Runs", [Table("Runs", heads, rows, note)])


def origin(data: ExperimentData) -> Section:
    """The resolved experiment."""
    blocks = [Code("experiment.yaml, the resolved experiment", data.text)]
    return Section("origin", "Configuration", blocks)
