"""Chance rows: moments against the samples, and the tangent that stands for a cone."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from market.chance import ChanceRow, Moments, RowErrors

moderate = st.floats(-10.0, 10.0).map(lambda x: round(x, 6))


def random_errors(seed, n_samples=25, n_rows=4):
    rng = np.random.default_rng(seed)
    return RowErrors(
        u=rng.normal(rng.normal(size=n_rows), 1.0, (n_samples, n_rows)),
        omega=rng.normal(rng.normal(), 3.0, n_samples),
        weights=rng.dirichlet(np.ones(n_samples)),
    )


def direct(errors, gain):
    """Weighted mean and standard deviation of the samples themselves."""
    scenario = errors.recourse(gain)
    mean = errors.weights @ scenario
    return mean, np.sqrt(errors.weights @ (scenario - mean) ** 2)


@pytest.mark.parametrize("seed", range(5))
def test_moments_are_those_of_the_samples_under_any_recourse(seed):
    errors = random_errors(seed)
    moments = Moments.of(errors)
    rng = np.random.default_rng(seed + 100)
    for gain in (np.zeros(4), moments.beta, rng.normal(size=4)):
        mean, sigma = direct(errors, gain)
        np.testing.assert_allclose(moments.mean(gain), mean, atol=1e-12)
        np.testing.assert_allclose(moments.sigma(gain), sigma, rtol=1e-10)


@given(
    arrays(float, (6, 2), elements=moderate),
    arrays(float, 6, elements=moderate),
    arrays(float, 2, elements=moderate),
)
def test_moments_hold_for_degenerate_samples_too(u, omega, gain):
    errors = RowErrors(u, omega, np.full(6, 1 / 6))
    mean, sigma = direct(errors, gain)
    moments = Moments.of(errors)
    np.testing.assert_allclose(moments.mean(gain), mean, atol=1e-9)
    np.testing.assert_allclose(moments.sigma(gain), sigma, atol=1e-6)


def test_no_recourse_beats_the_regression_on_the_total_error():
    errors = random_errors(7)
    moments = Moments.of(errors)
    np.testing.assert_allclose(moments.sigma(moments.beta), moments.remainder)
    for step in (-0.1, 0.1):
        assert (moments.sigma(moments.beta + step) > moments.remainder).all()


def test_recourse_takes_back_a_share_of_the_total_error():
    errors = RowErrors(np.array([[0.004], [-0.002]]), np.array([4.0, -2.0]), np.full(2, 0.5))
    np.testing.assert_allclose(errors.recourse(np.array([1e-3])), 0.0, atol=1e-15)
    np.testing.assert_allclose(errors.recourse(np.array([4e-4]))[:, 0], [0.0024, -0.0012])


def row(beta, remainder, std_omega, gain):
    return ChanceRow(
        network=0,
        step=0,
        conic=False,
        d_p=np.zeros(1),
        d_q=np.zeros(1),
        room=0.0,
        kappa=1.0,
        beta=beta,
        remainder=remainder,
        mean_omega=0.0,
        std_omega=std_omega,
        gain=gain,
    )


@given(
    moderate,
    st.floats(0.0, 10.0),
    st.floats(0.0, 10.0),
    moderate,
    arrays(float, 5, elements=moderate),
)
def test_the_tangent_touches_the_deviation_and_stays_below(beta, remainder, std, gain, others):
    def sigma(g):
        return np.hypot((beta - g) * std, remainder)

    assume(sigma(gain) == 0.0 or sigma(gain) > 1e-9)
    value, slope = row(beta, remainder, std, gain).tangent
    assert value + slope * gain == pytest.approx(sigma(gain), abs=1e-9)
    assert (value + slope * others <= sigma(others) + 1e-9).all()


def test_the_tangent_at_the_kink_is_flat():
    assert row(0.3, 0.0, 2.0, gain=0.3).tangent == (0.0, 0.0)
