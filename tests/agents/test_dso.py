"""The DSO tells the peers what was cleared, and they do what it counts on."""

from dataclasses import replace

import mesa
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.dso import Dso, Revealed
from agents.population import PeerSpec
from agents.prosumer import Prosumer, registration, source_maps
from agents.strategies.protocol import Observation
from market.bids import Activation, DispatchableOffer
from market.book import stack
from market.costs import StepPrices
from market.offers import ErrorSamples, PastErrors
from market.price_blocks import PriceBlocks
from market.recourse import RecoursePolicy, network_errors
from market.roster import Roster
from market.schedule import supplier_only
from market.uncertainty import SetPoints, Uncertainty
from tests.market.builders import (
    FakeOperator,
    Peer,
    RecourseOffer,
    battery,
    errors_of,
    make_roster,
    make_tariff,
    settings,
    unit,
)

N_STEPS = 3
PEERS = {
    "sun": Peer(load=10.0, pv=[80.0, 40.0, 80.0], rated=100.0, kvar=3.0),
    "cell": Peer(load=2.0, battery=battery(), recourse=RecourseOffer(0.0, 0.0, 0.0)),
    "unit": Peer(unit=unit(9.0, 0.05), recourse=RecourseOffer(0.0, 0.0, 0.0), network="B"),
}
ROSTER = make_roster(PEERS, N_STEPS)
TARIFF = make_tariff(N_STEPS, buy=0.4)
PRICES = StepPrices(0.25, 0.1, 0.0, 0.4, 0.0, fee_within=0.0, fee_across=0.0, spot=0.03)


def cleared(**options):
    """Clear three steps of which two bind; the second one needs no curtailment."""
    operators = [
        FakeOperator(
            "A", errors_of({0: [-8.0, 2.0, 8.0]}, 2, N_STEPS, [0]), np.array([[1e-3, 2e-4]])
        ),
        FakeOperator("B", errors_of({0: [-2.0, 0.0, 2.0]}, 1, N_STEPS), np.array([[1e-4]])),
    ]
    market = settings(cadence_steps=2, method="gaussian", **options)
    dso = Dso(mesa.Model(), ROSTER, market, operators)
    bids = {name: peer.bid(name, TARIFF) for name, peer in PEERS.items()}
    book, result = dso.clear(0, bids, {}, TARIFF)
    return dso, book, result


@pytest.mark.parametrize("setpoint", ["offset", "cap"])
def test_a_curtailed_plant_is_told_its_distance_or_its_cap(setpoint):
    dso, book, result = cleared(renewable_setpoint=setpoint)
    sun, cell, _ = dso.awards(book, result, 0, 2)
    used = result.schedule.renewable[:2, 0]
    assert used[0] < 65.0
    assert used[1] == 40.0
    np.testing.assert_array_equal(sun.renewable_kw, used)
    if setpoint == "offset":
        np.testing.assert_array_equal(sun.held_back_kw, [80.0 - used[0], 0.0])
        np.testing.assert_array_equal(sun.cap_kw, np.inf)
    else:
        np.testing.assert_array_equal(sun.held_back_kw, 0.0)
        np.testing.assert_array_equal(sun.cap_kw, [used[0], np.inf])
    assert not cell.renewable_kw.any()


def test_the_book_is_cleared_under_the_trading_rules():
    _, book, result = cleared(traders="prosumers", price_cap_eur_per_kwh=0.05)
    np.testing.assert_array_equal(book.may_buy, True)  # every peer owns generation or storage
    np.testing.assert_array_equal(book.may_sell, False)  # and asks for the feed-in price
    assert result.schedule.sold.sum() == 0.0
    _, free, result = cleared()
    np.testing.assert_array_equal(free.may_sell, True)
    assert result.schedule.sold.sum() > 1.0


def test_units_are_cleared_by_their_blocks():
    blocks = PriceBlocks(np.array([5.0, 4.0]), np.array([0.05, 0.3]))
    offer = DispatchableOffer(9.0, 0.0, 0.0, blocks)
    peers = {"unit": replace(PEERS["unit"], unit=offer, recourse=None), "home": Peer(load=8.0)}
    peers["home"] = replace(peers["home"], network="B")
    roster = make_roster(peers, N_STEPS)
    operator = FakeOperator("B", errors_of({0: [-1e-3, 1e-3]}, 2, N_STEPS), np.zeros((1, 2)))
    market = settings(bid_format="blocks", bid_blocks=3)
    dso = Dso(mesa.Model(), roster, market, [operator])
    bids = {name: peer.bid(name, TARIFF) for name, peer in peers.items()}
    book, result = dso.clear(0, bids, {}, TARIFF)
    assert book.block_kw.shape == (1, 3)
    np.testing.assert_allclose(result.schedule.dispatchable, 5.0, atol=1e-4)


@pytest.mark.parametrize("shares", ["common", "up_down"])
def test_awards_hold_the_cleared_schedule(shares):
    dso, book, result = cleared(recourse_shares=shares)
    sun, cell, diesel = awards = dso.awards(book, result, 7, 2)
    s = result.schedule
    assert [award.peer_id for award in awards] == list(PEERS)
    assert {award.step for award in awards} == {7}
    np.testing.assert_array_equal(sun.load_kw, [10.0, 10.0])
    np.testing.assert_array_equal(sun.q_kvar, s.reactive[:2, 0])
    np.testing.assert_array_equal(cell.charge_kw, s.charge[:2, 0])
    np.testing.assert_array_equal(diesel.dispatchable_kw, s.dispatchable[:2, 0])
    mean = s.alpha[:2].sum(axis=1) / s.alpha.shape[1]
    assert mean.max() > 0.01
    np.testing.assert_allclose(cell.storage_share, mean[:, 0])
    np.testing.assert_allclose(diesel.dispatchable_share, mean[:, 1])
    np.testing.assert_array_equal(cell.dispatchable_share, 0.0)


@pytest.mark.parametrize("pool", ["network", "all"])
def test_activations_answer_surplus_and_shortage_with_their_own_shares(pool):
    dso, book, result = cleared(recourse_shares="up_down", recourse_pool=pool)
    result.schedule.alpha[1] = [[0.5, 0.2], [0.1, 0.4]]  # surplus, shortage
    # 6 kW too many in network A, 10 kW too few in network B.
    revealed = Revealed(np.array([8.0, -2.0, -10.0]), np.zeros(3), np.array([5.0]), PRICES)
    activations, asked = dso.activate(book, result, 4, 1, revealed)
    of_pools = {"network": [-3.0, 4.0], "all": [0.4, 1.6]}[pool]
    np.testing.assert_allclose(asked, of_pools)
    _, cell, diesel = activations
    assert cell == Activation("cell", 4, pytest.approx(of_pools[0]), 0.0)
    assert diesel == Activation("unit", 4, 0.0, pytest.approx(of_pools[1]))


# --- promise and delivery ---------------------------------------------------------------------

SPECS = (
    PeerSpec(peer_id="solar", bus=2, load_kw=20, load_kvar=5, pv_kw=80, pv_profile="PV1"),
    PeerSpec(peer_id="windy", bus=3, load_kw=10, pv_kw=20, pv_profile="PV1", wind_kw=60),
    PeerSpec(peer_id="heat", bus=4, load_kw=5, flexible_kw=15),
)
COLUMNS = list(dict.fromkeys(column for spec in SPECS for column in spec.columns))
POSITION = {column: k for k, column in enumerate(COLUMNS)}


def samples_of(errors):
    """What the network's operator makes of past errors of the profiles."""
    to_p, plants = np.zeros((2, len(COLUMNS), len(SPECS)))
    for k, spec in enumerate(SPECS):
        for column, kw, _ in source_maps(spec):
            to_p[POSITION[column], k] += kw
            plants[POSITION[column], k] += kw if column.startswith(("pv", "wind")) else 0.0
    past = PastErrors(errors, np.full(len(errors), 1 / len(errors)), np.arange(len(errors)))
    return ErrorSamples((past,), to_p, np.zeros_like(to_p), plants)


CLEARED = cleared()[2]


@given(st.integers(0, 10**6), st.floats(0, 1), st.floats(0, 1))
def test_peers_deviate_as_the_clearing_counts_on(seed, solar, windy):
    """What a capped plant passes on in the promise is what its owner's meter shows."""
    rng = np.random.default_rng(seed)
    forecast, real = rng.uniform(0, 1, (2, 1, len(COLUMNS)))
    peers = [Prosumer(mesa.Model(), spec, "west", POSITION) for spec in SPECS]
    roster = Roster(
        tuple(spec.peer_id for spec in SPECS),
        ("west",),
        np.zeros(len(SPECS), dtype=np.intp),
        tuple(map(registration, SPECS)),
        n_steps=1,
        step_hours=1.0,
    )
    for peer in peers:
        peer.forecast(peer.outlook(forecast))
    observation = Observation(0, np.array([0.25]), np.array([0.1]))
    bids = {peer.peer_id: peer.truthful_bid(observation) for peer in peers}
    book = stack(bids, {}, roster)
    operator = FakeOperator("west", samples_of(real - forecast), 1e-4 * np.ones((1, 3)))
    dso = Dso(mesa.Model(), roster, settings(renewable_setpoint="cap"), [operator])
    scheduled = book.renewable_max_kw * [[solar, windy]]
    policy = RecoursePolicy.of(dso.clearing.settings, 1)
    points = SetPoints(book.renewable_max_kw, np.array([80.0, 80.0]))
    seen = Uncertainty([operator.samples], policy, roster, points)
    idle = supplier_only(book, roster, 1)
    p_kw = idle.p_kw.copy()
    p_kw[:, roster.renewable] += scheduled - idle.renewable
    schedule = replace(idle, renewable=scheduled, p_kw=p_kw)
    seen.follow(schedule, [0])
    result = replace(CLEARED, schedule=seen.capped(schedule))
    awards = dso.awards(book, result, 0, 1)
    outlooks = [peer.outlook(real) for peer in peers]
    reported = np.zeros((len(peers), 2))
    reported[:, 0] = book.load_kw[0]
    reported[roster.flexible, 1] = book.flexible_baseline_kw[0]
    deviation = np.array(
        [
            peer.deviation(award, outlook, 0, tuple(load), 1.0)
            for peer, award, outlook, load in zip(peers, awards, outlooks, reported, strict=True)
        ]
    )
    assert network_errors(deviation, roster)[0] == pytest.approx(seen.omega(0, 0)[0], abs=1e-9)
    readings = [
        peer.follow(award, Activation(peer.peer_id, 0, 0.0, 0.0), outlook, 0, 1.0)
        for peer, award, outlook in zip(peers, awards, outlooks, strict=True)
    ]
    metered = np.array([reading.p_kw for reading in readings]) - schedule.p_kw[0]
    np.testing.assert_allclose(metered, deviation, atol=1e-9)
    offer = operator.linearise(p_kw, np.zeros_like(p_kw), [0])
    np.testing.assert_allclose(
        seen.rows(0, 0, offer.rows(0)).u[0], offer.d_p[0] @ metered, atol=1e-12
    )
