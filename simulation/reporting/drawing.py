"""What all figures of a report's page have in common: style, axes, times, names."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from simulation.palette import GREY

if TYPE_CHECKING:
    from numpy.typing import NDArray

TIME = "time [UTC]"
_INK = "#222222"
_GRID = "#e5e5e5"
_FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'
_AXIS = {"gridcolor": _GRID, "linecolor": GREY, "zeroline": False, "automargin": True}
_X_AXIS = {**_AXIS, "showline": True, "ticks": "outside"}
_Y_AXIS = {**_AXIS, "showline": False}


def empty_figure(height: int, x_title: str, y_title: str) -> go.Figure:
    """Begin a figure.

    Parameters
    ----------
    height : int
        Its height; the width is that of the page. [pixels]
    x_title, y_title : str
        Titles of the axes, with units in brackets.
    """
    # All at once: every update of a figure is checked against all that it could hold.
    return go.Figure(
        layout={
            "template": go.layout.Template(),
            "height": height,
            "margin": {"l": 10, "r": 10, "t": 10, "b": 10},
            "font": {"family": _FONT, "size": 13, "color": _INK},
            "paper_bgcolor": "white",
            "plot_bgcolor": "white",
            "legend": {
                "orientation": "h",
                "x": 0,
                "xanchor": "left",
                "y": 1.02,
                "yanchor": "bottom",
                "traceorder": "normal",
            },
            "hoverlabel": {"font": {"family": _FONT}},
            "hovermode": "closest",
            "xaxis": {**_X_AXIS, "title": {"text": x_title}},
            "yaxis": {**_Y_AXIS, "title": {"text": y_title, "standoff": 12}},
        }
    )


def style_axes(figure: go.Figure) -> None:
    """Give all axes the common style."""
    figure.update_xaxes(**_X_AXIS)
    figure.update_yaxes(**_Y_AXIS)


def zero_line(figure: go.Figure, axis: str = "y") -> None:
    """Mark zero."""
    update = figure.update_yaxes if axis == "y" else figure.update_xaxes
    update(zeroline=True, zerolinecolor=_INK, zerolinewidth=1)


def times(index: Any) -> NDArray[np.float64]:
    """Milliseconds since 1970 (UTC), which time axes take; much shorter than text."""
    moments = pd.DatetimeIndex(index)
    if moments.tz is not None:
        moments = moments.tz_convert("UTC").tz_localize(None)
    out: NDArray[np.float64] = moments.to_numpy().astype("datetime64[ms]").astype(np.float64)
    return out


def time_axis(figure: go.Figure) -> None:
    """Make the horizontal axis one of time."""
    figure.update_xaxes(type="date", title_text=TIME)


def short(values: Any) -> NDArray[np.float32]:
    """Numbers to the seven digits that are enough to draw them."""
    return np.asarray(values, dtype=np.float32)


def safe(name: object) -> str:
    """Write a name so that the drawing library takes nothing in it for markup."""
    return html.escape(str(name), quote=False)


def moment(time: Any) -> str:
    """Write a time in a sentence; it stays in one line."""
    t = pd.Timestamp(time)
    return f"{t.day}\N{NO-BREAK SPACE}{t:%b\N{NO-BREAK SPACE}%Y\N{NO-BREAK SPACE}%H:%M}"


def iso(time: Any) -> str:
    """Write a time in a table, where it can be sorted."""
    return f"{pd.Timestamp(time):%Y-%m-%d %H:%M}"
