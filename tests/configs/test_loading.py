"""Scenarios: those shipped, overrides, and faults that name their place."""

import datetime as dt
import os
from pathlib import Path

import pytest

from configs.loading import ConfigError, dump, load, shipped
from configs.schema import ScenarioConfig, StrategyUse

NETWORKS = """
networks:
  - {name: west, case: case85}
  - {name: east, case: case69, load_scale: 0.5}
"""


@pytest.fixture
def save(tmp_path):
    def write(text: str, name: str = "scenario.yaml") -> str:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


# --- what loads -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", shipped())
def test_shipped_scenarios_load(name):
    config = load(name)
    assert config.name == name
    assert config.n_steps > 0


def test_the_default_is_shipped():
    assert "default" in shipped()


@pytest.mark.parametrize("name", shipped())
def test_round_trip(name, save):
    config = load(name, ["seed=12", "market.radius=0.001", "networks.0.load_scale=0.9"])
    text = dump(config)
    again = load(save(text))
    assert again == config
    assert dump(again) == text


def test_a_file_needs_only_networks(save):
    config = load(save(NETWORKS))
    assert [network.name for network in config.networks] == ["west", "east"]
    assert config == ScenarioConfig(networks=config.networks)


def test_derived_numbers(save):
    config = load(save(NETWORKS), ["step_minutes=15", "days=2", "market.horizon_hours=6"])
    assert config.step_hours == 0.25
    assert config.steps_per_day == 96
    assert config.n_steps == 192
    assert config.n_window_steps == 24
    tiny = load(save(NETWORKS), ["market.horizon_hours=0.1"])
    assert tiny.n_window_steps == 1


def test_copies_are_networks_of_their_own(save):
    config = load(save(NETWORKS), ["networks.west.copies=3", "days=1"])
    assert [network.name for network in config.networks] == ["west-1", "west-2", "west-3", "east"]
    assert {network.case for network in config.networks[:3]} == {"case85"}
    assert all(network.copies == 1 for network in config.networks)
    assert load(save(dump(config))) == config


@pytest.mark.parametrize("copies", ["0", "1001", "many"])
def test_copies_are_a_sensible_number(save, copies):
    with pytest.raises(ConfigError, match=r"networks\.0\.copies"):
        load(save(NETWORKS), [f"networks.0.copies={copies}"])


def test_a_copy_needs_a_name_of_its_own(save):
    clash = "networks: [{name: w-1, case: case85}, {name: w, case: case85, copies: 2}]"
    with pytest.raises(ConfigError, match="unique"):
        load(save(clash))
    with pytest.raises(ConfigError, match="at most 60 characters"):
        load(save(f"networks: [{{name: {'w' * 61}, case: case85, copies: 2}}]"))


# --- overrides --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("days=3", lambda c: c.days == 3),
        ("start=2016-02-29", lambda c: c.start == dt.date(2016, 2, 29)),
        ("market.risk_level=0.1", lambda c: c.market.risk_level == 0.1),
        ("market.method=gaussian", lambda c: c.market.method == "gaussian"),
        ("networks.east.load_scale=0.7", lambda c: c.networks[1].load_scale == 0.7),
        ("networks.1.load_scale=0.7", lambda c: c.networks[1].load_scale == 0.7),
        (
            "networks.west.population.wind_fraction=0",
            lambda c: (
                c.networks[0].population.wind_fraction == 0
                and c.networks[1].population.wind_fraction > 0
            ),
        ),
        (
            "networks.west.capacitors=[{bus: 8, kvar: 150}]",
            lambda c: c.networks[0].capacitors[0].kvar == 150,
        ),
        ("networks.east={name: new, case: case69}", lambda c: c.networks[1].name == "new"),
        ("networks=[{name: only, case: case69}]", lambda c: len(c.networks) == 1),
        ("networks.west.source_vm_pu=null", lambda c: c.networks[0].source_vm_pu is None),
    ],
)
def test_override(save, override, value):
    assert value(load(save(NETWORKS), [override]))


def test_later_overrides_win(save):
    assert load(save(NETWORKS), ["days=3", "days=4"]).days == 4


def test_overrides_leave_the_rest_alone(save):
    plain = load(save(NETWORKS))
    changed = load(save(NETWORKS), ["networks.east.load_scale=0.7"])
    assert changed.networks[0] == plain.networks[0]
    assert changed.model_copy(update={"networks": plain.networks}) == plain


STRATEGIES = """
strategies:
  - {use: bandit, share: 0.25, parameters: {n_actions: 5, exploration: 0.2, algorithm: exp3}}
  - {use: "mine:Own", network: east, from_day: 3, parameters: {bold: true}}
"""


def test_strategies(save):
    config = load(save(NETWORKS + STRATEGIES), ["strategies.1.share=0.5", "seed=2"])
    bandit, own = config.strategies
    assert bandit == StrategyUse(
        use="bandit",
        share=0.25,
        parameters={"n_actions": 5, "exploration": 0.2, "algorithm": "exp3"},
    )
    assert (own.use, own.share, own.network, own.from_day) == ("mine:Own", 0.5, "east", 3)
    assert own.parameters["bold"] is True
    assert type(bandit.parameters["n_actions"]) is int
    assert load(save(dump(config), "again.yaml")) == config
    changed = load(save(NETWORKS + STRATEGIES), ["strategies.0.parameters.n_actions=7"])
    assert changed.strategies[0].parameters == bandit.parameters | {"n_actions": 7}
    assert load(save(NETWORKS), [f"strategies={[{'use': 'truthful'}]}"]).strategies == (
        StrategyUse(use="truthful"),
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("strategies.0.share=2", "strategies.0.share: .*less than or equal to 1"),
        ("strategies.1.network=north", r"strategies.1.network: no network 'north'; .*'west'"),
        ("strategies.0.parameters.pace=[1]", "strategies.0.parameters.pace: .*should be a number"),
        ("strategies.0.parameters.pace=", "strategies.0.parameters.pace: .*should be a number"),
        ("strategies.0.among=rich", "strategies.0.among: .*'consumers'"),
        ("strategies.2.share=0", r"no entry '2'; .*0 to 1"),
    ],
)
def test_bad_strategies(save, override, message):
    with pytest.raises(ConfigError, match=message):
        load(save(NETWORKS + STRATEGIES), [override])


# --- files ------------------------------------------------------------------------------------


def test_paths_are_relative_to_the_file(save, tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    text = (
        "networks:\n  - {name: a, source: csv, case: b.csv, lines: l.csv, peer_table: p.csv}\n"
        "  - {name: b, case: case69}\n"
        "prices: {file: prices.csv}\nprofiles: {file: /else/where.csv}\nforecast: {file: f.csv}\n"
        "strategy_state: strategies.json\n"
    )
    name = save(text, "sub/scenario.yaml")
    monkeypatch.chdir(tmp_path)
    for path in (name, os.path.relpath(name)):
        config = load(path)
        network = config.networks[0]
        for value, file in (
            (network.case, "b.csv"),
            (network.lines, "l.csv"),
            (network.peer_table, "p.csv"),
            (config.prices.file, "prices.csv"),
            (config.forecast.file, "f.csv"),
            (config.strategy_state, "strategies.json"),
        ):
            assert Path(value) == tmp_path / "sub" / file
        assert config.profiles.file == Path("/else/where.csv")
        assert config.networks[1].case == "case69"


def test_a_resolved_scenario_can_be_run_from_anywhere(save, tmp_path, monkeypatch):
    """What ``dump`` writes into a results folder still finds the files."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "results").mkdir()
    save("networks:\n  - {name: a, case: case69, peer_table: p.csv}\n", "sub/scenario.yaml")
    monkeypatch.chdir(tmp_path)
    config = load("sub/scenario.yaml")
    save(dump(config), "results/config.yaml")
    monkeypatch.chdir(tmp_path / "sub")
    assert load("../results/config.yaml") == config


# --- faults -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dayz: 3", "unknown key dayz; did you mean days\\?"),
        ("market: {riskk_level: 0.1}", "unknown key market.riskk_level; did you mean risk_level"),
        ("market: {zzz: 1}", "unknown key market.zzz; allowed are coordination, method, "),
        ("days: many", "days: .*valid integer.*'many'"),
        ("days: 2.5", "days: .*2.5"),
        ("days: 0", r"days: .*greater than or equal to 1 \(got 0\)"),
        ("market: {risk_level: 1.5}", r"market.risk_level: .*less than 1 \(got 1.5\)"),
        ("market: {risk_level: .nan}", "market.risk_level: "),
        ("market: {radius: -1}", "market.radius: .*-1"),
        ("market: {radius: .inf}", "market.radius: .*finite"),
        ("market: {method: guess}", "market.method: .*'deterministic'.*'guess'"),
        ("market: {coordination: all}", "market.coordination: .*'across_networks'"),
        ("market: {cadence_steps: 25}", "cadence_steps 25 must not exceed the window of 24"),
        ("market: {look_ahead_blocks: [1, 2, 3]}", "look_ahead_blocks have 6 steps.* has 24"),
        ("market: {look_ahead_blocks: [2, 22]}", r"look_ahead_blocks \[2, 22\]: the first 1 "),
        ("market: {look_ahead_blocks: [1, 0, 23]}", "look_ahead_blocks.1: .*greater than or equal"),
        ("market: 5", "market: "),
        ("market:", "market: "),
        ("step_minutes: 7", "step_minutes: .*7 must divide a day"),
        ("start: yesterday", "start: .*date.*'yesterday'"),
        ("start: 2016-02-30", "not valid YAML: .*day is out of range"),
        ("seed: -1", "seed: .*-1"),
        ("name: ../up", "name: .*pattern"),
        ("prices: {feed_in_eur_per_kwh: 1}", "prices: .*retail_adder_eur_per_kwh 0.225"),
        ("prices: {imbalance_buy_factor: .inf}", "prices.imbalance_buy_factor: .*finite"),
        ("forecast: {sample_days: 1}", "forecast.sample_days: .*1"),
        ("profiles: {file: 5}", "profiles.file: .*path"),
        ("1: 2", "Keys should be strings"),
        ("? [a, b]\n: 3", "not valid YAML: .*unhashable key"),
        ("a: [", "not valid YAML"),
    ],
)
def test_bad_settings(save, text, message):
    name = save(f"{text}\n{NETWORKS}")
    with pytest.raises(ConfigError, match=message) as caught:
        load(name)
    assert str(caught.value).startswith(f"{name}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("days: 3", "networks is missing"),
        ("networks: []", "networks: .*at least 1"),
        ("networks: 5", "networks: .*5"),
        ("networks: [5]", "networks.0: "),
        ("networks: [{name: a}]", "networks.0.case is missing$"),
        ("networks: [{case: case69}]", "networks.0.name is missing$"),
        ("networks: [{name: a b, case: case69}]", "networks.0.name: "),
        (
            "networks: [{name: a, case: case69, load_scal: 1}]",
            r"unknown key networks.0.load_scal; did you mean load_scale\?$",
        ),
        (
            "networks: [{name: a, case: case69, population: {wind_frac: 1}}]",
            "unknown key networks.0.population.wind_frac; did you mean wind_fraction",
        ),
        (
            "networks: [{name: a, case: case69, capacitors: [{bus: 3, kvr: 5}]}]",
            "unknown key networks.0.capacitors.0.kvr; did you mean kvar",
        ),
        ("networks: [{name: a, source: cvs, case: x}]", "networks.0.source: .*'csv'.*'cvs'"),
        ("networks: [{name: a, source: csv, case: x}]", "networks.0: .*lines names the CSV file"),
        ("networks: [{name: a, case: case69, lines: x}]", "networks.0: .*lines names"),
        ("networks: [{name: a, case: x}, {name: a, case: y}]", "called 'a'; names must be unique"),
        ("networks: [{name: a, case: x, v_min_pu: 1.0}]", "networks.0.v_min_pu: .*less than 1"),
        ("- just\n- a list", "must be a mapping of settings, got list"),
        ("", "must be a mapping of settings, got NoneType"),
        ("words", "must be a mapping of settings, got str"),
    ],
)
def test_bad_networks(save, text, message):
    name = save(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load(name)
    assert str(caught.value).startswith(f"{name}: ")


def test_all_faults_are_named(save):
    with pytest.raises(ConfigError, match=r"days: .*; market\.radius: .*; unknown key zzz"):
        load(save(f"days: 0\nmarket: {{radius: -1}}\nzzz: 1\n{NETWORKS}"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("days", "--set days: expected key.path=value"),
        ("=3", "--set =3: expected key.path=value"),
        ("days=[", r"--set days=\[: the value is not valid YAML"),
        ("start=2016-13-01", "--set start=2016-13-01: the value is not valid YAML"),
        (
            "networks.north.case=x",
            r"--set networks.north.case=x: no entry 'north'; .*'west', 'east'",
        ),
        ("networks.2.case=x", "no entry '2'"),
        ("networks.-1.case=x", "no entry '-1'"),
        ("networks.west.name.x=1", "--set networks.west.name.x=1: name is a single value"),
        ("networks.west.name.x.y=1", "--set networks.west.name.x.y=1: there is nothing below x"),
        ("market.risk_lvl=0.1", "unknown key market.risk_lvl; did you mean risk_level"),
        ("markt.risk_level=0.1", "unknown key markt; did you mean market"),
        ("market.risk_level=5%", "market.risk_level: .*'5%'"),
    ],
)
def test_bad_overrides(save, override, message):
    with pytest.raises(ConfigError, match=message):
        load(save(NETWORKS), [override])


def test_files_that_cannot_be_read(tmp_path, save):
    with pytest.raises(ConfigError, match=r"^nowhere: neither a readable file .* \(.*default.*\)"):
        load("nowhere")
    with pytest.raises(ConfigError, match=f"^{tmp_path}: neither a readable file"):
        load(str(tmp_path))
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=f"^{binary}: not a UTF-8 text file"):
        load(str(binary))


def test_settings_are_frozen(save):
    config = load(save(NETWORKS))
    with pytest.raises(ValueError, match="frozen"):
        config.days = 5
