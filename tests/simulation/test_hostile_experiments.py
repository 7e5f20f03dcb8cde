"""Experiments and comparisons of files by somebody who errs or means harm."""

import json
import shutil

import pandas as pd
import pytest
import yaml

from simulation import compare, experiment
from simulation.experiment_report import line
from tests.simulation.hostile import BUSES, LINES, SCENARIO, ask, fault, leaves, put, write

EXPERIMENT = {
    "name": "study",
    "scenario": "s.yaml",
    "set": {"days": 1},
    "replicates": [{"seed": 1}, {"seed": 2}],
    "factors": [{"market.method": ["gaussian", "empirical"], "market.risk_level": [0.1, 0.2]}],
    "reduction_against": {"gaussian": {"market.method": "gaussian"}},
    "figures": ["cost"],
    "quick": {"replicates": [{"seed": 1}]},
}


@pytest.fixture
def work(tmp_path, monkeypatch):
    """An empty working folder, beside one of input files."""
    folder = tmp_path / "input"
    folder.mkdir()
    write(folder, "b.csv", BUSES)
    write(folder, "l.csv", LINES)
    write(folder, "s.yaml", SCENARIO)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def refusal(work, content, *arguments):
    """The one line about an experiment."""
    file = write(work.parent / "input", "e.yaml", content)
    answer = ask(file, "--quiet", "--jobs", "1", *arguments, command=experiment)
    assert fault(answer, work) == ""
    return answer.err


def mutations():
    """Every mutation of the experiment: (place, experiment)."""
    for place, value in leaves(EXPERIMENT):
        for bad in (None, [], {"a": {"b": 1}}, float("nan"), "a b|<b>", -1, True, [[1], {}]):
            free = place[0] in ("set", "replicates", "factors", "quick") and len(place) > 1
            if type(bad) is not type(value) and not free:
                yield place, put(EXPERIMENT, place, bad)
        if isinstance(value, dict):
            yield place, put(EXPERIMENT, (*place, "un known"), 1)


def test_mutated_experiments_are_refused(work):
    found = list(mutations())
    assert len(found) >= 80
    for place, tree in found:
        assert str(place[0]) in refusal(work, tree), (place, tree)


SETTINGS = {
    "unknown place": ({"market.riskk": 0.1}, "riskk"),
    "wrong value": ({"market.risk_level": "often"}, "risk_level"),
    "no such network": ({"networks.north.load_scale": 1}, "north"),
    "below a value": ({"days.x": 1}, "days"),
    "path": ({"networks.line.peer_table": "../../x.csv"}, "x.csv"),
    "code": ({"market.method": "os.system"}, "--allow-plugins"),
    "strategy of code": ({"strategies": [{"use": "os:system"}]}, "--allow-plugins"),
    "days": ({"days": 10**9}, "days"),
    "section": ({"market": 5}, "market"),
    "nothing": ({"networks": []}, "networks"),
}


@pytest.mark.parametrize("kind", SETTINGS)
@pytest.mark.parametrize("where", ["set", "factors"])
def test_settings_that_no_run_can_have(work, kind, where):
    given, reason = SETTINGS[kind]
    small = {"name": "study", "scenario": "s.yaml"}
    small[where] = given if where == "set" else [{key: [value] for key, value in given.items()}]
    assert reason in refusal(work, small)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"factors": [{f"market.f{k}": list(range(10)) for k in range(9)}]}, "2,000,000,000 runs"),
        ({"factors": [{"seed": list(range(9_000))}]}, "runs; allowed are at most 10,000"),
        ({"name": "../../x"}, "name"),
        ({"name": "/etc/x"}, "name"),
        ({"name": "<b>x"}, "name"),
        ({"reduction_against": {"../x": {"market.method": "gaussian"}}}, "reduction_against"),
        ({"scenario": "../../none.yaml"}, "none.yaml"),
        ({"scenario": "/dev/zero"}, "/dev/zero"),
        ({"scenario": "e.yaml"}, "e.yaml"),
    ],
)
def test_experiments_out_of_bounds(work, changes, reason):
    tree = {**EXPERIMENT, **changes}
    if "factors" in changes:
        tree.pop("reduction_against")
        tree["replicates"] = [{"start": "2016-06-04"}, {"start": "2016-06-05"}]
    assert reason in refusal(work, tree)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        "- a\n",
        "name: x\nname: y\n",
        "a: [",
        "[" * 9999,
        "x: !!python/name:os.system",
    ],
)
def test_texts_that_are_no_experiments(work, content):
    assert "e.yaml" in refusal(work, content)


@pytest.mark.parametrize("words", ["a|b", "<script>x</script>", "a\nb", "a&b", "`x`", "[x](y)"])
def test_words_stay_words_in_a_page(words):
    """A treatment's name is what a factor's value says."""
    shown = line([words, "1"])
    assert shown.count("|") - shown.count("\\|") == 3
    assert "<" not in shown
    assert "\n" not in shown


# --- comparisons ------------------------------------------------------------------------------


def damage(folder, name, content):
    """Replace a file of a run, or remove it."""
    if content is None:
        (folder / name).unlink()
    elif isinstance(content, bytes):
        (folder / name).write_bytes(content)
    else:
        (folder / name).write_text(content, encoding="utf-8")


TABLES = ("costs.parquet", "trades.parquet", "violations.parquet", "peer_outcomes.parquet")
DAMAGED = [
    *((name, content) for name in TABLES for content in (b"", b"PAR1", "words", "PAR1" * 50)),
    *((name, None) for name in TABLES[:3]),
    *(
        ("manifest.json", text)
        for text in (None, "", "{", "[]", "5", "[" * 100_000, '{"status": 1}')
    ),
    *(("summary.json", text) for text in (None, "", "{", "[]", "[" * 100_000, b"\xff\xfe")),
    *(
        ("config.yaml", text)
        for text in (
            None,
            "",
            "[",
            "5",
            "- a",
            "a: 1",
            "[" * 9999,
            b"\xff\xfe",
            "step_minutes: [1]",
        )
    ),
    ("config.yaml", "step_minutes: 0\n"),
    ("config.yaml", "step_minutes: -60\n"),
    ("config.yaml", "step_minutes: 1.5\n"),
    ("config.yaml", "step_minutes: !!python/object/apply:os.system ['touch harmed']\n"),
    (
        "config.yaml",
        "a: &a0 [x]\n" + "".join(f"k{k}: &a{k + 1} [*a{k}, *a{k}]\n" for k in range(40)),
    ),
]


def test_damaged_runs_are_refused(day, tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    for name, content in DAMAGED:
        folder = tmp_path / "damaged"
        shutil.copytree(day.folder, folder)
        damage(folder, name, content)
        answer = ask(str(day.folder), str(folder), command=compare)
        assert fault(answer, tmp_path / "work") == "", (name, content)
        assert str(folder) in answer.err, (name, content)
        shutil.rmtree(folder)


OTHER_COLUMNS = [
    ("costs", "time", "noon"),
    ("costs", "amount_eur", "much"),
    ("trades", "price_eur_per_kwh", "cheap"),
    ("violations", "time", None),
    ("peer_outcomes", "net_eur", "rich"),
    ("peer_outcomes", "kind", None),
]


@pytest.mark.parametrize("change", OTHER_COLUMNS)
def test_tables_with_other_columns_are_refused(day, tmp_path, monkeypatch, change):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    folder = tmp_path / "damaged"
    shutil.copytree(day.folder, folder)
    name, column, value = change
    table = pd.read_parquet(folder / f"{name}.parquet").drop(columns=column)
    if value is not None:
        table[column] = value
    table.to_parquet(folder / f"{name}.parquet")
    answer = ask(str(day.folder), str(folder), command=compare)
    assert fault(answer, tmp_path / "work") == ""
    assert str(folder) in answer.err


@pytest.mark.parametrize("given", ["nowhere", "", ".", "/dev/zero", "a\0b", "x" * 3000])
def test_what_is_no_run(day, work, given):
    answer = ask(str(day.folder), given, command=compare)
    assert fault(answer, work) == ""


def test_a_run_with_names_of_harm_is_only_text(day, tmp_path, monkeypatch, capsys):
    """A comparison prints what stands in a run's settings, and runs nothing of it."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    folder = tmp_path / "other"
    shutil.copytree(day.folder, folder)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["name"] = "\x1b[2J<b>|../../x"
    config["market"]["method"] = "os.system"
    (folder / "config.yaml").write_text(json.dumps(config))
    assert compare.main([str(day.folder), str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "os.system" in shown
    assert "\x1b" not in shown
    assert list((tmp_path / "work").iterdir()) == []
