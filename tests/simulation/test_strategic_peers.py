"""Studies of strategic peers: key figures by hand, pictures, and a small one end to end."""

import datetime as dt
import json

import numpy as np
import pandas as pd
import pytest

from configs.schema import StrategyUse
from simulation.experiment import main
from simulation.experiment_report import as_text, markdown
from simulation.figures import draw
from simulation.strategic_figures import _studied
from simulation.strategic_peers import in_words, peer_strategies, strategic_peers

START = dt.datetime(2016, 6, 4, tzinfo=dt.UTC)
GAINED = "gains_over_truth"


def at(hour):
    return START + dt.timedelta(hours=hour)


@pytest.fixture
def folder(tmp_path):
    """A run of four peers: one asks a mark-up, one learns it, from its second day on."""
    strategies = ["truthful", "markup", "truthful", "bandit"]
    peers = {"peer_id": list("abcd"), "strategy": strategies}
    pd.DataFrame(peers).to_parquet(tmp_path / "peers.parquet")
    chosen = [(0, "b", 0.2), (23, "b", 0.2), (24, "b", 0.2), (24, "d", 0.5), (25, "d", 0.8)]
    rows = [(at(hour), player, markup) for hour, player, markup in chosen]
    table = pd.DataFrame(rows, columns=["time", "player", "markup"])
    table.to_parquet(tmp_path / "strategies.parquet")
    pd.DataFrame({"time": [at(0), at(25)]}).to_parquet(tmp_path / "costs.parquet")
    return tmp_path


# --- key figures ------------------------------------------------------------------------------


def test_strategic_peers_by_hand(folder):
    told = strategic_peers(folder)
    assert told.pop("strategy") == "bandit + markup"
    assert told.pop("strategic_share") == 0.5
    assert told == pytest.approx({"markup_day:1": 0.2, "markup_day:2": 0.5})
    assert peer_strategies(folder)["d"] == "bandit"


def test_a_day_without_a_choice_has_no_mean(folder):
    chosen = pd.read_parquet(folder / "strategies.parquet")
    chosen[chosen.player == "d"].to_parquet(folder / "strategies.parquet")
    assert [key for key in strategic_peers(folder) if ":" in key] == ["markup_day:2"]


def test_runs_without_tables(tmp_path, folder):
    assert strategic_peers(tmp_path / "nowhere") == {}
    (folder / "strategies.parquet").unlink()
    assert strategic_peers(folder) == {"strategy": "bandit + markup", "strategic_share": 0.5}
    peers = {"peer_id": ["a", "b"], "strategy": ["truthful", "truthful"]}
    pd.DataFrame(peers).to_parquet(folder / "peers.parquet")
    assert strategic_peers(folder) == {"strategy": "truthful", "strategic_share": 0.0}


@pytest.mark.parametrize(
    ("uses", "words"),
    [
        ([], "truthful"),
        ([{"use": "roth_erev"}], "roth_erev 100%"),
        (
            [{"use": "markup", "share": 0.25, "parameters": {"markup": 0.1}, "network": "a"}],
            "markup 25% (network=a, markup=0.1)",
        ),
        (
            [{"use": "bandit", "coalition": True}, {"use": "risk_averse", "share": 0.5}],
            "bandit 100% (coalition=True) + risk_averse 50%",
        ),
    ],
)
def test_words(uses, words):
    assert in_words([StrategyUse.model_validate(use) for use in uses]) == words


# --- pictures and tables ----------------------------------------------------------------------


def row(strategy, share, **columns):
    """A row of the table of an experiment."""
    out = {
        "treatment": f"strategies={strategy}{share}",
        "strategy": strategy,
        "strategic_share": share,
        "runs": 2,
        "finished": 2,
        "market.risk_level": 0.05,
        "adjusted_cost_eur": 100.0,
        "adjusted_resource_cost_eur": 40.0,
        "market_mean_price_paid_eur_per_kwh": 0.15 + 0.01 * share,
        f"{GAINED}_strategic_eur": 1.0 if share else np.nan,
        f"{GAINED}_others_eur": -2.0 if 0 < share < 1 else np.nan,
        f"{GAINED}_saved_at_tariff_eur": 7.0 if share else np.nan,
        f"{GAINED}_saved_resources_eur": -3.0 if share else np.nan,
        f"{GAINED}_worst_eur": -4.0 if share else np.nan,
        "violation_all_events": 5,
        "violation_all_steps": 100,
        "violation_binding_events": 1,
        "violation_binding_steps": 10,
    }
    for name, rate in (
        ("violation_all", 0.05),
        ("violation_binding", 0.1),
        ("out_of_sample_binding", 0.02),
    ):
        ends = {f"{name}_rate_low": rate / 2, f"{name}_rate_high": 2 * rate}
        out |= {f"{name}_rate": rate, **ends}
    return out | columns


@pytest.fixture
def table():
    rows = [row("truthful", 0.0), row("markup", 1.0), row("markup", 0.5)]
    learnt = {"markup_day:1": 0.5, "markup_day:2": 0.1}
    rows[1] |= {"markup_day:1": 0.2, "markup_day:2": 0.2}
    return pd.DataFrame([*rows, row("roth_erev", 1.0, **learnt)])


def test_every_strategy_starts_where_nobody_uses_it(table):
    studied = _studied(table)
    assert {name: runs.strategic_share.tolist() for name, runs in studied.items()} == {
        "markup": [0.0, 0.5, 1.0],
        "roth_erev": [0.0, 1.0],
    }
    assert _studied(table.drop(columns="strategic_share")) == {}


NAMES = ["strategic_gains", "strategic_violation", "learning"]


def test_pictures(table, tmp_path):
    paths = draw(NAMES, table, [], tmp_path)
    assert {path.name for path in paths} == {f"{n}.{end}" for n in NAMES for end in ("png", "svg")}
    gains, violation, learning = ((tmp_path / f"{name}.svg").read_text() for name in NAMES)
    for text in ("strategic peers", "other peers", "roth erev", "[EUR/kWh]"):
        assert text in gains
    for text in ("promised", "Monte Carlo", "share of strategic peers [%]"):
        assert text in violation
    assert "roth erev, 100% of the peers" in learning
    assert "markup, " not in learning, "a mark-up that stays as it is is no learning curve"


def test_no_pictures_without_strategic_peers(table, tmp_path):
    plain = table.drop(columns=["strategic_share", "strategy"])
    assert draw(NAMES, plain, [], tmp_path) == []
    no_choice = table[[c for c in table if ":" not in c]]
    assert draw(["learning"], no_choice, [], tmp_path) == []


def test_the_table_for_people(table):
    text = markdown(table, [], "Title", [GAINED])
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert len({len(line) for line in cells}) == 1
    shown = {line[0]: dict(zip(cells[0], line, strict=True)) for line in cells[2:]}
    assert list(shown) == ["truthful", "markup, 100%", "markup, 50%", "roth_erev, 100%"]
    half = shown["markup, 50%"]
    assert half["gain per strategic peer [EUR]"] == "1.00"
    assert half["gain per other peer [EUR]"] == "-2.00"
    assert half["binding steps [%]"] == "10.0 [5.0, 20.0] (1/10)"
    assert half["Monte Carlo, binding steps [%]"] == "2.0 [1.0, 4.0]"
    assert shown["markup, 100%"]["gain per other peer [EUR]"] == "–"
    assert "promised" not in text
    terminal = as_text(table, [], [GAINED])
    (line,) = [line for line in terminal.splitlines() if line.startswith("markup, 50%")]
    shown = [float(cell) for cell in line.split()[2:]]
    assert shown == [100, 40, 7, -3, 0.155, 1, -2, -4, 5, 10, 2]


# --- a study ----------------------------------------------------------------------------------

STUDY = """
name: study
scenario: small.yaml
set: {step_minutes: 240, days: 2, market.pricing: pay_as_bid}
replicates: [{seed: 3, start: 2016-06-04}]
factors:
  - strategies:
      - []
      - [{use: misreporting, share: 0.5, parameters: {load: 0.7, renewable: 1.3}}]
      - [{use: roth_erev, share: 0.5}]
      - [{use: roth_erev}]
gains_over: {truth: {strategies: []}}
figures: [strategic_gains, strategic_violation, learning]
"""


@pytest.fixture(scope="module")
def study(small, tmp_path_factory):
    """Folder of a finished study."""
    file = small / "strategic.yaml"
    file.write_text(STUDY, encoding="utf-8")
    folder = tmp_path_factory.mktemp("strategic") / "out"
    assert main([str(file), "--output", str(folder), "--jobs", "1", "--quiet"]) == 0
    return folder


def test_a_study_leaves_tables_and_pictures(study):
    assert {path.name for path in (study / "figures").iterdir()} == {
        f"{name}.{end}" for name in NAMES for end in ("png", "svg")
    }
    text = (study / "table.md").read_text()
    assert "| roth_erev, 100% |" in text
    assert "| misreporting, 50% |" in text
    listed = pd.read_parquet(study / "index.parquet")
    assert "roth_erev 50%" in listed.strategies.tolist()


def test_gains_are_those_of_the_accounts(study):
    """From the outcomes of the peers, without the code that computes gains."""
    listed = pd.read_parquet(study / "index.parquet").set_index("strategies")
    table = pd.read_parquet(study / "table.parquet").set_index(["strategy", "strategic_share"])

    def left(run):
        outcome = pd.read_parquet(study / "runs" / run.run_id / "peer_outcomes.parquet")
        stored = outcome.stored_energy_change_kwh * run.stored_energy_value_eur_per_kwh
        return (outcome.net_eur + stored).set_axis(outcome.peer_id)

    run = listed.loc["roth_erev 50%"]
    peers = pd.read_parquet(study / "runs" / run.run_id / "peers.parquet").set_index("peer_id")
    gain = left(run) - left(listed.loc["truthful"])
    learners = peers.strategy == "roth_erev"
    shown = table.loc["roth_erev"].iloc[0]
    assert shown[f"{GAINED}_strategic_eur"] == pytest.approx(gain[learners].mean())
    assert shown[f"{GAINED}_others_eur"] == pytest.approx(gain[~learners].mean())


def test_learning_curves_are_those_of_the_bids(study):
    """The mark-ups that are told are those by which the bids are shaded."""
    listed = pd.read_parquet(study / "index.parquet").set_index("strategies")
    folder = study / "runs" / listed.loc["roth_erev 100%"].run_id
    chosen = pd.read_parquet(folder / "strategies.parquet")
    assert set(chosen.strategy) == {"roth_erev"}
    peers = pd.read_parquet(folder / "peers.parquet")
    assert len(chosen) == 12 * len(peers)
    state = json.loads((folder / "strategies.json").read_text())
    last = chosen[chosen.step == 11].set_index("player").markup
    for player, entry in state.items():
        assert last[player] == pytest.approx(0.1 * entry["state"]["action"])
    table = pd.read_parquet(study / "table.parquet").set_index(["strategy", "strategic_share"])
    first = chosen[chosen.step < 6].markup.mean()
    assert table.loc[("roth_erev", 1.0), "markup_day:1"] == pytest.approx(first)
    assert table.loc["truthful"].filter(like="markup_day:").isna().all(axis=None)
    misreported = listed.loc["misreporting 50% (load=0.7, renewable=1.3)"].run_id
    assert pd.read_parquet(study / "runs" / misreported / "strategies.parquet").empty
