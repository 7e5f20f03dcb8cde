"""What set-points let through of the forecast errors, by hand and for any errors."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from market.calibration import certify
from market.offers import ErrorSamples, PastErrors
from market.recourse import RecoursePolicy
from market.safety_factors import make_safety_factor
from market.schedule import supplier_only
from market.uncertainty import SetPoints, Uncertainty
from tests.market.builders import (
    COMMON,
    FakeOperator,
    Peer,
    errors_of,
    make_book,
    make_roster,
    make_tariff,
)

ONE = np.array([0])


def one_plant(forecast=60.0, rating=100.0, cap=None, n_steps=1):
    points = SetPoints(np.full((n_steps, 1), forecast), np.array([rating]))
    if cap is not None:
        points.follow(np.full((n_steps, 1), cap), range(n_steps))
    return points


# --- a plant by hand --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cap", "expected"),
    [
        (None, [-60.0, -30.0, -5.0, 0.0, 20.0, 40.0]),  # from 60 kW to nothing, or to the rating
        (50.0, [-50.0, -20.0, 0.0, 0.0, 0.0, 0.0]),  # below 50 kW only
        (0.0, [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
    ],
)
def test_a_plant_passes_on_what_its_cap_and_rating_let_through(cap, expected):
    error = np.array([[-70.0], [-30.0], [-5.0], [0.0], [20.0], [60.0]])
    passed = one_plant(cap=cap).errors(0, error, ONE)
    np.testing.assert_array_equal(passed[:, 0], expected)


kw = st.floats(0.0, 100.0)


@given(kw, kw, kw, arrays(float, (8, 1), elements=st.floats(-150.0, 150.0)))
def test_output_stays_between_nothing_and_rating_and_cap(forecast, more, cap, error):
    rating = forecast + more
    points = one_plant(forecast, rating, cap)
    passed = points.errors(0, error, ONE)
    scheduled = min(cap, forecast)
    output = scheduled + passed
    assert (output >= -1e-9).all()
    assert (output <= min(rating, points.cap_kw[0, 0]) + 1e-9).all()
    if cap < forecast:
        # Capped: nothing beyond the schedule, and nothing lost that the whole error would keep.
        assert (passed <= 1e-9).all()
        assert (passed >= np.minimum(error, 0.0) - 1e-9).all()
    else:
        np.testing.assert_allclose(passed, np.clip(error, -forecast, more), atol=1e-9)


def test_a_plant_once_capped_stays_so_within_a_clearing():
    points = one_plant(n_steps=2)
    points.follow(np.array([[60.0], [50.0]]), [0, 1])
    np.testing.assert_array_equal(points.cap_kw[:, 0], [np.inf, 50.0])
    points.follow(np.array([[40.0], [10.0]]), [0])  # the other step is not asked
    np.testing.assert_array_equal(points.cap_kw[:, 0], [40.0, 50.0])
    points.follow(np.array([[60.0], [55.0]]), [0, 1])  # at its forecast, but no longer above
    np.testing.assert_array_equal(points.cap_kw[:, 0], [60.0, 55.0])
    np.testing.assert_array_equal(points.errors(0, np.array([[-7.0], [7.0]]), ONE), [[-7.0], [0.0]])


# --- the errors of networks -------------------------------------------------------------------

PEERS = {
    "sun": Peer(load=5.0, pv=60.0, rated=100.0),
    "home": Peer(load=20.0),
    "wind": Peer(pv=30.0, rated=40.0),
    "far": Peer(pv=10.0, rated=20.0, network="B"),
    "town": Peer(load=9.0, network="B"),
}
ROSTER = make_roster(PEERS)
BOOK = make_book(PEERS, make_tariff(), ROSTER)
R = {"A": [[1e-3, 2e-4, 3e-4], [2e-4, 1e-3, 5e-4]], "B": [[2e-3, 4e-4]]}


def random_samples(seed, n_samples=30):
    """Errors of plants and loads, some sources driving several members of both networks."""
    rng = np.random.default_rng(seed)
    xi = rng.normal(0, 25, (n_samples, 3))
    past = PastErrors(xi, rng.dirichlet(np.ones(n_samples)), np.arange(n_samples))
    plants = {"A": np.array([1, 0, 1]), "B": np.array([1, 0])}
    out = []
    for members in plants.values():
        renewable, load = rng.uniform(0, 1, (2, 3, len(members)))
        renewable = renewable * members
        to_q = rng.normal(0, 0.1, (3, len(members)))
        out.append(ErrorSamples((past,), renewable - load, to_q, renewable))
    return out


def model(network, samples):
    r = np.array(R[network])
    operator = FakeOperator(network, samples, r, X=0.5 * r)
    return operator.linearise(np.zeros((1, r.shape[1])), np.zeros((1, r.shape[1])), [0])


def uncertainty(samples, policy, *, capped=True):
    points = None
    if capped:
        rating = np.array([rating.renewable_kw for rating in ROSTER.rating])[ROSTER.renewable]
        points = SetPoints(BOOK.renewable_max_kw, rating)
    return Uncertainty(samples, policy, ROSTER, points)


def scheduled(**kw):
    """A schedule in which plants give so much and the others what is forecast."""
    names = [ROSTER.peer_id[k] for k in ROSTER.renewable]
    renewable = BOOK.renewable_max_kw.copy()
    for name, value in kw.items():
        renewable[:, names.index(name)] = value
    return replace(supplier_only(BOOK, ROSTER, 1), renewable=renewable)


policies = st.builds(
    RecoursePolicy,
    st.sampled_from([1, 2]),
    st.sampled_from([np.array([0, 1]), np.array([0, 0])]),
)


@given(st.integers(0, 10**6), policies)
def test_without_set_points_all_errors_pass_unchanged(seed, policy):
    samples = random_samples(seed)
    seen = uncertainty(samples, policy, capped=False)
    schedule = scheduled(sun=10.0)
    seen.follow(schedule, [0])
    assert seen.capped(schedule) is schedule
    xi = [(s.steps[0].sources @ s.to_p, s.steps[0].sources @ s.to_q) for s in samples]
    total = [p.sum(axis=1) for p, _ in xi]
    for d, network in enumerate("AB"):
        offer = model(network, samples[d])
        rows = seen.rows(d, 0, offer.rows(0))
        np.testing.assert_allclose(seen.omega(d, 0), total[d], atol=1e-9)
        for error, expected in zip(seen.member_errors(d, 0), xi[d], strict=True):
            np.testing.assert_allclose(error, expected, atol=1e-9)
        u = xi[d][0] @ offer.d_p[0].T + xi[d][1] @ offer.d_q[0].T
        np.testing.assert_allclose(rows.u, u, atol=1e-12)
        pooled = total[d] if policy.n_pools == 2 else total[0] + total[1]
        np.testing.assert_allclose(rows.signals, policy.signals(pooled), atol=1e-9)
        np.testing.assert_array_equal(rows.weights, samples[d].weights(0))


@given(st.integers(0, 10**6), policies, st.floats(0, 60), st.floats(0, 10))
def test_rows_and_totals_see_what_the_plants_really_deviate(seed, policy, sun, far):
    samples = random_samples(seed)
    seen = uncertainty(samples, policy)
    schedule = scheduled(sun=sun, far=far)
    seen.follow(schedule, [0])
    cap = seen.capped(schedule).cap_kw[0]
    forecast, rating = {"A": [60, 0, 30], "B": [10, 0]}, {"A": [100, 0, 40], "B": [20, 0]}
    caps = {"A": [cap[0], 0, cap[1]], "B": [cap[2], 0]}
    deviation, reactive = {}, {}
    for network, s in zip("AB", samples, strict=True):
        xi, limit = s.steps[0].sources, np.array(caps[network])
        available = np.clip(forecast[network] + xi @ s.renewable_to_p, 0.0, rating[network])
        plants = np.minimum(available, limit) - np.minimum(forecast[network], limit)
        deviation[network] = plants + xi @ (s.to_p - s.renewable_to_p)
        reactive[network] = xi @ s.to_q
    total = np.stack([deviation[n].sum(axis=1) for n in "AB"], axis=1)
    for d, network in enumerate("AB"):
        np.testing.assert_allclose(seen.omega(d, 0), total[:, d], atol=1e-9)
        offer = model(network, samples[d])
        rows = seen.rows(d, 0, offer.rows(0))
        u = deviation[network] @ offer.d_p[0].T + reactive[network] @ offer.d_q[0].T
        np.testing.assert_allclose(rows.u, u, atol=1e-12)
        answered = policy.signals(policy.pooled(total)[:, policy.pool_of[d]])
        np.testing.assert_allclose(rows.signals, answered, atol=1e-9)


def test_errors_are_computed_anew_for_the_steps_whose_caps_moved():
    samples = random_samples(3)
    seen = uncertainty(samples, RecoursePolicy(1, np.array([0, 1])))
    before = seen.omega(0, 0)
    seen.follow(scheduled(sun=30.0), [])
    np.testing.assert_array_equal(seen.omega(0, 0), before)
    seen.follow(scheduled(sun=30.0), [0])
    assert np.abs(seen.omega(0, 0) - before).max() > 1.0
    np.testing.assert_array_equal(seen.capped(scheduled(sun=30.0)).cap_kw, [[30.0, np.inf, np.inf]])


# --- what caps do to a certificate ------------------------------------------------------------


def certificates(r, cap_kw, errors, radius):
    """Certificate of the upper limit alone, without and with set-points, at one schedule."""
    peers = {f"p{k}": Peer(pv=60.0, rated=100.0) for k in range(len(r))}
    roster = make_roster(peers)
    samples = errors_of(errors, len(r), renewable=range(len(r)))
    operator = FakeOperator("A", samples, np.array([r]))
    p_kw = np.where(np.isfinite(cap_kw), cap_kw, 60.0)[None, :]
    offer = operator.linearise(p_kw, np.zeros_like(p_kw), [0])
    offer = replace(offer, limit=offer.limit + np.array([0.0, 1.0]))
    points = SetPoints(np.full_like(p_kw, 60.0), np.full(len(r), 100.0))
    points.follow(p_kw, [0])
    factor = make_safety_factor("wasserstein_joint", 0.05, radius)
    for set_points in (None, points):
        rows = Uncertainty([samples], COMMON, roster, set_points).rows(0, 0, offer.rows(0))
        gain = np.zeros((2, 1))
        audit = certify(
            factor, offer.rows(0), rows, gain=gain, known=None, scatter=None, binding=True
        )
        yield audit.certificate


def test_the_certificate_counts_what_the_cap_lets_through_by_hand():
    # In kW at the first plant the schedule stands at 43 + 6, the limit at 50. What the first
    # plant errs no longer adds to a tenth of what the second one does, nor cancels it.
    errors = {0: [8.0, -8.0, 8.0, 8.0, 8.0], 1: [14.0, 14.0, -4.0, -9.0, -9.0]}
    without, with_caps = certificates([1e-3, 1e-4], np.array([43.0, np.inf]), errors, 0.0)
    assert without == pytest.approx(0.8)  # 58.4, 42.4, 56.6, 56.1, 56.1
    assert with_caps == pytest.approx(0.4)  # 50.4, 50.4, 48.6, 48.1, 48.1


@given(
    st.lists(st.floats(1e-4, 1e-3), min_size=1, max_size=3),
    st.floats(0.0, 30.0),
    st.integers(0, 10**6),
)
def test_no_over_voltage_where_every_plant_is_capped_within_the_limits(r, below, seed):
    """All that is left of the errors lowers the voltage: the promise holds with certainty."""
    rng = np.random.default_rng(seed)
    errors = {k: rng.normal(0, 30, 20) for k in range(len(r))}
    highest = 50e-3 / sum(r)
    cap = np.full(len(r), min(highest, 59.0) - min(below, highest, 59.0))
    without, with_caps = certificates(r, cap, errors, 0.0)
    assert with_caps == 0.0 <= without


@pytest.mark.parametrize("radius", [0.0, 1e-3, 1e-2])
def test_caps_lower_the_certificate_of_an_over_voltage(radius):
    errors = {0: np.linspace(-20.0, 20.0, 41)}
    without, with_caps = certificates([1e-3], np.array([45.0]), errors, radius)
    assert with_caps < without
    if radius == 0.0:
        assert without == pytest.approx(15 / 41)  # errors above 5 kW
