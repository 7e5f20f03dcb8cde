"""A run that goes on from the end of a day is the run that was never interrupted."""

import json
import shutil
import zipfile

import pytest

from configs.loading import load
from simulation.checkpoint import CheckpointError, read_checkpoint
from simulation.run import run
from tests.simulation.resumed import assert_same, resume, run_and_copy

DAYS = ("days=2", "step_minutes=240", "market.horizon_hours=24", "forecast.sample_days=40")
LEARNERS = (
    "strategies=[{use: bandit, share: 0.3}, {use: roth_erev, share: 0.3, coalition: true}, "
    "{use: zero_intelligence, share: 0.2}, "
    "{use: risk_averse, share: 0.2, from_day: 2, parameters: {n_min: 2}}]"
)
CHECKS = ("out_of_sample.cadence_steps=1", "out_of_sample.days=10")
FAMILIES = {
    # One clearing binds across midnight, and is checked by Monte Carlo on both sides of it.
    "across midnight": (LEARNERS, *CHECKS, "market.cadence_steps=4"),
}
MORE_FAMILIES = {
    "as it is": (),
    "second optimisation": ("market.second_stage=reoptimised", "market.radius_rule=formula"),
    "hourly": ("step_minutes=60", "market.horizon_hours=4"),
    "learners": (LEARNERS, "days=3"),
    "day ahead": ("market.cadence_steps=6", *CHECKS),
    "lindistflow": ("market.grid_model=lindistflow",),
    "relaxation": ("market.grid_model=socp",),
    "relaxation across midnight": ("market.grid_model=socp", "market.cadence_steps=4"),
    "weighted samples": ("market.sample_weights=recency_similarity",),
    "plain recourse": (
        "market.recourse_shares=common",
        "market.recourse_pool=all",
        "market.renewable_setpoint=offset",
        "market.method=gaussian",
    ),
    "foresight": ("forecast.perfect_foresight=true",),
    "no power flow": ("networks.east.load_scale=120",),
    "alone": ("market.coordination=none",),
    "blocks": ("market.bid_format=blocks",),
}


@pytest.mark.parametrize(
    "family",
    [*FAMILIES, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE_FAMILIES)],
)
def test_a_resumed_run_is_the_uninterrupted_one(scenario, tmp_path, monkeypatch, family):
    config = scenario(*DAYS, *(FAMILIES | MORE_FAMILIES)[family])
    whole = tmp_path / "whole"
    copies = run_and_copy(config, whole, monkeypatch)
    assert len(copies) == config.days
    for folder in copies:
        before = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        assert before["status"] == "running"
        resume(folder)
        assert_same(folder, whole)
        after = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        assert after["started"] == before["started"]
        assert len(after["resumed"]) == 1


@pytest.fixture(scope="module")
def killed(small, tmp_path_factory):
    """Folder of a run that was killed at the end of its first day."""
    folder = tmp_path_factory.mktemp("killed") / "run"
    with pytest.MonkeyPatch.context() as patch:
        return run_and_copy(load(str(small / "feeder.yaml")), folder, patch)[0]


@pytest.fixture
def folder(killed, tmp_path):
    return shutil.copytree(killed, tmp_path / "run")


def test_a_checkpoint_is_plain_data(folder):
    with zipfile.ZipFile(folder / "checkpoint.zip") as archive:
        content = json.loads(archive.read("state.json"))
        assert {name.rpartition(".")[2] for name in archive.namelist()} == {"json", "npy"}
        assert not any(b"pickle" in archive.read(name)[:200] for name in archive.namelist())
    assert set(content) == {"format", "origin", "state"}


def test_seconds_of_both_parts_count(folder, monkeypatch):
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    origin = {key: manifest[key] for key in ("config_sha256", "data_sha256")}
    before = read_checkpoint(folder, origin)
    resume(folder)
    after = json.loads((folder / "summary.json").read_text(encoding="utf-8"))["seconds"]
    assert after["total"] > before["wall_s"] > 0
    assert after["solver"] > before["model"]["seconds"]["solver"] > 0
    phases = [spent for phase, spent in after["by_phase"].items() if phase != "rest"]
    assert sum(phases) <= after["total"]


# --- what cannot be resumed -------------------------------------------------------------------


def edit(path, change):
    """Change the JSON file, or the JSON member of the archive, at a path."""
    if path.suffix == ".json":
        content = json.loads(path.read_text(encoding="utf-8"))
        change(content)
        path.write_text(json.dumps(content), encoding="utf-8")
        return
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    content = json.loads(members["state.json"])
    change(content)
    members["state.json"] = json.dumps(content).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, member)


def test_other_settings_are_refused(folder):
    path = folder / "config.yaml"
    text = path.read_text(encoding="utf-8")
    assert "seed: 3" in text
    path.write_text(text.replace("seed: 3", "seed: 4"), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"settings in config\.yaml are not those"):
        resume(folder)


@pytest.mark.parametrize("name", ["manifest.json", "checkpoint.zip"])
def test_other_data_are_refused(folder, name):
    def change(content):
        content.get("origin", content)["data_sha256"]["profiles"] = "0" * 64

    edit(folder / name, change)
    with pytest.raises(CheckpointError, match=f"{name}: the data have changed .*: profiles"):
        resume(folder)


def test_another_format_is_refused(folder):
    edit(folder / "checkpoint.zip", lambda content: content.update(format=99))
    with pytest.raises(CheckpointError, match=r"another version of this program \(format 99"):
        resume(folder)


def test_a_state_that_does_not_fit_is_refused(folder):
    def change(content):
        model = dict(content["state"]["dict"])["model"]["dict"]
        model[:] = [pair for pair in model if pair[0] != "pool_price"]

    edit(folder / "checkpoint.zip", change)
    with pytest.raises(CheckpointError, match=r"does not fit this version .*pool_price"):
        resume(folder)


def test_code_in_a_checkpoint_is_not_run(folder):
    def change(content):
        content["state"] = {"is": ["os", "system"], "with": {"command": "exit 1"}}

    edit(folder / "checkpoint.zip", change)
    with pytest.raises(CheckpointError, match=r"os\.system is no data class"):
        resume(folder)


@pytest.mark.parametrize("where", [0.1, 0.5, 0.99])
def test_a_damaged_checkpoint_is_noticed(folder, where):
    path = folder / "checkpoint.zip"
    content = bytearray(path.read_bytes())
    place = int(where * len(content))
    content[place : place + 40] = bytes(byte ^ 255 for byte in content[place : place + 40])
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="is damaged"):
        resume(folder)


def test_a_missing_day_is_noticed(folder):
    (folder / "parts" / "00001.zip").unlink()
    with pytest.raises(CheckpointError, match=r"00001\.zip is missing"):
        resume(folder)


def test_what_a_refused_run_had_is_still_there(folder):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    edit(folder / "checkpoint.zip", lambda content: content.update(format=99))
    before[folder / "checkpoint.zip"] = (folder / "checkpoint.zip").read_bytes()
    with pytest.raises(CheckpointError):
        resume(folder)
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_killed_on_its_first_day_starts_anew(folder, tmp_path):
    (folder / "checkpoint.zip").unlink()
    resume(folder)
    assert_same(folder, run(load(str(folder / "config.yaml")), tmp_path / "whole"))
