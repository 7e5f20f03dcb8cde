"""Effects of factors: pairs that differ in one factor alone, intervals over the replicates."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t

from simulation.effects import FEW, FIGURES, as_markdown, effects

PRICE = 0.2
COORDINATION, RISK = "market.coordination", "market.risk_level"


def index(rows, folder=None):
    """Rows of (coordination, risk level, replicate, cost, violated steps of 10)."""
    out = []
    for number, (coordination, risk, replicate, cost, violated) in enumerate(rows):
        out.append(
            {
                "run_id": f"run{number}",
                "status": "finished",
                COORDINATION: coordination,
                RISK: risk,
                "replicate": replicate,
                "adjusted_cost_eur": cost,
                "adjusted_resource_cost_eur": -cost,
                "stored_energy_value_eur_per_kwh": PRICE,
                "violated_all:a": violated,
                "steps_all:a": 10,
                "violated_binding:a": 0,
                "steps_binding:a": 0,
            }
        )
        if folder is not None:
            (folder / f"run{number}").mkdir()
            pd.DataFrame(
                {
                    "peer_id": ["a", "b", "c"],
                    "kind": ["consumer", "consumer", "prosumer"],
                    "net_eur": [-cost, -2 * cost, cost],
                    "stored_energy_change_kwh": [0.0, 0.0, 10.0 * number],
                }
            ).to_parquet(folder / f"run{number}" / "peer_outcomes.parquet")
    return pd.DataFrame(out)


GRID = [
    ("none", 0.05, 1, 100.0, 4),
    ("none", 0.1, 1, 90.0, 5),
    ("across", 0.05, 1, 80.0, 1),
    ("across", 0.1, 1, 74.0, 3),
    ("none", 0.05, 2, 200.0, 0),
    ("none", 0.1, 2, 180.0, 0),
    ("across", 0.05, 2, 190.0, 0),
    ("across", 0.1, 2, 160.0, 10),
]


def row(table, factor, level, figure="adjusted_cost_eur"):
    (found,) = table[
        (table.factor == factor) & (table.level == level) & (table.figure == figure)
    ].to_dict("records")
    return found


def test_by_hand(tmp_path):
    table = effects(index(GRID, tmp_path), [COORDINATION, RISK], tmp_path)
    across = row(table, COORDINATION, "across")
    # -20 and -16 in the first replicate, -10 and -20 in the second one.
    assert across["mean_difference"] == pytest.approx(-16.5)
    assert (across["reference"], across["replicates"], across["pairs"]) == ("none", 2, 4)
    half = t.ppf(0.975, 1) * np.std([-18, -15], ddof=1) / np.sqrt(2)
    assert across["high"] - across["mean_difference"] == pytest.approx(half)
    # Two replicates drawn with replacement: both ends have a probability of a quarter.
    assert (across["bootstrap_low"], across["bootstrap_high"]) == (-18, -15)
    risk = row(table, RISK, "0.1")
    assert risk["mean_difference"] == pytest.approx((-10 - 6 - 20 - 30) / 4)
    assert row(table, RISK, "0.1", "violation_rate")["mean_difference"] == pytest.approx(13 / 40)
    # Consumers bear one and a half times the cost; batteries hold 20 kWh more two runs later.
    consumer = row(table, COORDINATION, "across", "mean_consumer_eur")
    assert consumer["mean_difference"] == pytest.approx(1.5 * 16.5)
    prosumer = row(table, COORDINATION, "across", "mean_prosumer_eur")
    assert prosumer["mean_difference"] == pytest.approx(-16.5 + PRICE * 20)
    resources = row(table, COORDINATION, "across", "adjusted_resource_cost_eur")
    assert resources["mean_difference"] == pytest.approx(16.5)
    assert set(table.figure) == set(FIGURES)


def test_the_order_of_runs_does_not_matter(tmp_path):
    listed = index(GRID)
    table = effects(listed, [COORDINATION, RISK], tmp_path)
    mixed = pd.concat([listed.iloc[:2], listed.iloc[:1:-1]])
    again = effects(mixed, [COORDINATION, RISK], tmp_path)
    columns = ["factor", "level", "figure", "mean_difference", "bootstrap_low"]
    pd.testing.assert_frame_equal(table[columns], again[columns])


def test_only_pairs_of_finished_runs_count(tmp_path):
    listed = index(GRID)
    listed.loc[2, "status"] = "failed"
    across = row(effects(listed, [COORDINATION, RISK], tmp_path), COORDINATION, "across")
    assert (across["pairs"], across["replicates"]) == (3, 2)
    assert across["mean_difference"] == pytest.approx((-16 - 15) / 2)


def test_factors_that_move_together_have_no_effect_of_their_own(tmp_path):
    rows = [("none", 0.05, 1, 100.0, 0), ("across", 0.1, 1, 80.0, 0)]
    assert effects(index(rows), [COORDINATION, RISK], tmp_path).empty
    assert len(effects(index(rows), [COORDINATION], tmp_path))


def test_one_replicate_has_no_interval(tmp_path):
    table = effects(index(GRID[:4]), [COORDINATION, RISK], tmp_path)
    assert table[["low", "high", "bootstrap_low", "bootstrap_high"]].isna().all(axis=None)
    assert row(table, COORDINATION, "across")["mean_difference"] == pytest.approx(-18)
    assert "| 1 (2 pairs) |" in as_markdown(table)


def test_nothing_varied(tmp_path):
    assert effects(index(GRID), [], tmp_path).empty


@given(
    st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=8),
    st.floats(-100, 100),
)
def test_what_replicates_have_in_common_cancels(costs, shift):
    """A constant effect has no uncertainty, however much the replicates differ."""
    rows = [("none", 0.05, k, cost, 0) for k, cost in enumerate(costs)]
    rows += [("across", 0.05, k, cost + shift, 0) for k, cost in enumerate(costs)]
    across = row(effects(index(rows), [COORDINATION], Path("nowhere")), COORDINATION, "across")
    ends = [across[key] for key in ("low", "high", "bootstrap_low", "bootstrap_high")]
    assert [across["mean_difference"], *ends] == pytest.approx([shift] * 5, abs=1e-9)


def test_bootstrap_of_many_replicates_is_students_interval(tmp_path):
    """With 60 normal differences the two agree."""
    noise = np.random.default_rng(1).normal(5.0, 2.0, 60)
    rows = [("none", 0.05, k, 0.0, 0) for k in range(60)]
    rows += [("across", 0.05, k, d, 0) for k, d in enumerate(noise)]
    across = row(effects(index(rows), [COORDINATION], tmp_path), COORDINATION, "across")
    assert across["bootstrap_low"] == pytest.approx(across["low"], abs=0.08)
    assert across["bootstrap_high"] == pytest.approx(across["high"], abs=0.08)


def test_markdown(tmp_path):
    text = as_markdown(effects(index(GRID, tmp_path), [COORDINATION, RISK], tmp_path))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    assert len(lines) == 2 + 2 * len(FIGURES)
    first = "| market.coordination | across | none | adjusted cost at tariff [EUR] | "
    assert f"{first}-16.50 [-35.56, 2.56]" in text
    assert "32.50%" in text


def test_bootstrap_of_few_replicates_is_not_shown(tmp_path):
    rows = [("none", 0.05, k, 0.0, 0) for k in range(FEW)]
    rows += [("across", 0.05, k, float(k), 0) for k in range(FEW)]
    few, enough = (
        effects(index([row for row in rows if row[2] < n]), [COORDINATION], tmp_path)
        for n in (FEW - 1, FEW)
    )
    assert few.bootstrap_low.notna().all()
    assert f"| – | {FEW - 1} (" in as_markdown(few)
    assert f"] | {FEW} (" in as_markdown(enough)
