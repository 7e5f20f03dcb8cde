"""Drawings of the live page: maps of the networks, key figures over time, a peer's schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from plotly.subplots import make_subplots

from simulation.live.views import loadings, violated, voltages
from simulation.palette import BLACK, BLUE, DIVERGING, GREEN, GREY, ORANGE, PINK, RED, SKY
from simulation.reporting.drawing import empty_figure, safe, style_axes, time_axis, times
from simulation.reporting.feeder_layout import connections

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd
    import plotly.graph_objects as go

    from simulation.live.views import Moment, Site

_ROW = 17
"""Height of a row of a map. [pixels]"""
_CLASSES = (
    ("line loaded to 50 %", GREY, 1.5, 0.0),
    ("50 to 80 %", SKY, 3.5, 50.0),
    ("80 to 100 %", ORANGE, 5.0, 80.0),
    ("beyond its rating", RED, 7.0, 100.0),
)
"""Lines by loading: name, colour, width [pixels], from which loading on [%]."""
_SCALE = [[k / (len(DIVERGING) - 1), colour] for k, colour in enumerate(DIVERGING)]
_BAR = {
    "orientation": "h",
    "thickness": 12,
    "len": 0.9,
    "y": 0,
    "yref": "container",
    "yanchor": "bottom",
    "tickformat": ".2f",
    "ticksuffix": " p.u.",
    "nticks": 6,
}
_TRACES = len(_CLASSES) + 5
"""Traces of a map."""


def maps(sites: Sequence[Site], moment: Moment | None, peer: str | None) -> go.Figure:
    """Map all networks, one below the other, in a step; or before the first one.

    Parameters
    ----------
    sites : sequence of Site
        The networks.
    moment : Moment or None
        The step.
    peer : str, optional
        The peer that is looked at.
    """
    heights = [_ROW * (site.n_rows + 2) for site in sites]
    figure = make_subplots(
        rows=len(sites),
        cols=1,
        row_heights=heights,
        vertical_spacing=min(42 / (sum(heights) + 42 * len(sites)), 0.9 / len(sites)),
        subplot_titles=[f"<b>{safe(site.network)}</b>" for site in sites],
    )
    _style(figure, sum(heights) + 42 * len(sites) + 110)
    figure.update_annotations(x=0, xanchor="left", font={"size": 14})
    span = max(abs(v - 1.0) for site in sites for both in site.limits.values() for v in both)
    for row, site in enumerate(sites, start=1):
        for trace in _traces(site, moment, peer, first=row == 1):
            figure.add_trace(trace, row=row, col=1)
        rows = [place[1] for place in site.place.values()]
        figure.update_yaxes(range=[min(rows) - 1, max(rows) + 1], row=row, col=1)
    figure.update_xaxes(showgrid=False, showline=False, ticks="", showticklabels=False)
    figure.update_yaxes(visible=False)
    figure.update_layout(
        coloraxis={"colorscale": _SCALE, "cmin": 1 - span, "cmax": 1 + span, "colorbar": _BAR},
        margin={"l": 10, "r": 10, "t": 62, "b": 52},
        legend={"y": 1, "yref": "container", "yanchor": "top"},
        clickmode="event",
    )
    return figure


def clicked_bus(sites: Sequence[Site], trace: int, x: float, y: float) -> tuple[Site, int] | None:
    """Find the bus at a point of :func:`maps`."""
    site = sites[min(trace // _TRACES, len(sites) - 1)]
    at = {place: bus for bus, place in site.place.items()}
    bus = at.get((round(x), round(y)))
    return None if bus is None else (site, bus)


def _traces(
    site: Site, moment: Moment | None, peer: str | None, *, first: bool
) -> list[dict[str, Any]]:
    """Draw one network; the first one has the legend of all."""
    vm, load = voltages(moment, site), loadings(moment, site)
    buses, lines = (set(), set()) if moment is None else violated(moment, site)
    place = site.place
    inner = [bus for bus in place if bus != site.source]
    owners = [bus for bus in inner if bus in site.peers_at]
    others = [bus for bus in inner if bus not in site.peers_at]
    here = [bus for bus, peers in site.peers_at.items() if peer in peers]
    injection = {} if moment is None else _injections(moment)

    def dots(chosen: Sequence[int], name: str, marker: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {
            "type": "scatter",
            "mode": "markers",
            "x": [place[bus][0] for bus in chosen],
            "y": [place[bus][1] for bus in chosen],
            "name": name,
            "legendgroup": name,
            "showlegend": first,
            "marker": marker,
            "hoverinfo": "skip",
            **more,
        }

    def coloured(chosen: Sequence[int], name: str, size: int, **more: Any) -> dict[str, Any]:
        known = moment is not None
        colour: dict[str, Any] = (
            {"color": [vm[bus] for bus in chosen], "coloraxis": "coloraxis"}
            if known
            else {"color": "white"}
        )
        marker = {"size": size, "line": {"color": "#444444", "width": 1}, **colour}
        words = [_hover(site, bus, vm, load, injection) for bus in chosen]
        return dots(chosen, name, marker, hovertext=words, hoverinfo="text", **more)

    out = [_wires(site, load, lines, k, first=first) for k in range(len(_CLASSES))]
    out += [
        coloured(others, "bus without a peer", 6, showlegend=False),
        coloured(owners, "bus with a peer: click for details", 12),
        dots(
            [site.source],
            "substation",
            {"size": 14, "symbol": "square", "color": BLACK},
            hovertext=[safe(f"substation of {site.network}, bus {site.source}")],
            hoverinfo="text",
        ),
        dots(
            sorted(buses),
            "voltage limit violated",
            {"size": 19, "symbol": "circle-open", "color": BLACK, "line": {"width": 2.5}},
            showlegend=bool(buses),
        ),
        dots(
            here,
            "peer shown",
            {"size": 19, "symbol": "diamond-open", "color": GREEN, "line": {"width": 3}},
            showlegend=bool(here),
        ),
    ]
    return out


def _wires(
    site: Site,
    load: Mapping[int, tuple[float, float]],
    over: set[int],
    k: int,
    *,
    first: bool,
) -> dict[str, Any]:
    """Draw the lines of one class of loading; those without any are of the first."""
    name, colour, width, _ = _CLASSES[k]

    def class_of(bus: int) -> int:
        if bus in over:
            return len(_CLASSES) - 1
        return max(sum(load[bus][0] > low for *_, low in _CLASSES) - 1, 0)

    parent = {bus: up for bus, up in site.parent.items() if class_of(bus) == k}
    x, y = connections(parent, site.place)
    return {
        "type": "scatter",
        "mode": "lines",
        "x": x,
        "y": y,
        "name": name,
        "legendgroup": name,
        "showlegend": first,
        "line": {"color": colour, "width": width},
        "hoverinfo": "skip",
    }


def _injections(moment: Moment) -> dict[str, float]:
    rows = moment.tables["dispatch"]
    return dict(zip(rows.peer_id.tolist(), rows.p_kw.tolist(), strict=True))


def _hover(
    site: Site,
    bus: int,
    vm: Mapping[int, float],
    load: Mapping[int, tuple[float, float]],
    injection: Mapping[str, float],
) -> str:
    low, high = site.limits[bus]
    words = [f"bus {bus}: {vm[bus]:.4f} p.u." if np.isfinite(vm[bus]) else f"bus {bus}"]
    words.append(f"limits {low:g} to {high:g} p.u.")
    for peer in site.peers_at.get(bus, ()):
        what = f": injects {injection[peer]:.1f} kW" if peer in injection else ""
        words.append(f"peer {peer}{what}")
    percent, i_ka = load[bus]
    if np.isfinite(percent):
        words.append(
            f"line from bus {site.parent[bus]}: {percent:.0f} % loaded, {1000 * i_ka:.0f} A"
        )
    return "<br>".join(map(safe, words))


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
    _style(figure, 560)
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
    figure.update_xaxes(title_text="time [UTC]", row=len(_CURVES), col=1)
    figure.update_layout(margin={"t": 24, "l": 10, "r": 14, "b": 10})
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
    _style(figure, 330 if has_battery else 240)
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
    figure.update_xaxes(title_text="time [UTC]", row=1 + int(has_battery), col=1)
    figure.update_layout(
        margin={"t": 56, "l": 10, "r": 14, "b": 10},
        legend={"y": 1, "yref": "container", "yanchor": "top"},
    )
    return figure


def _style(figure: go.Figure, height: int) -> None:
    """Give a figure of several parts the style of the reports, and keep what is zoomed to."""
    figure.update_layout(empty_figure(height, "", "").layout)
    figure.update_layout(uirevision="same", autosize=True)
    style_axes(figure)
