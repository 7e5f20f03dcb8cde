"""From the solver's values to a schedule: balanced, within bounds, whatever the rounding."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.recourse import RecoursePolicy
from market.schedule import fixed_injection, from_decisions, supplier_only
from market.variables import Variables
from tests.market.builders import (
    Peer,
    RecourseOffer,
    battery,
    flexible,
    make_book,
    make_roster,
    make_tariff,
    unit,
)

N_STEPS = 2
PEERS = {
    "sun": Peer(load=2.0, pv=[5.0, 0.0], load_kvar=1.0),
    "absent": Peer(load=1.0, pv=[3.0, 0.5], takes_part=False),
    "home": Peer(load=4.0),
    "cell": Peer(
        load=1.0, battery=battery(), kvar=2.0, network="B", recourse=RecourseOffer(0.1, 0.0, 0.0)
    ),
    "shifter": Peer(
        load=1.0,
        flexible=flexible([3.0, 3.0], curtailable_share=0.5, backlog_max_kwh=4.0, served_max_kw=5),
        network="B",
    ),
    "unit": Peer(unit=unit(8.0), network="B"),
}
ROSTER = make_roster(PEERS, N_STEPS)
BOOK = make_book(PEERS, make_tariff(N_STEPS), ROSTER)
# The absent peer bids like the others of its network; the battery's owner has a group of its own.
GROUPS = np.array([0, 0, 0, 1, 2, 2])
POLICY = RecoursePolicy(2, np.array([0, 1]))
VARIABLES = Variables.create(ROSTER, 3, POLICY)
COORDINATION = ("none", "within_network", "across_networks")


def random_values(seed, spread):
    """Values of every variable, in and out of bounds."""
    rng = np.random.default_rng(seed)
    shapes = {name: variable.shape for name, variable in vars(VARIABLES).items()}
    return {name: spread * rng.normal(0.5, 1.0, shape) for name, shape in shapes.items()}


def schedule_of(values, coordination="across_networks", book=BOOK):
    return from_decisions(
        values, book, ROSTER, GROUPS, coordination=coordination, n_signals=POLICY.n_signals
    )


random_schedules = st.tuples(
    st.integers(0, 10**6), st.sampled_from([0.01, 1.0, 5.0, 100.0]), st.sampled_from(COORDINATION)
)


def by_network(per_peer):
    out = np.zeros((N_STEPS, ROSTER.n_networks))
    np.add.at(out.T, ROSTER.network_of, per_peer.T)
    return out


@given(random_schedules)
def test_purchases_equal_sales_in_every_pool(drawn):
    seed, spread, coordination = drawn
    s = schedule_of(random_values(seed, spread), coordination)
    bought, sold = by_network(s.bought), by_network(s.sold)
    scale = 1e-9 * (1 + spread)
    np.testing.assert_allclose(s.exchange, sold - bought, atol=scale)
    np.testing.assert_allclose(s.exchange.sum(axis=1), 0.0, atol=scale)
    if coordination != "across_networks":
        np.testing.assert_array_equal(s.exchange, 0.0)
    if coordination == "none":
        np.testing.assert_array_equal(s.bought, 0.0)
        np.testing.assert_array_equal(s.sold, 0.0)


@given(random_schedules)
def test_trades_stay_within_what_peers_import_and_export(drawn):
    seed, spread, coordination = drawn
    s = schedule_of(random_values(seed, spread), coordination)
    np.testing.assert_allclose(s.exports - s.imports, s.p_kw)
    assert (np.minimum(s.imports, s.exports) == 0).all()
    for trade, whole in ((s.bought, s.imports), (s.sold, s.exports)):
        assert (trade >= 0).all()
        assert (trade <= whole + 1e-9).all()
        np.testing.assert_array_equal(trade[:, ~BOOK.participates], 0.0)


def test_who_asks_an_infinite_price_trades_exactly_nothing():
    values = random_values(1, 5.0)
    values["bought"], values["sold"] = np.full((2, N_STEPS, 3), 2.0)
    buy, sell = BOOK.buy_limit.copy(), BOOK.sell_limit.copy()
    buy[0, GROUPS == 0], sell[1, GROUPS == 2] = -np.inf, np.inf
    free = schedule_of(values)
    assert free.bought[0, 2] > 0.1
    limited = schedule_of(values, book=replace(BOOK, buy_limit=buy, sell_limit=sell))
    np.testing.assert_array_equal(limited.bought[0, GROUPS == 0], 0.0)
    np.testing.assert_array_equal(limited.sold[1, GROUPS == 2], 0.0)
    np.testing.assert_array_equal(limited.p_kw, free.p_kw)


@given(random_schedules)
def test_devices_stay_within_their_bounds(drawn):
    seed, spread, coordination = drawn
    s = schedule_of(random_values(seed, spread), coordination)

    def within(kw, low, high):
        assert (kw >= np.asarray(low) - 1e-12).all()
        assert (kw <= np.asarray(high) + 1e-12).all()

    within(s.renewable, BOOK.renewable_min_kw, BOOK.renewable_max_kw)
    within(s.dispatchable, 0, 8)
    within(s.charge, 0, 4)
    within(s.discharge, 0, 4)
    within(s.energy, 0, 10)
    within(s.curtailed, 0, 1.5)
    within(3.0 - s.curtailed - s.deferred, 0, 5)
    within(s.backlog, 0, 4)
    within(s.reactive, -2, 2)
    within(s.alpha, 0, 1)
    within(s.violation, 0, np.inf)


@given(random_schedules)
def test_injections_are_those_of_load_and_devices(drawn):
    seed, spread, coordination = drawn
    s = schedule_of(random_values(seed, spread), coordination)
    p = -BOOK.load_kw
    p[:, [0, 1]] += s.renewable
    p[:, [3]] += s.discharge - s.charge
    p[:, [4]] -= 3.0 - s.curtailed - s.deferred
    p[:, [5]] += s.dispatchable
    np.testing.assert_allclose(s.p_kw, p, atol=1e-12)
    q = -BOOK.load_kvar
    q[:, [3]] += s.reactive
    np.testing.assert_allclose(s.q_kvar, q)


def test_trades_of_a_group_are_split_in_proportion():
    values = random_values(0, 0.0) | {
        "renewable": np.array([[5.0, 3.0], [0.0, 3.0]]),
        "dispatchable": np.array([[6.0], [0.0]]),
        "bought": np.array([[2.0, 0.5, 2.0], [0.0, 0.0, 0.0]]),
        "sold": np.array([[1.5, 0.0, 3.0], [0.0, 0.0, 0.0]]),
    }
    s = schedule_of(values)
    # Flexible load and must-serve load: 4 kW at the shifter; exports 3 kW of sun, 6 kW of unit.
    np.testing.assert_allclose(s.bought[0], [0, 0, 2, 0.5, 2, 0])
    np.testing.assert_allclose(s.sold[0], [1.5, 0, 0, 0, 0, 3])
    np.testing.assert_allclose(s.exchange[0], [-0.5, 0.5])


def test_the_smaller_side_of_a_pool_counts():
    values = random_values(0, 0.0) | {
        "renewable": np.array([[5.0, 3.0], [0.0, 3.0]]),
        "bought": np.array([[4.0, 0.0, 0.0], [0.0, 0.0, 0.0]]),
        "sold": np.array([[3.0, 0.0, 0.0], [0.0, 0.0, 0.0]]),
    }
    s = schedule_of(values, "within_network")
    np.testing.assert_allclose(s.bought[0], [0, 0, 3, 0, 0, 0])
    np.testing.assert_allclose(s.sold[0], [3, 0, 0, 0, 0, 0])


def test_missed_limits_are_told_in_per_unit():
    s = schedule_of(random_values(0, 0.0) | {"violation": np.array([[29.0, -1.0], [0.0, 0.0]])})
    np.testing.assert_allclose(s.violation, [[0.029, 0.0], [0.0, 0.0]])


def test_shares_are_kept_signal_by_signal():
    # Battery and unit answering a surplus, then the same answering a shortage.
    alpha = np.array([[0.3, 0.0, 0.1, 0.6], [0.8, 1.2, -0.1, 0.0]])
    s = schedule_of(random_values(0, 0.0) | {"alpha": alpha})
    expected = [[[0.3, 0.0], [0.1, 0.6]], [[0.8, 1.0], [0.0, 0.0]]]
    np.testing.assert_array_equal(s.alpha, expected)


def test_a_market_without_recourse_devices_has_no_shares():
    peers = {"sun": Peer(pv=1.0)}
    roster = make_roster(peers, N_STEPS)
    variables = vars(Variables.create(roster, 1, RecoursePolicy(2, np.zeros(1, dtype=np.intp))))
    values = {name: np.zeros(variable.shape) for name, variable in variables.items()}
    book = make_book(peers, make_tariff(N_STEPS), roster)
    groups = np.zeros(1, dtype=np.intp)
    s = from_decisions(values, book, roster, groups, coordination="none", n_signals=2)
    assert s.alpha.shape == (N_STEPS, 2, 0)


def test_plants_held_back_by_no_more_than_the_solvers_accuracy_are_not_held_back():
    renewable = np.array([[5.0 - 1e-4, 3.0], [0.0, 0.5]])
    s = schedule_of(random_values(0, 0.0) | {"renewable": renewable})
    np.testing.assert_array_equal(s.renewable, BOOK.renewable_max_kw)
    s = schedule_of(random_values(0, 0.0) | {"renewable": renewable - [[0.01, 0.0], [0.0, 0.0]]})
    assert s.renewable[0, 0] == pytest.approx(4.9899)
    np.testing.assert_array_equal(s.cap_kw, np.inf)


def test_peers_left_to_their_supplier_rest():
    s = supplier_only(BOOK, ROSTER, 2)
    np.testing.assert_allclose(s.p_kw, [[3, 2, -4, -1, -4, 0], [-2, -0.5, -4, -1, -4, 0]])
    np.testing.assert_allclose(s.exports - s.imports, s.p_kw)
    np.testing.assert_allclose(s.q_kvar[:, 0], -1.0)
    np.testing.assert_array_equal(s.alpha, np.zeros((2, 2, 2)))
    np.testing.assert_array_equal(s.cap_kw, np.inf)
    np.testing.assert_array_equal(s.energy, 5.0)
    assert not s.bought.any()


def test_fixed_injection_is_must_serve_and_flexible_load():
    np.testing.assert_allclose(fixed_injection(BOOK, ROSTER)[0], [-2, -1, -4, -1, -4, 0])
    np.testing.assert_allclose(BOOK.fixed_kw[0], [-2, -1, -4, -1, -1, 0])


@pytest.mark.parametrize(
    ("network", "expected"), [(0, [[0.0, 0.0], [0.0, 0.0]]), (1, [[0.06, 0.2], [0.4, 1.0]])]
)
def test_the_gain_of_recourse_is_what_a_kilowatt_of_error_moves(network, expected):
    alpha = np.array([[0.2, 0.1, 0.0, 0.5], [0.0, 0.0, 0.0, 0.0]])
    s = schedule_of(random_values(0, 0.0) | {"alpha": alpha})
    d_p = np.array([[0.1, 9.0, 0.4], [1.0, 9.0, 2.0]])  # cell, shifter, unit; or A's members
    np.testing.assert_allclose(s.gain(ROSTER, network, 0, d_p), expected)
