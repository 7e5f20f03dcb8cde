"""The worst cases are real: distributions that attain them, built and measured in the error space.

The formulas of `market.ambiguity` look at standardised rows only. Here the worst distribution is
built in the space of all errors, its Wasserstein distance is measured by an optimal-transport
linear programme on Mahalanobis distances, and weak duality shows that no distribution is worse.
"""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import linprog

from market.ambiguity import joint_margin, worst_case_expectation, worst_case_probability
from market.safety_factors import make_safety_factor

CASES = range(8)
SHAPES = [(4, 20), (6, 40), (8, 60), (5, 3), (8, 6)]
"""Errors and samples; in the last two the covariance is singular."""


@dataclass(frozen=True)
class Discrete:
    """A discrete distribution of the error vector."""

    points: np.ndarray  # (n_points, n_dims)
    mass: np.ndarray


@dataclass(frozen=True)
class Errors:
    """Samples of the error vector, and limits a_b' xi <= limit_b of rows on them."""

    samples: Discrete
    rows: np.ndarray  # (n_rows, n_dims)
    limit: np.ndarray

    @property
    def mean(self):
        return self.samples.mass @ self.samples.points

    @property
    def covariance(self):
        centred = self.samples.points - self.mean
        return centred.T @ (self.samples.mass[:, np.newaxis] * centred)

    @property
    def sigma(self):
        return np.sqrt(np.einsum("bi,ij,bj->b", self.rows, self.covariance, self.rows))

    @property
    def z(self):
        return (self.samples.points - self.mean) @ self.rows.T / self.sigma

    @property
    def threshold(self):
        return (self.limit - self.rows @ self.mean) / self.sigma

    @property
    def margin(self):
        return joint_margin(self.z, self.threshold)

    @property
    def steepest(self):
        """Directions of length one in which the rows grow fastest, (n_rows, n_dims)."""
        return self.rows @ self.covariance / self.sigma[:, np.newaxis]

    @property
    def root(self):
        """A root of the covariance with as many columns as it has rank, (n_dims, rank)."""
        values, vectors = np.linalg.eigh(self.covariance)
        kept = values > 1e-12 * values.max()
        return vectors[:, kept] * np.sqrt(values[kept])

    def distances(self, points):
        """Mahalanobis distances of the samples to points of their span, (n_samples, n_points)."""
        steps = points[np.newaxis] - self.samples.points[:, np.newaxis]
        coordinates = steps @ np.linalg.pinv(self.root).T
        # Nothing leaves the span of the samples, where the metric would be infinite.
        np.testing.assert_allclose(coordinates @ self.root.T, steps, atol=1e-6 * abs(steps).max())
        return np.linalg.norm(coordinates, axis=2)

    def violation(self, other):
        """Probability under another distribution that some limit is exceeded."""
        return other.mass[(other.points @ self.rows.T > self.limit).any(axis=1)].sum()


def make_errors(shape, case, n_rows=None):
    """Heavy-tailed, correlated errors and rows whose limits few samples exceed."""
    n_dims, n_samples = shape
    rng = np.random.default_rng([case, *shape])
    points = rng.standard_t(4, (n_samples, n_dims)) @ rng.normal(size=(n_dims, n_dims)) + 2.0
    mass = rng.dirichlet(np.ones(n_samples)) if case % 2 else np.full(n_samples, 1 / n_samples)
    rows = rng.normal(size=(n_rows or rng.integers(1, 7), n_dims))
    plain = Errors(Discrete(points, mass), rows, np.zeros(len(rows)))
    above_mean = rng.uniform(0.5, 3.0, len(rows)) * plain.sigma
    return Errors(plain.samples, rows, rows @ plain.mean + above_mean)


def wasserstein_distance(errors, other):
    """Cheapest transport from the samples to another distribution."""
    n_from, n_to = len(errors.samples.mass), len(other.mass)
    leaving = sparse.kron(sparse.eye_array(n_from), np.ones((1, n_to)))
    arriving = sparse.kron(np.ones((1, n_from)), sparse.eye_array(n_to))
    plan = linprog(
        errors.distances(other.points).ravel(),
        A_eq=sparse.vstack([leaving, arriving]),
        b_eq=np.concatenate([errors.samples.mass, other.mass]),
        method="highs",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    assert plan.status == 0, plan.message
    return plan.fun


OVERSHOOT = 5e-12
"""A limit that is touched is not exceeded; far above rounding, far below the radii."""


def worst_distribution(errors, radius):
    """Move mass into the nearest violated half-space, nearest first, until the radius is spent."""
    gaps = errors.threshold - errors.z
    points, mass = list(errors.samples.points), list(errors.samples.mass)
    budget = radius
    for i in np.argsort(gaps.min(axis=1)):
        row = gaps[i].argmin()
        gap = gaps[i, row]
        if gap < 0.0:
            continue
        moved = min(mass[i], budget / gap)
        points.append(points[i] + (gap + OVERSHOOT) * errors.steepest[row])
        mass.append(moved)
        mass[i] -= moved
        budget -= moved * gap
    return Discrete(np.array(points), np.array(mass))


def dual_bound(errors, radius):
    """Upper bound of the probability of violation over the ball, by weak duality.

    For every price >= 0 of transport, E_Q[1(violation)] <= price * radius
    + sum_i w_i max_x (1(x violates) - price * |x - xi_i|). The distances to the half-spaces are
    least-norm solutions in coordinates in which the covariance is the identity.
    """
    beyond = errors.limit - errors.samples.points @ errors.rows.T
    nearest = np.empty(beyond.shape)
    for b, row in enumerate(errors.rows @ errors.root):
        for i, missing in enumerate(np.maximum(beyond[:, b], 0.0)):
            step = np.linalg.lstsq(row[np.newaxis], [missing], rcond=None)[0]
            nearest[i, b] = np.linalg.norm(step)
    distance = nearest.min(axis=1)
    prices = np.append(0.0, 1.0 / distance[distance > 0.0])
    gains = np.maximum(1.0 - np.outer(prices, distance), 0.0)
    return (prices * radius + gains @ errors.samples.mass).min()


# --- probability ------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("case", CASES)
def test_a_distribution_in_the_ball_attains_the_worst_case_probability(shape, case):
    errors = make_errors(shape, case)
    radius = np.random.default_rng(case).choice([0.01, 0.05, 0.2, 0.7])
    worst = worst_distribution(errors, radius)
    assert worst.mass.sum() == pytest.approx(1.0, abs=1e-12)

    claimed = worst_case_probability(errors.margin, errors.samples.mass, radius)

    assert wasserstein_distance(errors, worst) <= radius * (1.0 + 1e-9)
    assert errors.violation(worst) == pytest.approx(claimed, abs=1e-9)
    assert dual_bound(errors, radius) == pytest.approx(claimed, abs=1e-9)
    assert claimed > errors.violation(errors.samples)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_worst_distribution_spends_the_whole_radius(shape):
    """Cheaper transport to it would leave something for more violation."""
    errors = make_errors(shape, case=1)
    worst = worst_distribution(errors, 0.02)
    assert errors.violation(worst) < 1.0
    assert wasserstein_distance(errors, worst) == pytest.approx(0.02, rel=1e-8)


@pytest.mark.parametrize("shape", SHAPES)
def test_radius_zero_is_the_limit_of_the_worst_distributions(shape):
    errors = make_errors(shape, case=2)
    frequency = worst_case_probability(errors.margin, errors.samples.mass, 0.0)
    assert frequency == pytest.approx(errors.violation(errors.samples), abs=1e-15)
    nearest = errors.margin[errors.margin >= 0.0].min()
    for radius in (1e-3, 1e-5, 1e-7):
        worst = errors.violation(worst_distribution(errors, radius))
        assert frequency < worst <= frequency + radius / nearest + 1e-12


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("radius", [0.02, 0.3])
def test_no_transport_to_other_points_does_more_harm(shape, radius):
    """The best transport plan to random points and to those of the worst distribution."""
    errors = make_errors(shape, case=3)
    rng = np.random.default_rng(0)
    towards = errors.samples.points[rng.integers(len(errors.samples.mass), size=(20, 2))]
    random = towards[:, 0] + rng.uniform(-2.0, 3.0, (20, 1)) * (towards[:, 1] - towards[:, 0])
    points = np.concatenate([worst_distribution(errors, radius).points, random])
    violated = (points @ errors.rows.T > errors.limit).any(axis=1)
    n_samples = len(errors.samples.mass)
    plan = linprog(
        -np.tile(violated.astype(float), n_samples),
        A_ub=errors.distances(points).reshape(1, -1),
        b_ub=[radius],
        A_eq=sparse.kron(sparse.eye_array(n_samples), np.ones((1, len(points)))),
        b_eq=errors.samples.mass,
        method="highs",
    )
    claimed = worst_case_probability(errors.margin, errors.samples.mass, radius)
    assert -plan.fun == pytest.approx(claimed, abs=1e-7)


@pytest.mark.parametrize("shape", SHAPES[:3])
@pytest.mark.parametrize("risk_level", [0.05, 0.2])
@pytest.mark.parametrize("method", ["wasserstein_joint", "wasserstein", "hypercube"])
def test_factors_let_the_worst_distribution_violate_with_the_risk_level(shape, risk_level, method):
    """Exactly so for all rows together, for each row, and for both sides of all rows."""
    errors, radius = make_errors(shape, case=4, n_rows=4), 0.01
    kappa = make_safety_factor(method, risk_level, radius).factors(
        errors.z, errors.samples.mass, np.zeros(4)
    )
    limit = errors.rows @ errors.mean + kappa * errors.sigma
    if method == "wasserstein":
        bounded = [
            Errors(errors.samples, errors.rows[[b]], limit[[b]]) for b in range(len(errors.rows))
        ]
    elif method == "hypercube":
        mirrored = kappa * errors.sigma - errors.rows @ errors.mean
        both = np.concatenate([errors.rows, -errors.rows])
        bounded = [Errors(errors.samples, both, np.concatenate([limit, mirrored]))]
    else:
        bounded = [Errors(errors.samples, errors.rows, limit)]
    for one in bounded:
        worst = worst_distribution(one, radius)
        assert wasserstein_distance(one, worst) <= radius * (1.0 + 1e-9)
        assert one.violation(worst) == pytest.approx(risk_level, abs=1e-8)


# --- expectation ------------------------------------------------------------------------------

SLOPES, OFFSETS = np.array([-0.4, 0.1, 0.9]), np.array([0.2, 0.0, -0.7])


def cost(errors, points):
    """A convex piecewise-linear cost of the total error, with kinks among the samples."""
    omega = (points - errors.mean).sum(axis=1)
    return (np.outer(omega, SLOPES) + OFFSETS).max(axis=1)


def total_errors(shape, case):
    """Errors whose only row is their sum."""
    samples = make_errors(shape, case).samples
    return Errors(samples, np.ones((1, shape[0])), np.zeros(1))


def far_distribution(errors, radius, far):
    """Move mass radius / far by the length far, where the cost is steepest."""
    start = errors.samples.mass.argmax()
    moved = radius / far
    direction = errors.steepest[0] * np.sign(SLOPES[np.abs(SLOPES).argmax()])
    points = np.vstack([errors.samples.points, errors.samples.points[start] + far * direction])
    mass = np.append(errors.samples.mass, moved)
    mass[start] -= moved
    return Discrete(points, mass)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("case", CASES[:4])
@pytest.mark.parametrize("radius", [0.005, 0.1])
def test_little_mass_moved_far_approaches_the_worst_case_expectation(shape, case, radius):
    errors = total_errors(shape, case)
    costs = cost(errors, errors.samples.points)
    lipschitz = np.abs(SLOPES).max() * errors.sigma[0]
    claimed = worst_case_expectation(costs, errors.samples.mass, radius, lipschitz)

    gaps = []
    for far in (1e2, 1e3, 1e4):
        other = far_distribution(errors, radius, far)
        assert wasserstein_distance(errors, other) <= radius * (1.0 + 1e-9)
        gaps.append(claimed - other.mass @ cost(errors, other.points))
    # Beyond the last kink what is missing is in proportion to the mass that is moved: nothing
    # where the sample lay beyond it already.
    assert min(gaps) >= -1e-12
    assert gaps[2] <= 1e-3 * radius * lipschitz
    np.testing.assert_allclose(gaps[1:], [gaps[0] / 10, gaps[0] / 100], rtol=1e-6, atol=1e-12)
    assert claimed - errors.samples.mass @ costs == pytest.approx(radius * lipschitz)


@pytest.mark.parametrize("shape", SHAPES)
def test_no_expectation_exceeds_the_worst_case(shape):
    """Weak duality with the Lipschitz constant as price, checked pair by pair in the error space.

    cost(x) <= cost(xi_i) + L |x - xi_i| for all points gives E_Q <= E_P + L radius.
    """
    errors = total_errors(shape, case=5)
    lipschitz = np.abs(SLOPES).max() * errors.sigma[0]
    rng = np.random.default_rng(1)
    # Random points of the samples' span, at all lengths.
    scale = 10.0 ** rng.uniform(-2, 3, (300, 1))
    points = errors.mean + scale * rng.normal(size=(300, errors.root.shape[1])) @ errors.root.T
    rise = cost(errors, points) - cost(errors, errors.samples.points)[:, np.newaxis]
    steepness = rise / errors.distances(points)
    assert steepness.max() <= lipschitz * (1.0 + 1e-9)
    # No smaller constant would do: along the steepest direction it is attained in the limit.
    along = errors.samples.points[:1] + 1e6 * errors.steepest
    rise = cost(errors, along) - cost(errors, errors.samples.points[:1])
    assert rise[0] / 1e6 == pytest.approx(lipschitz, rel=1e-4)
