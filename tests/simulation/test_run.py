"""Runs from end to end: the tables of a run, what they add up to, and that runs repeat."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from agents.strategies.truthful import Truthful
from configs.loading import load
from market.costs import COMPONENTS
from simulation.run import execute as execute_prepared
from simulation.run import prepare, run
from simulation.setup import build_world

TABLES = {
    "buses": "network bus vn_kv v_min_pu v_max_pu shunt_kvar is_source source_vm_pu",
    "lines": "network line from_bus to_bus r_ohm x_ohm max_i_ka",
    "peers": "peer_id network bus load_kw flexible_kw pv_kw wind_kw battery_kw battery_kwh "
    "dispatchable_kw strategy",
    "bids": "step time peer_id offer quantity_kw price_eur_per_kwh accepted reason",
    "clearing": "step time network status fallback n_iterations solver_s wall_s radius "
    "safety_factor certified_violation_probability binding slack_pu objective_eur",
    "dispatch": "step time peer_id p_scheduled_kw q_scheduled_kvar p_kw q_kvar load_kw "
    "renewable_available_kw curtailed_kw dg_kw charge_kw discharge_kw soc_kwh recourse_share "
    "recourse_kw",
    "trades": "step time seller buyer energy_kwh price_eur_per_kwh network_fee_eur "
    "crosses_networks",
    "settlement": "step time account item amount_eur",
    "bus_voltage": "step time network bus vm_pu vm_predicted_pu vm_scheduled_pu",
    "line_loading": "step time network line i_ka loading_percent",
    "violations": "step time network element kind value limit excess cause",
    "costs": "step time network component amount_eur",
    "resource_costs": "step time network component amount_eur",
    "transfers": "step time network transfer amount_eur",
    "tariff": "step time spot_eur_per_kwh retail_eur_per_kwh feed_in_eur_per_kwh loss_eur_per_kwh",
}
"""The columns promised to users, at least."""
SUMMARY = (
    "total_operational_cost_eur costs_by_component_eur resource_cost_eur "
    "resource_costs_by_component_eur transfers_eur energy_traded_within_kwh "
    "energy_traded_across_kwh promised_violation_probability delivered_violation "
    "uncertified_clearings fallback_clearings rejected_bids seconds"
)
WALL_CLOCK = ["solver_s", "wall_s"]
EFFICIENCY = 0.95


def per_step(table: pd.DataFrame, *keys: str) -> pd.core.groupby.DataFrameGroupBy:
    return table.groupby(["step", *keys])


def sweep(results, network, p_kw, q_kvar) -> tuple[pd.Series, float]:
    """AC power flow by backward and forward sweeps, from the tables alone.

    Returns the voltage magnitudes by bus and the losses in lines and shunts. [p.u., kW]
    """
    buses = results.buses.query("network == @network").set_index("bus")
    lines = results.lines.query("network == @network")
    (source,) = buses.index[buses.is_source]
    assert buses.vn_kv.nunique() == 1
    z = (lines.r_ohm + 1j * lines.x_ohm).to_numpy() * 1e-3 / buses.vn_kv.iloc[0] ** 2 * 1e3
    z = z / 1e3  # per kVA
    power = (p_kw + 1j * q_kvar).reindex(buses.index, fill_value=0)
    shunt = buses.shunt_kw - 1j * buses.shunt_kvar
    v = pd.Series(buses.source_vm_pu[source] + 0j, index=buses.index)
    for _ in range(200):
        drawn = np.conj((shunt * v.abs() ** 2 - power) / v)
        flow = np.zeros(len(lines), dtype=complex)
        for k in range(len(lines) - 1, -1, -1):
            to_bus = lines.to_bus.iloc[k]
            flow[k] = drawn[to_bus] + flow[lines.from_bus.to_numpy() == to_bus].sum()
        before = v.copy()
        for k in range(len(lines)):
            v[lines.to_bus.iloc[k]] = v[lines.from_bus.iloc[k]] - z[k] * flow[k]
        if (v - before).abs().max() < 1e-13:
            break
    losses = (np.abs(flow) ** 2 * z.real).sum() + (buses.shunt_kw * v.abs() ** 2).sum()
    return v.abs(), float(losses)


def injections(results, network, step, p, q) -> tuple[pd.Series, pd.Series]:
    """Injections by bus of one network and step."""
    rows = results.dispatch.query("network == @network and step == @step")
    bus = rows.peer_id.map(results.peers.set_index("peer_id").bus)
    return rows[p].groupby(bus).sum(), rows[q].groupby(bus).sum()


# --- what there is ----------------------------------------------------------------------------


@pytest.mark.parametrize("table", TABLES)
def test_tables_have_their_columns(day, table):
    frame = getattr(day, table)
    assert set(TABLES[table].split()) <= set(frame.columns)
    if "time" in frame:
        start = pd.Timestamp("2016-06-04", tz="UTC")
        assert (frame.time == start + pd.to_timedelta(frame.step, unit="h")).all()


def test_tables_have_their_rows(day):
    n_buses, n_lines, n_peers = 9 + 7, 8 + 6, 8 + 6
    assert len(day.buses) == n_buses
    assert len(day.lines) == n_lines
    assert len(day.peers) == n_peers
    assert len(day.clearing) == 24 * 2
    assert len(day.dispatch) == 24 * n_peers
    assert len(day.bus_voltage) == 24 * (n_buses - 2)
    assert len(day.line_loading) == 24 * n_lines
    assert len(day.costs) == 24 * 2 * len(COMPONENTS)
    assert set(day.bids.peer_id) == set(day.peers.peer_id)
    for table in ("dispatch", "clearing", "bus_voltage", "settlement", "costs"):
        frame = getattr(day, table)
        assert sorted(frame.step.unique()) == list(range(24))
        # Without a relaxed grid model there are no gaps of its relaxation.
        gaps = frame.filter(like="relaxation_gap")
        assert gaps.isna().to_numpy().all()
        numbers = frame.drop(columns=["time", *gaps]).select_dtypes("number")
        assert not numbers.isna().to_numpy().any()


def test_summary_and_manifest(day):
    assert set(SUMMARY.split()) <= day.summary.keys()
    assert set(day.summary["delivered_violation"]) == {"all", "binding"}
    for scope in day.summary["delivered_violation"].values():
        assert set(scope) == {"together", "west", "east"}
        for tally in scope.values():
            assert set(tally) == {
                *("events", "steps", "rate"),
                *("ci_low", "ci_high", "ci_days_low", "ci_days_high"),
            }
    assert {"solver", "ac", "other"} <= day.summary["seconds"].keys()
    manifest = json.loads((day.folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["status"] == "finished"
    assert manifest["seed"] == 3
    assert {"command", "versions", "git_commit", "data_sha256"} <= manifest.keys()


def test_grid_limits_are_felt(day):
    """Otherwise the tests below would say little."""
    assert day.clearing.binding.sum() >= 3
    assert len(day.trades) > 50
    assert day.trades.crosses_networks.any()
    assert (day.dispatch.recourse_kw.abs() > 0.1).any()
    assert (day.dispatch.curtailed_kw > 0.1).any()
    assert (day.dispatch.load_deferred_kw.abs() > 0.1).any()


# --- runs repeat ------------------------------------------------------------------------------


def test_same_seed_same_bytes(day, execute):
    again = execute()
    for table in TABLES:
        if table == "clearing":
            one, other = (r.clearing.drop(columns=WALL_CLOCK) for r in (day, again))
            pd.testing.assert_frame_equal(one, other, check_exact=True)
        else:
            name = f"{table}.parquet"
            assert (day.folder / name).read_bytes() == (again.folder / name).read_bytes(), table
    assert {k: v for k, v in day.summary.items() if k != "seconds"} == {
        k: v for k, v in again.summary.items() if k != "seconds"
    }


def test_the_resolved_scenario_gives_the_same_run(day, tmp_path):
    config = load(str(day.folder / "config.yaml"))
    assert config == day.config
    folder = run(config, tmp_path / "again")
    name = "settlement.parquet"
    assert (folder / name).read_bytes() == (day.folder / name).read_bytes()


def test_another_seed_is_another_world_on_the_same_profiles(scenario):
    one, other = build_world(scenario()), build_world(scenario("seed=4"))
    assert one.peers != other.peers
    assert (one.tariff.retail != other.tariff.retail).any()
    common = sorted(set(one.profiles.columns) & set(other.profiles.columns))
    assert len(common) > 2
    np.testing.assert_array_equal(
        one.profiles.select(common).values, other.profiles.select(common).values
    )


# --- the physics add up -----------------------------------------------------------------------


def test_power_balances_in_every_network_and_step(day):
    injected = per_step(day.dispatch, "network").p_kw.sum()
    substation = day.substation.set_index(["step", "network"])
    np.testing.assert_allclose(injected + substation.p_kw - substation.losses_kw, 0, atol=1e-6)
    scheduled = per_step(day.dispatch, "network").p_scheduled_kw.sum()
    rest = scheduled + substation.p_scheduled_kw - substation.losses_scheduled_kw
    np.testing.assert_allclose(rest, 0, atol=1e-6)


def test_every_peer_balances(day):
    d = day.dispatch
    used = d.renewable_available_kw - d.curtailed_kw
    p_kw = used + d.dg_kw + d.discharge_kw - d.charge_kw - d.load_kw
    np.testing.assert_allclose(d.p_kw, p_kw, atol=1e-9)


def test_stored_energy_carries_over(day):
    owners = day.peers.query("battery_kwh > 0").set_index("peer_id").battery_kwh
    soc = day.dispatch.pivot_table(index="step", columns="peer_id", values="soc_kwh")
    for peer, capacity in owners.items():
        rows = day.dispatch.query("peer_id == @peer").sort_values("step")
        before = np.append(capacity / 2, soc[peer].to_numpy()[:-1])
        change = EFFICIENCY * rows.charge_kw - rows.discharge_kw / EFFICIENCY
        np.testing.assert_allclose(rows.soc_kwh, before + change, atol=1e-9)
    assert not day.dispatch[~day.dispatch.peer_id.isin(owners.index)].soc_kwh.any()


def test_devices_stay_within_their_ratings(day):
    d = day.dispatch.merge(day.peers, on="peer_id", suffixes=("", "_rated"))
    for low, value, high in (
        (0, d.renewable_available_kw, d.pv_kw + d.wind_kw),
        (0, d.curtailed_kw, d.renewable_available_kw),
        (0, d.dg_kw, d.dispatchable_kw),
        (0, d.charge_kw, d.battery_kw),
        (0, d.discharge_kw, d.battery_kw),
        (0, d.soc_kwh, d.battery_kwh),
        (0, d.load_curtailed_kw, d.flexible_kw),
        (0, d.load_kw, np.inf),
        (0, d.recourse_share, 1 + 1e-9),
    ):
        assert (value >= low - 1e-9).all()
        assert (value <= high + 1e-9).all()
    waiting = d.groupby("peer_id").load_deferred_kw.cumsum()
    assert (waiting >= -1e-9).all()
    assert (waiting <= 3 * d.flexible_kw + 1e-9).all()
    share = per_step(d, "network").recourse_share.sum()
    assert (share <= 1 + 1e-6).all()


def test_reactive_power_stays_within_the_capability(day):
    d = day.dispatch.merge(day.peers, on="peer_id")
    world = build_world(day.config)
    nominal = {p.peer_id: p for group in world.peers for p in group}
    columns = [f"load_q:{nominal[peer].load_profile}" for peer in d.peer_id]
    rows = world.first_row + d.step.to_numpy()
    profile = world.profiles.values[rows, [world.profiles.position(c) for c in columns]]
    load_kvar = profile * d.peer_id.map(lambda peer: nominal[peer].load_kvar)
    assert ((d.q_kvar + load_kvar).abs() <= d.reactive_kvar + 1e-6).all()


def test_awards_are_followed_but_for_errors_and_recourse(day):
    """What happens is what was scheduled, the forecast errors, and the recourse asked for."""
    d = day.dispatch
    shortfall = d.recourse_kw - d.recourse_asked_kw
    omega = -per_step(d, "network").recourse_asked_kw.sum()
    share = per_step(d, "network").recourse_share.sum()
    deviation = per_step(d, "network").apply(
        lambda g: (g.p_kw - g.p_scheduled_kw - g.recourse_kw).sum(), include_groups=False
    )
    assert (shortfall.abs() < 1e-6).mean() > 0.9
    # The network's error before recourse is passed on in proportion to the shares; flexible loads
    # at their limits add to it, which nobody is asked to make up for.
    assert np.isclose(omega, share * deviation, atol=1e-6).mean() > 0.7


def test_voltages_are_those_of_another_power_flow(day):
    for network in ("west", "east"):
        for step in (0, 8, 10, 19):
            for p, q, column in (
                ("p_scheduled_kw", "q_scheduled_kvar", "vm_scheduled_pu"),
                ("p_kw", "q_kvar", "vm_pu"),
            ):
                vm_pu, losses_kw = sweep(day, network, *injections(day, network, step, p, q))
                rows = day.bus_voltage.query("network == @network and step == @step")
                np.testing.assert_allclose(rows[column], vm_pu[rows.bus], rtol=0, atol=1e-6)
                logged = "losses_kw" if column == "vm_pu" else "losses_scheduled_kw"
                row = day.substation.query("network == @network and step == @step")
                assert row[logged].item() == pytest.approx(losses_kw, abs=1e-4)


def test_the_linear_model_is_close_to_what_happened(day):
    """Where all recourse was delivered, the prediction differs by the linearisation alone."""
    v = day.bus_voltage
    assert (v.vm_predicted_pu - v.vm_pu).abs().quantile(0.95) < 1e-3
    assert (v.vm_predicted_pu - v.vm_pu).abs().max() > 0


def test_certified_schedules_keep_the_limits(day):
    limits = day.buses.set_index(["network", "bus"])
    rows = day.bus_voltage.set_index(["network", "bus"])
    assert (rows.vm_scheduled_pu <= limits.v_max_pu.reindex(rows.index) + 1e-6).all()
    assert (rows.vm_scheduled_pu >= limits.v_min_pu.reindex(rows.index) - 1e-6).all()


# --- violations -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reckless(execute):
    """Without safety margins limits are violated."""
    return execute("market.method=deterministic")


def test_violations_are_those_of_the_tables(reckless):
    v, limits = reckless.bus_voltage, reckless.buses.set_index(["network", "bus"])
    at = pd.MultiIndex.from_frame(v[["network", "bus"]])
    over = v.vm_pu.to_numpy() > limits.v_max_pu.reindex(at).to_numpy() + 1e-6
    under = v.vm_pu.to_numpy() < limits.v_min_pu.reindex(at).to_numpy() - 1e-6
    current = (reckless.line_loading.loading_percent > 100.0001).sum()
    found = reckless.violations
    assert (found.kind == "over_voltage").sum() == over.sum() > 0
    assert (found.kind == "under_voltage").sum() == under.sum()
    assert (found.kind == "over_current").sum() == current
    logged = found[found.kind == "over_voltage"]
    keys = [logged.step, logged.network, logged.element.astype(int)]
    expected = v[over].set_index(["step", "network", "bus"]).vm_pu
    np.testing.assert_array_equal(logged.value, expected.loc[list(zip(*keys, strict=True))])
    np.testing.assert_allclose(logged.excess, logged.value - logged.limit)
    assert set(found.cause) <= {"tail", "recourse", "linearisation"}
    assert "tail" in set(found.cause)


def test_violations_are_counted_by_network_and_step(reckless):
    found = reckless.violations
    delivered = reckless.summary["delivered_violation"]["all"]
    events = found.groupby("network").step.nunique()
    for network in ("west", "east"):
        assert delivered[network]["events"] == events.get(network, 0)
        assert delivered[network]["steps"] == 24
    together = delivered["together"]
    assert together["events"] == events.sum() > 0
    assert together["rate"] == pytest.approx(together["events"] / 48)
    assert together["ci_low"] < together["rate"] < together["ci_high"]
    binding = reckless.clearing.groupby("network").binding.sum()
    for network in ("west", "east"):
        steps = reckless.summary["delivered_violation"]["binding"][network]["steps"]
        assert steps == binding[network]
    causes = found.cause.value_counts().to_dict()
    assert reckless.summary["violations_by_cause"] == causes


def test_margins_keep_limits(day, reckless):
    assert len(day.violations) < len(reckless.violations)


# --- the money adds up ------------------------------------------------------------------------


def test_every_step_settles_to_zero(day):
    np.testing.assert_allclose(per_step(day.settlement).amount_eur.sum(), 0, atol=1e-9)


def test_costs_sum_to_the_summary(day):
    by_component = day.costs.groupby("component").amount_eur.sum()
    assert set(by_component.index) == set(COMPONENTS)
    for component, amount in day.summary["costs_by_component_eur"].items():
        assert by_component[component] == pytest.approx(amount, abs=1e-9)
    assert day.costs.amount_eur.sum() == pytest.approx(
        day.summary["total_operational_cost_eur"], abs=1e-6
    )


def test_the_accounts_reconcile_with_the_costs(day):
    """Each component of the cost is what some account received or paid."""
    cost = day.costs.pivot_table(
        index="step", columns="component", values="amount_eur", aggfunc="sum"
    )

    def received(accounts, *items) -> pd.Series:
        rows = day.settlement[day.settlement.account.str.match(accounts)]
        if items:
            rows = rows[rows.item.isin(items)]
        return rows.groupby("step").amount_eur.sum().reindex(cost.index, fill_value=0.0)

    for component, amount in {
        "upstream_energy": received("supplier$", "energy_bought", "energy_sold"),
        "losses": received("supplier$", "losses"),
        "imbalance": received("supplier$", "imbalance_upstream"),
        "network_fees": received("operator:", "network_fee"),
        "dispatchable_fuel": received("resources$", "fuel"),
        "storage_wear": received("resources$", "wear"),
        "flexible_discomfort": received("resources$", "discomfort"),
        "recourse_capacity": -received("dso$", "recourse_capacity"),
    }.items():
        np.testing.assert_allclose(amount, cost[component], atol=1e-9, err_msg=component)


def test_trades_are_between_the_right_peers(day):
    home = day.peers.set_index("peer_id").network
    t = day.trades
    np.testing.assert_array_equal(t.seller.map(home) != t.buyer.map(home), t.crosses_networks)
    assert (t.seller != t.buyer).all()
    assert (t.energy_kwh > 0).all()
    market = day.config.market
    fee = market.network_fee_within_eur_per_kwh
    fee = fee + market.network_fee_across_eur_per_kwh * t.crosses_networks
    np.testing.assert_allclose(t.network_fee_eur, fee * t.energy_kwh)


def test_trades_stay_within_the_schedules(day):
    """Nobody sells more to peers than it injects, or buys more than it draws."""
    scheduled = day.dispatch.set_index(["step", "peer_id"]).p_scheduled_kw
    for side, sign in (("seller", 1), ("buyer", -1)):
        traded = day.trades.groupby(["step", side]).energy_kwh.sum()
        traded.index.names = ["step", "peer_id"]
        assert (traded <= sign * scheduled.loc[traded.index] + 1e-6).all()


def test_trades_are_paid(day):
    """The ledger's P2P items follow from the trades."""
    t = day.trades.assign(eur=day.trades.energy_kwh * day.trades.price_eur_per_kwh)
    sales, purchases = (t.groupby(["step", side]).eur.sum() for side in ("seller", "buyer"))
    fees = t.groupby(["step", "buyer"]).network_fee_eur.sum()
    settled = day.settlement.set_index(["step", "account"])
    p2p = settled[settled["item"] == "p2p_energy"].amount_eur
    for series in (sales, purchases, fees):
        series.index.names = ["step", "account"]
    expected = sales.sub(purchases, fill_value=0.0)
    np.testing.assert_allclose(p2p, expected.reindex(p2p.index), atol=1e-9)
    paid = settled[(settled["item"] == "network_fee") & (settled.amount_eur < 0)].amount_eur
    np.testing.assert_allclose(paid, -fees.reindex(paid.index), atol=1e-9)
    assert len(p2p) == len(expected)


def test_exchange_is_what_crosses(day):
    home = day.peers.set_index("peer_id").network
    crossing = day.trades[day.trades.crosses_networks]
    sent = crossing.groupby(["step", crossing.seller.map(home)]).energy_kwh.sum()
    received = crossing.groupby(["step", crossing.buyer.map(home)]).energy_kwh.sum()
    sent.index.names = received.index.names = ["step", "network"]
    net = sent.sub(received, fill_value=0.0)
    logged = day.substation.set_index(["step", "network"]).exchange_kw
    np.testing.assert_allclose(logged, net.reindex(logged.index, fill_value=0.0), atol=1e-5)
    np.testing.assert_allclose(logged.groupby("step").sum(), 0, atol=1e-9)
    assert day.summary["energy_traded_across_kwh"] == pytest.approx(crossing.energy_kwh.sum())
    within = day.trades[~day.trades.crosses_networks]
    assert day.summary["energy_traded_within_kwh"] == pytest.approx(within.energy_kwh.sum())


def test_prices_of_trades_lie_between_the_limits(day):
    bids = day.bids[day.bids.offer == "load"].set_index(["step", "peer_id"]).price_eur_per_kwh
    t = day.trades
    buyer = bids.loc[list(zip(t.step, t.buyer, strict=True))].to_numpy()
    assert (t.price_eur_per_kwh + t.network_fee_eur / t.energy_kwh <= buyer + 1e-9).all()
    offers = day.bids[day.bids.offer == "renewable"].set_index(["step", "peer_id"])
    keys = pd.MultiIndex.from_frame(t[["step", "seller"]])
    seller = offers.price_eur_per_kwh.reindex(keys).to_numpy()
    known = ~np.isnan(seller)
    assert known.any()
    assert (t.price_eur_per_kwh.to_numpy()[known] >= seller[known] - 1e-9).all()


# --- other markets ----------------------------------------------------------------------------


def run_steps(config, tmp_path, n_steps):
    """The first steps of a run, without tables on disk."""
    model = prepare(config, tmp_path / "unwritten").model
    for _ in range(n_steps):
        model.step()
    return model


def test_without_coordination_nobody_trades(execute, day):
    alone = execute("market.coordination=none")
    assert alone.trades.empty
    assert list(alone.trades.columns) == list(day.trades.columns)
    assert alone.summary["energy_traded_within_kwh"] == 0
    assert not alone.substation.exchange_kw.any()
    assert not alone.settlement["item"].isin(["p2p_energy", "network_fee"]).any()
    np.testing.assert_allclose(per_step(alone.settlement).amount_eur.sum(), 0, atol=1e-9)
    assert alone.summary["total_operational_cost_eur"] > day.summary["total_operational_cost_eur"]


def test_within_networks_nothing_crosses(scenario, tmp_path):
    model = run_steps(scenario("market.coordination=within_network"), tmp_path, 12)
    assert model.totals.within_kwh > 0
    assert model.totals.across_kwh == 0
    assert not model._cleared.result.schedule.exchange.any()


def test_one_pool_answers_one_error_with_one_share(execute):
    """Plain affine recourse to the error of all networks together."""
    plain = execute(
        "market.recourse_shares=common",
        "market.recourse_pool=all",
        "market.renewable_setpoint=offset",
    )
    np.testing.assert_allclose(per_step(plain.settlement).amount_eur.sum(), 0, atol=1e-9)
    # Every device of either network is asked to answer the same error.
    answering = plain.dispatch[plain.dispatch.recourse_share > 1e-6]
    assert set(answering.network) == {"west", "east"}
    error = (-answering.recourse_asked_kw / answering.recourse_share).groupby(answering.step)
    assert error.size().max() > 1
    assert (error.max() - error.min()).max() < 1e-6
    assert per_step(plain.dispatch).recourse_share.sum().max() <= 1 + 1e-6
    # What both networks deviate is settled upstream at one price.
    eur = plain.costs[plain.costs.component == "imbalance"].set_index(["step", "network"])
    p_kw = per_step(plain.dispatch, "network")[["p_kw", "p_scheduled_kw"]].sum()
    price = (-eur.amount_eur / (p_kw.p_kw - p_kw.p_scheduled_kw)).unstack()
    np.testing.assert_allclose(price.west, price.east, rtol=1e-6)


def test_day_ahead_market(execute):
    """One clearing binds the whole window."""
    ahead = execute("market.cadence_steps=4")
    assert sorted(ahead.bids.step.unique()) == [0, 4, 8, 12, 16, 20]
    assert ahead.summary["clearings"] == 6
    assert len(ahead.clearing) == 48
    assert (ahead.clearing.query("step % 4 != 0").solver_s == 0).all()
    assert (
        ahead.clearing.query("step % 4 == 0").groupby("network").objective_eur.count().eq(6).all()
    )
    np.testing.assert_allclose(per_step(ahead.settlement).amount_eur.sum(), 0, atol=1e-9)
    injected = per_step(ahead.dispatch, "network").p_kw.sum()
    substation = ahead.substation.set_index(["step", "network"])
    np.testing.assert_allclose(injected + substation.p_kw - substation.losses_kw, 0, atol=1e-6)
    for step in (2, 11):
        given = injections(ahead, "west", step, "p_scheduled_kw", "q_scheduled_kvar")
        vm_pu, _ = sweep(ahead, "west", *given)
        rows = ahead.bus_voltage.query("network == 'west' and step == @step")
        np.testing.assert_allclose(rows.vm_scheduled_pu, vm_pu[rows.bus], rtol=0, atol=1e-6)


def test_quarter_hours(execute):
    fine = execute("step_minutes=15", "market.horizon_hours=1", "forecast.sample_days=5")
    assert len(fine.clearing) == 96 * 2
    times = fine.clearing.time.drop_duplicates()
    assert (times.diff().dropna() == pd.Timedelta(minutes=15)).all()
    owners = fine.peers.query("battery_kwh > 0").set_index("peer_id").battery_kwh
    for peer, capacity in owners.items():
        rows = fine.dispatch[fine.dispatch.peer_id == peer].sort_values("step")
        before = np.append(capacity / 2, rows.soc_kwh[:-1])
        change = EFFICIENCY * rows.charge_kw - rows.discharge_kw / EFFICIENCY
        np.testing.assert_allclose(rows.soc_kwh, before + change / 4, atol=1e-9)
    np.testing.assert_allclose(per_step(fine.settlement).amount_eur.sum(), 0, atol=1e-9)
    # A peer that trades all it draws for an hour pays for a quarter of its power each step.
    scheduled = fine.dispatch.set_index(["step", "peer_id"]).p_scheduled_kw
    bought = fine.trades.groupby(["step", "buyer"]).energy_kwh.sum()
    bought.index.names = ["step", "peer_id"]
    assert (bought <= -scheduled.loc[bought.index] / 4 + 1e-6).all()


NO_DEVICES = (
    "renewable_owner_share=0",
    "n_dispatchable=0",
    "flexible_owner_share=0",
)


@pytest.mark.parametrize(
    "population",
    [
        NO_DEVICES,
        (*NO_DEVICES[1:], "battery_owner_share=0"),
        (NO_DEVICES[0], *NO_DEVICES[2:]),
        NO_DEVICES[:2],
        ("flexible_owner_share=1", "flexible_load_share=1", "renewable_owner_share=1"),
        ("wind_fraction=1",),
        ("power_factor=1",),
    ],
    ids=["nothing", "plants", "units", "flexible", "everything", "wind", "no reactive power"],
)
def test_any_mix_of_devices(scenario, tmp_path, population):
    overrides = [f"networks.{name}.population.{p}" for name in ("west", "east") for p in population]
    model = run_steps(scenario(*overrides), tmp_path, 3)
    assert model.now == 3
    assert model.totals.fallbacks == {}
    assert model.totals.rejected_bids == 0


def test_a_network_beyond_its_limits(execute):
    """Loads that no power flow can carry are recorded, not hidden; the run goes on."""
    overloaded = execute("networks.east.load_scale=120", "market.horizon_hours=2")
    failures = overloaded.violations.query("kind == 'power_flow_failure'")
    assert len(failures) > 0
    assert set(failures.network) == {"east"}
    assert set(failures.cause) == {"power_flow"}
    failed = overloaded.bus_voltage[overloaded.bus_voltage.step.isin(failures.step)]
    assert failed.query("network == 'east'").vm_pu.isna().all()
    assert failed.query("network == 'west'").vm_pu.notna().all()
    assert overloaded.costs.amount_eur.notna().all()
    np.testing.assert_allclose(per_step(overloaded.settlement).amount_eur.sum(), 0, atol=1e-7)
    delivered = overloaded.summary["delivered_violation"]["all"]["east"]
    assert delivered["events"] >= failures.step.nunique()
    certificates = overloaded.clearing.set_index(["step", "network"])
    at = [(step, "east") for step in failures.step]
    assert (certificates.certified_violation_probability.loc[at] > 0.05).mean() > 0.9


def test_one_network(scenario, tmp_path):
    both = scenario()
    config = both.model_copy(update={"networks": both.networks[:1]})
    model = run_steps(config, tmp_path, 3)
    assert model.totals.within_kwh > 0
    assert model.totals.across_kwh == 0


# --- bad bids ---------------------------------------------------------------------------------


class Nonsense(Truthful):
    """Now and then the load is no number."""

    def submit(self, truthful, observation):
        load_kw = truthful.load_kw * (np.nan if observation.step in (2, 3, 10) else 1.0)
        return replace(truthful, load_kw=load_kw)


def test_a_bad_bid_is_refused_and_the_run_goes_on(scenario, tmp_path):
    config = scenario()
    prepared = prepare(config, tmp_path / "run")
    culprit = next(p for p in prepared.model.prosumers if p.battery is not None)
    culprit.strategy = Nonsense()
    execute_prepared(prepared)
    bids = pd.read_parquet(tmp_path / "run" / "bids.parquet")
    refused = bids[~bids.accepted]
    assert set(refused.peer_id) == {culprit.peer_id}
    assert sorted(refused.step.unique()) == [2, 3, 10]
    assert set(refused.reason) == {"load_kw is not finite"}
    assert set(bids[bids.accepted].reason) == {""}
    summary = json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))
    assert summary["rejected_bids"] == 3
    assert summary["fallback_clearings"] == 0
    dispatch = pd.read_parquet(tmp_path / "run" / "dispatch.parquet")
    assert np.isfinite(dispatch.select_dtypes("number")).to_numpy().all()
    own = dispatch[(dispatch.peer_id == culprit.peer_id) & dispatch.step.isin([2, 3, 10])]
    assert len(own) == 3
    for column in ("charge_kw", "discharge_kw", "dg_kw", "curtailed_kw", "recourse_share"):
        assert not own[column].any()
    trades = pd.read_parquet(tmp_path / "run" / "trades.parquet")
    at = trades[trades.step.isin([2, 3, 10])]
    assert not (at.seller == culprit.peer_id).any()
    assert not (at.buyer == culprit.peer_id).any()
    settlement = pd.read_parquet(tmp_path / "run" / "settlement.parquet")
    np.testing.assert_allclose(per_step(settlement).amount_eur.sum(), 0, atol=1e-9)
