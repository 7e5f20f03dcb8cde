"""Figures of an experiment's page: treatments one below another."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from simulation.daily_rates import interval_of
from simulation.palette import BLACK, BLUE, GREEN, GREY, ORANGE, PINK, RED, SERIES, SKY
from simulation.reporting.drawing import empty_figure, safe, zero_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    import plotly.graph_objects as go

COORDINATION = {
    "none": ("no coordination", ORANGE, "square"),
    "within_network": ("within networks", SKY, "triangle-up"),
    "across_networks": ("across networks", BLUE, "circle"),
}
"""Name, colour and marker by coordination."""
RATES = {
    "violation_binding_rate": ("AC replay, binding network-steps", BLUE, "circle"),
    "violation_all_rate": ("AC replay, all network-steps", SKY, "square"),
    "out_of_sample_binding_rate": ("Monte Carlo, binding", RED, "diamond"),
    "out_of_sample_all_rate": ("Monte Carlo, all", ORANGE, "triangle-up"),
}
"""Name, colour and marker of the columns with violation rates."""
GAINS = {
    "mean_consumer": ("mean of the consumers", ORANGE, "circle"),
    "mean_prosumer": ("mean of the prosumers", BLUE, "square"),
    "strategic": ("mean of the strategic peers", RED, "diamond"),
    "others": ("mean of the others", GREEN, "triangle-up"),
    "worst": ("smallest of any peer", BLACK, "x"),
}
"""Name, colour and marker of gains per peer."""
SAVINGS = {
    "saved_at_tariff": ("saved at tariff", PINK, "circle"),
    "saved_resources": ("resources saved", GREEN, "square"),
}
"""Name, colour and marker of what is saved altogether."""
_LABEL = 24
"""Characters of a line of a label."""


def _canvas(table: pd.DataFrame, x_title: str) -> tuple[go.Figure, np.ndarray]:
    """Begin a figure with a line for every treatment."""
    labels = [safe_lines(name) for name in table.treatment]
    n, n_lines = len(labels), 1 + max(label.count("<br>") for label in labels)
    figure = empty_figure(130 + n * (10 + 16 * n_lines), x_title, "treatment [name]")
    figure.update_yaxes(
        tickvals=list(range(n)), ticktext=labels, range=[n - 0.5, -0.5], showgrid=True
    )
    return figure, np.arange(n, dtype=float)


def safe_lines(name: object) -> str:
    """Break a label into short lines."""
    return "<br>".join(safe(line) for line in textwrap.wrap(str(name), _LABEL)) or "–"


def _dots(
    figure: go.Figure,
    y: np.ndarray,
    values: pd.DataFrame,
    style: tuple[str, str, str],
    unit: str,
) -> None:
    """Means with their intervals; ``values`` has mean, low and high."""
    name, colour, marker = style
    known = values["mean"].notna().to_numpy()
    rows = values[known]
    figure.add_scatter(
        x=rows["mean"],
        y=y[known],
        mode="markers",
        name=name,
        marker={"color": colour, "symbol": marker, "size": 9},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": (rows["high"] - rows["mean"]).fillna(0),
            "arrayminus": (rows["mean"] - rows["low"]).fillna(0),
            "color": colour,
            "thickness": 1.5,
        },
        hovertemplate="%{x:,.4~g} " + unit + "<extra>" + name + "</extra>",
        cliponaxis=False,
    )


def _interval(table: pd.DataFrame, column: str, scale: float = 1.0) -> pd.DataFrame:
    """Mean and ends of a column, missing ends as NaN."""
    low, high = interval_of(column, table.columns)
    columns = {"mean": column, "low": low, "high": high}
    out = table.reindex(columns=list(columns.values())).astype(float)
    return scale * out.set_axis(list(columns), axis="columns")


def by_coordination(
    table: pd.DataFrame, column: str, x_title: str, unit: str, *, intervals: bool
) -> go.Figure:
    """One figure of every treatment, coloured by its coordination."""
    figure, y = _canvas(table, x_title)
    values = _interval(table, column)
    if not intervals:
        values[["low", "high"]] = np.nan
    kinds = table.get("market.coordination")
    if kinds is None:
        _dots(figure, y, values, ("treatments", BLUE, "circle"), unit)
        return figure
    for kind, style in COORDINATION.items():
        _dots_where(figure, y, values, (kinds == kind).to_numpy(), style=style, unit=unit)
    others = (~kinds.isin(list(COORDINATION))).to_numpy()
    _dots_where(figure, y, values, others, style=("other", GREY, "circle"), unit=unit)
    return figure


def _dots_where(
    figure: go.Figure,
    y: np.ndarray,
    values: pd.DataFrame,
    where: np.ndarray,
    *,
    style: tuple[str, str, str],
    unit: str,
) -> None:
    if where.any() and values["mean"][where].notna().any():
        _dots(figure, y[where], values[where], style, unit)


def change_figure(table: pd.DataFrame, column: str, words: str) -> go.Figure:
    """Relative change of the cost of every treatment that has a reference."""
    rows = table[table[column].notna()].reset_index(drop=True)
    figure = by_coordination(rows, column, f"{words} [%]", "%", intervals=True)
    zero_line(figure, "x")
    return figure


def rate_figure(table: pd.DataFrame) -> go.Figure:
    """Delivered violation rates of every treatment, and its promise."""
    figure, y = _canvas(table, "violated [%]")
    shown = [name for name in RATES if name in table and table[name].notna().any()]
    for k, name in enumerate(shown):
        shift = 0.18 * (k - (len(shown) - 1) / 2)
        _dots(figure, y + shift, _interval(table, name, 100), RATES[name], "%")
    if "market.risk_level" in table:
        figure.add_scatter(
            x=100 * table["market.risk_level"].astype(float),
            y=y,
            mode="markers",
            name="promised at most",
            marker={"symbol": "line-ns", "size": 18, "line": {"color": BLACK, "width": 2}},
            hovertemplate="promised at most %{x:.3~g} %<extra></extra>",
        )
    figure.update_xaxes(rangemode="tozero")
    return figure


def frontier_figure(table: pd.DataFrame, rate: str, cost: str, cost_title: str) -> go.Figure:
    """Cost of every treatment against its violation rate, a colour a method."""
    figure = empty_figure(460, f"{RATES[rate][0]}, violated [%]", cost_title)
    methods = table.get("market.method", table.treatment).astype(str)
    kinds = table.get("market.coordination", methods).astype(str)
    for k, method in enumerate(dict.fromkeys(methods)):
        rows = (methods == method).to_numpy()
        figure.add_scatter(
            x=100 * table[rate][rows],
            y=table[cost][rows],
            mode="markers",
            name=safe(method),
            marker={
                "color": SERIES[k % len(SERIES)],
                "size": 11,
                "symbol": [COORDINATION.get(c, ("", "", "diamond"))[2] for c in kinds[rows]],
                "line": {"color": "white", "width": 1},
            },
            text=[safe(name) for name in table.treatment[rows]],
            hovertemplate="%{text}<br>%{x:.3~g} %, %{y:,.4~g}<extra></extra>",
        )
    return figure


def gain_figure(table: pd.DataFrame, comparison: str, figures: list[str]) -> go.Figure:
    """Gains per peer of every treatment over its reference."""
    columns = {name: f"{comparison}_{name}_eur" for name in figures if name in GAINS}
    rows = table[table[list(columns.values())].notna().any(axis=1)].reset_index(drop=True)
    figure, y = _canvas(rows, "gain per peer and run [EUR]")
    _gain_dots(figure, y, rows, columns)
    zero_line(figure, "x")
    return figure


def _gain_dots(
    figure: go.Figure, y: np.ndarray, rows: pd.DataFrame, columns: Mapping[str, str]
) -> None:
    for k, (name, column) in enumerate(columns.items()):
        shift = 0.14 * (k - (len(columns) - 1) / 2)
        _dots(figure, y + shift, _interval(rows, column), GAINS[name], "EUR")


def saving_figure(table: pd.DataFrame, comparison: str) -> go.Figure:
    """What every treatment saves over its reference, at tariff and in resources."""
    columns = {name: f"{comparison}_{name}_eur" for name in SAVINGS}
    columns = {name: column for name, column in columns.items() if column in table}
    rows = table[table[list(columns.values())].notna().any(axis=1)].reset_index(drop=True)
    figure, y = _canvas(rows, "saved per run [EUR]")
    for k, (name, column) in enumerate(columns.items()):
        _dots(figure, y + 0.28 * (k - 0.5), _interval(rows, column), SAVINGS[name], "EUR")
    zero_line(figure, "x")
    return figure
