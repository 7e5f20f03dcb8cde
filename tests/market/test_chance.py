"""Chance rows: moments against the samples, and the tangent that stands for a cone."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from market.chance import ChanceRow, Moments, RowErrors
from tests.market.builders import COMMON, UP_DOWN

moderate = st.floats(-10.0, 10.0).map(lambda x: round(x, 6))
policies = pytest.mark.parametrize("policy", [COMMON, UP_DOWN], ids=["common", "up_down"])


def random_errors(seed, policy=COMMON, n_samples=25, n_rows=4):
    rng = np.random.default_rng(seed)
    return RowErrors(
        u=rng.normal(rng.normal(size=n_rows), 1.0, (n_samples, n_rows)),
        signals=policy.signals(rng.normal(rng.normal(), 3.0, n_samples)),
        weights=rng.dirichlet(np.ones(n_samples)),
    )


def direct(errors, gain):
    """Weighted mean and standard deviation of the samples themselves."""
    scenario = errors.u - errors.signals @ gain.T
    mean = errors.weights @ scenario
    return mean, np.sqrt(errors.weights @ (scenario - mean) ** 2)


@policies
@pytest.mark.parametrize("seed", range(5))
def test_moments_are_those_of_the_samples_under_any_recourse(policy, seed):
    errors = random_errors(seed, policy)
    moments = Moments.of(errors)
    rng = np.random.default_rng(seed + 100)
    shape = (4, policy.n_signals)
    for gain in (np.zeros(shape), moments.beta, rng.normal(size=shape)):
        mean, sigma = direct(errors, gain)
        np.testing.assert_allclose(moments.mean(gain), mean, atol=1e-12)
        deviation = errors.u - errors.signals @ gain.T - mean
        np.testing.assert_allclose(errors.deviation(gain, mean), deviation, atol=1e-12)
        np.testing.assert_allclose(moments.sigma(gain), sigma, rtol=1e-10)


@given(
    arrays(float, (6, 2), elements=moderate),
    arrays(float, (6, 2), elements=moderate),
    st.lists(st.integers(0, 5), min_size=6, max_size=6).filter(any),
    arrays(float, (2, 2), elements=moderate),
)
def test_moments_hold_for_degenerate_samples_too(u, signals, mass, gain):
    weights = np.array(mass) / sum(mass)
    for columns in (signals, signals[:, :1], signals[:, [0, 0]], signals * [1, 0]):
        errors = RowErrors(u, columns, weights)
        at = gain[:, : columns.shape[1]]
        mean, sigma = direct(errors, at)
        moments = Moments.of(errors)
        np.testing.assert_allclose(moments.mean(at), mean, atol=1e-9)
        # Directions of less than a millionth of the largest deviation count as constant.
        np.testing.assert_allclose(moments.sigma(at), sigma, atol=3e-4)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_an_error_of_one_sign_leaves_the_other_signal_constant(sign):
    rng = np.random.default_rng(11)
    omega = sign * rng.uniform(1.0, 5.0, 20)
    u = 1e-3 * omega[:, None] * [1.0, 2.0] + 1e-4 * rng.normal(size=(20, 2))
    errors = RowErrors(u, UP_DOWN.signals(omega), rng.dirichlet(np.ones(20)))
    moments = Moments.of(errors)
    idle = UP_DOWN.shortage if sign > 0 else UP_DOWN.surplus
    np.testing.assert_array_equal(moments.beta[:, idle], 0.0)
    gain = rng.normal(0, 1e-3, (2, 2))
    expected = direct(errors, gain)[1]
    np.testing.assert_allclose(moments.sigma(gain), expected, rtol=1e-10)
    gain[:, idle] += 7.0  # answering what never happens changes nothing
    np.testing.assert_allclose(moments.sigma(gain), expected, rtol=1e-10)


def test_without_any_error_nothing_is_explained():
    moments = Moments.of(RowErrors(np.zeros((3, 1)), np.zeros((3, 2)), np.full(3, 1 / 3)))
    np.testing.assert_array_equal(moments.beta, 0.0)
    np.testing.assert_array_equal(moments.sigma(np.ones((1, 2))), 0.0)


@policies
def test_no_recourse_beats_the_regression_on_the_signals(policy):
    errors = random_errors(7, policy)
    moments = Moments.of(errors)
    np.testing.assert_allclose(moments.sigma(moments.beta), moments.remainder)
    for step in 0.1 * np.vstack([np.eye(policy.n_signals), -np.eye(policy.n_signals)]):
        assert (moments.sigma(moments.beta + step) > moments.remainder).all()


def test_recourse_takes_back_a_share_of_each_signal():
    omega, weights = np.array([4.0, -2.0]), np.full(2, 0.5)
    u = np.array([[0.004], [-0.002]])

    def left(policy, *gain):
        errors = RowErrors(u, policy.signals(omega), weights)
        return errors.deviation(np.array([gain]), np.zeros(1))[:, 0]

    np.testing.assert_allclose(left(COMMON, 1e-3), 0.0, atol=1e-15)
    np.testing.assert_allclose(left(COMMON, 4e-4), [0.0024, -0.0012])
    np.testing.assert_allclose(left(UP_DOWN, 1e-3, 0.0), [0.0, -0.002])
    np.testing.assert_allclose(left(UP_DOWN, 0.0, 5e-4), [0.004, -0.001])


def row(beta, remainder, root, gain):
    return ChanceRow(
        network=0,
        step=0,
        index=0,
        conic=False,
        d_p=np.zeros(1),
        d_q=np.zeros(1),
        room=0.0,
        kappa=1.0,
        beta=np.asarray(beta, dtype=float),
        remainder=remainder,
        mean_signal=np.zeros(len(root)),
        root=np.asarray(root, dtype=float),
        gain=np.asarray(gain, dtype=float),
    )


@given(st.data(), st.integers(1, 2), st.floats(0.0, 10.0))
def test_the_tangent_touches_the_deviation_and_stays_below(data, n, remainder):
    beta, gain = (data.draw(arrays(float, n, elements=moderate)) for _ in range(2))
    root = data.draw(arrays(float, (n, n), elements=moderate))  # singular ones are among them
    others = data.draw(arrays(float, (5, n), elements=moderate))

    def sigma(g):
        return np.sqrt(((g - beta) @ root.T) ** 2 @ np.ones(n) + remainder**2)

    assume(sigma(gain) == 0.0 or sigma(gain) > 1e-9)
    value, slope = row(beta, remainder, root, gain).tangent
    assert value + slope @ gain == pytest.approx(sigma(gain), abs=1e-9)
    assert (value + others @ slope <= sigma(others) + 1e-9).all()


@pytest.mark.parametrize(("root", "gain"), [([[2.0]], [0.3]), ([[2, 1], [0, 0]], [0.3, 0.1])])
def test_the_tangent_at_the_kink_is_flat(root, gain):
    value, slope = row(gain, 0.0, root, gain).tangent
    assert value == 0.0
    np.testing.assert_array_equal(slope, 0.0)
