"""Strategies in whole runs: whose draws are whose, what they are told, and when they begin."""

from dataclasses import replace
from itertools import pairwise
from math import isnan

import numpy as np
import pytest

import market.clearing
from agents.strategies.truthful import Truthful
from simulation.model import CoSimulation
from simulation.setup import build_world
from simulation.streams import stream
from tests.simulation.test_no_look_ahead import Silence, assert_same

FOUR_HOURS = ("step_minutes=240", "days=2")
"""Six steps a day."""
NOBODY = "strategies=[]"


def simulate(config, world, n_steps):
    model = CoSimulation(config, world, Silence())
    for _ in range(n_steps):
        model.step()
    return model


def run_steps(config, n_steps):
    return simulate(config, build_world(config), n_steps)


def with_strategy(world, **strategies):
    """The world with the strategies of some peers changed."""
    peers = tuple(
        tuple(
            peer.model_copy(update={"strategy": strategies.get(peer.peer_id, peer.strategy)})
            for peer in group
        )
        for group in world.peers
    )
    return replace(world, peers=peers)


def spec_of(model, peer_id):
    return next(p for p in model.prosumers if p.peer_id == peer_id)


# --- random streams ---------------------------------------------------------------------------


@pytest.mark.parametrize("changed", ["zero_intelligence", "bandit"])
def test_a_peer_s_strategy_touches_no_other_draw(scenario, changed):
    config = scenario(NOBODY, "out_of_sample.cadence_steps=1")
    world = with_strategy(build_world(config), **{"east-30": "zero_intelligence"})
    before = simulate(config, world, 3)
    after = simulate(config, with_strategy(world, **{"west-40": changed}), 3)
    for (_, one), (_, other) in zip(
        *(m.tables.records[0].cleared.bids for m in (before, after)), strict=True
    ):
        if one.peer_id == "west-40":
            assert (one.buy_limit_eur_per_kwh > other.buy_limit_eur_per_kwh).all()
        else:
            assert_same(one, other, one.peer_id)
    # What comes, and what the checks draw, has nothing to do with bids.
    for one, other in zip(*(m.tables.records for m in (before, after)), strict=True):
        came = [record.realised.column("renewable_available_kw") for record in (one, other)]
        np.testing.assert_array_equal(*came)
        days = [[check.day.tolist() for check in record.checks] for record in (one, other)]
        assert days[0] == days[1] != []
    assert before.rng.bit_generator.state == after.rng.bit_generator.state
    # Later bids depend on the market, but not what is drawn for them.
    states = [spec_of(model, "east-30").strategy.state() for model in (before, after)]
    assert states[0] == states[1]
    assert states[0]["step"] == 2


def test_strategies_leave_the_world_as_it_is(scenario):
    strategic = "strategies=[{use: bandit, share: 0.5}, {use: zero_intelligence}]"
    one, other = (build_world(scenario(entries)) for entries in (NOBODY, strategic))
    for before, after in zip(one.peers, other.peers, strict=True):
        assert {peer.strategy for peer in before} == {"truthful"}
        assert {peer.strategy for peer in after} == {"bandit", "zero_intelligence"}
        for peer, same in zip(before, after, strict=True):
            assert peer.model_copy(update={"strategy": same.strategy}) == same
    assert_same(one.tariff, other.tariff, "tariff")


def test_networks_and_seeds_choose_other_peers(scenario):
    """Who is chosen depends on the seed alone, not on the entries."""
    entry = "strategies=[{use: bandit, share: 0.5}]"

    def chosen(*overrides):
        world = build_world(scenario(entry, *overrides))
        return [[peer.strategy == "bandit" for peer in group] for group in world.peers]

    assert chosen() == chosen("market.risk_level=0.1")
    assert chosen() != chosen("seed=4")
    assert chosen()[0][:6] != chosen()[1]


# --- what strategies are told -----------------------------------------------------------------


class Watcher(Truthful):
    """Truthful, and keeps what it is told."""

    def __init__(self):
        object.__setattr__(self, "seen", [])
        object.__setattr__(self, "lessons", [])

    def submit(self, truthful, observation):
        self.seen.append(observation)
        return truthful

    def learn(self, outcome):
        self.lessons.append(outcome)


@pytest.fixture(scope="module")
def watched(scenario):
    """Six steps of one hour under nodal prices, which all peers watch."""
    config = scenario(NOBODY, "market.pricing=uniform")
    model = CoSimulation(config, build_world(config), Silence())
    for prosumer in model.prosumers:
        prosumer.strategy = Watcher()
    for _ in range(6):
        model.step()
    return model


def lessons(model, name):
    """One quantity of all outcomes, (n_steps, n_peers)."""
    told = [[getattr(o, name) for o in p.strategy.lessons] for p in model.prosumers]
    return np.array(told).T


def test_money_and_energy_that_strategies_are_told_are_those_of_the_accounts(watched):
    totals = watched.market_totals
    net = totals.received(totals.book.items)[totals.book.peers]
    np.testing.assert_allclose(lessons(watched, "payment_eur").sum(axis=0), net, atol=1e-9)
    gain = lessons(watched, "gain_eur")
    np.testing.assert_allclose(gain.sum(axis=0), totals.gain_eur, atol=1e-12)
    assert (gain > -1e-9).all()
    assert gain.sum() > 0.1
    for name in ("bought_kwh", "sold_kwh"):
        np.testing.assert_allclose(
            lessons(watched, name).sum(axis=0), getattr(totals, name), atol=1e-6
        )


def test_every_peer_is_told_of_its_own_forecast_and_what_came(watched):
    archive, first = watched.world.archive, watched.world.first_row
    for step in range(6):
        forecast = archive.forecast(first + step)[:1]
        real = watched.world.profiles.values[first + step : first + step + 1]
        for k, prosumer in enumerate(watched.prosumers):
            came, expected = prosumer.outlook(real), prosumer.outlook(forecast)
            for name in ("load", "renewable"):
                told = [lessons(watched, f"{name}{what}_kw")[step, k] for what in ("", "_forecast")]
                assert told == [getattr(o, f"{name}_kw")[0] for o in (came, expected)]


def test_the_last_price_is_that_of_the_own_pool_in_the_last_step(watched):
    prices = lessons(watched, "pool_price")
    assert np.isfinite(prices).all()
    for k, prosumer in enumerate(watched.prosumers):
        seen = prosumer.strategy.seen
        assert [o.step for o in seen] == list(range(6))
        assert {o.fee for o in seen} == {0.07}
        assert isnan(seen[0].last_price)
        assert [o.last_price for o in seen[1:]] == prices[:5, k].tolist()
        records = watched.tables.records
        pool = [r.cleared.result.prices.pool[0, watched.roster.network_of[k]] for r in records]
        assert prices[:, k].tolist() == pool
        assert {o.renewable_rating_kw for o in seen} == {prosumer.spec.renewable_kw}


def test_without_trade_there_is_no_price(scenario):
    config = scenario(NOBODY, "market.coordination=none")
    model = CoSimulation(config, build_world(config), Silence())
    watcher = model.prosumers[0].strategy = Watcher()
    for _ in range(2):
        model.step()
    assert all(isnan(o.last_price) for o in watcher.seen)
    assert all(isnan(o.pool_price) for o in watcher.lessons)
    assert {o.gain_eur for o in watcher.lessons} == {0.0}


# --- misreports, first days, coalitions -------------------------------------------------------


def test_a_misreport_is_a_deviation(scenario):
    """With perfect foresight nobody else deviates, and the misreporter by what it misreports."""
    entry = "{use: misreporting, share: 0.4, parameters: {load: 1.5, renewable: 0.5}}"
    config = scenario(f"strategies=[{entry}]", "forecast.perfect_foresight=true")
    model = run_steps(config, 3)
    liars = np.array([p.spec.strategy == "misreporting" for p in model.prosumers])
    assert liars.sum() == 5
    for record in model.tables.records:
        assert record.cleared.rejected == {}
        error = record.realised.error_kw
        np.testing.assert_allclose(error[~liars], 0.0, atol=1e-9)
        for k in np.flatnonzero(liars).tolist():
            prosumer, (_, bid) = model.prosumers[k], record.cleared.bids[k]
            award, row = record.cleared.awards[k], model.world.first_row + record.step
            real = prosumer.outlook(model.world.profiles.values[row : row + 1])
            load, plant = float(real.load_kw[0]), float(real.renewable_kw[0])
            assert bid.load_kw[0] == pytest.approx(1.5 * load)
            given = min(plant, float(award.cap_kw[0])) - float(award.renewable_kw[0])
            assert error[k] == pytest.approx(0.5 * load + given)
            metered = record.realised.readings[k]
            assert metered.load_kw + metered.curtailed_load_kw + metered.deferred_load_kw == (
                pytest.approx(load + float(real.flexible_kw[0]))
            )


def test_overstated_plants_end_at_their_rating(scenario):
    entry = "{use: misreporting, parameters: {renewable: 1000.0}}"
    model = run_steps(scenario(f"strategies=[{entry}]"), 2)
    assert model.totals.rejected_bids == 0
    offered = {sender: b.renewable for sender, b in model.tables.records[1].cleared.bids}
    blown = [p.spec for p in model.prosumers if p.spec.wind_kw]
    assert blown
    for spec in blown:
        assert offered[spec.peer_id].available_kw.max() == spec.renewable_kw


def test_strategies_begin_on_their_day(scenario):
    late = "{use: markup, network: west, from_day: 2, parameters: {markup: 0.2}}"
    learning = "{use: risk_averse, from_day: 2}"
    model = run_steps(scenario(*FOUR_HOURS, f"strategies=[{late}, {learning}]"), 12)
    tariff = model.world.tariff
    for step, record in enumerate(model.tables.records):
        for _, bid in record.cleared.bids:
            marked_up = bid.network == "west" and step >= 6
            factor = bid.buy_limit_eur_per_kwh[0] / tariff.retail[step]
            assert factor == pytest.approx(1 / 1.2 if marked_up else 1.0), (step, bid.peer_id)
    for prosumer in model.prosumers:
        if prosumer.network == "east":
            assert len(prosumer.strategy.state()["past"]) == 6


def test_coalitions_choose_and_learn_as_one(scenario):
    entry = "{use: bandit, network: west, coalition: true}"
    model = run_steps(scenario(*FOUR_HOURS, f"strategies=[{entry}]"), 8)
    west = [p for p in model.prosumers if p.network == "west"]
    assert len({id(p.strategy) for p in west}) == 1
    state = model.players["strategies.0"].state()
    assert sum(state["trials"]) == 7  # the eighth choice is rewarded at the ninth
    factors = set()
    for record in model.tables.records:
        own = [b for _, b in record.cleared.bids if b.network == "west"]
        (factor,) = {round(float(b.buy_limit_eur_per_kwh[0]), 12) for b in own}
        factors.add(factor / model.world.tariff.retail[record.step])
    assert len(factors) > 1


def test_players_have_streams_of_their_own_names(scenario):
    model = run_steps(scenario("strategies=[{use: zero_intelligence}]"), 1)
    expected = stream(model.config.seed, "strategy", "east-30").random(9)
    assert model.players["east-30"].state()["draw"] == expected.tolist()


def test_learning_peers_need_no_new_problem_when_their_ways_part(scenario, monkeypatch):
    built = []
    first_stage = market.clearing.FirstStage
    monkeypatch.setattr(
        market.clearing, "FirstStage", lambda *a: built.append(a) or first_stage(*a)
    )
    model = run_steps(scenario("strategies=[{use: bandit}]"), 4)
    limits = [
        np.array([b.buy_limit_eur_per_kwh[0] for _, b in record.cleared.bids])
        for record in model.tables.records
    ]
    shared = [limit[:, None] == limit for limit in limits]
    assert any((one & ~other).any() for one, other in pairwise(shared))
    assert len(built) == 1
