"""Presolve: what is left out changes neither optimum nor duals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.presolve import presolve
from market.solve import solve
from tests.market.builders import conic


def solved(problem, asked=None):
    reduced = presolve(problem, asked)
    return reduced, reduced.restore(solve(reduced.problem))


def test_a_fixed_column_leaves_its_value_behind_and_its_price_on_the_pressing_side():
    # Least 3 x + y with x + y >= 5, x = 2 by its bounds, y >= 0: y = 3; a looser bound on x costs
    # 2 a unit (3 itself, less the 1 of y that it replaces), so the lower bound is worth 2.
    problem = conic([3.0, 1.0], [[-1, -1], [1, 0], [-1, 0], [0, -1]], [-5.0, 2.0, -2.0, 0.0])
    reduced, solution = solved(problem)
    assert reduced.problem.matrix.shape == (2, 1)
    np.testing.assert_allclose(solution.x, [2.0, 3.0], atol=1e-6)
    np.testing.assert_allclose(solution.z, [1.0, 0.0, 2.0, 0.0], atol=1e-6)
    assert solution.objective == pytest.approx(9.0, abs=1e-6)


@pytest.mark.parametrize(
    ("cost", "optimum", "dual"),
    [(-2.0, 1.0, [0.0, 0.0]), (-8.0, 3.0, [2.0, 0.0]), (4.0, -1.0, [0.0, 2.0])],
)
def test_a_lone_column_has_its_optimum_in_closed_form(cost, optimum, dual):
    # Least x^2 + cost x on [-1, 3], beside y + z >= 1.
    problem = conic(
        [cost, 1.0, 2.0],
        [[1, 0, 0], [-1, 0, 0], [0, -1, -1], [0, -1, 0], [0, 0, -1]],
        [3.0, 1.0, -1.0, 0.0, 0.0],
        quadratic=np.diag([2.0, 0.0, 0.0]),
    )
    reduced, solution = solved(problem)
    assert reduced.out.tolist() == [True, False, False]
    np.testing.assert_allclose(solution.x, [optimum, 1.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(solution.z, [*dual, 1.0, 0.0, 1.0], atol=1e-6)


def test_a_lone_column_without_a_bottom_is_the_solvers():
    problem = conic([-1.0, 1.0], [[-1, 0], [0, -1]], [0.0, 0.0])
    assert presolve(problem).out.tolist() == [False, True]


def test_idle_blocks_are_left_out_only_when_others_are_asked_for():
    # x + y >= 1 and v + w >= 1 have nothing in common; v and w are joined to x by a product, or a
    # cone, in the variants.
    rows = [
        [-1, -1, 0, 0],
        [0, 0, -1, -1],
        [-1, 0, 0, 0],
        [0, -1, 0, 0],
        [0, 0, -1, 0],
        [0, 0, 0, -1],
    ]
    problem = conic([1.0, 2.0, 1.0, 2.0], rows, [-1.0, -1.0, 0.0, 0.0, 0.0, 0.0])
    asked = np.array([True, False, False, False])
    assert not presolve(problem).out.any()
    reduced, solution = solved(problem, asked)
    assert reduced.out.tolist() == [False, False, True, True]
    np.testing.assert_allclose(solution.x[:2], [1.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(solution.z[[0, 2, 3]], [1.0, 0.0, 1.0], atol=1e-6)
    joined = np.eye(4)
    joined[0, 2] = 0.1
    squares = conic([1.0, 2.0, 1.0, 2.0], rows, problem.offset, quadratic=joined)
    assert not presolve(squares, asked).out.any()
    cone = [[0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0]]
    coned = conic(problem.linear, rows + cone, [*problem.offset, 5.0, 0.0, 0.0], second_order=(3,))
    assert not presolve(coned, asked).out.any()


@pytest.mark.parametrize(
    ("matrix", "offset", "n_zero"),
    [
        ([[1, 0], [-1, 0], [0, -1]], [1.0, -2.0, 0.0], 0),  # bounds that cross
        ([[1, 1], [1, 0], [-1, 0], [0, 1], [0, -1]], [3.0, 1.0, -1.0, 1.0, -1.0], 1),  # 1 + 1 = 3
    ],
)
def test_a_contradiction_is_left_to_the_solver(matrix, offset, n_zero):
    assert not presolve(conic([1.0, 1.0], matrix, offset, n_zero=n_zero)).out.any()


@st.composite
def problems(draw):
    """Bounded programmes with a known inner point, some columns fixed and some alone."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(2, 8))
    point = rng.uniform(-2, 2, n)
    width = np.where(rng.random(n) < 0.3, 0.0, rng.uniform(0.5, 3, n))
    rows = rng.normal(size=(draw(st.integers(1, 4)), n)) * (rng.random(n) < 0.7)
    n_zero = draw(st.integers(0, 1))
    slack = np.r_[np.zeros(n_zero), rng.uniform(0, 1, len(rows) - n_zero)]
    bounds = np.vstack([np.eye(n), -np.eye(n)])
    at = np.r_[point + width, -(point - width)]
    cone = np.vstack([np.zeros(n), rng.normal(size=(2, n)) * (rng.random(n) < 0.5)])
    radius = np.linalg.norm(cone[1:] @ point) + 0.5
    matrix = np.vstack([rows, bounds, cone])
    offset = np.r_[rows @ point + slack, at, radius, 0.0, 0.0]
    quadratic = np.diag(np.where(rng.random(n) < 0.5, rng.uniform(0.1, 2, n), 0.0))
    return conic(
        rng.normal(size=n), matrix, offset, n_zero=n_zero, second_order=(3,), quadratic=quadratic
    )


@settings(max_examples=60, deadline=None)
@given(problem=problems())
def test_the_optimum_is_that_of_the_whole_problem(problem):
    reduced = presolve(problem)
    if reduced.out.all():
        return
    whole, solution = solve(problem), reduced.restore(solve(reduced.problem))
    assert solution.objective == pytest.approx(whole.objective, abs=1e-5)
    # Optimality of the whole problem: stationarity, feasibility, and duals with the right sign.
    p = problem.quadratic.toarray()
    p = p + np.triu(p, 1).T
    gradient = p @ solution.x + problem.linear + problem.matrix.T @ solution.z
    np.testing.assert_allclose(gradient, 0.0, atol=1e-5)
    assert problem.infeasibility(solution.x) < 1e-6
    linear = slice(problem.n_zero, problem.n_linear)
    assert solution.z[linear].min() > -1e-6
    slack = problem.offset - problem.matrix @ solution.x
    np.testing.assert_allclose(solution.z[linear] * slack[linear], 0.0, atol=1e-4)
