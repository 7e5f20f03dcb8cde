"""Market designs in whole runs: accounts close by every rule, and prices move money only."""

import re

import numpy as np
import pandas as pd
import pytest

from simulation.run import main

DESIGNS = (
    {"pricing": "dlmp", "risk_allocation": "causation"},
    {"pricing": "uniform", "loss_allocation": "marginal", "matching": "proportional"},
    {
        "pricing": "supply_demand_ratio",
        "loss_allocation": "proportional",
        "imbalance_pricing": "two_sided",
        "network_fee_rule": "distance",
    },
    {
        "pricing": "pay_as_bid",
        "matching": "electrical_distance",
        "risk_allocation": "causation",
    },
)
"""Each option at least once; the scenario's own run has the defaults."""
NODAL, MARGINAL, PROPORTIONAL, CAUSATION = range(4)


def design(options):
    return [f"market.{name}={value}" for name, value in options.items()]


@pytest.fixture(scope="module")
def runs(execute):
    return [execute(*design(options)) for options in DESIGNS]


def money(results, account, item):
    """What accounts received of an item by step. [EUR]"""
    rows = results.settlement[results.settlement.account.str.match(account)]
    rows = rows[rows["item"] == item]
    steps = np.arange(24)
    return rows.groupby("step").amount_eur.sum().reindex(steps, fill_value=0.0).to_numpy()


@pytest.mark.parametrize("place", range(len(DESIGNS)))
def test_every_step_settles_to_zero(runs, place):
    by_step = runs[place].settlement.groupby("step").amount_eur.sum()
    assert len(by_step) == 24
    np.testing.assert_allclose(by_step, 0.0, atol=1e-9)


@pytest.mark.parametrize("place", range(len(DESIGNS)))
def test_no_design_changes_what_happens(day, runs, place):
    """Prices, matching and allocations move money among the accounts, and nothing else."""
    other = runs[place]
    for table in ("dispatch", "bus_voltage", "line_loading", "violations", "substation", "bids"):
        name = f"{table}.parquet"
        assert (day.folder / name).read_bytes() == (other.folder / name).read_bytes(), table
    assert not day.settlement.equals(other.settlement)


@pytest.mark.parametrize("place", range(len(DESIGNS)))
def test_energy_costs_the_same_by_every_rule(day, runs, place):
    costs, others = (
        run.costs.query("component != 'network_fees'").amount_eur for run in (day, runs[place])
    )
    np.testing.assert_array_equal(costs, others)


def test_the_grid_is_charged_by_nodal_rules_only(day, runs):
    for item in ("congestion_charge", "risk_charge"):
        assert np.abs(runs[NODAL].settlement.query("item == @item").amount_eur).sum() > 0
        assert not any((run.settlement["item"] == item).any() for run in (day, *runs[1:]))


def test_losses_are_borne_as_configured(day, runs):
    for run, borne in (
        (day, 0.0),
        (runs[NODAL], 1.0),
        (runs[MARGINAL], 1.0),
        (runs[PROPORTIONAL], 1.0),
        (runs[CAUSATION], 0.0),
    ):
        losses = money(run, "supplier$", "losses")
        refunded = money(run, "operator:", "loss_charge") + money(
            run, "operator:", "loss_compensation"
        )
        np.testing.assert_allclose(refunded, borne * losses, atol=1e-12)
        assert losses.sum() > 0


@pytest.mark.parametrize(
    ("place", "component", "item"),
    [
        (MARGINAL, "loss", "loss_charge"),
        (NODAL, "loss", "loss_charge"),
        (NODAL, "voltage", "congestion_charge"),
    ],
)
def test_charges_follow_from_the_published_prices(runs, place, component, item):
    """Every peer is charged the price at its bus for all that it is scheduled to draw."""
    run = runs[place]
    at = run.dispatch.merge(run.peers[["peer_id", "bus"]], on="peer_id")
    at = at.merge(run.prices, on=["step", "network", "bus"])
    assert len(at) == len(run.dispatch)
    expected = -(at[component] * at.p_scheduled_kw).groupby(at.peer_id).sum()
    paid = run.settlement[run.settlement["item"] == item].groupby("account").amount_eur.sum()
    np.testing.assert_allclose(-paid.reindex(expected.index, fill_value=0.0), expected, atol=1e-9)
    assert np.abs(expected).sum() > 0.1


def test_who_causes_the_risk_pays_the_capacity_that_is_kept_for_it(day, runs):
    for run in (runs[NODAL], runs[CAUSATION]):
        paid = money(run, "dso$", "capacity_causation")
        np.testing.assert_allclose(paid, -money(run, "dso$", "recourse_capacity"), atol=1e-12)
        assert paid.sum() > 0
        assert money(run, "dso$", "risk_causation").sum() > 0
    assert not day.settlement["item"].isin(["capacity_causation", "recourse_relief"]).any()


def test_fees_by_distance_are_never_more_than_flat_ones(day, runs):
    flat, by_distance = (
        money(run, "operator:", "network_fee") for run in (day, runs[PROPORTIONAL])
    )
    assert (by_distance <= flat + 1e-12).all()
    assert by_distance.sum() < 0.99 * flat.sum()


GREEDY = """
from market.pricing import TradePrices

class Greedy:
    '''Half way between the limits; from the sixth step on, sellers get a cent nobody pays.'''

    def __init__(self):
        self.steps = 0

    def trade_prices(self, pool):
        self.steps += 1
        price = (pool.lowest + pool.highest) / 2
        return TradePrices(price, price + 0.01 * (self.steps > 5), 0 * price)
"""


def test_a_rule_that_does_not_balance_stops_before_its_step_is_written(small, tmp_path, capsys):
    rule, folder = tmp_path / "greedy.py", tmp_path / "run"
    rule.write_text(GREEDY, encoding="utf-8")
    options = ["--config", str(small / "small.yaml"), "--allow-plugins", str(rule), "--quiet"]
    options += ["--set", "market.pricing=greedy:Greedy", "--output", str(folder)]
    assert main(options) == 2
    message = capsys.readouterr().err
    assert re.match(r"error: step 5: pricing rule Greedy, account \S+: does not balance", message)
    for table in ("settlement", "trades", "dispatch", "costs"):
        written = pd.read_parquet(folder / f"{table}.parquet")
        assert sorted(written.step.unique()) == list(range(5)), table
