"""Pictures of strategic peers: who gains by them, what they do to the grid, what they learn."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from simulation.daily_rates import interval_of
from simulation.figure_parts import bars, rate_axis, with_legend
from simulation.palette import BLACK, BLUE, GREY, ORANGE, RED
from simulation.strategic_peers import MARKUP

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from simulation.analysis import Comparison

SHARE = "share of strategic peers [%]"
Series = tuple[str, str, str, str]
"""Column of the table, label, colour, marker."""
LINES = ("-", "--", ":", "-.")


def strategic_gains(table: pd.DataFrame, _: Sequence[Comparison]) -> Figure | None:
    """Gains, resources saved and price over the share of strategic peers, a column a strategy."""
    found = [re.fullmatch("(gains_over_.+)_strategic_eur", str(column)) for column in table]
    names = [match[1] for match in found if match]
    studied = _studied(table)
    if not names or not studied:
        return None
    name, price = names[0], "market_mean_price_paid_eur_per_kwh"
    saved = f"{name}_saved_resources_eur"
    rows = (
        (
            "mean gain\n[EUR per peer and run]",
            (
                (f"{name}_strategic_eur", "strategic peers", ORANGE, "s"),
                (f"{name}_others_eur", "other peers", BLUE, "o"),
            ),
        ),
        ("resources saved\n[EUR per run]", ((saved, "all", BLACK, "D"),)),
        ("mean price paid\n[EUR/kWh]", ((price, "all", BLACK, "D"),)),
    )
    # Nobody gains where nobody has changed; nor is anybody strategic there.
    same = {f"{name}_others_eur": 0.0, saved: 0.0}
    studied = {
        key: runs.where(runs.strategic_share > 0, runs.fillna(same))
        for key, runs in studied.items()
    }
    # Some strategies move far more than others.
    figure, axes = _panels(studied, len(rows), sharey=False)
    for line, (label, series) in zip(axes, rows, strict=True):
        line[0].set_ylabel(label)
        for ax, runs in zip(line, studied.values(), strict=True):
            for entry in series:
                _curve(ax, runs, entry)
            if entry[0] != price:
                ax.axhline(0, color=BLACK, linewidth=0.8)
    return with_legend(figure, axes[0, 0])


def strategic_violation(table: pd.DataFrame, _: Sequence[Comparison]) -> Figure | None:
    """Delivered violation rates over the share of strategic peers, a panel a strategy."""
    series = [
        ("violation_all_rate", "all network-steps", GREY, "o"),
        ("violation_binding_rate", "binding network-steps", BLUE, "s"),
        ("out_of_sample_binding_rate", "Monte Carlo, binding network-steps", RED, "^"),
    ]
    studied = _studied(table)
    if not studied:
        return None
    figure, axes = _panels(studied, 1, sharey=True)
    for ax, runs in zip(axes[0], studied.values(), strict=True):
        ax.plot(
            100 * runs.strategic_share,
            100 * runs["market.risk_level"],
            color=BLACK,
            linestyle="--",
            label="promised",
        )
        for place, entry in enumerate(series):
            if entry[0] in runs:
                _curve(ax, runs, entry, scale=100, shift=2 * (place - 1))
    columns = [column for column, *_ in series]
    ends = columns + [interval_of(column, table.columns)[1] for column in columns]
    top = 100 * float(table.filter(items=ends).max().max())
    for ax in axes[0]:
        ax.set_ylim(0, max(1.05 * top, 1.0))
        rate_axis(ax, "y")
    axes[0, 0].set_ylabel("violated in AC [%]")
    return with_legend(figure, axes[0, 0])


def learning(table: pd.DataFrame, _: Sequence[Comparison]) -> Figure | None:
    """Mean mark-up that peers choose, day by day: a colour a strategy, a line a share.

    A mark-up that is the same on all days is not drawn.
    """
    columns = [str(column) for column in table if str(column).startswith(MARKUP)]
    learns = table[columns].nunique(axis=1) > 1
    studied = {
        name: runs[learns[runs.index]]
        for name, runs in _studied(table).items()
        if learns[runs.index].any()
    }
    if not studied:
        return None
    figure = Figure(figsize=(5.2, 3.4), layout="constrained")
    ax = figure.subplots()
    days = [int(column.removeprefix(MARKUP)) for column in columns]
    for (name, runs), colour, marker in zip(
        studied.items(), (RED, BLUE, ORANGE, GREY), "osD^", strict=False
    ):
        for run, style in zip(runs.to_dict("records"), LINES, strict=False):
            ax.plot(
                days,
                [100 * run[column] for column in columns],
                style,
                color=colour,
                marker=marker,
                label=f"{name.replace('_', ' ')}, {run['strategic_share']:.0%} of the peers",
            )
    ax.set_ylim(0, 110 * float(table[columns].max().max()))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("day")
    ax.set_ylabel("mean chosen mark-up [%]")
    ax.set_xlim(0.5, len(days) + 0.5)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside right center", frameon=False)
    return figure


def _studied(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Treatments of every strategy by share, that in which nobody is strategic among them."""
    if "strategic_share" not in table:
        return {}
    nobody = table[table.strategic_share == 0]
    return {
        str(strategy): pd.concat([nobody, runs]).sort_values("strategic_share")
        for strategy, runs in table[table.strategic_share > 0].groupby("strategy", sort=False)
    }


def _panels(
    studied: dict[str, pd.DataFrame], n_rows: int, *, sharey: bool
) -> tuple[Figure, NDArray[Any]]:
    """Panels, a column a strategy, over the share of strategic peers."""
    n = len(studied)
    figure = Figure(figsize=(1.2 + 2.3 * n, 1.0 + 1.9 * n_rows), layout="constrained")
    axes = figure.subplots(n_rows, n, sharex=True, sharey=sharey, squeeze=False)
    for ax, name in zip(axes[0], studied, strict=True):
        ax.set_title(name.replace("_", " "))
        ax.set_xticks(range(0, 101, 25))
    figure.supxlabel(SHARE, fontsize=9)
    return figure, axes


def _curve(
    ax: Axes, runs: pd.DataFrame, series: Series, scale: float = 1.0, shift: float = 0.0
) -> None:
    """One quantity over the share of strategic peers, with its intervals where it has any.

    A shift keeps markers and intervals of different quantities apart.
    """
    column, label, colour, marker = series
    ax.errorbar(
        100 * runs.strategic_share + shift,
        scale * runs[column],
        yerr=bars(runs, column, scale) if f"{column}_low" in runs else None,
        color=colour,
        marker=marker,
        elinewidth=0.8,
        label=label,
    )
