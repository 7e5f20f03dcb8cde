"""Key figures: counts, sums, and exact intervals."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from grid.violations import Violation, power_flow_failure
from simulation.kpis import RunTotals
from simulation.records import Check
from simulation.tallies import DayTally, ScenarioTally, Tally


@given(steps=st.integers(1, 2000), share=st.floats(0, 1))
def test_clopper_pearson(steps, share):
    """Against the quantiles of the beta distribution."""
    events = round(share * steps)
    summary = Tally(events, steps).summary()
    low = beta.ppf(0.025, events, steps - events + 1) if events else 0.0
    high = beta.ppf(0.975, events + 1, steps - events) if events < steps else 1.0
    assert summary["ci_low"] == pytest.approx(low, abs=1e-9)
    assert summary["ci_high"] == pytest.approx(high, abs=1e-9)
    assert summary["rate"] == events / steps
    assert summary["ci_low"] <= summary["rate"] <= summary["ci_high"]


def test_known_intervals():
    """No event in n steps: the upper end is 1 - 0.025^(1/n), all of them by symmetry."""
    assert Tally(0, 24).summary()["ci_high"] == pytest.approx(1 - 0.025 ** (1 / 24))
    assert Tally(24, 24).summary()["ci_low"] == pytest.approx(0.025 ** (1 / 24))
    ten = Tally(1, 10).summary()
    assert (ten["ci_low"], ten["ci_high"]) == pytest.approx((0.00252858, 0.44501612), abs=1e-7)


def test_no_steps_have_no_rate():
    assert Tally().summary() == {
        "events": 0,
        "steps": 0,
        "rate": None,
        "ci_low": None,
        "ci_high": None,
    }


def test_tallies_add_up():
    tally = Tally()
    for violated in (True, False, True):
        tally.add(violated=violated)
    assert tally == Tally(2, 3)
    assert tally + Tally(1, 7) == Tally(3, 10)
    assert tally == Tally(2, 3)


# --- by days ------------------------------------------------------------------------------------


def by_days(events, steps=24, seed=0):
    tally = DayTally()
    for day, count in enumerate(events):
        tally.add_day(day, count, steps)
    return tally.summary(np.random.default_rng(seed))


def ends(summary):
    return summary["ci_days_low"], summary["ci_days_high"]


def test_days_add_up():
    one, other = DayTally(), DayTally()
    one.add(0, violated=True)
    one.add(1, violated=False)
    other.add(1, violated=True)
    together = one + other
    assert (together.events, together.steps) == ({(0,): 1, (1,): 1}, {(0,): 1, (1,): 2})
    assert together.total() == Tally(2, 3)
    assert one.total() == Tally(1, 2)


def test_counts_and_clopper_pearson_stand_beside_the_interval_by_days():
    summary = by_days([2, 0, 1, 0])
    assert summary.items() >= Tally(3, 96).summary().items()
    assert set(summary) - set(Tally().summary()) == {"ci_days_low", "ci_days_high"}


def test_violations_in_a_row_tell_less_than_scattered_ones():
    """Ten violations of 240 steps: all on one day, or one a day."""
    in_a_row, scattered = by_days([10] + [0] * 9), by_days([1] * 10)
    assert in_a_row["rate"] == scattered["rate"]
    low, high = ends(in_a_row)
    assert low == 0
    assert high == pytest.approx(40 / 240)  # drawn four times out of ten: the 99.1 % quantile
    assert high > in_a_row["ci_high"]
    assert ends(scattered) == (10 / 240, 10 / 240)


def test_where_nothing_varies_days_are_the_trials():
    assert ends(by_days([0] * 12)) == (0, pytest.approx(1 - 0.025 ** (1 / 12)))
    assert ends(by_days([24] * 12)) == (pytest.approx(0.025 ** (1 / 12)), 1)
    assert ends(by_days([3])) == (0, 1), "one day tells nothing of others"
    assert ends(by_days([])) == (None, None)


def test_intervals_by_days_hold_the_truth():
    """Days shift the probability: about 95 % of their intervals hold its mean, fewer by steps."""
    rng = np.random.default_rng(3)
    held = {"ci_days": 0, "ci": 0}
    for seed in range(200):
        p = rng.choice([0.0, 0.2], 40)
        summary = by_days(rng.binomial(24, p), seed=seed)
        for name in held:
            held[name] += summary[f"{name}_low"] <= 0.1 <= summary[f"{name}_high"]
    assert held["ci_days"] >= 182
    assert held["ci"] < 160


def test_of_few_days_the_interval_is_their_range():
    assert ends(by_days([0, 3])) == (0, 3 / 24)
    assert ends(by_days([1, 2, 6])) == pytest.approx((1 / 24, 6 / 24))


def test_excesses_by_kind():
    totals = RunTotals(("west",))
    found = [
        Violation(4, "over_voltage", 1.06, 1.05, 0.01, "tail"),
        Violation(5, "over_voltage", 1.08, 1.05, 0.03, "tail"),
        power_flow_failure(0),
    ]
    totals.add_violations(found)
    assert totals.causes == {"tail": 2, "power_flow": 1}
    assert set(totals.excesses) == {"over_voltage"}
    excess = totals.excesses["over_voltage"].summary()
    assert excess == {"n": 2, "mean_pu": pytest.approx(0.02), "largest_pu": 0.03}


def test_totals_over_networks_and_binding_steps():
    totals = RunTotals(("west", "east", "idle"))
    for violated, binding in ((True, True), (False, True), (True, False), (False, False)):
        totals.add_replay("west", 0, violated=violated, binding=binding)
        totals.add_replay("east", 1, violated=False, binding=binding and violated)
    delivered = totals.delivered(np.random.default_rng(0))

    def counts(scope, network):
        return delivered[scope][network]["events"], delivered[scope][network]["steps"]

    assert counts("all", "west") == (2, 4)
    assert counts("all", "east") == (0, 4)
    assert counts("all", "together") == (2, 8)
    assert counts("binding", "west") == (1, 2)
    assert counts("binding", "east") == (0, 1)
    assert counts("binding", "together") == (1, 3)
    assert counts("all", "idle") == counts("binding", "idle") == (0, 0)
    assert delivered["binding"]["idle"]["rate"] is None
    assert totals.violated_steps == 2


def test_costs_and_causes_add_up():
    totals = RunTotals(("west",))
    totals.add_costs({"losses": 1.5, "imbalance": -0.25})
    totals.add_costs({"losses": 0.5})
    for causes in (["tail", "recourse"], ["tail"]):
        totals.add_violations(Violation(1, "thermal", 1.2, 1.0, 0.2, cause) for cause in causes)
    assert totals.costs_eur == {"losses": 2.0, "imbalance": -0.25}
    assert totals.total_cost_eur == 1.75
    assert totals.causes == {"tail": 2, "recourse": 1}


def test_an_empty_run_costs_nothing():
    assert RunTotals(("west",)).total_cost_eur == 0
    assert not math.isnan(RunTotals(()).total_cost_eur)


# --- Monte Carlo checks -------------------------------------------------------------------------


def tally_of(events) -> ScenarioTally:
    """Events by day of the run (rows) and of the error (columns); ten scenarios each."""
    tally = ScenarioTally()
    for run_day, row in enumerate(events):
        for error_day, count in enumerate(row):
            violated = np.arange(10) < count
            tally.add(run_day, np.full(10, error_day), violated)
    return tally


def interval(events, seed=0):
    summary = tally_of(events).summary(np.random.default_rng(seed))
    return summary["rate"], summary["ci_low"], summary["ci_high"]


def test_scenarios_add_up():
    one, other = tally_of([[1, 0], [0, 2]]), tally_of([[0, 5]])
    together = one + other
    assert together.network_steps == 6
    assert together.events[0, 1] == 5
    assert together.summary(np.random.default_rng(0))["rate"] == 8 / 60
    assert one.summary(np.random.default_rng(0))["rate"] == 3 / 40


def test_days_alike_leave_nothing_to_resample():
    assert interval(np.full((5, 6), 3)) == (0.3, 0.3, 0.3)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_single_bad_day_makes_the_interval_wide(axis):
    """One day in ten holds all events: a sample without it is as likely as 0.9^10."""
    events = np.zeros((10, 10))
    events[:, 3] = 5
    rate, low, high = interval(events if axis else events.T)
    assert rate == pytest.approx(0.05)
    assert low == 0
    assert high == pytest.approx(0.15)  # drawn three times out of ten: the 97.5 % quantile
    scattered = interval(np.eye(10) * 5)
    assert scattered[2] - scattered[1] < high - low


def test_one_day_of_the_run_still_has_error_days():
    rate, low, high = interval([[0, 0, 5, 0, 0, 5, 0, 0]])
    assert low < rate < high


def test_the_interval_repeats_with_the_seed():
    events = np.random.default_rng(1).integers(0, 5, (6, 9))
    assert interval(events, 4) == interval(events, 4) != interval(events, 5)


def test_no_event_in_n_days():
    rate, low, high = interval(np.zeros((3, 12)))
    assert (rate, low) == (0, 0)
    assert high == pytest.approx(1 - 0.025 ** (1 / 12))
    rate, low, high = interval(np.full((3, 12), 10))
    assert (rate, high) == (1, 1)
    assert low == pytest.approx(0.025 ** (1 / 12))


def test_the_interval_covers_the_truth():
    """Days of run and error shift the probability; about 95 % of the intervals hold its mean."""
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(100):
        p = 0.5 + 0.2 * rng.uniform(-1, 1, (12, 1)) + 0.2 * rng.uniform(-1, 1, (1, 12))
        _, low, high = interval(rng.binomial(10, p))
        held += low <= 0.5 <= high
    assert held >= 90


def test_checks_count_by_network_and_binding_steps():
    totals = RunTotals(("west", "east"))
    assert totals.out_of_sample(np.random.default_rng(0)) == {}
    for network, excess, binding in (
        ("west", 0.01, True),
        ("west", -1.0, False),
        ("east", -1, True),
    ):
        check = Check(network, np.array([excess, -1.0]), np.array([4, 5]), 0.05, binding)
        totals.add_check(0, check)
    found = totals.out_of_sample(np.random.default_rng(0))
    assert found["all"]["west"]["rate"] == 0.25
    assert found["binding"]["west"]["rate"] == 0.5
    assert found["all"]["together"]["rate"] == pytest.approx(1 / 6)
    assert found["binding"]["east"]["scenarios"] == 2
