"""What network operators offer: a linear model and error samples."""

from dataclasses import replace

import numpy as np
import pytest

from market.grid_rows import GridRows, HalfPlanes
from tests.market.builders import FakeOperator, errors_of

OPERATOR = FakeOperator(
    "A",
    errors_of({0: [0.0]}, 2),
    R=np.array([[1e-3, 4e-4], [4e-4, 2e-3]]),
    X=np.array([[5e-4, 2e-4], [2e-4, 1e-3]]),
)


def test_a_linear_model_moved_to_other_injections_is_exact():
    rng = np.random.default_rng(1)
    p, q = rng.normal(0, 20, (2, 3, 2))
    offer = OPERATOR.linearise(p, q, range(3))
    fixed_p, fixed_q = rng.normal(0, 20, (2, 3, 2))
    for t in range(3):
        v = OPERATOR.voltage(fixed_p, fixed_q)[t]
        np.testing.assert_allclose(offer.rows(t).at(fixed_p[t], fixed_q[t]), [*v, *-v])


def rows_of_a_tree(parent):
    """Rows of which only their neighbours matter."""
    nothing = np.zeros((len(parent), 2))
    return GridRows(
        value=nothing[:, 0],
        limit=nothing[:, 0],
        d_p=nothing,
        d_q=nothing,
        p_kw=np.zeros(2),
        q_kvar=np.zeros(2),
        parent=np.array(parent),
        half_planes=HalfPlanes.none(),
        element=np.arange(len(parent)),
        converged=True,
    )


@pytest.mark.parametrize(
    ("exceedance", "expected"),
    [
        # A line of four rows from the source, and a row with no neighbour.
        ([1, 2, 3, 4, 0], [3, 4]),
        ([4, 3, 2, 1, 0], [0, 4]),
        ([1, 3, 2, 4, 0], [1, 3, 4]),
        ([2, 2, 2, 2, 0], [0, 1, 2, 3, 4]),
        ([1, 3, 3, 2, 0], [1, 2, 4]),
        ([-5, -4, -6, -1, 9], [1, 3, 4]),
    ],
)
def test_peaks_are_the_rows_that_no_neighbour_exceeds(exceedance, expected):
    rows = rows_of_a_tree([-1, 0, 1, 2, -1])
    found = np.flatnonzero(rows.peaks(np.array(exceedance, dtype=float)))
    np.testing.assert_array_equal(found, expected)


def test_a_branching_row_is_no_peak_when_one_branch_rises():
    rows = rows_of_a_tree([-1, 0, 0])
    np.testing.assert_array_equal(rows.peaks(np.array([2.0, 1.0, 3.0])), [False, False, True])


def test_an_element_exceeds_as_far_as_the_worst_of_its_half_planes():
    rows = replace(rows_of_a_tree([-1, 0]), element=np.array([0, 1, 0, 0]))
    # The first element exceeds by 5, on the second of its half-planes; its neighbour by 3.
    found = rows.peaks(np.array([1.0, 3.0, 5.0, 2.0]))
    np.testing.assert_array_equal(found, [True, False, True, True])
