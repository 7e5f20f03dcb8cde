"""Coarser blocks late in the look-ahead window."""

import numpy as np
import pytest
from scipy import sparse

from market.conic_problem import ConicProblem
from market.solve import solve
from market.time_blocks import TimeBlocks

BLOCKS = TimeBlocks((1, 1, 2, 3))


def test_decisions_are_held_and_states_move_on_a_straight_line():
    value = np.array([1.0, 2.0, 4.0, 10.0])
    np.testing.assert_allclose(BLOCKS.hold @ value, [1, 2, 4, 4, 10, 10, 10])
    np.testing.assert_allclose(BLOCKS.interpolate @ value, [1, 2, 3, 4, 6, 8, 10])
    np.testing.assert_allclose(BLOCKS.ends @ np.arange(7), [0, 1, 3, 6])


def storage(price, e_max=6.0):
    """Charge x and stored energy e of each of seven hours, side by side; e follows x.

    Least price x with e_t = e_(t-1) + x_t, the last e at least 5, 0 <= x <= 2, 0 <= e <= e_max.
    """
    n = len(price)
    eye, shift = np.eye(n), np.eye(n, k=-1)
    zero = np.zeros((n, n))
    rows = np.vstack(
        [
            np.hstack([-eye, eye - shift]),
            np.hstack([-eye, zero]),
            np.hstack([eye, zero]),
            np.hstack([zero, -eye]),
            np.hstack([zero, eye]),
        ]
    )
    low = np.zeros(n)
    low[-1] = -5.0
    return ConicProblem(
        quadratic=sparse.csc_array((2 * n, 2 * n)),
        linear=np.concatenate([price, np.zeros(n)]),
        matrix=sparse.csr_array(rows),
        offset=np.concatenate([np.zeros(n), np.zeros(n), np.full(n, 2.0), low, np.full(n, e_max)]),
        n_zero=n,
        n_nonnegative=4 * n,
    )


def coarse(problem, blocks):
    n = blocks.n_steps
    return blocks.coarsen(
        problem,
        [("charge", 0, n), ("energy", n, n)],
        equal=[("storage_dynamics", n)],
        unequal=[
            ("charge_min", n),
            ("charge_max", n),
            ("energy_min", n),
            ("energy_max", n),
        ],
    )


def test_blocks_of_one_step_change_nothing():
    problem = storage(np.array([3.0, 1.0, 2.0, 5.0, 4.0, 6.0, 7.0]))
    same = coarse(problem, TimeBlocks((1,) * 7))
    assert (same.problem.matrix != problem.matrix).nnz == 0
    np.testing.assert_array_equal(same.problem.offset, problem.offset)
    np.testing.assert_array_equal(same.problem.linear, problem.linear)


def test_a_coarse_optimum_by_hand():
    # Step by step the 5 kWh come in the cheapest hours: 2 x 1 + 2 x 2 + 1 x 3 = 9.
    price = np.array([6.0, 7.0, 1.0, 5.0, 2.0, 3.0, 4.0])
    problem = storage(price)
    assert solve(problem).objective == pytest.approx(9.0, abs=1e-5)
    # In blocks of 1, 1, 2 and 3 hours a kWh costs 6, 7, 3 and 3 on average: three hours of 5/3 at
    # 3, or any mix with the two hours before: 15 in all.
    part = coarse(problem, BLOCKS)
    assert part.problem.matrix.shape == (4 * 5, 4 * 2)
    solution = part.restore(solve(part.problem))
    assert solution.objective == pytest.approx(15.0, abs=1e-5)
    charge, energy = solution.x[:7], solution.x[7:]
    np.testing.assert_allclose(charge[[4, 5]], charge[6], atol=1e-9)
    np.testing.assert_allclose(np.cumsum(charge), energy, atol=1e-6)
    assert problem.infeasibility(solution.x) < 1e-6


def test_a_coarse_optimum_is_never_cheaper_where_rows_are_the_steps_own():
    # Nothing but bounds that are the same in every step: the blocks only tie decisions together.
    rng = np.random.default_rng(3)
    for _ in range(5):
        problem = storage(rng.uniform(1, 5, 7))
        assert solve(coarse(problem, BLOCKS).problem).objective >= solve(problem).objective - 1e-6


def test_rows_and_columns_beyond_the_layout_stay():
    problem = storage(np.arange(7.0) + 1)
    wide = problem.with_columns(np.array([1.0]), sparse.csr_array((0, 15)), np.zeros(0))
    row = sparse.lil_array((1, 15))
    row[0, 14], row[0, 0] = -1.0, -1.0  # first charge + extra >= 1
    wide = wide.with_rows(sparse.csr_array(row), np.array([-1.0]), 1, ())
    part = coarse(wide, BLOCKS)
    assert part.problem.matrix.shape == (21, 9)
    np.testing.assert_allclose(part.problem.matrix.toarray()[-1, [0, 8]], [-1.0, -1.0])
    assert part.problem.offset[-1] == -1.0
