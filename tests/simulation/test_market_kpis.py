"""Key figures of the market: two steps solved by hand, limits, and a day that has to reconcile."""

import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from agents.prosumer import EFFICIENCY, QUADRATIC_PART
from configs.schema import Emissions
from market.bids import Rating
from market.costs import DeviceCosts
from market.ledger import Ledger
from market.roster import Roster
from simulation.market_kpis import market_kpis
from simulation.market_totals import MarketTotals, recourse_cost
from simulation.run import execute as execute_prepared
from simulation.run import prepare
from simulation.stops import StopRequested, Stops
from simulation.summary import as_text

FLEX, PV, UNIT = range(3)
ROSTER = Roster(
    peer_id=("flex", "pv", "unit"),
    network=("A", "B"),
    network_of=np.array([0, 0, 1]),
    rating=(
        Rating(flexible_kw=2.0),
        Rating(
            renewable_kw=10.0,
            storage_kw=4.0,
            storage_kwh=8.0,
            charge_efficiency=0.8,
            discharge_efficiency=0.5,
        ),
        Rating(dispatchable_kw=10.0),
    ),
    n_steps=2,
    step_hours=0.5,
)
TARIFF = SimpleNamespace(retail=np.array([0.30, 0.34, 0.40]), feed_in=np.array([0.10, 0.06, 0.12]))
COSTS = DeviceCosts(
    dispatchable=np.array([0.2]),
    dispatchable_quadratic=np.array([0.01]),
    wear=np.array([0.02]),
    willingness_to_pay=np.zeros(1),
    deferral=np.zeros(1),
)


def record(step=0, *, trades=(), pays=(), resources=None, battery=(0, 0), unit=(0, 0), **more):
    """A step; battery and unit: scheduled and realised power, trades: one tuple each.

    Trades are (seller, buyer, kW, paid, received, fee), payments (payer, payee, item, EUR).
    """
    seller, buyer, power, paid, received, fee = (
        np.array(trades, dtype=float).reshape(-1, 6).T if trades else np.zeros((6, 0))
    )
    ledger = Ledger(ROSTER.peer_id, ROSTER.network)
    place = {account: k for k, account in enumerate(ledger.accounts)}
    for payer, payee, item, amount in pays:
        ledger.pay(place[payer], place[payee], item, np.array(amount))
    sides = [(max(-net, 0.0), max(net, 0.0)) for net in battery]
    columns = {
        "p_kw": np.zeros(3),
        "load_kw": np.zeros(3),
        "renewable_kw": np.zeros(3),
        "renewable_available_kw": np.zeros(3),
        "soc_kwh": np.zeros(3),
        "dispatchable_kw": np.array([0.0, 0.0, unit[1]]),
    } | {name: np.array(values, dtype=float) for name, values in more.items()}
    schedule = SimpleNamespace(
        charge=np.array([[sides[0][0]]]),
        discharge=np.array([[sides[0][1]]]),
        dispatchable=np.array([[float(unit[0])]]),
        exchange=columns.pop("exchange", np.zeros(2))[None],
    )
    flows = SimpleNamespace(
        charge_kw=np.array([sides[1][0]]),
        discharge_kw=np.array([sides[1][1]]),
        dispatchable_kw=np.array([float(unit[1])]),
        loss_kw=columns.pop("loss_kw", np.zeros(2)),
    )
    return SimpleNamespace(
        step=step,
        k=0,
        cleared=SimpleNamespace(step=step, result=SimpleNamespace(schedule=schedule)),
        realised=SimpleNamespace(column=columns.__getitem__),
        settled=SimpleNamespace(
            flows=flows,
            resources={name: np.array(eur) for name, eur in (resources or {}).items()},
            transfers=columns.pop("transfers", {}),
            trades=SimpleNamespace(
                seller=seller.astype(int), buyer=buyer.astype(int), power_kw=power
            ),
            trade_prices=SimpleNamespace(paid=paid, received=received, kept=paid - received),
            trade_fee=fee,
            prices=SimpleNamespace(
                retail=float(TARIFF.retail[step]), feed_in=float(TARIFF.feed_in[step])
            ),
            ledger=ledger,
        ),
    )


def totals_of(*records) -> MarketTotals:
    totals = MarketTotals(ROSTER, TARIFF, COSTS)
    for one in records:
        totals.add(one)
    return totals


NO_EMISSIONS = Emissions()
FIRST = record(
    0,
    trades=[(PV, FLEX, 4.0, 0.20, 0.20, 0.05), (UNIT, FLEX, 2.0, 0.22, 0.18, 0.06)],
    pays=[
        ("flex", "pv", "p2p_energy", 0.40),
        ("flex", "unit", "p2p_energy", 0.18),
        ("flex", "dso", "exchange_rent", 0.04),
        ("flex", "operator:A", "network_fee", 0.16),
        ("flex", "dso", "imbalance", 0.35),
        ("dso", "pv", "recourse_activation", -0.10),
        ("dso", "unit", "recourse_activation", 0.25),
        ("dso", "unit", "recourse_capacity", 0.15),
        ("pv", "resources", "wear", 0.03),
    ],
    resources={"upstream_energy": [3.0, 1.0], "storage_wear": [0.03, 0]},
    battery=(-1.0, -3.0),
    unit=(4.0, 6.0),
    p_kw=[-6, 2, 3],
    load_kw=[6, 1, 1],
    renewable_kw=[0, 5, 0],
    renewable_available_kw=[0, 6, 0],
    soc_kwh=[0, 5, 0],
    exchange=[-2.0, 2.0],
    loss_kw=[0.5, 0.1],
)
SECOND = record(
    1,
    pays=[
        ("dso", "pv", "recourse_activation", 0.30),
        ("operator:B", "supplier", "losses", 0.02),
        ("supplier", "unit", "energy_sold", 0.07),
        ("unit", "resources", "fuel", 0.44),
    ],
    resources={"upstream_energy": [0.5, 0.0], "losses": [0.01, 0.02]},
    battery=(-1.0, 2.0),
    unit=(4.0, 4.0),
    p_kw=[-2, 4, -1],
    load_kw=[2, 1, 2],
    renewable_kw=[0, 4, 0],
    renewable_available_kw=[0, 4, 0],
    soc_kwh=[0, 2, 0],
    exchange=[0.5, -0.5],
    loss_kw=[0.25, 0.1],
)


@pytest.fixture(scope="module")
def totals():
    return totals_of(FIRST, SECOND)


@pytest.fixture(scope="module")
def kpis(totals):
    return market_kpis(totals, Emissions(grid_kg_per_kwh=0.4, dispatchable_kg_per_kwh=0.6))


def test_resource_costs_are_summed_by_component(totals):
    expected = {"upstream_energy": 4.5, "storage_wear": 0.03, "losses": 0.03}
    assert totals.resources_eur == pytest.approx(expected)


def test_cost_by_actor(kpis):
    """Who owns but flexible load is a consumer."""
    cost = kpis["cost_by_actor_eur"]
    assert cost == pytest.approx(
        {
            "consumers": 0.40 + 0.18 + 0.04 + 0.16 + 0.35,
            "prosumers": -0.40 - 0.18 + 0.10 - 0.40 + 0.03 - 0.30 - 0.07 + 0.44,
            "operators": -0.16 + 0.02,
            "dso": -0.04 - 0.35 - 0.10 + 0.40 + 0.30,
            "supplier": -0.02 + 0.07,
            "resources": -0.03 - 0.44,
        }
    )
    assert sum(cost.values()) == pytest.approx(0, abs=1e-12)


def test_gains_from_trade(kpis, totals):
    """Gains .12, .20, .08: the differences of the pairs are .08, .04, .12."""
    assert totals.gain_eur == pytest.approx([0.12, 0.20, 0.08])
    assert kpis["gains_from_trade_eur"] == pytest.approx(0.40)
    assert kpis["gains_gini"] == pytest.approx(2 * 0.24 / (2 * 9 * 0.4 / 3))
    assert kpis["gains_jain"] == pytest.approx(0.16 / (3 * (0.0144 + 0.04 + 0.0064)))
    assert kpis["traders"] == 3


def test_a_trade_beyond_the_suppliers_prices_loses():
    """A kWh at 0.32 with a retail price of 0.30; who does not trade does not count."""
    kpis = market_kpis(totals_of(record(trades=[(PV, FLEX, 2, 0.32, 0.32, 0)])), NO_EMISSIONS)
    assert kpis["traders"] == 2
    assert kpis["gains_from_trade_eur"] == pytest.approx(0.20)
    assert kpis["gains_gini"] == pytest.approx(2 * 0.24 / (2 * 4 * 0.1))


def test_trade_prices_are_means_over_the_energy(kpis):
    assert kpis["mean_price_paid_eur_per_kwh"] == pytest.approx((2 * 0.20 + 1 * 0.22) / 3)
    assert kpis["mean_price_received_eur_per_kwh"] == pytest.approx((2 * 0.20 + 1 * 0.18) / 3)
    assert kpis["network_fees_eur"] == pytest.approx(0.16)


def test_recourse_is_paid_for_or_not(kpis, totals):
    """The battery charges 2 kW more, then discharges 2 kW instead of charging 1.

    First it wears by 0.02 and stores 0.8 kWh worth half of 0.2 each, as half of it comes out again;
    then it wears by 0.01 more than planned and has 2.4 kWh less, worth half of 0.23 each. The unit
    burns 0.5 h of 0.2 * 2 + 0.01 * 20.
    """
    cost = 0.02 - 0.8 * 0.2 / 2 + 0.01 + 2.4 * 0.23 / 2
    assert totals.recourse_cost_eur == pytest.approx([0, cost, 0.3])
    providers = kpis["recourse_providers"]
    assert (providers["n"], providers["cost_recovered_share"]) == (2, 0.5)
    assert providers["worst_peer_id"] == "pv"
    assert providers["worst_margin_eur"] == pytest.approx(0.20 - cost)


def test_the_truthful_bid_recovers_the_cost_of_recourse():
    """Asked for by ``Prosumer.truthful_bid``, whatever was scheduled and whatever is delivered."""
    worth, hours = 0.2, ROSTER.step_hours
    dearest = 0.2 * (1 + QUADRATIC_PART)
    costs = DeviceCosts(
        dispatchable=np.array([0.2]),
        dispatchable_quadratic=np.array([QUADRATIC_PART * 0.2 / 2 / 10]),
        wear=np.array([0.02]),
        willingness_to_pay=np.zeros(1),
        deferral=np.zeros(1),
    )
    margins = []
    for planned in np.linspace(-4, 4, 9):
        for real in np.linspace(-4, 4, 9):
            battery, unit = recourse_cost(
                net_kw=np.array([real]),
                scheduled_net_kw=np.array([planned]),
                unit_kw=np.array([real + 5]),
                scheduled_unit_kw=np.array([planned + 5]),
                worth=np.array([worth]),
                costs=costs,
                roster=ROSTER,
            )
            up, down = max(real - planned, 0), max(planned - real, 0)
            paid = up * (0.02 + worth / 0.5) + down * (0.02 - worth * 0.8)
            margins.append(hours * paid - battery[0])
            margins.append(hours * (up * dearest - down * 0.2) - unit[0])
    assert min(margins) == pytest.approx(0, abs=1e-12)
    assert max(margins) > 0.1


def test_surplus_of_the_dso(kpis):
    assert kpis["dso_surplus_eur"] == pytest.approx(
        {"congestion": 0.04, "loss": 0, "risk": -0.25, "uplift": 0, "total": -0.21}
    )
    assert kpis["dso_revenue_adequate_share"] == 0.5


def test_own_energy(kpis):
    """Network A draws 4 kW, then feeds in 2; B feeds in 3, then draws 1; both: -1, then +1."""
    assert kpis["self_sufficiency"] == pytest.approx(
        {"A": 1 - 2 / 5, "B": 1 - 0.5 / 1.5, "together": 1 - 0.5 / 6.5}
    )
    assert kpis["self_consumption"] == pytest.approx(
        {"A": 1 - 1 / 4.5, "B": 1 - 1.5 / 5, "together": 1 - 0.5 / 9.5}
    )
    assert kpis["renewable_curtailment_share"] == pytest.approx(0.1)


def test_peaks_and_emissions(kpis):
    assert kpis["peak_p2p_exchange_kw"] == {"A": 2.0, "B": 2.0}
    assert kpis["peak_substation_exchange_kw"] == {"A": 4.5, "B": 2.9}
    assert kpis["emissions_grid_kg"] == pytest.approx(0.4 * 0.5 * (4.5 + 1.1))
    assert kpis["emissions_dispatchable_kg"] == pytest.approx(0.6 * 5)
    assert kpis["emissions_kg"] == pytest.approx(1.12 + 3)


def test_emissions_need_both_intensities(totals):
    one = market_kpis(totals, Emissions(grid_kg_per_kwh=0.4))
    assert one["emissions_grid_kg"] == pytest.approx(1.12)
    assert one["emissions_dispatchable_kg"] is one["emissions_kg"] is None


def test_nothing_happened():
    kpis = market_kpis(totals_of(), NO_EMISSIONS)
    nothing = (
        "gains_gini gains_jain mean_price_paid_eur_per_kwh "
        "mean_price_received_eur_per_kwh dso_revenue_adequate_share "
        "renewable_curtailment_share emissions_kg"
    )
    assert {kpis[name] for name in nothing.split()} == {None}
    assert set(kpis["self_sufficiency"].values()) == {None}
    assert kpis["recourse_providers"] == {
        "n": 0,
        "cost_recovered_share": None,
        "worst_margin_eur": None,
        "worst_peer_id": None,
    }
    assert sum(kpis["cost_by_actor_eur"].values()) == 0


def test_accounts_and_outcomes(totals):
    columns = totals.accounts()
    rows = list(zip(*columns.values(), strict=True))
    assert list(columns) == ["account", "kind", "network", "item", "amount_eur"]
    assert ("flex", "consumer", "A", "p2p_energy", pytest.approx(-0.58)) in rows
    assert ("pv", "prosumer", "A", "recourse_activation", pytest.approx(0.20)) in rows
    assert ("operator:B", "operator", "B", "losses", pytest.approx(-0.02)) in rows
    assert ("resources", "resources", None, "fuel", pytest.approx(0.44)) in rows
    outcomes = totals.peer_outcomes()
    assert outcomes["kind"] == ["consumer", "prosumer", "prosumer"]
    assert outcomes["network"] == ["A", "A", "B"]
    expected = {
        "net_eur": [-1.13, 0.57, 0.21],
        "gain_from_trade_eur": [0.12, 0.20, 0.08],
        "recourse_income_eur": [0, 0.20, 0.40],
        "stored_energy_change_kwh": [0, 2 - 4, 0],
        "bought_kwh": [3, 0, 0],
        "sold_kwh": [0, 2, 1],
    }
    for name, values in expected.items():
        assert outcomes[name] == pytest.approx(values), name


# --- a whole day -----------------------------------------------------------------------------


def summed(frame, *by):
    return frame.groupby(list(by)).amount_eur.sum()


def test_the_costs_of_all_actors_sum_to_zero(day):
    cost = day.summary["market"]["cost_by_actor_eur"]
    assert sum(cost.values()) == pytest.approx(0, abs=1e-8)
    assert cost["consumers"] > 0 > cost["supplier"]


def test_the_cost_at_tariff_is_what_leaves_the_accounts_and_what_moves_between_them(day):
    market, costs = day.summary["market"], day.summary["costs_by_component_eur"]
    outside = market["cost_by_actor_eur"]["supplier"] + market["cost_by_actor_eur"]["resources"]
    between = costs["network_fees"] + costs["recourse_capacity"]
    total = day.summary["total_operational_cost_eur"]
    assert total == pytest.approx(between - outside, abs=1e-6)
    assert market["network_fees_eur"] == pytest.approx(costs["network_fees"], abs=1e-6)


def test_the_tables_lead_from_the_resource_cost_to_the_cost_at_tariff(day):
    """In every step and network, by the files alone; the substations' energy by the AC replay."""
    place = ["step", "network"]
    costs, used, moved = (
        frame.groupby(place).amount_eur.sum()
        for frame in (day.costs, day.resource_costs, day.transfers)
    )
    assert len(costs) == 48
    assert (costs - used - moved).abs().max() < 1e-6
    exchange = day.transfers[day.transfers.transfer == "network_exchange"]
    assert summed(exchange, "step").abs().max() < 1e-9
    bought = day.resource_costs[day.resource_costs.component.isin(("upstream_energy", "losses"))]
    spot = day.tariff.set_index("step").spot_eur_per_kwh
    drawn = day.substation.set_index(place).p_kw
    replayed = drawn * spot.reindex(drawn.index, level="step")
    assert (summed(bought, *place) - replayed).abs().max() < 1e-4
    summary = day.summary
    assert summary["resource_cost_eur"] == pytest.approx(used.sum())
    assert sum(summary["transfers_eur"].values()) == pytest.approx(moved.sum())


def test_the_value_of_stored_energy_is_that_of_the_mean_prices(day):
    values = day.summary["stored_energy_value_eur_per_kwh"]
    mean = day.tariff.mean(numeric_only=True)
    for name in ("spot", "retail", "feed_in"):
        assert values[name] == pytest.approx(EFFICIENCY * mean[f"{name}_eur_per_kwh"])
    assert values["mid"] == pytest.approx((values["retail"] + values["feed_in"]) / 2)


def test_accounts_are_the_sums_of_the_settlement(day):
    accounts = summed(day.accounts, "account", "item")
    settled = summed(day.settlement, "account", "item")
    assert len(accounts) == len(day.accounts)
    assert set(accounts.index) == set(settled.index)
    assert (accounts - settled).abs().max() < 1e-9
    kinds = day.accounts.set_index("account").kind
    assert set(kinds) == {"consumer", "prosumer", "operator", "dso", "supplier", "resources"}


def test_outcomes_of_the_peers(day):
    outcomes = day.peer_outcomes.set_index("peer_id")
    assert list(outcomes.index) == list(day.peers.peer_id)
    net = summed(day.accounts, "account").reindex(outcomes.index)
    assert (outcomes.net_eur - net).abs().max() < 1e-9
    own = day.peers.set_index("peer_id")
    owner = own[["pv_kw", "wind_kw", "battery_kw", "dispatchable_kw"]].sum(axis=1) > 0
    assert ((outcomes.kind == "prosumer") == owner).all()
    for side, column in (("buyer", "bought_kwh"), ("seller", "sold_kwh")):
        traded = day.trades.groupby(side).energy_kwh.sum().reindex(outcomes.index, fill_value=0)
        assert (outcomes[column] - traded).abs().max() < 1e-9
    stored = outcomes.stored_energy_change_kwh
    last = day.dispatch[day.dispatch.step == 23].set_index("peer_id").soc_kwh
    assert stored.to_numpy() == pytest.approx((last - own.battery_kwh / 2).to_numpy())
    assert stored.sum() == pytest.approx(day.summary["stored_energy_change_kwh"])
    gained = day.summary["market"]["gains_from_trade_eur"]
    assert outcomes.gain_from_trade_eur.sum() == pytest.approx(gained)


def test_nobody_loses_by_trade_and_truthful_providers_are_paid(day):
    """Built-in pricing stays within the limit prices, which here are the supplier's or better."""
    market, outcomes = day.summary["market"], day.peer_outcomes
    assert outcomes.gain_from_trade_eur.min() > -1e-6
    assert market["gains_from_trade_eur"] > 1
    assert market["recourse_providers"]["n"] > 0
    assert market["recourse_providers"]["cost_recovered_share"] == 1
    margin = outcomes.recourse_income_eur - outcomes.recourse_cost_eur
    assert margin.min() > -1e-6
    assert (outcomes.recourse_cost_eur.abs() > 0.01).any()


def test_surplus_table(day):
    surplus = summed(day.dso_surplus, "source")
    told = day.summary["market"]["dso_surplus_eur"]
    assert surplus.sum() == pytest.approx(told["total"])
    assert surplus.to_dict() == pytest.approx({k: v for k, v in told.items() if k != "total"})
    by_step = summed(day.dso_surplus, "step")
    settled = summed(day.settlement[day.settlement.account == "dso"], "step")
    assert (by_step - settled.reindex(by_step.index, fill_value=0)).abs().max() < 1e-9
    # By default everything is shared out; revenue is adequate where something was left before.
    assert by_step.abs().max() < 1e-9
    before = summed(day.dso_surplus[day.dso_surplus.source != "uplift"], "step")
    adequate = day.summary["market"]["dso_revenue_adequate_share"]
    assert adequate == pytest.approx((before >= -1e-6).mean())


def test_energy_by_the_tables(day):
    market = day.summary["market"]
    net = day.dispatch.groupby(["step", "network"]).p_kw.sum().unstack()
    net["together"] = net.sum(axis=1)
    load = day.dispatch.groupby("network").load_kw.sum()
    load["together"] = load.sum()
    own = 1 - (-net).clip(lower=0).sum() / load
    assert market["self_sufficiency"] == pytest.approx(own.to_dict())
    assert own["together"] >= (own * load)[["west", "east"]].sum() / load["together"]
    peak = day.substation.groupby("network")[["p_kw", "exchange_kw"]].agg(lambda x: x.abs().max())
    assert market["peak_substation_exchange_kw"] == pytest.approx(peak.p_kw.to_dict())
    assert market["peak_p2p_exchange_kw"] == pytest.approx(peak.exchange_kw.to_dict())


def test_an_interrupted_run_leaves_the_accounts_of_its_steps(scenario, tmp_path, monkeypatch):
    prepared, stops = prepare(scenario(), tmp_path / "run"), Stops()
    step = prepared.model.step

    def two_steps():
        step()
        if prepared.model.now == 2:
            stops.number = signal.SIGINT

    monkeypatch.setattr(prepared.model, "step", two_steps)
    with pytest.raises(StopRequested):
        execute_prepared(prepared, stops=stops)
    accounts, settled = (
        summed(pd.read_parquet(tmp_path / "run" / f"{table}.parquet"), "account", "item")
        for table in ("accounts", "settlement")
    )
    assert len(settled) > 0
    assert (accounts - settled).abs().max() < 1e-9


def test_the_terminal_tells_of_the_market(day):
    text = as_text(day.summary, Path("here"))
    market = day.summary["market"]
    assert f"cost at tariff {day.summary['total_operational_cost_eur']:>23,.2f} EUR" in text
    assert f"resource cost {day.summary['resource_cost_eur']:>24,.2f} EUR" in text
    assert "worse off" not in text
    assert f"self-sufficiency {market['self_sufficiency']['together']:.1%}" in text
    assert "kg CO2" not in text
    idle = market_kpis(totals_of(), Emissions(grid_kg_per_kwh=0.4, dispatchable_kg_per_kwh=0.6))
    text = as_text(day.summary | {"market": idle | {"emissions_kg": 1234.5}}, Path("here"))
    assert "price paid none, received none" in text
    assert "traders 0; their gains: Gini none, Jain none" in text
    assert "emissions 1,234 kg CO2" in text


def test_who_pays_moves_costs_between_actors_only(day, execute):
    """Nodal prices, marginal losses and causation of risk: the same cost in other hands."""
    other = execute(
        "market.pricing=dlmp", "market.loss_allocation=marginal", "market.risk_allocation=causation"
    ).summary
    nodal, flat = other["market"], day.summary["market"]
    for cost in ("resource_cost_eur", "total_operational_cost_eur"):
        assert other[cost] == pytest.approx(day.summary[cost], abs=1e-6)
    assert nodal["self_sufficiency"] == pytest.approx(flat["self_sufficiency"], abs=1e-9)
    assert sum(nodal["cost_by_actor_eur"].values()) == pytest.approx(0, abs=1e-8)
    for outside in ("supplier", "resources"):
        assert nodal["cost_by_actor_eur"][outside] == pytest.approx(
            flat["cost_by_actor_eur"][outside], abs=1e-6
        )
    assert abs(nodal["dso_surplus_eur"]["congestion"]) > 0.1
    assert nodal["dso_surplus_eur"]["loss"] != 0
    assert flat["dso_surplus_eur"]["congestion"] == flat["dso_surplus_eur"]["loss"] == 0


def test_a_run_can_end_as_it_began(day, execute):
    """But for what recourse does in the last hours."""
    other = execute("market.final_storage=as_at_start")
    capacity = day.peers.battery_kwh.sum()
    assert abs(other.summary["stored_energy_change_kwh"]) < 0.1 * capacity
    changed = other.peer_outcomes.stored_energy_change_kwh.abs().sum()
    assert changed < day.peer_outcomes.stored_energy_change_kwh.abs().sum() / 2
    assert other.summary["fallback_steps"] == 0
