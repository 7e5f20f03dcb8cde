"""The solvers' gate: known optima, the ladder of fallbacks, every failure as a named error."""

import logging
from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from market import solve as gate
from market.errors import MarketError, NotFiniteError, SolverFailedError
from market.softening import soften
from market.solve import LADDER, solve
from tests.market.builders import conic

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


CONE = conic(
    [1.0, 0.0],
    [[0.0, -1.0], [-1.0, 0.0], [0.0, 0.0], [0.0, -1.0]],
    [-4.0, 0.0, 3.0, 0.0],
    second_order=(3,),
)
"""Least t with t >= |(3, x)| and x >= 4: t = 5."""
CURVED = conic([-2.0, 0.0], [[1.0, 1.0]], [0.5], n_zero=1, quadratic=[[2.0, 0.5], [0.0, 4.0]])
"""Least x^2 + 0.5 x y + 2 y^2 - 2 x with x + y = 0.5."""
PROBLEMS = {"linear": LINEAR, "cone": CONE, "curved": CURVED}


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
@pytest.mark.parametrize("rung", LADDER, ids=lambda rung: rung.name)
def test_every_rung_finds_the_same_optimum(monkeypatch, problem, rung):
    expected = solve(problem)
    monkeypatch.setattr(gate, "LADDER", (rung,))
    found = solve(problem)
    np.testing.assert_allclose(found.x, expected.x, atol=1e-4)
    np.testing.assert_allclose(found.z, expected.z, atol=1e-3)
    assert found.objective == pytest.approx(expected.objective, abs=1e-4)


def test_by_hand_a_curved_problem():
    # With y = 0.5 - x: 2.5 x^2 - 3.75 x + 0.5, least at x = 0.75.
    np.testing.assert_allclose(solve(CURVED).x, [0.75, -0.25], atol=1e-6)


# --- the ladder -------------------------------------------------------------------------------


def answers(*outcomes):
    """Attempts that go wrong in turn; `None` is one that does not."""
    queue = list(outcomes)

    def attempt(problem, rung):
        outcome = queue.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        solution = rung.solver(problem)
        return solution if outcome is None else outcome(solution)

    return attempt


class Panic(BaseException):
    """What Rust code raises when it panics is no Exception."""


def is_nan(solution):
    return replace(solution, x=np.full_like(solution.x, np.nan))


def endless(solution):
    return replace(solution, z=np.full_like(solution.z, np.inf))


def short(solution):
    return replace(solution, x=solution.x[:-1])


def short_dual(solution):
    return replace(solution, z=solution.z[:-1])


def beside(solution):
    return replace(solution, x=solution.x + 0.01)


def said(status):
    return lambda solution: replace(solution, status=status)


FAILURES = {
    "exception": (RuntimeError("the solver stumbled"), "RuntimeError the solver stumbled"),
    "panic": (Panic("unwrap on None"), "Panic unwrap on None"),
    "infeasible": (said("PrimalInfeasible"), "PrimalInfeasible"),
    "no progress": (said("InsufficientProgress"), "InsufficientProgress"),
    "iterations": (said("MaxIterations"), "MaxIterations"),
    "nan": (is_nan, "not finite"),
    "infinite dual": (endless, "not finite"),
    "short": (short, "of size (2, 1) instead of (2, 2)"),
    "short dual": (short_dual, "of size (1, 2) instead of (2, 2)"),
    "infeasible point": (beside, "misses a constraint by 0.02"),
}


@pytest.mark.parametrize(("failure", "told"), FAILURES.values(), ids=FAILURES)
def test_a_failed_attempt_is_followed_by_the_next_rung(monkeypatch, caplog, failure, told):
    for n_failures in range(1, len(LADDER)):
        caplog.clear()
        monkeypatch.setattr(gate, "_attempt", answers(*[failure] * n_failures, None))
        with caplog.at_level(logging.WARNING):
            solution = solve(LINEAR)
        np.testing.assert_allclose(solution.x, [2.0, 1.0], atol=1e-4)
        assert solution.fallback == LADDER[n_failures].name
        assert caplog.text.count(told.partition(" of size")[0]) >= n_failures


@pytest.mark.parametrize(("failure", "told"), FAILURES.values(), ids=FAILURES)
def test_where_every_rung_fails_the_error_lists_them(monkeypatch, failure, told):
    monkeypatch.setattr(gate, "_attempt", answers(*[failure] * len(LADDER)))
    with pytest.raises(SolverFailedError) as caught:
        solve(LINEAR)
    assert isinstance(caught.value, MarketError)
    assert told in str(caught.value)
    assert all(rung.name in str(caught.value) for rung in LADDER)


def test_the_first_rung_is_no_fallback(caplog):
    with caplog.at_level(logging.WARNING):
        assert solve(LINEAR).fallback == ""
    assert not caplog.records


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_stop_is_no_failure_of_the_solver(monkeypatch, stop):
    monkeypatch.setattr(gate, "_attempt", answers(stop()))
    with pytest.raises(stop):
        solve(LINEAR)


@pytest.mark.parametrize("rung", LADDER, ids=lambda rung: rung.name)
def test_almost_solved_is_enough_where_a_looser_tolerance_is_told(rung):
    told = getattr(rung.solver, "keywords", {})
    assert ("AlmostSolved" in rung.accepts) == (told.get("enough", 0.0) > told["tolerance"])


def test_failed_attempts_take_time_too(monkeypatch):
    slow = [lambda s: replace(s, status="MaxIterations", seconds=2.0)] * 2
    monkeypatch.setattr(gate, "_attempt", answers(*slow, None))
    assert solve(LINEAR).seconds > 4.0


# --- constraints that conflict ----------------------------------------------------------------


def test_conflicting_constraints_are_missed_by_as_little_as_possible(caplog):
    # x <= 0 and x >= 1, y = 2: somebody has to give way by 1; y need not.
    problem = conic([0.3, 1.0], [[0, 1], [1, 0], [-1, 0]], [2.0, 0.0, -1.0], n_zero=1)
    with caplog.at_level(logging.WARNING):
        solution = solve(problem)
    assert solution.fallback == "softened"
    assert "tight: PrimalInfeasible" in caplog.text
    np.testing.assert_allclose(solution.x, [0.0, 2.0], atol=1e-5)
    assert problem.infeasibility(solution.x) == pytest.approx(1.0, abs=1e-5)
    # The cost is that of the schedule, without the price of what is missed.
    assert solution.objective == pytest.approx(2.0, abs=1e-3)
    assert solution.z.shape == (3,)


def test_equalities_and_cones_give_way_too():
    # x = 1 and x = 3: between them all points miss as much. |(3, x)| <= 4 with x >= 9.
    equal = solve(conic([1.0], [[1.0], [1.0]], [1.0, 3.0], n_zero=2))
    assert equal.fallback == "softened"
    assert 1.0 - 1e-5 <= equal.x[0] <= 3.0 + 1e-5
    rows = [[-1.0], [0.0], [0.0], [-1.0]]
    round_ = conic([1.0], rows, [-9.0, 4.0, 3.0, 0.0], second_order=(3,))
    cone = solve(round_)
    assert cone.fallback == "softened"
    assert round_.infeasibility(cone.x) < np.hypot(3.0, 9.0) - 4.0 + 1e-4


def test_a_softened_problem_has_a_feasible_point_at_any_place():
    problem = LINEAR.with_rows(
        sparse.csr_array(np.array([[0.0, 0.0], [1.0, 0.0]])), np.array([-1.0, 0.0]), 0, (2,)
    )
    softened = soften(problem)
    x = np.array([7.0, -9.0])
    n_slack = len(softened.linear) - 2
    assert n_slack == 2 + 1 + 1  # both ways for the equality, one for the bound, one for the cone
    assert softened.infeasibility(np.append(x, np.full(n_slack, 0.0))) > 4.0
    # x + y misses 3 by -5, x misses 2 by 5; |x| = 7 where -1 is allowed.
    slack = np.array([0.0, 5.0, 8.0, 5.0])
    assert softened.infeasibility(np.append(x, slack)) == pytest.approx(0.0, abs=1e-12)
    assert softened.infeasibility(np.append(x, slack - 0.5)) == pytest.approx(0.5)


def test_a_problem_without_a_bound_has_no_solution_on_any_rung():
    with pytest.raises(SolverFailedError, match="tight: DualInfeasible") as caught:
        solve(conic([1.0], [[1.0]], [0.0]))
    assert "softened: DualInfeasible" in str(caught.value)


# --- what no solver can help ------------------------------------------------------------------


def test_malformed_data_is_a_failure_of_the_solver():
    wrong = conic([1.0, 2.0], [[1.0, 1.0]], [3.0, 4.0], n_zero=2)
    with pytest.raises(SolverFailedError, match="incompatible"):
        solve(wrong)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("cost", "linear"),
        ("offset", "offset"),
        ("coefficient", "matrix"),
        ("quadratic", "quadratic"),
    ],
)
def test_data_that_are_no_numbers_are_named(value, name, part):
    whole = getattr(CURVED, part).copy()
    (whole if isinstance(whole, np.ndarray) else whole.data)[0] = value
    with pytest.raises(NotFiniteError, match=f"{name}.* not a finite number"):
        solve(replace(CURVED, **{part: whole}))


@pytest.mark.parametrize(
    ("x", "missed"),
    [
        ([5.0, 4.0], 0.0),
        ([5.0, 3.0], 1.0),  # x >= 4
        ([4.0, 4.0], 1.0),  # the cone
        ([5.0, 4.5], np.hypot(3.0, 4.5) - 5.0),
    ],
)
def test_infeasibility_of_a_point(x, missed):
    assert CONE.infeasibility(np.array(x)) == pytest.approx(missed)


def test_infeasibility_of_an_equality_counts_both_ways():
    assert LINEAR.infeasibility(np.array([2.0, 3.0])) == pytest.approx(2.0)
    assert LINEAR.infeasibility(np.array([-1.0, 3.0])) == pytest.approx(1.0)
