"""Scenario files by somebody who errs or means harm: refused in one line, and nothing is written.

A mutation puts one value in one place of a resolved scenario. What the place held before decides
what cannot be valid there.
"""

import math
from pathlib import Path

import pytest
import yaml

from configs.limits import NETWORKS, SETTINGS_BYTES, SETTINGS_DEPTH
from configs.loading import dump, load
from configs.schema import ScenarioConfig
from simulation import run
from tests.simulation.hostile import BUSES, LINES, SCENARIO, ask, fault, leaves, put, write

NO_NUMBERS = ("word", "", [1.0], {"a": 1}, math.nan, math.inf, -math.inf, -1, 1e30, True)
NO_WORDS = ([], {"a": 1}, 3.5, None, "\x1b[2J", True, ["x"])
NO_TRUTHS = ("perhaps", [], {"a": 1}, 7, None, math.nan)
NO_SECTIONS = (None, 5, "word", [1], True, "")
NO_LISTS = (None, 5, "word", {"a": 1}, [None], [{}], [5], True)
NOTHING_KNOWN = ({"a": [1]}, [[]], math.nan, True)
"""Values that are valid in no place that holds null."""


def impossible(value):
    """Values that cannot stand where this one stands."""
    kinds = {
        bool: NO_TRUTHS,
        dict: NO_SECTIONS,
        list: NO_LISTS,
        str: NO_WORDS,
        type(None): NOTHING_KNOWN,
    }
    return kinds.get(type(value), NO_NUMBERS)


@pytest.fixture
def work(tmp_path, monkeypatch):
    """An empty working folder, beside one of input files."""
    (tmp_path / "input").mkdir()
    write(tmp_path / "input", "b.csv", BUSES)
    write(tmp_path / "input", "l.csv", LINES)
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(run, "execute", lambda *_, **__: "")
    return folder


def mutations(tree):
    """Every mutation of a scenario: (place, scenario)."""
    for place, value in leaves(tree):
        for bad in impossible(value):
            # Of an input file only its name is told.
            is_file = place[-1] in ("case", "lines") and isinstance(bad, str)
            yield ((*place[:-1], "input") if is_file else place), put(tree, place, bad)
        if isinstance(value, dict):
            yield (*place, "unknwon"), put(tree, (*place, "unknwon"), 1)
    yield ("networks",), put(tree, ("networks",), tree["networks"] * 2)
    yield ("unknwon",), put(tree, ("unknwon",), 1)


def resolved(folder: Path):
    """A scenario with all settings written out."""
    network = {**SCENARIO["networks"][0], "capacitors": [{"bus": 3, "kvar": 5.0}]}
    use = {"use": "markup", "share": 0.5, "parameters": {"markup": 0.1}}
    more = {**SCENARIO, "networks": [network], "strategies": [use]}
    return yaml.safe_load(dump(load(write(folder, "valid.yaml", more))))


def ask_for_all(work, found):
    """Refusals of mutated scenarios that are not as they should be."""
    folder = work.parent / "input"
    wrong = []
    for place, tree in found:
        answer = ask("--quiet", "--config", write(folder, "mutated.yaml", tree))
        named = str(place[-1]) in answer.err or ".".join(map(str, place[:-1])) in answer.err
        reason = fault(answer, work) or ("" if named else f"place not named: {answer.err}")
        if reason:
            wrong.append((place, reason))
    return wrong


def test_mutated_scenarios_are_refused(work):
    """A third of all mutations; the other test makes them all."""
    found = list(mutations(resolved(work.parent / "input")))[::3]
    assert len(found) >= 250
    assert ask_for_all(work, found) == []


@pytest.mark.slow
def test_all_mutated_scenarios_are_refused(work):
    found = list(mutations(resolved(work.parent / "input")))
    print(f"{len(found)} mutated scenarios")
    assert len(found) >= 700
    assert ask_for_all(work, found) == []


def test_the_scenario_that_is_mutated_is_valid(work, monkeypatch):
    prepared = []
    monkeypatch.setattr(run, "_execute", lambda task, *_: prepared.append(task.config) or 0)
    valid = write(work.parent / "input", "s.yaml", resolved(work.parent / "input"))
    assert ask("--quiet", "--config", valid).code == 0
    assert dump(prepared[0]) == dump(load(valid))


# --- files ------------------------------------------------------------------------------------

TEXT = yaml.safe_dump(SCENARIO, sort_keys=False)
BOMB = "a: &a0 [x, x, x, x, x, x, x, x]\n" + "".join(
    f"k{k}: &a{k + 1} [{', '.join([f'*a{k}'] * 8)}]\n" for k in range(12)
)
MERGE_BOMB = "a: &a0 {x: 1}\n" + "".join(
    f"k{k}: &a{k + 1} {{<<: [{', '.join([f'*a{k}'] * 9)}]}}\n" for k in range(14)
)
TAGS = (
    "!!python/object/apply:os.system ['touch harmed']",
    "!!python/object/new:subprocess.Popen [[touch, harmed]]",
    "!!python/name:os.system ''",
    "!!python/module:subprocess ''",
    "!!python/tuple [1]",
    "!own 1",
)


@pytest.mark.parametrize(
    ("content", "places"),
    [
        (b"", ["mapping"]),
        (b"# nothing\n", ["mapping"]),
        (b"word", ["mapping"]),
        (b"\xff\xfea: 1", ["UTF-8", "byte 1"]),
        (TEXT.encode("utf-16"), ["UTF-8"]),
        (TEXT.encode() + b"emissions: \x00", ["YAML"]),
        (TEXT + "market:\n\trisk_level: 0.1\n", ["line", "cannot start any token"]),
        (TEXT + "days: 2\n", ["line", "'days' stands twice"]),
        (TEXT.replace("horizon_hours: 2", "horizon_hours: 2\n  horizon_hours: 3"), ["twice"]),
        (TEXT + "---\ndays: 2\n", ["single document"]),
        (TEXT + "emissions: &a {grid_kg_per_kwh: *a}\n", ["alias inside"]),
        (TEXT + "emissions: *unknown\n", ["unknown"]),
        (TEXT + BOMB, ["values, aliases written out"]),
        (TEXT + MERGE_BOMB, ["values, aliases written out"]),
        (TEXT + "strategies: " + "[" * 5000, [f"more than {SETTINGS_DEPTH} levels"]),
        (TEXT + "strategies: " + "{a: " * 5000, [f"more than {SETTINGS_DEPTH} levels"]),
        (TEXT + "seed: " + "9" * 30, ["too large a number"]),
        (TEXT + "seed: " + "9" * 6000, ["line", "no value"]),
        (TEXT + "seed: 0x" + "f" * 6000, ["too large a number"]),
        (TEXT + "seed: !!int word", ["line", "no value"]),
        (TEXT + "? [a]\n: 1\n", ["unhashable"]),
        (TEXT + "1: 2\n", ["1"]),
        (TEXT + '"\\e[31m": 2\n', ["unknown key \\x1b[31m"]),
        (TEXT + f"? {'k' * 100_000}\n: 2\n", ["unknown key", "kkk ..."]),
        (b"#" * (SETTINGS_BYTES + 1), [f"{SETTINGS_BYTES:,}"]),
        *((TEXT + f"emissions: {tag}\n", ["YAML", "tag"]) for tag in TAGS),
        *((TEXT + f"{key}: {tag}\n", ["YAML"]) for key in ("seed", "name") for tag in TAGS),
    ],
)
def test_texts_that_are_no_scenarios(work, content, places):
    answer = ask("--quiet", "--config", write(work.parent / "input", "s.yaml", content))
    assert fault(answer, work) == ""
    for place in ("s.yaml", *places):
        assert place in answer.err


@pytest.mark.parametrize("given", ["", "nowhere", "../input", "/dev/zero", "a\0b", "x" * 1500])
def test_names_that_are_no_scenarios(work, given):
    answer = ask("--quiet", "--config", given)
    assert fault(answer, work) == ""
    assert "neither a readable file" in answer.err


# --- sizes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "places"),
    [
        (["days=1000000000"], ["days", "3660"]),
        (["step_minutes=1"], ["step_minutes", "5"]),
        (["step_minutes=1", "days=366", "market.horizon_hours=1e6"], ["step_minutes", "5"]),
        (["market.horizon_hours=1e6"], ["horizon_hours 1e+06", "1,000,000", "2,016"]),
        (["market.horizon_hours=1e300"], ["horizon_hours", "1000000000"]),
        (["market.cadence_steps=1000000000"], ["cadence_steps", "2016"]),
        (["market.max_passes=1000000000"], ["max_passes", "50"]),
        (["market.bid_format=blocks", "market.bid_blocks=1000000000"], ["bid_blocks", "50"]),
        (["forecast.sample_days=1000000000"], ["sample_days", "366"]),
        (
            ["forecast.sample_days=366", "forecast.sample_hours=12", "step_minutes=5"],
            ["sample_days 366", "105,408", "50,000"],
        ),
        (["out_of_sample.days=1000000000"], ["out_of_sample.days", "366"]),
        (
            [
                "out_of_sample={cadence_steps: 1, days: 366}",
                "forecast.sample_hours=12",
                "step_minutes=5",
            ],
            ["out_of_sample.days 366", "105,408", "50,000"],
        ),
        (["networks.line.copies=1000000000"], ["copies", "1000"]),
        (["networks.line.population.n_dispatchable=1000000000"], ["n_dispatchable", "500000"]),
        (["networks.line.load_scale=1e300"], ["load_scale", "1000000000"]),
        (["seed=1e30"], ["seed"]),
    ],
)
def test_sizes_beyond_any_study(work, settings, places):
    scenario = write(work.parent / "input", "s.yaml", SCENARIO)
    arguments = [word for setting in settings for word in ("--set", setting)]
    answer = ask("--quiet", "--config", scenario, *arguments)
    assert fault(answer, work) == ""
    for place in places:
        assert place in answer.err


@pytest.mark.parametrize(
    ("place", "entry", "n"),
    [
        ("networks", {**SCENARIO["networks"][0], "copies": 999}, 2),
        ("networks", SCENARIO["networks"][0], NETWORKS + 1),
        ("strategies", {"use": "truthful"}, 1_001),
        ("networks.0.capacitors", {"bus": 3, "kvar": 1.0}, 2_001),
    ],
)
def test_lists_beyond_any_study(work, place, entry, n):
    entries = [entry | ({"name": f"n{k}"} if "name" in entry else {}) for k in range(n)]
    tree = {**SCENARIO, "networks": [dict(SCENARIO["networks"][0])]}
    if place == "networks.0.capacitors":
        tree["networks"][0]["capacitors"] = entries
    else:
        tree[place] = entries
    answer = ask("--quiet", "--config", write(work.parent / "input", "s.yaml", tree))
    assert fault(answer, work) == ""
    assert place in answer.err
    assert "at most" in answer.err


def test_a_study_of_any_honest_size_passes():
    """Fifty networks of thousands of buses for a year, and a week ahead in 5-minute steps."""
    copies = {**SCENARIO["networks"][0], "copies": 50}
    more = {"days": 366, "start": "2016-01-01", "networks": [copies]}
    load_tree = {**SCENARIO, **more, "forecast": {"sample_days": 300, "sample_hours": 12}}
    assert len(load_text(load_tree).networks) == 50
    week = {**SCENARIO, "step_minutes": 5, "market": {"horizon_hours": 168}}
    assert load_text(week).n_window_steps == 2016


def load_text(tree):
    """Check a scenario without a file."""
    return ScenarioConfig.model_validate(tree)


# --- names ------------------------------------------------------------------------------------

NAMES = (
    "../../x",
    "/etc/x",
    "..",
    ".",
    "",
    "a/b",
    "a\\b",
    "a\0b",
    "a\nb",
    "<b>x</b>",
    "a|b",
    "-rf",
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", [("name",), ("networks", 0, "name")])
def test_names_that_could_leave_the_folder(work, name, place):
    tree = put(SCENARIO, place, name)
    answer = ask("--quiet", "--config", write(work.parent / "input", "s.yaml", tree))
    assert fault(answer, work) == ""
    assert ".".join(map(str, place)) in answer.err


@pytest.mark.parametrize("path", ["os.system", "subprocess:Popen", "builtins:exec", "os:_exit"])
@pytest.mark.parametrize("place", ["market.method", "market.pricing", "strategies"])
def test_no_code_is_run_that_was_not_allowed(work, path, place):
    scenario = write(work.parent / "input", "s.yaml", SCENARIO)
    value = f"[{{use: '{path}', parameters: {{command: touch harmed}}}}]"
    setting = f"{place}={value if place == 'strategies' else path}"
    answer = ask("--quiet", "--config", scenario, "--set", setting)
    assert fault(answer, work) == ""
    assert path in answer.err
    assert "--allow-plugins" in answer.err
