"""Nodal prices: two-bus cases by hand, and derivatives of the optimal cost by solving again."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from market.bids import RecourseOffer
from market.nodal_prices import MarginalCosts, NodalPrices, marginal_costs
from tests.market.builders import (
    FEE,
    FEED_IN,
    RETAIL,
    Peer,
    battery,
    clear,
    make_book,
    make_first_stage,
    make_tariff,
    settings,
    unit,
    voltage_row,
)

POOL = RETAIL - FEE
"""Price of a pool that has less to sell than its peers would buy."""


def components(result) -> dict[str, np.ndarray]:
    prices = result.result.prices
    names = ("energy", "loss", "voltage", "risk", "dlmp")
    return {name: getattr(prices, name)[0] for name in names}


# By hand ------------------------------------------------------------------------------------------


def test_a_short_pool_sells_at_the_retail_price_less_the_fee():
    c = clear({"home": Peer(load=5.0), "sun": Peer(pv=3.0)})
    # One more kWh at home comes from the supplier; one less to sell costs the pool's price.
    assert_allclose(components(c)["dlmp"], [RETAIL, POOL], atol=1e-6)
    assert c.result.prices.pool[0, 0] == pytest.approx(POOL, abs=1e-6)


def test_a_long_pool_sells_at_the_feed_in_price():
    c = clear({"home": Peer(load=3.0), "sun": Peer(pv=5.0)})
    assert_allclose(components(c)["dlmp"], [FEED_IN + FEE, FEED_IN], atol=1e-6)
    assert c.result.prices.pool[0, 0] == pytest.approx(FEED_IN, abs=1e-6)


def test_without_coordination_the_supplier_sets_the_prices():
    peers = {"home": Peer(load=3.0), "sun": Peer(pv=5.0)}
    c = clear(peers, settings(coordination="none"))
    assert_allclose(components(c)["dlmp"], [RETAIL, FEED_IN], atol=1e-6)


def test_a_peer_on_its_retail_contract_pays_the_supplier():
    peers = {
        "home": Peer(load=3.0),
        "sun": Peer(pv=5.0),
        "silent": Peer(load=1.0, takes_part=False),
        "mute": Peer(pv=2.0, takes_part=False),
    }
    assert_allclose(components(clear(peers))["energy"][2:], [RETAIL, FEED_IN], atol=1e-6)


def test_a_marginal_unit_sets_the_price_of_its_bus():
    # Marginal cost 0.15 + 2 * 0.01 p; at home's price of 0.17 + ... the pool is short, so 0.18.
    peers = {"home": Peer(load=50.0), "unit": Peer(unit=unit(10.0, 0.15, 0.01))}
    c = clear(peers)
    assert c.dispatchable[0, 0] == pytest.approx((POOL - 0.15) / 0.02, abs=1e-4)
    assert components(c)["dlmp"][1] == pytest.approx(POOL, abs=1e-6)


def test_losses_have_their_own_component():
    # Every kW injected by the plant loses 0.05 kW more, at 0.04 EUR/kWh.
    peers = {"home": Peer(load=3.0), "sun": Peer(pv=5.0)}
    c = clear(peers, tariff=make_tariff(loss=0.04), loss=np.array([0.0, 0.05]))
    assert_allclose(components(c)["loss"], [0.0, -0.04 * 0.05], atol=1e-9)
    assert_allclose(components(c)["dlmp"], [FEED_IN + FEE, FEED_IN - 0.002], atol=1e-6)


def test_a_binding_voltage_makes_a_curtailed_plant_worthless():
    # 1 + 0.01 p <= 1.05 allows 5 of 8 kW: one more kWh of load there costs nothing.
    c = clear({"sun": Peer(pv=8.0)}, R={"A": [[0.01]]})
    found = components(c)
    assert c.renewable[0, 0] == pytest.approx(5.0, abs=1e-4)
    assert found["energy"][0] == pytest.approx(FEED_IN, abs=1e-6)
    assert found["voltage"][0] == pytest.approx(-FEED_IN, abs=1e-6)
    assert found["dlmp"][0] == pytest.approx(0.0, abs=1e-6)


def test_a_binding_voltage_separates_the_prices_of_two_buses():
    # The load's bus feels half of what the plant's does, so its load is worth half as much there.
    peers = {"home": Peer(load=1.0), "sun": Peer(pv=8.0)}
    c = clear(peers, R={"A": [[0.005, 0.01]]})
    found = components(c)
    assert_allclose(found["voltage"], [-FEED_IN / 2, -FEED_IN], atol=1e-6)
    assert_allclose(found["dlmp"], [FEED_IN / 2 + FEE, 0.0], atol=1e-6)


def margin_case(pv: float, **changes):
    """A plant at a bus of 0.01 p.u./kW whose errors are plus or minus one kW."""
    errors = {"A": {0: [-1.0, 1.0] * 50}}
    market = settings(method="gaussian", risk_level=0.1586552539, **changes)  # kappa = 1
    return clear({"sun": Peer(pv=pv)}, market, R={"A": [[0.01]]}, errors=errors)


def test_what_only_the_margin_makes_bind_is_risk():
    # 4.5 kW fit below the limit, but not below limit less margin, 4 kW.
    c = margin_case(4.5)
    found = components(c)
    assert c.renewable[0, 0] == pytest.approx(4.0, abs=1e-3)
    assert_allclose(found["voltage"], 0.0, atol=1e-6)
    assert_allclose(found["risk"], -FEED_IN, atol=1e-5)
    assert_allclose(found["dlmp"], 0.0, atol=1e-5)
    assert_allclose(c.result.prices.margin, [[-FEED_IN]], atol=1e-5)


def test_what_would_bind_anyway_is_no_risk():
    found = components(margin_case(8.0))
    assert_allclose(found["voltage"], -FEED_IN, atol=1e-5)
    assert_allclose(found["risk"], 0.0, atol=1e-5)


def test_reserves_that_displace_energy_are_risk():
    # Alone the battery feeds home and sells 1 kW upstream; answering all of the error it keeps
    # the two-sided margin of 1.41 kW free.
    recourse = RecourseOffer(0.0, 0.0, 0.0)
    store = battery(wear_eur_per_kwh=0.001, energy_kwh=10.0, discharge_max_kw=5.0)
    peers = {
        "home": Peer(load=4.0),
        "store": Peer(battery=store, recourse=recourse),
        "unit": Peer(unit=unit(10.0, 0.12)),
    }
    market = settings(method="gaussian", risk_level=0.1586552539)
    tariff = make_tariff(buy=0.5, sell=-0.5)
    c = clear(peers, market, tariff=tariff, errors={"A": {0: [-1.0, 1.0] * 50}})
    found = components(c)
    assert c.discharge[0, 0] == pytest.approx(5.0 - 1.4096, abs=1e-3)
    assert c.dispatchable[0, 0] == pytest.approx(4.0 - c.discharge[0, 0], abs=1e-3)
    # Then the unit serves the last part at 0.12; without, the pool is at the feed-in price.
    assert found["energy"][0] == pytest.approx(FEED_IN + FEE, abs=1e-5)
    assert found["risk"][0] == pytest.approx(0.02, abs=1e-5)
    assert_allclose(found["energy"] + found["risk"], found["dlmp"], atol=1e-9)


def test_deterministic_prices_have_no_risk():
    errors = {"A": {0: [-1.0, 1.0] * 50}}
    c = clear({"sun": Peer(pv=8.0)}, settings(), R={"A": [[0.01]]}, errors=errors)
    assert (components(c)["risk"] == 0.0).all()


def test_risk_can_be_left_in_the_other_components():
    c = margin_case(4.5, risk_prices=False)
    found = components(c)
    assert np.isnan(found["risk"]).all()
    assert_allclose(found["voltage"], -FEED_IN, atol=1e-5)
    assert_allclose(c.result.prices.margin, 0.0)


def test_prices_are_per_kwh_whatever_the_step():
    for hours in (0.25, 1.0):
        peers = {"home": Peer(load=1.0), "sun": Peer(pv=8.0)}
        c = clear(peers, R={"A": [[0.0, 0.01]]}, hours=hours)
        assert_allclose(components(c)["energy"], [FEED_IN + FEE, FEED_IN], atol=1e-6)
        assert_allclose(components(c)["voltage"], [0.0, -FEED_IN], atol=1e-6)
        assert_allclose(c.result.prices.pool, FEED_IN, atol=1e-6)


def test_a_binding_exchange_limit_separates_the_pools():
    peers = {"sun": Peer(pv=9.0), "home": Peer(load=9.0, network="B")}
    open_, shut = (
        clear(peers, settings(exchange_limit_kw=limit)).result.prices.pool[0]
        for limit in (None, 2.0)
    )
    assert open_[1] - open_[0] == pytest.approx(0.01, abs=1e-6)
    assert_allclose(shut, [FEED_IN, POOL], atol=1e-6)


# In general ---------------------------------------------------------------------------------------


def test_components_add_up_and_consumers_elsewhere_are_priced():
    costs = MarginalCosts(
        energy=np.array([[0.2]]),
        congestion=np.array([[-0.05]]),
        consumer=np.array([[0.25]]),
        pool=np.array([[0.2]]),
        mu=(np.array([[10.0, 0.0]]),),
        nu=(np.array([[2.0j]]),),
    )
    base = replace(
        costs,
        energy=np.array([[0.21]]),
        congestion=np.array([[-0.02]]),
        consumer=np.array([[0.24]]),
        mu=(np.array([[4.0, 0.0]]),),
        nu=(np.array([[0.0j]]),),
    )
    prices = NodalPrices(costs, base, loss=np.array([[0.003]]))
    whole = prices.energy + prices.loss + prices.voltage + prices.risk
    assert_allclose(whole, prices.dlmp, atol=1e-12)
    assert_allclose(prices.risk, -0.03 - 0.01, atol=1e-12)
    bus = prices.of_consumers(0, 0, np.array([[0.01], [7.0]]), np.array([[5.0 + 0.003j]]))
    assert_allclose(bus["voltage"], -0.04)
    # A half-plane across the real axis sees the imaginary part alone.
    assert_allclose(bus["risk"], 0.25 - 0.1 + 2 * 0.003 - 0.24 + 0.04)
    assert_allclose(bus["dlmp"], bus["energy"] + bus["voltage"] + bus["risk"])


@budget(max_examples=25, deadline=None)
@given(
    loads=st.lists(st.floats(0.5, 9.0), min_size=2, max_size=4),
    plants=st.lists(st.floats(0.5, 9.0), min_size=2, max_size=4),
    cost=st.floats(0.11, 0.24),
)
def test_without_limits_losses_and_fees_there_is_one_price(loads, plants, cost):
    peers = {f"home{k}": Peer(load=kw, network="AB"[k % 2]) for k, kw in enumerate(loads)}
    peers |= {f"sun{k}": Peer(pv=kw, network="AB"[k % 2]) for k, kw in enumerate(plants)}
    peers["unit"] = Peer(unit=unit(3.0, cost, 0.01))
    free = settings(network_fee_within_eur_per_kwh=0, network_fee_across_eur_per_kwh=0)
    prices = clear(peers, free).result.prices
    # Energy is scarce or plentiful everywhere alike; the solver's accuracy is 1e-8 of EUR.
    assert np.ptp(prices.dlmp) < 1e-4
    assert np.ptp(prices.pool) < 1e-4
    assert np.abs(prices.dlmp - prices.pool[:, :1]).max() < 1e-4


def solved(peers, limits, step_kw=None):
    """Solve a window with voltage limits; with the load of one peer moved by 1 W or so."""
    if step_kw is not None:
        name, kw = step_kw
        peers = {**peers, name: replace(peers[name], load=np.asarray(peers[name].load) + kw)}
    tariff = make_tariff(2, loss=0.04)
    stage, roster, book = make_first_stage(peers, tariff)
    rows = [
        voltage_row(roster, book, r, step=t, kappa=kappa, remainder=0.004)
        for t in range(2)
        for r, kappa in limits
    ]
    return stage, roster, make_book(peers, tariff, roster), tariff, rows, stage.solve(rows)


@pytest.mark.parametrize("sensitivity", [0.001, 0.006, 0.012], ids=["free", "near", "binding"])
def test_the_price_is_the_derivative_of_the_optimal_cost(sensitivity):
    store = battery(wear_eur_per_kwh=0.01, end_value_eur_per_kwh=0.13, charge_efficiency=0.9)
    peers = {
        "home": Peer(load=[3.0, 6.5]),
        "sun": Peer(load=[0.5, 0.7], pv=[9.0, 2.0]),
        "unit": Peer(load=[1.0, 1.2], unit=unit(4.0, 0.11, 0.012)),
        "store": Peer(load=[0.3, 0.4], battery=store),
    }
    r = sensitivity * np.array([0.3, 1.0, 0.5, 0.8])
    limits = [(r, 1.5), (-r, 1.5)]
    stage, roster, book, tariff, rows, found = solved(peers, limits)
    assert (found.mu.max() > 1e-3) == (sensitivity > 0.005)
    prices = marginal_costs(
        found,
        rows,
        book=book,
        tariff=tariff,
        roster=roster,
        groups=stage.groups,
        n_binding=2,
        n_rows=[1],
        n_phasors=[0],
    )
    for t in range(2):
        for j, name in enumerate(peers):
            watt = np.where(np.arange(2) == t, 1e-3, 0.0)
            more, less = (solved(peers, limits, (name, sign * watt))[-1] for sign in (1, -1))
            up = (more.objective - found.objective) / 1e-3
            down = (found.objective - less.objective) / 1e-3
            price = prices.energy[t, j] + prices.congestion[t, j]
            if abs(up - down) < 1e-4:  # interior: the cost has a derivative
                assert price == pytest.approx((up + down) / 2, rel=1e-3, abs=1e-5)
            else:
                assert down - 1e-4 <= price <= up + 1e-4
