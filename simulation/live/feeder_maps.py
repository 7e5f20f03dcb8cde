"""Maps of the networks on the live page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from plotly.subplots import make_subplots

from simulation.live.figures import style_parts
from simulation.live.views import loadings, violated, voltages
from simulation.palette import BLACK, DIVERGING, GREEN, GREY, ORANGE, RED, SKY
from simulation.reporting.drawing import safe
from simulation.reporting.feeder_layout import connections

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import plotly.graph_objects as go

    from simulation.live.views import Moment, Site

_ROW = 17
"""Height of a row of a map. [pixels]"""
CLASSES = (
    ("line loaded to 50 %", GREY, 1.5, 0.0),
    ("50 to 80 %", SKY, 3.5, 50.0),
    ("80 to 100 %", ORANGE, 5.0, 80.0),
    ("beyond its rating", RED, 7.0, 100.0),
)
"""Lines by loading: words, colour, width [pixels], from which loading on [%]."""
MARKS = {
    "substation": ("■", BLACK, "substation"),
    "violated": ("◯", BLACK, "limit violated"),
    "shown": ("◇", GREEN, "peer shown"),
}
"""Signs of the legend for what is marked: sign, colour, words."""
_SCALE = [[k / (len(DIVERGING) - 1), colour] for k, colour in enumerate(DIVERGING)]
_BAR = {
    "orientation": "h",
    "thickness": 12,
    "len": 0.9,
    "y": 0,
    "yref": "container",
    "yanchor": "bottom",
}
"""Scale of the colours, below the maps."""
_TRACES = len(CLASSES) + 5
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
    style_parts(figure, sum(heights) + 42 * len(sites) + 78)
    figure.update_annotations(x=0, xanchor="left", font={"size": 14})
    span = max(abs(v - 1.0) for site in sites for both in site.limits.values() for v in both)
    for row, site in enumerate(sites, start=1):
        for trace in _traces(site, moment, peer):
            figure.add_trace(trace, row=row, col=1)
        rows = [place[1] for place in site.place.values()]
        figure.update_yaxes(range=[min(rows) - 1, max(rows) + 1], row=row, col=1)
    figure.update_xaxes(showgrid=False, showline=False, ticks="", showticklabels=False)
    figure.update_yaxes(visible=False)
    figure.update_layout(
        coloraxis={
            "colorscale": _SCALE,
            "cmin": 1 - span,
            "cmax": 1 + span,
            "colorbar": {**_BAR, **_ticks(sites, span)},
        },
        margin={"l": 10, "r": 10, "t": 26, "b": 52},
        showlegend=False,
        clickmode="event",
    )
    return figure


def _ticks(sites: Sequence[Site], span: float) -> dict[str, Any]:
    """Mark the limits of the voltage on the scale of colours."""
    limits = {v for site in sites for both in site.limits.values() for v in both}
    words = {1.0: "1 p.u."} | {1 + part * span: f"{1 + part * span:.4g}" for part in (-0.5, 0.5)}
    words |= {v: f"{v:g} limit" for v in limits}
    return {"tickvals": list(words), "ticktext": list(words.values())}


def clicked_bus(sites: Sequence[Site], trace: int, x: float, y: float) -> tuple[Site, int] | None:
    """Find the bus at a point of :func:`maps`."""
    site = sites[min(trace // _TRACES, len(sites) - 1)]
    at = {place: bus for bus, place in site.place.items()}
    bus = at.get((round(x), round(y)))
    return None if bus is None else (site, bus)


def _traces(site: Site, moment: Moment | None, peer: str | None) -> list[dict[str, Any]]:
    """Draw one network."""
    vm, load = voltages(moment, site), loadings(moment, site)
    buses, lines = (set(), set()) if moment is None else violated(moment, site)
    place = site.place
    inner = [bus for bus in place if bus != site.source]
    owners = [bus for bus in inner if bus in site.peers_at]
    others = [bus for bus in inner if bus not in site.peers_at]
    here = [bus for bus, peers in site.peers_at.items() if peer in peers]
    injection = {} if moment is None else _injections(moment)

    def dots(chosen: Sequence[int], marker: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {
            "type": "scatter",
            "mode": "markers",
            "x": [place[bus][0] for bus in chosen],
            "y": [place[bus][1] for bus in chosen],
            "marker": marker,
            "hoverinfo": "skip",
            **more,
        }

    def coloured(chosen: Sequence[int], size: int) -> dict[str, Any]:
        known = moment is not None
        colour: dict[str, Any] = (
            {"color": [vm[bus] for bus in chosen], "coloraxis": "coloraxis"}
            if known
            else {"color": "white"}
        )
        marker = {"size": size, "line": {"color": "#444444", "width": 1}, **colour}
        words = [_hover(site, bus, vm, load, injection) for bus in chosen]
        return dots(chosen, marker, hovertext=words, hoverinfo="text")

    out = [_wires(site, load, lines, k) for k in range(len(CLASSES))]
    out += [
        coloured(others, 6),
        coloured(owners, 12),
        dots(
            [site.source],
            {"size": 14, "symbol": "square", "color": BLACK},
            hovertext=[safe(f"substation of {site.network}, bus {site.source}")],
            hoverinfo="text",
        ),
        dots(
            sorted(buses),
            {"size": 19, "symbol": "circle-open", "color": BLACK, "line": {"width": 2.5}},
        ),
        dots(
            here,
            {"size": 19, "symbol": "diamond-open", "color": GREEN, "line": {"width": 3}},
        ),
    ]
    return out


def _wires(
    site: Site, load: Mapping[int, tuple[float, float]], over: set[int], k: int
) -> dict[str, Any]:
    """Draw the lines of one class of loading; those without any are of the first."""
    _, colour, width, _ = CLASSES[k]

    def class_of(bus: int) -> int:
        if bus in over:
            return len(CLASSES) - 1
        return max(sum(load[bus][0] > low for *_, low in CLASSES) - 1, 0)

    parent = {bus: up for bus, up in site.parent.items() if class_of(bus) == k}
    x, y = connections(parent, site.place)
    return {
        "type": "scatter",
        "mode": "lines",
        "x": x,
        "y": y,
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
