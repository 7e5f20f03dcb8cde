"""Safety factors and certificates at a schedule, and the rows that enter the problem."""

import numpy as np
import pytest
from scipy.stats import norm

from market.calibration import (
    FOLLOWS,
    calibrate,
    certify,
    kept_distance,
    pose_rows,
    second_stage,
    standardise,
)
from market.chance import Moments, RowErrors
from market.safety_factors import make_safety_factor
from tests.market.builders import LOWER, UPPER, FakeOperator, errors_of

XI = np.array([-6.0, -2.0, 0.0, 3.0, 5.0])
SIGMA = float(np.std(XI))
GAUSSIAN = make_safety_factor("gaussian", 0.05, 0.0)


def offer_at(p_kw, r=1e-3, q_kvar=0.0, **changes):
    """One bus, one member with the errors above."""
    operator = FakeOperator("A", errors_of({0: XI}, 1), np.array([[r]]), **changes)
    return operator.linearise(np.array([[p_kw]]), np.array([[q_kvar]]), [0]), operator.samples


def test_standardised_errors_have_mean_zero_and_variance_one():
    rng = np.random.default_rng(4)
    w = rng.dirichlet(np.ones(30))
    errors = RowErrors(rng.normal(1.0, 0.01, (30, 4)), rng.normal(2.0, 5.0, 30), w)
    gain = np.linspace(-1e-3, 3e-3, 4)
    z, sigma, mean = standardise(errors, Moments.of(errors), gain)
    np.testing.assert_allclose(w @ z, 0.0, atol=1e-12)
    np.testing.assert_allclose(w @ z**2, 1.0)
    np.testing.assert_allclose(mean + sigma * z, errors.recourse(gain))


def test_rows_without_errors_can_be_standardised():
    errors = RowErrors(np.zeros((3, 1)), np.zeros(3), np.full(3, 1 / 3))
    z, sigma, _ = standardise(errors, Moments.of(errors), np.zeros(1))
    np.testing.assert_array_equal(z, 0.0)
    assert sigma[0] > 0


def test_the_margin_is_mean_plus_kappa_sigma():
    offer, samples = offer_at(30.0)
    hour = calibrate(GAUSSIAN, offer, samples, 0, gain=np.array([2e-4, 0]), known=None, reach=6.0)
    sigma = np.array([8e-4, 1e-3]) * SIGMA
    np.testing.assert_allclose(hour.margin, norm.ppf(0.95) * sigma)


@pytest.mark.parametrize(("reach", "chosen"), [(0.0, []), (6.0, [0])])
def test_rows_within_reach_of_their_margin_are_chosen(reach, chosen):
    offer, samples = offer_at(50.0 - (norm.ppf(0.95) + 3.0) * SIGMA)
    hour = calibrate(GAUSSIAN, offer, samples, 0, gain=np.zeros(2), known=None, reach=reach)
    np.testing.assert_array_equal(hour.chosen, chosen)


def test_rows_once_chosen_are_kept():
    high, samples = offer_at(50.0)
    low, _ = offer_at(-50.0)
    first = calibrate(GAUSSIAN, high, samples, 0, gain=np.zeros(2), known=None, reach=1.0)
    second = calibrate(GAUSSIAN, low, samples, 0, gain=np.zeros(2), known=first, reach=1.0)
    np.testing.assert_array_equal(first.chosen, [0])
    np.testing.assert_array_equal(second.chosen, [0, 1])


@pytest.mark.parametrize(
    ("p_kw", "expected"), [(40.0, 0.0), (46.0, 0.2), (47.5, 0.4), (51.0, 0.6), (-50.0, 0.4)]
)
def test_the_certificate_counts_samples_beyond_either_limit(p_kw, expected):
    offer, samples = offer_at(p_kw)
    factor = make_safety_factor("wasserstein_joint", 0.05, 0.0)
    audit = certify(factor, offer, samples, 0, gain=np.zeros(2), known=None, binding=True)
    assert audit.certificate == pytest.approx(expected)
    slack = np.array([UPPER - (1 + 1e-3 * p_kw), 1 + 1e-3 * p_kw - LOWER]) / (1e-3 * SIGMA)
    np.testing.assert_allclose(audit.gap + audit.kappa, slack, atol=1e-9)


def test_the_certificate_grows_with_the_radius():
    offer, samples = offer_at(40.0)
    probabilities = [
        certify(
            make_safety_factor("wasserstein_joint", 0.05, radius),
            offer,
            samples,
            0,
            gain=np.zeros(2),
            known=None,
            binding=False,
        ).certificate
        for radius in (0.0, 0.01, 0.1, 1.0)
    ]
    # The nearest fifth of the mass stands 5 kW from the limit.
    assert probabilities[1] == pytest.approx(0.01 / (5.0 / SIGMA))
    assert probabilities == sorted(probabilities)
    assert probabilities[0] == 0.0


def test_without_a_power_flow_there_is_no_promise():
    offer, samples = offer_at(0.0, collapses=True)
    audit = certify(GAUSSIAN, offer, samples, 0, gain=np.zeros(2), known=None, binding=False)
    assert audit.certificate == 1.0


def test_rows_further_than_the_tightest_keep_their_distance():
    slack = np.array([1.5, 1.5 + FOLLOWS / 2, 1.5 + 2 * FOLLOWS, 9.0])
    np.testing.assert_allclose(kept_distance(slack, None), [0.0, 0.0, 1.5 + 2 * FOLLOWS, 9.0])


def test_posed_rows_give_the_value_at_any_injection():
    operator = FakeOperator("A", errors_of({0: XI + 1.0}, 2), np.array([[1e-3, 4e-4]]))
    operator.X = np.array([[5e-4, 2e-4]])
    p, q = np.array([[60.0, -5.0]]), np.array([[2.0, -1.0]])
    offer = operator.linearise(p, q, [0])
    hour = calibrate(GAUSSIAN, offer, operator.samples, 0, gain=np.zeros(2), known=None, reach=1e3)
    fixed = np.array([[-3.0, -7.0]]), np.array([[-1.0, -2.0]])
    rows = pose_rows(offer, hour, fixed, network=0, t=0, conic=True)
    assert [row.conic for row in rows] == [True, True]
    p, q = np.array([[20.0, 8.0]]), np.array([[0.5, 3.0]])
    v = operator.voltage(p, q)[0, 0]
    left = [UPPER - (v + 1e-3), (v + 1e-3) - LOWER]  # the mean error adds 1 kW
    for row, expected in zip(rows, left, strict=True):
        moved = row.d_p @ (p - fixed[0])[0] + row.d_q @ (q - fixed[1])[0]
        assert row.room - moved == pytest.approx(expected)
        sigma = row.kappa * np.hypot(row.beta * row.std_omega, row.remainder)
        assert sigma == pytest.approx(norm.ppf(0.95) * 1e-3 * SIGMA)
        assert row.mean_omega == pytest.approx(1.0)
    ahead = pose_rows(offer, hour, fixed, network=0, t=0, conic=False)
    assert not any(row.conic for row in ahead)


def test_statistics_of_the_total_error():
    xi = np.array([-6.0, 0.0, 4.0, 10.0])
    samples = [errors_of({0: xi, 1: xi}, 2, n_steps=2), errors_of({0: [0.0, 0.0]}, 1, n_steps=2)]
    factor = make_safety_factor("gaussian", 0.05, 0.1)
    s = second_stage(factor, samples, 2)
    std = 2 * np.std(xi)
    np.testing.assert_allclose(s.expected_surplus_kw, [[7.0, 0.0]] * 2)
    np.testing.assert_allclose(s.expected_shortage_kw, [[3.0, 0.0]] * 2)
    np.testing.assert_allclose(s.transport_kw, [[0.1 * std, 0.0]] * 2)
    np.testing.assert_allclose(s.reserve_kw, [[4.0 + norm.ppf(0.975) * std, 0.0]] * 2)
