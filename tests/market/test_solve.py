"""The solver's gate: known optima, and every failure as a named error."""

import logging

import numpy as np
import pytest
from scipy import sparse

from market import solve as gate
from market.errors import MarketError, SolverFailedError
from market.solve import ATTEMPTS, ConicProblem, ConicSolution, solve


def conic(linear, matrix, offset, *, n_zero=0, second_order=(), quadratic=None):
    matrix = np.array(matrix, dtype=float)
    n = matrix.shape[1]
    quadratic = np.zeros((n, n)) if quadratic is None else np.array(quadratic, dtype=float)
    return ConicProblem(
        quadratic=sparse.csc_array(quadratic),
        linear=np.array(linear, dtype=float),
        matrix=sparse.csc_array(matrix),
        offset=np.array(offset, dtype=float),
        n_zero=n_zero,
        n_nonnegative=len(offset) - n_zero - sum(second_order),
        second_order=second_order,
    )


# Least x + 2 y with x + y = 3, x <= 2.
LINEAR = conic([1.0, 2.0], [[1.0, 1.0], [1.0, 0.0]], [3.0, 2.0], n_zero=1)


def test_a_linear_programme_with_its_duals():
    solution = solve(LINEAR)
    np.testing.assert_allclose(solution.x, [2.0, 1.0], atol=1e-6)
    # A larger total costs 2, a looser bound saves 1.
    np.testing.assert_allclose(solution.z, [-2.0, 1.0], atol=1e-6)
    assert solution.objective == pytest.approx(4.0, abs=1e-6)
    assert solution.status == "Solved"


def test_columns_and_rows_are_appended_where_their_cones_stand():
    # A third variable equals x, costs a half, and is at most 1.5; the optimum moves with it.
    def rows(*entries):
        return sparse.csr_array(np.array(entries, dtype=float))

    wide = LINEAR.with_columns(np.array([0.5]), rows([1.0, 0.0, -1.0]), np.array([0.0]))
    bounded = wide.with_rows(rows([0.0, 0.0, 1.0]), np.array([1.5]), 1, ())
    solution = solve(bounded)
    np.testing.assert_allclose(solution.x, [1.5, 1.5, 1.5], atol=1e-6)
    # Zero cone: the total, the equality; then both bounds, of which the new one binds.
    np.testing.assert_allclose(solution.z, [-2.0, 1.0, 0.0, 0.5], atol=1e-6)
    assert solution.objective == pytest.approx(1.5 + 3.0 + 0.75, abs=1e-6)
    # And |x| <= 1.2 as a cone behind the linear rows.
    cone = rows([0.0, 0.0, 0.0], [-1.0, 0.0, 0.0])
    solution = solve(bounded.with_rows(cone, np.array([1.2, 0.0]), 0, (2,)))
    np.testing.assert_allclose(solution.x, [1.2, 1.8, 1.2], atol=1e-5)


def test_a_quadratic_programme():
    # x^2 - 2 x without bounds that matter.
    solution = solve(conic([-2.0], [[1.0]], [9.0], quadratic=[[2.0]]))
    assert solution.x[0] == pytest.approx(1.0, abs=1e-6)
    assert solution.objective == pytest.approx(-1.0, abs=1e-6)


def test_a_second_order_cone_follows_the_linear_rows():
    # Least t with t >= |(3, x)| and x >= 4.
    problem = conic(
        [1.0, 0.0],
        [[0.0, -1.0], [-1.0, 0.0], [0.0, 0.0], [0.0, -1.0]],
        [-4.0, 0.0, 3.0, 0.0],
        second_order=(3,),
    )
    solution = solve(problem)
    np.testing.assert_allclose(solution.x, [5.0, 4.0], atol=1e-5)
    assert solution.z[0] == pytest.approx(4.0 / 5.0, abs=1e-4)


@pytest.mark.parametrize(
    ("problem", "status"),
    [
        (conic([1.0], [[1.0], [-1.0]], [0.0, -1.0]), "PrimalInfeasible"),
        (conic([1.0], [[1.0]], [0.0]), "DualInfeasible"),
    ],
)
def test_problems_without_a_solution_are_named(problem, status):
    with pytest.raises(SolverFailedError, match=status) as caught:
        solve(problem)
    assert isinstance(caught.value, MarketError)
    assert all(attempt.name in str(caught.value) for attempt in ATTEMPTS)


def test_malformed_data_is_a_failure_of_the_solver():
    wrong = conic([1.0, 2.0], [[1.0, 1.0]], [3.0, 4.0], n_zero=2)
    with pytest.raises(SolverFailedError, match="incompatible"):
        solve(wrong)
    nan = conic([1.0, np.nan], [[1.0, 1.0], [1.0, 0.0]], [3.0, 2.0], n_zero=1)
    with pytest.raises(SolverFailedError):
        solve(nan)


def answers(*outcomes):
    """Attempts that answer with the given statuses, values or errors, in turn."""
    queue = list(outcomes)

    def attempt(problem, _):
        outcome = queue.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        status, value = outcome
        shape = problem.matrix.shape
        return ConicSolution(np.full(shape[1], value), np.zeros(shape[0]), 0.0, status, 1, 0.0)

    return attempt


@pytest.mark.parametrize(
    "outcome",
    [
        RuntimeError("the solver stumbled"),
        ("MaxIterations", 0.0),
        ("NumericalError", 0.0),
        ("Solved", np.nan),
        ("Solved", np.inf),
    ],
)
def test_three_failures_are_an_error_that_lists_them(monkeypatch, outcome):
    monkeypatch.setattr(gate, "_attempt", answers(*[outcome] * len(ATTEMPTS)))
    with pytest.raises(SolverFailedError) as caught:
        solve(LINEAR)
    reason = "stumbled" if isinstance(outcome, Exception) else outcome[0]
    assert str(caught.value).count(reason) == len(ATTEMPTS)


def test_a_later_attempt_may_succeed_and_is_logged(monkeypatch, caplog):
    monkeypatch.setattr(gate, "_attempt", answers(ValueError("no"), ("Solved", 1.5)))
    with caplog.at_level(logging.WARNING):
        assert solve(LINEAR).x[0] == 1.5
    assert "only on a retry" in caplog.text


def test_only_the_last_attempt_accepts_an_almost_solved_problem(monkeypatch):
    monkeypatch.setattr(gate, "_attempt", answers(*[("AlmostSolved", 1.5)] * len(ATTEMPTS)))
    assert solve(LINEAR).x[0] == 1.5
    assert ["AlmostSolved" in attempt.accepts for attempt in ATTEMPTS[:-1]] == [False] * (
        len(ATTEMPTS) - 1
    )
