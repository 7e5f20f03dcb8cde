"""The clearing against markets solved by hand, and the loop on a network that is not linear."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from market.acceptance import largest_kept
from market.clearing import MarketClearing, refine_groups
from market.safety_factors import METHODS
from tests.market.builders import (
    FEE,
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
)

NEIGHBOURS = {"sun": Peer(pv=10.0), "home": Peer(load=4.0)}

# --- prices and trades ------------------------------------------------------------------------


def test_the_supplier_takes_what_peers_do_not_trade():
    c = clear(NEIGHBOURS)
    np.testing.assert_allclose(c.bought, [[0.0, 4.0]], atol=1e-5)
    np.testing.assert_allclose(c.sold, [[4.0, 0.0]], atol=1e-5)
    np.testing.assert_allclose(c.p_kw, [[10.0, -4.0]], atol=1e-5)
    assert c.result.objective == pytest.approx(4.0 * FEE - 6.0 * FEED_IN, abs=1e-6)
    assert c.result.fallback == ""
    assert not c.result.audits[0][0].binding


@pytest.mark.parametrize(("retail", "traded"), [(0.171, 4.0), (0.169, 0.0)])
def test_peers_trade_where_retail_exceeds_feed_in_and_fee(retail, traded):
    c = clear(NEIGHBOURS, tariff=make_tariff(retail=retail))
    assert c.bought.sum() == pytest.approx(traded, abs=1e-4)
    objective = (4.0 - traded) * retail + traded * FEE - (10.0 - traded) * FEED_IN
    assert c.result.objective == pytest.approx(objective, abs=1e-6)


@pytest.mark.parametrize(("buy", "traded"), [(0.20, 4.0), (0.18, 0.0)])
def test_limit_prices_decide_about_trades(buy, traded):
    peers = {"sun": Peer(pv=10.0, sell=0.12), "home": Peer(load=4.0, buy=buy)}
    assert clear(peers).bought.sum() == pytest.approx(traded, abs=1e-4)


def test_the_buyer_that_bids_more_is_served_first():
    peers = {
        "sun": Peer(pv=5.0),
        "low": Peer(load=4.0, buy=0.20),
        "high": Peer(load=4.0, buy=0.24),
    }
    np.testing.assert_allclose(clear(peers).bought, [[0.0, 1.0, 4.0]], atol=1e-4)


TWO_NETWORKS = {
    "sun": Peer(pv=10.0),
    "near": Peer(load=4.0),
    "far": Peer(load=8.0, network="B"),
}


@pytest.mark.parametrize(
    ("coordination", "bought", "sent", "objective"),
    [
        ("none", [0.0, 0.0, 0.0], 0.0, 12.0 * RETAIL - 10.0 * FEED_IN),
        ("within_network", [0.0, 4.0, 0.0], 0.0, 4.0 * FEE + 8.0 * RETAIL - 6.0 * FEED_IN),
        ("across_networks", [0.0, 4.0, 6.0], 6.0, 10.0 * FEE + 6.0 * 0.01 + 2.0 * RETAIL),
    ],
)
def test_coordination_decides_who_may_trade(coordination, bought, sent, objective):
    c = clear(TWO_NETWORKS, settings(coordination=coordination))
    np.testing.assert_allclose(c.bought, [bought], atol=1e-4)
    np.testing.assert_allclose(c.exchange, [[sent, -sent]], atol=1e-4)
    assert c.result.objective == pytest.approx(objective, abs=1e-5)


def test_more_coordination_is_never_dearer():
    scopes = ("none", "within_network", "across_networks")
    costs = [clear(TWO_NETWORKS, settings(coordination=s)).result.objective for s in scopes]
    assert costs[0] > costs[1] > costs[2]


def test_the_exchange_limit_caps_trades_across_networks():
    c = clear(TWO_NETWORKS, settings(exchange_limit_kw=2.5))
    np.testing.assert_allclose(c.bought, [[0.0, 4.0, 2.5]], atol=1e-4)


def test_half_an_hour_costs_half_as_much():
    assert clear(TWO_NETWORKS, hours=0.5).result.objective == pytest.approx(
        clear(TWO_NETWORKS).result.objective / 2, abs=1e-6
    )


def test_a_battery_shifts_the_surplus_of_one_step_into_the_next():
    cell = battery(energy_kwh=0.0, discharge_efficiency=0.8, wear_eur_per_kwh=0.01)
    peers = {"home": Peer(pv=[6.0, 0.0], load=[1.0, 5.0], battery=cell)}
    c = clear(peers, tariff=make_tariff(2))
    np.testing.assert_allclose(c.charge[:, 0], [4.0, 0.0], atol=1e-4)
    np.testing.assert_allclose(c.p_kw[:, 0], [1.0, -5.0 + 3.2], atol=1e-4)
    objective = -1.0 * FEED_IN + 1.8 * RETAIL + 0.01 * 7.2
    assert c.result.objective == pytest.approx(objective, abs=1e-6)


def test_losses_are_bought_and_weigh_on_dispatch():
    # The loss of a far kW eats more than it earns: 0.5 kW at 0.25 against a feed-in of 0.10.
    peers = {"near": Peer(pv=10.0), "far": Peer(pv=10.0), "home": Peer(load=4.0)}
    loss = np.array([0.02, 0.5, -0.1])
    tariff = make_tariff(loss=0.25, retail=0.12, feed_in=0.10)
    c = clear(peers, settings(coordination="none"), tariff=tariff, loss=loss)
    np.testing.assert_allclose(c.renewable, [[10.0, 0.0]], atol=1e-4)
    lost = 0.25 * (0.02 * 10.0 + 0.1 * 4.0)
    assert c.result.objective == pytest.approx(4.0 * 0.12 - 10.0 * 0.10 + lost, abs=1e-5)


# --- voltage limits ---------------------------------------------------------------------------

R = {"A": [[1e-3]]}
SUN = {"sun": Peer(pv=100.0, load=10.0)}
ONE_SIGMA = {"A": {0: [-8.0, 8.0]}}


def test_a_voltage_limit_curtails_exactly():
    c = clear(SUN, R=R)
    assert c.renewable[0, 0] == pytest.approx(60.0, abs=1e-4)
    assert c.result.objective == pytest.approx(-50.0 * FEED_IN, abs=1e-5)
    assert c.result.audits[0][0].binding
    assert c.violation[0, 0] == pytest.approx(0.0, abs=1e-8)


def test_an_under_voltage_limit_calls_for_local_power():
    # Importing 60 kW would leave 0.94; the dear local unit covers 10 kW.
    peers = {"home": Peer(load=60.0, pv=20.0, pv_price=0.5)}
    c = clear(peers, R=R)
    assert c.renewable[0, 0] == pytest.approx(10.0, abs=1e-4)
    assert c.result.objective == pytest.approx(50.0 * RETAIL + 10.0 * 0.5, abs=1e-5)


@pytest.mark.parametrize("risk_level", [0.05, 0.2])
def test_the_gaussian_margin_is_kappa_sigma(risk_level):
    c = clear(SUN, settings(method="gaussian", risk_level=risk_level), R=R, errors=ONE_SIGMA)
    margin = norm.ppf(1 - risk_level) * 8.0
    assert c.p_kw[0, 0] == pytest.approx(50.0 - margin, abs=1e-4)
    assert c.result.audits[0][0].gap.min() == pytest.approx(0.0, abs=1e-6)


def test_the_mean_error_shifts_the_schedule():
    errors = {"A": {0: [-3.0, 13.0]}}
    c = clear(SUN, R=R, errors=errors)
    assert c.p_kw[0, 0] == pytest.approx(50.0 - 5.0, abs=1e-4)


def test_recourse_shrinks_the_gaussian_margin_by_its_share():
    peers = {
        "sun": Peer(pv=100.0),
        "cell": Peer(battery=battery(), recourse=RecourseOffer(0.0, 0.0, 0.0)),
    }
    market = settings(method="gaussian")
    c = clear(peers, market, R={"A": [[1e-3, 5e-4]]}, errors=ONE_SIGMA)
    reserve = norm.ppf(0.975) * 8.0
    assert c.result.second.reserve_up_kw[0, 0] == pytest.approx(reserve)
    assert c.result.second.reserve_down_kw[0, 0] == pytest.approx(reserve)
    assert c.alpha[0, 0, 0] == pytest.approx(4.0 / reserve, abs=1e-5)
    margin = norm.ppf(0.95) * (1e-3 - 5e-4 * 4.0 / reserve) * 8.0
    assert c.renewable[0, 0] == pytest.approx((0.05 - margin) / 1e-3, abs=1e-3)


def test_the_second_stage_is_priced_by_hand():
    errors = {"A": {0: [-6.0, 1.0, 2.0, 5.0]}}
    tariff = make_tariff(buy=0.4, sell=0.05)
    c = clear({"sun": Peer(pv=10.0)}, settings(radius=0.01), tariff=tariff, errors=errors)
    std = np.std([-6.0, 1.0, 2.0, 5.0])
    second = 6.0 / 4 * 0.4 - 8.0 / 4 * 0.05 + 0.01 * std * 0.4
    assert c.result.objective == pytest.approx(-10.0 * FEED_IN + second, abs=1e-6)


def test_a_binding_limit_further_ahead_is_kept_too():
    tariff = make_tariff(3)
    c = clear(SUN, settings(method="gaussian"), tariff=tariff, R=R, errors=ONE_SIGMA)
    np.testing.assert_allclose(c.p_kw[:, 0], 50.0 - norm.ppf(0.95) * 8.0, atol=1e-3)
    assert len(c.result.audits[0]) == 1


def test_every_binding_step_is_audited():
    market = settings(method="gaussian", cadence_steps=3)
    c = clear(SUN, market, tariff=make_tariff(3), R=R, errors=ONE_SIGMA)
    assert [audit.binding for audit in c.result.audits[0]] == [True] * 3


def test_a_limit_that_cannot_be_kept_is_reported_and_nothing_crashes():
    peers = {"home": Peer(load=80.0), "sun": Peer(pv=10.0)}
    market = settings(method="wasserstein_joint", radius=5e-4)
    c = clear(peers, market, R={"A": [[1e-3, 1e-3]]}, errors={"A": {0: np.arange(-5.0, 6.0)}})
    audit = c.result.audits[0][0]
    margin = audit.kappa.max() * np.std(np.arange(-5.0, 6.0)) * 1e-3
    assert c.result.fallback == ""
    assert audit.certificate == 1.0
    assert c.violation[0, 0] == pytest.approx(LOWER - (1.0 - 0.07) + margin, rel=0.05)
    np.testing.assert_allclose(c.p_kw, [[-80.0, 10.0]], atol=1e-4)


# --- methods ----------------------------------------------------------------------------------


def heavy_tails(n_samples=120, n_sources=3, scale=4.0, seed=2):
    rng = np.random.default_rng(seed)
    xi = scale * rng.standard_t(4, size=(n_samples, n_sources))
    xi -= xi.mean(axis=0)
    return {"A": dict(enumerate(xi.T))}


FEEDER = {"near": Peer(pv=60.0), "middle": Peer(pv=60.0), "far": Peer(pv=60.0, load=2.0)}
FEEDER_R = {"A": [[2e-4, 2e-4, 2e-4], [2e-4, 6e-4, 6e-4], [2e-4, 6e-4, 1e-3]]}


@pytest.fixture(scope="module")
def cost_by_method():
    return {
        name: clear(
            FEEDER, settings(method=name, radius=1e-3), R=FEEDER_R, errors=heavy_tails()
        ).result.objective
        for name in METHODS
    }


@pytest.mark.parametrize(
    ("cheaper", "dearer"),
    [
        *pairwise(["deterministic", "empirical", "wasserstein", "wasserstein_cvar", "moment"]),
        ("wasserstein", "wasserstein_joint"),
        ("deterministic", "gaussian"),
    ],
)
def test_a_more_careful_method_costs_more(cost_by_method, cheaper, dearer):
    tolerance = 1e-6 * abs(cost_by_method[cheaper])
    assert cost_by_method[cheaper] <= cost_by_method[dearer] + tolerance
    if dearer != "wasserstein_joint":  # equal where a single row is decisive
        assert cost_by_method[cheaper] < cost_by_method[dearer] - 1e-4


@pytest.mark.parametrize("radius", [1e-4, 1e-3, 1e-2])
def test_a_larger_radius_is_never_cheaper(radius):
    small, large = (
        clear(
            FEEDER, settings(method="wasserstein_joint", radius=r), R=FEEDER_R, errors=heavy_tails()
        ).result.objective
        for r in (radius, 3 * radius)
    )
    assert small < large


# --- the loop ---------------------------------------------------------------------------------


def bent(method="wasserstein_joint", n_steps=1, **changes):
    """A clearing on a network whose voltages bend: the linear models err by some 0.002 p.u."""
    tariff = make_tariff(n_steps)
    market = settings(method=method, radius=5e-4, **changes)
    return clear(FEEDER, market, tariff=tariff, R=FEEDER_R, errors=heavy_tails(), bend=1.0)


@pytest.mark.parametrize("n_steps", [1, 3])
def test_the_loop_certifies_the_exact_schedule_without_waste(n_steps):
    c = bent(n_steps=n_steps)
    audit = c.result.audits[0][0]
    assert c.result.n_passes < 6
    assert audit.binding
    assert 0.03 <= audit.certificate <= 0.05 + 0.001


def test_the_schedule_keeps_its_margin_on_the_exact_voltages():
    c = bent()
    offer, audit = c.result.offers[0], c.result.audits[0][0]
    exact = c.operators[0].voltage(c.p_kw, c.q_kvar)[0]
    np.testing.assert_allclose(offer.value[0, :3], exact)
    xi = np.array(list(heavy_tails()["A"].values()))
    sigma = np.std(offer.d_p[0][:3] @ xi, axis=1)
    gap = (UPPER - exact) / sigma - audit.kappa[:3]
    np.testing.assert_allclose(audit.gap[:3], gap, atol=1e-6)
    assert -0.02 <= gap.min() <= 0.15


def test_the_certificate_is_the_frequency_of_violations_at_radius_zero():
    errors = heavy_tails()
    market = settings(method="wasserstein_joint", radius=0.0)
    c = clear(FEEDER, market, R=FEEDER_R, errors=errors, bend=1.0)
    offer = c.result.offers[0]
    xi = np.array(list(errors["A"].values()))
    rows = offer.value[0][:, None] + offer.d_p[0] @ xi
    violated = (rows > offer.limit[:, None]).any(axis=0)
    assert c.result.audits[0][0].certificate == pytest.approx(violated.mean())


@pytest.mark.parametrize("radius", [1e-5, 1e-3])
@pytest.mark.parametrize("risk_level", [0.001, 0.01, 0.05, 0.2])
def test_certificates_end_at_most_at_the_risk_level_however_small_that_is(risk_level, radius):
    market = settings(method="wasserstein_joint", risk_level=risk_level, radius=radius)
    c = clear(FEEDER, market, R=FEEDER_R, errors=heavy_tails(2000), bend=1.0)
    audit = c.result.audits[0][0]
    assert audit.binding
    assert audit.kept
    assert 0.7 * risk_level <= audit.certificate <= risk_level
    assert c.result.n_passes <= 4


def test_individual_methods_settle_on_the_bent_network_too():
    for method in ("deterministic", "gaussian", "wasserstein_cvar"):
        c = bent(method)
        assert c.result.n_passes < 6
        assert -0.02 <= c.result.audits[0][0].gap.min() <= 0.15


def consecutive(market, n_steps, n_clearings, peers=FEEDER):
    """Clear several windows of the same hours, one after another."""
    tariff = make_tariff(n_steps)
    roster = make_roster(peers, n_steps)
    operators = list(make_operators(peers, FEEDER_R, heavy_tails(), n_steps, bend=1.0))
    clearing = MarketClearing(roster, market, operators)
    book = make_book(peers, tariff, roster)
    return [
        clearing.clear(step * market.cadence_steps, book, tariff) for step in range(n_clearings)
    ]


@pytest.mark.parametrize("cadence", [1, 2])
def test_windows_that_repeat_are_cleared_alike_from_a_warm_start(cadence):
    # The steps ahead of a cold start are linearised where nothing is curtailed; only the binding
    # ones are exact from the beginning.
    market = settings(method="wasserstein_joint", radius=5e-4, cadence_steps=cadence)
    cold, *warm = consecutive(market, 4, 4)
    assert warm[-1].objective == pytest.approx(warm[-2].objective, rel=1e-3)
    for result in warm:
        total = result.schedule.p_kw[:cadence].sum(axis=1)
        np.testing.assert_allclose(total, cold.schedule.p_kw[:cadence].sum(axis=1), rtol=0.02)
        assert result.n_passes <= cold.n_passes
        for audit in result.audits[0]:
            assert 0.03 <= audit.certificate <= largest_kept(0.05)


def test_a_schedule_without_a_power_flow_is_never_certified():
    c = clear(NEIGHBOURS, settings(method="wasserstein_joint"), collapses=True)
    assert c.result.audits[0][0].certificate == 1.0
    np.testing.assert_allclose(c.p_kw, [[10.0, -4.0]], atol=1e-4)


# --- parts ------------------------------------------------------------------------------------


prices = st.sampled_from([0.1, 0.1 + 1e-12, 0.2, 0.3])


@given(
    st.lists(st.tuples(st.sampled_from("AB"), prices, prices), min_size=1, max_size=8), st.data()
)
def test_price_groups_are_split_and_never_merged(asked, data):
    peers = {
        f"p{k}": Peer(network=network, load=1.0, buy=buy, sell=sell)
        for k, (network, buy, sell) in enumerate(asked)
    }
    roster, tariff = make_roster(peers), make_tariff()
    again = {
        name: Peer(network=peer.network, load=1.0, buy=data.draw(prices), sell=peer.sell)
        for name, peer in peers.items()
    }
    first = refine_groups(roster.network_of, make_book(peers, tariff, roster))
    book = make_book(again, tariff, roster)
    second = refine_groups(first, book)
    np.testing.assert_array_equal(np.unique(second), np.arange(second.max() + 1))
    for group in np.unique(second):
        inside = second == group
        assert len(np.unique(first[inside])) == 1
        assert len(np.unique(roster.network_of[inside])) == 1
        assert np.ptp(book.buy_limit[:, inside], axis=1).max() < 1e-8
        assert np.ptp(book.sell_limit[:, inside], axis=1).max() < 1e-8
    np.testing.assert_array_equal(refine_groups(second, book), second)
