"""What was learnt is saved with a run, and another run takes it up."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agents.coalition import make_players
from agents.population import PeerSpec
from agents.strategies.protocol import Observation, Outcome
from simulation.model import CoSimulation
from simulation.run import main, prepare, run
from simulation.setup import build_world
from simulation.strategy_state import restore_states, save_states
from tests.agents.test_strategies import full_bid
from tests.simulation.test_no_look_ahead import Silence, assert_same

LEARNING = (
    "strategies=[{use: roth_erev, share: 0.3}, {use: zero_intelligence, among: prosumers},"
    " {use: bandit, share: 0.3, coalition: true}, {use: risk_averse, parameters: {n_min: 3}}]"
)
FOUR_HOURS = ("step_minutes=240", LEARNING)


@pytest.fixture(scope="module")
def first_day(scenario, tmp_path_factory):
    """Folder of a run of one day."""
    return run(scenario(*FOUR_HOURS), tmp_path_factory.mktemp("state") / "run")


def next_day(scenario, folder, *overrides):
    start = ("start=2016-06-05", f"strategy_state={folder / 'strategies.json'}")
    config = scenario(*FOUR_HOURS, *start, *overrides)
    return CoSimulation(config, build_world(config), Silence())


def both_days(scenario):
    config = scenario(*FOUR_HOURS, "days=2")
    model = CoSimulation(config, build_world(config), Silence())
    for _ in range(6):
        model.step()
    return model


def test_the_next_day_goes_on_as_if_it_were_one_run(scenario, first_day):
    """Strategies that are told the same make the same of it, in the old and in the new run."""
    old, new = both_days(scenario), next_day(scenario, first_day)
    assert {name: p.state() for name, p in old.players.items()} == {
        name: p.state() for name, p in new.players.items()
    }
    n_changed = 0
    for step in range(6, 12):
        bid = replace(full_bid(), step=step)
        observation = Observation(step, np.array([0.25, 0.26]), np.array([0.11, 0.11]))
        for prosumer, heir in zip(old.prosumers, new.prosumers, strict=True):
            submitted = prosumer.strategy.submit(bid, observation)
            assert_same(submitted, heir.strategy.submit(bid, observation))
            n_changed += (submitted.buy_limit_eur_per_kwh != bid.buy_limit_eur_per_kwh).any()
            n_changed += (submitted.load_kw != bid.load_kw).any()
        for k, pair in enumerate(zip(old.prosumers, new.prosumers, strict=True)):
            for prosumer in pair:
                outcome = Outcome(step, 1.0, 0.0, 0.1, 0.01 * k, 0.15, 5.0, 4.0, 3.0, 2.0)
                prosumer.strategy.learn(outcome)
    assert n_changed > 40


def test_a_run_can_start_from_a_state_and_saves_its_own(scenario, first_day, tmp_path):
    config = next_day(scenario, first_day).config
    folder = run(config, tmp_path / "second")
    before, after = (
        json.loads((at / "strategies.json").read_text(encoding="utf-8"))
        for at in (first_day, folder)
    )
    assert before.keys() == after.keys()
    entry = after["strategies.2"]
    assert (entry["strategy"], entry["parameters"]) == ("bandit", {})
    trials = [sum(saved["strategies.2"]["state"]["trials"]) for saved in (before, after)]
    assert trials == [5, 11]
    assert not list(folder.glob("*.part"))


def test_states_are_written_day_by_day(scenario, tmp_path, monkeypatch):
    prepared = prepare(scenario(*FOUR_HOURS), tmp_path / "run")
    saved = []
    monkeypatch.setattr(
        type(prepared.model), "save_strategies", lambda model, folder: saved.append(model.now)
    )
    from simulation.run import execute  # noqa: PLC0415 - after the class has been changed

    execute(prepared)
    assert saved == [6]


def test_the_truthful_have_nothing_to_save(scenario, tmp_path):
    specs = [PeerSpec(peer_id="a", bus=2)]
    players = make_players(specs, lambda name: np.random.default_rng())
    save_states(tmp_path, players, specs, step=0)
    assert json.loads((tmp_path / "strategies.json").read_text()) == {}
    restore_states(tmp_path / "strategies.json", players, specs)


# --- files that do not fit --------------------------------------------------------------------

BANDIT = {"strategy": "bandit", "parameters": {}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a JSON file"),
        (b"\xff\xfe", "not a UTF-8 text file"),
        ("[]", "should hold states by peer, got list"),
        ({"nobody": BANDIT | {"state": {}}}, "nobody: no peer or coalition of this run"),
        ({"a": {"state": {}}}, "a: should have strategy, parameters and state"),
        ({"a": 3}, "a: should have strategy, parameters and state"),
        ({"a": BANDIT | {"strategy": "roth_erev", "state": {}}}, "'roth_erev', but 'bandit'"),
        ({"a": BANDIT | {"parameters": {"n_actions": 3}, "state": {}}}, "'n_actions': 3}, but {}"),
        ({"a": BANDIT | {"state": {}}}, "a: not a state of strategy 'bandit': KeyError: 'step'"),
        ({"a": BANDIT | {"state": 5}}, "a: not a state of strategy 'bandit': TypeError"),
    ],
)
def test_files_that_do_not_fit(tmp_path, content, message):
    path = tmp_path / "s.json"
    if not isinstance(content, bytes):
        content = (content if isinstance(content, str) else json.dumps(content)).encode()
    path.write_bytes(content)
    specs = [PeerSpec(peer_id="a", bus=2, strategy="bandit")]
    players = make_players(specs, lambda name: np.random.default_rng())
    with pytest.raises(ValueError, match=f"strategy_state {path}.*{message}"):
        restore_states(path, players, specs)


@pytest.mark.parametrize(
    ("override", "places"),
    [
        ("strategy_state=none.json", ["strategy_state", "none.json", "no such file"]),
        ("strategies.0.parameters.markup=-0.1", ["strategies.0.parameters.markup", "-0.1", "[0"]),
        ("strategies.0.parameters.markup=[0.1]", ["strategies.0.parameters.markup", "number"]),
        ("strategies.0.parameters={pace: 1}", ["strategies.0.use", "'pace'", "it takes markup"]),
        ("strategies.0.use=nobody", ["strategies.0.use", "'nobody'", "zero_intelligence"]),
        ("strategies.0.use=mine:Own", ["strategies.0.use", "--allow-plugins mine"]),
        ("strategies.0.share=1.5", ["strategies.0.share", "1.5", "less than or equal to 1"]),
        ("strategies.0.network=north", ["strategies.0.network", "'north'", "west"]),
        ("strategies.0.among=rich", ["strategies.0.among", "'rich'", "'storage'"]),
        ("strategies.0.from_day=0", ["strategies.0.from_day", "0", "greater than or equal to 1"]),
        ("strategies.1.share=0.5", ["strategies.1.share", "no entry '1'"]),
        ("strategies.0.shares=0.5", ["strategies.0.shares", "did you mean share"]),
    ],
)
def test_refusals(*, small, tmp_path, monkeypatch, capsys, override, places):
    monkeypatch.chdir(tmp_path)
    assert main(["--config", str(small / "small.yaml"), "--quiet", "--set", override]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    for place in places:
        assert place in err
    assert list(Path().iterdir()) == []


def test_kinds_that_nobody_is(small, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    overrides = ["strategies.0.among=dispatchable", "networks.west.population.n_dispatchable=0"]
    options = [part for override in overrides for part in ("--set", override)]
    assert main(["--config", str(small / "small.yaml"), "--quiet", *options]) == 2
    err = capsys.readouterr().err
    assert "strategies.0.among: no peer of network west is among 'dispatchable'" in err
    assert list(Path().iterdir()) == []
