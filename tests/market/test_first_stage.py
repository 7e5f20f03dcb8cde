"""The first stage solved by hand: primal values, objective and duals."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from market.chance import Moments, RowErrors
from market.parameters import SecondStage
from tests.market.builders import (
    FEE,
    FEED_IN,
    RETAIL,
    Peer,
    RecourseOffer,
    battery,
    flexible,
    make_first_stage,
    make_tariff,
    settings,
    unit,
    voltage_row,
)


def statistics(surplus=0.0, shortage=0.0, transport=0.0, reserve=0.0, down=None):
    """Statistics of the total error in the one step and network, alike both ways unless told."""
    kw = (surplus, shortage, transport, reserve, reserve if down is None else down)
    return SecondStage(*(np.array([[value]]) for value in kw))


# --- supplier and peers -----------------------------------------------------------------------


def test_peers_trade_where_the_spread_exceeds_the_fee():
    stage, _, _ = make_first_stage(
        {"seller": Peer(pv=10.0), "buyer": Peer(load=4.0)}, make_tariff()
    )
    decisions = stage.solve([])
    assert decisions.values["bought"][0, 0] == pytest.approx(4.0, abs=1e-5)
    assert decisions.values["exports"][0, 0] == pytest.approx(10.0, abs=1e-5)
    assert decisions.objective == pytest.approx(4.0 * FEE - 6.0 * FEED_IN, abs=1e-6)


@pytest.mark.parametrize("hours", [0.25, 1.0])
def test_duals_carry_the_price_of_the_marginal_offer(hours):
    # One more kW of sunshine goes to the supplier; one more kW of demand saves no trade but lets
    # a sale to the supplier become a trade.
    peers = {"seller": Peer(pv=10.0), "buyer": Peer(load=4.0)}
    stage, _, _ = make_first_stage(peers, make_tariff(), hours=hours)
    duals = stage.solve([]).duals
    assert duals["renewable_max"][0, 0] == pytest.approx(hours * FEED_IN, abs=1e-6)
    assert duals["bought_max"][0, 0] == pytest.approx(hours * (RETAIL - FEED_IN - FEE), abs=1e-6)
    assert duals["sold_max"][0, 0] == pytest.approx(0.0, abs=1e-6)


def test_a_short_pool_prices_sunshine_at_what_it_replaces():
    stage, _, _ = make_first_stage({"seller": Peer(pv=3.0), "buyer": Peer(load=4.0)}, make_tariff())
    decisions = stage.solve([])
    assert decisions.objective == pytest.approx(3.0 * FEE + 1.0 * RETAIL, abs=1e-6)
    assert decisions.duals["renewable_max"][0, 0] == pytest.approx(RETAIL - FEE, abs=1e-6)


@pytest.mark.parametrize(
    ("cost", "quadratic", "expected"),
    [(0.09, 0.0, 10.0), (0.11, 0.0, 0.0), (0.02, 0.01, (FEED_IN - 0.02) / 0.02)],
)
def test_a_unit_runs_until_its_marginal_cost_meets_the_feed_in_price(cost, quadratic, expected):
    peers = {"unit": Peer(unit=unit(10.0, cost, quadratic))}
    stage, _, _ = make_first_stage(peers, make_tariff())
    decisions = stage.solve([])
    power = decisions.values["dispatchable"][0, 0]
    assert power == pytest.approx(expected, abs=1e-4)
    fuel = cost * expected + quadratic * expected**2
    assert decisions.objective == pytest.approx(fuel - FEED_IN * expected, abs=1e-6)


# --- storage and flexible load ----------------------------------------------------------------


def test_a_battery_moves_energy_from_the_cheap_to_the_dear_step():
    cell = battery(
        charge_max_kw=3.0,
        discharge_max_kw=3.0,
        energy_kwh=0.0,
        charge_efficiency=0.9,
        discharge_efficiency=0.8,
        wear_eur_per_kwh=0.01,
    )
    tariff = make_tariff(2, retail=[0.10, 0.30], feed_in=0.0)
    stage, _, _ = make_first_stage({"home": Peer(load=5.0, battery=cell)}, tariff)
    decisions = stage.solve([])
    out = 3.0 * 0.9 * 0.8
    np.testing.assert_allclose(decisions.values["charge"][:, 0], [3.0, 0.0], atol=1e-5)
    np.testing.assert_allclose(decisions.values["discharge"][:, 0], [0.0, out], atol=1e-5)
    np.testing.assert_allclose(decisions.values["energy"][:, 0], [2.7, 0.0], atol=1e-5)
    cost = 0.10 * 8.0 + 0.30 * (5.0 - out) + 0.01 * (3.0 + out)
    assert decisions.objective == pytest.approx(cost, abs=1e-6)
    # A kW more of charging power: 0.72 kW less at the dear price, less wear.
    gain = 0.72 * (0.30 - 0.01) - (0.10 + 0.01)
    assert decisions.duals["charge_max"][0, 0] == pytest.approx(gain, abs=1e-6)


def test_a_battery_rests_when_losses_and_wear_eat_the_spread():
    cell = battery(energy_kwh=0.0, charge_efficiency=0.8, wear_eur_per_kwh=0.0)
    tariff = make_tariff(2, retail=[0.10, 0.12], feed_in=0.0)
    stage, _, _ = make_first_stage({"home": Peer(load=5.0, battery=cell)}, tariff)
    decisions = stage.solve([])
    np.testing.assert_allclose(decisions.values["charge"], 0.0, atol=1e-5)
    assert decisions.objective == pytest.approx(5.0 * 0.22, abs=1e-6)


@pytest.mark.parametrize(("end_value", "left"), [(0.11, 5.0), (0.09, 1.0)])
def test_stored_energy_is_sold_only_below_its_end_value(end_value, left):
    # Two half-hours of 4 kW empty the battery to its floor.
    cell = battery(energy_min_kwh=1.0, wear_eur_per_kwh=0.0, end_value_eur_per_kwh=end_value)
    stage, _, _ = make_first_stage({"home": Peer(battery=cell)}, make_tariff(2), hours=0.5)
    decisions = stage.solve([])
    assert decisions.values["energy"][-1, 0] == pytest.approx(left, abs=1e-5)
    objective = -(5.0 - left) * FEED_IN - left * end_value
    assert decisions.objective == pytest.approx(objective, abs=1e-6)


def test_a_battery_never_passes_on_more_energy_than_fits():
    cell = battery(energy_kwh=0.0, energy_max_kwh=2.0, wear_eur_per_kwh=0.0)
    tariff = make_tariff(3, retail=[0.3, 0.1, 0.3], feed_in=0.0)
    stage, _, _ = make_first_stage({"home": Peer(load=5.0, battery=cell)}, tariff)
    decisions = stage.solve([])
    np.testing.assert_allclose(decisions.values["energy"][:, 0], [0.0, 2.0, 0.0], atol=1e-5)
    assert decisions.objective == pytest.approx(5.0 * 0.7 - 2.0 * 0.2, abs=1e-6)


def test_load_is_deferred_to_the_cheap_step_and_served_under_its_ceiling():
    load = flexible(
        [4.0, 4.0, 4.0], served_max_kw=6.0, backlog_max_kwh=3.0, deferral_eur_per_kwh_h=0.01
    )
    tariff = make_tariff(3, retail=[0.30, 0.30, 0.10], feed_in=0.0)
    stage, _, _ = make_first_stage({"home": Peer(flexible=load)}, tariff)
    decisions = stage.solve([])
    # Two kWh fit under the ceiling of the last step; they wait as briefly as possible.
    np.testing.assert_allclose(decisions.values["deferred"][:, 0], [0.0, 2.0, -2.0], atol=1e-5)
    cost = 0.30 * 4.0 + 0.30 * 2.0 + 0.10 * 6.0 + 0.01 * 2.0
    assert decisions.objective == pytest.approx(cost, abs=1e-6)


@pytest.mark.parametrize(("worth", "dropped"), [(0.2, 1.0), (0.3, 0.0)])
def test_load_worth_less_than_its_price_is_dropped_as_far_as_allowed(worth, dropped):
    load = flexible([4.0], curtailable_share=0.25, willingness_to_pay_eur_per_kwh=worth)
    stage, _, _ = make_first_stage({"home": Peer(flexible=load)}, make_tariff())
    decisions = stage.solve([])
    assert decisions.values["curtailed"][0, 0] == pytest.approx(dropped, abs=1e-5)
    assert decisions.objective == pytest.approx((4 - dropped) * RETAIL + dropped * worth, abs=1e-6)


# --- the voltage limit ------------------------------------------------------------------------


@pytest.mark.parametrize("hours", [0.5, 1.0])
def test_a_voltage_limit_curtails_and_its_dual_is_the_curtailed_value(hours):
    # 1 + 0.001 (p - 10) <= 1.05: of 100 kW 60 are used.
    peers = {"sun": Peer(load=10.0, pv=100.0)}
    stage, roster, book = make_first_stage(peers, make_tariff(), hours=hours)
    decisions = stage.solve([voltage_row(roster, book, [1e-3])])
    assert decisions.values["renewable"][0, 0] == pytest.approx(60.0, abs=1e-4)
    assert decisions.objective == pytest.approx(-hours * 50.0 * FEED_IN, abs=1e-5)
    assert decisions.mu[0] == pytest.approx(hours * FEED_IN / 1e-3, rel=1e-5)


def test_the_peer_with_the_smaller_effect_on_the_voltage_is_spared():
    peers = {"near": Peer(pv=30.0), "far": Peer(pv=30.0)}
    stage, roster, book = make_first_stage(peers, make_tariff())
    decisions = stage.solve([voltage_row(roster, book, [1e-3, 2e-3])])
    np.testing.assert_allclose(decisions.values["renewable"][0], [30.0, 10.0], atol=1e-4)
    assert decisions.mu[0] == pytest.approx(FEED_IN / 2e-3, rel=1e-5)
    # What a kW at the near bus is worth beyond the room it takes at the far one.
    worth = FEED_IN - 1e-3 * FEED_IN / 2e-3
    np.testing.assert_allclose(decisions.duals["renewable_max"][0], [worth, 0.0], atol=1e-6)


def test_duals_follow_the_order_in_which_the_rows_were_given():
    peers = {"a": Peer(pv=100.0), "b": Peer(pv=100.0, network="B")}
    stage, roster, book = make_first_stage(peers, make_tariff())
    loose = voltage_row(roster, book, [1e-4])
    in_a = voltage_row(roster, book, [1e-3], conic=True, kappa=2.0, remainder=1e-3)
    in_b = voltage_row(roster, book, [4e-3], network=1)
    decisions = stage.solve([in_a, loose, in_b])
    expected = [FEED_IN / 1e-3, 0.0, FEED_IN / 4e-3]
    np.testing.assert_allclose(decisions.mu, expected, rtol=1e-5, atol=1e-3)
    expected = [(0.05 - 2.0 * 1e-3) / 1e-3, 0.05 / 4e-3]
    np.testing.assert_allclose(decisions.values["renewable"][0], expected, atol=1e-4)


def test_reactive_power_lowers_the_voltage_before_anything_is_curtailed():
    peers = {"sun": Peer(pv=60.0, kvar=8.0)}
    stage, roster, book = make_first_stage(peers, make_tariff())
    row = voltage_row(roster, book, [1e-3], d_q=np.array([2e-3]))
    tight = replace(row, room=0.04)
    decisions = stage.solve([tight])
    # 0.001 p + 0.002 q <= 0.04 with q = -8.
    assert decisions.values["reactive"][0, 0] == pytest.approx(-8.0, abs=1e-4)
    assert decisions.values["renewable"][0, 0] == pytest.approx(56.0, abs=1e-4)
    assert decisions.duals["reactive_min"][0, 0] == pytest.approx(2e-3 * FEED_IN / 1e-3, rel=1e-4)


def test_charging_makes_room_for_the_sun():
    # 0.001 p + 0.002 (discharge - charge) <= 0.05 with 4 kW of charging.
    cell = battery(wear_eur_per_kwh=0.01, end_value_eur_per_kwh=0.01)
    peers = {"sun": Peer(pv=100.0), "cell": Peer(battery=cell)}
    stage, roster, book = make_first_stage(peers, make_tariff())
    decisions = stage.solve([voltage_row(roster, book, [1e-3, 2e-3])])
    assert decisions.values["charge"][0, 0] == pytest.approx(4.0, abs=1e-4)
    assert decisions.values["renewable"][0, 0] == pytest.approx(58.0, abs=1e-4)


def test_dropped_and_deferred_load_make_room_for_the_rest():
    # 0.001 (load - dropped - deferred) <= 0.05 with 60 kW of load.
    load = flexible(
        [60.0],
        served_max_kw=60.0,
        curtailable_share=0.1,
        willingness_to_pay_eur_per_kwh=0.3,
        backlog_max_kwh=9.0,
        end_price_eur_per_kwh=0.5,
    )
    stage, roster, book = make_first_stage({"home": Peer(flexible=load)}, make_tariff())
    row = voltage_row(roster, book, [-1e-3])
    decisions = stage.solve([replace(row, room=0.05 - 0.06)])
    assert decisions.values["curtailed"][0, 0] == pytest.approx(6.0, abs=1e-4)
    assert decisions.values["deferred"][0, 0] == pytest.approx(4.0, abs=1e-4)
    assert decisions.mu[0] == pytest.approx((0.5 - RETAIL) / 1e-3, rel=1e-4)


def test_a_limit_that_cannot_be_kept_is_missed_at_its_price():
    peers = {"home": Peer(load=80.0, pv=1.0)}
    market = settings(violation_price_eur_per_pu_h=1e5)
    stage, roster, book = make_first_stage(peers, make_tariff(), market=market)
    # The voltage must not fall below 0.95: it stands at 1 - 0.001 * 79.
    row = replace(voltage_row(roster, book, [-1e-3]), room=0.05 - 0.08)
    decisions = stage.solve([row])
    assert decisions.values["violation"][0, 0] == pytest.approx(29.0, abs=1e-4)
    assert decisions.mu[0] == pytest.approx(1e5, rel=1e-5)
    assert decisions.objective == pytest.approx(79.0 * RETAIL + 0.029 * 1e5, rel=1e-6)


# --- margins and recourse ---------------------------------------------------------------------

KAPPA, STD = 1.6, 8.0


def uncertain_row(roster, book, r, **changes):
    """A row whose error is that of the first member's renewable power alone."""
    moments = {"beta": np.array([r[0]]), "root": np.array([[STD]])}
    return voltage_row(roster, book, r, conic=True, kappa=KAPPA, **moments, **changes)


def test_the_margin_is_kappa_sigma():
    stage, roster, book = make_first_stage({"sun": Peer(pv=100.0)}, make_tariff())
    row = uncertain_row(roster, book, [1e-3])
    decisions = stage.solve([row])
    assert decisions.values["renewable"][0, 0] == pytest.approx(50.0 - KAPPA * STD, abs=1e-4)
    assert decisions.mu[0] == pytest.approx(FEED_IN / 1e-3, rel=1e-4)
    ahead = stage.solve([replace(row, conic=False)])
    assert ahead.objective == pytest.approx(decisions.objective, abs=1e-6)


def recourse_market(capacity=0.0, **statistics_kw):
    peers = {
        "sun": Peer(pv=100.0),
        "cell": Peer(battery=battery(), recourse=RecourseOffer(0.0, 0.0, capacity)),
    }
    second = statistics(reserve=16.0, **statistics_kw)
    return make_first_stage(peers, make_tariff(), second=second)


@pytest.mark.parametrize("conic", [True, False])
def test_recourse_of_a_battery_shrinks_the_margin(conic):
    stage, roster, book = recourse_market()
    share = 4.0 / 16.0  # the battery's power over the quantile of the error
    sigma = (1e-3 - 5e-4 * share) * STD
    # The tangent of the norm is exact here since the remainder is zero.
    row = uncertain_row(roster, book, [1e-3, 5e-4])
    decisions = stage.solve([replace(row, conic=conic)])
    assert decisions.values["alpha"][0, 0] == pytest.approx(share, abs=1e-5)
    assert decisions.values["alpha_upstream"][0, 0] == pytest.approx(1 - share, abs=1e-5)
    used = (0.05 - KAPPA * sigma) / 1e-3
    assert decisions.values["renewable"][0, 0] == pytest.approx(used, abs=1e-3)
    assert decisions.objective == pytest.approx(-used * FEED_IN, abs=1e-5)


def test_recourse_stops_where_its_price_meets_what_the_margin_saves():
    stage, roster, book = recourse_market(capacity=0.13)
    row = uncertain_row(roster, book, [1e-3, 2e-3], remainder=4e-3)
    alpha = stage.solve([row]).values["alpha"][0, 0]
    # -d sigma / d alpha, times what a p.u. of margin costs.
    explained = (1e-3 - 2e-3 * alpha) * STD
    steepness = explained / np.hypot(explained, 4e-3) * 2e-3 * STD
    assert 0.01 < alpha < 0.249
    assert KAPPA * steepness * FEED_IN / 1e-3 == pytest.approx(0.13 * 16.0, rel=1e-3)


def test_a_mean_error_shifts_the_row_and_recourse_takes_it_back():
    stage, roster, book = recourse_market()
    row = voltage_row(roster, book, [1e-3, 5e-4], mean_signal=np.array([6.0]))
    decisions = stage.solve([replace(row, room=row.room - 6.0 * 1e-3)])
    used = (0.05 - 6.0 * (1e-3 - 5e-4 * 0.25)) / 1e-3
    assert decisions.values["renewable"][0, 0] == pytest.approx(used, abs=1e-3)


def with_errors(row, errors, kappa):
    """A row without recourse that keeps kappa sigma of some errors."""
    m = Moments.of(errors)
    return replace(
        row,
        conic=True,
        room=float(row.room - m.mean_u[0]),
        kappa=kappa,
        beta=m.beta[0],
        remainder=float(m.remainder[0]),
        mean_signal=m.mean_signal,
        root=m.root,
        gain=np.zeros(len(m.mean_signal)),
    )


def deviation(errors, gain):
    """Weighted mean and standard deviation of what a recourse leaves of the first row's errors."""
    scenario = errors.u[:, 0] - errors.signals @ gain
    mean = errors.weights @ scenario
    return mean, np.sqrt(errors.weights @ (scenario - mean) ** 2)


@pytest.mark.parametrize("shares", ["common", "up_down"])
def test_the_cone_states_the_deterministic_equivalent_of_the_samples(shares):
    # At the optimum of a problem with correlated errors of every member the posed row holds
    # with equality in terms of the samples themselves.
    rng = np.random.default_rng(5)
    peers = {
        "sun": Peer(pv=90.0, load=3.0),
        "cell": Peer(load=2.0, battery=battery(), recourse=RecourseOffer(0.0, 0.0, 0.001)),
        "unit": Peer(unit=unit(9.0, 0.05), recourse=RecourseOffer(0.02, -0.01, 0.001), kvar=1.0),
    }
    second = statistics(surplus=3.0, shortage=2.0, transport=0.1, reserve=20.0)
    tariff = make_tariff(buy=0.4, sell=0.05)
    market = settings(recourse_shares=shares)
    stage, roster, book = make_first_stage(peers, tariff, market=market, second=second)
    d_p, d_q = np.array([1e-3, 8e-4, 4e-4]), np.array([2e-4, 3e-4, 1e-4])
    xi = rng.normal([1.0, -0.5, 0.2], [6.0, 2.0, 3.0], (40, 3))
    signals = stage.policy.signals(xi.sum(axis=1))
    errors = RowErrors(xi @ d_p[:, None], signals, rng.dirichlet(np.ones(40)))
    row = with_errors(voltage_row(roster, book, d_p, d_q=d_q), errors, 2.1)
    decisions = stage.solve([row])
    v = decisions.values
    p = np.array(
        [
            v["renewable"][0, 0] - 3.0,
            v["discharge"][0, 0] - v["charge"][0, 0] - 2.0,
            v["dispatchable"][0, 0],
        ]
    )
    alpha = v["alpha"][0].reshape(-1, 2)
    mean, sigma = deviation(errors, alpha @ d_p[1:])
    value = 1.0 + d_p @ p + d_q[2] * v["reactive"][0, 0] + mean + 2.1 * sigma
    assert alpha[:, 0].min() > 0.01
    assert decisions.mu[0] > 10.0
    assert value == pytest.approx(1.05, abs=1e-7)


def split_market(*, shares="up_down", buy=0.0, surplus=0.0, shortage=0.0, **unit_changes):
    """A PV plant and a unit that lowers the voltage as much as it raises it."""
    peers = {
        "sun": Peer(pv=100.0),
        "unit": Peer(unit=unit(**unit_changes), recourse=RecourseOffer(0.0, 0.0, 0.0)),
    }
    second = statistics(surplus, shortage, reserve=16.0)
    market = settings(recourse_shares=shares)
    return make_first_stage(peers, make_tariff(buy=buy), market=market, second=second)


@pytest.mark.parametrize(
    ("shares", "alpha", "sigma", "mean"),
    [
        # The unit, at full power, may only go down: with one share it must keep still,
        # with separate ones it takes back half of the surplus.
        ("common", [0.0], 6e-3, 0.0),
        ("up_down", [0.5, 0.0], 4.5e-3, -1.5e-3),
    ],
)
def test_a_unit_at_full_power_answers_a_surplus_only_with_a_share_of_its_own(
    shares, alpha, sigma, mean
):
    # It runs at full power, 8 kW, since it is paid for: half of the surplus' 16 kW quantile.
    stage, roster, book = split_market(shares=shares, p_max=8.0, cost=-10.0)
    signals = stage.policy.signals(np.array([6.0, -6.0]))  # the voltage follows by 0.001 p.u./kW
    errors = RowErrors(np.array([[6e-3], [-6e-3]]), signals, np.full(2, 0.5))
    row = with_errors(voltage_row(roster, book, [1e-3, 1e-3]), errors, KAPPA)
    decisions = stage.solve([row])
    np.testing.assert_allclose(decisions.values["alpha"][0], alpha, atol=1e-4)
    np.testing.assert_allclose(
        decisions.values["alpha_upstream"][0], 1 - np.array(alpha), atol=1e-4
    )
    assert decisions.values["dispatchable"][0, 0] == pytest.approx(8.0, abs=1e-4)
    used = (0.05 - mean - KAPPA * sigma) / 1e-3 - 8.0
    assert decisions.values["renewable"][0, 0] == pytest.approx(used, abs=1e-2)
    objective = -10.0 * 8.0 - FEED_IN * (used + 8.0)
    assert decisions.objective == pytest.approx(objective, abs=1e-3)


def test_a_unit_at_rest_answers_a_shortage_alone():
    # It is too dear to run; being ready upwards saves the imbalance price at 8 of 16 kW.
    stage, _, _ = split_market(p_max=8.0, cost=5.0, buy=0.3, surplus=2.0, shortage=2.0)
    decisions = stage.solve([])
    assert decisions.values["dispatchable"][0, 0] == pytest.approx(0.0, abs=1e-5)
    np.testing.assert_allclose(decisions.values["alpha"][0, 1], 0.5, atol=1e-5)
    assert decisions.values["alpha"][0, 0] == pytest.approx(0.0, abs=1e-5)
    assert decisions.objective == pytest.approx(-10.0 + 0.5 * 2.0 * 0.3, abs=1e-5)


def test_separate_shares_are_paid_for_their_own_direction():
    # Nothing of a surplus is answered, since it earns more upstream; a shortage fully.
    offer = RecourseOffer(up_eur_per_kwh=0.1, down_eur_per_kwh=0.0, capacity_eur_per_kw_h=0.02)
    peers = {"cell": Peer(battery=battery(), recourse=offer)}
    second = statistics(surplus=1.0, shortage=2.0, transport=0.5, reserve=3.0, down=5.0)
    market = settings(recourse_shares="up_down")
    tariff = make_tariff(buy=0.4, sell=0.05)
    stage, _, _ = make_first_stage(peers, tariff, market=market, second=second)
    decisions = stage.solve([])
    np.testing.assert_allclose(decisions.values["alpha"][0], [0.0, 1.0], atol=1e-5)
    expected = -1.0 * 0.05 + 2.0 * 0.1 + 0.5 * 0.1 + 0.02 * 3.0 / 2
    assert decisions.objective == pytest.approx(expected, abs=1e-6)


@given(st.integers(0, 10**6))
@hypothesis_settings(max_examples=15)
def test_separate_shares_are_never_dearer_at_the_same_safety_factor(seed):
    """Equal shares both ways are the common share: same rows, no more room, no more pay."""
    rng = np.random.default_rng(seed)
    peers = {
        "sun": Peer(pv=90.0, load=3.0),
        "cell": Peer(battery=battery(), recourse=RecourseOffer(*rng.uniform(-0.1, 0.3, 2), 0.002)),
        "unit": Peer(
            unit=unit(rng.uniform(2, 20), rng.uniform(0, 0.3)),
            recourse=RecourseOffer(*rng.uniform(-0.1, 0.3, 2), rng.uniform(0, 0.05)),
        ),
    }
    tariff = make_tariff(buy=rng.uniform(0.1, 0.5), sell=rng.uniform(-0.1, 0.1))
    r = rng.uniform(3e-4, 2e-3, (2, 3)) * [[1], [-1]]  # an upper and a lower limit
    xi = rng.normal(rng.normal(0, 3, 3), rng.uniform(1, 6, 3), (30, 3))
    omega, weights = xi.sum(axis=1), rng.dirichlet(np.ones(30))
    mean, kappa = float(weights @ omega), rng.uniform(0, 3)
    margin = 2.0 * float(np.sqrt(weights @ (omega - mean) ** 2))
    objective = {}
    for shares in ("common", "up_down"):
        up, down = (
            (margin + abs(mean),) * 2
            if shares == "common"
            else (max(margin - mean, 0.0), max(margin + mean, 0.0))
        )
        second = statistics(
            float(weights @ np.maximum(omega, 0)),
            float(weights @ np.maximum(-omega, 0)),
            transport=0.1,
            reserve=up,
            down=down,
        )
        market = settings(recourse_shares=shares)
        stage, roster, book = make_first_stage(peers, tariff, market=market, second=second)
        signals = stage.policy.signals(omega)
        rows = [
            with_errors(
                voltage_row(roster, book, d_p),
                RowErrors(xi @ d_p[:, None], signals, weights),
                kappa,
            )
            for d_p in r
        ]
        objective[shares] = stage.solve(rows).objective
    assert objective["up_down"] <= objective["common"] + 1e-5 * (1 + abs(objective["common"]))


@pytest.mark.parametrize("conic", [True, False])
def test_mu_is_what_a_higher_limit_would_save(conic):
    stage, roster, book = recourse_market(capacity=0.13)
    row = uncertain_row(roster, book, [1e-3, 2e-3], remainder=4e-3)
    row = replace(row, conic=conic)
    step = 1e-3
    below, above = (stage.solve([replace(row, room=row.room + d)]) for d in (-step, step))
    saved = (below.objective - above.objective) / (2 * step)
    assert stage.solve([row]).mu[0] == pytest.approx(saved, rel=1e-3)


# --- few and odd peers ------------------------------------------------------------------------


def test_a_market_without_any_device_buys_from_the_supplier():
    peers = {"home": Peer(load=3.0), "other": Peer(load=1.0, network="B")}
    stage, _, _ = make_first_stage(peers, make_tariff(2))
    assert stage.solve([]).objective == pytest.approx(2 * 4.0 * RETAIL, abs=1e-6)


def test_peers_that_take_no_part_count_at_the_supplier_but_trade_nothing():
    peers = {
        "seller": Peer(pv=10.0),
        "absent seller": Peer(pv=7.0, takes_part=False),
        "buyer": Peer(load=4.0),
        "absent buyer": Peer(load=5.0, takes_part=False),
        "absent with a device": Peer(load=9.0, pv=1.0, takes_part=False),
    }
    stage, _, _ = make_first_stage(peers, make_tariff())
    decisions = stage.solve([])
    assert decisions.values["bought"][0, 0] == pytest.approx(4.0, abs=1e-5)
    expected = 4.0 * FEE - (6.0 + 7.0) * FEED_IN + (5.0 + 8.0) * RETAIL
    assert decisions.objective == pytest.approx(expected, abs=1e-6)


def test_a_peer_that_takes_no_part_is_not_curtailed():
    peers = {"absent": Peer(pv=100.0, takes_part=False), "sun": Peer(pv=10.0)}
    stage, roster, book = make_first_stage(peers, make_tariff())
    decisions = stage.solve([voltage_row(roster, book, [1e-3, 1e-3])])
    np.testing.assert_allclose(decisions.values["renewable"][0], [100.0, 0.0], atol=1e-4)
    assert decisions.values["violation"][0, 0] == pytest.approx(50.0, abs=1e-4)


# --- the second stage -------------------------------------------------------------------------


def test_without_recourse_the_upstream_grid_answers_at_imbalance_prices():
    second = statistics(surplus=3.0, shortage=2.0, transport=0.5)
    tariff = make_tariff(buy=0.3, sell=0.05)
    stage, _, _ = make_first_stage({"home": Peer(load=1.0)}, tariff, second=second)
    decisions = stage.solve([])
    # The steepest slope is the price of a shortage.
    expected = RETAIL - 3.0 * 0.05 + 2.0 * 0.3 + 0.5 * 0.3
    assert decisions.objective == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("buy", "sell"), [(0.3, -0.4), (0.3, 0.4), (-0.5, 0.1), (0.3, 0.1)])
def test_the_ball_is_charged_at_the_steepest_side_be_it_a_cost_or_a_gain(buy, sell):
    second = statistics(surplus=3.0, shortage=2.0, transport=0.5)
    stage, _, _ = make_first_stage({"home": Peer()}, make_tariff(buy=buy, sell=sell), second=second)
    expected = -3.0 * sell + 2.0 * buy + 0.5 * max(abs(buy), abs(sell))
    assert stage.solve([]).objective == pytest.approx(expected, abs=1e-6)


def test_cheap_recourse_answers_as_much_as_its_power_allows():
    second = statistics(surplus=3.0, shortage=2.0, transport=0.5, reserve=16.0)
    tariff = make_tariff(buy=0.3, sell=0.05)
    offer = RecourseOffer(up_eur_per_kwh=0.12, down_eur_per_kwh=-0.06, capacity_eur_per_kw_h=0.002)
    peers = {"cell": Peer(battery=battery(), recourse=offer)}
    stage, _, _ = make_first_stage(peers, tariff, second=second)
    decisions = stage.solve([])
    share = 0.25
    surplus = share * -0.06 + (1 - share) * -0.05
    shortage = share * 0.12 + (1 - share) * 0.3
    expected = 3.0 * surplus + 2.0 * shortage + 0.5 * shortage + 0.002 * 4.0
    assert decisions.values["alpha"][0, 0] == pytest.approx(share, abs=1e-5)
    assert decisions.objective == pytest.approx(expected, abs=1e-6)


def test_a_unit_makes_room_for_its_recourse():
    # Running pays 0.05 a kW, being ready saves 0.3 * 2 / 8 a kW: half of the range each.
    second = statistics(shortage=2.0, reserve=8.0)
    peers = {"unit": Peer(unit=unit(6.0, 0.05), recourse=RecourseOffer(0.0, 0.0, 0.0))}
    stage, _, _ = make_first_stage(peers, make_tariff(buy=0.3), second=second)
    decisions = stage.solve([])
    assert decisions.values["dispatchable"][0, 0] == pytest.approx(3.0, abs=1e-4)
    assert decisions.values["alpha"][0, 0] == pytest.approx(3.0 / 8.0, abs=1e-5)
    expected = (0.05 - FEED_IN) * 3.0 + 2.0 * 0.3 * (1 - 3.0 / 8.0)
    assert decisions.objective == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("surplus", "shortage"), [(3.0, 0.0), (0.0, 2.0)])
def test_a_device_without_a_recourse_offer_is_left_alone(surplus, shortage):
    second = statistics(surplus=surplus, shortage=shortage, reserve=4.0)
    peers = {"cell": Peer(battery=battery())}
    stage, _, _ = make_first_stage(peers, make_tariff(buy=0.5, sell=-0.5), second=second)
    assert stage.solve([]).values["alpha"][0, 0] == pytest.approx(0.0, abs=1e-6)
