"""What an experiment's table says, worked by hand, and what its pictures show."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, ttest_1samp

from configs.experiment_schema import Experiment
from simulation.analysis import comparisons, pooled, tabulate, worst
from simulation.daily_rates import interval_of
from simulation.experiment_report import as_text, markdown
from simulation.figures import FIGURES, draw
from simulation.intervals import clusters_of, mean_interval, paired_change, ratio_interval
from simulation.stored_value import VALUES
from simulation.tallies import Tally

COSTS = st.lists(st.floats(1, 1e4), min_size=2, max_size=8)


def row(treatment, replicate, cost, **more):
    """A row of the index; two networks of 10 steps each."""
    coordination, method = treatment.split(", ")[:2]
    return {
        "treatment": treatment,
        "replicate": replicate,
        "status": "finished",
        "market.coordination": coordination,
        "market.method": method,
        "market.risk_level": 0.05,
        "market.radius_rule": "cross_validation",
        "market.radius": 5e-4,
        "seed": replicate,
        "days": 2,
        "cost_eur": cost + 1.0,
        "adjusted_cost_eur": cost,
        "resource_cost_eur": cost / 2,
        "adjusted_resource_cost_eur": cost / 2,
        **{f"stored_energy_value:{name}": 0.25 for name in VALUES},
        "stored_energy_change_kwh": 4.0,
        "uncertified_clearings": 1,
        "fallback_clearings": 0,
        "clearings": 10,
        "solves": 15,
        "total_s": 3.0,
        "violated_all:a": 1,
        "steps_all:a": 10,
        "violated_binding:a": 1,
        "steps_binding:a": 2,
        "violated_all:b": 0,
        "steps_all:b": 10,
        "violated_binding:b": 0,
        "steps_binding:b": 5,
        **more,
    }


@pytest.fixture
def experiment():
    return Experiment.model_validate(
        {
            "name": "e",
            "factors": [
                {
                    "market.coordination": ["none", "within_network", "across_networks"],
                    "market.method": ["deterministic", "moment"],
                }
            ],
            "reduction_against": {
                "nothing": {"market.coordination": "none"},
                "within": {"market.coordination": "within_network"},
            },
            "premium_over": {"plain": {"market.method": "deterministic"}},
        }
    )


@pytest.fixture
def index(experiment):
    """Costs of 100 and 200 without coordination; 10 % less within, 20 % less across networks."""
    rows = []
    for t in experiment.treatments:
        name = ", ".join(t.values())
        share = {"none": 1.0, "within_network": 0.9, "across_networks": 0.8}
        dearer = 1.5 if "moment" in name else 1.0
        rows += [row(name, k, 100 * k * share[t["market.coordination"]] * dearer) for k in (1, 2)]
    return pd.DataFrame(rows)


# --- intervals --------------------------------------------------------------------------------


@given(COSTS)
def test_mean_interval_is_students(values):
    interval = mean_interval(values)
    assert interval.mean == pytest.approx(np.mean(values))
    if np.ptp(values) > 1e-3:
        other = ttest_1samp(values, 0.0).confidence_interval(0.95)
        assert (interval.low, interval.high) == pytest.approx((other.low, other.high))


def test_mean_interval_by_hand():
    interval = mean_interval([1.0, 3.0])  # t with one degree of freedom: 12.7062
    assert (interval.low, interval.high) == pytest.approx((2 - 12.7062, 2 + 12.7062), abs=1e-4)


def test_too_few_replicates_have_no_interval():
    one = mean_interval([7.0])
    assert one.mean == 7.0
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    assert math.isnan(mean_interval([]).mean)


@given(COSTS, st.floats(0.1, 3.0))
def test_a_constant_ratio_is_known_exactly(reference, ratio):
    """However different the replicates, what is common to all of them cancels."""
    c = pd.Series(reference)
    change = paired_change(ratio * c, c)
    for value in (change.mean, change.low, change.high):
        assert value == pytest.approx(100 * (ratio - 1), abs=1e-6)


def test_paired_change_is_that_of_the_sums():
    reference = pd.Series([100.0, 300.0], index=[1, 2])
    cost = pd.Series([90.0, 290.0], index=[1, 2])
    change = paired_change(cost, reference)
    assert change.mean == pytest.approx(-5.0)  # 20 of 400
    # Residuals -10 + 0.05 * (100, 300) = -5, 5: standard deviation 7.0711, error 5 of 200.
    assert change.high - change.mean == pytest.approx(100 * 12.7062 * 5 / 200, rel=1e-5)
    assert change.mean - change.low == pytest.approx(change.high - change.mean)


def test_only_common_replicates_are_paired():
    cost = pd.Series([50.0, 1.0], index=[1, 3])
    reference = pd.Series([100.0, 7.0], index=[1, 2])
    assert paired_change(cost, reference).mean == pytest.approx(-50.0)


def test_no_percentage_of_nothing():
    assert math.isnan(paired_change(pd.Series([5.0]), pd.Series([-5.0])).mean)
    assert math.isnan(ratio_interval(pd.Series([], dtype=float), pd.Series([], dtype=float)).mean)


def test_replicates_with_the_same_start_are_one():
    """Four replicates, two starts: as if their means by start were the data."""
    clusters = pd.Series(["may", "may", "june", "june"], index=[1, 2, 3, 4])
    values = pd.Series([1.0, 3.0, 7.0, 9.0], index=[1, 2, 3, 4])
    assert mean_interval(values, clusters) == mean_interval([2.0, 8.0])
    assert mean_interval(values, clusters).high > mean_interval(values).high
    twice = pd.concat([values.iloc[:2], values.iloc[:2].set_axis([3, 4])])
    assert math.isnan(mean_interval(twice, clusters.map({"may": 0, "june": 0})).low)
    change = paired_change(values, values + 1.0, clusters)
    by_start = pd.Series([4.0, 16.0])
    expected = paired_change(by_start, by_start + 2.0)
    assert (change.low, change.high) == pytest.approx((expected.low, expected.high))


def test_where_all_start_alike_replicates_are_their_own_clusters():
    alike = pd.DataFrame({"replicate": [1, 2, 1], "start": "2016-06-04"})
    assert clusters_of(alike).to_dict() == {1: 1, 2: 2}
    assert clusters_of(alike.drop(columns="start")).to_dict() == {1: 1, 2: 2}
    crossed = pd.DataFrame({"replicate": [1, 2, 3], "start": ["may", "may", "june"]})
    assert clusters_of(crossed).to_dict() == {1: "may", 2: "may", 3: "june"}


def test_coverage():
    """The interval of a ratio holds the truth in about 95 of 100 experiments."""
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(1000):
        c = pd.Series(rng.uniform(800, 1200, 5))
        change = paired_change(c * 0.9 + rng.normal(0, 20, 5), c)
        held += change.low <= -10.0 <= change.high
    assert 930 <= held <= 970


# --- violations -------------------------------------------------------------------------------


def test_counts_are_pooled_over_runs(index):
    runs = index[index.treatment == "none, moment"]
    assert pooled(runs, "all") == {"a": Tally(2, 20), "b": Tally(0, 20)}
    assert pooled(runs, "binding") == {"a": Tally(2, 4), "b": Tally(0, 10)}


def test_worst_network():
    assert worst({"a": Tally(1, 10), "b": Tally(1, 5), "c": Tally(0, 0)}) == ("b", Tally(1, 5))
    assert worst({"a": Tally(0, 3), "b": Tally(0, 8)}) == ("b", Tally(0, 8))
    assert worst({"a": Tally(0, 0)}) == (None, Tally(0, 0))


# --- the table --------------------------------------------------------------------------------


def test_table_by_hand(index, experiment):
    table = tabulate(index, comparisons(experiment)).set_index("treatment")
    assert list(table.index) == [", ".join(t.values()) for t in experiment.treatments]
    across = table.loc["across_networks, moment"]
    assert across.adjusted_cost_eur == pytest.approx(1.5 * 0.8 * 150)
    assert across.cost_eur == pytest.approx(1.5 * 0.8 * 150 + 1)
    assert across.reduction_against_nothing_percent == pytest.approx(20)
    assert across.reduction_against_within_percent == pytest.approx(100 / 9)
    assert across.premium_over_plain_percent == pytest.approx(50)
    assert across.adjusted_resource_cost_eur == pytest.approx(0.5 * 1.5 * 0.8 * 150)
    assert across.reduction_against_nothing_in_resources_percent == pytest.approx(20)
    # 4 kWh at 0.25 EUR/kWh are the 1 EUR by which costs are not adjusted.
    assert across["reduction_against_nothing_percent:stored_at_mid"] == pytest.approx(20)
    within = table.loc["within_network, deterministic"]
    assert within.reduction_against_nothing_percent == pytest.approx(10)
    assert math.isnan(within.premium_over_plain_percent)
    assert math.isnan(table.loc["none, moment"].reduction_against_nothing_percent)
    assert table["market.risk_level"].tolist() == [0.05] * 6
    assert "seed" not in table, "no setting of the treatment"
    assert across.violation_all_events == 2
    assert across.violation_binding_rate == pytest.approx(2 / 14)
    low, high = beta.ppf(0.025, 2, 13), beta.ppf(0.975, 3, 12)
    assert across.violation_binding_rate_low == pytest.approx(low)
    assert across.violation_binding_rate_high == pytest.approx(high)
    assert (across.violation_worst_network, across.violation_worst_rate) == ("a", 0.5)
    assert across.seconds_per_day == pytest.approx(6 / 4)
    assert (across.uncertified_clearings, across.solves) == (2, 30)


def test_trading_can_lower_the_cost_at_tariff_and_raise_that_of_resources(index, experiment):
    across = index.treatment == "across_networks, moment"
    for cost in ("resource_cost_eur", "adjusted_resource_cost_eur"):
        index.loc[across, cost] *= 1.5
    table = tabulate(index, comparisons(experiment)).set_index("treatment")
    shown = table.loc["across_networks, moment"]
    assert shown.reduction_against_nothing_percent == pytest.approx(20)
    assert shown.reduction_against_nothing_in_resources_percent == pytest.approx(-20)
    text = markdown(table.reset_index(), comparisons(experiment), "Title")
    assert "| across_networks, moment | reduction against nothing in resources [%] |" in text


def test_rates_have_intervals_by_calendar_days(index, experiment):
    """Replicates of one treatment that meet on a day are one block."""
    index["run_id"] = [f"run-{k}" for k in range(len(index))]
    runs = index.run_id[index.treatment == "none, moment"]
    day = {"network": "a", "violated_all": 2, "violated_binding": 0, "steps_binding": 0}
    counts = pd.DataFrame(
        [
            {**day, "run_id": run, "day": start, "steps_all": 24, "violated_all": violated}
            for run in runs
            for start, violated in ((100, 0), (101, 6))
        ]
    )
    row = tabulate(index, [], counts=counts).set_index("treatment").loc["none, moment"]
    assert row.violation_all_rate_days_low == 0.0
    assert row.violation_all_rate_days_high == 6 / 24
    assert math.isnan(row.violation_binding_rate_days_low)
    assert interval_of("violation_all_rate", row.index)[0] == "violation_all_rate_days_low"


def test_base_cases_are_not_compared_with_better_ones(index, experiment):
    table = tabulate(index, comparisons(experiment)).set_index("treatment")
    compared = table.reduction_against_within_percent.dropna()
    assert list(compared.index) == ["across_networks, deterministic", "across_networks, moment"]


def test_a_reduction_turns_the_interval_round(index, experiment):
    index.loc[0, "adjusted_cost_eur"] += 5
    table = tabulate(index, comparisons(experiment)).set_index("treatment")
    shown = table.loc["within_network, deterministic"]
    name = "reduction_against_nothing_percent"
    assert shown[f"{name}_low"] < shown[name] < shown[f"{name}_high"]


def test_runs_that_did_not_finish_do_not_count(index, experiment):
    index.loc[index.replicate == 2, "status"] = "failed"
    index.loc[index.treatment == "none, moment", "status"] = "failed"
    table = tabulate(index, comparisons(experiment)).set_index("treatment")
    across = table.loc["across_networks, deterministic"]
    assert (across.runs, across.finished) == (2, 1)
    assert across.adjusted_cost_eur == pytest.approx(80)
    assert math.isnan(across.adjusted_cost_eur_low)
    none = table.loc["none, moment"]
    assert none.finished == 0
    assert math.isnan(none.cost_eur)
    assert math.isnan(table.loc["across_networks, moment"].reduction_against_nothing_percent)


def test_monte_carlo_rates_are_weighted_by_their_scenarios(index):
    runs = index[index.treatment == "none, moment"].assign(
        out_of_sample_binding_rate=[0.1, np.nan], out_of_sample_binding_scenarios=[30, 0]
    )
    assert tabulate(runs, []).out_of_sample_binding_rate[0] == pytest.approx(0.1)
    runs = runs.assign(out_of_sample_binding_rate=[0.1, 0.4], out_of_sample_binding_scenarios=30)
    table = tabulate(runs, [])
    assert table.out_of_sample_binding_rate[0] == pytest.approx(0.25)
    assert table.out_of_sample_binding_rate_low[0] == 0.0
    assert table.out_of_sample_binding_rate_high[0] == 1.0


# --- for people -------------------------------------------------------------------------------


def test_markdown(index, experiment):
    index.loc[index.treatment == "none, moment", "status"] = "failed"
    compared = comparisons(experiment)
    text = markdown(tabulate(index, compared), compared, "Title")
    assert text.startswith("# Title\n")
    lines = [line for line in text.split("\n## ")[0].splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    assert len(lines) == 2 + 6
    (across,) = [line for line in lines if "| across_networks, deterministic |" in line]
    assert "| 20.00 [20.00, 20.00] |" in across
    assert "a: 50.0 % [6.8, 93.2] (2/4)" in across
    (none,) = [line for line in lines if "| none, moment |" in line]
    assert "| 0 of 2 | – |" in none


def test_terminal(index, experiment):
    compared = comparisons(experiment)
    text = as_text(tabulate(index, compared), compared)
    assert "reduction against nothing [%]" in text
    (line,) = [line for line in text.splitlines() if line.startswith("across_networks, moment")]
    assert line.split()[2:8] == ["180", "90", "20.00", "20.00", "11.11", "11.11"]


# --- pictures ---------------------------------------------------------------------------------


def radius_of(radius):
    return {"market.radius_rule": "fixed", "market.radius": radius}


@pytest.fixture
def swept():
    """Methods over their level and their radius."""
    rows = []
    for k in (1, 2):
        rows.append(row("across_networks, deterministic", k, 90 * k))
        for level in (0.01, 0.05, 0.2):
            name = f"across_networks, gaussian, risk_level={level}"
            rows.append(row(name, k, (100 - 20 * level) * k, **{"market.risk_level": level}))
        for radius in (0.0, 0.01):
            name = f"across_networks, wasserstein, radius={radius}"
            rows.append(row(name, k, (100 + radius) * k, **radius_of(radius)))
    return tabulate(pd.DataFrame(rows), [])


def test_reliability_holds_delivered_against_promised(swept):
    figure = FIGURES["reliability"](swept, [])
    (ax,) = (ax for ax in figure.axes if ax.get_visible())
    assert ax.get_title() == "gaussian"
    (diagonal,) = (line for line in ax.get_lines() if line.get_label() == "promised")
    assert np.array_equal(diagonal.get_xdata(), diagonal.get_ydata())
    (binding,) = (c for c in ax.containers if c.get_label() == "binding network-steps")
    assert binding[0].get_xdata() == pytest.approx([1, 5, 20])
    assert binding[0].get_ydata() == pytest.approx([100 * 2 / 14] * 3)


def test_frontier_connects_what_differs_in_one_number(swept):
    ax = FIGURES["frontier"](swept, []).axes[0]
    swept_lines = [line for line in ax.get_lines() if line.get_linestyle() in ("-", ":")]
    ends = {tuple(np.round(line.get_ydata(), 6)) for line in swept_lines if len(line.get_ydata())}
    assert ends == {(149.7, 148.5, 144.0), (150.0, 150.015)}
    assert "violated in AC" in ax.get_xlabel()
    assert "EUR" in ax.get_ylabel()


def test_cost_shows_every_treatment(index, experiment):
    compared = comparisons(experiment)
    figure = FIGURES["cost"](tabulate(index, compared), compared)
    shown = [len(c[0].get_xdata()) for c in figure.axes[0].containers]
    assert shown == [2, 2, 2]
    assert [ax.get_xlabel() for ax in figure.axes] == [
        "mean adjusted cost at tariff [EUR per run]",
        "mean adjusted resource cost [EUR per run]",
        "reduction against nothing [%]",
        "reduction against nothing in resources [%]",
        "reduction against within [%]",
        "reduction against within in resources [%]",
    ]


def test_pictures_are_png_and_svg(index, experiment, tmp_path):
    compared = comparisons(experiment)
    table = tabulate(index, compared)
    paths = draw(list(FIGURES), table, compared, tmp_path / "figures")
    drawn = {"cost", "premium", "violation", "frontier"}  # one level: no curve over levels
    assert {path.name for path in paths} == {f"{n}.{e}" for n in drawn for e in ("png", "svg")}
    for path in paths:
        head = path.read_bytes()[:200]
        assert b"PNG" in head if path.suffix == ".png" else b"<?xml" in head
    again = draw(["cost"], table, compared, tmp_path / "again")
    for path in again:
        assert path.read_bytes() == (tmp_path / "figures" / path.name).read_bytes()


def test_nothing_finished_draws_nothing(index, tmp_path):
    table = tabulate(index.assign(status="failed"), [])
    assert draw(list(FIGURES), table, [], tmp_path / "figures") == []
    assert not (tmp_path / "figures").exists()
