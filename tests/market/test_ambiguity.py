"""Worst cases over the Wasserstein ball, against linear programmes over transport plans."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linprog
from scipy.spatial.distance import cdist

from market.ambiguity import (
    common_safety_factor,
    enough_samples,
    joint_margin,
    sample_cvar,
    worst_case_expectation,
    worst_case_probability,
    worst_case_quantile,
    worst_case_quantiles,
)

RADII = [0.0, 1e-3, 0.02, 0.1, 0.5]


@dataclass(frozen=True)
class ErrorSpace:
    """Samples of a correlated error vector and constraint rows on it."""

    xi: np.ndarray  # (n_samples, n_dims)
    weights: np.ndarray
    rows: np.ndarray  # (n_rows, n_dims)

    @property
    def mean(self):
        return self.weights @ self.xi

    @property
    def covariance(self):
        centred = self.xi - self.mean
        return centred.T @ (self.weights[:, np.newaxis] * centred)

    @property
    def sigma(self):
        return np.sqrt(np.einsum("bi,ij,bj->b", self.rows, self.covariance, self.rows))

    def standardise(self, points):
        return (points - self.mean) @ self.rows.T / self.sigma

    def distances(self, points):
        """Mahalanobis distances of the samples to the points."""
        inverse = np.linalg.inv(self.covariance)
        return cdist(self.xi, points, "mahalanobis", VI=inverse)

    def push(self, row, length):
        """Move every sample by `length` (Mahalanobis) in the steepest direction of the row."""
        direction = self.covariance @ self.rows[row] / self.sigma[row]
        return self.xi + np.reshape(length, (-1, 1)) * direction


def make_space(n_dims, n_samples=12, n_rows=3, seed=1):
    rng = np.random.default_rng(seed + n_dims)
    mixing = rng.normal(size=(n_dims, n_dims))
    return ErrorSpace(
        xi=rng.standard_t(4, size=(n_samples, n_dims)) @ mixing + 3.0,
        weights=rng.dirichlet(np.ones(n_samples)),
        rows=rng.normal(size=(n_rows, n_dims)),
    )


def largest_by_transport(space, points, gain, radius):
    """Maximise sum pi_ij gain_j over transport plans pi from the samples, of cost <= radius."""
    n_samples, n_points = space.weights.size, len(points)
    result = linprog(
        -np.tile(gain, n_samples),
        A_ub=space.distances(points).reshape(1, -1),
        b_ub=[radius],
        A_eq=np.kron(np.eye(n_samples), np.ones(n_points)),
        b_eq=space.weights,
        method="highs",
    )
    assert result.status == 0
    return -result.fun


# --- probability ------------------------------------------------------------------------------


@pytest.mark.parametrize("n_dims", [2, 3])
@pytest.mark.parametrize("radius", RADII[1:])
@pytest.mark.parametrize("rows", [[0], [1], [0, 1, 2]])
def test_worst_case_probability_is_the_best_transport_plan(n_dims, radius, rows):
    space = make_space(n_dims)
    threshold = np.array([1.1, 1.4, 1.7])
    margins = threshold - space.standardise(space.xi)
    # It pays to move a sample only to a nearest violating point of some row.
    boundary = [space.push(row, np.maximum(margins[:, row], 0.0)) for row in rows]
    points = np.concatenate([space.xi, *boundary])
    violates = (space.standardise(points)[:, rows] >= threshold[rows] - 1e-9).any(axis=1)

    expected = largest_by_transport(space, points, violates.astype(float), radius)

    margin = joint_margin(space.standardise(space.xi)[:, rows], threshold[rows])
    probability = worst_case_probability(margin, space.weights, radius)
    assert probability == pytest.approx(expected, abs=1e-8)
    assert probability > space.weights[margin < 0.0].sum()


def test_radius_zero_counts_strict_violations_only():
    margin = np.array([-0.1, 0.0, 0.0, 2.0])
    weights = np.array([0.1, 0.2, 0.3, 0.4])
    assert worst_case_probability(margin, weights, 0.0) == pytest.approx(0.1)
    assert worst_case_probability(margin, weights, 1e-300) == pytest.approx(0.6)


def test_the_last_sample_moves_fractionally():
    margin, weights = np.array([0.0, 1.0, 2.0]), np.array([0.2, 0.3, 0.5])
    assert worst_case_probability(margin, weights, 0.15) == pytest.approx(0.2 + 0.15)
    assert worst_case_probability(margin, weights, 0.3 + 0.4) == pytest.approx(0.5 + 0.2)
    assert worst_case_probability(margin, weights, 5.0) == 1.0


def test_unreachable_samples_never_violate():
    margin, weights = np.array([np.inf, 1.0]), np.array([0.6, 0.4])
    assert worst_case_probability(margin, weights, 100.0) == pytest.approx(0.4)
    no_rows = joint_margin(np.empty((2, 0)), np.empty(0))
    assert worst_case_probability(no_rows, weights, 1.0) == 0.0


def test_joint_margin_is_signed_and_takes_the_nearest_row():
    z = np.array([[0.0, 1.0], [3.0, 0.0], [2.0, -9.0]])
    np.testing.assert_allclose(joint_margin(z, np.array([2.0, 2.5])), [1.5, -1.0, 0.0])


# --- expectation ------------------------------------------------------------------------------


@pytest.mark.parametrize("radius", RADII)
def test_worst_case_expectation_is_approached_by_moving_little_mass_far(radius):
    space = make_space(n_dims=3, n_rows=1)
    slopes, offsets = np.array([-0.7, 0.2, 2.0]), np.array([0.1, 0.0, -1.0])

    def loss(points):
        return (np.outer(space.standardise(points)[:, 0], slopes) + offsets).max(axis=1)

    bound = worst_case_expectation(loss(space.xi), space.weights, radius, np.abs(slopes).max())

    gaps = []
    for far in (1e1, 1e2, 1e3):
        points = np.concatenate([space.xi, space.push(0, far), space.push(0, -far)])
        gaps.append(bound - largest_by_transport(space, points, loss(points), radius))
    assert min(gaps) >= -1e-7
    assert gaps[2] <= gaps[1] + 1e-7 <= gaps[0] + 2e-7
    assert gaps[2] == pytest.approx(0.0, abs=0.01 * radius + 1e-7)


def test_worst_case_expectation_at_radius_zero_is_the_mean():
    values, weights = np.array([1.0, -2.0, 4.0]), np.array([0.5, 0.25, 0.25])
    assert worst_case_expectation(values, weights, 0.0, 7.0) == pytest.approx(1.0)


# --- quantile and CVaR ------------------------------------------------------------------------


def test_radius_zero_gives_the_sample_quantile():
    z = np.arange(1.0, 181.0)
    weights = np.full(180, 1.0 / 180.0)
    # Nine of 180 samples are 5 %: they may exceed, whatever the rounding of the weights.
    assert worst_case_quantile(z, weights, 0.05, 0.0) == 171.0
    assert worst_case_quantile(z, weights, 0.0499, 0.0) == 172.0
    assert worst_case_quantile(z, weights, 0.001, 0.0) == 180.0


@pytest.mark.parametrize("n_samples", [20, 60, 100, 180, 365])
@pytest.mark.parametrize("risk_level", [0.01, 0.05, 0.1, 0.2])
def test_radius_zero_counts_whole_samples(n_samples, risk_level):
    z = np.random.default_rng(0).permutation(np.arange(float(n_samples)))
    weights = np.full(n_samples, 1.0 / n_samples)
    n_exceeding = int(np.floor(risk_level * n_samples + 1e-9))
    assert worst_case_quantile(z, weights, risk_level, 0.0) == n_samples - 1 - n_exceeding


def test_quantile_of_a_point_mass_is_pushed_by_radius_over_risk():
    z, weights = np.full(4, 1.5), np.full(4, 0.25)
    assert worst_case_quantile(z, weights, 0.1, 0.02) == pytest.approx(1.5 + 0.02 / 0.1)


def test_quantile_with_two_samples_by_hand():
    # Tail of mass 0.5: sample 4 with 0.2 and sample 1 with 0.3.
    z, weights = np.array([1.0, 4.0]), np.array([0.8, 0.2])
    # Small radius: only the sample at 1 has to be pushed, 0.3 (kappa - 1) = 0.6.
    assert worst_case_quantile(z, weights, 0.5, 0.6) == pytest.approx(3.0)
    # Large radius: 0.3 (kappa - 1) + 0.2 (kappa - 4) = 1.4.
    assert worst_case_quantile(z, weights, 0.5, 1.4) == pytest.approx(5.0)


def test_sample_cvar_averages_the_tail_with_a_fractional_last_sample():
    z = np.array([[1.0, -4.0], [2.0, -3.0], [3.0, -2.0], [4.0, -1.0]])
    weights = np.full(4, 0.25)
    np.testing.assert_allclose(sample_cvar(z, weights, 0.25), [4.0, -1.0])
    np.testing.assert_allclose(sample_cvar(z, weights, 0.3), [(1.0 + 0.15) / 0.3, -0.35 / 0.3])


@pytest.mark.parametrize("risk_level", [0.03, 0.2, 0.77])
def test_sample_cvar_minimises_the_formula_of_rockafellar_and_uryasev(risk_level):
    space = make_space(2, n_samples=25)
    z = space.standardise(space.xi)
    # The minimum over tau is attained at a sample.
    excess = np.maximum(z[:, np.newaxis, :] - z[np.newaxis], 0.0)
    expected = (z + np.einsum("i,itb->tb", space.weights, excess) / risk_level).min(axis=0)
    np.testing.assert_allclose(sample_cvar(z, space.weights, risk_level), expected)


# --- properties -------------------------------------------------------------------------------

N_SAMPLES, N_ROWS = 9, 4
numbers = st.one_of(
    st.integers(-3, 3).map(float), st.floats(-5.0, 5.0, allow_subnormal=False, width=32)
)
samples = arrays(float, (N_SAMPLES, N_ROWS), elements=numbers)
slack_ratios = arrays(
    float, N_ROWS, elements=st.one_of(numbers, st.just(0.0), st.just(np.inf), st.floats(0.0, 20.0))
)
probabilities = (
    arrays(float, N_SAMPLES, elements=st.integers(0, 5).map(float))
    .filter(lambda counts: counts.sum() > 0.0)
    .map(lambda counts: counts / counts.sum())
)
radii = st.one_of(st.just(0.0), st.sampled_from([0.25, 0.5]), st.floats(1e-6, 1.0))
risk_levels = st.one_of(st.sampled_from([0.05, 0.25, 0.5]), st.floats(0.01, 0.95))
common = settings(max_examples=150, deadline=None)


def joint_probability(z, weights, radius, slack_ratio, kappa):
    margin = joint_margin(z, np.maximum(slack_ratio, kappa))
    return worst_case_probability(margin, weights, radius)


@common
@given(samples, probabilities, radii, risk_levels, slack_ratios)
def test_common_safety_factor_satisfies_its_definition(z, weights, radius, risk_level, slack_ratio):
    kappa = common_safety_factor(z, weights, risk_level, radius, slack_ratio)
    assert kappa >= 0.0
    assert joint_probability(z, weights, radius, slack_ratio, kappa) <= risk_level + 1e-9
    if kappa > 1e-6:
        below = joint_probability(z, weights, radius, slack_ratio, kappa - 1e-6)
        if radius == 0.0:
            assert below > risk_level
        else:  # on a plateau that costs exactly the radius, the probability is the risk level
            assert below > risk_level - 1e-9


@common
@given(samples, probabilities, radii, risk_levels)
def test_worst_case_quantile_satisfies_its_definition(z, weights, radius, risk_level):
    for row, kappa in enumerate(worst_case_quantiles(z, weights, risk_level, radius)):
        margin = kappa - z[:, row]
        assert worst_case_probability(margin, weights, radius) <= risk_level + 1e-9
        assert worst_case_probability(margin - 1e-6, weights, radius) > risk_level


@common
@given(samples, probabilities, radii, risk_levels)
def test_common_safety_factor_of_binding_rows_is_the_quantile_of_their_maximum(
    z, weights, radius, risk_level
):
    kappa = common_safety_factor(z, weights, risk_level, radius, np.zeros(N_ROWS))
    quantile = worst_case_quantile(z.max(axis=1), weights, risk_level, radius)
    assert kappa == pytest.approx(max(quantile, 0.0), abs=1e-9)


@common
@given(samples, probabilities, st.tuples(radii, radii), st.tuples(risk_levels, risk_levels))
def test_larger_balls_and_smaller_risks_need_larger_factors(z, weights, two_radii, two_risks):
    small, large = sorted(two_radii)
    strict, lax = sorted(two_risks)
    slack_ratio = np.array([0.0, 0.0, 1.0, 3.0])
    at = (z, weights)
    margin = joint_margin(z, np.maximum(slack_ratio, 1.0))
    assert worst_case_probability(margin, weights, small) <= (
        worst_case_probability(margin, weights, large) + 1e-12
    )
    for rho, eps in ((large, lax), (small, strict)):
        assert np.all(
            worst_case_quantiles(*at, lax, small) <= worst_case_quantiles(*at, eps, rho) + 1e-9
        )
        assert (
            common_safety_factor(*at, lax, small, slack_ratio)
            <= common_safety_factor(*at, eps, rho, slack_ratio) + 1e-9
        )
    assert np.all(sample_cvar(*at, lax) <= sample_cvar(*at, strict) + 1e-9)


@common
@given(samples, radii, risk_levels, slack_ratios, st.integers(0, N_SAMPLES - 1))
def test_doubling_a_sample_doubles_its_weight(z, radius, risk_level, slack_ratio, index):
    repeated = np.concatenate([z, z[[index]]])
    equal = np.full(N_SAMPLES + 1, 1.0 / (N_SAMPLES + 1))
    doubled = np.full(N_SAMPLES, 1.0 / (N_SAMPLES + 1))
    doubled[index] *= 2.0
    assert joint_probability(z, doubled, radius, slack_ratio, 1.0) == pytest.approx(
        joint_probability(repeated, equal, radius, slack_ratio, 1.0)
    )
    for function in (
        lambda *at: worst_case_quantiles(*at, risk_level, radius),
        lambda *at: sample_cvar(*at, risk_level),
        lambda *at: common_safety_factor(*at, risk_level, radius, slack_ratio),
    ):
        np.testing.assert_allclose(function(z, doubled), function(repeated, equal), atol=1e-9)


@common
@given(
    z=samples,
    weights=probabilities,
    ball=st.tuples(radii, risk_levels),
    slack_ratio=slack_ratios,
    added=st.tuples(
        st.integers(0, N_SAMPLES - 1),
        arrays(float, (1, N_ROWS), elements=st.floats(-1e3, 1e3)),
    ),
)
def test_halves_count_as_the_whole_and_weightless_samples_not_at_all(
    z, weights, ball, slack_ratio, added
):
    (radius, risk_level), (index, worthless) = ball, added
    halves = weights.copy()
    halves[index] *= 0.5
    split = np.concatenate([z, z[[index]]]), np.append(halves, halves[index])
    padded = np.concatenate([worthless, z]), np.append(0.0, weights)
    for function in (
        lambda *at: joint_probability(*at, radius, slack_ratio, 1.0),
        lambda z, w: worst_case_expectation(z[:, 0], w, radius, 2.0),
        lambda *at: worst_case_quantiles(*at, risk_level, radius),
        lambda *at: sample_cvar(*at, risk_level),
        lambda *at: common_safety_factor(*at, risk_level, radius, slack_ratio),
    ):
        for changed in (split, padded):
            np.testing.assert_allclose(function(*changed), function(z, weights), atol=1e-9)


@pytest.mark.parametrize(
    ("weights", "risk_level", "enough"),
    [
        (np.full(20, 0.05), 0.05, True),  # as many as 1 / risk_level, whatever the rounding
        (np.full(60, 1 / 60), 1 / 60, True),
        (np.full(19, 1 / 19), 0.05, False),
        (np.array([0.3, *np.full(70, 0.01)]), 0.05, False),  # many, but one of them dominates
        (np.array([0.3, *np.full(70, 0.01)]), 0.3, True),
        (np.array([1.0]), 0.999, False),
    ],
)
def test_samples_are_enough_when_none_outweighs_the_risk_level(weights, risk_level, enough):
    assert enough_samples(weights, risk_level) is enough


@common
@given(samples, probabilities, radii, risk_levels)
def test_too_few_samples_put_the_factor_at_the_heaviest_sample_or_beyond(
    z, weights, radius, risk_level
):
    if enough_samples(weights, risk_level):
        return
    heaviest = weights > risk_level + 1e-12
    quantiles = worst_case_quantiles(z, weights, risk_level, radius)
    assert (quantiles >= z[heaviest].max(axis=0) + radius - 1e-9).all()


# --- common safety factor ---------------------------------------------------------------------


@pytest.mark.parametrize("radius", [0.0, 1e-4, 1e-3, 5e-3, 0.1])
@pytest.mark.parametrize("share_binding", [0.0, 0.05, 1.0])
def test_common_safety_factor_at_the_size_of_a_feeder(radius, share_binding):
    rng = np.random.default_rng(7)
    z = rng.standard_t(5, size=(180, 5)) @ rng.normal(size=(5, 250))
    z = (z - z.mean(axis=0)) / z.std(axis=0)
    slack_ratio = np.where(rng.random(250) < share_binding, 0.0, rng.uniform(2.0, 15.0, 250))
    weights = np.full(180, 1.0 / 180.0)

    kappa = common_safety_factor(z, weights, 0.05, radius, slack_ratio)

    at = joint_probability(z, weights, radius, slack_ratio, kappa)
    below = joint_probability(z, weights, radius, slack_ratio, kappa - 1e-6)
    assert at <= 0.05 + 1e-12 < below
    if radius > 0.0:
        assert at == pytest.approx(0.05, abs=1e-9)


def test_a_sample_near_a_fixed_row_takes_its_part_of_the_radius():
    # The last sample is 0.7 from the second row whatever kappa is: 0.25 (kappa - 2 + 0.7) = 0.2.
    z = np.array([[2.0, 0.0], [0.0, 0.0], [-5.0, 0.0], [-5.0, 9.3]])
    kappa = common_safety_factor(z, np.full(4, 0.25), 0.5, 0.2, np.array([0.0, 10.0]))
    assert kappa == pytest.approx(2.1)


def test_the_smallest_factor_is_taken_where_larger_ones_cost_the_same():
    # Beyond kappa = 3 the second row is nearer to the first sample, and the cost stays at 0.25.
    z = np.array([[2.0, 9.0], [-9.0, 0.0], [-9.0, 0.0], [-9.0, 0.0]])
    kappa = common_safety_factor(z, np.full(4, 0.25), 0.25, 0.25, np.array([0.0, 10.0]))
    assert kappa == pytest.approx(3.0)


def test_distant_rows_need_no_factor():
    z = np.random.default_rng(0).normal(size=(40, 3))
    weights = np.full(40, 1.0 / 40.0)
    assert common_safety_factor(z, weights, 0.05, 1e-3, np.full(3, 30.0)) == 0.0
    assert common_safety_factor(z, weights, 0.05, 1e-3, np.full(3, np.inf)) == 0.0
    assert common_safety_factor(np.empty((40, 0)), weights, 0.05, 1e-3, np.empty(0)) == 0.0


# --- validation -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": np.array([0.5, 0.6, -0.1])}, "nonnegative"),
        ({"weights": np.array([0.5, 0.3, 0.1])}, "sum to one"),
        ({"weights": np.array([0.5, 0.5])}, "shape"),
        ({"weights": np.array([0.5, 0.5, np.nan])}, "nonnegative"),
        ({"radius": -1e-3}, "radius"),
        ({"radius": np.nan}, "radius"),
        ({"risk_level": 0.0}, "risk_level"),
        ({"risk_level": 1.0}, "risk_level"),
        ({"risk_level": np.nan}, "risk_level"),
        ({"z": np.array([[0.0], [1.0], [np.nan]])}, "NaN"),
        ({"slack_ratio": np.array([np.nan])}, "slack_ratio"),
    ],
)
def test_invalid_arguments_are_named(change, message):
    arguments = {
        "z": np.array([[0.0], [1.0], [2.0]]),
        "weights": np.full(3, 1.0 / 3.0),
        "risk_level": 0.1,
        "radius": 0.1,
        "slack_ratio": np.zeros(1),
    }
    with pytest.raises(ValueError, match=message):
        common_safety_factor(**(arguments | change))


@pytest.mark.parametrize(
    ("weights", "risk_level", "message"),
    [
        (np.full(4, 0.25), 1.0, "risk_level"),
        (np.full(4, 0.25), np.nan, "risk_level"),
        (np.full(4, 0.3), 0.1, "sum to one"),
        (np.zeros(0), 0.1, "sum to one"),
    ],
)
def test_enough_samples_of_what_is_no_distribution(weights, risk_level, message):
    with pytest.raises(ValueError, match=message):
        enough_samples(weights, risk_level)


def test_negative_lipschitz_constant_is_refused():
    with pytest.raises(ValueError, match="lipschitz"):
        worst_case_expectation(np.ones(1), np.ones(1), 0.1, -1.0)
