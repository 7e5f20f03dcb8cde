"""Network operators: what they refuse, and that their linear models are those of the AC network."""

import re
from dataclasses import replace

import mesa
import numpy as np
import pytest

from agents.dn_operator import DnOperator
from agents.forecasting import Past
from agents.population import PeerSpec
from agents.prosumer import registration
from configs.schema import Capacitor, Market, Network
from grid.cases import build_network
from grid.lindistflow import LinDistFlow
from grid.power_flow import BatchPowerFlow
from grid.replay import AcReplay
from market.bids import Bid, DispatchableOffer, FlexibleOffer, RenewableOffer, StorageOffer
from market.price_blocks import PriceBlocks

NETWORK = build_network(
    Network(
        name="west", case="case69", source_vm_pu=1.02, capacitors=(Capacitor(bus=20, kvar=200),)
    )
)
PEERS = (
    PeerSpec(peer_id="first", bus=12, load_kw=40, load_kvar=10, pv_kw=80, pv_profile="PV1"),
    PeerSpec(peer_id="battery", bus=27, load_kw=20, battery_kw=50, battery_kwh=100),
    PeerSpec(peer_id="neighbour", bus=27, load_kw=30, load_kvar=5, wind_kw=60, wind_profile="WP4"),
    PeerSpec(peer_id="far", bus=65, load_kw=25, flexible_kw=15, flexible_profile="Air_1"),
)
COLUMNS = ("load_p:G0-A", "load_q:G0-A", "load_p:Air_1", "pv:PV1", "wind:WP4")
POSITION = {column: k for k, column in enumerate(COLUMNS)}
N_STEPS = 3
FORECAST = np.full((N_STEPS, len(COLUMNS)), 0.4)


def make_operator(peers=PEERS, grid_model="ac_sensitivity") -> DnOperator:
    settings = Market(grid_model=grid_model)
    operator = DnOperator(mesa.Model(), NETWORK, peers, POSITION, settings)
    rng = np.random.default_rng(2)
    operator.open_window(7, FORECAST, past_of(rng))
    return operator


def past_of(rng) -> Past:
    errors = 0.1 * rng.normal(size=(N_STEPS, 50, len(COLUMNS)))
    day = np.tile(np.arange(50), (N_STEPS, 1))
    return Past(errors, np.full_like(errors, 0.5), day, 50.0 - day)


def schedule(n_steps=N_STEPS) -> tuple[np.ndarray, np.ndarray]:
    p_kw = np.array([[45.0, 30.0, -20.0, -35.0], [-40, 50, 30, -25], [80, -50, -30, -40]])
    return p_kw[:n_steps], 0.3 * p_kw[::-1][:n_steps] - 5


# --- the linear model -------------------------------------------------------------------------


def test_sensitivities_through_the_peers():
    p_kw, q_kvar = schedule()
    operator = make_operator()
    offer = operator.linearise(p_kw, q_kvar, range(N_STEPS))
    assert offer.converged.all()
    width = 1.0
    for t in range(N_STEPS):
        for k in range(len(PEERS)):
            for d_rows, d_loss, moves_p in (
                (offer.d_p, offer.loss_d_p, True),
                (offer.d_q, offer.loss_d_q, False),
            ):
                ends = []
                for sign in (1, -1):
                    p, q = p_kw.copy(), q_kvar.copy()
                    (p if moves_p else q)[t, k] += sign * width
                    ends.append(operator.linearise(p, q, ()))
                numeric = (ends[0].value[t] - ends[1].value[t]) / (2 * width)
                size = np.abs(d_rows[t]).max(axis=1)
                assert (np.abs(d_rows[t][:, k] - numeric) <= 2e-3 * size + 1e-9).all()
                loss = (ends[0].loss_kw[t] - ends[1].loss_kw[t]) / (2 * width)
                assert d_loss[t, k] == pytest.approx(loss, rel=1e-3, abs=1e-5)


def test_values_and_losses_are_those_of_the_replay():
    p_kw, q_kvar = schedule()
    operator = make_operator()
    offer = operator.linearise(p_kw, q_kvar, range(N_STEPS))
    p_bus, q_bus = operator.bus_injections(p_kw), operator.bus_injections(q_kvar)
    m, replay = NETWORK.n_lines, AcReplay(NETWORK)
    for t in range(N_STEPS):
        real = replay.run(np.append(0.0, p_bus[t]), np.append(0.0, q_bus[t]))
        np.testing.assert_allclose(offer.value[t, :m], real.vm_pu[1:], rtol=0, atol=1e-8)
        assert offer.loss_kw[t] == pytest.approx(real.losses_kw, abs=1e-4)


def test_two_peers_at_one_bus():
    operator = make_operator()
    p_kw, q_kvar = schedule()
    p_bus = operator.bus_injections(p_kw)
    at = NETWORK.position[27] - 1
    np.testing.assert_array_equal(p_bus[:, at], p_kw[:, 1] + p_kw[:, 2])
    assert p_bus.sum() == pytest.approx(p_kw.sum())
    assert np.count_nonzero(p_bus[0]) == 3
    offer = operator.linearise(p_kw, q_kvar, range(N_STEPS))
    np.testing.assert_array_equal(offer.d_p[0][:, 1], offer.d_p[0][:, 2])
    # What one gives and the other takes cannot be told apart from outside.
    moved = p_kw + np.array([0.0, 7.0, -7.0, 0.0])
    other = make_operator().linearise(moved, q_kvar, range(N_STEPS))
    np.testing.assert_allclose(other.value, offer.value, rtol=0, atol=1e-12)


def test_only_refreshed_steps_get_new_sensitivities():
    operator = make_operator()
    p_kw, q_kvar = schedule()
    before = operator.linearise(p_kw, q_kvar, range(N_STEPS))
    after = operator.linearise(2 * p_kw, q_kvar, {0})
    assert (after.d_p[0] != before.d_p[0]).any()
    for t in (1, 2):
        np.testing.assert_array_equal(after.d_p[t], before.d_p[t])
        np.testing.assert_array_equal(after.d_q[t], before.d_q[t])
    assert (after.value[1] != before.value[1]).any()


def test_sensitivities_move_with_the_window():
    operator = make_operator()
    p_kw, q_kvar = schedule()
    before = operator.linearise(p_kw, q_kvar, range(N_STEPS))
    operator.open_window(8, FORECAST, past_of(np.random.default_rng(3)))
    after = operator.linearise(p_kw, q_kvar, ())
    np.testing.assert_array_equal(after.d_p[0], before.d_p[1])
    np.testing.assert_array_equal(after.d_p[1], before.d_p[2])


def test_a_step_without_solution_stands_at_zero_injections():
    p_kw, q_kvar = schedule()
    overloaded = p_kw.copy()
    overloaded[1] = -1e6
    offer = make_operator().linearise(overloaded, q_kvar, range(N_STEPS))
    regular = make_operator().linearise(p_kw, q_kvar, range(N_STEPS))
    idle = make_operator().linearise(np.zeros_like(p_kw), np.zeros_like(q_kvar), range(N_STEPS))
    assert offer.converged.tolist() == [True, False, True]
    assert not offer.p_kw[1].any()
    assert not offer.q_kvar[1].any()
    for t, same in ((0, regular), (1, idle), (2, regular)):
        np.testing.assert_allclose(offer.value[t], same.value[t], rtol=0, atol=1e-12)
        np.testing.assert_allclose(offer.d_p[t], same.d_p[t], rtol=1e-9, atol=1e-15)
        assert offer.loss_kw[t] == pytest.approx(same.loss_kw[t], abs=1e-6)
    np.testing.assert_array_equal(offer.p_kw[[0, 2]], p_kw[[0, 2]])


def test_an_operator_may_offer_lindistflow_without_any_power_flow(monkeypatch):
    p_kw, q_kvar = schedule()
    exact = make_operator().linearise(p_kw, q_kvar, range(N_STEPS))

    def never(*_):
        pytest.fail("LinDistFlow needs no power flow")

    monkeypatch.setattr(BatchPowerFlow, "solve", never)
    operator = make_operator(grid_model="lindistflow")
    offer = operator.linearise(p_kw, q_kvar, range(N_STEPS))
    point = LinDistFlow.of(NETWORK).at(
        operator.bus_injections(p_kw), operator.bus_injections(q_kvar)
    )
    np.testing.assert_array_equal(offer.value, point.value)
    np.testing.assert_array_equal(offer.loss_kw, point.loss_kw)
    assert offer.converged.all()
    at = [NETWORK.position[peer.bus] - 1 for peer in PEERS]
    for t in range(N_STEPS):
        np.testing.assert_array_equal(offer.d_p[t], point.sensitivities(t)[0][:, at])
    # An approximation of the same rows.
    m = NETWORK.n_lines
    error = np.abs(offer.value - exact.value)[:, :m].max()
    assert 1e-6 < error < 5e-3


def test_impedances_are_those_of_the_network():
    operator = make_operator()
    data = operator.impedances
    p_kw, _ = schedule()
    on_line = np.zeros((N_STEPS, NETWORK.n_lines))
    np.add.at(on_line.T, data.line_of, p_kw.T)
    np.testing.assert_array_equal(on_line, operator.bus_injections(p_kw))
    np.testing.assert_array_equal(data.r_pu + 1j * data.x_pu, NETWORK.z_pu)
    # The capacitor of 200 kvar at bus 20.
    assert np.flatnonzero(data.b_pu).tolist() == [NETWORK.position[20] - 1]
    assert data.b_pu.sum() == pytest.approx(0.2)


def test_errors_reach_the_peers():
    """Errors of the profiles, scaled to the devices, as injections."""
    samples = make_operator().samples
    one = np.zeros(len(COLUMNS))
    for column, kw, kvar in (
        ("load_p:G0-A", [-40, -20, -30, -25], [0, 0, 0, 0]),
        ("load_q:G0-A", [0, 0, 0, 0], [-10, 0, -5, 0]),
        ("load_p:Air_1", [0, 0, 0, -15], [0, 0, 0, 0]),
        ("pv:PV1", [80, 0, 0, 0], [0, 0, 0, 0]),
        ("wind:WP4", [0, 0, 60, 0], [0, 0, 0, 0]),
    ):
        one[:] = 0
        one[POSITION[column]] = 1
        np.testing.assert_allclose(one @ samples.to_p, kw)
        np.testing.assert_allclose(one @ samples.to_q, kvar, atol=1e-12)


def test_a_window_has_to_be_open():
    operator = DnOperator(mesa.Model(), NETWORK, PEERS, POSITION, Market())
    with pytest.raises(RuntimeError, match="operator of west has no window open"):
        _ = operator.samples


# --- validation -------------------------------------------------------------------------------


def make_bid(peer: PeerSpec, **changes) -> Bid:
    rating = registration(peer)
    bid = Bid(
        peer_id=peer.peer_id,
        network="west",
        step=7,
        load_kw=np.full(N_STEPS, peer.load_kw),
        load_kvar=np.full(N_STEPS, peer.load_kvar),
        buy_limit_eur_per_kwh=np.full(N_STEPS, 0.25),
        sell_limit_eur_per_kwh=np.full(N_STEPS, 0.11),
        q_max_kvar=rating.reactive_kvar,
        renewable=RenewableOffer(np.full(N_STEPS, peer.renewable_kw), 0.0)
        if peer.renewable_kw
        else None,
        storage=StorageOffer(50.0, 50.0, 0.0, 100.0, 50.0, 0.95, 0.95, 0.02, 0.1)
        if peer.battery_kwh
        else None,
        flexible=FlexibleOffer(np.full(N_STEPS, 10.0), 0.3, 0.6, 15.0, 0.0, 45.0, 0.004, 0.25)
        if peer.flexible_kw
        else None,
    )
    return replace(bid, **changes)


def validate(*bids: Bid):
    return make_operator().validate([(bid.peer_id, bid) for bid in bids], 7, N_STEPS)


def test_good_bids_are_accepted():
    bids = [make_bid(peer) for peer in PEERS]
    accepted, rejected = validate(*bids)
    assert rejected == {}
    assert accepted == {bid.peer_id: bid for bid in bids}


@pytest.mark.parametrize(
    ("place", "changes", "reason"),
    [
        (0, {"step": 6}, "step 6 is not the current step 7"),
        (0, {"network": "east"}, "network 'east' is not the peer's network 'west'"),
        (0, {"load_kw": np.full(2, 1.0)}, r"load_kw has shape \(2,\), expected \(3,\)"),
        (0, {"load_kw": np.full(3, np.nan)}, "load_kw is not finite"),
        (0, {"load_kw": np.full(3, -1.0)}, "load_kw is negative: -1"),
        (0, {"load_kw": "much"}, "load_kw is not an array"),
        (0, {"buy_limit_eur_per_kwh": np.full(3, np.inf)}, "buy_limit.* is not finite"),
        (0, {"q_max_kvar": 1e3}, "q_max_kvar 1000 exceeds"),
        (0, {"renewable": RenewableOffer(np.full(3, 81.0), 0.0)}, "renewable.* 81 exceeds .* 80"),
        (
            1,
            {"storage": StorageOffer(50.0, 51.0, 0.0, 100.0, 50.0, 0.95, 0.95, 0.02, 0.1)},
            "storage.discharge_max_kw 51 exceeds the allowed 50",
        ),
        (
            1,
            {"storage": StorageOffer(50.0, 50.0, 0.0, 100.0, 120.0, 0.95, 0.95, 0.02, 0.1)},
            r"storage.energy_kwh 120 is outside \[0, 100\]",
        ),
        (
            1,
            {"storage": StorageOffer(50.0, 50.0, 0.0, 100.0, 50.0, 1.0, 0.95, 0.02, 0.1)},
            "storage.charge_efficiency 1 differs",
        ),
        (
            3,
            {"flexible": FlexibleOffer(np.full(3, 10.0), 0.3, 0.6, 99.0, 0.0, 45.0, 0.004, 0.25)},
            "flexible.served_max_kw 99 exceeds the allowed 15",
        ),
        (
            3,
            {"flexible": FlexibleOffer(np.full(3, 10.0), 1.3, 0.6, 15.0, 0.0, 45.0, 0.004, 0.25)},
            "flexible.curtailable_share 1.3 exceeds",
        ),
    ],
)
def test_bad_bids_are_refused(place, changes, reason):
    bids = [make_bid(peer, **(changes if k == place else {})) for k, peer in enumerate(PEERS)]
    accepted, rejected = validate(*bids)
    assert list(rejected) == [PEERS[place].peer_id]
    (given,) = rejected.values()
    assert re.search(reason, given)
    assert len(accepted) == len(PEERS) - 1


def test_units_are_offered_in_the_markets_format():
    peer = PeerSpec(peer_id="unit", bus=12, load_kw=5, load_kvar=1, dispatchable_kw=8)
    market = Market(bid_format="blocks", bid_blocks=2)
    operator = DnOperator(mesa.Model(), NETWORK, [peer], POSITION, market)

    def reason(*offer):
        bid = make_bid(peer, dispatchable=DispatchableOffer(8.0, *offer))
        return operator.validate([("unit", bid)], 7, N_STEPS)[1].get("unit", "")

    assert reason(0.0, 0.0, PriceBlocks.along(8.0, 0.1, 0.01, 2)) == ""
    assert "expected (1,) to (2,)" in reason(0.0, 0.0, PriceBlocks.along(8.0, 0.1, 0.01, 3))
    assert "expected 1 to 2 PriceBlocks" in reason(0.1, 0.01)


def test_strangers_and_second_bids_are_refused():
    bid = make_bid(PEERS[0])
    accepted, rejected = validate(bid, replace(bid, peer_id="nobody"))
    assert list(accepted) == ["first"]
    assert rejected == {"nobody": "unknown peer 'nobody' in network 'west'"}
    _, rejected = validate(bid, bid)
    assert rejected == {"first": "second bid of the same peer"}


@pytest.mark.parametrize(
    "signed", ["second", "nobody", None, 5, ["first"], {}, np.array(["first"])]
)
def test_nobody_bids_for_somebody_else(signed):
    """A bid counts for who sent it, and is refused if it is signed by another."""
    bid = replace(make_bid(PEERS[0]), peer_id=signed)
    accepted, rejected = make_operator().validate([("first", bid)], 7, N_STEPS)
    assert accepted == {}
    (reason,) = rejected.values()
    assert list(rejected) == ["first"]
    assert reason.endswith("is not the sender 'first'")


@pytest.mark.parametrize("what", [None, "bid", 5, [], {}])
def test_what_is_no_bid_is_refused(what):
    accepted, rejected = make_operator().validate([("first", what)], 7, N_STEPS)
    assert accepted == {}
    assert "not a Bid" in rejected["first"]


def test_no_connection_carries_more_than_its_substation():
    substation_kva = NETWORK.substation_kva
    for load_kw, reason in ((1.9, ""), (2.1, "load_kw"), (1e6, "load_kw")):
        load = np.full(N_STEPS, load_kw * substation_kva)
        _, rejected = validate(make_bid(PEERS[0], load_kw=load))
        assert reason in rejected.get("first", "")
        assert bool(rejected) == bool(reason)


def test_all_faults_are_named():
    _, rejected = validate(make_bid(PEERS[0], step=1, network="east"))
    assert rejected["first"].count(";") == 1


# --- reactive curvature -----------------------------------------------------------------------


def test_curvature_bounds_the_losses_of_reactive_power():
    """Losses rise no faster in the reactive power than the bound says, near 1 p.u.

    Two peers at one bus move together at worst.
    """
    operator = make_operator()
    curvature = operator.reactive_curvature
    able = [registration(peer).reactive_kvar > 0 for peer in PEERS]
    zero = np.zeros((1, len(PEERS)))
    base = operator.linearise(zero, zero, (0,))
    rng = np.random.default_rng(4)
    for _ in range(20):
        q = np.where(able, rng.normal(0, 30, len(PEERS)), 0.0)[None]
        real = operator.linearise(zero, q, ()).loss_kw[0]
        linear = base.loss_kw[0] + base.loss_d_q[0] @ q[0]
        assert real <= linear + 1.05 * (curvature * q[0] ** 2).sum() + 1e-6
