"""Devices deliver what is asked as far as they can, one by one or all at once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from market.devices import battery_output, flexible_output, renewable_output, unit_output

KW = st.floats(-100.0, 100.0)


def test_set_points_of_renewable_plants():
    available = np.array([50.0, 8.0, 0.0])
    np.testing.assert_array_equal(renewable_output(available, 0.0, np.inf), available)
    np.testing.assert_array_equal(renewable_output(available, 10.0, np.inf), [40, 0, 0])
    np.testing.assert_array_equal(renewable_output(available, 0.0, 30.0), [30, 8, 0])
    np.testing.assert_array_equal(renewable_output(available, 10.0, 30.0), [30, 0, 0])
    # Holding back less than nothing creates no power.
    np.testing.assert_array_equal(renewable_output(available, -5.0, np.inf), available)


@given(available=st.floats(0, 100), error=KW, held_back=st.floats(0, 50), cap=st.floats(0, 100))
def test_offsets_pass_the_error_on_and_caps_cut_it(available, error, held_back, cap):
    before, after = max(available, 0.0), max(available + error, 0.0)
    free = renewable_output(after, held_back, np.inf) - renewable_output(before, held_back, np.inf)
    assert abs(free) <= abs(after - before) + 1e-12
    assert renewable_output(after, 0.0, cap) == min(after, cap)


def battery(net_kw, *, energy=5.0, hours=1.0, power=8.0, capacity=10.0):
    return battery_output(
        net_kw,
        hours,
        power_kw=power,
        capacity_kwh=capacity,
        energy_kwh=energy,
        charge_efficiency=0.8,
        discharge_efficiency=0.5,
    )


@pytest.mark.parametrize(
    ("net", "energy", "hours", "expected"),
    [
        (2.0, 5.0, 1.0, (0.0, 2.0, 1.0)),  # 2 kWh delivered cost 4 stored
        (9.0, 5.0, 1.0, (0.0, 2.5, 0.0)),  # empty
        (9.0, 10.0, 0.25, (0.0, 8.0, 6.0)),  # rating
        (-5.0, 5.0, 1.0, (5.0, 0.0, 9.0)),
        (-9.0, 6.0, 1.0, (5.0, 0.0, 10.0)),  # full
        (-9.0, 0.0, 0.5, (8.0, 0.0, 3.2)),  # rating
        (0.0, 5.0, 1.0, (0.0, 0.0, 5.0)),
    ],
)
def test_battery_by_hand(net, energy, hours, expected):
    assert battery(net, energy=energy, hours=hours) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("curtail", "defer", "baseline", "backlog", "expected"),
    [
        (2.0, 3.0, 8.0, 0.0, (2.0, 3.0, 3.0)),
        (9.0, 0.0, 8.0, 0.0, (4.0, 0.0, 0.0)),  # at most half may be dropped
        (0.0, 9.0, 8.0, 0.0, (0.0, 6.0, 6.0)),  # the backlog is full
        (0.0, 9.0, 3.0, 0.0, (0.0, 3.0, 3.0)),  # there is no more load
        (0.0, -9.0, 8.0, 6.0, (0.0, -2.0, 4.0)),  # the connection is full
        (0.0, -9.0, 1.0, 3.0, (0.0, -3.0, 0.0)),  # nothing waits any more
    ],
)
def test_flexible_load_by_hand(curtail, defer, baseline, backlog, expected):
    done = flexible_output(
        curtail,
        defer,
        baseline,
        1.0,
        power_kw=10.0,
        curtailable_share=0.5,
        backlog_kwh=backlog,
        backlog_max_kwh=6.0,
    )
    assert done == pytest.approx(expected)


def test_units_stay_within_their_rating():
    np.testing.assert_array_equal(unit_output(np.array([-3.0, 7.0, 99.0]), 20.0), [0, 7, 20])


@given(asked=arrays(float, (4, 3), elements=KW), energy=arrays(float, 3, elements=st.floats(0, 10)))
def test_scenarios_are_no_different_from_single_devices(asked, energy):
    together = battery(asked, energy=energy)
    for scenario, net in enumerate(asked):
        for device in range(3):
            alone = battery(net[device], energy=energy[device])
            assert tuple(part[scenario, device] for part in together) == alone


def test_who_has_no_device_delivers_nothing():
    none = battery(np.array([5.0, -5.0]), energy=0.0, power=0.0, capacity=0.0)
    np.testing.assert_array_equal(none, np.zeros((3, 2)))
