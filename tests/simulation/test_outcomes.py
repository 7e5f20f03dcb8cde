"""What a step brought every peer: the fuel of units by hand, and against the parts of real runs."""

from types import SimpleNamespace

import numpy as np
import pytest

from market.costs import fuel_cost
from simulation.model import CoSimulation
from simulation.outcomes import gains, gains_from_trade, outcomes
from simulation.setup import build_world
from tests.simulation.test_market_kpis import COSTS, FLEX, ROSTER, UNIT
from tests.simulation.test_no_look_ahead import Silence


def record(*, unit_kw, p_kw, sold_kw=0.0):
    """Half an hour of a unit that costs 0.2 u + 0.01 u^2 an hour; it sells at 0.25 EUR/kWh.

    The supplier sells at 0.30 and buys at 0.10 EUR/kWh; there are no fees.
    """
    one = np.ones(1 if sold_kw else 0)
    schedule = SimpleNamespace(
        p_kw=np.array([[-sold_kw, 0.0, p_kw]]), dispatchable=np.array([[unit_kw]])
    )
    settled = SimpleNamespace(
        trades=SimpleNamespace(
            seller=UNIT * one.astype(int), buyer=FLEX * one.astype(int), power_kw=sold_kw * one
        ),
        trade_prices=SimpleNamespace(paid=0.25 * one, received=0.25 * one),
        trade_fee=0.0 * one,
        prices=SimpleNamespace(retail=0.30, feed_in=0.10),
    )
    cleared = SimpleNamespace(result=SimpleNamespace(schedule=schedule))
    return SimpleNamespace(k=0, cleared=cleared, settled=settled)


@pytest.mark.parametrize(
    ("unit_kw", "p_kw", "sold_kw", "gain"),
    [
        # Fuel of 0.48 EUR for what the supplier would buy for 0.20; it is sold for 0.50.
        (4.0, 4.0, 4.0, 0.30 - 0.28),
        # Nobody buys it.
        (4.0, 4.0, 0.0, -0.28),
        # It covers the peer's own load, for which the supplier would charge 0.60.
        (4.0, 0.0, 0.0, 0.0),
        # Half covers its own load, half is sold: worth 0.30 + 0.10.
        (4.0, 2.0, 2.0, 0.15 - 0.08),
        # A quarter is sold: worth 0.45 + 0.05; the supplier alone would make it run.
        (4.0, 1.0, 1.0, 0.075),
        # It rests, and the peer sells what it has from elsewhere.
        (0.0, 4.0, 4.0, 0.30),
    ],
)
def test_fuel_beyond_what_the_supplier_would_pay_is_a_cost_of_trade(unit_kw, p_kw, sold_kw, gain):
    one = record(unit_kw=unit_kw, p_kw=p_kw, sold_kw=sold_kw)
    told = gains(one, ROSTER, COSTS)
    assert told[UNIT] == pytest.approx(gain)
    assert told[FLEX] == pytest.approx(0.5 * sold_kw * 0.05)


def test_strategies_are_told_of_the_fuel_and_the_key_figures_are_not(scenario):
    """Owners of units are told of no more than the fuel, all others of their gain from trade."""
    config = scenario("strategies=[]", "step_minutes=240")
    model = CoSimulation(config, build_world(config), Silence())
    for _ in range(6):
        model.step()
    roster, costs = model.roster, model._costs
    others = np.setdiff1d(np.arange(roster.n_peers), roster.dispatchable)
    total, unit_kwh = np.zeros(roster.n_peers), 0.0
    for one in model.tables.records:
        told = np.array([o.gain_eur for o in outcomes(one, roster, costs)])
        trade = gains_from_trade(one.settled, roster)
        np.testing.assert_array_equal(told[others], trade[others])
        unit_kw = one.cleared.result.schedule.dispatchable[0]
        fuel = fuel_cost(unit_kw, costs, roster.step_hours)
        lost = (trade - told)[roster.dispatchable]
        assert (lost >= 0).all()
        assert (lost <= fuel + 1e-9).all()
        total += trade
        unit_kwh += unit_kw.sum()
    np.testing.assert_allclose(total, model.market_totals.gain_eur, atol=1e-12)
    assert unit_kwh > 0
