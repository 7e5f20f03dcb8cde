"""Radius rules: hand-solved and brute-force oracles, limits, and what a rule may look at."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from configs.schema import Market
from market.radius import (
    CANDIDATES,
    N_FOLDS,
    REFRESH_DAYS,
    RULES,
    RadiusRule,
    Situation,
    cross_validated_radius,
    day_blocks,
    formula_radius,
    needs_radius,
    worst_following,
)
from market.safety_factors import METHODS, make_safety_factor

JOINT = make_safety_factor("wasserstein_joint", 0.05, 3e-4)


def situation(seed=0, n_days=60, a_day=3, n_rows=4, *, kept=None, first_day=0) -> Situation:
    """Heavy-tailed errors of correlated rows, the last two of which keep their distance."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(3, n_rows))
    u = rng.standard_t(4, size=(n_days * a_day, 3)) @ mix
    z = (u - u.mean(axis=0)) / u.std(axis=0)
    if kept is None:
        kept = np.where(np.arange(n_rows) < n_rows - 2, 0.0, 2.0)
    weights = np.full(len(z), 1 / len(z))
    return Situation(z, weights, first_day + np.repeat(np.arange(n_days), a_day), kept)


def test_the_rules_are_those_of_the_configuration():
    assert get_args(Market.model_fields["radius_rule"].annotation) == RULES


# --- the formula ------------------------------------------------------------------------------


def test_the_formula_by_hand():
    # Both samples lie one off the mean: C = 2 inf sqrt((1 + a) / (2 a)) = sqrt(2).
    radius = formula_radius(np.array([4.0, 6.0]), np.full(2, 0.5), 0.95)
    assert radius == pytest.approx(np.sqrt(2) * np.sqrt(np.log(20) / 2), rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_the_formula_against_a_fine_grid(seed):
    rng = np.random.default_rng(seed)
    sample, weights = rng.standard_t(3, size=50), rng.dirichlet(np.ones(50))
    square = (sample - weights @ sample) ** 2
    a = np.geomspace(1e-4, 50 / square.max(), 200_000)[:, np.newaxis]
    inner = (1 + np.log((weights * np.exp(a * square)).sum(axis=1, keepdims=True))) / (2 * a)
    expected = 2 * np.sqrt(inner.min()) * np.sqrt(weights @ weights * np.log(10))
    assert formula_radius(sample, weights, 0.9) == pytest.approx(expected, rel=1e-6)


def test_the_formula_falls_with_the_root_of_the_number_of_samples():
    sample = np.random.default_rng(1).normal(size=30)
    few = formula_radius(sample, np.full(30, 1 / 30), 0.95)
    many = formula_radius(np.tile(sample, 100), np.full(3000, 1 / 3000), 0.95)
    assert many == pytest.approx(few / 10)


def test_weighted_samples_count_by_their_effective_number():
    # One weight of a half and two of a quarter: 8/3 samples instead of four.
    weighted = formula_radius(np.array([0.0, 1.0, 3.0]), np.array([0.5, 0.25, 0.25]), 0.95)
    expanded = formula_radius(np.array([0.0, 0.0, 1.0, 3.0]), np.full(4, 0.25), 0.95)
    assert weighted == pytest.approx(expanded * np.sqrt(4 * 3 / 8))


@given(scale=st.floats(1e-3, 1e3), shift=st.floats(-10, 10), confidence=st.floats(0.1, 0.99))
def test_the_formula_has_the_unit_of_the_samples(scale, shift, confidence):
    sample, weights = np.array([0.0, 0.5, 2.0, -1.0]), np.full(4, 0.25)
    plain = formula_radius(sample, weights, confidence)
    assert formula_radius(scale * sample + shift, weights, confidence) == pytest.approx(
        scale * plain, rel=1e-4
    )


def test_the_ball_of_the_formula_holds_the_true_distribution():
    rng = np.random.default_rng(2)
    truth = rng.normal(size=100_000)
    for _ in range(20):
        sample = rng.normal(size=100)
        radius = formula_radius(sample, np.full(100, 0.01), 0.95)
        assert wasserstein_distance(sample, truth) < radius


def test_without_spread_there_is_no_ball():
    assert formula_radius(np.full(5, 0.1), np.full(5, 0.2), 0.95) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("confidence", [0.0, 1.0, -0.5, np.nan])
def test_a_confidence_that_is_none_is_refused(confidence):
    with pytest.raises(ValueError, match="confidence must lie in"):
        formula_radius(np.array([0.0, 1.0]), np.full(2, 0.5), confidence)


def test_the_worst_row_is_the_largest_of_those_that_follow():
    z = np.array([[1.0, 3.0, 9.0], [2.0, -1.0, 9.0]])
    of_rows = Situation(z, np.full(2, 0.5), np.arange(2), np.array([0.0, 0.0, 4.0]))
    np.testing.assert_array_equal(worst_following(of_rows), [3.0, 2.0])


# --- cross-validation -------------------------------------------------------------------------


def held_out_violation(method, errors, weights, day, limit):
    """Sample by sample, with the errors in their own unit; `limit` is kept, if it is finite."""
    blocks = np.array_split(sorted(set(day)), N_FOLDS)
    violated = np.zeros(errors.shape)
    for i, today in enumerate(day):
        (block,) = [b for b in blocks if today in b]
        other = ~np.isin(day, block)
        w = weights[other] / weights[other].sum()
        mean = w @ errors[other]
        sigma = np.sqrt(w @ (errors[other] - mean) ** 2)
        slack = np.where(np.isfinite(limit), (limit - mean) / sigma, 0.0)
        kappa = method.factors((errors[other] - mean) / sigma, w, slack)
        margin = mean + kappa * sigma
        violated[i] = errors[i] > np.where(np.isfinite(limit), np.maximum(limit, margin), margin)
    if method.exact_joint:
        return weights @ violated.any(axis=1)
    return (weights @ violated).max()


@pytest.mark.parametrize("name", ["wasserstein_joint", "wasserstein", "wasserstein_cvar"])
@pytest.mark.parametrize("seed", range(3))
def test_cross_validation_against_an_exhaustive_search(name, seed):
    rng = np.random.default_rng(seed)
    mean, sigma = rng.normal(size=4), rng.uniform(0.1, 10, size=4)
    plain = situation(seed, n_days=20)
    weights = rng.dirichlet(np.full(60, 5.0))
    errors = mean + sigma * plain.z
    limit = np.where(plain.kept > 0, mean + plain.kept * sigma, np.inf)
    of_rows = Situation(plain.z, weights, plain.day, plain.kept)
    found = cross_validated_radius(make_safety_factor(name, 0.05, 0.0), of_rows)
    rate = {
        radius: held_out_violation(
            make_safety_factor(name, 0.05, radius), errors, weights, plain.day, limit
        )
        for radius in CANDIDATES
    }
    assert np.all(np.diff(list(rate.values())) <= 1e-12)  # larger radii never violate more
    passing = [radius for radius in CANDIDATES if rate[radius] <= 0.05]
    assert found.radius == min(passing, default=CANDIDATES[-1])
    assert found.kept == bool(passing)
    assert found.held_out == pytest.approx(rate[found.radius])


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), scale=st.floats(0.5, 2.0), shift=st.floats(-0.5, 0.5))
def test_no_moment_of_the_held_out_days_is_left(seed, scale, shift):
    """Shifting and scaling the rows, as standardisation does, changes nothing."""
    plain = situation(seed)
    kept = np.where(plain.follows, 0.0, scale * plain.kept + shift)
    moved = Situation(scale * plain.z + shift, plain.weights, plain.day, kept)
    assert cross_validated_radius(JOINT, moved) == cross_validated_radius(JOINT, plain)


def test_more_samples_need_a_smaller_radius():
    few = [cross_validated_radius(JOINT, situation(s, a_day=3)).radius for s in range(25)]
    many = [cross_validated_radius(JOINT, situation(s, a_day=30)).radius for s in range(25)]
    assert np.median(many) < np.median(few)
    assert np.mean(many) < np.mean(few)


def test_a_day_unlike_the_others_takes_the_largest_radius_and_says_so():
    # Ten samples: any single violation weighs more than the risk level.
    z = np.array([-1.0, 1.0] * 4 + [-1.0, 5.0])[:, np.newaxis]
    odd = Situation(z, np.full(10, 0.1), np.arange(10), np.zeros(1))
    found = cross_validated_radius(JOINT, odd)
    assert (found.radius, found.kept) == (CANDIDATES[-1], False)
    assert found.held_out == pytest.approx(0.1)


def test_rows_that_no_error_reaches_take_the_smallest_radius():
    still = Situation(np.zeros((60, 3)), np.full(60, 1 / 60), np.arange(60), np.zeros(3))
    assert cross_validated_radius(JOINT, still).radius == CANDIDATES[0]


@pytest.mark.parametrize(("n_days", "n_blocks"), [(60, 6), (7, 6), (6, 6), (4, 4), (2, 2)])
def test_blocks_hold_every_day_once_and_in_one_piece(n_days, n_blocks):
    day = np.repeat(np.arange(100, 100 + n_days), 3)
    blocks = day_blocks(day)
    assert len(blocks) == n_blocks
    np.testing.assert_array_equal(np.sum(blocks, axis=0), 1)
    for block in blocks:
        inside = np.unique(day[block])
        assert len(inside) == inside[-1] - inside[0] + 1
        assert abs(len(inside) - n_days / n_blocks) < 1


def test_one_day_cannot_be_cross_validated():
    with pytest.raises(ValueError, match="needs two days, got 1"):
        cross_validated_radius(JOINT, situation(n_days=1, a_day=50))


def test_all_weight_on_one_day_cannot_be_cross_validated():
    plain = situation(n_days=3, a_day=2)
    on_first = Situation(plain.z, np.array([0.5, 0.5, 0, 0, 0, 0]), plain.day, plain.kept)
    with pytest.raises(ValueError, match="one block of days has all the weight"):
        cross_validated_radius(JOINT, on_first)


@pytest.mark.parametrize(
    ("z", "weights", "message"),
    [(np.nan, 0.5, "errors must be finite"), (1.0, 0.6, "sum to one"), (1.0, np.nan, "sum to one")],
)
def test_errors_that_are_none_are_refused(z, weights, message):
    with pytest.raises(ValueError, match=message):
        Situation(np.array([[z], [0.0]]), np.full(2, weights), np.arange(2), np.zeros(1))


# --- the rule ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "method"), [("fixed", "wasserstein_joint"), ("cross_validation", "gaussian")]
)
def test_what_is_fixed_is_never_chosen(rule, method):
    """A single day, which cannot be cross-validated, does not matter."""
    chooses = RadiusRule(rule, make_safety_factor(method, 0.05, 3e-4), 0.95)
    one_day = situation(n_days=1)
    assert not chooses.is_due("anywhere", one_day.day)
    chooses.learn("anywhere", one_day)
    assert chooses.choice("anywhere").radius == 3e-4


def test_a_place_has_the_fixed_radius_until_it_has_learned_its_own():
    chooses = RadiusRule("cross_validation", JOINT, 0.95)
    chooses.learn(("A", 12), situation(1))
    assert chooses.choice(("A", 12)) == cross_validated_radius(JOINT, situation(1))
    assert chooses.choice(("A", 13)).radius == 3e-4
    assert chooses.choice(("A", 12)).radius != 3e-4


def test_a_radius_is_kept_for_a_week():
    chooses = RadiusRule("formula", JOINT, 0.95)
    chooses.learn(0, situation(1))
    first = chooses.choice(0).radius
    early, late = (situation(2, first_day=day) for day in (REFRESH_DAYS - 1, REFRESH_DAYS))
    assert (chooses.is_due(0, early.day), chooses.is_due(0, late.day)) == (False, True)
    chooses.learn(0, early)
    assert chooses.choice(0).radius == first
    chooses.learn(0, late)
    second = situation(2)
    assert chooses.choice(0).radius == formula_radius(worst_following(second), second.weights, 0.95)


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="unknown radius rule 'guess', choose one of fixed"):
        RadiusRule("guess", JOINT, 0.95)


def test_which_methods_need_a_radius():
    with_ball = {"wasserstein_cvar", "wasserstein", "wasserstein_joint", "hypercube"}
    assert {n for n in METHODS if needs_radius(make_safety_factor(n, 0.05, 0.0))} == with_ball
