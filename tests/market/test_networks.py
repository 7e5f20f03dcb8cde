"""A market taken apart into its networks and put together again."""

from dataclasses import fields

import numpy as np
import pytest

from market.book import BidBook
from market.networks import KIND_OF, put_together, take_apart
from market.recourse import RecoursePolicy
from market.variables import Variables
from tests.market import builders as b

PEERS = {
    "a1": b.Peer(load=1.0, pv=3.0, kvar=1.0, battery=b.battery()),
    "b1": b.Peer(load=2.0, network="B", unit=b.unit(p_max=4.0), recourse=None),
    "a2": b.Peer(load=3.0, flexible=b.flexible([1.0, 1.0])),
    "b2": b.Peer(load=4.0, network="B", pv=[1.0, 2.0], battery=b.battery(energy_kwh=2.0)),
}
TARIFF = b.make_tariff(2)
ROSTER = b.make_roster(PEERS, 2)
BOOK = b.make_book(PEERS, TARIFF, ROSTER)
GROUPS = np.array([2, 0, 1, 3])


@pytest.fixture
def parts():
    return take_apart(ROSTER, GROUPS, limited=np.array([1]))


def test_a_part_holds_its_own_peers(parts):
    a, b_ = parts
    assert a.roster.peer_id == ("a1", "a2")
    assert b_.roster.peer_id == ("b1", "b2")
    assert [part.roster.network for part in parts] == [("A",), ("B",)]
    np.testing.assert_array_equal(a.groups, [1, 0])
    np.testing.assert_array_equal(b_.groups, [0, 1])
    np.testing.assert_array_equal(b_.columns["limited"], [0])
    assert not len(a.columns["limited"])


def test_the_book_of_a_part_is_that_of_its_peers_alone(parts):
    for part, network in zip(parts, "AB", strict=True):
        own = {name: peer for name, peer in PEERS.items() if peer.network == network}
        alone = b.make_book(own, TARIFF, b.make_roster(own, 2))
        taken = part.book(BOOK)
        for field in fields(BidBook):
            np.testing.assert_array_equal(
                getattr(taken, field.name), getattr(alone, field.name), err_msg=field.name
            )


def test_whole_arrays_come_back(parts):
    policy = RecoursePolicy(2, np.arange(2))
    variables = Variables.create(ROSTER, 4, policy)
    rng = np.random.default_rng(1)
    whole = {
        field.name: rng.random(getattr(variables, field.name).shape) for field in fields(Variables)
    }
    cut = []
    for part in parts:
        own = {}
        for name, values in whole.items():
            columns = part.columns[KIND_OF[name]]
            n = sum(len(other.columns[KIND_OF[name]]) for other in parts)
            repeats = values.shape[1] // n if n else 0
            own[name] = np.hstack(
                [values[:, k * n + columns] for k in range(repeats)] or [values[:, :0]]
            )
        cut.append(own)
    again = put_together(parts, cut)
    assert again.keys() == whole.keys()
    for name, values in whole.items():
        np.testing.assert_array_equal(again[name], values, err_msg=name)


def test_a_dual_that_some_networks_do_not_have(parts):
    duals = put_together(parts, [{}, {"exchange_out_max": np.array([[0.5], [0.25]])}])
    np.testing.assert_array_equal(duals["exchange_out_max"], [[0.5], [0.25]])


@pytest.mark.parametrize("kind", ["variables", "duals", "bids"])
def test_every_array_has_a_kind(kind):
    market = b.settings(exchange_limit_kw=5.0, recourse_shares="up_down", coordination="none")
    names = {
        "variables": [field.name for field in fields(Variables)],
        "bids": [field.name for field in fields(BidBook)],
        "duals": [
            constraint.label
            for settings in (market, b.settings())
            for constraint in b.make_first_stage(PEERS, TARIFF, market=settings)[
                0
            ].problem.constraints
            if constraint.label != "exchange_balance"  # that of all networks together
        ],
    }[kind]
    assert set(names) <= KIND_OF.keys()
