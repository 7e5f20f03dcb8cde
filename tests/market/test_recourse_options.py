"""Clearings with separate shares, a common pool and capped plants, by hand and in scenarios."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import norm

from market.acceptance import largest_kept
from market.clearing import MarketClearing
from market.recourse import RecoursePolicy
from tests.market.builders import (
    FEED_IN,
    LOWER,
    RETAIL,
    UPPER,
    Peer,
    RecourseOffer,
    battery,
    clear,
    make_book,
    make_operators,
    make_roster,
    make_tariff,
    settings,
    unit,
)

# --- one pool for all networks ----------------------------------------------------------------

TOWNS = {"a": Peer(load=20.0), "b": Peer(load=20.0, network="B")}
OPPOSITE = {"A": {0: [-6.0, 1.0, 5.0]}, "B": {0: [6.0, -1.0, -5.0]}}
IMBALANCE = make_tariff(buy=0.6, sell=0.03)


def test_networks_whose_errors_cancel_cost_nothing_in_one_pool():
    alone, together = (
        clear(TOWNS, settings(recourse_pool=pool), tariff=IMBALANCE, errors=OPPOSITE)
        for pool in ("network", "all")
    )
    assert together.result.objective == pytest.approx(40.0 * RETAIL, abs=1e-6)
    # Each third of the time a network lacks or has 6, 1 or 5 kW too many.
    imbalance = (6.0 + 6.0) / 3 * (0.6 - 0.03)
    assert alone.result.objective == pytest.approx(40.0 * RETAIL + imbalance, abs=1e-6)
    for kw in vars(together.result.second).values():
        np.testing.assert_allclose(kw, 0.0, atol=1e-12)


def test_no_recourse_is_asked_where_errors_cancel():
    peers = TOWNS | {
        name: Peer(battery=battery(), recourse=RecourseOffer(0.1, 0.0, 0.01), network=network)
        for name, network in (("cell", "A"), ("other cell", "B"))
    }
    market = settings(recourse_pool="all", method="gaussian")
    c = clear(peers, market, tariff=IMBALANCE, errors=OPPOSITE)
    assert c.result.objective == pytest.approx(40.0 * RETAIL, abs=1e-6)
    policy = RecoursePolicy.of(market, 2)
    omega = np.array([OPPOSITE["A"][0], OPPOSITE["B"][0]]).T
    np.testing.assert_allclose(policy.asked(c.alpha[0], omega, c.roster), 0.0, atol=1e-9)


def test_a_battery_helps_the_neighbouring_network_of_its_pool():
    # Network A has the device and no error, network B the error and no device.
    peers = {
        "cell": Peer(battery=battery(), recourse=RecourseOffer(0.0, 0.0, 0.0)),
        "town": Peer(load=20.0, network="B"),
    }
    errors = {"A": {0: [0.0, 0.0]}, "B": {0: [-4.0, 4.0]}}
    market = settings(method="moment", risk_level=0.5)  # kappa of a half on each side: sqrt(3)
    for pool, share in (("network", 0.0), ("all", 4.0 / (np.sqrt(3) * 4.0))):
        c = clear(
            peers,
            market.model_copy(update={"recourse_pool": pool}),
            tariff=make_tariff(buy=0.5, sell=0.0),
            errors=errors,
        )
        imbalance = 0.5 * 4.0 * 0.5 * (1 - share)
        assert c.result.objective == pytest.approx(20.0 * RETAIL + imbalance, abs=1e-5)


# --- capped plants by hand --------------------------------------------------------------------

R = {"A": [[1e-3]]}
SUN = {"sun": Peer(pv=80.0, load=10.0, rated=100.0)}
"""The voltage 1 + 0.001 (renewable - 10) allows of 60 kW."""


def sunny(setpoint, errors, method="wasserstein_joint", **changes):
    market = settings(method=method, renewable_setpoint=setpoint, **changes)
    return clear(SUN, market, R=R, errors={"A": {0: errors}})


def test_a_capped_plant_needs_no_margin_against_its_own_error():
    offset, cap = (sunny(setpoint, [-8.0, 8.0]) for setpoint in ("offset", "cap"))
    assert offset.renewable[0, 0] == pytest.approx(52.0, abs=0.2)
    assert cap.renewable[0, 0] == pytest.approx(60.0, abs=0.2)
    assert cap.cap_kw[0, 0] == cap.renewable[0, 0]
    np.testing.assert_array_equal(offset.cap_kw, np.inf)
    assert cap.result.objective == pytest.approx(-50.0 * FEED_IN, abs=0.02)
    assert cap.result.objective < offset.result.objective - 0.7
    for c in (offset, cap):
        assert c.result.audits[0][0].certificate == 0.0


def test_the_passes_agree_on_cap_and_margin():
    # Capped at p kW the plant passes on 50 - p in one case of four: its Gaussian margin depends
    # on the schedule, and the schedule on the margin. Every pass comes closer by half.
    c = sunny("cap", [-30.0, 0.0, 10.0, 20.0], "gaussian", max_passes=20)
    # p = 60 + (p - 50) / 4 - kappa sqrt(3) / 4 (p - 50)
    slope = norm.ppf(0.95) * np.sqrt(3) / 4 - 1 / 4
    p = 50.0 + 10.0 / (1 + slope)
    assert c.renewable[0, 0] == pytest.approx(p, abs=0.15 * (p - 50.0) * np.sqrt(3) / 4)
    assert -0.02 <= c.result.audits[0][0].gap.min() <= 0.15


def test_errors_too_large_for_any_margin_do_not_hinder_a_capped_plant():
    # 4.36 standard deviations of the uncapped error are more than both limits are apart.
    errors = [-30.0, 0.0, 10.0, 20.0]
    offset, cap = (sunny(setpoint, errors, "moment") for setpoint in ("offset", "cap"))
    assert offset.violation[0, 0] > 0.01
    assert cap.violation[0, 0] == pytest.approx(0.0, abs=1e-7)
    assert cap.renewable[0, 0] > 40.0
    assert cap.result.audits[0][0].gap.min() >= -0.02


def test_a_plant_that_is_not_curtailed_keeps_its_whole_error():
    offset, cap = (
        clear(
            {"sun": Peer(pv=30.0, rated=100.0)},
            settings(renewable_setpoint=setpoint),
            tariff=IMBALANCE,
            errors={"A": {0: [-6.0, 6.0]}},
        )
        for setpoint in ("offset", "cap")
    )
    np.testing.assert_array_equal(cap.cap_kw, np.inf)
    assert cap.result.objective == pytest.approx(offset.result.objective)
    np.testing.assert_allclose(cap.result.second.expected_surplus_kw, 3.0)


def test_a_plant_capped_before_starts_capped_again():
    """The second clearing knows from the first that the plant is held back."""
    roster, tariff = make_roster(SUN, 2), make_tariff(2)
    errors = {"A": {0: [-30.0, -8.0, 8.0]}}
    operators = tuple(make_operators(SUN, R, errors, 2))
    clearing = MarketClearing(roster, settings(renewable_setpoint="cap"), operators)
    book = make_book(SUN, tariff, roster)
    first, second = (clearing.clear(step, book, tariff).second for step in range(2))
    # Cold: 30 kW or 8 kW too little, or 8 kW too many. Their mean of -10 kW makes room for 70 kW
    # in the step ahead, which becomes the binding one: capped there, the plant may lack 20 kW.
    np.testing.assert_allclose(first.expected_surplus_kw[:, 0], 8.0 / 3)
    np.testing.assert_allclose(first.expected_shortage_kw[:, 0], 38.0 / 3)
    np.testing.assert_allclose(second.expected_surplus_kw[:, 0], [0.0, 8.0 / 3], atol=1e-9)
    np.testing.assert_allclose(second.expected_shortage_kw[:, 0], [20.0 / 3, 38.0 / 3])


# --- all options together ---------------------------------------------------------------------

PEERS = {
    "sun": Peer(pv=90.0, rated=120.0, load=4.0),
    "cell": Peer(load=3.0, battery=battery(), recourse=RecourseOffer(0.02, 0.0, 1e-3)),
    "unit": Peer(unit=unit(30.0, 0.05), recourse=RecourseOffer(0.06, -0.04, 1e-3)),
    "wind": Peer(pv=40.0, rated=60.0, network="B"),
    "far": Peer(
        load=25.0,
        network="B",
        battery=battery(charge_efficiency=0.9, discharge_efficiency=0.8, wear_eur_per_kwh=0.01),
        recourse=RecourseOffer(0.03, 0.0, 1e-3),
    ),
}
GRID = {
    "A": [[8e-4, 4e-4, 3e-4], [4e-4, 9e-4, 4e-4]],
    "B": [[1.6e-3, 8e-4], [8e-4, 1.5e-3]],
}
N_SAMPLES = 120


def scenarios(seed=4):
    """Heavy-tailed errors of both plants and of both networks' loads, correlated."""
    rng = np.random.default_rng(seed)
    common = rng.standard_t(5, N_SAMPLES)
    own = rng.standard_t(5, (4, N_SAMPLES))
    return {
        "A": {0: 10 * (common + own[0]), 1: own[1]},
        "B": {0: 4 * (0.5 * common + own[2]), 1: 2 * own[3]},
    }


OPTIONS = list(
    product(("common", "up_down"), ("network", "all"), ("offset", "cap"), ("gaussian", "joint"))
)


@pytest.fixture(scope="module", params=OPTIONS, ids="-".join)
def cleared(request):
    """The same window under each option."""
    shares, pool, setpoint, method = request.param
    market = settings(
        recourse_shares=shares,
        recourse_pool=pool,
        renewable_setpoint=setpoint,
        method="gaussian" if method == "gaussian" else "wasserstein_joint",
        network_fee_within_eur_per_kwh=0.01,
    )
    tariff = make_tariff(2, buy=0.5, sell=0.0)
    return market, clear(PEERS, market, tariff=tariff, R=GRID, errors=scenarios())


def test_shares_of_each_signal_and_pool_sum_to_one_at_most(cleared):
    market, c = cleared
    policy = RecoursePolicy.of(market, 2)
    assert c.alpha.shape == (2, policy.n_signals, 3)
    assert (c.alpha >= 0).all()
    pool = policy.pool_of[c.roster.network_of[c.roster.recourse]]
    for p in range(policy.n_pools):
        assert (c.alpha[:, :, pool == p].sum(axis=2) <= 1 + 1e-7).all()
    assert c.alpha[0].max() > 0.05


def test_devices_keep_room_for_what_may_be_asked_of_them(cleared):
    market, c = cleared
    policy, second = RecoursePolicy.of(market, 2), c.result.second
    pool = policy.pool_of[c.roster.network_of[c.roster.recourse]]
    up = c.alpha[:, -1] * second.reserve_up_kw[:, pool]
    down = c.alpha[:, 0] * second.reserve_down_kw[:, pool]
    if policy.n_signals == 1:
        np.testing.assert_allclose(second.reserve_up_kw, second.reserve_down_kw)
    # Batteries at "cell" and "far", then the unit; a step lasts an hour.
    out, into = np.array([1.0, 0.8]), np.array([1.0, 0.9])
    net = c.discharge - c.charge
    slack = [
        4.0 - net - up[:, :2],
        4.0 + net - down[:, :2],
        c.energy - up[:, :2] / out,
        10.0 - c.energy - down[:, :2] * into,
        30.0 - c.dispatchable - up[:, 2:],
        c.dispatchable - down[:, 2:],
    ]
    assert min(kw.min() for kw in slack) >= -1e-4


def violated(market, c):
    """Scenarios in which a network's voltages leave their limits, (n_networks, n_samples)."""
    forecast = {"A": [90.0, 0.0, 0.0], "B": [40.0, 0.0]}
    rating = {"A": [120.0, 0.0, 0.0], "B": [60.0, 0.0]}
    plants = {"A": 0, "B": 1}  # one plant a network, at its first member
    deviation = {}
    for network, columns in scenarios().items():
        kw = np.zeros((N_SAMPLES, len(forecast[network])))
        for member, error in columns.items():
            kw[:, member] = error
        if market.renewable_setpoint == "cap":
            available = np.clip(forecast[network][0] + kw[:, 0], 0.0, rating[network][0])
            cap = c.cap_kw[0, plants[network]]
            kw[:, 0] = np.minimum(available, cap) - c.renewable[0, plants[network]]
        deviation[network] = kw
    omega = np.stack([kw.sum(axis=1) for kw in deviation.values()], axis=1)
    if market.recourse_pool == "all":
        omega = np.broadcast_to(omega.sum(axis=1, keepdims=True), omega.shape)
    owner = {"A": [(0, 1), (2, 2)], "B": [(1, 1)]}  # device and its owner among the members
    out = []
    for d, network in enumerate("AB"):
        p_kw = c.p_kw[0, c.roster.members(d)] + deviation[network]
        for device, member in owner[network]:
            for_surplus, for_shortage = c.alpha[0, 0, device], c.alpha[0, -1, device]
            share = np.where(omega[:, d] > 0, for_surplus, for_shortage)
            p_kw[:, member] -= share * omega[:, d]
        v = 1.0 + p_kw @ np.array(GRID[network]).T
        # A sample that touches a limit keeps it, whatever is rounded.
        out.append(((v > UPPER + 1e-8) | (v < LOWER - 1e-8)).any(axis=1))
    return np.array(out)


def test_the_certificate_is_the_frequency_of_violations_in_scenarios(cleared):
    market, c = cleared
    certified = [audits[0].certificate for audits in c.result.audits]
    np.testing.assert_allclose(certified, violated(market, c).mean(axis=1), atol=1e-12)
    assert any(audits[0].binding for audits in c.result.audits)
    if market.method == "wasserstein_joint":
        assert max(certified) <= largest_kept(market.risk_level)


def test_caps_never_exceed_forecasts_and_hold_what_is_scheduled(cleared):
    market, c = cleared
    if market.renewable_setpoint == "offset":
        np.testing.assert_array_equal(c.cap_kw, np.inf)
        return
    held_back = c.renewable < c.book.renewable_max_kw
    binding = held_back[0]
    assert binding.any()
    np.testing.assert_array_equal(c.cap_kw[0, binding], c.renewable[0, binding])
    capped = np.isfinite(c.cap_kw[0])
    np.testing.assert_array_equal(c.cap_kw[0, capped], c.renewable[0, capped])


@pytest.fixture(scope="module")
def cost():
    """Objective of a single step with the Gaussian factor."""

    def of(**options):
        market = settings(method="gaussian", max_passes=20, **options)
        tariff = make_tariff(buy=0.5, sell=0.0)
        return clear(PEERS, market, tariff=tariff, R=GRID, errors=scenarios()).result.objective

    return of


@pytest.mark.parametrize("pool", ["network", "all"])
def test_separate_shares_are_cheaper_than_a_common_one(cost, pool):
    """With a fixed safety factor the common share is one of the choices."""
    common, split = (cost(recourse_pool=pool, recourse_shares=s) for s in ("common", "up_down"))
    assert split < common - 1e-3
