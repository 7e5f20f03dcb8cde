"""Drawings of the live page: key figures over time, the schedule of a peer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from plotly.subplots import make_subplots

from simulation.palette import BLACK, BLUE, GREEN, ORANGE, PINK, RED, SKY
from simulation.reporting.drawing import TIME, empty_figure, style_axes, time_axis, times

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    import plotly.graph_objects as go

_TIME = {"text": TIME, "font": {"size": 13}}
_CURVES: tuple[tuple[str, Callable[[pd.DataFrame], Any], str, str], ...] = (
    ("operational cost [EUR/step]", lambda h: h.cost_eur, BLUE, "lines"),
    ("limits violated [number]", lambda h: h.n_violations, RED, "bars"),
    ("certified violation probability [%]", lambda h: 100 * h.certified, PINK, "lines"),
    ("mean price between peers [EUR/kWh]", lambda h: h.price_eur_per_kwh, GREEN, "lines"),
)
"""Curves: title, values, colour, form."""


def curves(history: pd.DataFrame) -> go.Figure:
    """Draw cost, violations and prices of the steps so far."""
    figure = make_subplots(
        rows=len(_CURVES),
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.09,
        subplot_titles=[title for title, *_ in _CURVES],
    )
    style_parts(figure, 560)
    figure.update_annotations(x=0, xanchor="left", font={"size": 13})
    for row, (title, values, colour, form) in enumerate(_CURVES, start=1):
        points: dict[str, Any] = {
            "x": times(history.time) if len(history) else [],
            "y": values(history) if len(history) else [],
            "name": title,
            "showlegend": False,
            "hovertemplate": "%{x|%d %b %H:%M}<br>%{y:.4g}<extra></extra>",
        }
        if form == "bars":
            figure.add_bar(**points, marker={"color": colour}, row=row, col=1)
        else:
            few = len(history) < 60
            mode = "lines+markers" if few else "lines"
            figure.add_scatter(
                **points, mode=mode, line={"color": colour}, marker={"size": 5}, row=row, col=1
            )
        figure.update_yaxes(rangemode="tozero", nticks=4, row=row, col=1)
    time_axis(figure)
    figure.update_xaxes(title_text="")
    figure.update_xaxes(title=_TIME, row=len(_CURVES), col=1)
    figure.update_layout(margin={"t": 24, "l": 52, "r": 14, "b": 58})
    return figure


def schedule(rows: pd.DataFrame) -> go.Figure:
    """Draw what a peer is to do in the coming steps."""
    has_battery = rows.stored_kwh.notna().any()
    figure = make_subplots(
        rows=1 + int(has_battery),
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.16,
        row_heights=[0.65, 0.35] if has_battery else [1.0],
        subplot_titles=["power [kW]", "stored energy [kWh]"][: 1 + int(has_battery)],
    )
    style_parts(figure, 370 if has_battery else 270)
    figure.update_annotations(x=0, xanchor="left", font={"size": 13})
    x = times(rows.time)
    curves_of: tuple[tuple[str, pd.Series, str, str], ...] = (
        ("injection into the grid", rows.injection_kw, BLACK, "solid"),
        ("bought from peers", -rows.bought_kw, BLUE, "dot"),
        ("sold to peers", rows.sold_kw, ORANGE, "dash"),
    )
    for name, values, colour, dash in curves_of:
        figure.add_scatter(
            x=x,
            y=values,
            name=name,
            mode="lines+markers",
            line={"color": colour, "dash": dash, "shape": "hv"},
            marker={"size": 4},
            row=1,
            col=1,
        )
    if has_battery:
        figure.add_scatter(
            x=x,
            y=rows.stored_kwh,
            name="stored at the end of the step",
            mode="lines+markers",
            showlegend=False,
            line={"color": SKY},
            marker={"size": 4},
            row=2,
            col=1,
        )
        figure.update_yaxes(rangemode="tozero", row=2, col=1)
    time_axis(figure)
    figure.update_xaxes(title_text="")
    figure.update_xaxes(title=_TIME, row=1 + int(has_battery), col=1)
    figure.update_layout(
        margin={"t": 92, "l": 52, "r": 14, "b": 58},
        legend={"y": 1, "yref": "container", "yanchor": "top"},
    )
    return figure


def style_parts(figure: go.Figure, height: int) -> None:
    """Give a figure of several parts the style of the reports, and keep what is zoomed to."""
    figure.update_layout(empty_figure(height, "", "").layout)
    figure.update_layout(uirevision="same", autosize=True, hoverlabel={"bgcolor": "white"})
    style_axes(figure)
    # Margins that follow the labels would make a drawing jump while it plays.
    figure.update_xaxes(automargin=False)
    figure.update_yaxes(automargin=False)
