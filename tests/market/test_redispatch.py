"""Real-time dispatch: by hand, and never worse than the cleared shares."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.errors import SolverFailedError
from market.redispatch import GridState, RealTimeMarket, redispatch

MARKET = RealTimeMarket(
    lowest_kw=np.array([-10.0, -4.0]),
    highest_kw=np.array([10.0, 6.0]),
    up_price=np.array([0.20, 0.10]),
    down_price=np.array([0.05, 0.02]),
    imbalance_buy=0.30,
    imbalance_sell=0.04,
    violation_price=1e5,
    pool_of_device=np.array([0, 0]),
)


def grid(value=1.0, slope=(1e-3, 2e-3), limit=1.05) -> GridState:
    return GridState(np.array([value]), np.array([limit]), np.array([slope]), np.arange(2))


def test_a_shortage_is_met_in_the_order_of_the_prices():
    # 6 kW at 0.10, then 3 kW at 0.20, both below the imbalance price of 0.30.
    r = redispatch(MARKET, [grid()], np.array([-9.0]))
    np.testing.assert_allclose(r, [3.0, 6.0], atol=1e-9)


def test_what_the_devices_cannot_give_comes_from_upstream():
    r = redispatch(MARKET, [grid()], np.array([-50.0]))
    np.testing.assert_allclose(r, [10.0, 6.0], atol=1e-9)


def test_a_surplus_is_sold_when_that_is_better():
    # Reducing costs 0.02 and loses the sale at 0.04.
    np.testing.assert_allclose(redispatch(MARKET, [grid()], np.array([5.0])), 0.0, atol=1e-9)
    # Paid for reducing, the first takes the surplus, but no more: a shortage is dear.
    paid = replace(MARKET, down_price=np.array([-0.10, 0.02]))
    r = redispatch(paid, [grid()], np.array([5.0]))
    np.testing.assert_allclose(r, [-5.0, 0.0], atol=1e-9)


def test_a_limit_is_kept_by_the_device_that_does_it_cheapest():
    # 4 mp.u. too high: per mp.u. the second device asks 0.5 kW * (0.02 + 0.04), the first
    # 1 kW * (0.05 + 0.04).
    r = redispatch(MARKET, [grid(value=1.054)], np.array([5.0]))
    np.testing.assert_allclose(r, [0.0, -2.0], atol=1e-7)


def test_a_limit_beyond_reach_is_missed_by_as_little_as_possible():
    r = redispatch(MARKET, [grid(value=1.2)], np.array([0.0]))
    np.testing.assert_allclose(r, [-10.0, -4.0], atol=1e-7)


def test_pools_answer_for_themselves():
    apart = replace(MARKET, pool_of_device=np.array([0, 1]))
    states = [replace(grid(slope=(1e-3,)), devices=np.array([k])) for k in (0, 1)]
    r = redispatch(apart, states, np.array([-9.0, 0.0]))
    np.testing.assert_allclose(r, [9.0, 0.0], atol=1e-9)


def test_failure_has_a_name():
    broken = replace(MARKET, imbalance_buy=float("-inf"))
    with pytest.raises((SolverFailedError, ValueError)):
        redispatch(broken, [grid()], np.array([-9.0]))


def cost(r, omega, market, states) -> float:
    rest = omega + r.sum()
    exceeded = [max(float((s.value + s.sensitivity @ r - s.limit).max()), 0.0) for s in states]
    return float(
        market.up_price @ np.maximum(r, 0)
        + market.down_price @ np.maximum(-r, 0)
        + market.imbalance_buy * max(-rest, 0)
        - market.imbalance_sell * max(rest, 0)
        + market.violation_price * sum(exceeded)
    )


@given(
    omega=st.floats(-30, 30),
    value=st.floats(1.0, 1.08),
    share=st.lists(st.floats(0, 0.5), min_size=2, max_size=2),
)
def test_never_dearer_than_shares_that_the_devices_can_follow(omega, value, share):
    states = [grid(value=value)]
    asked = np.clip(-np.array(share) * omega, MARKET.lowest_kw, MARKET.highest_kw)
    best = redispatch(MARKET, states, np.array([omega]))
    assert cost(best, omega, MARKET, states) <= cost(asked, omega, MARKET, states) + 1e-6
    assert (best >= MARKET.lowest_kw - 1e-9).all()
    assert (best <= MARKET.highest_kw + 1e-9).all()
