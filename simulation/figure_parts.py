"""Parts that the pictures have in common: style, colours, panels, scales.

Colours are those of Okabe and Ito, which people with any common colour vision tell apart; markers
differ as well. Rates stand on a square-root scale: it spreads small rates and has a place for zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from simulation.daily_rates import interval_of
from simulation.palette import BLUE, ORANGE, SKY

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

STYLE: dict[Any, Any] = {
    "text.parse_math": False,  # a treatment's name may hold anything
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "legend.fontsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e5e5e5",
    "grid.linewidth": 0.6,
    "lines.markersize": 5,
    "lines.linewidth": 1.2,
    "svg.fonttype": "none",
    "svg.hashsalt": "drcosim",
}
COORDINATION = {
    "none": ("no coordination", ORANGE, "s"),
    "within_network": ("within networks", SKY, "^"),
    "across_networks": ("across networks", BLUE, "o"),
}
_RATE_TICKS = (0, 0.1, 0.5, 1, 2, 5, 10, 20, 30, 50, 70, 100)
_END = 105.0  # there are no higher rates than 100 %, but their markers have a width
_ROOM = 0.025  # of the axis, below zero
_TICK_DISTANCE = 0.07  # of the axis; closer labels would touch


def panels(table: pd.DataFrame, n: int) -> tuple[Figure, NDArray[Any]]:
    """Panels side by side, with a line for every category."""
    categories = categories_of(table)
    names = list(dict.fromkeys(categories))
    figure = Figure(figsize=(1.6 + 2.9 * n, 1.2 + 0.36 * len(names)), layout="constrained")
    axes = figure.subplots(1, n, sharey=True, squeeze=False)[0]
    axes[0].set_yticks(range(len(names)), names)
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    for ax in axes:
        ax.grid(visible=False, axis="y")
    return figure, axes


def categories_of(table: pd.DataFrame) -> list[str]:
    """Label of every treatment without its coordination, which the colour tells."""
    out = []
    for treatment, coordination in zip(table.treatment, table["market.coordination"], strict=True):
        words = [word for word in str(treatment).split(", ") if word != coordination]
        out.append(", ".join(words) or "scenario")
    return out


def dots(
    ax: Axes, table: pd.DataFrame, column: str, scale: float = 1.0, *, intervals: bool = True
) -> None:
    """Means, with intervals or without, a line a category and a colour a coordination."""
    categories = categories_of(table)
    place = {name: i for i, name in enumerate(dict.fromkeys(categories))}
    for k, (coordination, (name, colour, marker)) in enumerate(COORDINATION.items()):
        rows = (table["market.coordination"] == coordination).to_numpy()
        if not rows.any():
            continue
        chosen = table[rows]
        y = np.array([place[c] for c in categories])[rows] + 0.22 * (k - 1)
        ax.errorbar(
            scale * chosen[column],
            y,
            xerr=bars(chosen, column, scale) if intervals else None,
            color=colour,
            marker=marker,
            linestyle="none",
            elinewidth=1.0,
            label=name,
        )


def bars(table: pd.DataFrame, column: str, scale: float) -> NDArray[np.float64]:
    """Distances of an interval's ends from the mean, (2, n); none where there is no interval."""
    mean = table[column].to_numpy(float)
    low, high = (table[end].to_numpy(float) for end in interval_of(column, table.columns))
    distance: NDArray[np.float64] = scale * np.abs(np.stack([mean - low, high - mean]))
    return np.nan_to_num(distance)


def rate_axis(ax: Axes, which: str, ticks: Sequence[float] = _RATE_TICKS) -> None:
    """Square-root scale from zero, with ticks in percent where they do not crowd."""
    limit = min(_END, (ax.get_xlim if which == "x" else ax.get_ylim)()[1])
    # Odd functions, so that there is room for the markers at zero.
    (ax.set_xscale if which == "x" else ax.set_yscale)(
        "function",
        functions=(lambda x: np.sign(x) * np.sqrt(np.abs(x)), lambda x: np.sign(x) * np.square(x)),
    )
    (ax.set_xlim if which == "x" else ax.set_ylim)(-limit * _ROOM**2, limit)
    kept: list[float] = []
    for tick in ticks:
        apart = np.sqrt(tick) - np.sqrt(kept[-1]) if kept else np.inf
        if tick <= limit and apart > _TICK_DISTANCE * np.sqrt(limit):
            kept.append(tick)
    axis = ax.xaxis if which == "x" else ax.yaxis
    axis.set_major_locator(FixedLocator(kept))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def with_legend(figure: Figure, ax: Axes) -> Figure:
    """One legend for all panels, above them; a label that occurs twice stands once."""
    handles, labels = ax.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    figure.legend(
        once.values(), once.keys(), loc="outside upper center", ncols=len(once), frameon=False
    )
    return figure
