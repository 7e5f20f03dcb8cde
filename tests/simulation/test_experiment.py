"""The command: one folder per run, one index, and going on where it was left."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import simulation.sweeps
from configs.loading import load_experiment
from simulation.experiment import main
from simulation.sweep_index import figures, index
from simulation.sweeps import check, label, plan, status

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENT = """
name: tiny
scenario: small.yaml
set: {step_minutes: 240}
replicates: [{seed: 3, start: 2016-06-04}, {seed: 4, start: 2016-06-11}]
factors:
  - market.coordination: [none, across_networks]
    market.method: gaussian
reduction_against: {nothing: {market.coordination: none}}
figures: [cost]
"""


@pytest.fixture(scope="module")
def file(small):
    path = small / "tiny.yaml"
    path.write_text(EXPERIMENT, encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def done(file, tmp_path_factory):
    """Folder of the finished experiment."""
    folder = tmp_path_factory.mktemp("experiment") / "out"
    assert main([file, "--output", str(folder), "--jobs", "1", "--quiet"]) == 0
    return folder


@pytest.fixture
def folder(done, tmp_path):
    """A copy of it to do things to."""
    return shutil.copytree(done, tmp_path / "out")


@pytest.fixture
def performed(monkeypatch):
    """Ids of the runs executed from now on; they leave a summary without a simulation."""
    ids = []

    def prepare(config, folder):
        return config, folder

    def execute(prepared):
        config, folder = prepared
        ids.append(folder.name)
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text('{"status": "finished"}')
        (folder / "summary.json").write_text(json.dumps(summary(cost=100.0 * config.seed)))

    monkeypatch.setattr(simulation.sweeps, "check", lambda runs, _: {run.id: 0.2 for run in runs})
    monkeypatch.setattr(simulation.sweeps, "prepare", prepare)
    monkeypatch.setattr(simulation.sweeps, "execute", execute)
    return ids


def summary(cost):
    nothing = {"events": 0, "steps": 6}
    delivered = {"together": nothing, "west": nothing, "east": nothing}
    return {
        "total_operational_cost_eur": cost,
        "stored_energy_change_kwh": -10.0,
        "energy_traded_within_kwh": 0.0,
        "energy_traded_across_kwh": 0.0,
        "renewable_curtailed_kwh": 0.0,
        "clearings": 6,
        "solves": 6,
        "uncertified_clearings": 0,
        "fallback_clearings": 0,
        "certificate_where_binding": {"median": None},
        "seconds": {"solver": 0.1, "total": 0.2},
        "delivered_violation": {"all": delivered, "binding": delivered},
        "out_of_sample": {},
    }


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def index_of(folder):
    return pd.read_parquet(folder / "index.parquet").set_index("run_id")


# --- a finished experiment --------------------------------------------------------------------


def test_what_it_leaves(done):
    assert {path.name for path in done.iterdir()} == {
        "effects.csv",
        "effects.parquet",
        "experiment.yaml",
        "figures",
        "index.csv",
        "index.parquet",
        "report.html",
        "runs",
        "table.csv",
        "table.md",
        "table.parquet",
    }
    assert {path.name for path in (done / "figures").iterdir()} == {"cost.png", "cost.svg"}
    listed = index_of(done)
    assert set(listed.index) == {path.name for path in (done / "runs").iterdir()}
    assert len(listed) == 4
    assert (listed.status == "finished").all()
    assert len(pd.read_parquet(done / "table.parquet")) == 2
    assert len(pd.read_csv(done / "index.csv")) == 4
    assert "# Experiment tiny" in (done / "table.md").read_text()


def test_index_tells_what_the_runs_tell(done):
    for name, row in index_of(done).iterrows():
        run = done / "runs" / name
        told = json.loads((run / "summary.json").read_text())
        config = yaml.safe_load((run / "config.yaml").read_text())
        assert row.cost_eur == told["total_operational_cost_eur"]
        assert row["market.coordination"] == config["market"]["coordination"]
        assert (row.seed, row.start) == (config["seed"], config["start"])
        every, binding = (told["delivered_violation"][scope] for scope in ("all", "binding"))
        assert row["violated_all:west"] == every["west"]["events"]
        assert row["steps_binding:east"] == binding["east"]["steps"]


def test_stored_energy_is_settled_at_the_suppliers_prices(done, scenario):
    """Emptying the batteries must not pay: the energy is worth what it would have cost."""
    adder, feed_in = scenario().prices.retail_adder_eur_per_kwh, 0.11
    for row in index_of(done).itertuples():
        value = row.stored_energy_value_eur_per_kwh
        assert (feed_in + adder) / 2 < value < (feed_in + adder + 0.06) / 2
        assert row.stored_energy_change_kwh != 0
        assert row.adjusted_cost_eur == pytest.approx(
            row.cost_eur - value * row.stored_energy_change_kwh
        )


def test_common_random_numbers(done):
    """Peers, weather and prices of a replicate are the same under all treatments, and only so."""
    listed = index_of(done)

    def of(name, table):
        return pd.read_parquet(done / "runs" / name / f"{table}.parquet")

    for _, runs in listed.groupby("replicate"):
        one, other = runs.index
        pd.testing.assert_frame_equal(of(one, "peers"), of(other, "peers"))
        columns = ["step", "time", "peer_id", "renewable_available_kw"]
        pd.testing.assert_frame_equal(of(one, "dispatch")[columns], of(other, "dispatch")[columns])
        assert runs.stored_energy_value_eur_per_kwh.nunique() == 1
    first, second = listed.groupby("replicate").head(1).index
    assert not of(first, "peers").equals(of(second, "peers"))


def test_reduction_follows_from_the_index(done):
    cost = index_of(done).groupby("market.coordination").adjusted_cost_eur.sum()
    table = pd.read_parquet(done / "table.parquet").set_index("market.coordination")
    reduction = table.loc["across_networks"].reduction_against_nothing_percent
    assert reduction == pytest.approx(100 * (1 - cost["across_networks"] / cost["none"]))
    assert np.isnan(table.loc["none"].reduction_against_nothing_percent)


def test_labels():
    assert label({}) == "scenario"
    assert label({"market.coordination": "none", "market.method": "robust"}) == "none, robust"
    assert label({"market.network_fee_within_eur_per_kwh": 0.03}) == "network_fee_within=0.03"
    assert label({"market.risk_level": 0.1, "seed": 3}) == "risk_level=0.1, seed=3"
    assert label({"networks.a.load_scale": 1, "forecast.perfect_foresight": True}) == (
        "networks.a.load_scale=1, perfect_foresight"
    )
    assert (
        label({"prices.file": "a.csv", "market.radius": None}) == "prices.file=a.csv, radius=null"
    )


def test_runs_are_named_by_their_settings(file):
    runs = plan(load_experiment(file))
    again = plan(load_experiment(file))
    assert [run.id for run in runs] == [run.id for run in again]
    changed = plan(load_experiment(file, ["market.radius=0.1"]))
    assert {run.id for run in runs}.isdisjoint(run.id for run in changed)
    assert runs[0].id.startswith("none_gaussian-seed_3_start_2016_06_04-")
    assert check(runs).keys() == {run.id for run in runs}


def test_index_before_anything_is_run(small, tmp_path):
    file = small / "settings.yaml"
    file.write_text(
        "name: e\nscenario: small.yaml\nfactors:\n"
        "  - {networks.west.load_scale: [0.5, 1.5], networks.1.capacitors: [[{bus: 9, kvar: 5}]]}\n"
        "  - {prices.file: null, days: 3}\n"
    )
    runs = plan(load_experiment(str(file)))
    listed = index(runs, tmp_path, {run.id: 0.2 for run in runs})
    assert listed.status.tolist() == ["not started"] * 3
    assert listed["networks.west.load_scale"].tolist() == [0.5, 1.5, 1.0]
    assert listed["networks.1.capacitors"].tolist() == ['[{"bus": 9, "kvar": 5.0}]'] * 2 + ["[]"]
    assert listed.days.tolist() == [1, 1, 3]
    listed.to_parquet(tmp_path / "index.parquet")


def test_key_figures():
    told = summary(cost=100.0)
    rate = {"together": {"rate": 0.25, "scenarios": 40}}
    shown = figures(told | {"out_of_sample": {"all": rate, "binding": rate}}, 0.2)
    assert shown["adjusted_cost_eur"] == 100.0 + 0.2 * 10.0, "10 kWh less than at the start"
    assert shown["out_of_sample_binding_rate"] == 0.25
    assert shown["out_of_sample_all_scenarios"] == 40


# --- going on ---------------------------------------------------------------------------------


def test_finished_runs_are_kept(file, folder, performed):
    assert main([file, "--output", str(folder), "--jobs", "1", "--quiet", "--resume"]) == 0
    assert performed == []
    assert (index_of(folder).status == "finished").all()


@pytest.mark.parametrize("left", ["interrupted", "running", "no summary", "no manifest", "failed"])
def test_what_is_not_finished_is_run_again(file, folder, performed, left):
    name = sorted(path.name for path in (folder / "runs").iterdir())[2]
    run = folder / "runs" / name
    if left == "no manifest":
        (run / "manifest.json").unlink()
    elif left == "no summary":
        (run / "summary.json").unlink()
    elif left == "failed":
        (run / "error.txt").write_text("Traceback\nValueError: no\n")
    else:
        (run / "manifest.json").write_text(json.dumps({"status": left}))
    assert status(run) != "finished"
    assert main([file, "--output", str(folder), "--jobs", "1", "--quiet", "--resume"]) == 0
    assert performed == [name]
    assert not (run / "dispatch.parquet").exists(), "nothing half done is left"


def test_more_replicates_reuse_those_there_are(file, folder, performed, small):
    more = small / "more.yaml"
    text = EXPERIMENT.replace("[{seed: 3,", "[{seed: 5, start: 2016-06-18}, {seed: 3,")
    more.write_text(text, encoding="utf-8")
    assert main([str(more), "--output", str(folder), "--jobs", "1", "--quiet", "--resume"]) == 0
    assert len(performed) == 2
    listed = index_of(folder)
    assert len(listed) == 6
    assert set(listed.seed[performed]) == {5}


def test_interrupt_and_go_on(file, tmp_path, performed, monkeypatch, capsys):
    finish = simulation.sweeps.execute

    def interrupt(prepared):
        if len(performed) == 2:
            raise KeyboardInterrupt
        finish(prepared)

    monkeypatch.setattr(simulation.sweeps, "execute", interrupt)
    command = [file, "--output", str(tmp_path / "out"), "--jobs", "1", "--quiet"]
    assert main(command) == 130
    assert "--resume" in capsys.readouterr().err
    assert sorted(index_of(tmp_path / "out").status) == ["finished"] * 2 + ["not started"] * 2
    monkeypatch.setattr(simulation.sweeps, "execute", finish)
    assert main([*command, "--resume"]) == 0
    assert len(performed) == len(set(performed)) == 4


def test_a_failed_run_is_reported_and_the_others_go_on(
    file, tmp_path, performed, monkeypatch, capsys
):
    finish = simulation.sweeps.execute

    def fail(prepared):
        config, _ = prepared
        if config.seed == 3 and config.market.coordination == "none":
            raise ArithmeticError("no such luck")
        finish(prepared)

    monkeypatch.setattr(simulation.sweeps, "execute", fail)
    folder = tmp_path / "out"
    assert main([file, "--output", str(folder), "--jobs", "1", "--quiet"]) == 1
    assert "failed runs: 1;" in capsys.readouterr().err
    listed = index_of(folder)
    assert len(performed) == 3
    (failed,) = listed[listed.status == "failed"].itertuples()
    assert failed.error == "ArithmeticError: no such luck"
    assert failed.seed == 3
    assert "Traceback" in (folder / "runs" / failed.Index / "error.txt").read_text()
    table = pd.read_parquet(folder / "table.parquet")
    assert table.finished.tolist() == [1, 2]


# --- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "case",
    [
        ("", ["--jobs", "0"], ["--jobs 0", "at least 1"]),
        ("", ["--set", "market.method=moment"], ["market.method", "factors"]),
        ("", ["--set", "market.risk_level=2"], ["market.risk_level", "less than 1", "2"]),
        ("", ["--set", "days"], ["--set days", "key.path=value"]),
        ("", ["--set", "days=400"], ["days 400", "at most"]),
        ("factr: 1", [], ["factr", "factors"]),
        ("scenario: nowhere.yaml", [], ["nowhere.yaml", "default"]),
        ("factors: [{market.radius: [0.1, -1]}]", [], ["market.radius", "-1"]),
        ("factors: [{market.method: a.b:C}]", [], ["a.b:C", "--allow-plugins"]),
        ("factors: [{market.risk_level: [0.2, 0.01]}]", [], ["0.01", "error samples"]),
        ("factors: [{networks.west.case: none.csv}]", [], ["none.csv"]),
        (
            "replicates: [{}]\nfactors: [{seed: 1}, {seed: '1'}]",
            ["--set", "days=1"],
            ["'seed=1'", "distinct"],
        ),
        ("replicates: [{start: 2016-06-04}, {}]", [], ["replicate 1", "replicate 2", "same"]),
    ],
)
def test_bad_input(small, elsewhere, capsys, case):
    text, arguments, places = case
    tree = yaml.safe_load(EXPERIMENT) | (yaml.safe_load(text) or {})
    if text:
        tree.pop("reduction_against")
    name = "bad.yaml"
    (small / name).write_text(yaml.safe_dump(tree), encoding="utf-8")
    assert main([str(small / name), *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    for place in (name, *places):
        assert place in err
    assert list(elsewhere.iterdir()) == []


def test_a_folder_with_something_in_it(file, tmp_path, capsys):
    full = tmp_path / "full"
    full.mkdir()
    (full / "precious.txt").write_text("keep")
    for option, place in (([], "--resume goes on"), (["--resume"], "holds no experiment")):
        assert main([file, "--output", str(full), "--quiet", *option]) == 2
        message = capsys.readouterr().err
        assert str(full) in message
        assert place in message
        assert [path.name for path in full.iterdir()] == ["precious.txt"]
    assert main([file, "--output", str(full / "precious.txt"), "--quiet", "--resume"]) == 2
    assert "not a folder" in capsys.readouterr().err


# --- the command line -------------------------------------------------------------------------


def test_help_does_not_wait_for_the_libraries():
    code = "import sys, simulation.experiment; print({'cvxpy', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


@pytest.mark.slow
def test_processes_give_what_one_process_gives(file, done, tmp_path):
    folder = tmp_path / "out"
    command = [sys.executable, "-m", "simulation.experiment", file, "--output", str(folder)]
    ran = subprocess.run(
        [*command, "--jobs", "2"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert "4 finished" in ran.stdout
    assert "4/4" in ran.stderr
    seconds = ["solver_s", "total_s"]
    pd.testing.assert_frame_equal(
        index_of(folder).drop(columns=seconds), index_of(done).drop(columns=seconds)
    )
