"""The base case beside a run: the same draws, one folder, one saving, and whatever may go wrong."""

import json
import logging
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from configs.loading import load
from simulation import base_process
from simulation.atomic import write_json
from simulation.base_process import BEGIN, FINISHED, INTERRUPTED, READY, STOP, BaseProcess
from simulation.base_saving import _Cost, _saving, savings
from simulation.journal import Journal
from simulation.lock import LockedError, locked
from simulation.model import CoSimulation
from simulation.output_folder import FolderError, base_is_left, is_begun, require_new
from simulation.report import write_report
from simulation.run import main, run
from tests.faulty_solver import FaultySolver, only
from tests.simulation.resumed import assert_same, status

ROOT = Path(__file__).parents[2]
CASE = ["--base", "none", "--base", "market.risk_level=0.1"]
OVERRIDES = ["market.coordination=none", "market.risk_level=0.1"]


def summary_of(folder):
    return json.loads((folder / "summary.json").read_text(encoding="utf-8"))


def without_base(summary):
    return {key: value for key, value in summary.items() if key != "base_case"}


@pytest.fixture(scope="module")
def alone(small, tmp_path_factory):
    """Folders of the run and of its base case, each run on its own."""
    folder, file = tmp_path_factory.mktemp("alone"), str(small / "feeder.yaml")
    return run(load(file), folder / "run"), run(load(file, OVERRIDES), folder / "case")


@dataclass(frozen=True)
class Case:
    """A folder for a run and its base case, their command line, and both as they are alone."""

    folder: Path
    command: list[str]
    alone: tuple[Path, Path]

    def resume(self, *options):
        return main(["--resume", str(self.folder), *options])

    def check_the_run(self):
        """The run is that which had the machine for itself."""
        aside = self.folder.with_name("aside")
        shutil.copytree(self.folder, aside, ignore=shutil.ignore_patterns("base"))
        write_json(aside / "summary.json", without_base(summary_of(aside)))
        assert_same(aside, self.alone[0])
        shutil.rmtree(aside)

    def resume_and_check(self):
        """Going on, both end as if nothing had interrupted them, and the saving is told."""
        assert self.resume("--quiet") == 0
        self.check_the_run()
        assert_same(self.folder / "base", self.alone[1])
        block = summary_of(self.folder)["base_case"]
        assert block["failure"] is None
        assert block["savings"].keys() == {"at_tariff", "in_resources"}
        assert not base_is_left(self.folder)


@pytest.fixture
def case(small, tmp_path, alone):
    folder = tmp_path / "run"
    words = ["--config", str(small / "feeder.yaml"), "--output", str(folder), *CASE]
    return Case(folder, words, alone)


def at_step(monkeypatch, step, act):
    """Act when a step of the run is done."""
    original = CoSimulation.step

    def and_act(model):
        original(model)
        if model.now == step:
            act()

    monkeypatch.setattr(CoSimulation, "step", and_act)


# --- side by side -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def both(small, tmp_path_factory):
    """Folder of a run with its base case, and what was said."""
    folder = tmp_path_factory.mktemp("both") / "run"
    words = ["--config", str(small / "feeder.yaml"), "--output", str(folder), *CASE]
    done = subprocess.run(
        [sys.executable, "-m", "simulation.run", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder, done


def test_both_are_the_runs_that_they_are_alone(both, alone):
    folder, _ = both
    assert_same(folder / "base", alone[1])
    aside = {path.name for path in folder.iterdir()}
    assert aside - {"base", "report.html"} == {path.name for path in alone[0].iterdir()}
    for table in ("dispatch", "costs", "trades"):
        name = f"{table}.parquet"
        assert (folder / name).read_bytes() == (alone[0] / name).read_bytes()
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["base"] == {"folder": "base", "overrides": OVERRIDES}


def test_summary_and_report_open_with_the_saving(both, alone):
    folder, done = both
    summary = summary_of(folder)
    assert next(iter(summary)) == "base_case"
    saving = summary["base_case"]["savings"]["at_tariff"]
    own, case = map(summary_of, alone)
    value = own["stored_energy_value_eur_per_kwh"]["mid"]
    raw, stored = (
        case[key] - own[key] for key in ("total_operational_cost_eur", "stored_energy_change_kwh")
    )
    assert saving["unadjusted_eur"] == pytest.approx(raw)
    assert saving["saving_eur"] == pytest.approx(raw - value * stored)
    assert saving["share"] == pytest.approx(saving["saving_eur"] / saving["base_eur"])
    assert saving["low_eur"] <= saving["saving_eur"] <= saving["high_eur"]
    lines = done.stdout.splitlines()
    assert lines[2].startswith(f"saving at tariff {saving['saving_eur']:>21,.2f} EUR")
    assert "95 % interval by days" in lines[2]
    assert lines[3].startswith("saving in resources")
    assert "market.coordination=none, market.risk_level=0.1 on the same draws" in lines[4]
    peers = summary["base_case"]["peers"]
    assert f"{peers['not_worse_off_share']:.1%} of" in lines[5]
    assert sum(peers["losing"].values()) == round(
        (1 - peers["not_worse_off_share"]) * sum(peers["peers"].values())
    )
    assert "--base none" not in done.stdout
    assert "no base case" not in done.stderr
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.index("Saving at tariff") < page.index("Resource cost")


def test_resources_are_told_of_where_they_are_known(both, tmp_path):
    folder = shutil.copytree(both[0], tmp_path / "run")
    for place in (folder, folder / "base"):
        summary = summary_of(place)
        costs = pd.read_parquet(place / "costs.parquet")
        costs.assign(amount_eur=costs.amount_eur / 2).to_parquet(place / "resource_costs.parquet")
        half = summary["total_operational_cost_eur"] / 2
        write_json(place / "summary.json", {**summary, "resource_cost_eur": half})
    told = savings(folder, folder / "base")
    assert list(told) == ["at_tariff", "in_resources"]
    assert told["in_resources"].unadjusted_eur == pytest.approx(
        told["at_tariff"].unadjusted_eur / 2
    )
    assert told["in_resources"].days == 2
    page = write_report(folder).read_text(encoding="utf-8")
    assert "Saving in resources" in page
    (folder / "resource_costs.parquet").unlink()
    assert savings(folder, folder / "base")["in_resources"].low_eur is None


def test_the_adjusted_steps_sum_to_the_adjusted_run(both):
    folder, _ = both
    saving = savings(folder, folder / "base")["at_tariff"]
    runs = [folder, folder / "base"]
    stored = [summary_of(place)["stored_energy_change_kwh"] for place in runs]
    value = summary_of(folder)["stored_energy_value_eur_per_kwh"]["mid"]
    assert saving.run_eur == pytest.approx(
        summary_of(folder)["total_operational_cost_eur"] - value * stored[0]
    )
    assert saving.saving_eur == pytest.approx(saving.unadjusted_eur - value * np.diff(stored)[0])
    # Of two days, the extremes of the bootstrap are each day twice: the middle is the saving.
    assert saving.low_eur + saving.high_eur == pytest.approx(2 * saving.saving_eur)


def test_the_interval_is_one_of_whole_days():
    times = pd.date_range("2016-06-04", periods=24, freq="4h", tz="UTC")
    base = pd.Series(np.repeat([1.0, 2.0, 3.0, 4.0], 6), times)
    cost = _Cost(60.0, 60.0, base)
    saving = _saving("at_tariff", _Cost(0.0, 0.0, 0 * base), cost)
    assert (saving.saving_eur, saving.share, saving.days) == (60.0, 1.0, 4)
    assert 24.0 <= saving.low_eur < 48.0
    assert 72.0 < saving.high_eur <= 96.0
    same = _saving("at_tariff", _Cost(0.0, 0.0, 0 * base), _Cost(24.0, 24.0, 0 * base + 1))
    assert same.low_eur == same.high_eur == pytest.approx(24.0)
    day = _saving("at_tariff", _Cost(0.0, 0.0, 0 * base[:6]), _Cost(6.0, 6.0, base[:6]))
    assert (day.low_eur, day.high_eur, day.days) == (None, None, 1)


def test_without_a_base_case_the_summary_says_how_to_get_one(small, tmp_path, capsys):
    words = ["--config", str(small / "feeder.yaml"), "--set", "days=1"]
    assert main([*words, "--output", str(tmp_path / "run")]) == 0
    out = capsys.readouterr().out
    assert out.count("--base none") == 1
    assert "saving" not in out


# --- what cannot be a base case ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("", "--base : expected none, within_network, across_networks or market.key=value"),
        ("nobody", "--base nobody: expected none,"),
        ("seed=4", "--base seed=4: expected none,"),
        ("market={}", "--base market={}: expected none,"),
        ("market.pricing", "--base market.pricing: expected none,"),
        ("market.=1", "--base: unknown key market."),
        ("market.price=dlmp", "--base: unknown key market.price"),
        ("market.coordination=all", "--base: market.coordination: Input should be"),
        ("market.pricing=[", "--base market.pricing=[: the value is not valid YAML"),
        ("market.pricing.rule=dlmp", "--base market.pricing.rule=dlmp: pricing is a single value"),
        ("across_networks", "--base market.coordination=across_networks: changes nothing"),
        ("market.pricing=nowhere:Mine", "nowhere"),  # which the other process finds out
    ],
)
def test_a_base_case_that_cannot_be_used(case, capsys, word, said):
    assert main([*case.command[:4], "--base", word]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert not case.folder.exists()


def test_a_run_keeps_its_base_case(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--resume", str(tmp_path), "--base", "none"])
    assert "--base does not go with --resume" in capsys.readouterr().err


def test_the_settings_of_a_base_case_alone_are_no_run(tmp_path):
    """They are what a run leaves that is killed at its very start."""
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.yaml").write_text("", encoding="utf-8")
    require_new(tmp_path)
    (tmp_path / "base" / "mine.txt").write_text("", encoding="utf-8")
    with pytest.raises(FolderError, match="not an empty folder"):
        require_new(tmp_path)


# --- stops and failures -----------------------------------------------------------------------


@pytest.mark.parametrize(("number", "step"), [(signal.SIGINT, 1), (signal.SIGTERM, 8)])
def test_a_signal_stops_both_and_both_go_on(case, monkeypatch, number, step):
    folder = case.folder
    with monkeypatch.context() as patch:
        at_step(patch, step, lambda: signal.raise_signal(number))
        assert main([*case.command, "--quiet"]) == 128 + number
    assert status(folder) == "interrupted"
    assert status(folder / "base") in ("interrupted", "finished")
    assert not (folder / "summary.json").exists()
    case.resume_and_check()


def test_a_signal_while_the_base_case_is_waited_for(case, monkeypatch, capsys):
    folder = case.folder
    with monkeypatch.context() as patch:
        at_step(patch, 12, lambda: signal.raise_signal(signal.SIGINT))
        assert main(case.command) == 130
    assert status(folder) == "finished"
    assert f"to go on: python -m simulation.run --resume {folder}" in capsys.readouterr().err
    assert base_is_left(folder)
    case.resume_and_check()


def test_a_base_case_that_is_killed_leaves_the_run_alone(case, monkeypatch, capsys):
    folder, begin = case.folder, BaseProcess.begin

    def and_kill(process):
        begin(process)
        process._process.kill()

    with monkeypatch.context() as patch:
        patch.setattr(BaseProcess, "begin", and_kill)
        assert main([*case.command, "--quiet"]) == 0
    said = capsys.readouterr()
    assert said.err == "no base case: its process was ended by force (exit code -9)\n"
    assert said.out == ""
    case.check_the_run()
    block = summary_of(folder)["base_case"]
    assert block["failure"].startswith("its process was ended by force")
    assert block["savings"] == {}
    assert "no finished base case" in (folder / "report.html").read_text(encoding="utf-8")
    case.resume_and_check()


def test_a_run_without_room_on_the_disk_keeps_its_base_case(case, monkeypatch, capsys):
    def full(journal):
        raise OSError(28, "No space left on device")

    folder = case.folder
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "end_of_day", full)
        assert main([*case.command, "--quiet"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert status(folder / "base") in ("interrupted", "finished")
    case.resume_and_check()


def test_a_damaged_base_case_does_not_keep_the_run_from_going_on(case, monkeypatch, capsys):
    folder = case.folder
    with monkeypatch.context() as patch:
        at_step(patch, 1, lambda: signal.raise_signal(signal.SIGINT))
        assert main([*case.command, "--quiet"]) == 130
    (folder / "base" / "config.yaml").write_text("days: none", encoding="utf-8")
    manifest = folder / "base" / "manifest.json"
    manifest.write_text(manifest.read_text().replace("finished", "running"), encoding="utf-8")
    capsys.readouterr()
    assert main(["--resume", str(folder), "--quiet"]) == 0
    err = capsys.readouterr().err
    assert err.startswith("no base case: ")
    assert "days" in err
    assert err.count("\n") == 1
    case.check_the_run()


def test_the_saving_is_made_up_for(both, tmp_path, capsys):
    """A run may be killed after both have finished, and before the summary tells of it."""
    folder = shutil.copytree(both[0], tmp_path / "run")
    write_json(folder / "summary.json", without_base(summary_of(folder)))
    assert main(["--resume", str(folder), "--quiet"]) == 0
    assert summary_of(folder) == summary_of(both[0])
    assert main(["--resume", str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder}: is finished already\n"


def test_the_exit_code_is_that_of_the_run(case, monkeypatch, capsys):
    FaultySolver("max_iterations", only(0, 0, 1)).install(monkeypatch)
    assert main([*case.command, "--quiet"]) == 3
    assert "FALLBACKS: solvers failed in 1 of 12 steps" in capsys.readouterr().err


def test_the_base_case_does_not_outlive_a_run_that_is_killed(case):
    folder = case.folder
    words = [sys.executable, "-m", "simulation.run", *case.command, "--quiet"]
    with subprocess.Popen(words, cwd=ROOT) as process:
        while not is_begun(folder) or not (folder / "base" / "manifest.json").exists():
            assert process.poll() is None
            time.sleep(0.002)
        process.kill()
    deadline = time.monotonic() + 60
    while is_locked(folder / "base"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert status(folder / "base") in ("interrupted", "finished")
    case.resume_and_check()


def is_locked(folder):
    try:
        with locked(folder):
            return False
    except LockedError:
        return True


# --- the other process, without one -----------------------------------------------------------


@pytest.fixture
def perform(small, tmp_path, monkeypatch):
    """Run the base case in this process; return what it says to what it is told."""
    handler = signal.getsignal(signal.SIGTERM)
    monkeypatch.setenv("RAYON_NUM_THREADS", os.environ.get("RAYON_NUM_THREADS", "1"))

    def go(*words, close=False, **changes):
        config = load(str(small / "feeder.yaml"), [f"{k}={v}" for k, v in changes.items()])
        ours, theirs = multiprocessing.Pipe()
        for word in words:
            ours.send(word)
        if close:
            ours.close()
        base_process._perform(theirs, tmp_path / "base", config, ())
        theirs.close()
        said = []
        while not close and ours.poll():
            try:
                said.append(ours.recv())
            except (EOFError, OSError):
                break
        return said

    yield go
    logging.disable(logging.NOTSET)
    signal.signal(signal.SIGTERM, handler)


def test_it_waits_for_its_run_to_begin(perform, tmp_path):
    assert perform(close=True) == []
    assert not (tmp_path / "base").exists()


def test_it_says_how_it_ended(perform, tmp_path):
    assert perform(BEGIN) == [READY, FINISHED]
    assert status(tmp_path / "base") == "finished"


def test_it_stops_when_told(perform, tmp_path):
    assert perform(BEGIN, STOP) == [READY, INTERRUPTED]
    assert status(tmp_path / "base") == "interrupted"
    assert list(pd.read_parquet(tmp_path / "base" / "clearing.parquet").step) == [0]


def test_it_stops_after_its_step_on_sigterm(perform, tmp_path, monkeypatch):
    at_step(monkeypatch, 4, lambda: signal.raise_signal(signal.SIGTERM))
    assert perform(BEGIN) == [READY, INTERRUPTED]
    assert list(pd.read_parquet(tmp_path / "base" / "clearing.parquet").step) == [0, 1, 2, 3]


def test_ctrl_c_is_the_runs_to_take():
    """It waits until the process has been started, and never reaches that one."""
    blocked = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))"

    def start():
        with base_process._interrupts_held_back():
            signal.raise_signal(signal.SIGINT)
            said.append(subprocess.check_output([sys.executable, "-c", blocked], text=True))

    said = []
    with pytest.raises(KeyboardInterrupt):
        start()
    assert said == ["True\n"]


def test_whatever_goes_wrong_is_said_in_one_line(perform, tmp_path, monkeypatch):
    def fail():
        raise RuntimeError("two\nlines")

    at_step(monkeypatch, 2, fail)
    assert perform(BEGIN) == [READY, "two lines"]
    assert status(tmp_path / "base") == "failed"
