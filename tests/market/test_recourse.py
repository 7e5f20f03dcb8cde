"""The policy of the second stage: signals, pools, and what is asked of the devices."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from market.recourse import RecoursePolicy, network_errors
from tests.market.builders import Peer, battery, make_roster, settings, unit

ROSTER = make_roster(
    {
        "home": Peer(),
        "cell": Peer(battery=battery(), network="B"),
        "unit": Peer(unit=unit()),
        "both": Peer(battery=battery(), unit=unit(), network="B"),
        "far": Peer(unit=unit(), network="C"),
    }
)
# Batteries first, then units: cell, both | unit, both, far.
OWNER_NETWORK = np.array([1, 1, 0, 1, 2])


def policy(shares, pool):
    return RecoursePolicy.of(settings(recourse_shares=shares, recourse_pool=pool), 3)


POLICIES = [policy(s, p) for s in ("common", "up_down") for p in ("network", "all")]
policies = st.sampled_from(POLICIES)
kw = st.floats(-1e3, 1e3).map(lambda x: round(x, 6))


def upstream(alpha, at):
    """What is left of each signal for the upstream grid, (n_signals, n_pools)."""
    taken = np.zeros((at.n_signals, at.n_pools))
    np.add.at(taken.T, at.pool_of[OWNER_NETWORK], alpha.T)
    return 1 - taken


def test_devices_answer_their_share_of_their_networks_error():
    alpha = np.array([[0.1, 0.2, 0.5, 0.3, 1.0]])
    asked = policy("common", "network").asked(alpha, np.array([-4.0, 10.0, 3.0]), ROSTER)
    np.testing.assert_allclose(asked, [-1.0, -2.0, 2.0, -3.0, -3.0])


def test_devices_of_one_pool_answer_the_sum_of_all_errors():
    alpha = np.array([[0.1, 0.2, 0.5, 0.0, 0.2]])
    asked = policy("common", "all").asked(alpha, np.array([-4.0, 10.0, 4.0]), ROSTER)
    np.testing.assert_allclose(asked, [-1.0, -2.0, -5.0, 0.0, -2.0])


def test_surplus_and_shortage_have_a_share_each():
    # The first row of shares answers a surplus by injecting less, the second a shortage.
    alpha = np.array([[0.1, 0.2, 0.5, 0.0, 1.0], [0.4, 0.0, 0.25, 0.6, 0.5]])
    asked = policy("up_down", "network").asked(alpha, np.array([-4.0, 10.0, -6.0]), ROSTER)
    np.testing.assert_allclose(asked, [-1.0, -2.0, 1.0, 0.0, 3.0])


@given(policies, arrays(float, st.sampled_from([(), (4,), (2, 3)]), elements=kw))
def test_signals_add_up_to_the_error(at, omega):
    signals = at.signals(omega)
    assert signals.shape == (*omega.shape, at.n_signals)
    np.testing.assert_array_equal(signals.sum(axis=-1), omega)
    if at.n_signals == 2:
        assert (signals[..., at.surplus] >= 0).all()
        assert (signals[..., at.shortage] <= 0).all()
        assert (signals.prod(axis=-1) == 0).all()


@given(policies, arrays(float, 3, elements=kw), st.integers(0, 10**6))
def test_devices_and_upstream_grid_answer_the_whole_error(at, omega, seed):
    # The shares of a pool's four or five devices never exceed one.
    alpha = np.random.default_rng(seed).uniform(0, 0.2, (at.n_signals, 5))
    asked = np.bincount(at.pool_of[OWNER_NETWORK], at.asked(alpha, omega, ROSTER), at.n_pools)
    pooled = np.bincount(at.pool_of, omega, at.n_pools)
    rest = -(at.signals(pooled) * upstream(alpha, at).T).sum(axis=-1)
    np.testing.assert_allclose(asked + rest, -pooled, atol=1e-9)


@given(policies, arrays(float, (4, 2, 3), elements=kw), st.integers(0, 10**6))
def test_scenarios_are_answered_one_by_one(at, omega, seed):
    alpha = np.random.default_rng(seed).uniform(0, 1, (at.n_signals, 5))
    asked = at.asked(alpha, omega, ROSTER)
    assert asked.shape == (4, 2, 5)
    for place in np.ndindex(4, 2):
        np.testing.assert_allclose(asked[place], at.asked(alpha, omega[place], ROSTER), atol=1e-9)


@given(st.sampled_from(["network", "all"]), arrays(float, 3, elements=kw), st.integers(0, 10**6))
def test_equal_shares_both_ways_are_one_common_share(pool, omega, seed):
    alpha = np.random.default_rng(seed).uniform(0, 1, (1, 5))
    affine = -alpha[0] * (omega[OWNER_NETWORK] if pool == "network" else omega.sum())
    np.testing.assert_allclose(
        policy("common", pool).asked(alpha, omega, ROSTER), affine, atol=1e-9
    )
    both = np.vstack([alpha, alpha])
    np.testing.assert_allclose(
        policy("up_down", pool).asked(both, omega, ROSTER), affine, atol=1e-9
    )


@pytest.mark.parametrize(
    ("pool", "networks", "pooled"),
    [("network", [[0], [1], [2]], [[1.0, -2.0, 4.0]]), ("all", [[0, 1, 2]], [[3.0]])],
)
def test_errors_add_up_within_a_pool(pool, networks, pooled):
    at = policy("common", pool)
    assert [at.networks(p).tolist() for p in range(at.n_pools)] == networks
    np.testing.assert_array_equal(at.pooled(np.array([[1.0, -2.0, 4.0]])), pooled)


def test_errors_add_up_by_network():
    errors = np.array([1.0, 2.0, -4.0, 8.0, 16.0])
    np.testing.assert_allclose(network_errors(errors, ROSTER), [-3, 10, 16])
    np.testing.assert_allclose(
        network_errors(np.stack([errors, -errors]), ROSTER)[1], [3, -10, -16]
    )
