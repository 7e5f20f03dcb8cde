"""Prices, costs, and who paid and earned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from plotly.subplots import make_subplots

from simulation.palette import BLACK, BLUE, GREEN, GREY, ORANGE, PINK, RED, SERIES
from simulation.reporting.drawing import (
    TIME,
    empty_figure,
    safe,
    short,
    style_axes,
    times,
    zero_line,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import pandas as pd
    import plotly.graph_objects as go

PRICE = "price [EUR/kWh]"
NAMES = {
    "consumer": "consumers",
    "prosumer": "prosumers",
    "operator": "operators",
    "dso": "DSO",
    "supplier": "supplier",
    "resources": "resources",
}
"""How the kinds of accounts are called."""
_SHADE = {BLUE: "rgba(0,114,178,0.22)", ORANGE: "rgba(230,159,0,0.25)"}
_SHADE |= {
    PINK: "rgba(204,121,167,0.25)",
    GREEN: "rgba(0,158,115,0.22)",
    RED: "rgba(213,94,0,0.22)",
}
_PARTS = {
    "loss": ("for losses", GREEN),
    "voltage": ("for voltage", PINK),
    "risk": ("for risk", RED),
}


def price_figure(prices: pd.DataFrame, paid: pd.Series | None) -> go.Figure:
    """Nodal prices of a network, and below them what is not the energy's."""
    figure = make_subplots(rows=2, shared_xaxes=True, vertical_spacing=0.09, row_heights=[0.5, 0.5])
    figure.update_layout(empty_figure(520, "", "").layout)
    at = times(prices.index)
    _band(figure, at, prices, "dlmp", style=("nodal price", BLUE), row=1)
    figure.add_scatter(
        x=at,
        y=short(prices["energy_mean"]),
        mode="lines",
        name="of it for energy",
        line={"color": ORANGE, "width": 1.2, "dash": "dot"},
        row=1,
        col=1,
        hoverinfo="skip",
    )
    if paid is not None and paid.notna().any():
        figure.add_scatter(
            x=times(paid.index),
            y=short(paid),
            mode="lines",
            name="paid in trades, fees left out",
            line={"color": BLACK, "width": 1},
            row=1,
            col=1,
            hovertemplate="%{x}<br>%{y:.4f} EUR/kWh<extra>trades</extra>",
        )
    for name, style in _PARTS.items():
        if prices[f"{name}_mean"].notna().any():
            _band(figure, at, prices, name, style=style, row=2)
    style_axes(figure)
    figure.update_xaxes(type="date", title_text="")
    figure.update_xaxes(title_text=TIME, row=2, col=1)
    figure.update_yaxes(title_text=PRICE, row=1, col=1)
    figure.update_yaxes(title_text="component [EUR/kWh]", row=2, col=1)
    zero_line(figure)
    return figure


def _band(
    figure: go.Figure,
    at: np.ndarray,
    prices: pd.DataFrame,
    name: str,
    *,
    style: tuple[str, str],
    row: int,
) -> None:
    """Mean over the buses, and the range from the cheapest to the dearest one."""
    text, colour = style
    for end, fill in (("high", None), ("low", "tonexty")):
        figure.add_scatter(
            x=at,
            y=short(prices[f"{name}_{end}"]),
            mode="lines",
            line={"width": 0},
            fill=fill,
            fillcolor=_SHADE[colour],
            showlegend=False,
            hoverinfo="skip",
            legendgroup=name,
            row=row,
            col=1,
        )
    figure.add_scatter(
        x=at,
        y=short(prices[f"{name}_mean"]),
        mode="lines",
        name=text,
        legendgroup=name,
        line={"color": colour, "width": 1.5},
        row=row,
        col=1,
        hovertemplate="%{x}<br>%{y:.4f} EUR/kWh<extra>" + text + "</extra>",
    )


def cost_figure(costs: Mapping[str, float]) -> go.Figure:
    """Operational cost by component, largest first."""
    shown = sorted(costs.items(), key=lambda entry: entry[1])
    figure = empty_figure(90 + 30 * len(shown), "cost over the run [EUR]", "component [name]")
    figure.add_bar(
        x=[value for _, value in shown],
        y=[safe(name.replace("_", " ")) for name, _ in shown],
        orientation="h",
        marker={"color": BLUE},
        text=[f"{value:z,.0f}" for _, value in shown],
        textposition="auto",
        hovertemplate="%{y}: %{x:,.2f} EUR<extra></extra>",
    )
    zero_line(figure, "x")
    return figure


def received_figure(received: pd.DataFrame) -> go.Figure:
    """What each kind of account received, net, by item."""
    figure = empty_figure(440, "account [kind]", "received over the run [EUR]")
    kinds = [safe(NAMES.get(str(kind), kind)) for kind in received.columns]
    size = received.abs().sum(axis=1).sort_values(ascending=False)
    shown = list(size.index[: len(SERIES) - 1])
    for item, colour in zip(shown, SERIES, strict=False):
        figure.add_bar(
            x=kinds,
            y=received.loc[item].to_numpy(float),
            name=safe(str(item).replace("_", " ")),
            marker={"color": colour},
            hovertemplate="%{x}: %{y:,.0f} EUR",
        )
    rest = received.drop(index=shown).sum()
    if len(received) > len(shown):
        figure.add_bar(
            x=kinds,
            y=rest.to_numpy(float),
            name="all else",
            marker={"color": GREY},
            hovertemplate="%{x}: %{y:,.0f} EUR",
        )
    figure.add_scatter(
        x=kinds,
        y=received.sum().to_numpy(float),
        mode="markers",
        name="net",
        marker={
            "color": "white",
            "size": 11,
            "symbol": "diamond",
            "line": {"color": BLACK, "width": 2},
        },
        hovertemplate="%{x}, net: %{y:,.0f} EUR",
    )
    figure.update_layout(barmode="relative")
    zero_line(figure)
    return figure


def gains_figure(outcomes: pd.DataFrame) -> go.Figure:
    """What trade gained every peer, by kind of peer and network."""
    figure = empty_figure(340, "gain from trade over the run [EUR]", "peers [kind, network]")
    groups = list(outcomes.groupby(["kind", "network"], observed=True, sort=True))
    colour = {"consumer": ORANGE, "prosumer": BLUE}
    for (kind, network), rows in groups:
        figure.add_box(
            x=short(rows.gain_from_trade_eur),
            y=[safe(f"{kind}, {network}")] * len(rows),
            orientation="h",
            name=safe(kind),
            boxpoints="all",
            pointpos=0,
            jitter=0.6,
            fillcolor="rgba(0,0,0,0)",
            line={"color": GREY, "width": 1},
            marker={"color": colour.get(str(kind), GREEN), "size": 5, "opacity": 0.75},
            text=[safe(name) for name in rows.peer_id],
            hovertemplate="%{text}: %{x:,.2f} EUR<extra></extra>",
            showlegend=False,
        )
    figure.update_layout(height=110 + 60 * len(groups))
    zero_line(figure, "x")
    return figure
