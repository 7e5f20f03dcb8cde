"""Pictures of an experiment, as PNG and SVG."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from simulation.daily_rates import interval_of
from simulation.figure_parts import (
    STYLE,
    bars,
    categories_of,
    dots,
    panels,
    rate_axis,
    with_legend,
)
from simulation.palette import BLACK, BLUE, GREEN, GREY, ORANGE, PINK, RED, SKY
from simulation.stored_value import ADJUSTED
from simulation.strategic_figures import learning, strategic_gains, strategic_violation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import pandas as pd

    from simulation.analysis import Comparison

METHOD = {
    "deterministic": (BLACK, "X"),
    "gaussian": (ORANGE, "s"),
    "moment": (PINK, "D"),
    "empirical": (GREEN, "^"),
    "wasserstein_cvar": (SKY, "v"),
    "wasserstein": (BLUE, "P"),
    "wasserstein_joint": (RED, "o"),
    "hypercube": (GREY, "h"),
    "robust": (BLACK, "*"),
}


def draw(
    names: Sequence[str], table: pd.DataFrame, compared: Sequence[Comparison], folder: Path
) -> list[Path]:
    """Draw pictures of an experiment.

    Parameters
    ----------
    names : sequence of str
        Which ones: keys of :data:`FIGURES`.
    table : DataFrame
        What :func:`simulation.analysis.tabulate` returns.
    compared : sequence of Comparison
        Differences of costs in it.
    folder : Path
        Where ``<name>.png`` and ``<name>.svg`` go.

    Returns
    -------
    list of Path
        The files. A picture without any data is left out.
    """
    paths = []
    table = table[table.finished > 0]
    for name in names:
        with mpl.rc_context(STYLE):
            figure = FIGURES[name](table, compared) if len(table) else None
            if figure is None:
                continue
            folder.mkdir(parents=True, exist_ok=True)
            for path in (folder / f"{name}.png", folder / f"{name}.svg"):
                date = {"Date": None} if path.suffix == ".svg" else {}
                figure.savefig(path, dpi=200, bbox_inches="tight", metadata=date)
                paths.append(path)
    return paths


def cost(table: pd.DataFrame, compared: Sequence[Comparison]) -> Figure | None:
    """Costs of every treatment, and their reduction against each base case.

    The costs themselves are drawn without interval: what weather and season change from replicate
    to replicate would hide what the treatments change.
    """
    reductions = _changes(table, compared, sign=-1)
    costs = {name: words for name, words in ADJUSTED.items() if name in table}
    figure, axes = panels(table, len(costs) + len(reductions))
    for ax, (name, words) in zip(axes, costs.items(), strict=False):
        dots(ax, table, name, intervals=False)
        ax.set_xlabel(f"mean {words} [EUR per run]")
    for ax, name in zip(axes[len(costs) :], reductions, strict=True):
        dots(ax, table, f"{name}_percent")
        ax.axvline(0, color=BLACK, linewidth=0.8)
        ax.set_xlabel(f"{name.replace('_', ' ')} [%]")
    return with_legend(figure, axes[0])


def premium(table: pd.DataFrame, compared: Sequence[Comparison]) -> Figure | None:
    """Additional cost of every treatment over each reference."""
    premiums = _changes(table, compared, sign=1)
    if not premiums:
        return None
    categories = np.array(categories_of(table))
    has = table[[f"{name}_percent" for name in premiums]].notna().any(axis=1)
    table = table[np.isin(categories, categories[has])]
    labels = {f"{name}_percent": f"{name.replace('_', ' ')} [%]" for name in premiums}
    return _round_zero(table, labels)


def violation(table: pd.DataFrame, _: Sequence[Comparison]) -> Figure | None:
    """Violation rates delivered in AC against the promise."""
    titles = {
        "violation_all_rate": "all network-steps",
        "violation_binding_rate": "binding network-steps",
        "violation_worst_rate": "binding steps of the worst network",
        "out_of_sample_binding_rate": "Monte Carlo, binding network-steps",
    }
    titles = {column: title for column, title in titles.items() if column in table}
    figure, axes = panels(table, len(titles))
    promised = dict(zip(categories_of(table), 100 * table["market.risk_level"], strict=True))
    y = np.arange(len(promised))
    for ax, (column, title) in zip(axes, titles.items(), strict=True):
        dots(ax, table, column, scale=100)
        ax.vlines(
            list(promised.values()), y - 0.45, y + 0.45, BLACK, linestyles="--", label="promised"
        )
        rate_axis(ax, "x")
        ax.set_title(title)
    figure.supxlabel("violated in AC [%]", fontsize=9)
    return with_legend(figure, axes[0])


def reliability(table: pd.DataFrame, _: Sequence[Comparison]) -> Figure | None:
    """Delivered against promised violation rate, a panel a method."""
    held = _sweeps(table, "market.risk_level")
    if not held:
        return None
    series = [
        ("violation_all_rate", "all network-steps", GREY, 0.97),
        ("violation_binding_rate", "binding network-steps", BLUE, 1.0),
        ("out_of_sample_binding_rate", "Monte Carlo, binding network-steps", RED, 1.03),
    ]
    series = [entry for entry in series if entry[0] in table]
    n_columns = min(4, len(held))
    n_rows = -(-len(held) // n_columns)
    figure = Figure(figsize=(1.0 + 2.3 * n_columns, 0.8 + 2.3 * n_rows), layout="constrained")
    axes = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False)
    top = 100 * float(np.nanmax(table[interval_of("violation_binding_rate", table.columns)[1]]))
    largest = 100 * float(table["market.risk_level"].max())
    for ax, (method, runs) in zip(axes.flat, held, strict=False):
        ax.plot([0, 100], [0, 100], color=BLACK, linewidth=0.8, linestyle="--", label="promised")
        for name, text, colour, shift in series:
            x = 100 * runs["market.risk_level"].to_numpy() * shift
            rate = 100 * runs[name].to_numpy()
            ax.errorbar(
                x,
                rate,
                yerr=bars(runs, name, 100),
                color=colour,
                marker="o",
                linewidth=0.8,
                elinewidth=0.8,
                label=text,
            )
        ax.set_title(method)
        ax.set_xlim(0, 1.15 * largest)
        ax.set_ylim(0, max(1.15 * largest, top))
        rate_axis(ax, "x", [100 * level for level in sorted(set(table["market.risk_level"]))])
        rate_axis(ax, "y")
    for k, ax in enumerate(axes.flat):
        ax.set_visible(k < len(held))
        ax.xaxis.set_tick_params(labelbottom=k + n_columns >= len(held))
    figure.supxlabel("promised violation probability per network and step [%]", fontsize=9)
    figure.supylabel("violated in AC [%]", fontsize=9)
    return with_legend(figure, axes.flat[0])


def frontier(table: pd.DataFrame, compared: Sequence[Comparison]) -> Figure | None:
    """Cost against delivered violation rate: every method over its level and its radius.

    The rate is that over all network-steps: which steps bind depends on the method, their number
    is common to all. That of the Monte Carlo checks is taken where there are any, since it has far
    more scenarios.
    """
    checked = "out_of_sample_all_rate" in table
    rate = "out_of_sample_all_rate" if checked else "violation_all_rate"
    premiums = [c.name for c in compared if c.sign > 0 and f"{c.name}_percent" in table]
    column = f"{premiums[0]}_percent" if premiums else "adjusted_cost_eur"
    if premiums:  # the reference itself is where the premium is zero
        table = table.assign(**{column: table[column].fillna(0.0)})
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    ax = figure.subplots()
    for place, line in (("market.risk_level", "-"), ("market.radius", ":")):
        for method, runs in _sweeps(table, place):
            colour, _ = METHOD.get(method, (GREY, "."))
            ax.plot(100 * runs[rate], runs[column], line, color=colour, linewidth=1)
    for name, runs in table.groupby("market.method", sort=False):
        colour, marker = METHOD.get(str(name), (GREY, "."))
        ax.plot(100 * runs[rate], runs[column], marker, color=colour, label=str(name))
    ax.plot([], [], "-", color=BLACK, label="over the promised level")
    ax.plot([], [], ":", color=BLACK, label="over the radius")
    rate_axis(ax, "x")
    ax.set_xlabel(f"violated in AC, {'Monte Carlo, ' * checked}all network-steps [%]")
    words = premiums[0].replace("_", " ") if premiums else ""
    ax.set_ylabel(f"{words} [%]" if premiums else "cost at tariff [EUR per run]")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside right center", frameon=False)
    return figure


def gains(table: pd.DataFrame, _: Sequence[Comparison]) -> Figure | None:
    """Mean gain of the peers of each kind, over every reference."""
    found = [re.fullmatch("gains_over_(.+)_mean_(.+)_eur", str(column)) for column in table]
    columns = {
        match[0]: f"mean gain of a {match[2]}\nover {match[1].replace('_', ' ')}\n[EUR per run]"
        for match in found
        if match
    }
    if not columns:
        return None
    return _round_zero(table[table[list(columns)].notna().any(axis=1)], columns)


def savings(table: pd.DataFrame, _: Sequence[Comparison]) -> Figure | None:
    """What every treatment saves over every reference, at tariff and in resources."""
    found = [re.fullmatch("gains_over_(.+)_saved_(.+)_eur", str(column)) for column in table]
    columns = {
        match[0]: f"saved {match[2].replace('_', ' ').replace('resources', 'in resources')}\n"
        f"over {match[1].replace('_', ' ')}\n[EUR per run]"
        for match in found
        if match
    }
    if not columns:
        return None
    return _round_zero(table[table[list(columns)].notna().any(axis=1)], columns)


def surplus(table: pd.DataFrame, _: Sequence[Comparison]) -> Figure | None:
    """What is left with the DSO, by source; without intervals, as costs."""
    prefix = "market_dso_surplus_eur:"
    columns = {
        str(column): f"DSO, {str(column).removeprefix(prefix)} [EUR per run]"
        for column in table
        if str(column).startswith(prefix)
    }
    # What is less than a cent is the solver's.
    cents = table.round(dict.fromkeys(columns, 2))
    return _round_zero(cents, columns, intervals=False) if columns else None


FIGURES: dict[str, Callable[[pd.DataFrame, Sequence[Comparison]], Figure | None]] = {
    "cost": cost,
    "premium": premium,
    "violation": violation,
    "reliability": reliability,
    "frontier": frontier,
    "gains": gains,
    "savings": savings,
    "surplus": surplus,
    "strategic_gains": strategic_gains,
    "strategic_violation": strategic_violation,
    "learning": learning,
}
"""Pictures by name."""


def _changes(table: pd.DataFrame, compared: Sequence[Comparison], *, sign: int) -> list[str]:
    """Changes of either cost that the table tells, by the beginning of their columns."""
    names = [c.name for c in compared if c.sign == sign]
    names = [f"{name}{cost}" for name in names for cost in ("", "_in_resources")]
    told = [name for name in names if f"{name}_percent" in table]
    return [name for name in told if table[f"{name}_percent"].notna().any()]


def _round_zero(table: pd.DataFrame, labels: dict[str, str], *, intervals: bool = True) -> Figure:
    """Dots of some columns, a panel each, round a line at zero."""
    figure, axes = panels(table, len(labels))
    for ax, (column, label) in zip(axes, labels.items(), strict=True):
        dots(ax, table, column, intervals=intervals)
        ax.axvline(0, color=BLACK, linewidth=0.8)
        ax.set_xlabel(label)
    return with_legend(figure, axes[0])


def _sweeps(table: pd.DataFrame, place: str) -> list[tuple[str, pd.DataFrame]]:
    """Treatments of one method that differ in one number only, sorted by it."""
    other = "market.radius" if place == "market.risk_level" else "market.risk_level"
    held = ["market.method", "market.coordination", "market.radius_rule", other]
    groups = table.groupby(held, sort=False)
    return [
        (str(method), runs.sort_values(place))
        for (method, *_), runs in groups
        if runs[place].nunique() > 1
    ]
