"""Units of the solver: the same solution, whatever powers and prices are stated in."""

from dataclasses import replace

import numpy as np
import pytest

from market.parameters import SecondStage
from market.solve import LADDER
from market.units import SLACKS_PER_MPU, SMALLEST_ROOM_KW, Units, row_units
from tests.market import builders as b

# Least x^2 + 2 x + 0.3 y with x + y >= 40, y <= 25, |(x, y)| <= 60.
PROBLEM = b.conic(
    [2.0, 0.3],
    [[-1, -1], [0, 1], [-1, 0], [0, -1], [0, 0], [-1, 0], [0, -1]],
    [-40.0, 25.0, 0.0, 0.0, 60.0, 0.0, 0.0],
    quadratic=[[2.0, 0.0], [0.0, 0.0]],
    second_order=(3,),
)


ask = LADDER[0].solver


def test_a_solution_is_told_in_the_units_of_the_problem():
    # x = 15 costs 32 at the margin, of which y saves 31.7 a unit.
    solution = ask(PROBLEM)
    np.testing.assert_allclose(solution.x, [15.0, 25.0], atol=1e-6)
    np.testing.assert_allclose(solution.z[:4], [32.0, 31.7, 0.0, 0.0], atol=1e-6)
    assert solution.objective == pytest.approx(225.0 + 30.0 + 7.5)


@pytest.mark.parametrize(("quantity", "price"), [(1e-3, 1.0), (1e3, 1.0), (1.0, 100.0), (50, 0.1)])
def test_megawatts_and_cents_change_nothing_but_the_units(quantity, price):
    stated = Units(quantity, price).pose(PROBLEM)
    found, expected = ask(stated), ask(PROBLEM)
    assert found.iterations == expected.iterations
    told = Units(quantity, price).read(found)
    np.testing.assert_allclose(told.x, expected.x, rtol=1e-9)
    np.testing.assert_allclose(told.z, expected.z, atol=1e-9)
    assert told.objective == pytest.approx(expected.objective, rel=1e-12)


def test_units_are_the_medians_of_what_is_not_zero():
    assert Units.of(PROBLEM) == Units(quantity=40.0, price=1.15)
    assert Units.of(replace(PROBLEM, linear=np.zeros(2))).price == 1.0


def test_rows_in_other_units_have_other_duals():
    factor = np.array([1.0, 5.0, 1.0, 1.0, 2.0, 2.0, 2.0])
    solution = ask(PROBLEM.with_row_units(factor))
    expected = ask(PROBLEM)
    np.testing.assert_allclose(solution.x, expected.x, atol=1e-6)
    np.testing.assert_allclose(factor * solution.z, expected.z, atol=1e-6)


THREE = {
    "one": b.Peer(battery=b.battery(), recourse=b.RecourseOffer(0.1, 0.1, 0.0)),
    "two": b.Peer(unit=b.unit(), network="B", recourse=b.RecourseOffer(0.1, 0.1, 0.0)),
    "three": b.Peer(battery=b.battery(), network="B", recourse=b.RecourseOffer(0.1, 0.1, 0.0)),
}


def stage_of(shares, down, up):
    zero = np.zeros((1, 2))
    second = SecondStage(zero, zero, zero, reserve_up_kw=up, reserve_down_kw=down)
    market = b.settings(recourse_shares=shares)
    return b.make_first_stage(THREE, b.make_tariff(), market=market, second=second)[:2]


@pytest.mark.parametrize(
    ("shares", "expected"), [("up_down", [30.0, 1.0, 40.0, 50.0]), ("common", [40.0, 50.0])]
)
def test_a_share_is_worth_the_power_that_is_kept_ready_for_it(shares, expected):
    # Network A keeps 30 kW for a surplus and 40 for a shortage, network B next to nothing and 50.
    stage, roster = stage_of(shares, np.array([[30.0, 0.2]]), np.array([[40.0, 50.0]]))
    units = row_units(stage.parameters, stage.policy, roster)
    np.testing.assert_array_equal(units["alpha_upstream_min"], [expected])
    own = np.reshape(expected, (-1, 2))[:, roster.network_of[roster.recourse]]
    np.testing.assert_array_equal(units["alpha_min"], own.reshape(1, -1))
    np.testing.assert_array_equal(units["violation_min"], np.full((1, 2), SLACKS_PER_MPU))


def test_without_errors_a_share_keeps_a_unit():
    zero = np.zeros((1, 2))
    stage, roster = stage_of("common", zero, zero)
    units = row_units(stage.parameters, stage.policy, roster)
    assert (units["alpha_min"] == SMALLEST_ROOM_KW).all()


def test_the_dual_of_a_share_is_told_per_share():
    # A unit that asks .2 EUR/kWh more than the upstream grid, for 2 kWh of shortage expected, keeps
    # out of it, whatever room of 40 kW would have to be kept.
    peers = {"unit": b.Peer(unit=b.unit(100.0, 0.09), recourse=b.RecourseOffer(0.5, 0.0, 0.0))}
    kw = [np.array([[value]]) for value in (0.0, 2.0, 0.0, 40.0, 0.0)]
    stage, _, _ = b.make_first_stage(
        peers,
        b.make_tariff(buy=0.3),
        market=b.settings(recourse_shares="up_down"),
        second=SecondStage(*kw),
    )
    found = stage.solve([])
    assert found.values["alpha"][0, 1] == pytest.approx(0.0, abs=1e-7)
    # The unit would also earn less where it had to keep the room.
    lost = 40.0 * (b.FEED_IN - 0.09)
    assert found.duals["alpha_min"][0, 1] == pytest.approx(2.0 * (0.5 - 0.3) + lost, abs=1e-6)
