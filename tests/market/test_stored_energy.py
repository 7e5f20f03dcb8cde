"""The value of a kWh in a battery."""

import numpy as np
import pytest

from market.stored_energy import stored_energy_value, stored_energy_values

SPOT, RETAIL, FEED_IN = np.array([0.02, 0.04]), np.array([0.3, 0.2]), np.array([0.1, 0.12])


def test_the_value_lies_midway_between_the_suppliers_prices_behind_the_inverter():
    assert stored_energy_value(RETAIL, FEED_IN, 0.9) == pytest.approx(0.9 * 0.18)


def test_other_values():
    values = stored_energy_values(SPOT, RETAIL, FEED_IN, 0.5)
    expected = {"nothing": 0, "spot": 0.015, "feed_in": 0.055, "mid": 0.09, "retail": 0.125}
    assert values == pytest.approx(expected)
    assert values["mid"] == stored_energy_value(RETAIL, FEED_IN, 0.5)
