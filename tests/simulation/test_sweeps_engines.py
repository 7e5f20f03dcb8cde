"""One process, two, or a Dask cluster: the same tables, whatever happens to the workers."""

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from distributed import Client, LocalCluster
from joblib.externals.loky.process_executor import TerminatedWorkerError

import simulation.sweeps
from configs.loading import load_experiment
from simulation.experiment import main
from simulation.run_folders import ATTEMPTS, attempts, begin, publish, status
from simulation.sweeps import RESTARTS, conduct, plan

ROOT = Path(__file__).resolve().parents[2]
LOOPBACK = "127.0.0.1"
EXPERIMENT = """
name: engines
scenario: small.yaml
set: {step_minutes: 240, market.method: "fatal_method:Fatal"}
replicates: [{seed: 3}, {seed: 4}]
factors: [{market.coordination: [none, across_networks]}]
reduction_against: {nothing: {market.coordination: none}}
"""
METHOD = """
import os, signal
from pathlib import Path
from market.safety_factors import Gaussian

class Fatal(Gaussian):
    "Ends its process once for each file `kill*` beside it, as soon as what it names exists."
    def factors(self, z, weights, slack_ratio):
        for file in Path(__file__).parent.glob("kill*"):
            try:
                if not Path(file.read_text()).exists():
                    continue
                file.unlink()
            except FileNotFoundError:  # another process was first
                continue
            os.kill(os.getpid(), signal.SIGKILL)
        return super().factors(z, weights, slack_ratio)
"""
SECONDS = ["solver_s", "total_s"]


@pytest.fixture(scope="module")
def command(small):
    (small / "engines.yaml").write_text(EXPERIMENT, encoding="utf-8")
    (small / "fatal_method.py").write_text(METHOD, encoding="utf-8")
    return [str(small / "engines.yaml"), "--allow-plugins", str(small / "fatal_method.py")]


@pytest.fixture
def kill(small, tmp_path):
    """Let as many processes die in the middle of a run; the check of the input comes before."""

    def order(n):
        for number in range(n):
            described = tmp_path / "out" / "experiment.yaml"
            (small / f"kill{number}").write_text(str(described))

    yield order
    assert not list(small.glob("kill*")), "they died"


@pytest.fixture(scope="module")
def alone(command, tmp_path_factory):
    """Folder of the experiment, run by this process."""
    folder = tmp_path_factory.mktemp("alone") / "out"
    assert main([*command, "--output", str(folder), "--jobs", "1", "--quiet"]) == 0
    return folder


@pytest.fixture(scope="module")
def cluster():
    """Two workers, each watched by a nanny that replaces it."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, host=LOOPBACK, dashboard_address=":0"
    ) as cluster:
        yield cluster.scheduler_address


def assert_same(folder, other):
    """The same runs with the same results, each once, and nothing else."""
    assert {path.name for path in folder.iterdir()} == {path.name for path in other.iterdir()}
    names = [sorted(path.name for path in (f / "runs").iterdir()) for f in (folder, other)]
    assert names[0] == names[1]
    for name in ("index", "table", "effects"):
        one, two = (
            pd.read_parquet(f / f"{name}.parquet").drop(
                columns=[*SECONDS, "seconds_per_day"], errors="ignore"
            )
            for f in (folder, other)
        )
        pd.testing.assert_frame_equal(one, two, check_exact=True)
    for run in names[0]:
        for table in ("costs", "dispatch", "peer_outcomes", "trades", "violations"):
            files = (f / "runs" / run / f"{table}.parquet" for f in (folder, other))
            one, two = map(pd.read_parquet, files)
            pd.testing.assert_frame_equal(one, two, check_exact=True)


# --- engines ----------------------------------------------------------------------------------


def test_two_processes_one_of_which_is_killed(command, alone, kill, tmp_path, caplog):
    kill(1)
    assert main([*command, "--output", str(tmp_path / "out"), "--jobs", "2", "--quiet"]) == 0
    assert "restart 1" in caplog.text
    assert_same(tmp_path / "out", alone)


@pytest.mark.slow
def test_dask(command, alone, cluster, tmp_path):
    options = ["--engine", "dask", "--scheduler", cluster, "--quiet"]
    assert main([*command, "--output", str(tmp_path / "out"), *options]) == 0
    assert_same(tmp_path / "out", alone)


def test_dask_with_a_worker_that_is_killed(command, alone, cluster, kill, tmp_path):
    kill(1)
    options = ["--engine", "dask", "--scheduler", cluster, "--quiet"]
    assert main([*command, "--output", str(tmp_path / "out"), *options]) == 0
    assert_same(tmp_path / "out", alone)


@pytest.mark.slow
def test_a_run_that_no_process_survives_fails_and_the_others_go_on(
    command, cluster, kill, tmp_path
):
    """On Dask: elsewhere joblib ends all processes with one, and runs share their fate."""
    file = Path(command[0]).with_name("one.yaml")
    text = EXPERIMENT.replace('market.method: "fatal_method:Fatal"', "").replace(
        "[{market.coordination: [none, across_networks]}]",
        "\n  - {market.coordination: across_networks, market.method: "
        '[deterministic, gaussian, "fatal_method:Fatal"]}',
    )
    text = text.replace(", {seed: 4}", "").replace(
        "reduction_against: {nothing: {market.coordination: none}}", ""
    )
    file.write_text(text, encoding="utf-8")
    kill(ATTEMPTS)
    options = ["--engine", "dask", "--scheduler", cluster, "--quiet"]
    whole = [str(file), *command[1:], "--output", str(tmp_path / "out"), *options]
    assert main(whole) == 1
    listed = pd.read_parquet(tmp_path / "out" / "index.parquet").set_index("market.method")
    assert listed.status.to_dict() == {
        "deterministic": "finished",
        "gaussian": "finished",
        "fatal_method:Fatal": "failed",
    }
    assert f"by force {ATTEMPTS} times" in listed.error["fatal_method:Fatal"]
    # On request it is run again.
    assert main([*whole, "--resume"]) == 0


@pytest.mark.slow
def test_interrupted_in_the_middle_of_a_run(command, alone, tmp_path):
    """Ctrl-C during a sweep of the command itself, and later on."""
    folder = tmp_path / "out"
    whole = [sys.executable, "-m", "simulation.experiment", *command, "--output", str(folder)]
    with subprocess.Popen(
        [*whole, "--jobs", "1"], cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        while not list(folder.glob("runs/*")):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume goes on" in err
    before = {run.name: (run / "summary.json").stat().st_mtime_ns for run in folder.glob("runs/*")}
    assert 0 < len(before) < 4
    assert main([*command, "--output", str(folder), "--jobs", "1", "--quiet", "--resume"]) == 0
    assert_same(folder, alone)
    after = {run.name: (run / "summary.json").stat().st_mtime_ns for run in folder.glob("runs/*")}
    assert before.items() <= after.items(), "finished runs are kept"


# --- the plan ---------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 5])
def test_n_replicates_are_n_different_runs(small, n):
    file = small / "replicates.yaml"
    file.write_text(
        f"name: e\nscenario: small.yaml\nreplicates: {[{'seed': k} for k in range(n)]}\n"
    )
    runs = plan(load_experiment(str(file)))
    assert [run.replicate for run in runs] == list(range(1, n + 1))
    assert len({run.id for run in runs}) == len({run.config.seed for run in runs}) == n


# --- folders ----------------------------------------------------------------------------------


def finish(folder, told="new"):
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text('{"status": "finished"}')
    (folder / "summary.json").write_text(json.dumps({"told": told}))


def test_a_run_is_begun_so_often_and_no_more(tmp_path):
    folder = tmp_path / "runs" / "a"
    begun = [begin(folder, "x") for _ in range(ATTEMPTS)]
    assert len(set(begun)) == len(attempts(folder, "x")) == ATTEMPTS
    assert begin(folder, "x") is None
    assert begin(folder, "another command") is not None
    assert begin(tmp_path / "runs" / "b", "x") is not None
    assert status(folder) == "not started"


def test_whole_runs_take_their_place(tmp_path):
    folder = tmp_path / "runs" / "a"
    aside = begin(folder, "x")
    finish(aside)
    publish(aside, folder)
    assert status(folder) == "finished"
    assert attempts(folder, "x") == []


def test_half_written_runs_do_not(tmp_path):
    folder = tmp_path / "runs" / "a"
    aside = begin(folder, "x")
    aside.mkdir()
    (aside / "manifest.json").write_text('{"status": "running"}')
    publish(aside, folder)
    assert not folder.exists()


@pytest.mark.parametrize("late", ["finished", "failed"])
def test_a_worker_that_was_thought_dead_comes_too_late(tmp_path, late):
    folder = tmp_path / "runs" / "a"
    finish(folder, "first")
    aside = begin(folder, "x")
    if late == "finished":
        finish(aside)
    else:
        aside.mkdir()
        (aside / "error.txt").write_text("Traceback\nValueError: no\n")
    publish(aside, folder)
    assert status(folder) == "finished"
    assert json.loads((folder / "summary.json").read_text()) == {"told": "first"}


def test_processes_that_always_die_end_the_sweep(command, tmp_path, monkeypatch):
    runs = plan(load_experiment(command[0]))
    starts = []

    def die(tasks, bar):
        starts.append(len(tasks))
        raise TerminatedWorkerError

    monkeypatch.setattr(simulation.sweeps, "_work_off", die)
    with pytest.raises(TerminatedWorkerError):
        conduct(runs, tmp_path / "runs")
    assert starts == [4] * (RESTARTS + 1)


# --- bad input --------------------------------------------------------------------------------


@pytest.fixture
def refused(command, tmp_path, capsys):
    """The one line with which the command is refused; nothing has been written."""

    def refuse(*options, file=None):
        folder = tmp_path / "out"
        arguments = [*command[1:], *options, "--output", str(folder), "--quiet"]
        assert main([str(file or command[0]), *arguments]) == 2
        assert not folder.exists()
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        return err

    return refuse


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("market.risk_levle", 0.1, "unknown key market.risk_levle; did you mean risk_level"),
        ("markt.risk_level", 0.1, "unknown key markt; did you mean market"),
        ("networks.north.load_scale", 1.0, "no entry 'north'; there are ['west', 'east']"),
        ("days.of_week", 1, "days is a single value, not a section"),
    ],
)
def test_a_factor_that_does_not_exist(small, refused, place, value, said):
    file = small / "factor.yaml"
    file.write_text(f"name: e\nscenario: small.yaml\nfactors: [{{{place}: [{value}]}}]\n")
    assert said in refused(file=file)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--engine", "dask"], "--scheduler tcp://"),
        (["--scheduler", "tcp://127.0.0.1:1"], "is of --engine dask"),
        (["--engine", "dask", "--scheduler", "tcp://127.0.0.1:1", "--jobs", "2"], "--jobs 2"),
        (["--engine", "dask", "--scheduler", "nowhere"], "nowhere: cannot be reached"),
    ],
)
def test_options_that_do_not_go_together(refused, options, said):
    assert said in refused(*options)


def test_a_scheduler_that_is_not_there(refused):
    with socket.socket() as free:
        free.bind((LOOPBACK, 0))
        address = f"tcp://{LOOPBACK}:{free.getsockname()[1]}"
    start = time.perf_counter()
    options = ["--engine", "dask", "--scheduler", address]
    err = refused(*options)
    assert f"--scheduler {address}: cannot be reached" in err
    assert time.perf_counter() - start < 15


def test_without_dask(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    options = ["--engine", "dask", "--scheduler", "tcp://127.0.0.1:1"]
    err = refused(*options)
    assert "pip install 'drcosim[dask]'" in err


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (("nthreads", {"tcp://far": 1, "tcp://near": 8}), "8 threads; allowed is --nthreads 1"),
        (("run_on_scheduler", ATTEMPTS - 1), f"allowed are at least {ATTEMPTS}"),
    ],
)
def test_clusters_of_another_kind(cluster, refused, monkeypatch, answer, said):
    monkeypatch.setattr(Client, answer[0], lambda *_: answer[1])
    assert said in refused("--engine", "dask", "--scheduler", cluster)


def test_a_cluster_without_workers(refused):
    with LocalCluster(n_workers=0, host=LOOPBACK, dashboard_address=":0") as cluster:
        err = refused("--engine", "dask", "--scheduler", cluster.scheduler_address)
    assert "has no worker" in err


@pytest.mark.parametrize(
    ("sight", "said"), [((False, "code"), "does not see it"), ((True, "x"), "another version")]
)
def test_workers_elsewhere(cluster, refused, monkeypatch, sight, said):
    monkeypatch.setattr(Client, "run", lambda *_: {"tcp://far": sight})
    monkeypatch.setattr("simulation.engines._sight", lambda _: (True, "code"))
    options = ["--engine", "dask", "--scheduler", cluster]
    assert said in refused(*options)
