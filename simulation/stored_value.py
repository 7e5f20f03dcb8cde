"""What a saving is worth at other values of stored energy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Mapping

VALUES = ("nothing", "spot", "feed_in", "mid", "retail")
"""What a kWh in a battery may be worth, see `market.stored_energy`; ``mid`` is what counts."""
STORED_VALUE = "stored_energy_value_eur_per_kwh"
"""Key of the values in ``summary.json``."""
COSTS = {"tariff_eur": "total_operational_cost_eur", "resources_eur": "resource_cost_eur"}
"""Costs that are compared: column, and key in ``summary.json``."""
ADJUSTED = {
    "adjusted_cost_eur": "adjusted cost at tariff",
    "adjusted_resource_cost_eur": "adjusted resource cost",
}
"""Costs of an experiment with the stored energy credited, and how they are called."""


def differences_by_value(a: Mapping[str, float], b: Mapping[str, float]) -> pd.DataFrame:
    r"""Difference of both costs, B less A, at every value of stored energy.

    .. math:: (C^b - v^b \Delta e^b) - (C^a - v^a \Delta e^a) ,

    with the cost C of a run, what its batteries hold more at the end than at the start, and the
    value v at the mean prices of the run.

    Parameters
    ----------
    a, b : mapping of str to float
        Numbers of the summaries by dotted path.

    Returns
    -------
    DataFrame
        ``stored_energy_at``, the values ``a_eur_per_kwh`` and ``b_eur_per_kwh``, and the
        differences ``tariff_eur`` and ``resources_eur``; NaN where a run does not tell.
    """
    rows = []
    for name in VALUES:
        value_a, value_b = (run.get(f"{STORED_VALUE}.{name}", math.nan) for run in (a, b))
        row = {"stored_energy_at": name, "a_eur_per_kwh": value_a, "b_eur_per_kwh": value_b}
        for column, key in COSTS.items():
            row[column] = _adjusted(b, key, value_b) - _adjusted(a, key, value_a)
        rows.append(row)
    return pd.DataFrame(rows)


def _adjusted(run: Mapping[str, float], key: str, value: float) -> float:
    """Cost of a run less the value of what its batteries hold more at the end. [EUR]"""
    return run.get(key, math.nan) - value * run.get("stored_energy_change_kwh", math.nan)
