"""Devices follow what is asked as far as they can, and no further."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.devices import Battery, DispatchableUnit, FlexibleLoad

HOURS = st.sampled_from([0.25, 0.5, 1.0])
POWER = st.floats(0.1, 500.0)
ASKED = st.lists(st.floats(-2000.0, 2000.0), min_size=1, max_size=30)
EFFICIENCY = st.floats(0.7, 1.0)
SHARE = st.floats(0.0, 1.0)


def battery(power=10.0, capacity=25.0, energy=12.5, charge=0.95, discharge=0.9) -> Battery:
    return Battery(power, capacity, charge, discharge, 0.02, energy)


@given(
    power=POWER,
    capacity=st.floats(0.1, 2000.0),
    start=SHARE,
    charge=EFFICIENCY,
    discharge=EFFICIENCY,
    asked=ASKED,
    hours=HOURS,
)
def test_battery_keeps_its_limits_and_its_energy(
    *, power, capacity, start, charge, discharge, asked, hours
):
    device = battery(power, capacity, start * capacity, charge, discharge)
    for net_kw in asked:
        before = device.energy_kwh
        charged, discharged = device.follow(net_kw, hours)
        assert 0 <= charged <= power
        assert 0 <= discharged <= power
        assert charged == 0 or discharged == 0
        assert 0 <= device.energy_kwh <= capacity
        change = charged * charge - discharged / discharge
        assert device.energy_kwh - before == pytest.approx(hours * change, abs=1e-9)
        # Never more than asked, and never the other way.
        assert charged <= max(-net_kw, 0.0)
        assert discharged <= max(net_kw, 0.0)


@given(asked=st.floats(-10.0, 10.0), hours=HOURS)
def test_battery_delivers_what_it_can(asked, hours):
    charged, discharged = battery(capacity=250, energy=125).follow(asked, hours)
    assert discharged - charged == asked


def test_full_and_empty_batteries():
    assert battery(energy=25.0).follow(-10.0, 1.0) == (0.0, 0.0)
    assert battery(energy=0.0).follow(10.0, 1.0) == (0.0, 0.0)
    nearly_full = battery(energy=25.0 - 0.95)
    assert nearly_full.follow(-10.0, 1.0)[0] == pytest.approx(1.0)
    assert nearly_full.energy_kwh == pytest.approx(25.0)
    nearly_empty = battery(energy=1.0)
    assert nearly_empty.follow(10.0, 0.25)[1] == pytest.approx(4 * 0.9)
    assert nearly_empty.energy_kwh == pytest.approx(0.0, abs=1e-12)


def flexible(power=10.0, share=0.3, largest=30.0, backlog=0.0) -> FlexibleLoad:
    return FlexibleLoad(power, share, 0.6, 0.004, largest, backlog)


@given(
    share=SHARE,
    start=SHARE,
    plan=st.lists(
        st.tuples(st.floats(-5.0, 30.0), st.floats(-200.0, 200.0), st.floats(0.0, 10.0)),
        min_size=1,
        max_size=30,
    ),
    hours=HOURS,
)
def test_flexible_load_keeps_its_limits(share, start, plan, hours):
    device = flexible(share=share, backlog=30.0 * start)
    for curtail, defer, baseline in plan:
        before = device.backlog_kwh
        curtailed, deferred = device.follow(curtail, defer, baseline, hours)
        assert 0 <= curtailed <= share * baseline
        assert -1e-9 <= baseline - curtailed - deferred <= device.power_kw + 1e-9
        assert 0 <= device.backlog_kwh <= device.backlog_max_kwh
        assert device.backlog_kwh - before == pytest.approx(hours * deferred, abs=1e-9)
        # Never further than scheduled, except that a missing load cannot be put off.
        assert curtailed <= max(curtail, 0.0)
        assert min(defer, 0.0) - 1e-12 <= deferred <= max(defer, 0.0)


def test_flexible_load_follows_a_schedule_within_its_limits():
    device = flexible(backlog=5.0)
    assert device.follow(2.0, 3.0, 8.0, 1.0) == (2.0, 3.0)
    assert device.backlog_kwh == 8.0
    assert device.follow(0.0, -6.0, 2.0, 1.0) == (0.0, -6.0)
    assert device.backlog_kwh == 2.0


def test_waiting_energy_cannot_be_made_up_for_beyond_the_rating():
    device = flexible(backlog=20.0)
    assert device.follow(0.0, -8.0, 9.0, 1.0) == (0.0, -1.0)
    assert device.backlog_kwh == 19.0


def test_nothing_waits_beyond_the_backlog():
    device = flexible(backlog=29.0)
    assert device.follow(0.0, 8.0, 9.0, 0.5) == (0.0, 2.0)
    assert device.backlog_kwh == 30.0


@given(asked=st.floats(-1e6, 1e6))
def test_dispatchable_unit_keeps_its_rating(asked):
    delivered = DispatchableUnit(80.0, 0.2, 1e-4).follow(asked)
    assert 0 <= delivered <= 80
    if 0 <= asked <= 80:
        assert delivered == asked
