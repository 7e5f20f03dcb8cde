"""Picks a row of a table by its largest or its smallest value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


def largest(table: pd.DataFrame, column: str) -> Any:
    """Row with the largest value of a column, NaN left aside."""
    return table.iloc[int(np.nanargmax(table[column].to_numpy(float)))]


def smallest(table: pd.DataFrame, column: str) -> Any:
    """Row with the smallest value of a column, NaN left aside."""
    return table.iloc[int(np.nanargmin(table[column].to_numpy(float)))]
