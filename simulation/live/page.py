"""The live page: Mesa's controls beside the networks, the curves and a peer."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING, Any

import solara
from mesa.visualization.solara_viz import ModelController, ModelCreator
from mesa.visualization.utils import update_counter

from simulation.live import feeder_maps, figures, tables
from simulation.live.controls import labelled
from simulation.live.served import PLOTLY_FOLDER, served
from simulation.live.views import flows, states

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    import plotly.graph_objects as go

    from simulation.live.views import Watched

STYLE = Path(__file__).with_name("page.css")


@solara.component_vue("plot.vue")
def _Plot(  # noqa: N802
    figure: str,
    height: int,
    label: str,
    script: str = f"{PLOTLY_FOLDER}/plotly.min.js",
    event_click: Callable[[dict[str, Any]], None] | None = None,
) -> None:
    """Draw a Plotly figure, given as JSON; FigureWidget would load the library once a figure."""


def _draw(
    figure: go.Figure, label: str, on_click: Callable[[dict[str, Any]], None] = lambda _: None
) -> None:
    _Plot(figure=figure.to_json(), height=figure.layout.height, label=label, event_click=on_click)


@solara.component
def Page() -> None:  # noqa: N802 (components are named like classes)
    """One session: a model of its own, its controls, and what it shows."""
    what = served()
    first = solara.use_memo(what.start, [])
    model = solara.use_reactive(first)
    values = solara.use_reactive({})
    interval = solara.use_reactive(200)
    one, no_threads = solara.use_reactive(1), solara.use_reactive(False)
    peer = solara.use_reactive(None)
    jumps = solara.use_reactive(0)
    is_live = hasattr(model.value, "ask")

    def ask() -> None:
        if is_live and values.value:
            model.value.ask(**values.value)
            update_counter.value += 1

    solara.use_effect(ask, [values.value])
    shown = solara.use_ref(first)
    shown.current = model.value

    def leave() -> None:
        """Stop what plays when the page is closed; Mesa's thread would go on to the last step."""
        shown.current.running = False

    solara.use_effect(lambda: leave, [])

    def go_to(step: int) -> None:
        model.value.go_to(step - 1)
        jumps.value += 1
        update_counter.value += 1

    solara.Title(f"{model.value.title} – drcosim")
    solara.Style(STYLE)
    with solara.Div(classes=["live-frame"]):
        with solara.Div(classes=["live-controls"]):
            solara.HTML("h1", model.value.title)
            # After a jump the controller starts anew: it stops playing, and knows whether steps
            # follow.
            ModelController(
                model,
                model_parameters=values,
                play_interval=interval,
                render_interval=one,
                use_threads=no_threads,
            ).key(f"controller {jumps.value}")
        with solara.Div(classes=["live-page"]):
            Shown(model.value, peer, go_to=None if is_live else go_to)
        with solara.Div(classes=["live-note"]):
            if is_live:
                solara.HTML("h2", "Settings")
            ModelCreator(model, labelled(what.params, values.value), model_parameters=values)
            solara.SliderInt(f"Pause: {interval.value} ms", value=interval, max=2000, step=100)
            solara.HTML("p", _HELP_LIVE if is_live else _HELP_STORED, classes=["live-note"])


_HELP_LIVE = (
    "▶ plays and ❚❚ pauses. A changed setting takes effect at the next clearing of the running "
    "simulation; the share of strategic peers at the next reset, since they are drawn at the "
    "beginning. Reset starts over with the settings as they stand here."
)
_HINT = (
    "Voltages and loadings of the AC power flow. Large dots are buses with peers: click one, and "
    "once more for the next peer there; its bid, schedule and account appear below."
)
_HELP_STORED = "▶ plays and ❚❚ pauses; Reset goes back to the first step."


@solara.component
def Shown(  # noqa: N802
    model: Watched,
    peer: solara.Reactive[str | None],
    go_to: Callable[[int], None] | None,
) -> None:
    """All that changes with the step."""
    now = update_counter.value
    moment = model.moment
    if model.message:
        solara.Error(model.message)
    solara.HTML("div", unsafe_innerHTML=_facts(model))
    solara.HTML("p", unsafe_innerHTML=_settings(model), classes=["live-note"])
    if go_to is not None and moment is not None:
        solara.SliderInt(
            "Go to step", value=moment.step + 1, on_value=go_to, min=1, max=max(model.n_steps, 2)
        )
    if not model.sites:
        return

    def pick(click: dict[str, Any]) -> None:
        found = feeder_maps.clicked_bus(model.sites, click["trace"], click["x"], click["y"])
        if found is not None:
            site, bus = found
            peer.value = site.next_peer(bus, peer.value) or peer.value

    solara.HTML("div", unsafe_innerHTML=tables.legend())
    _draw(feeder_maps.maps(model.sites, moment, peer.value), "Maps of the networks", pick)
    solara.HTML("p", _HINT, classes=["live-note"])
    _scrolled("" if moment is None else tables.states_table(states(moment, model.sites)))
    with solara.ColumnsResponsive(12, large=[6, 6]):
        with solara.Column(gap="0"):
            Peer(model, peer, now)
        with solara.Column(gap="0"):
            solara.HTML("h2", "So far")
            _draw(figures.curves(model.history), "Key figures of the steps so far")
            _scrolled("" if moment is None else tables.flows_table(flows(moment, model.peers)))


@solara.component
def Peer(model: Watched, peer: solara.Reactive[str | None], now: int) -> None:  # noqa: N802
    """One peer: its devices, its bid, its schedule, its account."""
    solara.HTML("h2", "Peer")
    solara.v.Autocomplete(
        label="Peer: click a bus, or choose here",
        items=[str(name) for name in model.peers.index],
        v_model=peer.value,
        on_v_model=peer.set,
        dense=True,
        outlined=True,
        clearable=True,
        hide_details=True,
    )
    if peer.value is None or peer.value not in model.peers.index:
        solara.HTML("p", "Its bid, schedule and account appear here.", classes=["live-note"])
        return
    solara.HTML("p", _devices(model.peers.loc[peer.value]), classes=["live-note"])
    if model.moment is None:
        return
    words, schedule = model.schedule(peer.value)
    _scrolled(tables.bids_table(model.moment, peer.value))
    solara.HTML("p", f"Schedule, {words}", style="font-weight: 600; font-size: 0.85rem; margin: 0")
    _draw(figures.schedule(schedule), f"Schedule of {peer.value}")
    _scrolled(tables.account_table(model.account(peer.value)))


def _scrolled(content: str) -> None:
    solara.HTML("div", unsafe_innerHTML=content, classes=["live-scroll"])


def _facts(model: Watched) -> str:
    """Key figures at the top, as a list of terms and values."""
    moment, history = model.moment, model.history
    facts = {"step": f"0 of {model.n_steps}"}
    if moment is not None:
        facts = {
            "step": f"{moment.step + 1} of {model.n_steps}",
            "time [UTC]": f"{moment.time:%d %b %Y %H:%M}",
            "cost so far [EUR]": tables.number(history.cost_eur.sum(), 2),
            "steps with a violation": str(int((history.n_violations > 0).sum())),
            "traded within networks [kWh]": tables.number(history.within_kwh.sum(), 0),
            "across networks [kWh]": tables.number(history.across_kwh.sum(), 0),
        }
        if history.fallback.any():
            facts["steps with a fallback"] = str(int(history.fallback.sum()))
    items = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts.items())
    return f"<dl class='live-facts'>{items}</dl>"


def _settings(model: Watched) -> str:
    """Settings in force, and those that wait for the next clearing."""
    words = f"In force: {html.escape(model.settings)}."
    if model.pending:
        words += f" <b>From the next clearing: {html.escape(model.pending)}.</b>"
    return words


def _devices(peer: pd.Series) -> str:
    """Tell what a peer owns, in words."""
    ratings = {
        "PV": (peer.pv_kw, "kW"),
        "wind": (peer.wind_kw, "kW"),
        "battery": (peer.battery_kwh, "kWh"),
        "dispatchable unit": (peer.dispatchable_kw, "kW"),
    }
    owned = [f"{name} {value:,.0f} {unit}" for name, (value, unit) in ratings.items() if value > 0]
    return f"bus {peer.bus} of {peer.network}; {', '.join(owned) or 'load only'}; {peer.strategy}"
