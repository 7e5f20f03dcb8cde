"""Probabilities of the error samples: hand-solved kernels, the bound, and invariances."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from configs.schema import Market
from market.conditional import RULES, bounded, sample_weights

AGES = np.array([0.0, 10.0, 30.0])
PAST = np.array([[0.0, 5.0], [2.0, 5.0], [1.0, 5.0]])


def weights(rule, ages=AGES, past=PAST, coming=(0.0, 5.0), **changes):
    settings = {"forgetting_days": 30.0, "width": 1.0, "largest": 1.0} | changes
    return sample_weights(rule, ages, past, np.array(coming), **settings)


def test_the_rules_are_those_of_the_configuration():
    assert get_args(Market.model_fields["sample_weights"].annotation) == RULES


def test_a_sample_as_old_as_the_forgetting_weighs_a_part_e_of_a_fresh_one():
    found = weights("recency")
    assert found[2] / found[0] == pytest.approx(np.exp(-1))
    assert found[1] / found[0] == pytest.approx(np.exp(-1 / 3))


def test_similarity_is_a_gaussian_kernel_in_spreads_of_the_past_forecasts():
    # Standard deviation of 0, 2, 1 is sqrt(2/3): distances 0, 6 and 1.5 in squares.
    found = weights("similarity")
    np.testing.assert_allclose(found / found[0], np.exp([0, -3, -0.75]))
    wide = weights("similarity", width=2.0)
    np.testing.assert_allclose(wide / wide[0], np.exp([0, -0.75, -0.1875]))


def test_several_steps_are_weighed_one_by_one():
    rng = np.random.default_rng(4)
    ages, past, coming = rng.random((3, 9)), rng.normal(size=(3, 9, 2)), rng.normal(size=(3, 2))
    past[1, :, 0] = 0.1  # tells nothing in one of the steps only
    together = weights("recency_similarity", ages, past, coming, largest=0.15)
    alone = [
        weights("recency_similarity", *step, largest=0.15)
        for step in zip(ages, past, coming, strict=True)
    ]
    np.testing.assert_allclose(together, alone, rtol=1e-12)


def test_both_together_are_the_product():
    product = weights("recency") * weights("similarity")
    np.testing.assert_allclose(weights("recency_similarity"), product / product.sum())


def test_equal_looks_at_nothing():
    np.testing.assert_array_equal(weights("equal", past=np.full((3, 1), np.nan)), [1 / 3] * 3)


def test_a_feature_that_never_varied_tells_nothing():
    np.testing.assert_allclose(
        weights("similarity", coming=(0.0, 9.0)), weights("similarity", coming=(0.0, 5.0))
    )
    night = np.full((3, 2), 0.1)  # whose mean is not exactly 0.1
    np.testing.assert_allclose(weights("similarity", past=night, coming=(0.2, 0)), [1 / 3] * 3)


def test_a_forecast_unlike_all_past_ones_takes_the_nearest():
    np.testing.assert_allclose(weights("similarity", coming=(1e6, 5.0)), [0, 1, 0], atol=1e-12)


def test_the_bound_mixes_in_just_enough():
    # lambda = (0.7 - 0.4) / (0.7 - 0.25) = 2/3
    np.testing.assert_allclose(
        bounded(np.array([0.7, 0.1, 0.2, 0]), 0.4), [0.4, 0.2, 0.7 / 3, 0.5 / 3]
    )
    unbounded = np.array([0.4, 0.3, 0.2, 0.1])
    np.testing.assert_array_equal(bounded(unbounded, 0.4), unbounded)


def test_too_few_samples_for_the_bound_weigh_the_same():
    np.testing.assert_allclose(bounded(np.array([0.7, 0.2, 0.1]), 0.3), [1 / 3] * 3)


@given(
    raw=arrays(float, st.integers(2, 60), elements=st.floats(0, 1)).filter(lambda w: w.sum() > 0.1),
    largest=st.floats(0.01, 1.0),
)
def test_bounded_weights_are_probabilities_in_the_same_order(raw, largest):
    before = raw / raw.sum()
    found = bounded(before, largest)
    assert found.sum() == pytest.approx(1.0)
    assert (found >= 0).all()
    assert found.max() <= max(largest, 1 / len(raw)) + 1e-12
    assert 1 / (found @ found) >= min(1 / largest, len(raw)) * (1 - 1e-9)
    assert (np.diff(found[np.argsort(before)]) >= -1e-12).all()


@given(scale=st.floats(1e-3, 1e3), shift=st.floats(-100, 100))
def test_units_of_the_features_do_not_matter(scale, shift):
    rng = np.random.default_rng(1)
    past, coming = rng.normal(size=(20, 2)), rng.normal(size=2)
    plain = weights("similarity", ages=np.zeros(20), past=past, coming=coming)
    other = weights("similarity", np.zeros(20), scale * past + shift, scale * coming + shift)
    np.testing.assert_allclose(other, plain, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(
    ("rule", "changes", "message"),
    [
        ("nearest", {}, "unknown sample weights 'nearest'"),
        ("recency", {"ages": np.zeros(0)}, "no samples"),
        ("recency", {"forgetting_days": 0.0}, "forgetting_days must be positive"),
        ("recency", {"ages": np.array([0.0, np.nan, 1.0])}, "age_days must be finite, got nan"),
        ("similarity", {"width": np.nan}, "width must be positive"),
        ("similarity", {"coming": (np.inf, 0.0)}, "features must be finite, got inf"),
        ("equal", {"largest": -1.0}, "largest must be positive"),
    ],
)
def test_what_cannot_be_is_refused(rule, changes, message):
    with pytest.raises(ValueError, match=message):
        weights(rule, **changes)
