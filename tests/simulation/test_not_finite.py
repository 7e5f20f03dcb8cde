"""Wherever something that is not a number turns up in a run, the run ends with its name."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from agents.dso import Dso
from agents.prosumer import Prosumer
from grid.replay import AcReplay
from grid.sensitivity import OperatingPoint
from market import clearing
from simulation import run as command
from simulation.model import CoSimulation

AT = 1


def spoiled(holder, name, spoil):
    """A method whose result is spoiled from step AT on."""
    real = getattr(holder, name)

    def method(self, *arguments, **options):
        result = real(self, *arguments, **options)
        return spoil(result) if clock.now >= AT else result

    return holder, name, method


class Clock:
    now = 0


clock = Clock()


def nan_at(array, place):
    out = np.array(array, dtype=float)
    out[place] = np.nan
    return out


def forecasts(monkeypatch, prepared):
    archive = prepared.world.archive
    real, row = archive.forecast, prepared.world.first_row + AT
    monkeypatch.setattr(
        type(archive), "forecast", lambda _, at: nan_at(real(at), (0, 2)) if at >= row else real(at)
    )


def errors(monkeypatch, prepared):
    archive = prepared.world.archive
    real, row = archive.past, prepared.world.first_row + AT

    def past(_, at, lead):
        found = real(at, lead)
        return replace(found, errors=nan_at(found.errors, (0, 0))) if at >= row else found

    monkeypatch.setattr(type(archive), "past", past)


def profiles(monkeypatch, prepared):
    values = prepared.world.profiles.values
    values.flags.writeable = True
    values[prepared.world.first_row + AT, 1] = np.nan


def tariffs(monkeypatch, prepared):
    prepared.world.tariff.feed_in[AT] = np.inf


def readings(monkeypatch, prepared):
    def spoil(reading):
        return replace(reading, p_kw=np.nan) if reading.peer_id.endswith("-20") else reading

    monkeypatch.setattr(*spoiled(Prosumer, "follow", spoil))


def activations(monkeypatch, prepared):
    monkeypatch.setattr(*spoiled(Dso, "recourse", lambda asked: nan_at(asked, 0)))


def voltages(monkeypatch, prepared):
    monkeypatch.setattr(
        *spoiled(AcReplay, "run", lambda replay: replace(replay, vm_pu=nan_at(replay.vm_pu, 4)))
    )


def sensitivities(monkeypatch, prepared):
    def spoil(gradient):
        return nan_at(gradient[0], (0, 1)), gradient[1]

    monkeypatch.setattr(*spoiled(OperatingPoint, "loss_gradient", spoil))


def schedules(monkeypatch, prepared):
    real = clearing.from_decisions

    def spoil(*arguments, **options):
        schedule = real(*arguments, **options)
        if clock.now < AT:
            return schedule
        return replace(schedule, p_kw=nan_at(schedule.p_kw, (0, 2)))

    monkeypatch.setattr(clearing, "from_decisions", spoil)


SOURCES = {
    forecasts: r"forecast of \w+:\S+ is nan",
    errors: r"past forecast error of \w+:\S+ is nan",
    profiles: r"profile value of \w+:\S+ is nan",
    tariffs: r"tariff feed_in is inf",
    readings: r"realised p_kw of \S+-20 is nan",
    activations: r"realised p_kw of \S+ is nan",
    voltages: r"voltage of network west, bus 40 is nan",
    sensitivities: r"loss_d_p of network west is nan",
    schedules: r"scheduled p_kw of west-\d+ is nan",
}


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.__name__)
def test_a_run_ends_where_something_is_not_a_number(monkeypatch, small, tmp_path, capsys, source):
    step = CoSimulation.step

    def timed(model):
        clock.now = model.now
        step(model)

    real = command._prepare

    def prepare(options):
        task = real(options)
        source(monkeypatch, task.run)
        return task

    monkeypatch.setattr(CoSimulation, "step", timed)
    monkeypatch.setattr(command, "_prepare", prepare)
    monkeypatch.setattr(clock, "now", 0)
    folder = tmp_path / "run"
    words = [f"--config={small / 'small.yaml'}", f"--output={folder}", "--quiet"]
    assert command.main([*words, "--set=step_minutes=240"]) == 2
    (line,) = [text for text in capsys.readouterr().err.splitlines() if text.startswith("error")]
    assert re.search(rf"step {AT}: {SOURCES[source]}, not a finite number", line), line
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["status"] == "failed"
    dispatch = pd.read_parquet(folder / "dispatch.parquet")
    assert sorted(dispatch.step.unique()) == list(range(AT))
