"""Who uses which strategy: shares that nest, kinds of peers, tables that come first."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.assignment import AMONG, assign_strategies, check_coalitions
from agents.population import PeerSpec, PopulationError
from configs.schema import StrategyUse

N = 20
KINDS = (
    {},
    {"flexible_kw": 3.0},
    {"pv_kw": 5.0},
    {"wind_kw": 5.0, "battery_kw": 2.0, "battery_kwh": 4.0},
    {"dispatchable_kw": 9.0},
)


def peers(network, **changes) -> list[PeerSpec]:
    return [
        PeerSpec(peer_id=f"{network}-{k}", bus=2, **KINDS[k % len(KINDS)], **changes)
        for k in range(N)
    ]


def assign(*uses, seed=0, **tables) -> dict[str, PeerSpec]:
    groups = {"west": peers("west"), "east": peers("east")} | tables
    streams = {name: np.random.default_rng([seed, k]) for k, name in enumerate(groups)}
    entries = [StrategyUse(**{"use": "zero_intelligence", **use}) for use in uses]
    assigned = assign_strategies(groups, entries, streams)
    assert {name: [p.peer_id for p in group] for name, group in assigned.items()} == {
        name: [p.peer_id for p in group] for name, group in groups.items()
    }
    return {peer.peer_id: peer for group in assigned.values() for peer in group}


def users(assigned, strategy="zero_intelligence") -> set[str]:
    return {name for name, peer in assigned.items() if peer.strategy == strategy}


def test_without_entries_everybody_is_truthful():
    assert users(assign(), "truthful") == users(assign({}))
    assert len(users(assign({}))) == 2 * N


@given(low=st.floats(0, 1), high=st.floats(0, 1), seed=st.integers(0, 5))
def test_sets_nest_in_the_share(low, high, seed):
    low, high = sorted((low, high))
    few, many = (users(assign({"share": share}, seed=seed)) for share in (low, high))
    assert few <= many
    assert len(few) == 2 * round(low * N)


def test_who_is_chosen_is_random():
    chosen = [users(assign({"share": 0.5}, seed=seed)) for seed in range(5)]
    assert len(set(map(frozenset, chosen))) == 5
    assert len({name for name in chosen[0] if name.startswith("west")}) == N / 2
    places = [{name.partition("-")[2] for name in chosen[0] if name.startswith(n)} for n in "we"]
    assert places[0] != places[1]


@pytest.mark.parametrize("kind", AMONG)
def test_kinds_of_peers(kind):
    wanted = {
        "everyone": {0, 1, 2, 3, 4},
        "consumers": {0, 1},
        "prosumers": {2, 3, 4},
        "storage": {3},
        "dispatchable": {4},
    }[kind]
    chosen = users(assign({"among": kind}))
    assert {int(name.partition("-")[2]) % 5 for name in chosen} == wanted
    assert len(chosen) == 2 * N * len(wanted) / 5
    half = users(assign({"among": kind, "share": 0.5}))
    assert half < chosen
    assert len(half) == len(chosen) / 2


def test_one_network():
    chosen = users(assign({"network": "east"}))
    assert chosen == {f"east-{k}" for k in range(N)}


def test_a_peer_has_the_first_entry_that_chooses_it():
    alone = assign({"share": 0.25})
    both = assign({"share": 0.25}, {"use": "risk_averse", "share": 0.25})
    assert users(both) == users(alone)
    assert len(users(both, "risk_averse")) == 2 * N / 4
    rest = assign({"share": 0.25}, {"use": "risk_averse"})
    assert users(rest) == users(alone)
    assert len(users(rest, "risk_averse")) == 2 * N * 3 / 4
    spared = assign({"use": "truthful", "among": "consumers"}, {})
    assert users(spared) == users(assign({"among": "prosumers"}))


def test_tables_come_first():
    """Also where they say that a peer is truthful; other peers may be chosen."""
    named = peers("west", strategy="truthful")[:5] + peers("west")[5:]
    chosen = users(assign({"network": "west"}, west=named))
    assert chosen == {f"west-{k}" for k in range(5, N)}


def test_what_is_given():
    options = {"use": "markup", "parameters": {"markup": 0.2}, "from_day": 10}
    peer = assign({}, options | {"network": "east"}, west=peers("west"), east=peers("east"))
    assert users(peer, "markup") == set()
    given = assign(options | {"coalition": True}, {})["west-7"]
    assert (given.strategy, given.strategy_parameters) == ("markup", {"markup": 0.2})
    assert (given.strategy_from_day, given.coalition, given.player) == (10, *2 * ("strategies.0",))
    alone = assign(options)["west-7"]
    assert (alone.coalition, alone.player) == (None, "west-7")
    assert alone.model_copy(update={"strategy": "truthful"}).bus == peers("west")[7].bus


@pytest.mark.parametrize(
    ("uses", "message"),
    [
        ([{}, {"use": "nobody"}], "strategies.1.use: unknown strategy 'nobody'; known are"),
        ([{"use": "markup", "parameters": {"markup": -1}}], "strategies.0.parameters.markup: "),
        ([{"parameters": {"pace": 1}}], "strategies.0.parameters.pace: .*takes none"),
        ([{"use": "markup"}], "strategies.0.use: .*missing a required argument: 'markup'"),
        ([{"use": "elsewhere:Mine"}], "strategies.0.use: .*has not been allowed"),
    ],
)
def test_strategies_that_cannot_be_made(uses, message):
    with pytest.raises(PopulationError, match=message):
        assign(*uses)


def test_entries_that_fit_nobody():
    consumers = [peer for peer in peers("west") if not peer.owns_generation_or_storage]
    message = "strategies.0.among: no peer of network west is among 'storage'; choose from"
    with pytest.raises(PopulationError, match=message):
        assign({"among": "storage", "network": "west"}, west=consumers)
    assert len(users(assign({"among": "storage"}, west=consumers))) == N / 5
    with pytest.raises(PopulationError, match="no peer of any network is among 'storage'"):
        assign({"among": "storage"}, west=consumers, east=consumers)
    assert users(assign({"among": "storage", "share": 0.0})) == set()


def member(peer_id, **settings) -> PeerSpec:
    club = {"strategy": "bandit", "strategy_parameters": {"n_actions": 3}, "coalition": "club"}
    return PeerSpec(peer_id=peer_id, bus=2, **(club | settings))


def test_coalitions_have_one_strategy():
    other = member("c", coalition="other", strategy_from_day=2)
    alone = member("d", coalition=None, strategy_parameters={})
    check_coalitions([member("a"), member("b"), other, alone])


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"strategy": "roth_erev"}, "strategy 'roth_erev' differs from 'bandit' of peer a"),
        ({"strategy_parameters": {"n_actions": 4}}, "strategy_parameters .*4.* differs from .*3"),
        ({"strategy_from_day": 2}, "strategy_from_day 2 differs from 1 of peer a"),
        ({"coalition": "a"}, "coalition a: a peer has this name"),
    ],
)
def test_coalitions_that_disagree(second, message):
    with pytest.raises(
        PopulationError, match=f"peer b, coalition .*: ?{message}|peer b, {message}"
    ):
        check_coalitions([member("a"), member("b", **second)])
