"""Promised against delivered violation, certificates, and the solver's work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulation.palette import BLACK, BLUE, GREY, ORANGE, RED, SERIES, SKY
from simulation.reporting.drawing import empty_figure, safe, short, time_axis, times

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    import plotly.graph_objects as go

SCOPES = {
    ("binding", "replay"): ("AC replay, binding network-steps", BLUE, "circle"),
    ("all", "replay"): ("AC replay, all network-steps", SKY, "square"),
    ("binding", "Monte Carlo"): ("Monte Carlo, binding", RED, "diamond"),
    ("all", "Monte Carlo"): ("Monte Carlo, all", ORANGE, "triangle-up"),
}
"""Name, colour and marker of each kind of rate."""


def delivered_figure(rates: pd.DataFrame, promised: float) -> go.Figure:
    """Delivered rates with their intervals, and the promise."""
    names = list(dict.fromkeys(rates.network))
    figure = empty_figure(110 + 66 * len(names), "violated [%]", "network [name]")
    for k, ((scope, source), (text, colour, marker)) in enumerate(SCOPES.items()):
        rows = rates[(rates.scope == scope) & (rates.source == source) & rates.rate.notna()]
        if rows.empty:
            continue
        figure.add_scatter(
            x=rows.rate,
            y=[names.index(name) + 0.18 * (k - 1.5) for name in rows.network],
            mode="markers",
            name=text,
            marker={"color": colour, "symbol": marker, "size": 10},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": rows.high - rows.rate,
                "arrayminus": rows.rate - rows.low,
                "color": colour,
                "thickness": 2,
            },
            text=list(rows.counts),
            hovertemplate="%{x:.2f} %, %{text}<extra>" + text + "</extra>",
        )
    figure.add_vline(x=promised, line={"color": BLACK, "dash": "dash", "width": 1.5})
    _explain_promise(figure)
    figure.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=[safe(name) for name in names],
        range=[len(names) - 0.5, -0.5],
        showgrid=False,
    )
    figure.update_traces(cliponaxis=False)
    figure.update_xaxes(rangemode="tozero")
    return figure


def certificate_figure(certificates: pd.DataFrame, promised: float) -> go.Figure:
    """Certificates of the binding steps over time, violated ones marked."""
    figure = empty_figure(340, "", "certified violation probability [%]")
    networks = list(dict.fromkeys(certificates.network))
    for k, network in enumerate(networks[: len(SERIES)]):
        rows = certificates[certificates.network == network]
        figure.add_scatter(
            x=times(rows.time),
            y=short(rows.certificate),
            mode="markers",
            name=safe(network),
            marker={"color": SERIES[k], "size": 6, "symbol": k},
            hovertemplate="%{x}<br>%{y:.2f} %<extra></extra>",
        )
    hit = certificates[certificates.violated]
    if len(hit):
        figure.add_scatter(
            x=times(hit.time),
            y=short(hit.certificate),
            mode="markers",
            name="violated in AC",
            marker={
                "color": RED,
                "size": 14,
                "symbol": "x-thin",
                "line": {"width": 2.5, "color": RED},
            },
            hoverinfo="skip",
        )
    figure.add_hline(y=promised, line={"color": BLACK, "dash": "dash", "width": 1.5})
    _explain_promise(figure)
    time_axis(figure)
    figure.update_yaxes(rangemode="tozero")
    return figure


def solver_figure(clearing: pd.DataFrame) -> go.Figure:
    """Seconds of every clearing over time, by what became of it."""
    figure = empty_figure(320, "", "time of one clearing [s]")
    steps = clearing.drop_duplicates("step")
    steps = steps[steps.wall_s > 0]
    fell = (steps.fallback.notna() & (steps.fallback != "")).to_numpy(dtype=bool)
    passes = steps.n_iterations.to_numpy()
    for name, rows, colour, symbol in (
        ("solved in one pass", ~fell & (passes <= 1), SKY, "circle"),
        ("solved in several passes", ~fell & (passes > 1), BLUE, "diamond"),
        ("with a fallback", fell, RED, "x"),
    ):
        if rows.any():
            figure.add_scatter(
                x=times(steps.time[rows]),
                y=short(steps.wall_s[rows]),
                mode="markers",
                name=name,
                marker={"color": colour, "symbol": symbol, "size": 6},
                text=[f"{n} passes" for n in passes[rows]],
                hovertemplate="%{x}<br>%{y:.2f} s, %{text}<extra></extra>",
            )
    time_axis(figure)
    figure.update_yaxes(rangemode="tozero")
    return figure


def phase_figure(seconds: Mapping[str, float]) -> go.Figure:
    """Where the time of the run went."""
    shown = [
        (name, spent) for name, spent in seconds.items() if spent >= 0.005 * sum(seconds.values())
    ]
    figure = empty_figure(90 + 26 * len(shown), "time [s]", "phase [name]")
    figure.add_bar(
        x=[spent for _, spent in shown],
        y=[safe(name.replace("_", " ")) for name, _ in shown],
        orientation="h",
        marker={"color": GREY},
        text=[f"{spent:.1f}" for _, spent in shown],
        textposition="auto",
        hovertemplate="%{y}: %{x:.1f} s<extra></extra>",
    )
    figure.update_yaxes(autorange="reversed")
    return figure


def _explain_promise(figure: go.Figure) -> None:
    """Name the line of the promise in the legend, where Plotly's own lines do not stand."""
    figure.add_scatter(
        x=[None],
        y=[None],
        mode="lines",
        name="promised at most",
        line={"color": BLACK, "dash": "dash"},
    )
