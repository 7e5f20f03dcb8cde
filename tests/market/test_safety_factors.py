"""Safety factors: closed forms, a convex programme in the error space, and their order."""

from itertools import pairwise
from typing import get_args

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.linalg import sqrtm

from configs.schema import MethodName
from market.ambiguity import common_safety_factor, joint_margin, worst_case_probability
from market.safety_factors import METHODS, make_safety_factor


def factor(name, z, weights=None, *, risk_level=0.05, radius=0.0, slack_ratio=None):
    weights = np.full(len(z), 1.0 / len(z)) if weights is None else weights
    slack_ratio = np.zeros(z.shape[1]) if slack_ratio is None else slack_ratio
    return make_safety_factor(name, risk_level, radius).factors(z, weights, slack_ratio)


def standardise(samples, weights):
    centred = samples - weights @ samples
    return centred / np.sqrt(weights @ centred**2)


@pytest.fixture
def z():
    rng = np.random.default_rng(3)
    samples = rng.standard_t(4, size=(100, 3)) @ rng.normal(size=(3, 6))
    return standardise(samples, np.full(100, 0.01))


# --- closed forms -----------------------------------------------------------------------------


def test_deterministic_ignores_the_uncertainty(z):
    np.testing.assert_array_equal(factor("deterministic", z, radius=0.3), np.zeros(6))


@pytest.mark.parametrize(
    ("risk_level", "expected"), [(0.05, 1.6448536269514722), (0.01, 2.3263478740408408)]
)
def test_gaussian_is_the_normal_quantile(z, risk_level, expected):
    np.testing.assert_allclose(factor("gaussian", z, risk_level=risk_level), np.full(6, expected))


@pytest.mark.parametrize(("risk_level", "expected"), [(0.05, np.sqrt(19.0)), (0.2, 2.0)])
def test_moment_is_the_bound_of_cantelli(z, risk_level, expected):
    np.testing.assert_allclose(factor("moment", z, risk_level=risk_level), np.full(6, expected))


def test_moment_is_attained_by_a_two_point_distribution():
    # Mass eps at sqrt((1 - eps) / eps) has mean zero and variance one with the rest below zero.
    weights = np.array([0.2, 0.8])
    z = standardise(np.array([[1.0], [0.0]]), weights)
    assert z[0, 0] == pytest.approx(factor("moment", z, weights, risk_level=0.2)[0])
    assert factor("empirical", z, weights, risk_level=0.2 - 1e-6)[0] == pytest.approx(2.0)


def test_empirical_is_the_sample_quantile(z):
    np.testing.assert_array_equal(factor("empirical", z, radius=0.3), np.sort(z, axis=0)[-6])


def test_robust_is_the_largest_sample_that_has_any_weight(z):
    np.testing.assert_array_equal(factor("robust", z, radius=0.3), z.max(axis=0))
    weights = np.array([0.0, 0.4, 0.6])
    kappa = factor("robust", np.array([[9.0, 1.0], [2.0, 0.5], [1.0, 3.0]]), weights)
    np.testing.assert_array_equal(kappa, [2.0, 3.0])


def test_hypercube_by_hand():
    # The largest absolute values are 4, 3, 1, 1: of tail mass 0.5, 4 and 3 are to be pushed to
    # the side s. 0.25 (s - 4) + 0.25 (s - 3) = radius where s >= 4, else 0.25 (s - 3) = radius.
    z = np.array([[-4.0, 1.0], [0.5, 3.0], [1.0, 0.0], [0.0, -1.0]])
    for radius, side in ((0.0, 1.0), (1e-9, 3.0), (0.125, 3.5), (0.75, 5.0)):
        kappa = factor("hypercube", z, risk_level=0.5, radius=radius)
        np.testing.assert_allclose(kappa, [side, side], atol=1e-8)


# --- the CVaR method, written out in the error space ------------------------------------------


@pytest.mark.parametrize("n_dims", [1, 2, 4])
@pytest.mark.parametrize("radius", [0.0, 0.01, 0.1])
def test_wasserstein_cvar_solves_the_programme_of_esfahani_and_kuhn(n_dims, radius):
    """Smallest limit of a' xi whose worst-case CVaR over the ball is met (their Corollary 5.1)."""
    risk_level = 0.13
    rng = np.random.default_rng(n_dims)
    xi = rng.standard_t(4, size=(30, n_dims)) @ rng.normal(size=(n_dims, n_dims)) + 1.0
    weights = rng.dirichlet(np.ones(30))
    a = rng.normal(size=n_dims)
    mean = weights @ xi
    covariance = (xi - mean).T @ (weights[:, np.newaxis] * (xi - mean))

    limit, tau, price = cp.Variable(), cp.Variable(), cp.Variable()
    loss = cp.Variable(30)
    # The dual of the Mahalanobis norm of xi is the norm with the root of the covariance.
    slope = float(np.linalg.norm(np.real(sqrtm(covariance)) @ a))
    problem = cp.Problem(
        cp.Minimize(limit),
        [
            tau + (radius * price + weights @ loss) / risk_level <= 0.0,
            loss >= xi @ a - limit - tau,
            loss >= 0.0,
            price >= slope,
        ],
    )
    problem.solve(solver=cp.CLARABEL)

    sigma = np.sqrt(a @ covariance @ a)
    z = standardise(xi @ a[:, np.newaxis], weights)
    kappa = factor("wasserstein_cvar", z, weights, risk_level=risk_level, radius=radius)[0]
    assert limit.value == pytest.approx(mean @ a + kappa * sigma, abs=1e-6)


# --- relations between the methods ------------------------------------------------------------

N_SAMPLES, N_ROWS = 20, 3
samples = arrays(float, (N_SAMPLES, N_ROWS), elements=st.floats(-10.0, 10.0, width=32)).filter(
    lambda values: (values.std(axis=0) > 1e-3).all()
)
radii = st.one_of(st.just(0.0), st.floats(1e-6, 1.0))
risk_levels = st.floats(0.01, 0.6)


@settings(max_examples=100, deadline=None)
@given(samples, radii, risk_levels)
def test_methods_are_ordered_from_optimistic_to_conservative(values, radius, risk_level):
    z = standardise(values, np.full(N_SAMPLES, 1.0 / N_SAMPLES))
    kappa = {name: factor(name, z, risk_level=risk_level, radius=radius) for name in METHODS}
    chain = [
        kappa["deterministic"],
        kappa["empirical"],
        kappa["wasserstein"],
        kappa["wasserstein_cvar"],
        # CVaR of the samples obeys the moment bound; the ball comes on top of it.
        kappa["moment"] + radius / risk_level,
    ]
    for smaller, larger in pairwise(chain):
        assert (smaller <= larger + 1e-9).all()
    # Where all rows follow the factor, the joint constraint implies each individual one, and the
    # box implies the joint constraint.
    for smaller, larger in pairwise(["wasserstein", "wasserstein_joint", "hypercube"]):
        assert (kappa[smaller] <= kappa[larger] + 1e-9).all()
    assert (kappa["empirical"] <= kappa["robust"]).all()


@settings(max_examples=50, deadline=None)
@given(samples, radii, risk_levels, st.lists(st.floats(0.0, 9.0), min_size=3, max_size=3))
def test_whatever_fits_the_box_keeps_the_joint_constraint(values, radius, risk_level, extra):
    weights = np.full(N_SAMPLES, 1.0 / N_SAMPLES)
    z = standardise(values, weights)
    kappa = factor("hypercube", z, risk_level=risk_level, radius=radius)
    # Rows on both sides of the quantities, some of them beyond the margin.
    both_sides = joint_margin(np.hstack([z, -z]), np.hstack([kappa, kappa]))
    assert worst_case_probability(both_sides, weights, radius) <= risk_level + 1e-9
    if radius > 0.0:  # and no smaller box would do
        smaller = worst_case_probability(both_sides - 1e-6, weights, radius)
        assert smaller > risk_level - 1e-9
    margin = joint_margin(z, kappa + np.array(extra))
    assert worst_case_probability(margin, weights, radius) <= risk_level + 1e-9
    smallest = factor("wasserstein_joint", z, risk_level=risk_level, radius=radius)
    assert (smallest <= kappa + 1e-9).all()


@settings(max_examples=50, deadline=None)
@given(samples, risk_levels)
def test_no_sample_violates_the_robust_factors(values, risk_level):
    weights = np.full(N_SAMPLES, 1.0 / N_SAMPLES)
    z = standardise(values, weights)
    kappa = factor("robust", z, risk_level=risk_level)
    assert worst_case_probability(joint_margin(z, kappa), weights, 0.0) == 0.0
    # With fewer samples than 1 / risk_level no sample may violate: nothing is left to choose.
    np.testing.assert_array_equal(factor("empirical", z, risk_level=0.9 / N_SAMPLES), kappa)


@settings(max_examples=50, deadline=None)
@given(samples, st.floats(0.01, 0.6))
def test_a_vanishing_radius_tends_to_the_sample_quantile(values, risk_level):
    """For individual rows and jointly; at jumps of the quantile to the value before the jump."""
    mass = risk_level * N_SAMPLES
    if abs(mass - round(mass)) < 1e-3:
        risk_level += 0.5 / N_SAMPLES
    # The sample at the quantile gives at least 0.001 of a sample's weight to the tail.
    bound = 1e-7 / (1e-3 / N_SAMPLES)
    z = standardise(values, np.full(N_SAMPLES, 1.0 / N_SAMPLES))
    for method, limit in (
        ("wasserstein", factor("empirical", z, risk_level=risk_level)),
        ("wasserstein_joint", factor("empirical", z.max(axis=1)[:, None], risk_level=risk_level)),
        ("hypercube", factor("empirical", abs(z).max(axis=1)[:, None], risk_level=risk_level)),
    ):
        kappa = factor(method, z, risk_level=risk_level, radius=1e-7)
        assert (kappa >= limit - 1e-12).all()
        assert (kappa <= limit + bound).all()
    # CVaR keeps its distance, the mean beyond the quantile.
    cvar = factor("wasserstein_cvar", z, risk_level=risk_level, radius=1e-7)
    zero = factor("wasserstein_cvar", z, risk_level=risk_level)
    np.testing.assert_allclose(cvar, zero + 1e-7 / risk_level)


weighted = (
    arrays(float, N_SAMPLES, elements=st.integers(0, 4).map(float))
    .filter(lambda counts: (counts > 0.0).sum() > 1)
    .map(lambda counts: counts / counts.sum())
)


@pytest.mark.parametrize("name", METHODS)
@settings(max_examples=60, deadline=None)
@given(
    z=arrays(float, (N_SAMPLES, N_ROWS), elements=st.floats(-4.0, 4.0, width=32)),
    weights=weighted,
    ball=st.tuples(risk_levels, radii),
    added=st.tuples(
        st.integers(0, N_SAMPLES - 1),
        arrays(float, (2, N_ROWS), elements=st.floats(-1e3, 1e3)),
    ),
)
def test_weights_count_and_not_rows(name, z, weights, ball, added):
    method, slack_ratio = make_safety_factor(name, *ball), np.array([0.0, 0.5, 6.0])
    index, worthless = added
    halves = weights.copy()
    halves[index] *= 0.5
    split = np.vstack([z, z[index]]), np.append(halves, halves[index])
    padded = np.vstack([worthless[:1], z, worthless[1:]]), np.concatenate([[0.0], weights, [0.0]])
    expected = method.factors(z, weights, slack_ratio)
    both = method.two_sided(z[:, 0], weights)
    for other, mass in (split, padded):
        np.testing.assert_allclose(method.factors(other, mass, slack_ratio), expected, atol=1e-9)
        assert method.two_sided(other[:, 0], mass) == pytest.approx(both, abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(samples, risk_levels)
def test_radius_zero_trusts_the_samples(values, risk_level):
    z = standardise(values, np.full(N_SAMPLES, 1.0 / N_SAMPLES))
    exact, sample = (factor(m, z, risk_level=risk_level) for m in ("wasserstein", "empirical"))
    np.testing.assert_array_equal(exact, sample)
    single = z[:, :1]
    np.testing.assert_array_equal(
        factor("wasserstein_joint", single, risk_level=risk_level), sample[:1]
    )


@settings(max_examples=50, deadline=None)
@given(samples, radii, radii, risk_levels, risk_levels)
def test_factors_grow_with_the_radius_and_fall_with_the_risk(
    values, radius, other_radius, risk_level, other_risk
):
    z = standardise(values, np.full(N_SAMPLES, 1.0 / N_SAMPLES))
    small, large = sorted([radius, other_radius])
    strict, lax = sorted([risk_level, other_risk])
    for name in METHODS:
        least = factor(name, z, risk_level=lax, radius=small)
        assert (least <= factor(name, z, risk_level=lax, radius=large) + 1e-9).all()
        assert (least <= factor(name, z, risk_level=strict, radius=small) + 1e-9).all()


@pytest.mark.parametrize("name", METHODS)
def test_factors_are_never_negative(name):
    z = np.linspace(-3.0, -1.0, 10)[:, np.newaxis]
    kappa = factor(name, z, risk_level=0.9, radius=1e-3)
    assert kappa.shape == (1,)
    assert (kappa >= 0.0).all()


def test_only_the_joint_method_looks_at_the_slack(z):
    slack_ratio = np.array([0.0, 0.0, 2.0, 3.0, 9.0, np.inf])
    for name in METHODS:
        with_slack = factor(name, z, radius=1e-3, slack_ratio=slack_ratio)
        changed = not np.array_equal(with_slack, factor(name, z, radius=1e-3))
        exact = METHODS[name](0.05, 1e-3).exact_joint
        assert changed == exact == (name == "wasserstein_joint")


def test_the_joint_method_gives_one_factor_to_all_rows(z):
    weights, slack_ratio = np.full(100, 0.01), np.array([0.0, 0.0, 2.0, 3.0, 9.0, np.inf])
    kappa = factor("wasserstein_joint", z, radius=1e-3, slack_ratio=slack_ratio)
    expected = common_safety_factor(z, weights, 0.05, 1e-3, slack_ratio)
    np.testing.assert_array_equal(kappa, np.full(6, expected))
    assert expected > 0.0


# --- two-sided --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_two_sided_gives_half_of_the_risk_to_each_side(name, z):
    weights = np.full(100, 0.01)
    two_sided = make_safety_factor(name, 0.1, 1e-3).two_sided(z[:, 0], weights)
    sides = [factor(name, side, risk_level=0.05, radius=1e-3)[0] for side in (z[:, :1], -z[:, :1])]
    assert two_sided == max(sides)


def test_two_sided_of_a_gaussian_is_the_familiar_1_96(z):
    two_sided = make_safety_factor("gaussian", 0.05, 0.0).two_sided(z[:, 0], np.full(100, 0.01))
    assert two_sided == pytest.approx(1.959963984540054)


# --- registry ---------------------------------------------------------------------------------


def test_registry_holds_the_methods_that_the_configuration_knows():
    assert tuple(METHODS) == get_args(MethodName)
    for name, method in METHODS.items():
        assert make_safety_factor(name, 0.05, 0.01) == method(0.05, 0.01)


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'magic'.*gaussian.*wasserstein_joint"):
        make_safety_factor("magic", 0.05, 0.0)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    ("risk_level", "radius", "message"),
    [
        (0.0, 0.1, r"risk_level must lie in \(0, 1\), got 0.0"),
        (1.0, 0.1, r"risk_level must lie in \(0, 1\), got 1.0"),
        (-0.1, 0.1, "risk_level .* got -0.1"),
        (np.nan, 0.1, "risk_level .* got nan"),
        (0.05, -1.0, "radius must be nonnegative and finite, got -1.0"),
        (0.05, np.nan, "radius .* got nan"),
        (0.05, np.inf, "radius .* got inf"),
    ],
)
def test_parameters_out_of_range_are_refused(name, risk_level, radius, message):
    for create in (METHODS[name], lambda *at: make_safety_factor(name, *at)):
        with pytest.raises(ValueError, match=message):
            create(risk_level, radius)
