"""Reports of experiments: what they show, and what they refuse."""

import re

import pandas as pd
import pytest

from simulation.report import main, write_report
from simulation.reporting.experiment_data import read_experiment
from simulation.reporting.experiment_page import experiment_page
from simulation.reporting.risk_views import verdict_of
from tests.simulation.experiments import write_experiment


@pytest.fixture
def folder(tmp_path):
    return write_experiment(tmp_path / "tiny")


def test_sections_in_order(folder):
    html = write_report(folder).read_text(encoding="utf-8")
    found = re.findall(r'<section id="([^"]+)"', html)
    first = ["answer", "costs", "promise", "gains", "effects", "treatments"]
    assert found == [*first, "runs", "origin"]
    assert "<h1>Experiment tiny</h1>" in html


def test_answers(folder):
    runs, reduction, traded, promise, fallbacks = experiment_page(read_experiment(folder)).answers
    assert runs.value == "4 of 4"
    assert reduction.value == "20.0 %"
    assert "across_networks, robust" in reduction.note
    assert "15.0 to 25.0 %" in reduction.note
    assert traded.value == "0 to 7 kWh"
    assert promise.value == "1 of 2"
    assert "1 broke it" in promise.note
    assert fallbacks.value == "1"
    assert "of 96 clearings" in fallbacks.note


@pytest.mark.parametrize(
    ("by_steps", "by_days", "verdict"),
    [
        ((0.0, 0.04), (0.0, 0.05), "kept"),
        ((0.0, 0.04), (0.0, 0.06), "consistent"),
        ((0.0, 0.06), (0.0, 0.04), "consistent"),
        ((0.06, 0.2), (0.07, 0.3), "broken"),
        ((0.06, 0.2), (0.04, 0.3), "consistent"),
        ((0.0, 0.04), None, "kept"),
        ((float("nan"),) * 2, (float("nan"),) * 2, "not tested"),
    ],
)
def test_a_promise_is_kept_or_broken_only_where_both_intervals_say_so(by_steps, by_days, verdict):
    row = {"market.risk_level": 0.05}
    for kind, ends in (("", by_steps), ("_days", by_days)):
        if ends is not None:
            names = (f"violation_binding_rate{kind}_{end}" for end in ("low", "high"))
            row |= dict(zip(names, ends, strict=True))
    assert verdict_of(pd.Series(row)) == verdict


def test_verdicts_stand_beside_rates_and_counts(folder):
    page = experiment_page(read_experiment(folder))
    table = page.sections[1].blocks[1]
    cells = [[cell.text for cell in row] for row in table.rows]
    assert [row[-1] for row in cells] == ["broken", "kept"]
    assert cells[1][2:6] == ["3.00", "1.50", "4.50", "1 of 33"]


def test_axes_have_units(folder):
    for section in experiment_page(read_experiment(folder)).sections:
        for block in section.blocks:
            if block.kind == "picture":
                layout = block.figure.layout
                assert "[" in layout.xaxis.title.text
                assert "[" in layout.yaxis.title.text


def test_an_experiment_that_is_not_complete_says_so(tmp_path):
    folder = write_experiment(tmp_path / "tiny")
    index = pd.read_parquet(folder / "index.parquet")
    index["status"] = ["finished", "failed", "finished", "running"]
    index["error"] = [None, "ValueError: <b>bad</b>", None, None]
    index.to_parquet(folder / "index.parquet")
    html = write_report(folder).read_text(encoding="utf-8")
    assert "not complete: of 4 runs 1 failed, 1 running" in html
    assert "&lt;b&gt;bad" in html


def test_without_comparisons_gains_and_effects(tmp_path):
    folder = write_experiment(tmp_path / "tiny")
    (folder / "effects.parquet").unlink()
    table = pd.read_parquet(folder / "table.parquet")
    table = table[[c for c in table if not c.startswith(("reduction", "gains"))]]
    table.to_parquet(folder / "table.parquet")
    page = experiment_page(read_experiment(folder))
    assert [s.key for s in page.sections] == ["costs", "promise", "treatments", "runs", "origin"]
    assert page.answers[1].label == "Lowest adjusted cost at tariff"


def spoil(name, how):
    def change(folder):
        path = folder / name
        path.unlink() if how is None else path.write_bytes(how)

    return change


def unfinished(folder):
    path = folder / "table.parquet"
    pd.read_parquet(path).assign(finished=0).to_parquet(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (spoil("table.parquet", None), "table.parquet: is missing"),
        (spoil("index.parquet", b"PAR1"), "index.parquet: is damaged"),
        (spoil("experiment.yaml", b"\xff\xfe\xff"), "experiment.yaml: is damaged"),
        (unfinished, "none of its runs is finished"),
    ],
)
def test_what_is_damaged_gets_one_message(folder, capsys, change, words):
    change(folder)
    assert main([str(folder)]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert words in err
    assert not (folder / "report.html").exists()


def test_options_of_runs_are_refused(folder, capsys):
    assert main([str(folder), "--base", str(folder)]) == 2
    assert "has its own base cases" in capsys.readouterr().err
    assert main([str(folder), "--figures", str(folder / "figures")]) == 2
    assert "is an experiment" in capsys.readouterr().err
