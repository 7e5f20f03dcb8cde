"""Key figures: counts, sums, and exact intervals."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from simulation.kpis import RunTotals, Tally


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


def test_totals_over_networks_and_binding_steps():
    totals = RunTotals(("west", "east", "idle"))
    for violated, binding in ((True, True), (False, True), (True, False), (False, False)):
        totals.add_replay("west", violated=violated, binding=binding)
        totals.add_replay("east", violated=False, binding=binding and violated)
    delivered = totals.delivered()

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
    totals.add_causes(["tail", "recourse"])
    totals.add_causes(["tail"])
    assert totals.costs_eur == {"losses": 2.0, "imbalance": -0.25}
    assert totals.total_cost_eur == 1.75
    assert totals.causes == {"tail": 2, "recourse": 1}


def test_an_empty_run_costs_nothing():
    assert RunTotals(("west",)).total_cost_eur == 0
    assert not math.isnan(RunTotals(()).total_cost_eur)
