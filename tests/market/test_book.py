"""Bids stacked into arrays, and the roster they are ordered by."""

from dataclasses import replace

import numpy as np

from market.bids import DispatchableOffer
from market.book import stack
from market.price_blocks import PriceBlocks
from market.roster import indicator
from tests.market.builders import (
    Peer,
    RecourseOffer,
    battery,
    flexible,
    make_book,
    make_roster,
    make_tariff,
    unit,
)

PEERS = {
    "home": Peer(load=[1.0, 2.0], buy=0.2),
    "cell": Peer(battery=battery(energy_kwh=3.0), recourse=RecourseOffer(0.1, -0.05, 0.01)),
    "unit": Peer(unit=unit(7.0, 0.15, 0.002), kvar=4.0, network="B"),
    "sun": Peer(pv=[5.0, 6.0], pv_price=0.01, network="B"),
    "shifter": Peer(flexible=flexible([2.0, 3.0], backlog_kwh=1.0), network="B"),
}
TARIFF = make_tariff(2)
ROSTER = make_roster(PEERS, 2)
OUTSIDER = make_roster({**PEERS, "out": Peer(takes_part=False)}, 2)


def test_devices_are_found_by_kind():
    expected = {
        "renewable": ["sun"],
        "dispatchable": ["unit"],
        "storage": ["cell"],
        "flexible": ["shifter"],
        "reactive": ["unit"],
        "recourse": ["cell", "unit"],
        "active": ["cell", "unit", "sun", "shifter"],
    }
    for kind, owners in expected.items():
        assert [ROSTER.peer_id[k] for k in getattr(ROSTER, kind)] == owners
    assert ROSTER.network == ("A", "B")
    np.testing.assert_array_equal(ROSTER.members(1), [2, 3, 4])


def test_indicators_add_devices_up():
    kw = np.array([[1.0, 2.0]])
    np.testing.assert_allclose(kw @ ROSTER.by_network(ROSTER.recourse), [[1.0, 2.0]])
    np.testing.assert_allclose(kw @ ROSTER.to_active(ROSTER.recourse), [[1.0, 2.0, 0.0, 0.0]])
    np.testing.assert_allclose(kw @ ROSTER.to_peers(ROSTER.recourse), [[0.0, 1.0, 2.0, 0.0, 0.0]])
    np.testing.assert_allclose(indicator([1, 1, 0], 3).toarray(), [[0, 1, 0], [0, 1, 0], [1, 0, 0]])


def test_bids_are_stacked_in_the_rosters_order():
    book = make_book(PEERS, TARIFF, ROSTER)
    np.testing.assert_allclose(book.load_kw[:, 0], [1.0, 2.0])
    np.testing.assert_allclose(book.buy_limit[:, :2], [[0.2, 0.25]] * 2)
    np.testing.assert_allclose(book.renewable_max_kw, [[5.0], [6.0]])
    np.testing.assert_allclose(book.renewable_min_kw, 0.0)
    np.testing.assert_allclose(book.flexible_baseline_kw, [[2.0], [3.0]])
    assert book.renewable_price == [0.01]
    assert book.energy_kwh == [3.0]
    assert book.dispatchable_max_kw == [7.0]
    assert book.dispatchable_cost_quadratic == [0.002]
    assert book.q_max_kvar == [4.0]
    assert book.backlog_kwh == [1.0]
    # The battery may go from full charge to full discharge; the unit offers no recourse.
    np.testing.assert_allclose(book.recourse_max_kw, [8.0, 0.0])
    np.testing.assert_allclose(book.recourse_up, [0.1, 0.0])


def test_without_a_bid_a_plant_feeds_in_and_other_devices_rest():
    bids = {name: peer.bid(name, TARIFF) for name, peer in PEERS.items()}
    retail = {
        "sun": Peer(pv=[5.0, 6.0], network="B").bid("sun", TARIFF),
        "cell": Peer(load=1.0).bid("cell", TARIFF),
    }
    present = {name: bid for name, bid in bids.items() if name not in retail}
    book = stack(present, retail, ROSTER)
    np.testing.assert_array_equal(book.participates, [True, False, True, False, True])
    np.testing.assert_allclose(book.renewable_min_kw, book.renewable_max_kw)
    assert book.charge_max_kw == [0.0]
    assert book.recourse_max_kw[0] == 0.0
    np.testing.assert_allclose(book.load_kw[:, 1], 1.0)


def test_blocks_are_filled_up_with_empty_ones_at_the_last_price():
    short = DispatchableOffer(
        5.0, 0.0, 0.0, PriceBlocks(np.array([2.0, 3.0]), np.array([0.1, 0.2]))
    )
    peers = {
        "short": Peer(unit=short),
        "absent": Peer(unit=unit(7.0)),
        "home": Peer(load=1.0),
    }
    bids = {name: peer.bid(name, TARIFF) for name, peer in peers.items() if name != "absent"}
    retail = {"absent": Peer(load=1.0).bid("absent", TARIFF)}
    book = stack(bids, retail, make_roster(peers, 2), n_blocks=4)
    np.testing.assert_allclose(book.block_kw, [[2, 3, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_allclose(book.block_price, [[0.1, 0.2, 0.2, 0.2], [0, 0, 0, 0]])
    assert make_book(PEERS, TARIFF, ROSTER).block_kw.shape == (1, 0)


def test_an_infinite_limit_price_trades_with_nobody():
    book = make_book({**PEERS, "out": Peer(takes_part=False)}, TARIFF, OUTSIDER)
    assert book.may_buy.sum() == book.may_sell.sum() == 2 * 5
    buy, sell = book.buy_limit.copy(), book.sell_limit.copy()
    buy[0, 0], sell[1, 2] = -np.inf, np.inf
    limited = replace(book, buy_limit=buy, sell_limit=sell)
    assert np.argwhere(limited.may_buy != book.may_buy).tolist() == [[0, 0]]
    assert np.argwhere(limited.may_sell != book.may_sell).tolist() == [[1, 2]]
