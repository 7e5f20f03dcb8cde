"""Nodal charges: a load pays, and an injection earns, what it costs the grid."""

from types import SimpleNamespace

import numpy as np
import pytest

from market.charges import grid_charges

PRICES = SimpleNamespace(
    loss=np.array([[0.0] * 3, [0.01, 0.02, 0.02]]),
    voltage=np.array([[0.0] * 3, [0.1, -0.2, 0.1]]),
    margin=np.array([[0.0] * 3, [0.03, -0.05, 0.1]]),
)
"""Of two binding steps."""
SCHEDULE = np.array([-4.0, -2.0, 6.0])
EVERYONE = np.ones(3, dtype=bool)


@pytest.mark.parametrize(
    ("component", "expected"),
    [
        ("loss", [0.02, 0.02, -0.06]),
        ("congestion", [0.2, -0.2, -0.3]),
        ("risk", [0.06, -0.05, -0.3]),
    ],
)
def test_schedules_are_charged_by_hand(component, expected):
    charges = grid_charges(PRICES, 1, SCHEDULE, EVERYONE, 0.5)
    np.testing.assert_allclose(getattr(charges, component), expected)
    np.testing.assert_array_equal(
        getattr(grid_charges(PRICES, 0, SCHEDULE, EVERYONE, 0.5), component), np.zeros(3)
    )


def test_nobody_is_charged_who_does_not_take_part():
    charges = grid_charges(PRICES, 1, SCHEDULE, np.array([True, False, True]), 0.5)
    for component in ("loss", "congestion", "risk"):
        charge = getattr(charges, component)
        assert charge[1] == 0.0
        assert charge[0] != 0.0


def test_a_rule_that_is_not_nodal_charges_losses_only():
    nodal = grid_charges(PRICES, 1, SCHEDULE, EVERYONE, 0.5)
    uniform = grid_charges(PRICES, 1, SCHEDULE, EVERYONE, 0.5, nodal=False)
    np.testing.assert_array_equal(uniform.loss, nodal.loss)
    assert not uniform.congestion.any()
    assert not uniform.risk.any()
