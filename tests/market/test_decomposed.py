"""The first stage solved network by network, against the one of all networks at once."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from configs.schema import Market
from market import posed_stage
from market.clearing import MarketClearing
from market.decomposed import DecomposedStage
from market.errors import SolverFailedError
from market.first_stage import FirstStage
from tests.market import builders as b

FEE_ACROSS = 0.01


TARIFF = b.make_tariff(4, retail=[0.25, 0.27, 0.3, 0.26], feed_in=[0.1, 0.09, 0.11, 0.105])
"""Four steps of which no two are worth the same."""


def market(**changes) -> Market:
    return b.settings(solver="decomposed", **changes)


def pose(stage, roster, book, tariff):
    stage.assign(book, tariff, b.no_uncertainty(roster, stage.policy), b.no_losses(roster))
    return stage


def make(kind, peers, tariff, settings, groups=None):
    """Either kind of stage with its data assigned."""
    roster = b.make_roster(peers, len(tariff.retail))
    groups = np.array(roster.network_of) if groups is None else groups
    stage = kind(roster, groups, settings, np.zeros(len(roster.reactive)))
    return pose(stage, roster, b.make_book(peers, tariff, roster), tariff)


def exchange(decisions):
    return decisions.values["exchange_out"] - decisions.values["exchange_in"]


def assert_same(decomposed, central, prices=1e-4):
    scale = max(np.abs(exchange(central)).max(), 1.0)
    assert decomposed.objective == pytest.approx(central.objective, rel=1e-4)
    np.testing.assert_allclose(exchange(decomposed), exchange(central), atol=1e-3 * scale)
    pool, expected = (found.duals["pool_balance"] for found in (decomposed, central))
    np.testing.assert_allclose(pool, expected, atol=prices)
    for ours, theirs in ((decomposed.duals, central.duals), (decomposed.values, central.values)):
        assert {n: v.shape for n, v in ours.items()} == {n: v.shape for n, v in theirs.items()}


SELLER_AND_BUYER = {
    "seller": b.Peer(unit=b.unit(p_max=10.0, cost=0.12)),
    "buyer": b.Peer(load=4.0, network="B"),
}


def test_networks_meet_at_the_cost_of_the_marginal_unit():
    """The unit could serve more: what it asks for is the price, and the fees come on top."""
    stage = make(DecomposedStage, SELLER_AND_BUYER, b.make_tariff(), market())
    decisions = stage.solve([])
    np.testing.assert_allclose(exchange(decisions), [[4.0, -4.0]], atol=1e-3 * 4.0)
    assert -decisions.duals["exchange_balance"] == pytest.approx([0.12], abs=1e-4)
    assert -decisions.duals["pool_balance"][0] == pytest.approx([0.12, 0.12 + FEE_ACROSS], abs=1e-4)
    assert decisions.objective == pytest.approx(4 * (0.12 + b.FEE + FEE_ACROSS), abs=1e-4)
    assert decisions.coordination.agreed


def test_networks_meet_at_the_worth_to_the_buyer_where_supply_is_short():
    peers = SELLER_AND_BUYER | {"seller": b.Peer(unit=b.unit(p_max=3.0, cost=0.12))}
    decisions = make(DecomposedStage, peers, b.make_tariff(), market()).solve([])
    np.testing.assert_allclose(exchange(decisions), [[3.0, -3.0]], atol=1e-3)
    worth = b.RETAIL - b.FEE - FEE_ACROSS
    assert -decisions.duals["exchange_balance"] == pytest.approx([worth], abs=1e-4)


def three_networks(seed, n_steps=4):
    """Networks with a surplus, a shortage and a battery; no two sellers ask the same."""
    rng = np.random.default_rng(seed)
    load = rng.uniform(1.0, 5.0, (6, n_steps))
    owned = b.battery(wear_eur_per_kwh=0.002, end_value_eur_per_kwh=0.12, charge_efficiency=0.95)
    return {
        "a1": b.Peer(
            load=load[0],
            pv=rng.uniform(0.0, 12.0, n_steps),
            kvar=1.0,
            sell=[0.112, 0.103, 0.118, 0.109],
        ),
        "a2": b.Peer(load=load[1], unit=b.unit(p_max=4.0, cost=0.13, quadratic=0.004)),
        "b1": b.Peer(load=load[2], network="B", battery=owned),
        "b2": b.Peer(load=load[3], network="B", unit=b.unit(5.0, 0.11, 0.006)),
        "c1": b.Peer(
            load=load[4],
            network="C",
            pv=rng.uniform(0.0, 3.0, n_steps),
            sell=[0.115, 0.107, 0.121, 0.111],
        ),
        "c2": b.Peer(load=load[5], network="C", unit=b.unit(6.0, 0.14, 0.003)),
    }


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(
    "changes", [{}, {"exchange_limit_kw": {"B": 1.0}}, {"network_fee_across_eur_per_kwh": 0.0}]
)
def test_the_same_optimum_as_all_networks_at_once(seed, changes):
    peers, tariff = three_networks(seed), TARIFF
    groups = np.arange(len(peers))
    central = make(FirstStage, peers, tariff, b.settings(**changes), groups).solve([])
    settings = market(exchange_tolerance=1e-5, **changes)
    stage = make(DecomposedStage, peers, tariff, settings, groups)
    decomposed = stage.solve([])
    assert_same(decomposed, central, prices=1e-3)
    assert decomposed.coordination.gap <= 1e-5
    np.testing.assert_allclose(exchange(decomposed).sum(axis=1), 0, atol=1e-3)


@pytest.mark.parametrize("coordination", ["none", "within_network"])
def test_networks_that_do_not_exchange_are_asked_once(coordination):
    peers, groups = three_networks(1), np.arange(6)
    settings = b.settings(coordination=coordination)
    central = make(FirstStage, peers, TARIFF, settings, groups).solve([])
    settings = market(coordination=coordination)
    decomposed = make(DecomposedStage, peers, TARIFF, settings, groups).solve([])
    assert (decomposed.coordination.n_iterations, decomposed.coordination.gap) == (0, 0.0)
    assert decomposed.objective == pytest.approx(central.objective, rel=1e-6)
    for name in ("exports", "bought", "sold", "dispatchable"):
        np.testing.assert_allclose(decomposed.values[name], central.values[name], atol=1e-3)
    np.testing.assert_allclose(exchange(decomposed), 0, atol=1e-6)
    assert "exchange_balance" not in decomposed.duals


def test_where_no_exchange_pays_the_first_price_will_do():
    changes = {"network_fee_across_eur_per_kwh": 0.2}
    central = make(FirstStage, SELLER_AND_BUYER, b.make_tariff(), b.settings(**changes)).solve([])
    decomposed = make(DecomposedStage, SELLER_AND_BUYER, b.make_tariff(), market(**changes)).solve(
        []
    )
    assert decomposed.coordination.n_iterations == 1
    np.testing.assert_allclose(exchange(decomposed), 0, atol=1e-3)
    assert decomposed.objective == pytest.approx(central.objective, rel=1e-6)


def test_price_groups_and_grid_rows_of_each_network():
    """Two peers with limits of their own, and a voltage that cuts the export of A to 2 kW."""
    peers = SELLER_AND_BUYER | {
        "dear": b.Peer(load=3.0, network="B", buy=0.2),
        "stubborn": b.Peer(pv=7.0, sell=0.15),
    }
    tariff, groups = b.make_tariff(), np.array([3, 1, 0, 2])
    found = []
    for kind, settings in ((FirstStage, b.settings()), (DecomposedStage, market())):
        stage = make(kind, peers, tariff, settings, groups)
        book = b.make_book(peers, tariff, stage.roster)
        rows = [
            b.voltage_row(stage.roster, book, [0.0, 0.0], network=1),
            b.voltage_row(stage.roster, book, [0.01, 0.01]),
        ]
        found.append(stage.solve(rows))
    central, decomposed = found
    assert_same(decomposed, central, prices=1e-3)
    assert central.mu[1] > 1.0
    np.testing.assert_allclose(decomposed.mu, central.mu, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(decomposed.values["sold"], central.values["sold"], atol=1e-2)


def test_stopping_early_is_said_with_the_gap_and_leaves_a_balanced_schedule(caplog):
    peers, tariff = three_networks(1), TARIFF
    best = make(FirstStage, peers, tariff, b.settings()).solve([])
    stopped = make(DecomposedStage, peers, tariff, market(max_exchange_iterations=3)).solve([])
    how = stopped.coordination
    assert (how.n_iterations, how.agreed) == (3, False)
    assert "had not agreed after 3 iterations" in caplog.text
    np.testing.assert_allclose(exchange(stopped).sum(axis=1), 0, atol=1e-2)
    all_load = b.RETAIL * sum(np.sum(peer.load) for peer in peers.values())
    excess = (stopped.objective - best.objective) / all_load
    assert 0 < excess <= how.gap + 1e-4


def test_a_gap_that_is_too_large_asks_for_more():
    peers, tariff = three_networks(2), TARIFF
    coarse = {"exchange_tolerance": 0.1, "exchange_gap": 0.1}
    loose = make(DecomposedStage, peers, tariff, market(**coarse)).solve([]).coordination
    strict = {"exchange_tolerance": 0.1, "exchange_gap": 1e-6}
    tight = make(DecomposedStage, peers, tariff, market(**strict)).solve([]).coordination
    assert tight.n_iterations > loose.n_iterations
    assert tight.gap <= 1e-6 < loose.gap


def test_the_next_pass_starts_where_the_last_one_ended():
    peers, tariff = three_networks(1), TARIFF
    stage = make(DecomposedStage, peers, tariff, market())
    first, again = stage.solve([]).coordination, stage.solve([]).coordination
    assert again.n_iterations < first.n_iterations / 3


def test_the_next_window_starts_one_step_later():
    peers, tariff = three_networks(1), TARIFF
    stage = make(DecomposedStage, peers, tariff, market())
    stage.solve([])
    price = stage.state.price
    book = b.make_book(peers, tariff, stage.roster)
    pose(stage, stage.roster, book, tariff)
    np.testing.assert_array_equal(stage.state.price[:3], price[1:])
    kept = stage.state
    pose(stage, stage.roster, book, tariff)  # the same window without risk
    assert stage.state is kept


def test_a_failing_solver_of_one_network_fails_the_clearing(monkeypatch):
    stage = make(DecomposedStage, SELLER_AND_BUYER, b.make_tariff(), market())
    asked = []

    def fails_at_last(problem):
        asked.append(problem)
        if len(asked) == 4:
            raise SolverFailedError("tight: made to fail")
        return solve(problem)

    solve = posed_stage.solve
    monkeypatch.setattr(posed_stage, "solve", fails_at_last)
    with pytest.raises(SolverFailedError, match="made to fail"):
        stage.solve([])


def test_a_network_without_a_solution_of_its_own_ends_the_coordination(monkeypatch):
    stage = make(DecomposedStage, SELLER_AND_BUYER, b.make_tariff(), market())
    solve = posed_stage.solve
    monkeypatch.setattr(
        posed_stage, "solve", lambda problem: replace(solve(problem), fallback="softened")
    )
    decisions = stage.solve([])
    assert decisions.fallback == "softened"
    assert decisions.coordination.n_iterations == 1


@pytest.fixture(scope="module")
def on_two_workers():
    stage = make(DecomposedStage, three_networks(1), TARIFF, market(solver_workers=2))
    yield stage, stage.solve([])
    stage.close()


def test_two_workers_give_the_same_to_the_last_bit(on_two_workers):
    _, theirs = on_two_workers
    ours = make(DecomposedStage, three_networks(1), TARIFF, market()).solve([])
    assert theirs.objective == ours.objective
    for name, values in (ours.values | ours.duals).items():
        np.testing.assert_array_equal((theirs.values | theirs.duals)[name], values, err_msg=name)


def test_a_lost_worker_is_replaced(on_two_workers, caplog):
    stage, before = on_two_workers
    workers = stage._workers
    os.kill(workers._submit[0](os.getpid).result(), signal.SIGKILL)
    after = stage.solve([])
    assert "a worker was lost" in caplog.text
    assert stage._workers is not workers
    assert after.objective == pytest.approx(before.objective, abs=1e-4)


def test_a_scheduler_that_cannot_be_reached_is_a_named_error(monkeypatch):
    monkeypatch.setattr("market.workers.PATIENCE_S", 0.2)
    settings = market(solver_scheduler="tcp://127.0.0.1:9")
    stage = make(DecomposedStage, SELLER_AND_BUYER, b.make_tariff(), settings)
    with pytest.raises(SolverFailedError, match=r"tcp://127\.0\.0\.1:9"):
        stage.solve([])


@pytest.mark.slow
def test_a_dask_cluster_gives_the_same_to_the_last_bit():
    distributed = pytest.importorskip("distributed")
    peers, tariff = three_networks(1), TARIFF
    ours = make(DecomposedStage, peers, tariff, market()).solve([])
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None
    ) as cluster:
        settings = market(solver_scheduler=cluster.scheduler_address)
        stage = make(DecomposedStage, peers, tariff, settings)
        theirs = stage.solve([])
        stage.close()
    assert theirs.objective == ours.objective
    np.testing.assert_array_equal(exchange(theirs), exchange(ours))


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [({"recourse_pool": "all"}, "recourse_pool network"), ({"grid_model": "socp"}, "lindistflow")],
)
def test_what_couples_networks_otherwise_is_refused(changes, allowed):
    with pytest.raises(ValidationError, match=allowed):
        market(**changes)
    b.settings(**changes)


def clearing(settings):
    """A market of two networks with errors, and its window at a step."""
    peers = {
        "seller": b.Peer(load=1.0, pv=[6.0, 7.0], unit=b.unit(4.0, 0.12, 0.002)),
        "buyer": b.Peer(load=[5.0, 8.0], network="B", unit=b.unit(2.0, 0.14, 0.01)),
    }
    tariff = b.make_tariff(2, retail=[0.25, 0.3], buy=0.35, sell=0.05)
    roster = b.make_roster(peers, 2)
    errors = {"A": {0: [-0.5, 0.0, 0.5]}, "B": {0: [-0.3, 0.1, 0.2]}}
    operators = tuple(b.make_operators(peers, {"A": [[0.006]]}, errors, 2))
    return MarketClearing(roster, settings, operators), b.make_book(peers, tariff, roster), tariff


def test_a_whole_clearing_has_the_same_schedule_and_prices():
    found = []
    settings = {"method": "gaussian", "risk_level": 0.1, "exchange_tolerance": 1e-6}
    for solver in ("central", "decomposed"):
        market_clearing, book, tariff = clearing(b.settings(solver=solver, **settings))
        found.append(market_clearing.clear(0, book, tariff))
    central, decomposed = found
    np.testing.assert_allclose(decomposed.schedule.exchange, central.schedule.exchange, atol=5e-3)
    np.testing.assert_allclose(decomposed.schedule.p_kw, central.schedule.p_kw, atol=5e-3)
    np.testing.assert_allclose(decomposed.prices.dlmp, central.prices.dlmp, atol=1e-3)
    np.testing.assert_allclose(decomposed.prices.risk, central.prices.risk, atol=2e-3)
    assert (central.coordination.n_iterations, central.coordination.gap) == (0, 0.0)
    assert decomposed.coordination.n_iterations > 1


def test_a_restored_clearing_goes_on_as_the_first_one_would_have():
    first, book, tariff = clearing(market())
    first.clear(0, book, tariff)
    second = clearing(market())[0]
    second.restore(first.state())
    expected, got = first.clear(1, replace(book), tariff), second.clear(1, book, tariff)
    assert got.objective == expected.objective
    np.testing.assert_array_equal(got.schedule.p_kw, expected.schedule.p_kw)
    assert got.coordination.n_iterations == expected.coordination.n_iterations
