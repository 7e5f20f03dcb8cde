"""Two runs side by side: settings, key figures, steps and peers."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from simulation.compare import main
from simulation.comparison import (
    SERIES,
    by_type,
    flatten,
    kpis,
    paired_differences,
    paired_steps,
    peers,
    read_run,
    settings_that_differ,
)
from simulation.stored_value import STORED_VALUE, VALUES, differences_by_value

ROOT = Path(__file__).resolve().parents[2]
TABLES = ("settings", "kpis", "stored_energy", "differences", "steps", "types", "peers")
CONFIG = {
    "days": 2,
    "step_minutes": 60,
    "market": {"risk_level": 0.05, "radius": None},
    "networks": [{"name": "a", "load_scale": 1.0}, {"name": "b", "load_scale": 1.0}],
}


def write(folder, cost, *, start="2016-06-04", config=CONFIG, peers=(1.0, -2.0, 3.0)):
    """A run as far as it is compared: its costs, and a trade of 2 kWh and a violation at noon."""
    folder.mkdir()
    (folder / "manifest.json").write_text('{"status": "finished"}')
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    summary = {"total_operational_cost_eur": float(sum(cost)), "fallbacks": {}, "name": "x"}
    (folder / "summary.json").write_text(json.dumps(summary))
    time = pd.date_range(
        start, periods=len(cost), freq=f"{config['step_minutes']}min", tz="UTC", unit="ms"
    )
    halves = np.repeat(np.asarray(cost, dtype=float) / 2, 2)
    pd.DataFrame({"time": time.repeat(2), "amount_eur": halves}).to_parquet(
        folder / "costs.parquet"
    )
    noon = time[time.hour == 12]
    pd.DataFrame(
        {
            "time": noon.repeat(2),
            "energy_kwh": [0.5, 1.5] * len(noon),
            "price_eur_per_kwh": [0.1, 0.3] * len(noon),
        }
    ).to_parquet(folder / "trades.parquet")
    pd.DataFrame({"time": noon, "kind": "over_voltage"}).to_parquet(folder / "violations.parquet")
    pd.DataFrame(
        {
            "peer_id": ["p1", "p2", "p3"],
            "network": ["a", "a", "b"],
            "kind": ["consumer", "consumer", "prosumer"],
            "net_eur": peers,
            "stored_energy_change_kwh": [0.0, 2.0, 4.0],
        }
    ).to_parquet(folder / "peer_outcomes.parquet")
    return folder


@pytest.fixture
def a(tmp_path):
    return write(tmp_path / "a", np.ones(48))


@pytest.fixture
def b(tmp_path):
    """1 EUR a step more on the first day, 3 EUR on the second one."""
    config = {**CONFIG, "market": {"risk_level": 0.1, "radius": None}}
    return write(tmp_path / "b", np.repeat([2.0, 4.0], 24), config=config, peers=(1.5, -6.0, 3.0))


def differences(a, b):
    return paired_differences(paired_steps(read_run(a), read_run(b))).set_index("series")


# --- settings and key figures -----------------------------------------------------------------


def test_settings(a, b, tmp_path):
    config = {**CONFIG, "networks": [CONFIG["networks"][1], {"name": "a", "load_scale": 1.5}]}
    config["extra"] = {"x": [1]}
    c = write(tmp_path / "c", np.ones(48), config=config)
    one, two, three = map(read_run, (a, b, c))
    assert settings_that_differ(one, two).to_numpy().tolist() == [
        ["market.risk_level", "0.05", "0.1"]
    ]
    table = settings_that_differ(one, three)
    assert table.to_numpy().tolist() == [
        ["networks.a.load_scale", "1.0", "1.5"],
        ["extra.x.0", "–", "1"],
    ], "the order of networks is no setting"
    assert settings_that_differ(one, one).empty


def test_flatten():
    tree = {"a": {"b": 1, "c": []}, "d": [{"name": "x", "e": None}, 2], "f": {}}
    assert dict(flatten(tree)) == {
        "a.b": 1,
        "a.c": [],
        "d.x.name": "x",
        "d.x.e": None,
        "d.1": 2,
        "f": {},
    }


def test_kpis(a, b):
    table = kpis(read_run(a), read_run(b))
    assert table.to_numpy().tolist() == [["total_operational_cost_eur", 48.0, 144.0, 96.0, 2.0]]


def test_kpis_that_one_run_lacks_or_that_are_zero(a, b):
    (a / "summary.json").write_text('{"zero": 0, "only": 1}')
    (b / "summary.json").write_text('{"zero": 2}')
    table = kpis(read_run(a), read_run(b)).set_index("kpi")
    assert table.difference["zero"] == 2
    assert np.isnan(table.relative["zero"])
    assert table.loc["only", ["b", "difference"]].isna().all()


# --- steps ------------------------------------------------------------------------------------


def test_steps_by_hand(a, b):
    table = differences(a, b)
    assert list(table.index) == list(SERIES)
    cost = table.loc["cost_eur"]
    assert (cost.a, cost.b, cost.difference, cost.steps, cost.days) == (1, 3, 2, 48, 2)
    # Two days drawn with replacement: both ends have a probability of a quarter.
    assert (cost.low, cost.high) == (1, 3)
    price = table.loc["price_eur_per_kwh"]
    assert price.a == pytest.approx((0.5 * 0.1 + 1.5 * 0.3) / 2), "weighted with energy"
    assert price.steps == 2, "steps without trades have no price"
    assert table.a["traded_kwh"] == 4 / 48
    assert table.a["violations"] == 2 / 48
    assert (table.difference[["traded_kwh", "violations", "price_eur_per_kwh"]] == 0).all()


def test_a_run_does_not_differ_from_itself(a):
    table = differences(a, a)
    told = table.drop("resource_cost_eur")  # which a run of an earlier version does not have
    assert (told[["difference", "low", "high"]] == 0).all(axis=None)
    assert table.steps["resource_cost_eur"] == 0


def test_swapping_the_runs_changes_the_sign(a, b):
    one, two = differences(a, b), differences(b, a)
    np.testing.assert_allclose(one.difference, -two.difference)
    np.testing.assert_allclose(one.low, -two.high)


def test_differences_by_the_value_of_stored_energy():
    """B is 3 EUR dearer at the tariff and 1 EUR cheaper in resources, and stores 20 kWh more."""
    values = dict(zip(VALUES, (0.0, 0.03, 0.1, 0.18, 0.25), strict=True))
    shared = {f"{STORED_VALUE}.{name}": value for name, value in values.items()}
    costs = ("total_operational_cost_eur", "resource_cost_eur", "stored_energy_change_kwh")
    a = shared | dict(zip(costs, (100.0, 40.0, -10.0), strict=True))
    b = shared | dict(zip(costs, (103.0, 39.0, 10.0), strict=True))
    table = differences_by_value(a, b).set_index("stored_energy_at")
    assert table.tariff_eur.to_dict() == pytest.approx({k: 3 - 20 * v for k, v in values.items()})
    assert table.resources_eur["mid"] == pytest.approx(-1 - 20 * 0.18)
    assert table.tariff_eur["feed_in"] > 0 > table.tariff_eur["mid"], "the sign hangs on it"
    assert differences_by_value({}, b).tariff_eur.isna().all()


def test_who_is_worse_off_than_without_coordination(a, b, capsys):
    """At 0.1 EUR/kWh p1 gains 0.5 EUR, p2 loses 4 of what it had, p3 is as before."""
    assert main([str(a), str(b)]) == 0
    assert "without coordination" not in capsys.readouterr().out, "none of them is without"
    for run, coordination in ((a, "none"), (b, "across_networks")):
        config = yaml.safe_load((run / "config.yaml").read_text())
        config["market"]["coordination"] = coordination
        (run / "config.yaml").write_text(yaml.safe_dump(config))
        summary = json.loads((run / "summary.json").read_text())
        (run / "summary.json").write_text(json.dumps(summary | {STORED_VALUE: {"mid": 0.1}}))
    said = "66.7% of 3 peers not worse off; 1 of 2 consumers lose, most p2 (consumer) 4.00 EUR"
    for pair in ([a, b], [b, a]):
        assert main([str(run) for run in pair]) == 0
        assert said in capsys.readouterr().out


def test_the_interval_is_that_of_days_not_of_steps(tmp_path):
    """Days of one kind with the same sum, whatever happens within them, leave no uncertainty."""
    config = {**CONFIG, "days": 4}
    wild = np.tile(np.arange(24.0), 4)
    one = write(tmp_path / "a", np.zeros(96), config=config)
    two = write(tmp_path / "b", wild, config=config)
    cost = differences(one, two).loc["cost_eur"]
    assert (cost.low, cost.difference, cost.high) == (11.5, 11.5, 11.5)


def test_bootstrap_of_many_days_covers_as_the_normal_interval_does(tmp_path):
    config = {**CONFIG, "days": 60, "step_minutes": 720}
    daily = np.random.default_rng(1).normal(5.0, 2.0, 60)
    one = write(tmp_path / "a", np.zeros(120), config=config)
    two = write(tmp_path / "b", daily.repeat(2), config=config)
    cost = differences(one, two).loc["cost_eur"]
    half = 1.96 * daily.std() / np.sqrt(60)
    assert cost.high - cost.difference == pytest.approx(half, rel=0.15)
    assert cost.difference - cost.low == pytest.approx(half, rel=0.15)


def test_only_common_steps_count(a, tmp_path, capsys):
    later = write(tmp_path / "later", np.full(48, 5.0), start="2016-06-05")
    cost = differences(a, later).loc["cost_eur"]
    assert (cost.steps, cost.days, cost.difference) == (24, 1, 4)
    assert np.isnan(cost.low), "a single day has no interval"
    assert main([str(a), str(later)]) == 0
    assert "24 common periods; A has 48 steps of 60 min" in capsys.readouterr().out


def test_steps_of_different_length_are_joined(a, tmp_path):
    """Nine half hours cover four hours and a half: four count."""
    config = {**CONFIG, "step_minutes": 30}
    half_hours = write(tmp_path / "half", np.full(9, 0.7), config=config)
    cost = differences(a, half_hours).loc["cost_eur"]
    assert cost.steps == 4
    assert cost.difference == pytest.approx(0.4)


def test_no_common_step(a, tmp_path, capsys):
    never = write(tmp_path / "never", np.ones(24), start="2016-07-01")
    table = differences(a, never)
    assert (table.steps == 0).all()
    assert table.difference.isna().all()
    assert main([str(a), str(never)]) == 0
    assert "0 common periods" in capsys.readouterr().out


# --- peers ------------------------------------------------------------------------------------


def test_peers_by_hand(a, b):
    table = peers(read_run(a), read_run(b))
    assert table.peer_id.tolist() == ["p2", "p1", "p3"], "largest differences first"
    assert table.difference.tolist() == [-4.0, 0.5, 0.0]
    types = by_type(table).set_index("kind")
    assert types.loc["consumer", ["a", "b", "difference", "peers"]].tolist() == [
        -0.5,
        -2.25,
        -1.75,
        2,
    ]
    assert types.peers["prosumer"] == 1


def test_peers_that_only_one_run_has(a, b, capsys):
    table = pd.read_parquet(b / "peer_outcomes.parquet")
    table["peer_id"] = ["p1", "other", "p3"]
    table["kind"] = ["consumer", "consumer", "consumer"]
    table.to_parquet(b / "peer_outcomes.parquet")
    assert peers(read_run(a), read_run(b)).peer_id.tolist() == ["p1"]
    (a / "peer_outcomes.parquet").unlink()
    assert peers(read_run(a), read_run(b)).empty
    assert main([str(a), str(b)]) == 0
    assert "0 common peers; A has 0, B 3" in capsys.readouterr().out


# --- the command ------------------------------------------------------------------------------


def test_real_runs(execute, day, tmp_path, capsys):
    """What the tables add up to is what the summaries tell."""
    other = execute("market.coordination=none")
    folder = tmp_path / "out"
    assert main([str(day.folder), str(other.folder), "--output", str(folder)]) == 0
    assert (folder / "comparison.txt").read_text() == capsys.readouterr().out
    settings = pd.read_csv(folder / "settings.csv").set_index("setting")
    assert settings.b.to_dict() == {"market.coordination": "none"}
    steps = pd.read_parquet(folder / "steps.parquet")
    for side, run in (("a", day), ("b", other)):
        assert steps[f"cost_eur_{side}"].sum() == pytest.approx(
            run.summary["total_operational_cost_eur"]
        )
        traded = run.summary["energy_traded_within_kwh"] + run.summary["energy_traded_across_kwh"]
        assert steps[f"traded_kwh_{side}"].sum() == pytest.approx(traded)
        assert steps[f"violations_{side}"].sum() == len(run.violations)
        assert steps[f"resource_cost_eur_{side}"].sum() == pytest.approx(
            run.summary["resource_cost_eur"]
        )
    assert len(steps) == 24
    text = (folder / "comparison.txt").read_text()
    assert "of 14 peers not worse off" in text
    assert {path.name for path in folder.iterdir()} == {
        "comparison.txt",
        *(f"{name}.{end}" for name in TABLES for end in ("csv", "parquet")),
    }


def test_help_is_fast():
    command = [sys.executable, "-m", "simulation.compare", "--help"]
    best = np.inf
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
        best = min(best, time.perf_counter() - start)
    assert best < 0.5


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (shutil.rmtree, "holds no run"),
        (lambda run: (run / "manifest.json").unlink(), "holds no run"),
        (lambda run: (run / "manifest.json").write_text('{"status": "running"}'), "'running'"),
        (lambda run: (run / "manifest.json").write_text("{"), "damaged run"),
        (lambda run: (run / "manifest.json").write_text("[]"), "damaged run"),
        (lambda run: (run / "summary.json").unlink(), "summary.json is missing"),
        (lambda run: (run / "config.yaml").write_text("a: ["), "damaged run"),
        (lambda run: (run / "config.yaml").write_text("a: 1"), "step_minutes"),
        (lambda run: (run / "trades.parquet").unlink(), "trades.parquet"),
        (lambda run: cut(run / "costs.parquet"), "damaged run"),
        (lambda run: cut(run / "peer_outcomes.parquet"), "damaged run"),
        (lambda run: pd.DataFrame({"x": [1]}).to_parquet(run / "costs.parquet"), "damaged run"),
    ],
)
def test_bad_folders(a, b, capsys, harm, said):
    harm(a)
    folder = a.with_name("out")
    assert main([str(a), str(b), "--output", str(folder)]) == 2
    first = capsys.readouterr()
    assert main([str(b), str(a), "--output", str(folder)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert (out, err) == first, "on either side"
    assert err.startswith(f"error: {a}: ")
    assert err.count("\n") == 1
    assert said in err
    assert not folder.exists()


def test_a_full_folder(a, b, capsys):
    assert main([str(a), str(b), "--output", str(a)]) == 2
    assert "is not an empty folder" in capsys.readouterr().err
