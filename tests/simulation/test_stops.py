"""Signals, locks and full disks: a run says what happened, keeps its days and can go on."""

import os
import signal
import threading
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from configs.loading import load
from simulation.journal import Journal
from simulation.lock import LockedError, locked
from simulation.model import CoSimulation
from simulation.run import main, run
from simulation.stops import StopRequested, Stops
from tests.simulation.resumed import assert_same, resume, status

ENDS = {signal.SIGINT: 130, signal.SIGTERM: 143}


@pytest.fixture(scope="module")
def whole(small, tmp_path_factory):
    """Folder of a run that nothing interrupted."""
    return run(load(str(small / "feeder.yaml")), tmp_path_factory.mktemp("whole") / "run")


@dataclass(frozen=True)
class Case:
    """A folder for a run, the command line of that run, and the same run in another folder."""

    folder: Path
    command: list[str]
    whole: Path

    def resume(self):
        """Go on, and end like the run that nothing interrupted."""
        assert main(["--resume", str(self.folder), "--quiet"]) == 0
        assert_same(self.folder, self.whole)


@pytest.fixture
def case(small, tmp_path, whole):
    folder = tmp_path / "run"
    command = ["--config", str(small / "feeder.yaml"), "--output", str(folder), "--quiet"]
    return Case(folder, command, whole)


def at_step(monkeypatch, step, act, *, within=False):
    """Act when a step is done, or within it."""
    method = "_record" if within else "step"
    original = getattr(CoSimulation, method)

    def and_act(model, *args):
        original(model, *args)
        if model.now == step:
            act()

    monkeypatch.setattr(CoSimulation, method, and_act)


# --- signals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "step"), [(signal.SIGINT, 3), (signal.SIGTERM, 8)])
def test_a_signal_lets_the_step_finish(case, monkeypatch, capsys, number, step):
    folder, before = case.folder, [signal.getsignal(one) for one in ENDS]
    with monkeypatch.context() as patch:
        at_step(patch, step - 1, lambda: signal.raise_signal(number), within=True)
        assert main(case.command) == ENDS[number]
    assert [signal.getsignal(one) for one in ENDS] == before
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said == (
        f"interrupted; results so far in {folder}; to go on: "
        f"python -m simulation.run --resume {folder}"
    )
    assert status(folder) == "interrupted"
    # All that had happened is there, and adds up.
    assert sorted(pd.read_parquet(folder / "dispatch.parquet").step.unique()) == [*range(step)]
    accounts, settled = (
        pd.read_parquet(folder / f"{table}.parquet").groupby(["account", "item"]).amount_eur.sum()
        for table in ("accounts", "settlement")
    )
    assert (accounts - settled).abs().max() < 1e-9
    case.resume()


def test_two_signals_stop_at_once(case, monkeypatch, capsys):
    def twice():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)

    folder = case.folder
    with monkeypatch.context() as patch:
        at_step(patch, 8, twice, within=True)
        assert main(case.command) == 143
    assert "stopped at once" in capsys.readouterr().err
    assert status(folder) == "interrupted"
    case.resume()


def test_a_signal_after_the_last_step_comes_too_late(case, monkeypatch):
    with monkeypatch.context() as patch:
        at_step(patch, 12, lambda: signal.raise_signal(signal.SIGINT))
        assert main(case.command) == 0
    assert_same(case.folder, case.whole)


def test_the_command_to_go_on_names_plugins(case, tmp_path, monkeypatch, capsys):
    plugin = tmp_path / "of mine" / "my_plugin.py"
    plugin.parent.mkdir()
    plugin.write_text("", encoding="utf-8")
    at_step(monkeypatch, 1, lambda: signal.raise_signal(signal.SIGINT))
    assert main([*case.command, "--allow-plugins", str(plugin)]) == 130
    assert f"--allow-plugins '{plugin}'" in capsys.readouterr().err


def test_library_runs_take_no_signals(small, tmp_path, monkeypatch):
    seen = []
    at_step(monkeypatch, 1, lambda: seen.append(signal.getsignal(signal.SIGTERM)))
    before = signal.getsignal(signal.SIGTERM)
    run(load(str(small / "feeder.yaml"), ["days=1"]), tmp_path / "run")
    assert seen == [before]


def test_signals_are_taken_in_the_main_thread_only():
    failures = []

    def use():
        try:
            with Stops() as stops:
                stops.check()
        except BaseException as error:  # whatever it is
            failures.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert not failures
    with Stops() as stops:
        stops.check()
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(StopRequested):
            stops.check()
        assert stops.exit_code == 143


# --- locks ------------------------------------------------------------------------------------


def test_a_run_is_written_by_one_process(case, monkeypatch, capsys):
    folder = case.folder
    codes = []

    def meanwhile():
        codes.append(main(["--resume", str(folder), "--quiet"]))
        codes.append(main(case.command))

    with monkeypatch.context() as patch:
        at_step(patch, 7, meanwhile)
        assert main(case.command) == 0
    assert codes == [2, 2]
    first, second = capsys.readouterr().err.strip().splitlines()
    assert first == f"error: {folder}: another process is writing this run"
    assert second == f"error: --output {folder}: exists already and is not an empty folder"
    assert_same(folder, case.whole)


def test_two_that_start_at_once(case, monkeypatch, capsys):
    """The folder is empty when both look, and taken when the second one wants to write."""
    folder = case.folder
    folder.mkdir()
    with locked(folder):
        assert main(case.command) == 2
    assert "another process is writing" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["run.lock"]
    # What a process killed at its very start leaves is not in the way.
    assert main(case.command) == 0
    assert_same(folder, case.whole)


def test_the_lock_ends_with_its_holder(tmp_path):
    with locked(tmp_path), pytest.raises(LockedError), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


# --- what cannot be resumed -------------------------------------------------------------------


def test_finished_runs_are_left_alone(whole, capsys):
    before = {path: path.read_bytes() for path in whole.iterdir()}
    assert main(["--resume", str(whole)]) == 0
    assert capsys.readouterr().out == f"{whole}: is finished already\n"
    assert before == {path: path.read_bytes() for path in whole.iterdir()}


def test_what_a_killed_finish_leaves_is_cleared_away(case, monkeypatch):
    folder = case.folder
    with monkeypatch.context() as patch:
        patch.setattr("simulation.journal.clear", lambda folder: None)
        assert main(case.command) == 0
    assert (folder / "parts").exists()
    assert main(["--resume", str(folder)]) == 0
    assert_same(folder, case.whole)


@pytest.mark.parametrize("there", ["nothing", "empty", "something"])
def test_no_run_no_resume(tmp_path, capsys, there):
    folder = tmp_path / "run"
    if there != "nothing":
        folder.mkdir()
    if there == "something":
        (folder / "notes.txt").write_text("mine", encoding="utf-8")
    assert main(["--resume", str(folder)]) == 2
    said = capsys.readouterr().err
    assert (
        said == f"error: --resume {folder}: holds no run, or one that ended before its first step\n"
    )


@pytest.mark.parametrize(
    "option", ["--days 3", "--seed 4", "--config smoke", "--set days=3", "--output x"]
)
def test_a_run_keeps_its_scenario(tmp_path, capsys, option):
    with pytest.raises(SystemExit):
        main(["--resume", str(tmp_path), *option.split()])
    assert f"{option.split()[0]} does not go with --resume" in capsys.readouterr().err


# --- full disks -------------------------------------------------------------------------------


@pytest.mark.parametrize("nth", [4, 8, 20])
def test_a_full_disk_is_one_message(case, monkeypatch, capsys, nth):
    """From the n-th file on nothing can be written: days, checkpoints, tables, manifests."""
    folder, synced, fsync = case.folder, [], os.fsync

    def until_full(handle):
        synced.append(handle)
        if len(synced) >= nth:
            raise OSError(28, "No space left on device")
        fsync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", until_full)
        assert main(case.command) == 1
    said = capsys.readouterr().err
    assert said == (
        f"error: [Errno 28] No space left on device; {folder} keeps all whole days so far; to go "
        f"on: python -m simulation.run --resume {folder}\n"
    )
    assert status(folder) == "running"  # nobody could write that it no longer is
    assert not list(folder.rglob("*.part"))
    case.resume()


def test_a_disk_full_for_a_moment_is_said_in_the_manifest(small, tmp_path, monkeypatch, whole):
    folder = tmp_path / "run"

    def full(journal):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "end_of_day", full)
        with pytest.raises(OSError, match="No space left"):
            run(load(str(small / "feeder.yaml")), folder)
    assert status(folder) == "interrupted"
    resume(folder)
    assert_same(folder, whole)


def test_a_folder_that_cannot_be_made_is_one_message(case, tmp_path, capsys):
    (tmp_path / "file").write_text("", encoding="utf-8")
    case.command[case.command.index("--output") + 1] = str(tmp_path / "file" / "run")
    assert main(case.command) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert str(tmp_path / "file") in said
    assert "--resume" not in said
    assert said.count("\n") == 1
