"""Section of a run's report on what was promised and what was delivered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from market.acceptance import largest_kept
from simulation.reporting.answers import tally_text, verdict
from simulation.reporting.blocks import (
    Picture,
    Prose,
    Section,
    Table,
    count,
    number,
    number_cell,
    text_cell,
)
from simulation.reporting.drawing import iso
from simulation.reporting.risk_figures import certificate_figure, delivered_figure
from simulation.reporting.risk_views import MARGINAL, causes, certificates, delivered_rates

if TYPE_CHECKING:
    from simulation.reporting.run_data import RunData

MOST_VIOLATIONS = 100
"""Rows of the table of single violations."""
_DRAWN_ONE_BY_ONE = 12


def promised_and_delivered(run: RunData) -> Section:
    """Rates, certificates, causes."""
    promised = 100 * run.summary["promised_violation_probability"]
    blocks: list[Picture | Prose | Table] = [_rates(run, promised), _rate_table(run)]
    blocks += _certificates(run, promised)
    blocks += _violations(run)
    return Section("promise", "Promised and delivered", blocks)


def _rates(run: RunData, promised: float) -> Picture:
    rates = delivered_rates(run)
    drawn = list(dict.fromkeys(rates.network))[: _DRAWN_ONE_BY_ONE + 1]
    binding = run.summary["delivered_violation"]["binding"]["together"]
    rest = (
        " Networks beyond the first twelve stand in the table only."
        if rates.network.nunique() > len(drawn)
        else ""
    )
    return Picture(
        "Delivered violation rates",
        delivered_figure(rates[rates.network.isin(drawn)], promised),
        f"In binding network-steps {tally_text(binding)} violated a limit. "
        + verdict(binding, promised / 100),
        "Markers are rates, bars their 95 % intervals by days: bootstraps that resample days, as "
        "violations come in rows. (summary.json also has those of Clopper and Pearson, which take "
        "steps as independent.) A step binds in a network where a grid limit shapes its clearing: "
        "only there the promise is put to the test, and rates over all steps flatter. "
        f"{MARGINAL}{rest}",
    )


def _rate_table(run: RunData) -> Table:
    rows = [
        [
            text_cell(row["network"]),
            text_cell(row["source"]),
            text_cell(row["scope"]),
            number_cell(row["rate"], ".2f"),
            number_cell(row["low"], ".2f"),
            number_cell(row["high"], ".2f"),
            text_cell(row["counts"]),
        ]
        for row in delivered_rates(run).to_dict("records")
    ]
    heads = ["network", "source", "steps", "rate [%]", "interval from [%]", "to [%]", "counts"]
    return Table("Rates and counts", heads, rows)


def _certificates(run: RunData, promised: float) -> list[Picture | Prose]:
    found = certificates(run)
    known = found[found.certificate.notna()]
    if known.empty:
        return [
            Prose(
                "No grid limit was binding, so that there are no certificates to hold against the "
                "promise."
            )
        ]
    above = int((known.certificate > largest_kept(promised)).sum())
    hit = int(known.violated.sum())
    return [
        Picture(
            "Certificates where a grid limit binds",
            certificate_figure(known, promised),
            f"The median of {count(len(known), 'certificate')} is "
            f"{number(known.certificate.median(), '.2f')} %; {above or 'none'} of them "
            f"{'lie' if above > 1 else 'lies'} above the promised {number(promised, '.3g')} %, "
            f"and {hit or 'none'} of these network-steps {'were' if hit > 1 else 'was'} "
            "violated in AC.",
            "A certificate is the worst-case violation probability of a network-step over the "
            "ambiguity set of what its limits see of the errors: what a joint method promises. It "
            "should then lie below the dashed line, and not far below it where limits bind. "
            "Methods of single limits do not promise it. Crosses mark what reality violated.",
        )
    ]


def _violations(run: RunData) -> list[Prose | Table]:
    found = run.tables["violations"]
    if found.empty:
        return [Prose("No limit was violated in the AC replay.")]
    table = causes(run)
    heads = ["cause", *(f"{str(kind).replace('_', ' ')} [number]" for kind in table.columns)]
    rows = [
        [text_cell(cause), *(number_cell(float(n)) for n in row), number_cell(float(row.sum()))]
        for cause, row in zip(table.index, table.to_numpy(), strict=True)
    ]
    excess = [
        f"{str(kind).replace('_', ' ')} by {number(one['mean_pu'], '.2g')} p.u. in the mean and "
        f"{number(one['largest_pu'], '.2g')} p.u. at most"
        for kind, one in (run.summary.get("violation_excess") or {}).items()
    ]
    by_cause = Table(
        "Single violations by cause",
        [*heads, "together [number]"],
        rows,
        "Tail: the linear model violates the limit, too, as it may with the promised probability. "
        "Linearisation: only the AC power flow does. Recourse: devices could not deliver what was "
        "asked. Fallback: the step was not cleared regularly."
        + (f" Limits were exceeded, {'; '.join(excess)}." if excess else ""),
    )
    order = found.excess.sort_values(ascending=False).index
    shown = found.loc[order[:MOST_VIOLATIONS]]
    listed = [
        [
            text_cell(iso(row["time"])),
            *(text_cell(row[name]) for name in ("network", "element")),
            text_cell(str(row["kind"]).replace("_", " ")),
            *(number_cell(row[name], ".4f") for name in ("value", "limit", "excess")),
            text_cell(row["cause"]),
        ]
        for row in shown.to_dict("records")
    ]
    heads = ["time [UTC]", "network", "bus or line", "kind", "value [p.u.]", "limit [p.u.]"]
    note = "Loadings count as shares of the rating."
    if len(found) > len(shown):
        note += f" Only the {len(shown)} worst of {len(found):,}."
    return [by_cause, Table("Violations", [*heads, "excess [p.u.]", "cause"], listed, note)]
