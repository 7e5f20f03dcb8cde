"""Payments of a step: each item by hand, and what holds whatever happens."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.charges import GridCharges
from market.costs import imbalance_cost
from market.imbalance import Recourse
from market.matching import Trades
from market.pricing import TradePrices
from market.risk import RiskShares
from market.settlement import Metered, exchange_shares, settle
from market.uplift import dso_surplus
from tests.market.builders import Peer, make_roster, settings
from tests.market.settled_step import ALONE, PEERS, Step, received, two_peers

LOSS = ("operator", "proportional", "marginal")
IMBALANCE = ("one_sided", "two_sided", "marginal")
UPLIFT = ("load", "trades", "dso")
RISK = ("socialised", "causation")
POOLS = (ALONE, {"A": 0, "B": 0, "C": 0}, {"A": 0, "B": 1, "C": 0})

markets = st.fixed_dictionaries(
    {
        "pools": st.sampled_from(POOLS),
        "charged": st.booleans(),
        "loss_allocation": st.sampled_from(LOSS),
        "imbalance_pricing": st.sampled_from(IMBALANCE),
        "risk_allocation": st.sampled_from(RISK),
        "uplift": st.sampled_from(UPLIFT),
    }
)
seeds = st.integers(0, 10**6)


# --- by hand: half an hour of a generator and a home ------------------------------------------


def entries(item, **amounts):
    names = {"operator_a": "operator:A", "operator_b": "operator:B"}
    return {(names.get(account, account), item): eur for account, eur in amounts.items()}


def trade(received, kept, fee):
    """The home buys 4 kW from the generator."""
    return {
        "trades": Trades(np.array([0]), np.array([1]), np.array([4.0]), np.array([True])),
        "trade_prices": TradePrices(*np.array([[received + kept], [received], [kept]])),
        "trade_fee": np.array([fee]),
    }


CHARGES = GridCharges(np.array([-0.3, 0.5]), np.array([-2.0, 5.0]), np.array([1.0, 0.0]))
SHARES = RiskShares(np.array([-0.6, 4.0]), np.array([3.0, -0.4]), np.array([0.25, 0.75]))
EXCHANGED = Metered(np.array([2.0, -6.0]), *np.zeros((2, 2)))


@pytest.mark.parametrize(
    ("happens", "expected"),
    [
        pytest.param({}, {}, id="nothing"),
        pytest.param(
            {"supplier_buy_kw": [0.0, 8.0]},
            entries("energy_bought", home=-1.0, supplier=1.0),
            id="bought",
        ),
        pytest.param(
            {"supplier_sell_kw": [6.0, 0.0]},
            entries("energy_sold", gen=0.3, supplier=-0.3),
            id="sold",
        ),
        pytest.param(
            {"network_of_home": "B", **trade(received=0.18, kept=0.05, fee=0.08)},
            entries("p2p_energy", gen=0.36, home=-0.36)
            | entries("exchange_rent", home=-0.1, dso=0.1)
            | entries("network_fee", home=-0.16, operator_b=0.16),
            id="traded",
        ),
        pytest.param(
            {"loss_kw": [3.0], "metered": EXCHANGED},
            entries("losses", operator_a=-0.06, supplier=0.06),
            id="losses",
        ),
        pytest.param(
            {"loss_kw": [3.0], "metered": EXCHANGED, "loss_allocation": "proportional"},
            entries("losses", operator_a=-0.06, supplier=0.06)
            | entries("loss_charge", gen=-0.015, home=-0.045, operator_a=0.06),
            id="proportional_losses",
        ),
        pytest.param(
            {"loss_kw": [3.0], "loss_allocation": "proportional"},
            entries("losses", operator_a=-0.06, supplier=0.06),
            id="proportional_losses_of_nobody",
        ),
        pytest.param(
            {
                "loss_kw": [3.0, 5.0],
                "network_of_home": "B",
                "metered": EXCHANGED,
                "loss_allocation": "proportional",
            },
            entries("losses", operator_a=-0.06, operator_b=-0.1, supplier=0.16)
            | entries("loss_charge", gen=-0.06, operator_a=0.06, home=-0.1, operator_b=0.1),
            id="proportional_losses_by_network",
        ),
        pytest.param(
            {"loss_kw": [3.0], "loss_allocation": "marginal"},
            entries("losses", operator_a=-0.06, supplier=0.06),
            id="marginal_losses_without_prices",
        ),
        pytest.param(
            {"loss_kw": [3.0], "charges": CHARGES, "loss_allocation": "proportional"},
            entries("losses", operator_a=-0.06, supplier=0.06)
            | entries("loss_charge", gen=0.3, home=-0.5, dso=0.2)
            | entries("loss_compensation", dso=-0.06, operator_a=0.06)
            | entries("congestion_charge", gen=2.0, home=-5.0, dso=3.0)
            | entries("risk_charge", gen=-1.0, dso=1.0),
            id="nodal",
        ),
        pytest.param(
            {
                "metered": Metered(np.zeros(2), np.array([4.0, -2.0]), np.zeros(2)),
                "deviation_kw": [2.0],
            },
            entries("imbalance", gen=0.1, home=-0.05, dso=-0.05)
            | entries("imbalance_upstream", dso=0.05, supplier=-0.05),
            id="surplus",
        ),
        pytest.param(
            {
                "metered": Metered(np.zeros(2), np.array([2.0, -4.0]), np.zeros(2)),
                "deviation_kw": [-2.0],
            },
            entries("imbalance", gen=0.3, home=-0.6, dso=0.3)
            | entries("imbalance_upstream", dso=-0.3, supplier=0.3),
            id="shortage",
        ),
        pytest.param(
            {
                "metered": Metered(np.zeros(2), np.array([4.0, -2.0]), np.zeros(2)),
                "deviation_kw": [2.0],
                "imbalance_pricing": "two_sided",
            },
            entries("imbalance", gen=0.1, home=-0.3, dso=0.2)
            | entries("imbalance_upstream", dso=0.05, supplier=-0.05),
            id="two_sided",
        ),
        pytest.param(
            {"reserve_kw": [5.0, 2.0], "shares": SHARES},
            entries("recourse_capacity", gen=0.02, dso=-0.02),
            id="ready",
        ),
        pytest.param(
            {"recourse": Recourse(np.array([2.0, 0.0]), np.full(2, 0.3), np.full(2, 0.05))},
            entries("recourse_activation", gen=0.3, dso=-0.3),
            id="up",
        ),
        pytest.param(
            {"recourse": Recourse(np.array([0.0, -4.0]), np.full(2, 0.3), np.full(2, -0.1))},
            entries("recourse_activation", gen=-0.2, dso=0.2),
            id="down",
        ),
        pytest.param(
            {"reserve_kw": [5.0, 2.0], "shares": SHARES, "risk_allocation": "causation"},
            entries("recourse_capacity", gen=0.02, dso=-0.02)
            | entries("risk_causation", gen=0.3, home=-2.0, dso=1.7)
            | entries("recourse_relief", gen=1.3, dso=-1.3)
            | entries("capacity_causation", gen=-0.005, home=-0.015, dso=0.02),
            id="causation",
        ),
        pytest.param(
            {"reserve_kw": [5.0, 2.0], "risk_allocation": "causation"},
            entries("recourse_capacity", gen=0.02, dso=-0.02),
            id="causation_unknown",
        ),
        pytest.param(
            {"dispatchable_kw": [4.0]}, entries("fuel", gen=-0.38, resources=0.38), id="fuel"
        ),
        pytest.param(
            {"charge_kw": [2.0], "discharge_kw": [1.0]},
            entries("wear", gen=-0.03, resources=0.03),
            id="wear",
        ),
        pytest.param(
            {"curtailed_kw": [2.0], "backlog_kwh": [4.0]},
            entries("discomfort", home=-0.46, resources=0.46),
            id="discomfort",
        ),
    ],
)
def test_each_item_by_hand(happens, expected):
    assert two_peers(**happens) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("pool_of", "imbalance", "gen", "home"),
    [([0, 1], [1.0, 1.0], -0.02, 0.0), ([0, 0], [0.25, 0.75], -0.005, -0.015)],
)
def test_capacity_is_borne_by_the_pool_it_is_kept_for(pool_of, imbalance, gen, home):
    """The errors of another network take nothing of it unless both are answered together."""
    shares = RiskShares(np.zeros(2), np.zeros(2), np.array(imbalance))
    happens = {"reserve_kw": [5.0, 2.0], "shares": shares, "risk_allocation": "causation"}
    paid = two_peers(network_of_home="B", pool_of=pool_of, **happens)
    assert paid["dso", "capacity_causation"] == pytest.approx(0.02)
    assert paid["gen", "capacity_causation"] == pytest.approx(gen)
    assert paid.get(("home", "capacity_causation"), 0.0) == pytest.approx(home)


def test_both_directions_count_alike_in_the_shares_of_the_exchange():
    roster = make_roster({"a": Peer(), "b": Peer(), "c": Peer(network="B")})
    np.testing.assert_allclose(exchange_shares(np.array([1.0, -3.0, 5.0]), roster), [0.25, 0.75, 1])
    np.testing.assert_array_equal(exchange_shares(np.zeros(3), roster), np.zeros(3))


def test_networks_whose_errors_cancel_pay_the_supplier_nothing():
    # One network's kW missing is the other's kW too many: peers settle among themselves.
    s = Step(5)
    error_kw = np.array([-3.0, 1.0, 2.0, 0.0, 0.0])
    flows = replace(s.flows, deviation_kw=np.array([-2.0, 2.0, 0.0]), pool_of=np.zeros(3, int))
    ledger = settle(
        flows,
        s.trades,
        trade_prices=s.trade_prices,
        trade_fee=s.fee,
        recourse=s.recourse,
        metered=replace(s.metered, error_kw=error_kw),
        prices=s.prices,
        costs=s.costs,
        charges=None,
        shares=None,
        settings=settings(),
        roster=s.roster,
    )
    price = 0.25 * s.prices.imbalance_sell
    expected = {"home": -3 * price, "cell": price, "unit": 2 * price}
    assert {name: received(ledger, name, "imbalance") for name in expected} == pytest.approx(
        expected
    )
    np.testing.assert_allclose(ledger.items["imbalance"].sum(), 0.0, atol=1e-12)
    np.testing.assert_allclose(ledger.items["imbalance_upstream"], 0.0, atol=1e-12)
    assert imbalance_cost(flows, s.prices, 0.25).sum() == pytest.approx(0.0, abs=1e-12)


# --- whatever happens --------------------------------------------------------------------------


@given(seeds, markets)
def test_every_item_sums_to_zero(seed, market):
    ledger = Step(seed, **market).ledger
    moved = sum(np.abs(amounts).sum() for amounts in ledger.items.values())
    for item, amounts in ledger.items.items():
        assert amounts.sum() == pytest.approx(0.0, abs=max(1e-9, 1e-12 * moved)), item


@given(seeds, markets)
def test_accounts_reconcile_with_the_operational_cost(seed, market):
    s = Step(seed, **market)
    cost = {name: eur.sum() for name, eur in s.cost.items()}

    def same(amount, component):
        assert amount == pytest.approx(cost[component], rel=1e-9, abs=1e-6)

    operators = [f"operator:{network}" for network in s.roster.network]
    same(received(s.ledger, "supplier", "energy_bought", "energy_sold"), "upstream_energy")
    same(received(s.ledger, "supplier", "losses"), "losses")
    same(received(s.ledger, "supplier", "imbalance_upstream"), "imbalance")
    same(received(s.ledger, "resources", "fuel"), "dispatchable_fuel")
    same(received(s.ledger, "resources", "wear"), "storage_wear")
    same(received(s.ledger, "resources", "discomfort"), "flexible_discomfort")
    same(-received(s.ledger, "dso", "recourse_capacity"), "recourse_capacity")
    same(sum(received(s.ledger, name, "network_fee") for name in operators), "network_fees")


@given(seeds, markets, st.permutations(list(PEERS)))
def test_the_order_of_the_peers_changes_nothing(seed, market, order):
    one, other = Step(seed, **market), Step(seed, order=order, **market)
    moved = sum(np.abs(amounts).sum() for amounts in one.ledger.items.values())
    assert one.ledger.items.keys() == other.ledger.items.keys()
    for account in one.ledger.accounts:
        for item in one.ledger.items:
            assert received(other.ledger, account, item) == pytest.approx(
                received(one.ledger, account, item), abs=1e-12 * moved
            )


@given(seeds, markets)
def test_what_the_dso_keeps_adds_up_to_its_account(seed, market):
    ledger = Step(seed, **market).ledger
    surplus = dso_surplus(ledger)
    account = sum(eur for (name, _), eur in ledger.entries.items() if name == "dso")
    moved = sum(np.abs(amounts).sum() for amounts in ledger.items.values())
    assert sum(surplus.values()) == pytest.approx(account, abs=1e-12 * moved)


def test_what_the_dso_keeps_has_its_source():
    s = Step(3, risk_allocation="causation")

    def dso(*items):
        return received(s.ledger, "dso", *items)

    assert dso_surplus(s.ledger) == pytest.approx(
        {
            "congestion": s.charges.congestion.sum() + dso("exchange_rent"),
            "loss": s.charges.loss.sum() - s.cost["losses"].sum(),
            "risk": s.charges.risk.sum()
            + dso("risk_causation", "recourse_relief", "capacity_causation")
            + dso("recourse_capacity", "recourse_activation")
            + dso("imbalance", "imbalance_upstream"),
            "uplift": 0.0,
        }
    )


@given(seeds, markets)
def test_proportional_charges_leave_the_operators_without_the_losses(seed, market):
    s = Step(seed, **market | {"loss_allocation": "proportional", "charged": False})
    for network in s.roster.network:
        left = received(s.ledger, f"operator:{network}", "losses", "loss_charge")
        assert left == pytest.approx(0.0, abs=1e-9 * s.cost["losses"].sum())


@given(seeds, markets)
def test_two_sided_prices_never_leave_the_dso_worse_off(seed, market):
    one, two = (
        Step(seed, **market | {"imbalance_pricing": pricing})
        for pricing in ("one_sided", "two_sided")
    )
    kept = [received(s.ledger, "dso", "imbalance") for s in (one, two)]
    assert kept[1] >= kept[0] - 1e-9 * abs(kept[0])
