"""A scenario small enough to be run again and again: two feeders of a few buses, 4 h ahead."""

import json

import numpy as np
import pandas as pd
import pytest

from configs.loading import load
from simulation.run import run

SCENARIO = """
name: small
start: 2016-06-04
days: 1
seed: 3
networks:
  - name: west
    source: csv
    case: west_buses.csv
    lines: west_lines.csv
    source_vm_pu: 1.03
    v_max_pu: 1.04
    capacitors: [{bus: 40, kvar: 30}]
    population:
      {renewable_to_peak: 5.0, n_dispatchable: 1, flexible_owner_share: 0.5}
  - name: east
    source: csv
    case: east_buses.csv
    lines: east_lines.csv
    population: {renewable_to_peak: 0.6, n_dispatchable: 1, battery_owner_share: 1.0}
market: {horizon_hours: 4}
forecast: {sample_days: 20}
strategies: [{use: markup, share: 0.3, network: west, parameters: {markup: 0.1}}]
"""

FEEDER = """
name: feeder
start: 2016-06-04
days: 2
step_minutes: 240
seed: 3
networks:
  - name: east
    source: csv
    case: east_buses.csv
    lines: east_lines.csv
    population: {renewable_to_peak: 0.6, n_dispatchable: 1, battery_owner_share: 1.0}
market: {horizon_hours: 4, method: gaussian, risk_prices: false, max_passes: 2}
forecast: {sample_days: 20, climatology_days: 7}
strategies: [{use: bandit, share: 0.5}]
"""
"""Twelve steps of one feeder in half a second, for all that has to do with files alone."""


def write_feeder(folder, name, n_buses, ohm):
    """A feeder of 11 kV with one branch off its second bus; bus numbers are multiples of ten."""
    rng = np.random.default_rng(n_buses)
    buses = pd.DataFrame(
        {
            "bus": 10 * np.arange(n_buses),
            "load_kw": np.append(0, rng.integers(30, 70, n_buses - 1)),
            "load_kvar": np.append(0, rng.integers(5, 20, n_buses - 1)),
            "vn_kv": 11.0,
            "shunt_kw": np.append(np.zeros(n_buses - 1), 2.0),
        }
    )
    lines = pd.DataFrame(
        {
            "from_bus": 10 * np.append(np.arange(n_buses - 2), 1),
            "to_bus": 10 * np.arange(1, n_buses),
            "r_ohm": ohm,
            "x_ohm": 0.7 * ohm,
        }
    )
    buses.to_csv(folder / f"{name}_buses.csv", index=False)
    lines.to_csv(folder / f"{name}_lines.csv", index=False)


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """Folder with the scenario files and their networks."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "small.yaml").write_text(SCENARIO, encoding="utf-8")
    (folder / "feeder.yaml").write_text(FEEDER, encoding="utf-8")
    write_feeder(folder, "west", 9, 7.0)
    write_feeder(folder, "east", 7, 5.0)
    return folder


@pytest.fixture(scope="session")
def scenario(small):
    """Load the scenario with overrides."""
    return lambda *overrides: load(str(small / "small.yaml"), overrides)


class Results:
    """Tables and summary of a finished run."""

    def __init__(self, folder, config):
        self.folder = folder
        self.config = config
        self.summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))

    def __getattr__(self, table):
        if table.startswith("_"):
            raise AttributeError(table)
        return pd.read_parquet(self.folder / f"{table}.parquet")


@pytest.fixture(scope="session")
def execute(scenario, tmp_path_factory):
    """Run the scenario with overrides."""

    def go(*overrides):
        config = scenario(*overrides)
        return Results(run(config, tmp_path_factory.mktemp("results") / "run"), config)

    return go


@pytest.fixture(scope="session")
def day(execute):
    """The scenario's own run."""
    return execute()
