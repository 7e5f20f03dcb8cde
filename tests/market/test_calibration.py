"""Safety factors and certificates at a schedule, and the rows that enter the problem."""

import numpy as np
import pytest
from scipy.stats import norm

from market.calibration import (
    FOLLOWS,
    RESOLUTION,
    calibrate,
    certify,
    kept_distance,
    pose_rows,
    second_stage,
    standardise,
)
from market.chance import Moments, RowErrors
from market.parameters import SecondStage
from market.recourse import RecoursePolicy
from market.safety_factors import make_safety_factor
from market.uncertainty import Uncertainty
from tests.market.builders import (
    COMMON,
    LOWER,
    UP_DOWN,
    UPPER,
    FakeOperator,
    Peer,
    errors_of,
    make_roster,
)

XI = np.array([-6.0, -2.0, 0.0, 3.0, 5.0])
SIGMA = float(np.std(XI))
GAUSSIAN = make_safety_factor("gaussian", 0.05, 0.0)


def offer_at(p_kw, r=1e-3, q_kvar=0.0, **changes):
    """One bus, one member with the errors above: its model, and what they do to its rows."""
    operator = FakeOperator("A", errors_of({0: XI}, 1), np.array([[r]]), **changes)
    offer = operator.linearise(np.array([[p_kw]]), np.array([[q_kvar]]), [0])
    return offer, errors_at(operator, offer)


def errors_at(operator, offer):
    """What a network's errors do to its rows, its recourse knowing their sum alone."""
    roster = make_roster({f"p{k}": Peer() for k in range(offer.p_kw.shape[1])})
    return Uncertainty([operator.samples], COMMON, roster).rows(0, 0, offer.rows(0))


NO_GAIN = np.zeros((2, 1))


def audited(factor, offer, errors, *, binding=False):
    """Certify rows without recourse."""
    rows = offer.rows(0)
    return certify(factor, rows, errors, gain=NO_GAIN, known=None, scatter=None, binding=binding)


def test_standardised_errors_have_mean_zero_and_variance_one():
    rng = np.random.default_rng(4)
    w = rng.dirichlet(np.ones(30))
    omega = rng.normal(2.0, 5.0, 30)
    errors = RowErrors(rng.normal(1.0, 0.01, (30, 4)), UP_DOWN.signals(omega), w)
    gain = np.linspace(-1e-3, 3e-3, 8).reshape(4, 2)
    z, sigma, mean = standardise(errors, Moments.of(errors), gain)
    np.testing.assert_allclose(w @ z, 0.0, atol=1e-12)
    np.testing.assert_allclose(w @ z**2, 1.0)
    np.testing.assert_allclose(mean + sigma * z, errors.u - errors.signals @ gain.T)


def test_rows_without_errors_can_be_standardised():
    errors = RowErrors(np.zeros((3, 1)), np.zeros((3, 1)), np.full(3, 1 / 3))
    z, sigma, _ = standardise(errors, Moments.of(errors), np.zeros((1, 1)))
    np.testing.assert_array_equal(z, 0.0)
    assert sigma[0] > 0


def test_the_margin_is_mean_plus_kappa_sigma():
    offer, errors = offer_at(30.0)
    gain = np.array([[2e-4], [0]])
    hour = calibrate(GAUSSIAN, offer.rows(0), errors, gain=gain, known=None, reach=6.0)
    sigma = np.array([8e-4, 1e-3]) * SIGMA
    np.testing.assert_allclose(hour.margin, norm.ppf(0.95) * sigma)


@pytest.mark.parametrize(("reach", "chosen"), [(0.0, []), (6.0, [0])])
def test_rows_within_reach_of_their_margin_are_chosen(reach, chosen):
    offer, errors = offer_at(50.0 - (norm.ppf(0.95) + 3.0) * SIGMA)
    hour = calibrate(GAUSSIAN, offer.rows(0), errors, gain=NO_GAIN, known=None, reach=reach)
    np.testing.assert_array_equal(hour.chosen, chosen)


def test_rows_once_chosen_are_kept():
    high, errors = offer_at(50.0)
    low, _ = offer_at(-50.0)
    first = calibrate(GAUSSIAN, high.rows(0), errors, gain=NO_GAIN, known=None, reach=1.0)
    second = calibrate(GAUSSIAN, low.rows(0), errors, gain=NO_GAIN, known=first, reach=1.0)
    np.testing.assert_array_equal(first.chosen, [0])
    np.testing.assert_array_equal(second.chosen, [0, 1])


@pytest.mark.parametrize(
    ("p_kw", "expected"), [(40.0, 0.0), (46.0, 0.2), (47.5, 0.4), (51.0, 0.6), (-50.0, 0.4)]
)
def test_the_certificate_counts_samples_beyond_either_limit(p_kw, expected):
    offer, errors = offer_at(p_kw)
    factor = make_safety_factor("wasserstein_joint", 0.05, 0.0)
    audit = audited(factor, offer, errors, binding=True)
    assert audit.certificate == pytest.approx(expected)
    slack = np.array([UPPER - (1 + 1e-3 * p_kw), 1 + 1e-3 * p_kw - LOWER]) / (1e-3 * SIGMA)
    np.testing.assert_allclose(audit.gap + audit.kappa, slack, atol=1e-9)
    assert audit.radius == 0.0


def test_rooms_of_rows_that_errors_hardly_reach_are_measured_in_fixed_units():
    # A voltage 0.04 p.u. below its limit, and errors of 4e-5 p.u.
    offer, errors = offer_at(1e4, r=1e-6)
    audit = audited(GAUSSIAN, offer, errors)
    room = 0.04 - norm.ppf(0.95) * 1e-6 * SIGMA
    assert audit.gap[0] == pytest.approx(room / RESOLUTION)


def test_the_audit_names_the_radius_of_its_ball():
    offer, errors = offer_at(40.0)
    factor = make_safety_factor("wasserstein_joint", 0.05, 0.01)
    audit = audited(factor, offer, errors, binding=True)
    assert audit.radius == 0.01


def test_the_certificate_grows_with_the_radius():
    offer, errors = offer_at(40.0)
    probabilities = [
        audited(make_safety_factor("wasserstein_joint", 0.05, radius), offer, errors).certificate
        for radius in (0.0, 0.01, 0.1, 1.0)
    ]
    # The nearest fifth of the mass stands 5 kW from the limit.
    assert probabilities[1] == pytest.approx(0.01 / (5.0 / SIGMA))
    assert probabilities == sorted(probabilities)
    assert probabilities[0] == 0.0


def test_without_a_power_flow_there_is_no_promise():
    offer, errors = offer_at(0.0, collapses=True)
    audit = audited(GAUSSIAN, offer, errors)
    assert audit.certificate == 1.0


def test_rows_further_than_the_tightest_keep_their_distance():
    slack = np.array([1.5, 1.5 + FOLLOWS / 2, 1.5 + 2 * FOLLOWS, 9.0])
    np.testing.assert_allclose(kept_distance(slack, None), [0.0, 0.0, 1.5 + 2 * FOLLOWS, 9.0])


def test_posed_rows_give_the_value_at_any_injection():
    operator = FakeOperator("A", errors_of({0: XI + 1.0}, 2), np.array([[1e-3, 4e-4]]))
    operator.X = np.array([[5e-4, 2e-4]])
    p, q = np.array([[60.0, -5.0]]), np.array([[2.0, -1.0]])
    offer = operator.linearise(p, q, [0])
    errors = errors_at(operator, offer)
    hour = calibrate(GAUSSIAN, offer.rows(0), errors, gain=NO_GAIN, known=None, reach=1e3)
    fixed = np.array([[-3.0, -7.0]]), np.array([[-1.0, -2.0]])
    rows = pose_rows(offer, hour, fixed, network=0, t=0, conic=True)
    assert [row.conic for row in rows] == [True, True]
    p, q = np.array([[20.0, 8.0]]), np.array([[0.5, 3.0]])
    v = operator.voltage(p, q)[0, 0]
    left = [UPPER - (v + 1e-3), (v + 1e-3) - LOWER]  # the mean error adds 1 kW
    for row, expected in zip(rows, left, strict=True):
        moved = row.d_p @ (p - fixed[0])[0] + row.d_q @ (q - fixed[1])[0]
        assert row.room - moved == pytest.approx(expected)
        sigma = row.kappa * np.hypot(np.linalg.norm(row.root @ row.beta), row.remainder)
        assert sigma == pytest.approx(norm.ppf(0.95) * 1e-3 * SIGMA)
        np.testing.assert_allclose(row.mean_signal, [1.0])
    ahead = pose_rows(offer, hour, fixed, network=0, t=0, conic=False)
    assert not any(row.conic for row in ahead)


# --- statistics of the total error ------------------------------------------------------------

TOTAL = np.array([-6.0, 0.0, 4.0, 10.0])
"""Half of network A's error; its mean is 2 kW."""
TWO_NETWORKS = make_roster({"a": Peer(), "b": Peer(), "c": Peer(network="B")}, n_steps=2)


def statistics(n_signals, pool_of, other=(0.0, 0.0, 0.0, 0.0), radius=0.1):
    """Statistics of two networks' errors under the Gaussian method."""
    samples = [errors_of({0: TOTAL, 1: TOTAL}, 2, n_steps=2), errors_of({0: other}, 1, n_steps=2)]
    uncertainty = Uncertainty(samples, RecoursePolicy(n_signals, np.array(pool_of)), TWO_NETWORKS)
    factors = [[make_safety_factor("gaussian", 0.05, radius)] * 2] * 2
    return second_stage(factors, uncertainty, 2)


def test_statistics_of_the_total_error():
    s = statistics(1, [0, 1])
    std = 2 * np.std(TOTAL)
    np.testing.assert_allclose(s.expected_surplus_kw, [[7.0, 0.0]] * 2)
    np.testing.assert_allclose(s.expected_shortage_kw, [[3.0, 0.0]] * 2)
    np.testing.assert_allclose(s.transport_kw, [[0.1 * std, 0.0]] * 2)
    for reserve in (s.reserve_up_kw, s.reserve_down_kw):
        np.testing.assert_allclose(reserve, [[4.0 + norm.ppf(0.975) * std, 0.0]] * 2)


def test_separate_shares_keep_room_for_the_quantile_of_their_own_side():
    s = statistics(2, [0, 1])
    margin = norm.ppf(0.975) * 2 * np.std(TOTAL)
    np.testing.assert_allclose(s.reserve_up_kw, [[margin - 4.0, 0.0]] * 2)
    np.testing.assert_allclose(s.reserve_down_kw, [[margin + 4.0, 0.0]] * 2)


def test_errors_of_a_pool_cancel():
    s = statistics(1, [0, 0], other=-2 * TOTAL)
    for kw in vars(s).values():
        np.testing.assert_allclose(kw, np.zeros((2, 1)), atol=1e-12)
    s = statistics(1, [0, 0], other=[0.0, 0.0, -8.0, -8.0])
    np.testing.assert_allclose(s.expected_surplus_kw, [[3.0]] * 2)
    np.testing.assert_allclose(s.expected_shortage_kw, [[3.0]] * 2)


def test_every_network_and_step_has_the_radius_of_its_own_factor():
    samples = [errors_of({0: xi, 1: xi}, 2, n_steps=2) for xi in (TOTAL, 3 * TOTAL)]
    for pool_of, expected in (([0, 1], [[0.2, 1.8], [0.6, 2.4]]), ([0, 0], [[0.8], [2.4]])):
        uncertainty = Uncertainty(samples, RecoursePolicy(1, np.array(pool_of)), TWO_NETWORKS)
        radius = [[0.1, 0.3], [0.3, 0.4]]
        factors = [[make_safety_factor("gaussian", 0.05, r) for r in of] for of in radius]
        s = second_stage(factors, uncertainty, 2)
        np.testing.assert_allclose(s.transport_kw, np.std(TOTAL) * np.array(expected))


def test_power_kept_ready_is_the_mean_of_both_directions():
    up, down = np.array([[8.0, 20.0]]), np.array([[4.0, 10.0]])
    second = SecondStage(up, up, up, reserve_up_kw=up, reserve_down_kw=down)
    alpha = np.array([[[0.5, 0.1], [0.25, 0.3]]])  # surplus, then shortage
    ready = second.ready_kw(alpha, np.array([0, 1]))
    np.testing.assert_allclose(ready, [[(2.0 + 2.0) / 2, (1.0 + 6.0) / 2]])
