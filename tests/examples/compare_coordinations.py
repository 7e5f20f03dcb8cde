"""Two market designs on one scenario, run and compared from Python.

.. code-block:: bash

    python compare_coordinations.py results/compared
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from configs.loading import load
from simulation.run import run

if TYPE_CHECKING:
    from collections.abc import Sequence

COORDINATIONS = ("none", "across_networks")


def compare(folder: Path, scenario: str = "smoke", overrides: Sequence[str] = ()) -> pd.DataFrame:
    """Run a scenario under both coordinations and put the costs side by side.

    Parameters
    ----------
    folder : Path
        New folder for the runs.
    scenario : str
        Name of a shipped scenario, or a YAML file.
    overrides : sequence of str
        Settings, ``key.path=value`` each.

    Returns
    -------
    DataFrame
        Cost by component, one row each, and one column a coordination. [EUR]
    """
    columns = {}
    for coordination in COORDINATIONS:
        config = load(scenario, [*overrides, f"market.coordination={coordination}"])
        results = run(config, folder / coordination)
        costs = pd.read_parquet(results / "costs.parquet")
        columns[coordination] = costs.groupby("component", sort=False).amount_eur.sum()
    return pd.DataFrame(columns)


def main(folder: Path) -> None:
    """Print the costs, and what the trades between peers save."""
    costs = compare(folder)
    total = costs.sum()
    saved = 1 - total["across_networks"] / total["none"]
    print(costs.round(2).to_string())
    print(f"total: {total['none']:.2f} EUR without trades, {saved:.1%} less with them")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
