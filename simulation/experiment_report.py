"""The table of an experiment for people: Markdown, and plain text for the terminal."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from simulation.daily_rates import interval_of
from simulation.rationality import TOLERANCE_EUR
from simulation.stored_value import VALUES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

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
COST_NOTES = """\
- The cost *at tariff* (total operational cost) is what the community pays at the supplier's prices.
  The *resource* cost is what is used up: upstream energy at the wholesale price, losses included,
  fuel, wear and discomfort; levies, taxes, margins, fees and payments between actors are left
  out. Trading can lower the one and raise the other.
- Money is that of a run, mean over the replicates; brackets hold 95 % intervals. *Adjusted* costs
  credit what the batteries hold more at the end of a run than at its start, both costs at the one
  value of stored energy: midway between the supplier's selling and buying price over the run, times
  the efficiency of discharging.
"""
NOTES = f"""\
{COST_NOTES}\
- Reductions and premiums are computed from adjusted costs: differences on common random numbers
  over the reference's cost, both summed over the replicates, with Student's interval. Replicates
  with the same start share the weather and are one in all these intervals, which hold given the
  seeds that starts share.
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
{COST_NOTES}\
- What is *saved* is the reference's adjusted cost less the treatment's. The *smallest gain* is that
  of any peer in any replicate. `table.csv` has the intervals and many more key figures.
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
{COST_NOTES}\
- What is *saved* is the reference's adjusted cost less the treatment's; `table.csv` has intervals.
- The *price* is what buyers pay for the energy traded between peers; network fees come on top.
{VIOLATION_NOTES}"""
COSTS = {
    "cost_eur": "cost at tariff [EUR]",
    "adjusted_cost_eur": "adjusted cost at tariff [EUR]",
    "adjusted_resource_cost_eur": "adjusted resource cost [EUR]",
}
"""Costs that are shown, and how they are called."""
STORED_NOTE = """\
The same figures if a kWh left in a battery replaces *nothing*, or energy at the price named, times
the efficiency of discharging; *mid* is what counts above. A sign that changes along a line is that
of the stored energy, not of the treatment.
"""
STRATEGIC: Columns = {
    "adjusted cost at tariff [EUR]": ("adjusted_cost_eur", 1.0, ",.0f"),
    "adjusted resource cost [EUR]": ("adjusted_resource_cost_eur", 1.0, ",.0f"),
    "saved at tariff [EUR]": ("{}_saved_at_tariff_eur", 1.0, ",.2f"),
    "resources saved [EUR]": ("{}_saved_resources_eur", 1.0, ",.2f"),
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
    "saved at tariff [EUR]": ("saved_at_tariff_eur", 1.0, ",.2f"),
    "resources saved [EUR]": ("saved_resources_eur", 1.0, ",.2f"),
    "not worse off [%]": ("ir_share", 100.0, ".1f"),
    "consumers who lose [%]": ("losing_consumer_share", 100.0, ".1f"),
    "prosumers who lose [%]": ("losing_prosumer_share", 100.0, ".1f"),
    "smallest gain [EUR]": ("worst_eur", 1.0, ",.2f"),
    "who gains least": ("worst_peer", 1.0, ""),
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
    heads = ["treatment", "replicates", *COSTS.values()]
    heads += [_words(name) for name in _changes(compared)]
    heads += ["violation, all steps", "binding steps", "worst network, binding steps"]
    heads += ["Monte Carlo, binding steps [%]"] if CHECKED in table else []
    heads += ["uncertified", "fallbacks", "s per day"]
    page = _page(title, heads, [_row(row, compared) for _, row in table.iterrows()], NOTES)
    changes = {_words(name): f"{name}_percent" for name in _changes(compared)}
    return page + stored_values(table, changes)


def _page(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]], notes: str) -> str:
    """Write a table with its heading and notes; all columns but the first are numbers."""
    lines = [f"# {title}", "", line(heads), line(["---"] + ["---:"] * (len(heads) - 1))]
    return "\n".join([*lines, *map(line, rows), "", notes])


def stored_values(table: pd.DataFrame, shown: Mapping[str, str]) -> str:
    """Write how savings hang on the value of stored energy; nothing where that is not told.

    Parameters
    ----------
    table : DataFrame
        What :func:`simulation.analysis.tabulate` returns.
    shown : mapping of str to str
        Head of a saving: its column.
    """
    told = {head: key for head, key in shown.items() if f"{key}:stored_at_{VALUES[0]}" in table}
    if not told:
        return ""
    lines = ["## By the value of stored energy", "", STORED_NOTE]
    lines += [line(["treatment", "of", *VALUES]), line(["---"] * 2 + ["---:"] * len(VALUES))]
    for _, row in table.iterrows():
        for head, key in told.items():
            cells = [_cell(row[f"{key}:stored_at_{value}"], 1.0, ",.2f") for value in VALUES]
            if set(cells) != {"–"}:
                lines.append(line([_name(row), head, *cells]))
    return "\n" + "\n".join([*lines, ""])


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
    columns: Columns = {
        "adjusted cost at tariff [EUR]": ("adjusted_cost_eur", 1.0, ",.0f"),
        "adjusted resource cost [EUR]": ("adjusted_resource_cost_eur", 1.0, ",.0f"),
    }
    for name in _changes(compared):
        columns[_words(name)] = (f"{name}_percent", 1.0, ".2f")
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


def _saved(columns: Columns) -> dict[str, str]:
    """Savings among the columns, by head."""
    return {head: key for head, (key, *_) in columns.items() if "_saved_" in key}


def _changes(compared: Sequence[Comparison]) -> list[str]:
    """Changes of either cost that are shown, by the beginning of their columns."""
    return [f"{comparison.name}{cost}" for comparison in compared for cost in ("", "_in_resources")]


def _words(name: str) -> str:
    """Head of a change of costs."""
    return f"{name.replace('_', ' ')} [%]"


def _cells(row: pd.Series, columns: Columns) -> list[str]:
    """Cells of one treatment in these columns."""
    return [_cell(row.get(key, np.nan), scale, form) for key, scale, form in columns.values()]


def _cell(value: Any, scale: float, form: str) -> str:
    """Show a number, a word or a gap."""
    if isinstance(value, str):
        return value
    return "–" if pd.isna(value) else f"{scale * value:z{form}}"


def _market_markdown(table: pd.DataFrame, columns: Columns, title: str) -> str:
    """Write the table of a market study for people."""
    rows = [
        [str(row.treatment), _finished(row), *_cells(row, columns)] for _, row in table.iterrows()
    ]
    page = _page(title, ["treatment", "replicates", *columns], rows, MARKET_NOTES)
    return page + stored_values(table, _saved(columns))


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
    page = _page(title, ["strategic peers", "replicates", *columns], rows, STRATEGIC_NOTES)
    return page + stored_values(table, _saved(columns))


def _finished(row: pd.Series) -> str:
    """Show how many replicates are finished."""
    return f"{row.finished} of {row.runs}"


def _row(row: pd.Series, compared: Sequence[Comparison]) -> list[str]:
    """Cells of one treatment."""
    cells = [str(row.treatment), _finished(row)]
    if not row.finished:
        return [*cells, *["–"] * (6 + len(COSTS) + len(_changes(compared)) + (CHECKED in row))]
    cells += [_interval(row, name, ",.0f") for name in COSTS]
    cells += [_interval(row, f"{name}_percent", ".2f") for name in _changes(compared)]
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
