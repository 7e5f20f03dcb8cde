"""Energy balances, trade, batteries and recourse over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simulation.palette import BALANCE, BLACK, BLUE, GREEN, ORANGE, RED, SKY
from simulation.reporting.drawing import (
    empty_figure,
    safe,
    short,
    time_axis,
    times,
    zero_line,
)

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

POWER = "power [kW]"


def balance_figure(balance: pd.DataFrame) -> go.Figure:
    """Sources and uses of a network's energy, stacked."""
    figure = empty_figure(380, "", POWER)
    at = times(balance.index)
    for name in balance:
        values = balance[name].to_numpy(float)
        if not np.abs(np.nan_to_num(values)).max(initial=0.0) > 0:
            continue
        figure.add_scatter(
            x=at,
            y=short(values),
            name=str(name),
            mode="lines",
            line={"width": 0, "shape": "hv"},
            stackgroup="sources" if np.nansum(values) > 0 else "uses",
            fillcolor=BALANCE[str(name)],
            hovertemplate="%{y:,.0f} kW",
        )
    figure.update_layout(hovermode="x")
    time_axis(figure)
    zero_line(figure)
    return figure


def traded_figure(power: pd.DataFrame, *, several: bool) -> go.Figure:
    """Power that the peers of a network trade."""
    figure = empty_figure(320, "", POWER)
    at = times(power.index)
    parts = {"within": ("among its own peers", BLUE)}
    if several:
        parts["sold"] = ("sold to other networks", GREEN)
        parts["bought"] = ("bought from other networks", ORANGE)
    for name, (text, colour) in parts.items():
        figure.add_scatter(
            x=at,
            y=short(power[name]),
            name=text,
            mode="lines",
            line={"width": 0, "shape": "hv"},
            fillcolor=colour,
            stackgroup="bought" if name == "bought" else "sold",
            hovertemplate="%{y:,.0f} kW",
        )
    figure.update_layout(hovermode="x")
    time_axis(figure)
    zero_line(figure)
    return figure


def flow_matrix(flows: pd.DataFrame) -> go.Figure:
    """Energy traded between networks, sellers across and buyers down."""
    names = [safe(name) for name in flows.index]
    figure = empty_figure(
        int(np.clip(200 + 26 * len(names), 280, 760)),
        "buying network [name]",
        "selling network [name]",
    )
    figure.add_heatmap(
        x=names,
        y=names,
        z=short(flows.to_numpy(float) / 1000),
        colorscale="Cividis",
        colorbar={"title": {"text": "energy [MWh]"}, "thickness": 12},
        hovertemplate="from %{y} to %{x}<br>%{z:,.2f} MWh<extra></extra>",
    )
    figure.update_yaxes(autorange="reversed", type="category")
    figure.update_xaxes(type="category")
    return figure


def battery_figure(stored: pd.DataFrame) -> go.Figure:
    """State of charge of a network's batteries."""
    figure = empty_figure(300, "", "stored energy [% of capacity]")
    at = times(stored.index)
    figure.add_scatter(
        x=at,
        y=short(stored["high"]),
        mode="lines",
        line={"width": 0},
        showlegend=False,
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=at,
        y=short(stored["low"]),
        mode="lines",
        line={"width": 0},
        fill="tonexty",
        fillcolor="rgba(86,180,233,0.35)",
        name="emptiest to fullest battery",
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=at,
        y=short(stored["mean"]),
        mode="lines",
        line={"color": BLUE, "width": 1.6},
        name="all batteries together",
        hovertemplate="%{x}<br>%{y:.0f} %<extra></extra>",
    )
    time_axis(figure)
    figure.update_yaxes(range=[0, 101])
    return figure


def recourse_figure(recourse: pd.DataFrame) -> go.Figure:
    """Net recourse of a network's devices, asked and delivered."""
    figure = empty_figure(320, "", "net recourse [kW]")
    at = times(recourse.index)
    for name, colour, width in (("asked", SKY, 4.0), ("delivered", BLACK, 1.2)):
        if recourse[name].notna().any():
            figure.add_scatter(
                x=at,
                y=short(recourse[name]),
                name=name,
                mode="lines",
                line={"color": colour, "width": width},
                hovertemplate="%{x}<br>%{y:,.1f} kW<extra>" + name + "</extra>",
            )
    short_of = recourse.asked - recourse.delivered
    missed = short_of.abs() > 0.05 * recourse.asked.abs().max()
    if missed.any():
        figure.add_scatter(
            x=at[missed.to_numpy()],
            y=short(recourse.delivered[missed]),
            mode="markers",
            name="more than 5 % of the largest request missing",
            marker={"color": RED, "symbol": "x", "size": 8},
            hoverinfo="skip",
        )
    time_axis(figure)
    zero_line(figure)
    return figure
