"""Limits of currents and of the substation: hand-solved, and never passed by on the other side."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st

from market.grid_rows import SAME_DIRECTION, HalfPlanes
from market.magnitudes import Scatter
from market.nodal_prices import shadow_prices
from tests.market.builders import (
    FEED_IN,
    FakeOperator,
    Peer,
    battery,
    clear,
    errors_of,
    make_tariff,
    settings,
    unit,
)

RATING = 6.0


def rated(*peers, rating=RATING, market=None, **changes):
    """Peers behind one line whose apparent power is limited. [kVA]"""
    names = {f"p{k}": peer for k, peer in enumerate(peers)}
    line = np.full((1, len(peers)), 1.0 / rating)
    market = market or settings(coordination="none")
    return clear(names, market, phasors=line, **changes)


def flow_kva(c):
    """What the line carries in the first step."""
    return abs(complex(c.p_kw[0].sum(), c.q_kvar[0].sum()))


def worth_of_a_kva(c):
    """What a higher rating would save. [EUR/kVA]"""
    mu, nu = c.result.prices.actual.mu[0][0], c.result.prices.actual.nu[0][0]
    return (mu[-1] + np.abs(nu).sum()) / RATING


# --- two buses and one line, by hand ----------------------------------------------------------


def test_active_power_alone_is_curtailed_down_to_the_rating():
    c = rated(Peer(pv=10.0))
    assert c.renewable[0, 0] == pytest.approx(RATING, abs=5e-4)
    # One more kVA lets one more kW be sold at the feed-in price.
    assert worth_of_a_kva(c) == pytest.approx(FEED_IN, rel=1e-3)
    assert c.result.audits[0][0].kept


def test_fixed_reactive_load_takes_its_part_of_the_rating():
    c = rated(Peer(pv=10.0), Peer(load_kvar=3.0))
    power = np.sqrt(RATING**2 - 3.0**2)
    assert c.renewable[0, 0] == pytest.approx(power, abs=5e-4)
    # p = sqrt(S^2 - q^2), so that a kVA is worth S / p kW.
    assert worth_of_a_kva(c) == pytest.approx(FEED_IN * RATING / power, rel=1e-2)
    assert flow_kva(c) <= RATING + 1e-4


def test_free_reactive_power_is_used_before_anything_is_curtailed():
    c = rated(Peer(pv=10.0, kvar=4.0), Peer(load_kvar=3.0))
    assert c.renewable[0, 0] == pytest.approx(RATING, abs=2e-3)
    assert c.q_kvar[0].sum() == pytest.approx(0.0, abs=0.2)


def test_a_battery_is_charged_before_anything_is_curtailed_where_that_is_worth_it():
    store = battery(charge_max_kw=3.0, wear_eur_per_kwh=0.02, end_value_eur_per_kwh=0.05)
    c = rated(Peer(pv=10.0, battery=store, kvar=4.0), Peer(load_kvar=3.0))
    assert c.charge[0, 0] == pytest.approx(3.0, abs=1e-5)
    assert c.renewable[0, 0] == pytest.approx(RATING + 3.0, abs=2e-3)
    dear = battery(charge_max_kw=3.0, wear_eur_per_kwh=0.06, end_value_eur_per_kwh=0.05)
    c = rated(Peer(pv=10.0, battery=dear, kvar=4.0), Peer(load_kvar=3.0))
    assert c.charge[0, 0] == pytest.approx(0.0, abs=1e-5)


def test_a_dear_unit_relieves_the_line_when_the_flow_goes_the_other_way():
    c = rated(Peer(load=8.0), Peer(unit=unit(5.0, 0.4)))
    assert c.dispatchable[0, 0] == pytest.approx(2.0, abs=5e-4)
    # Its owner sells at the feed-in price what costs 0.40.
    assert worth_of_a_kva(c) == pytest.approx(0.40 - FEED_IN, rel=1e-3)


def test_a_price_at_a_half_plane_is_that_of_the_peer_behind_it():
    c = rated(Peer(pv=10.0), Peer(load_kvar=3.0))
    prices = c.result.prices
    offer = c.result.offers[0]
    here = prices.of_consumers(0, 0, offer.d_p[0], offer.phasors.d_p[0])
    np.testing.assert_allclose(here["voltage"], prices.voltage[0], atol=1e-6)


def test_load_beyond_the_rating_is_slack_told_and_priced():
    c = rated(Peer(load=9.0))
    ((audit,),) = c.result.audits
    assert audit.promise == "no_room"
    assert audit.binding
    assert c.violation[0, 0] == pytest.approx(9.0 / RATING - 1.0, abs=1e-4)
    assert audit.missed_pu[-1] == pytest.approx(0.5, abs=2e-3)
    assert c.result.excuse(0, 0) == "no_room"


def test_the_margin_is_kept_in_the_direction_of_the_flow():
    errors = {"A": {0: [-1.0, 1.0]}}
    market = settings(coordination="none", method="robust")
    c = rated(Peer(pv=10.0, rated=20.0), Peer(load_kvar=3.0), market=market, errors=errors)
    # The larger sample stands on the circle.
    assert abs(complex(c.p_kw[0].sum() + 1.0, -3.0)) == pytest.approx(RATING, abs=0.02)


# --- distances --------------------------------------------------------------------------------


def scatter(samples, limit=1.0, weights=None):
    samples = np.asarray(samples, dtype=complex)
    weights = np.full(len(samples), 1 / len(samples)) if weights is None else weights
    return Scatter(
        phasor=np.array([0]),
        scheduled=np.array([weights @ samples]),
        samples=samples[:, None],
        weights=weights,
        limit=np.array([limit]),
    )


def distances_by_hand(samples, limit):
    """Distance to the circle's outside by trying half a million directions."""
    u = np.exp(2j * np.pi * np.arange(500_000) / 500_000)
    deviation = samples - samples.mean()
    sigma = np.sqrt(np.mean((np.conj(u) * deviation[:, None]).real ** 2, axis=0))
    return np.array([np.min((limit - (np.conj(u) * c).real) / sigma) for c in samples])


@pytest.mark.parametrize("seed", range(4))
def test_distances_are_those_of_a_search_over_all_directions(seed):
    rng = np.random.default_rng(seed)
    spread = rng.uniform(0.01, 0.3, 2)
    centre = rng.uniform(0.2, 0.9) * np.exp(1j * rng.uniform(0, 2 * np.pi))
    samples = centre + spread[0] * rng.normal(size=9) + 1j * spread[1] * rng.normal(size=9)
    found, direction = scatter(samples).distances()
    np.testing.assert_allclose(found[:, 0], distances_by_hand(samples, 1.0), atol=1e-6)
    np.testing.assert_allclose(np.abs(direction), 1.0)


def test_a_sample_beyond_the_circle_is_violated_wherever_the_tangent_says_nothing():
    # The schedule feeds in; the error of one sample turns the flow to the other side.
    found, _ = scatter([-0.9, -0.9 + 0.1j, 1.05]).distances()
    assert (found[:, 0] < 0).tolist() == [False, False, True]


def test_half_planes_are_kept_once():
    planes = HalfPlanes.none().joined_with({0: np.exp(1j * np.array([0, 1])), 1: np.ones(1) + 0j})
    again = planes.joined_with(
        {k: np.exp(1j * SAME_DIRECTION * np.array([far])) for k, far in ((0, 0.5), (1, 2.0))}
    )
    assert again.phasor.tolist() == [0, 0, 1, 1]
    np.testing.assert_allclose(np.angle(again.of(1)), [0.0, 2.0 * SAME_DIRECTION])


def test_duals_of_half_planes_are_gathered_by_phasor():
    c = rated(Peer(pv=10.0, kvar=4.0), Peer(load_kvar=3.0))
    assert c.result.prices.actual.nu[0].shape == (1, 1)
    assert shadow_prices([], np.zeros(0), 1, [3], [1])[1][0].dtype == complex


# --- nothing is passed by on the other side ---------------------------------------------------


@st.composite
def feeders(draw):
    """A few peers behind lines of a line, whose own loads the lines can always carry."""
    n = draw(st.integers(2, 4))
    kw = st.floats(0.0, 8.0)
    n_steps = draw(st.integers(1, 2))

    def peer():
        plant = draw(st.booleans())
        return Peer(
            load=[draw(kw) for _ in range(n_steps)],
            load_kvar=draw(st.floats(0.0, 2.0)),
            pv=[draw(st.floats(0.0, 40.0)) for _ in range(n_steps)] if plant else None,
            rated=50.0,
            kvar=draw(st.floats(0.0, 15.0)) if plant else 0.0,
            battery=battery(wear_eur_per_kwh=0.01, end_value_eur_per_kwh=draw(st.floats(0, 0.3)))
            if draw(st.booleans())
            else None,
            unit=unit(draw(st.floats(1.0, 30.0)), draw(st.floats(0.05, 0.4)))
            if draw(st.booleans())
            else None,
        )

    peers = [peer() for _ in range(n)]
    kva = [
        max(np.hypot(a, p.load_kvar) for a in p.load) + draw(st.floats(3.0, 10.0)) for p in peers
    ]
    # Line k carries the peers from k on.
    lines = np.array([[float(j >= k) for j in range(n)] for k in range(n)])
    lines /= (lines @ np.array(kva))[:, None]
    errors = {k: draw(st.lists(st.floats(-1.0, 1.0), min_size=4, max_size=4)) for k in range(n)}
    return peers, lines, errors, draw(st.floats(0.0, 3e-4))


@budget(max_examples=30, deadline=None)
@given(feeders())
def test_limits_that_can_be_kept_are_kept(feeder):
    never_passed_by(feeder)


@pytest.mark.slow
@budget(max_examples=1000, deadline=None)
@given(feeders())
def test_limits_that_can_be_kept_are_kept_in_a_thousand_cases(feeder):
    never_passed_by(feeder)


def never_passed_by(feeder):
    """Curtailing everything keeps all limits, so that the clearing has to keep them too."""
    peers, lines, errors, bend = feeder
    names = {f"p{k}": peer for k, peer in enumerate(peers)}
    resistance = np.tril(np.full((len(peers), len(peers)), 3e-4))
    c = clear(
        names,
        settings(method="wasserstein_joint", risk_level=0.3, radius=1e-3),
        tariff=make_tariff(len(peers[0].load)),
        R={"A": resistance},
        errors={"A": errors},
        phasors=lines,
        bend=bend,
    )
    ((audit,),) = c.result.audits
    error = np.array(list(errors.values())).T
    flow = np.abs((c.p_kw[0] + error + 1j * c.q_kvar[0]) @ lines.T)
    assert audit.promise == "kept"
    assert audit.certificate <= 0.3 + 0.002
    # Nobody answers the errors: of four samples, one may break a limit.
    assert (flow > 1.0 + 1e-6).any(axis=1).mean() <= 0.3
    assert c.result.n_passes <= 12


def test_the_operator_of_the_tests_differentiates_right():
    operator = FakeOperator(
        "A", errors_of({0: [0.0]}, 2), np.zeros((1, 2)), phasors=np.array([[0.1, 0.2]])
    )
    p, q = np.array([[3.0, -1.0]]), np.array([[0.5, 2.0]])
    offer, step = operator.linearise(p, q, {0}), 1e-6
    for k in range(2):
        moved = operator.linearise(p + step * np.eye(2)[k], q, {0}).value[0, -1]
        turned = operator.linearise(p, q + step * np.eye(2)[k], {0}).value[0, -1]
        assert offer.d_p[0][-1, k] == pytest.approx((moved - offer.value[0, -1]) / step, abs=1e-6)
        assert offer.d_q[0][-1, k] == pytest.approx((turned - offer.value[0, -1]) / step, abs=1e-6)
