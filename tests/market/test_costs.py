"""The cost of one step, component by component."""

from dataclasses import replace

import numpy as np
import pytest

from market.costs import (
    COMPONENTS,
    DeviceCosts,
    Flows,
    StepPrices,
    fees_by_network,
    imbalance_cost,
    imbalance_price,
    operational_cost,
)
from market.matching import Trades
from tests.market.builders import Peer, battery, flexible, make_roster, unit

ROSTER = make_roster(
    {
        "a": Peer(battery=battery()),
        "b": Peer(unit=unit(), network="B"),
        "c": Peer(flexible=flexible([1.0]), network="B"),
    },
    hours=0.5,
)
PRICES = StepPrices(0.25, 0.1, 0.04, 0.3, 0.05, fee_within=0.07, fee_across=0.01, spot=0.03)
COSTS = DeviceCosts(*(np.array(x) for x in ([0.15], [0.01], [0.02], [0.4], [0.03])))
NOTHING = Flows(
    supplier_buy_kw=np.zeros(3),
    supplier_sell_kw=np.zeros(3),
    network_fees=np.zeros(2),
    dispatchable_kw=np.zeros(1),
    charge_kw=np.zeros(1),
    discharge_kw=np.zeros(1),
    curtailed_kw=np.zeros(1),
    backlog_kwh=np.zeros(1),
    reserve_kw=np.zeros(2),
    capacity_price=np.array([0.004, 0.005]),
    loss_kw=np.zeros(2),
    deviation_kw=np.zeros(2),
    pool_of=np.array([0, 1]),
)


@pytest.mark.parametrize(
    ("flows", "component", "expected"),
    [
        ({"supplier_buy_kw": [4, 2, 6]}, "upstream_energy", [0.5, 1.0]),
        ({"supplier_sell_kw": [4, 2, 6]}, "upstream_energy", [-0.2, -0.4]),
        ({"dispatchable_kw": [4]}, "dispatchable_fuel", [0, 0.5 * (0.6 + 0.16)]),
        ({"charge_kw": [2], "discharge_kw": [1]}, "storage_wear", [0.03, 0]),
        ({"curtailed_kw": [2], "backlog_kwh": [4]}, "flexible_discomfort", [0, 0.4 + 0.06]),
        ({"network_fees": [0.2, 0.4]}, "network_fees", [0.1, 0.2]),
        ({"loss_kw": [3, 5]}, "losses", [0.06, 0.1]),
        ({"reserve_kw": [5, 2]}, "recourse_capacity", [0.01, 0.005]),
        ({"deviation_kw": [-4, 4]}, "imbalance", [0.6, -0.1]),
    ],
)
def test_each_flow_costs_its_component_in_its_network_and_nothing_else(flows, component, expected):
    changed = {name: np.array(kw, dtype=float) for name, kw in flows.items()}
    costs = operational_cost(replace(NOTHING, **changed), PRICES, COSTS, ROSTER)
    assert tuple(costs) == COMPONENTS
    for name, eur in costs.items():
        np.testing.assert_allclose(eur, expected if name == component else [0, 0], atol=1e-12)


def test_network_fees_fall_due_in_the_network_of_the_buyer():
    # Peer a sells b 2 kW and c 4 kW; c sells b 1 kW.
    seller, buyer = np.array([0, 0, 2]), np.array([1, 2, 1])
    trades = Trades(seller, buyer, np.array([2.0, 4.0, 1.0]), np.array([True, True, False]))
    fees = fees_by_network(trades, np.array([0.08, 0.05, 0.03]), ROSTER)
    np.testing.assert_allclose(fees, [0, 0.16 + 0.2 + 0.03])
    home = Trades(buyer[:1], seller[:1], np.array([2.0]), np.array([True]))
    np.testing.assert_allclose(fees_by_network(home, np.array([0.08]), ROSTER), [0.16, 0])


def deviating(deviation_kw, pool_of):
    return replace(NOTHING, deviation_kw=np.array(deviation_kw), pool_of=np.array(pool_of))


def test_a_shortage_costs_more_than_the_same_surplus_earns():
    shortage, surplus = imbalance_cost(deviating([-1.0, 1.0], [0, 1]), PRICES, 1.0)
    assert shortage == pytest.approx(0.3)
    assert surplus == pytest.approx(-0.05)


@pytest.mark.parametrize(
    ("deviation_kw", "price"), [([-3.0, 1.0], 0.3), ([3.0, -1.0], 0.05), ([-2.0, 2.0], 0.05)]
)
def test_deviations_of_a_pool_are_settled_at_the_price_of_their_sum(deviation_kw, price):
    flows = deviating(deviation_kw, [0, 0])
    np.testing.assert_array_equal(imbalance_price(flows, PRICES), price)
    total = sum(deviation_kw)
    upstream = 0.5 * (0.3 * max(-total, 0.0) - 0.05 * max(total, 0.0))
    assert imbalance_cost(flows, PRICES, 0.5).sum() == pytest.approx(upstream)
