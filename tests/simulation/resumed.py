"""What the tests of stopping and resuming have in common."""

import json
import shutil

import pandas as pd

from configs.loading import load
from simulation.journal import Journal
from simulation.recorder import TABLES
from simulation.run import execute, prepare

WALL_CLOCK = ["solver_s", "wall_s"]


def run_and_copy(config, folder, monkeypatch):
    """Run, and copy the folder at the end of every day: what a run killed right then leaves."""
    end_of_day, copies = Journal.end_of_day, []

    def and_copy(journal):
        end_of_day(journal)
        copies.append(folder.with_name(f"{folder.name}-day-{len(copies) + 1}"))
        shutil.copytree(folder, copies[-1])

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "end_of_day", and_copy)
        execute(prepare(config, folder))
    return copies


def resume(folder):
    """Go on with the run in a folder."""
    execute(prepare(load(str(folder / "config.yaml")), folder, resume=True))


def status(folder):
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["status"]


def assert_same(folder, whole):
    """Tables, summary and what was learnt are those of another run, but for the wall clock."""
    # Only the command writes a report.
    names = {path.name for path in whole.iterdir()} - {"report.html"}
    assert {path.name for path in folder.iterdir()} - {"report.html"} == names
    assert names == {f"{table}.parquet" for table in TABLES} | {
        "config.yaml",
        "manifest.json",
        "strategies.json",
        "summary.json",
    }
    for table in set(TABLES) - {"clearing"}:
        name = f"{table}.parquet"
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), table
    one, other = (
        pd.read_parquet(at / "clearing.parquet").drop(columns=WALL_CLOCK) for at in (folder, whole)
    )
    pd.testing.assert_frame_equal(one, other, check_exact=True)
    assert (folder / "strategies.json").read_bytes() == (whole / "strategies.json").read_bytes()
    one, other = (
        json.loads((at / "summary.json").read_text(encoding="utf-8")) for at in (folder, whole)
    )
    assert one.pop("seconds").keys() == other.pop("seconds").keys()
    assert one == other
    assert status(folder) == "finished"
