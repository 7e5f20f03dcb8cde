"""Who gains by a market design: worked by hand, and closed against the accounts of real runs."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.experiment_schema import Experiment
from market.resource_costs import TRANSFERS
from simulation.analysis import comparisons, tabulate
from simulation.experiment import main
from simulation.experiment_report import as_text, markdown
from simulation.figures import draw
from simulation.gains import COLUMNS, compared_gains, key_figures, peer_gains
from simulation.rationality import TOLERANCE_EUR
from simulation.stored_value import VALUES
from simulation.sweep_index import figures

PRICE = 0.2
PEERS = ["a:1", "a:2", "b:1", "b:2"]
KINDS = ["consumer", "prosumer", "consumer", "prosumer"]
NAME = "gains_over_nothing"


@pytest.fixture
def experiment():
    return Experiment.model_validate(
        {
            "name": "e",
            "factors": [
                {"market.coordination": "none"},
                {
                    "market.coordination": ["within_network", "across_networks"],
                    "market.pricing": "uniform",
                },
            ],
            "gains_over": {"nothing": {"market.coordination": "none", "market.pricing": None}},
        }
    )


def row(treatment, replicate, cost):
    """A row of the index; the resources are half the cost."""
    return {
        "run_id": f"{treatment}-{replicate}",
        "treatment": treatment,
        "replicate": replicate,
        "status": "finished",
        "market.coordination": treatment.split(", ")[0],
        "days": 1,
        "cost_eur": cost,
        "adjusted_cost_eur": cost,
        "resource_cost_eur": cost / 2,
        "adjusted_resource_cost_eur": cost / 2,
        "stored_energy_change_kwh": 0.0,
        "stored_energy_value_eur_per_kwh": PRICE,
        **{f"stored_energy_value:{name}": PRICE for name in VALUES},
        "market_dso_surplus_eur:congestion": 2.0 * replicate,
        "market_dso_surplus_eur:loss": 0.5,
        "market_dso_surplus_eur:risk": -1.0,
        "market_network_fees_eur": 3.0,
        "market_mean_price_paid_eur_per_kwh": 0.15 if "uniform" in treatment else np.nan,
        "uncertified_clearings": 0,
        "fallback_clearings": 0,
        "clearings": 10,
        "solves": 15,
        "total_s": 3.0,
        "violated_all:a": 1,
        "steps_all:a": 10,
        "violated_binding:a": 1,
        "steps_binding:a": 2,
    }


WITHIN, ACROSS = "within_network, uniform", "across_networks, uniform"


@pytest.fixture
def index():
    """Costs of 100 and 200 without coordination, 10 and 14 less within, 20 less across."""
    rows = [row("none", 1, 100.0), row("none", 2, 200.0)]
    rows += [row(WITHIN, 1, 90.0), row(WITHIN, 2, 186.0)]
    return pd.DataFrame([*rows, row(ACROSS, 1, 80.0), row(ACROSS, 2, 180.0)])


@pytest.fixture
def folder(tmp_path):
    """What the runs left every peer with."""
    left = {
        "none-1": ([-10.0, 5.0, -20.0, 0.0], [0.0, 0.0, 0.0, 0.0]),
        "none-2": ([-30.0, 0.0, -20.0, 0.0], [0.0, 10.0, 0.0, 0.0]),
        # The battery of the last one ends 5 kWh lower, worth 1 EUR.
        f"{WITHIN}-1": ([-9.0, 8.0, -20.005, 1.0], [0.0, 0.0, 0.0, -5.0]),
        f"{WITHIN}-2": ([-28.0, 4.0, -23.0, 3.0], [0.0, 10.0, 0.0, 0.0]),
        f"{ACROSS}-1": ([-8.0, 7.0, -18.0, 2.0], [0.0, 0.0, 0.0, 0.0]),
        f"{ACROSS}-2": ([-28.0, 0.0, -18.0, 2.0], [0.0, 20.0, 0.0, 0.0]),
    }
    for run, (net, stored) in left.items():
        (tmp_path / run).mkdir()
        pd.DataFrame(
            {
                "peer_id": PEERS,
                "network": ["a", "a", "b", "b"],
                "kind": KINDS,
                "net_eur": net,
                "stored_energy_change_kwh": stored,
            }
        ).to_parquet(tmp_path / run / "peer_outcomes.parquet")
    return tmp_path


@pytest.fixture
def gains(index, folder, experiment):
    return peer_gains(index, folder, compared_gains(experiment))


def of(gains, treatment, replicate):
    rows = gains[(gains.treatment == treatment) & (gains.replicate == replicate)]
    return rows.set_index("peer_id").gain_eur


# --- gains ------------------------------------------------------------------------------------


def test_only_treatments_with_a_reference_are_compared(experiment):
    assert compared_gains(experiment) == {NAME: {WITHIN: "none", ACROSS: "none"}}
    assert compared_gains(Experiment.model_validate({"name": "e"})) == {}


def test_a_gain_is_the_difference_on_the_same_replicate(gains):
    assert of(gains, WITHIN, 2).to_dict() == pytest.approx(
        {"a:1": 2.0, "a:2": 4.0, "b:1": -3.0, "b:2": 3.0}
    )
    assert set(gains.treatment) == {WITHIN, ACROSS}, "the reference gains nothing over itself"
    assert tuple(gains.columns) == COLUMNS
    assert len(gains) == 2 * 2 * 4


def test_energy_in_the_battery_counts(gains):
    """Emptying a battery is no gain, filling it no loss."""
    assert of(gains, WITHIN, 1)["b:2"] == pytest.approx(1.0 - PRICE * 5.0)
    assert of(gains, ACROSS, 2)["a:2"] == pytest.approx(PRICE * (20.0 - 10.0))


def test_the_order_of_peers_does_not_matter(gains, index, folder, experiment):
    file = folder / f"{WITHIN}-1" / "peer_outcomes.parquet"
    pd.read_parquet(file)[::-1].to_parquet(file)
    again = peer_gains(index, folder, compared_gains(experiment))
    assert of(again, WITHIN, 1).to_dict() == of(gains, WITHIN, 1).to_dict()


def test_runs_that_did_not_finish_are_not_compared(index, folder, experiment):
    index.loc[(index.treatment == "none") & (index.replicate == 2), "status"] = "failed"
    index.loc[(index.treatment == WITHIN) & (index.replicate == 1), "status"] = "running"
    gains = peer_gains(index, folder, compared_gains(experiment))
    assert set(zip(gains.treatment, gains.replicate, strict=True)) == {(ACROSS, 1)}


def test_runs_without_outcomes_are_not_compared(index, folder, experiment):
    for run in index[index.treatment == "none"].run_id:
        (folder / run / "peer_outcomes.parquet").unlink()
    gains = peer_gains(index, folder, compared_gains(experiment))
    assert gains.empty
    table = tabulate(index, [], gains)
    assert not [column for column in table if column.startswith(NAME)]
    assert table["market_network_fees_eur"].tolist() == [3.0] * 3


# --- key figures ------------------------------------------------------------------------------


def test_key_figures_by_hand(gains):
    """Gains of 1, 3, -0.005 and 0 EUR."""
    shown = key_figures(gains[(gains.treatment == WITHIN) & (gains.replicate == 1)])
    assert shown["ir_share"] == 1.0, "half a cent is within the tolerance"
    assert shown["worst_eur"] == pytest.approx(-0.005)
    # Sorted -0.005, 0, 1, 3 with weights -3, -1, 1, 3 over 4 times their sum.
    assert shown["gini"] == pytest.approx((0.015 + 1 + 9) / (4 * 3.995))
    assert shown["jain"] == pytest.approx(3.995**2 / (4 * (1 + 9 + 0.005**2)))
    assert shown["mean_consumer_eur"] == pytest.approx((1 - 0.005) / 2)
    assert shown["mean_prosumer_eur"] == pytest.approx(1.5)


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=20), st.floats(-10, 10))
def test_individual_rationality(values, gift):
    """All are no worse off if and only if the worst is; a gift to everybody harms nobody."""
    gains = pd.DataFrame({"gain_eur": values, "kind": "consumer", "strategy": "truthful"})
    shown = key_figures(gains)
    assert (shown["ir_share"] == 1) == (shown["worst_eur"] >= -TOLERANCE_EUR)
    richer = key_figures(gains.assign(gain_eur=gains.gain_eur + abs(gift)))
    assert richer["ir_share"] >= shown["ir_share"]
    assert math.isnan(shown["mean_prosumer_eur"])


def test_no_index_of_gains_where_there_are_none():
    nothing = {"gain_eur": [0.0, 0.0], "kind": KINDS[:2], "strategy": "truthful"}
    shown = key_figures(pd.DataFrame(nothing))
    assert math.isnan(shown["gini"])
    assert math.isnan(shown["jain"])
    assert shown["ir_share"] == 1.0


def strategic(folder):
    """In the run within networks on replicate 1, two peers are strategic."""
    strategies = {"peer_id": PEERS[::-1], "strategy": ["truthful", "bandit", "markup", "truthful"]}
    pd.DataFrame(strategies).to_parquet(folder / f"{WITHIN}-1" / "peers.parquet")


def test_gains_of_the_strategic_and_of_the_others_by_hand(index, folder, experiment):
    """Of gains of 1, 3, -0.005 and 0 EUR those of the second and the third peer."""
    strategic(folder)
    gains = peer_gains(index, folder, compared_gains(experiment))
    told = gains[gains.strategy != "truthful"]
    assert told.peer_id.tolist() == PEERS[1:3]
    assert told.strategy.tolist() == ["markup", "bandit"]
    assert set(zip(told.treatment, told.replicate, strict=True)) == {(WITHIN, 1)}
    shown = key_figures(gains[(gains.treatment == WITHIN) & (gains.replicate == 1)])
    assert shown["strategic_eur"] == pytest.approx((3 - 0.005) / 2)
    assert shown["others_eur"] == pytest.approx((1 + 0) / 2)
    other = key_figures(gains[(gains.treatment == WITHIN) & (gains.replicate == 2)])
    assert "strategic_eur" not in other
    table = tabulate(index, [], gains).set_index("treatment")
    assert table.loc[WITHIN, f"{NAME}_strategic_eur"] == pytest.approx((3 - 0.005) / 2)
    assert math.isnan(table.loc[ACROSS, f"{NAME}_strategic_eur"])


# --- the table --------------------------------------------------------------------------------


def test_table_by_hand(index, gains):
    table = tabulate(index, [], gains).set_index("treatment")
    within = table.loc[WITHIN]
    assert within[f"{NAME}_ir_share"] == pytest.approx((1 + 0.75) / 2)
    assert within[f"{NAME}_worst_eur"] == pytest.approx(-3.0), "of all replicates"
    assert within[f"{NAME}_mean_prosumer_eur"] == pytest.approx((1.5 + 3.5) / 2)
    assert within[f"{NAME}_worst_peer"].endswith(f"({KINDS[2]})")
    assert within[f"{NAME}_saved_at_tariff_eur"] == pytest.approx(12.0)
    assert within[f"{NAME}_saved_resources_eur"] == pytest.approx(6.0)
    # Student's t with one degree of freedom times half the difference of the two.
    half = within[f"{NAME}_saved_at_tariff_eur_high"] - within[f"{NAME}_saved_at_tariff_eur"]
    assert half == pytest.approx(12.7062 * 2, rel=1e-5)
    assert table.loc[ACROSS, f"{NAME}_ir_share"] == 1.0
    assert table.loc[ACROSS, f"{NAME}_gini_low"] == pytest.approx(0.0), "all gain 2 EUR"
    assert table.loc["none"].filter(like=NAME).isna().all()
    assert within["market_dso_surplus_eur:congestion"] == pytest.approx(3.0)


def test_pairs_are_those_of_common_replicates(index, folder, experiment):
    index.loc[(index.treatment == "none") & (index.replicate == 2), "status"] = "failed"
    gains = peer_gains(index, folder, compared_gains(experiment))
    within = tabulate(index, [], gains).set_index("treatment").loc[WITHIN]
    assert within.finished == 2
    assert within[f"{NAME}_saved_at_tariff_eur"] == pytest.approx(10.0)
    assert within[f"{NAME}_worst_eur"] == pytest.approx(-0.005)
    assert math.isnan(within[f"{NAME}_ir_share_low"]), "one pair has no interval"


def test_without_gains_the_table_is_as_ever(index):
    table = tabulate(index, [])
    assert not [column for column in table if column.startswith(("market_", "gains"))]


def test_the_index_tells_of_the_market():
    summary = {
        "total_operational_cost_eur": 100.0,
        "stored_energy_change_kwh": -10.0,
        **dict.fromkeys(("energy_traded_within_kwh", "energy_traded_across_kwh"), 0.0),
        **dict.fromkeys(("renewable_curtailed_kwh", "clearings", "solves"), 0),
        **dict.fromkeys(("uncertified_clearings", "fallback_clearings"), 0),
        "certificate_where_binding": {"median": None},
        "seconds": {"solver": 0.1, "total": 0.2},
        "delivered_violation": {},
        "out_of_sample": {},
    }
    assert not [name for name in figures(summary, PRICE) if name.startswith("market_")]
    market = {
        "emissions_kg": None,
        "dso_surplus_eur": {"risk": 1, "total": 2.5},
        "recourse_providers": {"worst_peer_id": "a:1"},
    }
    shown = figures(summary | {"market": market}, PRICE)
    assert math.isnan(shown["adjusted_resource_cost_eur"]), "of a run of an earlier version"
    told = {name: value for name, value in shown.items() if name.startswith("market_")}
    assert math.isnan(told.pop("market_emissions_kg"))
    assert told == {
        "market_dso_surplus_eur:risk": 1.0,
        "market_dso_surplus_eur:total": 2.5,
    }


def test_what_is_saved_hangs_on_the_value_of_stored_energy(index, gains):
    """With trade across networks 20 and 40 kWh less are left in the batteries at the end."""
    across = index.treatment == ACROSS
    index.loc[across, "stored_energy_change_kwh"] = [-20.0, -40.0]
    for name, value in zip(VALUES, (0.0, 0.1, 0.5, PRICE, 1.0), strict=True):
        index[f"stored_energy_value:{name}"] = value
    table = tabulate(index, [], gains)
    row_of = table.set_index("treatment").loc[ACROSS]
    saved = [row_of[f"{NAME}_saved_at_tariff_eur:stored_at_{name}"] for name in VALUES]
    assert saved == pytest.approx([20.0, 17.0, 5.0, 20.0 - 30 * PRICE, -10.0])
    resources = [row_of[f"{NAME}_saved_resources_eur:stored_at_{name}"] for name in VALUES]
    assert resources == pytest.approx([value - 10.0 for value in saved])
    text = markdown(table, [], "Title", [NAME])
    line = next(x for x in text.splitlines() if x.startswith(f"| {ACROSS} | saved at tariff"))
    assert line.endswith("| 20.00 | 17.00 | 5.00 | 14.00 | -10.00 |")


# --- for people -------------------------------------------------------------------------------


def test_markdown(index, gains, experiment):
    index.loc[index.treatment == ACROSS, "status"] = "failed"
    text = markdown(tabulate(index, [], gains), [], "Title", compared_gains(experiment))
    lines = [line for line in text.split("\n## ")[0].splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    shown = {line[0]: dict(zip(cells[0], line, strict=True)) for line in cells[2:]}
    within = shown[WITHIN]
    assert within["replicates"] == "2 of 2"
    assert within["not worse off [%]"] == "87.5"
    assert within["smallest gain [EUR]"] == "-3.00"
    assert within["DSO, risk [EUR]"] == "-1.00"
    assert within["price [EUR/kWh]"] == "0.1500"
    assert shown["none"]["not worse off [%]"] == shown["none"]["price [EUR/kWh]"] == "–"
    assert shown[ACROSS]["replicates"] == "0 of 2"
    assert f"{TOLERANCE_EUR} EUR" in text


def test_terminal(index, gains, experiment):
    text = as_text(tabulate(index, [], gains), [], compared_gains(experiment))
    (line,) = [line for line in text.splitlines() if line.startswith(ACROSS)]
    assert line.split()[2:6] == ["130", "65", "20.00", "10.00"]


def test_several_references_are_told_apart(index, gains):
    table = tabulate(index, [], gains)
    text = as_text(table, [], [NAME, "gains_over_other"])
    assert "not worse off [%], gains over nothing" in text
    assert "not worse off [%], gains over other" in text


def test_pictures(index, gains, experiment, tmp_path):
    table = tabulate(index, [], gains)
    paths = draw(
        ["gains", "savings", "surplus"], table, comparisons(experiment), tmp_path / "figures"
    )
    assert {path.name for path in paths} == {
        f"{name}.{end}" for name in ("gains", "savings", "surplus") for end in ("png", "svg")
    }
    drawn = (tmp_path / "figures" / "gains.svg").read_text()
    assert "mean gain of a prosumer" in drawn
    assert "over nothing" in drawn
    assert draw(["gains", "surplus"], tabulate(index, []), [], tmp_path / "none") == []


# --- a study ----------------------------------------------------------------------------------

STUDY = """
name: study
scenario: small.yaml
set: {step_minutes: 240}
replicates: [{seed: 3, start: 2016-06-04}]
factors:
  - market.coordination: none
  - market.coordination: across_networks
    market.pricing: [dlmp, pay_as_bid]
gains_over:
  no_coordination: {market.coordination: none, market.pricing: null}
figures: [gains, savings, surplus]
"""


@pytest.fixture(scope="module")
def study(small, tmp_path_factory):
    """Folder of a finished study."""
    file = small / "study.yaml"
    file.write_text(STUDY, encoding="utf-8")
    folder = tmp_path_factory.mktemp("study") / "out"
    assert main([str(file), "--output", str(folder), "--jobs", "1", "--quiet"]) == 0
    return folder


def test_a_study_leaves_the_gains(study):
    gains = pd.read_parquet(study / "gains.parquet")
    assert set(gains.comparison) == {"gains_over_no_coordination"}
    assert len(gains) == 2 * gains.peer_id.nunique()
    assert len(pd.read_csv(study / "gains.csv")) == len(gains)
    assert (study / "figures" / "gains.png").exists()
    assert "not worse off" in (study / "table.md").read_text()
    table = pd.read_parquet(study / "table.parquet").set_index("treatment")
    shares = table["gains_over_no_coordination_ir_share"].dropna()
    assert shares.between(0, 1).all()
    assert len(shares) == 2


def test_what_peers_gain_and_others_keep_is_what_is_saved(study):
    """Between two runs nothing is lost: gains and what operators, DSO and supplier keep add up."""
    gains = pd.read_parquet(study / "gains.parquet")
    listed = pd.read_parquet(study / "index.parquet").set_index("treatment")
    none = listed.loc["none"]
    table = pd.read_parquet(study / "table.parquet").set_index("treatment")
    for treatment, rows in gains.groupby("treatment"):
        run = listed.loc[treatment]
        kept = sum(
            none[f"market_cost_by_actor_eur:{actor}"] - run[f"market_cost_by_actor_eur:{actor}"]
            for actor in ("operators", "dso")
        )
        kept -= sum(
            none[f"transfer:{name}"] - run[f"transfer:{name}"]
            for name in set(TRANSFERS) - {"network_fees", "recourse_capacity"}
        )
        saved = table.loc[treatment, "gains_over_no_coordination_saved_resources_eur"]
        assert rows.gain_eur.sum() + kept == pytest.approx(saved, abs=1e-6)


def test_pricing_redistributes_the_same_savings(study):
    table = pd.read_parquet(study / "table.parquet").set_index("market.pricing")
    key = "gains_over_no_coordination_{}_eur"
    dlmp, bids = table.loc["dlmp"], table.loc["pay_as_bid"]
    for saved in ("saved_at_tariff", "saved_resources"):
        assert dlmp[key.format(saved)] == pytest.approx(bids[key.format(saved)], abs=1e-6)
    assert dlmp[key.format("mean_prosumer")] != pytest.approx(bids[key.format("mean_prosumer")])


def test_a_study_can_be_reported_again(study, small, capsys):
    before = json.loads(pd.read_parquet(study / "table.parquet").to_json())
    file = str(small / "study.yaml")
    assert main([file, "--output", str(study), "--jobs", "1", "--resume"]) == 0
    assert "gain per prosumer [EUR]" in capsys.readouterr().out
    assert json.loads(pd.read_parquet(study / "table.parquet").to_json()) == before
