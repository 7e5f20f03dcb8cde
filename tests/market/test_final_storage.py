"""Batteries that end a run where they began."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.final_storage import USABLE, ending_as_at_start
from tests.market.builders import (
    Peer,
    battery,
    make_book,
    make_first_stage,
    make_roster,
    make_tariff,
    no_losses,
    no_uncertainty,
    settings,
)

TARIFF = make_tariff(3)


def bound(cell, end, start_kwh):
    """The book of three half hours with the energy at one end bounded."""
    peers = {"cell": Peer(load=3.0, battery=cell)}
    roster = make_roster(peers, 3, 0.5)
    book = make_book(peers, TARIFF, roster)
    return ending_as_at_start(book, roster, end, np.array([start_kwh]))


@pytest.mark.parametrize(
    ("energy", "end", "floor", "ceiling"),
    [
        (5.0, 1, 5.0, 5.0),
        (4.0, 1, 5.0, 5.0),
        (1.0, 1, 1.0 + USABLE * 4 * 0.8, 5.0),
        (9.9, 0, 5.0, 9.9 - USABLE * 4 * 0.5 / 0.5),
        (9.9, 2, 5.0, 5.0),
    ],
)
def test_the_end_is_bound_as_far_as_the_power_reaches(energy, end, floor, ceiling):
    """4 kW, efficiencies of 0.8 and 0.5: an hour stores 3.2 kWh, half an hour takes out 4 kWh."""
    cell = battery(energy_kwh=energy, charge_efficiency=0.8, discharge_efficiency=0.5)
    book = bound(cell, end, 5.0)
    free = [k for k in range(3) if k != end]
    assert book.energy_floor_kwh[end, 0] == pytest.approx(floor)
    assert book.energy_ceiling_kwh[end, 0] == pytest.approx(ceiling)
    assert (book.energy_floor_kwh[free] == 0).all()
    assert (book.energy_ceiling_kwh[free] == 10).all()


def test_a_window_that_does_not_reach_the_end_is_left_alone():
    book = bound(battery(), 3, 7.0)
    assert (book.energy_floor_kwh == 0).all()
    assert (book.energy_ceiling_kwh == 10).all()


@given(st.floats(0, 10), st.floats(0, 10), st.integers(0, 2))
def test_the_range_is_never_empty(energy, start, end):
    book = bound(battery(energy_kwh=energy), end, start)
    assert (book.energy_floor_kwh <= book.energy_ceiling_kwh).all()
    assert (book.energy_floor_kwh >= 0).all()
    assert (book.energy_ceiling_kwh <= 10).all()


def energy_left(final_storage, energy):
    """What a battery is scheduled to hold at the end, where it is worth nothing."""
    cell = battery(energy_kwh=energy, wear_eur_per_kwh=0.01)
    stage, roster, _ = make_first_stage(
        {"cell": Peer(load=3.0, battery=cell)},
        TARIFF,
        market=settings(final_storage=final_storage),
        hours=0.5,
    )
    book = bound(cell, 2, 5.0)
    stage.assign(book, TARIFF, no_uncertainty(roster, stage.policy), no_losses(roster))
    return stage.solve([]).values["energy"][-1, 0]


def test_what_is_left_is_used_unless_the_run_has_to_end_as_it_began():
    """Fed in it earns 0.09 EUR/kWh after wear; 4 kW take at most 6 kWh out."""
    assert energy_left("valued", 5.0) == pytest.approx(0.0, abs=1e-3)
    for energy in (5.0, 2.0, 8.0):
        assert energy_left("as_at_start", energy) == pytest.approx(5.0, abs=1e-3)
    assert energy_left("as_at_start", 0.0) == pytest.approx(5.0, abs=1e-3)
