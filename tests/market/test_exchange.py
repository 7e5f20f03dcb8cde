"""How the price of the exchange is found, with networks whose answers are formulas."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.exchange import ExchangeState, Mixing, coordinate


def quadratic(slope, wish):
    """Networks with costs slope (e - wish)^2 / 2, (n_networks, 1) and (n_networks, n_steps)."""

    def ask(price, target, penalty):
        return (price + slope * wish + penalty * target) / (slope + penalty)

    return ask


def merit_order(cost, capacity):
    """Networks that export up to a capacity at a cost, (n_networks, T) each; imports negative."""

    def ask(price, target, penalty):
        wanted = target + (price - cost) / penalty
        return np.clip(wanted, np.minimum(capacity, 0), np.maximum(capacity, 0))

    return ask


def start(n_networks, n_steps):
    return ExchangeState(np.zeros(n_steps), np.zeros((n_networks, n_steps)))


@given(
    slope=st.lists(st.floats(0.1, 10.0), min_size=2, max_size=5),
    seed=st.integers(0, 100),
    penalty=st.floats(0.1, 10.0),
)
def test_quadratic_costs_meet_at_the_price_where_they_balance(slope, seed, penalty):
    k = np.array(slope)[:, None]
    wish = np.random.default_rng(seed).normal(0, 5, (len(k), 3))
    found = coordinate(
        quadratic(k, wish), start(len(k), 3), penalty=penalty, tolerance=1e-8, max_iterations=500
    )
    price = -wish.sum(axis=0) / (1 / k).sum()
    assert found.agreed
    np.testing.assert_allclose(found.state.price, price, atol=1e-5)
    np.testing.assert_allclose(found.state.target_kw, wish + price / k, atol=1e-5)
    np.testing.assert_allclose(found.state.target_kw.sum(axis=0), 0, atol=1e-9)


def test_the_marginal_seller_sets_the_price():
    """Sellers of 3 kW at 0.10 and 5 kW at 0.15; a buyer of 6 kW worth 0.30."""
    cost, capacity = np.array([[0.10], [0.15], [0.30]]), np.array([[3.0], [5.0], [-6.0]])
    found = coordinate(
        merit_order(cost, capacity), start(3, 1), penalty=0.01, tolerance=1e-6, max_iterations=300
    )
    assert found.agreed
    assert found.state.price[0] == pytest.approx(0.15, abs=1e-4)
    np.testing.assert_allclose(found.state.target_kw[:, 0], [3, 3, -6], atol=1e-3)


def test_a_start_at_the_solution_needs_one_iteration():
    ask = quadratic(np.array([[1.0], [2.0]]), np.array([[3.0], [0.0]]))
    first = coordinate(ask, start(2, 1), penalty=1.0, tolerance=1e-9, max_iterations=200)
    again = coordinate(ask, first.state, penalty=1.0, tolerance=1e-8, max_iterations=200)
    assert first.n_iterations > 1
    assert again.n_iterations == 1


def test_it_stops_at_the_limit_and_says_so():
    ask = quadratic(np.array([[1.0], [20.0]]), np.array([[3.0], [0.0]]))
    found = coordinate(ask, start(2, 1), penalty=1.0, tolerance=1e-12, max_iterations=3)
    assert (found.n_iterations, found.agreed) == (3, False)
    assert found.residual > 1e-12
    assert found.state.target_kw.sum() == pytest.approx(0, abs=1e-12)


def test_a_network_without_an_answer_ends_it():
    found = coordinate(lambda *_: None, start(2, 1), penalty=1.0, tolerance=1e-3, max_iterations=9)
    assert (found.n_iterations, found.agreed) == (1, False)


@pytest.mark.parametrize("penalty", [1e-2, 1e2])
def test_a_bad_first_penalty_is_corrected(penalty):
    k, wish = np.array([[0.1], [0.2], [0.4]]), np.array([[10.0, -5.0], [0.0, 3.0], [2.0, 2.0]])
    found = coordinate(
        quadratic(k, wish), start(3, 2), penalty=penalty, tolerance=1e-6, max_iterations=200
    )
    assert found.agreed


def test_mixing_solves_a_linear_iteration_in_as_many_steps_as_it_has_dimensions():
    matrix, constant = np.array([[0.9, 0.3], [-0.3, 0.8]]), np.array([1.0, 2.0])
    mixing, state = Mixing(), np.zeros(2)
    for _ in range(5):
        state = mixing.next(state, matrix @ state + constant - state)
    fixed_point = np.linalg.solve(np.eye(2) - matrix, constant)
    np.testing.assert_allclose(state, fixed_point, rtol=1e-3)


def test_a_mixed_state_that_makes_things_worse_is_taken_back():
    mixing = Mixing()
    good, step = np.array([0.0]), np.array([1.0])
    second = mixing.next(good, step)
    mixed = mixing.next(second, np.array([0.5]))
    assert mixed != pytest.approx(second + 0.5)
    np.testing.assert_allclose(mixing.next(mixed, np.array([9.0])), second + 0.5)


def test_steps_too_much_alike_are_not_mixed():
    mixing = Mixing()
    state = mixing.next(np.array([0.0, 0.0]), np.array([1.0, 1.0]))
    following = mixing.next(state, np.array([1.0 + 1e-9, 1.0]))
    np.testing.assert_allclose(following, state + 1.0, atol=1e-6)


def test_a_state_moves_with_the_window():
    state = ExchangeState(np.array([1.0, 2.0, 3.0]), np.array([[4.0, 5.0, 6.0]]))
    same_time = state.shifted(1, whole_days=True, price=np.full(3, 9.0))
    np.testing.assert_array_equal(same_time.price, [2, 3, 1])
    np.testing.assert_array_equal(same_time.target_kw, [[5, 6, 4]])
    fresh = state.shifted(2, whole_days=False, price=np.full(3, 9.0))
    np.testing.assert_array_equal(fresh.price, [3, 9, 9])
    np.testing.assert_array_equal(fresh.target_kw, [[6, 0, 0]])
