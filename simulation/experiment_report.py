"""The table of an experiment for people: Markdown, and plain text for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulation.analysis import Comparison

CHECKED = "out_of_sample_binding_rate"
NOTES = """\
- Costs are total operational costs per run, means over the replicates; brackets hold 95 %
  intervals. *Adjusted* costs credit what the batteries hold more at the end of a run than at its
  start, at the mean of the supplier's selling and buying price over the run; reductions and
  premiums are computed from them: differences on common random numbers over the reference's cost,
  both summed over the replicates, with Student's interval.
- Violations are AC violations per network and step, pooled over the replicates, with exact (Clopper
  and Pearson) intervals; they take steps as independent, and are too narrow as far as violations
  come in rows. *Binding* are the steps in which a grid limit binds in the clearing; *worst network*
  is the one with the highest rate in its binding steps, picked after the fact.
- *Monte Carlo*, where asked for, repeats cleared steps with forecast errors that their clearing
  did not know; Student's interval over the replicates.
- *Uncertified* are network-steps whose worst-case violation probability exceeds the promise; only
  the Wasserstein methods try to keep it. *Fallbacks* are clearings that did not settle.
- Time is that of one process, per simulated day.
"""


def markdown(table: pd.DataFrame, compared: Sequence[Comparison], title: str) -> str:
    """Write the table for people.

    Parameters
    ----------
    table : DataFrame
        What :func:`simulation.analysis.tabulate` returns.
    compared : sequence of Comparison
        Differences of costs to show.
    title : str
        Heading.
    """
    heads = ["treatment", "replicates", "cost [EUR]", "adjusted cost [EUR]"]
    heads += [f"{comparison.name.replace('_', ' ')} [%]" for comparison in compared]
    heads += ["violation, all steps", "binding steps", "worst network, binding steps"]
    heads += ["Monte Carlo, binding steps [%]"] if CHECKED in table else []
    heads += ["uncertified", "fallbacks", "s per day"]
    rows = [_row(row, compared) for _, row in table.iterrows()]
    lines = [f"# {title}", "", _line(heads), _line(["---"] + ["---:"] * (len(heads) - 1))]
    return "\n".join([*lines, *map(_line, rows), "", NOTES])


def as_text(table: pd.DataFrame, compared: Sequence[Comparison]) -> str:
    """Write the main columns for the terminal; arguments as in :func:`markdown`."""
    columns = {"adjusted cost [EUR]": ("adjusted_cost_eur", 1.0, ",.0f")}
    for comparison in compared:
        head = f"{comparison.name.replace('_', ' ')} [%]"
        columns[head] = (f"{comparison.name}_percent", 1.0, ".2f")
    for scope in ("all", "binding"):
        columns[f"violated, {scope} steps [%]"] = (f"violation_{scope}_rate", 100.0, ".2f")
    columns["s per day"] = ("seconds_per_day", 1.0, ".1f")
    names = table.treatment.astype(str)
    width = max(map(len, names), default=0)
    lines = [f"{number:>4}  {head}" for number, head in enumerate(columns, start=1)]
    lines.append(" " * width + "".join(f"{n:>10}" for n in range(1, len(columns) + 1)))
    for name, (_, row) in zip(names, table.iterrows(), strict=True):
        cells = (
            "–" if pd.isna(row.get(key, np.nan)) else f"{scale * row[key]:z{form}}"
            for key, scale, form in columns.values()
        )
        lines.append(f"{name:<{width}}" + "".join(f"{cell:>10}" for cell in cells))
    return "\n".join(lines) + "\n"


def _row(row: pd.Series, compared: Sequence[Comparison]) -> list[str]:
    """Cells of one treatment."""
    cells = [str(row.treatment), f"{row.finished} of {row.runs}"]
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
    mean, low, high = (row.get(f"{name}{end}", np.nan) for end in ("", "_low", "_high"))
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
    rate, low, high = (100 * row[f"{name}_rate{end}"] for end in ("", "_low", "_high"))
    counts = f"{row[f'{name}_events']:.0f}/{row[f'{name}_steps']:.0f}"
    return f"{network}{rate:.1f} % [{low:.1f}, {high:.1f}] ({counts})"


def _line(cells: Sequence[str]) -> str:
    """Join the cells of a row."""
    return f"| {' | '.join(cells)} |"
