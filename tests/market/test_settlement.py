"""Accounts of a step: they sum to zero and tell the same story as the operational cost."""

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.costs import DeviceCosts, Flows, StepPrices, imbalance_cost, operational_cost
from market.matching import Trades, merit_order
from market.settlement import (
    DSO,
    RESOURCES,
    SUPPLIER,
    Ledger,
    Recourse,
    operator_account,
    settle,
    trade_fees,
)
from tests.market.builders import Peer, battery, flexible, make_roster, unit

PEERS = {
    "home": Peer(),
    "cell": Peer(battery=battery()),
    "unit": Peer(unit=unit(), network="B"),
    "shifter": Peer(flexible=flexible([1.0]), network="B"),
    "all": Peer(battery=battery(), unit=unit(), flexible=flexible([1.0]), network="C"),
}
HOURS = 0.25


class Step:
    """A random step in which everything happens."""

    def __init__(self, seed, pool_of=(0, 1, 2)):
        rng = np.random.default_rng(seed)
        self.roster = r = make_roster(PEERS, hours=HOURS)
        scale = 10.0 ** rng.uniform(-2, 4)
        sold, bought = scale * rng.uniform(0, 1, (2, 5)) * rng.integers(0, 2, (2, 5))
        total = min(sold.sum(), bought.sum())
        sold *= total / max(sold.sum(), 1e-12)
        bought *= total / max(bought.sum(), 1e-12)
        self.error_kw = scale * rng.normal(size=5)
        delivered = scale * rng.normal(size=4)
        self.prices = StepPrices(
            retail=rng.uniform(0.2, 0.4),
            feed_in=rng.uniform(-0.05, 0.2),
            loss=rng.uniform(0, 0.1),
            imbalance_buy=rng.uniform(0.2, 0.5),
            imbalance_sell=rng.uniform(-0.1, 0.1),
            fee_within=rng.uniform(0, 0.1),
            fee_across=rng.uniform(0, 0.1),
        )
        self.costs = DeviceCosts(*rng.uniform(0, 0.3, (5, 2)), rng.uniform(0, 0.01, 4))
        deviation = np.bincount(r.network_of, self.error_kw)
        np.add.at(deviation, r.network_of[r.recourse], delivered)
        self.flows = Flows(
            supplier_buy_kw=scale * rng.uniform(0, 1, 5),
            supplier_sell_kw=scale * rng.uniform(0, 1, 5),
            bought_kw=bought,
            received_kw=np.bincount(r.network_of, bought - sold),
            dispatchable_kw=scale * rng.uniform(0, 1, 2),
            charge_kw=scale * rng.uniform(0, 1, 2),
            discharge_kw=scale * rng.uniform(0, 1, 2),
            curtailed_kw=scale * rng.uniform(0, 1, 2),
            backlog_kwh=scale * rng.uniform(0, 1, 2),
            reserve_kw=scale * rng.uniform(0, 1, 4),
            loss_kw=scale * rng.uniform(0, 0.1, 3),
            deviation_kw=deviation,
            pool_of=np.array(pool_of),
        )
        limits = rng.uniform(0.1, 0.3, (2, 5))
        self.trades = merit_order(sold, bought, *limits, r)
        self.trade_price = rng.uniform(0.1, 0.3, len(self.trades.power_kw))
        self.recourse = Recourse(delivered, *rng.normal(0.1, 0.2, (2, 4)))
        self.ledger = settle(
            self.flows,
            self.trades,
            trade_price=self.trade_price,
            recourse=self.recourse,
            error_kw=self.error_kw,
            prices=self.prices,
            costs=self.costs,
            roster=r,
        )

    def received(self, account, *items):
        return sum(self.ledger.entries.get((account, item), 0.0) for item in items)


pools = pytest.mark.parametrize("pool_of", [(0, 1, 2), (0, 0, 0), (0, 1, 0)])


@pools
@given(st.integers(0, 10**6))
@settings(max_examples=50)
def test_accounts_sum_to_zero(pool_of, seed):
    entries = Step(seed, pool_of).ledger.entries
    by_item = defaultdict(list)
    for (_, item), amount in entries.items():
        by_item[item].append(amount)
    scale = max(1.0, *(abs(amount) for amount in entries.values()))
    for item, amounts in by_item.items():
        assert sum(amounts) == pytest.approx(0.0, abs=1e-9 * scale), item


@pools
@pytest.mark.parametrize("seed", range(10))
def test_accounts_reconcile_with_the_operational_cost(pool_of, seed):
    s = Step(seed, pool_of)
    cost = {
        name: eur.sum()
        for name, eur in operational_cost(s.flows, s.prices, s.costs, s.roster).items()
    }

    def same(amount, component):
        assert amount == pytest.approx(cost[component], rel=1e-9, abs=1e-6 * HOURS)

    operators = [operator_account(network) for network in s.roster.network]
    same(s.received(SUPPLIER, "energy_bought", "energy_sold"), "upstream_energy")
    same(s.received(SUPPLIER, "losses"), "losses")
    same(-sum(s.received(account, "losses") for account in operators), "losses")
    same(s.received(SUPPLIER, "imbalance_upstream"), "imbalance")
    same(s.received(RESOURCES, "fuel"), "dispatchable_fuel")
    same(s.received(RESOURCES, "wear"), "storage_wear")
    same(s.received(RESOURCES, "discomfort"), "flexible_discomfort")
    same(-s.received(DSO, "recourse_capacity"), "recourse_capacity")
    same(sum(s.received(account, "network_fee") for account in operators), "network_fees")


def test_fees_go_to_the_operator_of_the_buyer():
    s = Step(3)
    cost = operational_cost(s.flows, s.prices, s.costs, s.roster)["network_fees"]
    for d, network in enumerate(s.roster.network):
        got = s.received(operator_account(network), "network_fee")
        assert got == pytest.approx(cost[d], abs=1e-6)


def test_one_trade_by_hand():
    trades = Trades(np.array([1]), np.array([2]), np.array([4.0]), np.array([True]))
    prices = StepPrices(0.25, 0.1, 0.04, 0.3, 0.05, fee_within=0.07, fee_across=0.01)
    roster = make_roster(PEERS, hours=HOURS)
    np.testing.assert_allclose(trade_fees(trades, prices, HOURS), [0.08])
    zero = {n: np.zeros(k) for n, k in (("peers", 5), ("devices", 2), ("rec", 4), ("nets", 3))}
    flows = Flows(
        *(zero["peers"],) * 3,
        zero["nets"],
        *(zero["devices"],) * 5,
        zero["rec"],
        *(zero["nets"],) * 2,
        pool_of=np.arange(3),
    )
    ledger = settle(
        flows,
        trades,
        trade_price=np.array([0.18]),
        recourse=Recourse(*(zero["rec"],) * 3),
        error_kw=zero["peers"],
        prices=prices,
        costs=DeviceCosts(*(zero["devices"],) * 5, zero["rec"]),
        roster=roster,
    )
    assert ledger.entries == pytest.approx(
        {
            ("unit", "p2p_energy"): -0.18,
            ("cell", "p2p_energy"): 0.18,
            ("unit", "network_fee"): -0.08,
            ("operator:B", "network_fee"): 0.08,
        }
    )


@pools
@pytest.mark.parametrize("seed", range(5))
def test_peers_answer_for_their_own_errors_at_the_price_of_their_pool(pool_of, seed):
    s = Step(seed, pool_of)
    pool = np.array(pool_of)
    short = np.array([s.flows.deviation_kw[pool == p].sum() < 0 for p in pool])
    price = np.where(short, s.prices.imbalance_buy, s.prices.imbalance_sell)[s.roster.network_of]
    for k, peer_id in enumerate(s.roster.peer_id):
        expected = HOURS * price[k] * s.error_kw[k]
        assert s.received(peer_id, "imbalance") == pytest.approx(expected)


def test_networks_whose_errors_cancel_pay_the_supplier_nothing():
    # One network's kW missing is the other's kW too many: peers settle among themselves.
    s = Step(5)
    error_kw = np.array([-3.0, 1.0, 2.0, 0.0, 0.0])
    flows = replace(s.flows, deviation_kw=np.array([-2.0, 2.0, 0.0]), pool_of=np.zeros(3, int))
    ledger = settle(
        flows,
        s.trades,
        trade_price=s.trade_price,
        recourse=replace(s.recourse, delivered_kw=np.zeros(4)),
        error_kw=error_kw,
        prices=s.prices,
        costs=s.costs,
        roster=s.roster,
    )
    price = HOURS * s.prices.imbalance_sell
    received = {
        account: eur for (account, item), eur in ledger.entries.items() if item == "imbalance"
    }
    expected = {"home": -3 * price, "cell": price, "unit": 2 * price, DSO: 0.0}
    assert received == pytest.approx(expected, abs=1e-12)
    upstream = [eur for (_, item), eur in ledger.entries.items() if item == "imbalance_upstream"]
    np.testing.assert_allclose(upstream, 0.0, atol=1e-12)
    assert imbalance_cost(flows, s.prices, HOURS).sum() == pytest.approx(0.0, abs=1e-12)


def test_recourse_is_paid_at_the_offered_prices():
    s = Step(6)
    up, down = s.recourse.up_price, s.recourse.down_price
    kw = s.recourse.delivered_kw
    expected = HOURS * np.where(kw > 0, kw * up, -kw * down)
    owners = np.array(s.roster.peer_id)[s.roster.recourse]
    for peer_id in np.unique(owners):
        got = s.received(peer_id, "recourse_activation")
        assert got == pytest.approx(expected[owners == peer_id].sum())


def test_the_ledger_nets_an_item_per_account():
    ledger = Ledger()
    ledger.pay("a", "b", "x", 2.0)
    ledger.pay("b", "a", "x", 0.5)
    ledger.pay("a", "b", "y", 0.0)
    ledger.pay_each(["a", "c"], "b", "z", np.array([1.0, -3.0]))
    assert ledger.entries == {
        ("a", "x"): -1.5,
        ("b", "x"): 1.5,
        ("a", "z"): -1.0,
        ("b", "z"): -2.0,
        ("c", "z"): 3.0,
    }
