"""Indices: known values, bounds, and what must not matter to them."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from simulation.indices import gini, jain, self_consumption, self_sufficiency

amounts = st.lists(st.floats(0, 1e6).map(lambda x: round(x, 3)), min_size=1, max_size=30)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([5.0], 0.0),
        ([2.0, 2.0, 2.0], 0.0),
        ([0.0, 0.0, 0.0, 8.0], 0.75),
        ([1.0, 3.0], 0.25),
        ([3.0, 1.0, 2.0], 2 / 9),
        # The differences 4, 5, 9, 1, 5, 4 of the pairs; beyond one, as somebody loses.
        ([-4.0, 0.0, 5.0, 1.0], 2 * 28 / (2 * 16 * 0.5)),
        ([-1.0, 1.0], None),
        ([-3.0, 1.0], None),
        ([0.0, 0.0], None),
        ([], None),
    ],
)
def test_gini_by_hand(values, expected):
    assert gini(values) == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([5.0], 1.0),
        ([2.0, 2.0, 2.0], 1.0),
        ([0.0, 0.0, 0.0, 8.0], 0.25),
        ([1.0, 0.0, 1.0, 0.0], 0.5),
        ([1.0, 3.0], 0.8),
        ([-1.0, 1.0], 0.0),
        ([0.0, 0.0], None),
        ([], None),
    ],
)
def test_jain_by_hand(values, expected):
    assert jain(values) == (None if expected is None else pytest.approx(expected))


@given(amounts)
def test_gini_is_half_the_mean_difference_over_the_mean(values):
    x = np.array(values)
    assume(x.sum() > 0)
    pairs = np.abs(x[:, None] - x).mean()
    assert gini(values) == pytest.approx(pairs / (2 * x.mean()), abs=1e-12)


@given(amounts)
def test_bounds_of_non_negative_values(values):
    n = len(values)
    assume(sum(values) > 0)
    assert -1e-12 <= gini(values) <= 1 - 1 / n + 1e-12
    assert 1 / n - 1e-12 <= jain(values) <= 1 + 1e-12


@given(amounts, st.floats(1e-3, 1e3), st.randoms())
def test_neither_scale_nor_order_matters(values, factor, random):
    shuffled = [factor * x for x in values]
    random.shuffle(shuffled)
    assume(sum(values) > 0)
    assert gini(shuffled) == pytest.approx(gini(values), abs=1e-9)
    assert jain(shuffled) == pytest.approx(jain(values), rel=1e-9)


@given(amounts, st.integers(2, 5))
def test_doubling_a_community_changes_nothing(values, times):
    assume(sum(values) > 0)
    assert gini(times * values) == pytest.approx(gini(values), abs=1e-9)
    assert jain(times * values) == pytest.approx(jain(values), rel=1e-9)


@given(st.lists(st.floats(1, 100), min_size=2, max_size=10), st.data())
def test_giving_from_rich_to_poor_is_fairer(values, data):
    """The Pigou-Dalton principle: a transfer that keeps the order lowers inequality."""
    x = np.sort(values)
    assume(x[-1] - x[0] > 0.1)
    gift = data.draw(st.floats(0.01, (x[-1] - x[0]) / 2))
    y = x.copy()
    y[0], y[-1] = x[0] + gift, x[-1] - gift
    assert gini(y) < gini(x)
    assert jain(y) > jain(x)


def test_shares_of_own_energy():
    assert self_sufficiency(30.0, 40.0) == 0.25
    assert self_sufficiency(0.0, 40.0) == 1
    assert self_sufficiency(50.0, 40.0) == -0.25
    assert self_sufficiency(0.0, 0.0) is None
    assert self_consumption(5.0, 20.0) == 0.75
    assert self_consumption(1.0, 0.0) is None
