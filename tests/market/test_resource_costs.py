"""Resource cost of one step, and the transfers between it and the cost at tariff."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.accounts import AccountsError
from market.costs import COMPONENTS, operational_cost
from market.resource_costs import (
    RESOURCES,
    TRANSFERS,
    check_bridge,
    resource_cost,
    transfers,
)
from tests.market.settled_step import Step
from tests.market.test_costs import COSTS, NOTHING, PRICES, ROSTER

SEEDS = st.integers(0, 2**32 - 1)


def bridged(seed, spot):
    """A random step whose energy balances: cost at tariff, resource cost, transfers."""
    step, rng = Step(seed), np.random.default_rng(seed)
    roster, prices, flows = step.roster, replace(step.prices, spot=spot), step.flows
    exchange_kw = rng.uniform(-1, 1, 3)
    exchange_kw -= exchange_kw.mean()
    bought = np.bincount(roster.network_of, flows.supplier_buy_kw - flows.supplier_sell_kw)
    net_kw = exchange_kw - bought + flows.deviation_kw
    p_kw = (net_kw / np.bincount(roster.network_of))[roster.network_of]
    at_tariff = operational_cost(flows, prices, step.costs, roster)
    resources = resource_cost(flows, p_kw, prices, step.costs, roster)
    return at_tariff, resources, transfers(flows, exchange_kw, at_tariff, prices, roster)


@given(SEEDS, st.floats(-0.1, 0.5))
def test_transfers_lead_from_the_resource_cost_to_the_cost_at_tariff(seed, spot):
    at_tariff, resources, moved = bridged(seed, spot)
    assert (tuple(at_tariff), tuple(resources), tuple(moved)) == (COMPONENTS, RESOURCES, TRANSFERS)
    total = sum(at_tariff.values())
    size = sum(np.abs(eur) for eur in (*resources.values(), *moved.values()))
    difference = total - sum(resources.values()) - sum(moved.values())
    assert (np.abs(difference) <= np.maximum(1e-6, 1e-12 * size)).all()
    check_bridge(at_tariff, resources, moved, step=0)


def test_where_the_supplier_trades_at_spot_only_fees_and_capacity_are_left():
    step = Step(1)
    prices = replace(
        step.prices, retail=0.03, feed_in=0.03, loss=0.03, imbalance_buy=0.03, imbalance_sell=0.03
    )
    at_tariff = operational_cost(step.flows, prices, step.costs, step.roster)
    moved = transfers(step.flows, np.zeros(3), at_tariff, prices, step.roster)
    for name in set(TRANSFERS) - {"network_fees", "recourse_capacity"}:
        np.testing.assert_allclose(moved[name], 0, atol=1e-9)
    assert sum(moved["network_fees"]) > 0


@pytest.mark.parametrize(
    ("flows", "exchange_kw", "p_kw", "resources", "moved"),
    [
        ({"supplier_buy_kw": [4, 0, 0]}, [0, 0], [-4, 0, 0], 0.06, {"retail_above_spot": 0.44}),
        ({"supplier_sell_kw": [4, 0, 0]}, [0, 0], [4, 0, 0], -0.06, {"feed_in_above_spot": -0.14}),
        ({"loss_kw": [10, 0]}, [0, 0], [0, 0, 0], 0.15, {"losses_above_spot": 0.05}),
        ({"deviation_kw": [-4, 0]}, [0, 0], [-4, 0, 0], 0.06, {"imbalance_above_spot": 0.54}),
        ({"deviation_kw": [4, 0]}, [0, 0], [4, 0, 0], -0.06, {"imbalance_above_spot": -0.04}),
        ({"network_fees": [0.2, 0]}, [0, 0], [0, 0, 0], 0, {"network_fees": 0.1}),
        ({}, [-4, 4], [-4, 2, 2], 0, {"network_exchange": 0}),
        ({"charge_kw": [2]}, [-2, 2], [-2, 0, 2], 0.02, {"network_exchange": 0}),
    ],
)
def test_by_hand_over_half_an_hour(flows, exchange_kw, p_kw, resources, moved):
    """Spot 0.03, retail 0.25, feed-in 0.1, losses 0.04, imbalance 0.3 and 0.05 EUR/kWh."""
    changed = {name: np.array(kw, dtype=float) for name, kw in flows.items()}
    step = replace(NOTHING, **changed)
    at_tariff = operational_cost(step, PRICES, COSTS, ROSTER)
    used = resource_cost(step, np.array(p_kw, dtype=float), PRICES, COSTS, ROSTER)
    led = transfers(step, np.array(exchange_kw, dtype=float), at_tariff, PRICES, ROSTER)
    check_bridge(at_tariff, used, led, step=0)
    assert sum(map(np.sum, used.values())) == pytest.approx(resources, abs=1e-12)
    told = {name: eur.sum() for name, eur in led.items()}
    assert told == pytest.approx(dict.fromkeys(TRANSFERS, 0.0) | moved, abs=1e-12)


def test_energy_that_nobody_supplied_is_found():
    at_tariff = operational_cost(NOTHING, PRICES, COSTS, ROSTER)
    used = resource_cost(NOTHING, np.array([0.0, -1.0, 0.0]), PRICES, COSTS, ROSTER)
    led = transfers(NOTHING, np.zeros(2), at_tariff, PRICES, ROSTER)
    with pytest.raises(AccountsError, match=r"step 7: the cost at tariff of network 1 exceeds"):
        check_bridge(at_tariff, used, led, step=7)
