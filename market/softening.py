r"""A conic programme whose constraints may be missed at a price.

.. math:: \min_{x, s} \tfrac12 x^T P x + c^T x + \pi\, 1^T s \quad \text{s.t.} \quad
          b - A x + S s \in K, \; s \ge 0 ,

with slack in both directions for the rows of the zero cone, and upwards for the other linear rows
and the first row of every second-order cone. It always has a feasible point. Above the largest
dual of the original problem the price is exact: where that has a solution, this is the same one
(e.g. Nocedal and Wright, Numerical Optimization, 2nd ed., 2006, section 17.2).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from market.conic_problem import ConicProblem, ConicSolution

PRICE = 100.0
"""Price of the slack over the largest cost coefficient, itself that of the grid limits."""


def soften(problem: ConicProblem) -> ConicProblem:
    """Let every constraint be missed at a price far above all others.

    Parameters
    ----------
    problem : ConicProblem
        The problem.

    Returns
    -------
    ConicProblem
        The same columns, and behind them the slack; the same linear rows, behind them the
        bounds of the slack, then the cones.
    """
    n_rows, n_columns = problem.matrix.shape
    heads = problem.n_linear + np.cumsum((0, *problem.second_order[:-1]))
    zero = np.arange(problem.n_zero)
    upwards = np.arange(problem.n_zero, problem.n_linear)
    raised = np.concatenate([zero, upwards, heads[: len(problem.second_order)]]).astype(np.intp)
    rows = np.concatenate([raised, zero])
    sign = np.concatenate([np.full(len(raised), -1.0), np.ones(len(zero))])
    n_slack = len(rows)
    slack = sparse.csr_array((sign, (rows, np.arange(n_slack))), shape=(n_rows, n_slack))
    whole = sparse.csr_array(sparse.hstack([problem.matrix, slack]))
    bounds = sparse.hstack([sparse.csr_array((n_slack, n_columns)), -sparse.eye_array(n_slack)])
    linear, cones = whole[: problem.n_linear], whole[problem.n_linear :]
    price = PRICE * float(np.abs(problem.linear).max(initial=1.0))
    free = sparse.csc_array((n_slack, n_slack))
    return replace(
        problem,
        quadratic=sparse.block_diag([problem.quadratic, free], format="csc"),
        linear=np.concatenate([problem.linear, np.full(n_slack, price)]),
        matrix=sparse.vstack([linear, bounds, cones], format="csr"),
        offset=np.insert(problem.offset, problem.n_linear, np.zeros(n_slack)),
        n_nonnegative=problem.n_nonnegative + n_slack,
    )


def harden(problem: ConicProblem, softened: ConicProblem, solution: ConicSolution) -> ConicSolution:
    """Leave the slack out of a solution.

    Parameters
    ----------
    problem, softened : ConicProblem
        The problem before and after :func:`soften`.
    solution : ConicSolution
        Solution of the softened problem.
    """
    n_columns, n_slack = len(problem.linear), len(softened.linear) - len(problem.linear)
    price_of_slack = softened.linear[n_columns:] @ solution.x[n_columns:]
    bounds = slice(problem.n_linear, problem.n_linear + n_slack)
    return replace(
        solution,
        x=solution.x[:n_columns],
        z=np.delete(solution.z, bounds),
        objective=solution.objective - float(price_of_slack),
    )
