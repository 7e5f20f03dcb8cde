"""Scenarios go through set-points, recourse and device limits; test errors are no training ones."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.bids import Award
from market.out_of_sample import (
    Fleet,
    Outturn,
    OverlapError,
    realised_injections,
    require_disjoint,
    worst_excess,
)
from tests.market.builders import Peer, battery, make_roster, unit

# A house with a plant, one with a battery, one with a unit and flexible load.
ROSTER = make_roster(
    {"roof": Peer(pv=50.0), "cell": Peer(battery=battery()), "mill": Peer(unit=unit())}
)
DEVICES = ("dispatchable_kw", "charge_kw", "discharge_kw", "curtailed_load_kw", "deferred_load_kw")
OTHERS = ("load_kw", "renewable_kw", "held_back_kw", "q_kvar", "bought_kw", "sold_kw")
SHARES = ("storage_share", "dispatchable_share")
EXPECTED_LOAD = np.array([10.0, 20.0, 30.0])
"""Of which 8 kW are flexible at the mill."""
FLEET = Fleet(
    battery_kw=np.array([0.0, 10.0, 0.0]),
    battery_kwh=np.array([0.0, 40.0, 0.0]),
    energy_kwh=np.array([0.0, 20.0, 0.0]),
    charge_efficiency=np.ones(3),
    discharge_efficiency=np.ones(3),
    unit_kw=np.array([0.0, 0.0, 25.0]),
    flexible_kw=np.array([0.0, 0.0, 12.0]),
    curtailable_share=np.array([0.0, 0.0, 0.5]),
    backlog_kwh=np.zeros(3),
    backlog_max_kwh=np.array([0.0, 0.0, 20.0]),
)


def award(peer, **told):
    values = {name: np.zeros(1) for name in DEVICES + OTHERS + SHARES}
    values["cap_kw"] = np.full(1, np.inf)
    return Award(peer, 0, **values | {name: np.array([kw]) for name, kw in told.items()})


AWARDS = [
    award("roof", renewable_kw=30.0, held_back_kw=10.0, q_kvar=5.0),
    award("cell", discharge_kw=4.0),
    award("mill", dispatchable_kw=15.0, curtailed_load_kw=1.0, deferred_load_kw=2.0),
]
SCHEDULED = np.array([20.0, -16.0, -12.0])


def outturn(renewable=(40.0,), load=(10.0,), flexible=8.0) -> Outturn:
    """Scenarios of the roof's plant and load; everything else as expected."""
    n = max(len(renewable), len(load))
    others = np.tile([20.0, 22.0], (n, 1))
    return Outturn(
        load_kw=np.column_stack([np.broadcast_to(load, n), others]),
        load_kvar=np.tile([2.0, 3.0, 4.0], (n, 1)),
        flexible_kw=np.column_stack([np.zeros((n, 2)), np.full(n, flexible)]),
        renewable_kw=np.column_stack([np.broadcast_to(renewable, n), np.zeros((n, 2))]),
    )


def shares(error_kw, q_kvar):
    """The battery answers 60 %, the unit 30 %."""
    assert error_kw.shape == q_kvar.shape
    return -error_kw.sum(axis=-1, keepdims=True) * np.array([0.6, 0.3])


def injections(scenarios, awards=AWARDS, fleet=FLEET, recourse=shares):
    return realised_injections(
        awards,
        0,
        scenarios,
        expected_load_kw=EXPECTED_LOAD,
        recourse=recourse,
        fleet=fleet,
        roster=ROSTER,
    )


def test_no_error_gives_the_schedule():
    p_kw, q_kvar = injections(outturn())
    np.testing.assert_allclose(p_kw, [SCHEDULED])
    np.testing.assert_allclose(q_kvar, [[3.0, -3.0, -4.0]])


def test_errors_by_hand():
    # Ten more; twenty less; a load eight above its forecast.
    p_kw, _ = injections(outturn(renewable=(50.0, 20.0, 40.0), load=(10.0, 10.0, 18.0)))
    # Of the 12 kW asked for in the second, the inverter of 10 kW has 6 beyond its schedule.
    change = [[10.0, -6.0, -3.0], [-20.0, 6.0, 6.0], [-8.0, 4.8, 2.4]]
    np.testing.assert_allclose(p_kw - SCHEDULED, change)


def test_limits_of_the_devices_bind():
    empty = replace(FLEET, energy_kwh=np.array([0.0, 5.0, 0.0]))
    p_kw, _ = injections(outturn(renewable=(0.0,)), fleet=empty)
    # 30 kW are missing, not 40: ten were held back. The battery has 5 kWh, 4 of them scheduled.
    np.testing.assert_allclose(p_kw - SCHEDULED, [[-30.0, 1.0, 9.0]])
    p_kw, _ = injections(outturn(renewable=(0.0,)), recourse=lambda p, _: np.full((len(p), 2), 99))
    np.testing.assert_allclose(p_kw - SCHEDULED, [[-30.0, 6.0, 10.0]])


def test_a_cap_cuts_surplus_only():
    capped = [award("roof", renewable_kw=30.0, cap_kw=30.0, q_kvar=5.0), *AWARDS[1:]]
    p_kw, _ = injections(outturn(renewable=(50.0, 20.0)), capped)
    np.testing.assert_allclose(p_kw - SCHEDULED, [[0, 0, 0], [-10, 6, 3]])


def test_flexible_load_that_does_not_come_up_cannot_be_put_off():
    p_kw, _ = injections(outturn(flexible=1.0))
    # Half of 1 kW is dropped, the rest put off: 2 kW less than scheduled. So of 7 kW less load 5 kW
    # are a surplus that the others answer.
    np.testing.assert_allclose(p_kw, [[20.0, -16.0 - 0.6 * 5.0, 15.0 - 0.3 * 5.0 - 22.0]])


@given(seed=st.integers(0, 10**6))
def test_devices_never_leave_their_ranges(seed):
    rng = np.random.default_rng(seed)
    scenarios = outturn(renewable=rng.uniform(0, 50, 20), load=rng.uniform(0, 60, 20))
    p_kw, _ = injections(scenarios)
    battery_kw = p_kw[:, 1] + scenarios.load_kw[:, 1]
    unit_kw = p_kw[:, 2] + scenarios.load_kw[:, 2] + 5.0
    assert (np.abs(battery_kw) <= 10 + 1e-9).all()
    assert ((unit_kw >= -1e-9) & (unit_kw <= 25 + 1e-9)).all()
    alone = [
        injections(outturn((r,), (load,)))[0][0]
        for r, load in zip(scenarios.renewable_kw[:, 0], scenarios.load_kw[:, 0], strict=True)
    ]
    np.testing.assert_array_equal(p_kw, alone)


def test_the_worst_row_decides():
    value = np.array([[1.0, 0.5], [1.2, 0.9], [np.nan, np.nan]])
    np.testing.assert_allclose(worst_excess(value, np.array([1.1, 0.8])), [-0.1, 0.1, np.nan])


def test_a_test_set_that_overlaps_the_training_set_is_refused():
    require_disjoint(np.array([1, 2, 3]), np.array([4, 5]))
    with pytest.raises(OverlapError, match=r"overlaps the training set: 2 of its 3 rows.*row 2"):
        require_disjoint(np.array([1, 2, 3]), np.array([3, 2, 9]))
