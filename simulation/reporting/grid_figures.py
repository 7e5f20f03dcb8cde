"""Maps of the networks, and their voltages over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from simulation.palette import BLACK, DIVERGING, GREY, RED
from simulation.reporting.drawing import (
    empty_figure,
    moment,
    safe,
    short,
    time_axis,
    times,
)
from simulation.reporting.feeder_layout import connections

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from simulation.reporting.grid_views import Feeder, VoltageGrid

SCALE = [[k / (len(DIVERGING) - 1), colour] for k, colour in enumerate(DIVERGING)]
_ROW = 18
"""Height of a row of a map. [pixels]"""


def reach(buses: pd.DataFrame) -> float:
    """How far colours reach from 1 p.u.: to the farther limit. [p.u.]"""
    limits = buses[["v_min_pu", "v_max_pu"]].to_numpy(float)
    return float(np.abs(limits - 1.0).max())


def feeder_map(fed: Feeder) -> go.Figure:
    """Map of a network, buses coloured by their worst voltage."""
    rows = [row for _, row in fed.place.values()]
    figure = empty_figure(
        120 + _ROW * (max(rows) - min(rows) + 2), "distance from the substation [lines]", ""
    )
    _draw_lines(figure, fed)
    order = list(fed.place)
    x, y = np.array([fed.place[bus] for bus in order]).T
    source = next(bus for bus in order if bus not in fed.parent)
    inner = np.array([bus != source for bus in order])
    span = reach(fed.buses)
    figure.add_scatter(
        x=x[inner],
        y=y[inner],
        mode="markers",
        name="bus",
        showlegend=False,
        marker={
            "size": 11,
            "color": short(fed.buses.vm_pu.to_numpy(float)[inner]),
            "colorscale": SCALE,
            "cmin": 1 - span,
            "cmax": 1 + span,
            "line": {"color": "#555555", "width": 1},
            "colorbar": _bar(span),
        },
        hovertext=[_hover(fed, bus) for bus in order if bus != source],
        hoverinfo="text",
    )
    figure.add_scatter(
        x=x[~inner],
        y=y[~inner],
        mode="markers",
        name="substation",
        marker={"size": 14, "symbol": "square", "color": BLACK},
        hovertext=[f"substation, bus {source}"],
        hoverinfo="text",
    )
    hit = (fed.buses.n_violations > 0).to_numpy()
    if hit.any():
        figure.add_scatter(
            x=x[hit],
            y=y[hit],
            mode="markers",
            name="voltage violated",
            marker={"size": 18, "symbol": "circle-open", "color": BLACK, "line": {"width": 2.5}},
            hoverinfo="skip",
        )
    figure.update_yaxes(visible=False, range=[min(rows) - 1, max(rows) + 1])
    figure.update_xaxes(showgrid=False)
    return figure


def _draw_lines(figure: go.Figure, fed: Feeder) -> None:
    """Draw the lines, overloaded ones thick."""
    x, y = connections(fed.parent, fed.place)
    over = np.repeat([fed.loading[bus] > 100 for bus in fed.parent], 4)
    figure.add_scatter(
        x=x,
        y=y,
        mode="lines",
        line={"color": GREY, "width": 1.5},
        hoverinfo="skip",
        showlegend=False,
    )
    if over.any():
        figure.add_scatter(
            x=x[over],
            y=y[over],
            mode="lines",
            line={"color": RED, "width": 5},
            name="line loaded beyond its rating",
            hoverinfo="skip",
        )


def _hover(fed: Feeder, bus: int) -> str:
    row: Any = fed.buses.loc[bus]
    words = [f"bus {bus}, fed from {fed.parent[bus]}"]
    if np.isfinite(row.vm_pu):
        words.append(f"worst {row.vm_pu:.4f} p.u. on {moment(row.time)}")
    words.append(f"limits {row.v_min_pu:g} to {row.v_max_pu:g} p.u.")
    if row.n_violations:
        words.append(f"violated in {row.n_violations} steps")
    if np.isfinite(fed.loading[bus]):
        words.append(f"line to it at most {fed.loading[bus]:.0f} % loaded")
    return "<br>".join(map(safe, words))


def _bar(span: float) -> dict[str, Any]:
    """Scale of colours below a figure, where it takes no width on a phone."""
    ticks = [1 - span, 1.0, 1 + span]
    return {
        "orientation": "h",
        "thickness": 12,
        "len": 0.7,
        "y": 0,
        "yref": "container",
        "yanchor": "bottom",
        "tickvals": ticks,
        "ticktext": [f"{tick:.3g} p.u." for tick in ticks],
        "tickangle": 0,
    }


def voltage_map(fed: Feeder, grid: VoltageGrid) -> go.Figure:
    """Voltages by time and bus."""
    n = len(grid.bus)
    figure = empty_figure(
        int(np.clip(190 + 4 * n, 320, 640)), "", "bus, from the substation [number]"
    )
    span = reach(fed.buses)
    figure.add_heatmap(
        x=times(grid.time),
        y=[f"{bus}" for bus in grid.bus],
        z=short(np.round(grid.vm_pu, 5)),
        colorscale=SCALE,
        zmin=1 - span,
        zmax=1 + span,
        colorbar=_bar(span),
        hovertemplate="bus %{y}<br>%{x}<br>%{z:.4f} p.u.<extra></extra>",
    )
    time_axis(figure)
    figure.update_xaxes(showgrid=False)
    figure.update_yaxes(type="category", showgrid=False, nticks=12, autorange="reversed")
    figure.update_layout(margin={"b": 85})
    return figure
