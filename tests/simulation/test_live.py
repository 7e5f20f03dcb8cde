"""A simulation that is watched does what a run does, until its settings are changed."""

import pandas as pd
import pytest

from configs.loading import load
from simulation.live.controls import changed, in_words, labelled, model_params
from simulation.live.live import LiveSimulation
from simulation.live.served import Served
from simulation.live.views import key_figures
from simulation.model import CoSimulation


@pytest.fixture
def start(scenario):
    """Begin to watch the scenario with overrides."""
    return lambda *overrides: Served(LiveSimulation, model_params(scenario(*overrides))).start()


def values(model, **new):
    """Values of all controls of a model, some of them changed."""
    params = model_params(model._scenario)
    del params["scenario"]
    return {name: param["value"] for name, param in params.items()} | new


def advance(model, n_steps):
    for _ in range(n_steps):
        model.step()
    assert model.message == ""


def test_it_does_what_the_run_does(start, day):
    model = start()
    assert model.moment is None
    advance(model, 3)
    tables = {
        name: getattr(day, name).query("step < 3")
        for name in ("clearing", "trades", "costs", "violations", "settlement")
    }
    pd.testing.assert_frame_equal(model.history, key_figures(tables), check_dtype=False)
    for peer in model.peers.index[:3]:
        expected = tables["settlement"].query("account == @peer").groupby("item").amount_eur.sum()
        pd.testing.assert_series_equal(model.account(peer), expected, check_names=False)


def test_the_schedule_is_that_of_the_window(start, day):
    model = start()
    advance(model, 2)
    owner = model.peers.index[model.peers.battery_kwh > 0][0]
    _, rows = model.schedule(owner)
    told = day.dispatch.query("step == 1 and peer_id == @owner").iloc[0]
    assert len(rows) == 4
    assert rows.time[0] == told.time
    assert rows.injection_kw[0] == pytest.approx(told.p_scheduled_kw)
    assert rows.stored_kwh.notna().all()
    poor = model.peers.index[model.peers.battery_kwh == 0][0]
    assert model.schedule(poor)[1].stored_kwh.isna().all()


def test_the_last_step_ends_it(start):
    model = start("step_minutes=240")
    for _ in range(8):
        model.step()
    assert not model.running
    assert model.message == ""
    assert len(model.history) == model.n_steps == 6


def test_changed_settings_take_effect_at_the_next_clearing(start, day):
    model = start()
    advance(model, 10)
    before = model.settings
    model.ask(**values(model, risk_level=0.3, coordination="none"))
    assert (model.settings, "risk level 0.3" in model.pending) == (before, True)
    assert model.history.cost_eur[9] == pytest.approx(day.costs.query("step == 9").amount_eur.sum())
    advance(model, 1)
    assert "risk level 0.3" in model.settings
    assert model.pending == ""
    assert model.history.within_kwh[10] == model.history.across_kwh[10] == 0
    assert day.trades.query("step == 10").energy_kwh.sum() > 1


def test_changed_settings_wait_while_a_clearing_binds(start):
    model = start("market.cadence_steps=2")
    advance(model, 1)
    model.ask(**values(model, risk_level=0.1))
    advance(model, 1)
    assert "risk level 0.05" in model.settings
    advance(model, 1)
    assert "risk level 0.1" in model.settings


def test_bids_stay_while_a_clearing_binds(start):
    model = start("market.cadence_steps=2")
    advance(model, 2)
    assert set(model.moment.tables["bids"].step) == {0}


def test_what_cannot_be_set_is_told_and_changes_nothing(start):
    model = start()
    model.ask(**values(model, method="mine"))
    assert model.message.startswith("this cannot be set: method: ")
    assert model.pending == ""
    model.ask(**values(model))
    assert model.message == ""


@pytest.mark.parametrize("error", [ValueError("no wind at all"), RuntimeError("no wind at all")])
def test_a_failing_step_stops_with_a_message(start, monkeypatch, error):
    model = start()
    monkeypatch.setattr(CoSimulation, "_forecast", lambda self: (_ for _ in ()).throw(error))
    model.step()
    assert model.message == "stopped: no wind at all"
    assert not model.running
    model.step()
    model.ask(**values(model, risk_level=0.1))
    assert model.pending == ""
    assert model.moment is None


def test_a_scenario_that_cannot_be_built_is_told(start):
    model = start("start=2031-01-01")
    assert "2031" in model.message
    assert not model.running
    assert model.sites == ()


def test_reset_takes_the_share_of_strategic_peers(scenario):
    params = model_params(scenario())
    assert params["strategic_share"]["value"] == 0.3
    model = LiveSimulation(**{**_plain(params), "strategic_share": 1.0})
    assert set(model.peers[model.peers.network == "west"].strategy) == {"markup"}


def _plain(params):
    return {k: v["value"] if isinstance(v, dict) else v for k, v in params.items()}


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        ({"radius": "formula"}, {"radius_rule": "formula"}),
        ({"radius": "0.002"}, {"radius_rule": "fixed", "radius": 0.002}),
        ({"risk_level": 0.1 + 0.2}, {"risk_level": 0.3}),
        ({"method": "gaussian"}, {"method": "gaussian"}),
        ({"pricing": "dlmp", "coordination": "none"}, {"pricing": "dlmp", "coordination": "none"}),
    ],
)
def test_controls_change_the_market_and_nothing_else(new, expected):
    config = load("smoke")
    out = changed(config, {**_plain(model_params(config)), **new})
    assert out.market == config.market.model_copy(update=expected)
    assert out == config.model_copy(update={"market": out.market})


def test_strategic_peers_of_a_scenario_without_any_ask_more():
    config = load("smoke")
    (use,) = changed(config, {**_plain(model_params(config)), "strategic_share": 0.25}).strategies
    assert (use.use, use.share) == ("markup", 0.25)


def test_controls_begin_at_the_scenario():
    config = load("smoke", ["market.radius_rule=fixed", "market.radius=0.0003"])
    params = model_params(config)
    assert params["radius"]["value"] in params["radius"]["values"]
    assert changed(config, _plain(params)) == config
    assert "radius 0.0003" in in_words(config)


def test_labels_tell_the_values():
    params = model_params(load("smoke"))
    assert labelled(params, {})["risk_level"]["label"] == "Risk level: 0.05"
    shown = labelled(params, {"risk_level": 0.1, "strategic_share": 0.5})
    assert shown["strategic_share"]["label"] == "Strategic peers: 50%"
    assert labelled({"run": None}, {}) == {"run": None}
