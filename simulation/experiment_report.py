"""The table of an experiment for people: Markdown, and plain text for the terminal."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from simulation.daily_rates import interval_of
from simulation.gains import TOLERANCE_EUR

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from simulation.analysis import Comparison

    Columns = dict[str, tuple[str, float, str]]
    """Heading: column of the table, scale, form."""

CHECKED = "out_of_sample_binding_rate"
VIOLATION_NOTES = """\
- Violations are AC violations per network and step, pooled over the replicates, with 95 % intervals
  by days: a bootstrap that resamples calendar days, each with the steps of all replicates on it,
  given their seeds. `table.csv` has those of Clopper and Pearson, too, which take steps as
  independent. *Binding* are the steps in which a grid limit binds in the clearing.
- *Monte Carlo*, where asked for, repeats cleared steps with forecast errors that their clearing
  did not know; Student's interval over the starts. It tests the promise on the average of
  situations, not given the one at hand, and what really came is among its draws.
"""
NOTES = f"""\
- Costs are total operational costs per run, means over the replicates; brackets hold 95 %
  intervals. *Adjusted* costs credit what the batteries hold more at the end of a run than at its
  start, at the mean of the supplier's selling and buying price over the run; reductions and
  premiums are computed from them: differences on common random numbers over the reference's cost,
  both summed over the replicates, with Student's interval. Replicates with the same start share the
  weather and are one in all these intervals, which hold given the seeds that starts share.
{VIOLATION_NOTES}\
- The *worst network* is the one with the highest rate in its binding steps, picked after the fact.
- *Uncertified* are network-steps in which the method does not keep what it promises: that of joint
  methods is the certificate, that of the others the margin of every single limit. *Fallbacks* are
  clearings in which a solver failed.
- *Perfect foresight* is a benchmark, no bound: it takes the forecast errors away, but the window
  still ends, and a run without errors can come out dearer.
- Time is that of one process, per simulated day.
"""
MARKET_NOTES = f"""\
- Money is that of a run, mean over the replicates, but for the *smallest gain*, that of any peer in
  any replicate. `table.csv` has the intervals and many more key figures of the market.
- *Adjusted* costs credit what the batteries hold more at the end of a run than at its start, at the
  mean of the supplier's selling and buying price over the run; welfare and gains do, too.
- *Welfare* is minus the cost of all resources, the supplier's energy among them. What peers,
  operators and DSO pay each other is no part of it: network fees are a cost of trading, but their
  receiver gains what the payers lose.
- What a peer *gains* is what it is left with more than in the reference, on the same draws. The
  design is individually rational for those who are *not worse off*: they lose no more than
  {TOLERANCE_EUR} EUR in a run.
- *Gini* index (0: all gain the same) and *Jain* index (1: all gain the same) of the gains, losses
  among them; without a positive mean there is no Gini index. *Prosumers* own generation or
  storage, *consumers* none.
- *DSO*: what the DSO is left with, by source. The *price* is what buyers pay for the energy traded
  between peers; network fees come on top.
- Violations are AC violations per network and step, pooled over the replicates.
"""
STRATEGIC_NOTES = f"""\
- *Strategic* peers are the share that uses the strategy, the *others* bid truthfully. What they
  *gain* is what they are left with more than when everybody is truthful, on the same draws: means
  per peer and run, but for the *smallest gain*, that of any peer in any replicate. The strategic
  peers of a smaller share are among those of a larger one.
- Money is that of a run, mean over the replicates; `table.csv` has the intervals. Costs, welfare
  and gains credit what the batteries hold more at the end of a run than at its start. *Welfare* is
  minus the cost of all resources; payments between peers, operators and DSO are no part of it.
- The *price* is what buyers pay for the energy traded between peers; network fees come on top.
{VIOLATION_NOTES}"""
STRATEGIC: Columns = {
    "adjusted cost [EUR]": ("adjusted_cost_eur", 1.0, ",.0f"),
    "welfare change [EUR]": ("{}_welfare_eur", 1.0, ",.2f"),
    "price [EUR/kWh]": ("market_mean_price_paid_eur_per_kwh", 1.0, ".4f"),
    "gain per strategic peer [EUR]": ("{}_strategic_eur", 1.0, ",.2f"),
    "gain per other peer [EUR]": ("{}_others_eur", 1.0, ",.2f"),
    "smallest gain [EUR]": ("{}_worst_eur", 1.0, ",.2f"),
}
"""What is shown of strategic peers, by comparison of gains."""
RATES: Columns = {
    "violated, all steps [%]": ("violation_all_rate", 100.0, ".2f"),
    "binding steps [%]": ("violation_binding_rate", 100.0, ".1f"),
    "Monte Carlo, all steps [%]": ("out_of_sample_all_rate", 100.0, ".2f"),
    "Monte Carlo, binding steps [%]": (CHECKED, 100.0, ".1f"),
}
"""Rates that are shown of strategic peers, with intervals."""
GAINS: Columns = {
    "welfare change [EUR]": ("welfare_eur", 1.0, ",.2f"),
    "not worse off [%]": ("ir_share", 100.0, ".1f"),
    "smallest gain [EUR]": ("worst_eur", 1.0, ",.2f"),
    "Gini of gains": ("gini", 1.0, ".2f"),
    "Jain of gains": ("jain", 1.0, ".2f"),
    "gain per consumer [EUR]": ("mean_consumer_eur", 1.0, ",.2f"),
    "gain per prosumer [EUR]": ("mean_prosumer_eur", 1.0, ",.2f"),
}
"""What is shown of every comparison of gains."""
DESIGN: Columns = {
    "DSO, congestion [EUR]": ("market_dso_surplus_eur:congestion", 1.0, ",.2f"),
    "DSO, loss [EUR]": ("market_dso_surplus_eur:loss", 1.0, ",.2f"),
    "DSO, risk [EUR]": ("market_dso_surplus_eur:risk", 1.0, ",.2f"),
    "network fees [EUR]": ("market_network_fees_eur", 1.0, ",.2f"),
    "price [EUR/kWh]": ("market_mean_price_paid_eur_per_kwh", 1.0, ".4f"),
}
"""What is shown of the market itself."""


def markdown(
    table: pd.DataFrame,
    compared: Sequence[Comparison],
    title: str,
    gained: Collection[str] = (),
) -> str:
    """Write the table for people.

    Parameters
    ----------
    table : DataFrame
        What :func:`simulation.analysis.tabulate` returns.
    compared : sequence of Comparison
        Differences of costs to show.
    title : str
        Heading.
    gained : collection of str
        Comparisons of gains; with any, the market is shown, without intervals.
    """
    if gained and "strategic_share" in table:
        return _strategic_markdown(table, _strategic_columns(table, gained), title)
    if gained:
        return _market_markdown(table, _columns(compared, gained), title)
    heads = ["treatment", "replicates", "cost [EUR]", "adjusted cost [EUR]"]
    heads += [f"{comparison.name.replace('_', ' ')} [%]" for comparison in compared]
    heads += ["violation, all steps", "binding steps", "worst network, binding steps"]
    heads += ["Monte Carlo, binding steps [%]"] if CHECKED in table else []
    heads += ["uncertified", "fallbacks", "s per day"]
    return _page(title, heads, [_row(row, compared) for _, row in table.iterrows()], NOTES)


def _page(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]], notes: str) -> str:
    """Write a table with its heading and notes; all columns but the first are numbers."""
    lines = [f"# {title}", "", line(heads), line(["---"] + ["---:"] * (len(heads) - 1))]
    return "\n".join([*lines, *map(line, rows), "", notes])


def as_text(
    table: pd.DataFrame, compared: Sequence[Comparison], gained: Collection[str] = ()
) -> str:
    """Write the main columns for the terminal.

    Parameters
    ----------
    table, compared :
        As in :func:`markdown`.
    gained : collection of str
        Comparisons of gains; with any, the market is shown.
    """
    strategic = gained and "strategic_share" in table
    columns = _strategic_columns(table, gained) if strategic else _columns(compared, gained)
    lines = [f"{number:>4}  {head}" for number, head in enumerate(columns, start=1)]
    rows = [["", *map(str, range(1, len(columns) + 1))]]
    rows += [[_name(row), *_cells(row, columns)] for _, row in table.iterrows()]
    name_width, *widths = (max(map(len, cells)) for cells in zip(*rows, strict=True))
    for name, *cells in rows:
        shown = (f"{cell:>{width + 2}}" for cell, width in zip(cells, widths, strict=True))
        lines.append(f"{name:<{name_width}}" + "".join(shown))
    return "\n".join(lines) + "\n"


def _columns(compared: Sequence[Comparison], gained: Collection[str]) -> Columns:
    """Choose the main columns."""
    columns: Columns = {"adjusted cost [EUR]": ("adjusted_cost_eur", 1.0, ",.0f")}
    for comparison in compared:
        head = f"{comparison.name.replace('_', ' ')} [%]"
        columns[head] = (f"{comparison.name}_percent", 1.0, ".2f")
    for name in gained:
        # Several references have to be told apart.
        words = f", {name.replace('_', ' ')}" if len(gained) > 1 else ""
        for head, (key, scale, form) in GAINS.items():
            columns[f"{head}{words}"] = (f"{name}_{key}", scale, form)
    if gained:
        columns |= DESIGN
    columns["violated, all steps [%]"] = ("violation_all_rate", 100.0, ".2f")
    if not gained:
        columns["violated, binding steps [%]"] = ("violation_binding_rate", 100.0, ".2f")
        columns["s per day"] = ("seconds_per_day", 1.0, ".1f")
    return columns


def _strategic_columns(table: pd.DataFrame, gained: Collection[str]) -> Columns:
    """Choose the columns of a study of strategic peers."""
    columns: Columns = {}
    for name in gained:
        words = f", {name.replace('_', ' ')}" if len(gained) > 1 else ""
        for head, (key, scale, form) in STRATEGIC.items():
            of_gains = "{}" in key
            columns[f"{head}{words * of_gains}"] = (key.format(name), scale, form)
    return columns | {head: entry for head, entry in RATES.items() if entry[0] in table}


def _name(row: pd.Series) -> str:
    """Name a treatment; by its strategic peers, where it is known to have such."""
    strategy, share = row.get("strategy"), row.get("strategic_share", np.nan)
    if pd.isna(share):
        return str(row.treatment)
    return f"{strategy}, {share:.0%}" if share else str(strategy)


def _cells(row: pd.Series, columns: Columns) -> list[str]:
    """Cells of one treatment in these columns."""
    return [
        "–" if pd.isna(row.get(key, np.nan)) else f"{scale * row[key]:z{form}}"
        for key, scale, form in columns.values()
    ]


def _market_markdown(table: pd.DataFrame, columns: Columns, title: str) -> str:
    """Write the table of a market study for people."""
    rows = [
        [str(row.treatment), _finished(row), *_cells(row, columns)] for _, row in table.iterrows()
    ]
    return _page(title, ["treatment", "replicates", *columns], rows, MARKET_NOTES)


def _strategic_markdown(table: pd.DataFrame, columns: Columns, title: str) -> str:
    """Write the table of a study of strategic peers for people."""
    rows = []
    for _, row in table.iterrows():
        cells = dict(zip(columns, _cells(row, columns), strict=True))
        for head in (head for head in RATES if head in cells and cells[head] != "–"):
            key, _, form = RATES[head]
            cells[head] = _interval(100 * row.filter(like=key).astype(float), key, form)
            events = row.get(f"{key.removesuffix('_rate')}_events")
            if events is not None:
                steps = row[f"{key.removesuffix('_rate')}_steps"]
                cells[head] += f" ({events:.0f}/{steps:.0f})"
        rows.append([_name(row), _finished(row), *cells.values()])
    return _page(title, ["strategic peers", "replicates", *columns], rows, STRATEGIC_NOTES)


def _finished(row: pd.Series) -> str:
    """Show how many replicates are finished."""
    return f"{row.finished} of {row.runs}"


def _row(row: pd.Series, compared: Sequence[Comparison]) -> list[str]:
    """Cells of one treatment."""
    cells = [str(row.treatment), _finished(row)]
    if not row.finished:
        return [*cells, *["–"] * (8 + len(compared) + (CHECKED in row))]
    cells += [_interval(row, f"{name}_eur", ",.0f") for name in ("cost", "adjusted_cost")]
    cells += [_interval(row, f"{comparison.name}_percent", ".2f") for comparison in compared]
    cells += [_rate(row, scope) for scope in ("all", "binding", "worst")]
    if CHECKED in row:
        cells.append(_interval(100 * row.filter(like=CHECKED), CHECKED, ".1f"))
    cells += [f"{row.uncertified_clearings:.0f}", f"{row.fallback_clearings:.0f}"]
    return [*cells, f"{row.seconds_per_day:.1f}"]


def _interval(row: pd.Series, name: str, form: str) -> str:
    """Show a mean with its interval."""
    mean, low, high = (row.get(column, np.nan) for column in (name, *interval_of(name, row.index)))
    if pd.isna(mean):
        return "–"
    # z: a difference that rounds to zero has no direction.
    shown = [f"{value:z{form}}" for value in (mean, low, high)]
    return shown[0] if pd.isna(low) else f"{shown[0]} [{shown[1]}, {shown[2]}]"


def _rate(row: pd.Series, scope: str) -> str:
    """Show a violation rate with interval and counts."""
    name = f"violation_{scope}"
    if not row[f"{name}_steps"]:
        return "no steps"
    network = f"{row.violation_worst_network}: " if scope == "worst" else ""
    ends = interval_of(f"{name}_rate", row.index)
    rate, low, high = (100 * row[column] for column in (f"{name}_rate", *ends))
    counts = f"{row[f'{name}_events']:.0f}/{row[f'{name}_steps']:.0f}"
    return f"{network}{rate:.1f} % [{low:.1f}, {high:.1f}] ({counts})"


def line(cells: Sequence[str]) -> str:
    """Join the cells of a row; what is a name or a word there stays one in a page."""
    words = (" ".join(escape(cell, quote=False).split()).replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(words)} |"
