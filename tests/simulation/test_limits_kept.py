"""Currents, substations and bands through whole runs: kept, or loudly not."""

import numpy as np
import pandas as pd
import pytest

from simulation.run import main

BUSES = """bus,load_kw,load_kvar,vn_kv
1,0,0,11
2,80,25,11
3,60,20,11
4,50,15,11
5,40,12,11
6,70,20,11
"""
LINES = """from_bus,to_bus,r_ohm,x_ohm,max_i_ka
1,2,0.6,0.4,0.2
2,3,0.9,0.6,0.2
3,4,0.9,0.6,0.2
2,5,0.8,0.5,0.2
5,6,0.8,0.5,0.005
"""
SCENARIO = """name: feeder
start: 2016-06-04
days: 1
market: {{horizon_hours: 4}}
networks:
  - name: n
    source: csv
    case: buses.csv
    lines: lines.csv
    {network}
    population: {{n_dispatchable: 1, {population}}}
"""


@pytest.fixture
def run(tmp_path):
    """Run a day of the feeder; the exit code and the tables."""

    def _run(network="rating_margin: 1.5", population="wind_fraction: 0", *overrides):
        for name, text in (("buses.csv", BUSES), ("lines.csv", LINES)):
            (tmp_path / name).write_text(text)
        config, folder = tmp_path / "feeder.yaml", tmp_path / "run"
        config.write_text(SCENARIO.format(network=network, population=population))
        words = ["--config", str(config), "--output", str(folder), "--quiet"]
        code = main([*words, *(f"--set={word}" for word in overrides)])
        return code, {
            name: pd.read_parquet(folder / f"{name}.parquet")
            for name in ("clearing", "dispatch", "substation", "line_loading", "bids")
        }

    return _run


@pytest.mark.parametrize("power_factor", [0.9, 0.995])
@pytest.mark.parametrize("pv_to_peak", [3, 20])
def test_what_flows_back_stays_within_the_substation(run, power_factor, pv_to_peak):
    code, tables = run(
        "substation_kva: 60",
        f"wind_fraction: 0, renewable_to_peak: {pv_to_peak}, power_factor: {power_factor}",
        "market.risk_prices=false",
    )
    assert code == 0
    clearing, substation = tables["clearing"], tables["substation"]
    assert (clearing.promise == "kept").all()
    assert (clearing.slack_pu < 1e-6).all()
    assert clearing.binding.sum() >= 2
    # More would flow back at noon, were it not curtailed.
    assert -substation.p_scheduled_kw.min() == pytest.approx(60, rel=0.35)
    apparent = np.hypot(substation.p_kw, substation.q_kvar)
    assert (apparent > 60 * (1 + 1e-6)).mean() <= 0.1
    assert apparent.max() < 75


def test_a_line_keeps_its_rating_when_power_flows_back(run):
    code, tables = run(
        "substation_kva: 2000", "wind_fraction: 0, renewable_to_peak: 8, renewable_owner_share: 1"
    )
    assert code == 0
    assert (tables["clearing"].promise == "kept").all()
    loading = tables["line_loading"].set_index(["step", "line"]).loading_percent
    # The last line is the weak one; without the market it would carry several times its rating.
    assert loading.max() > 80
    assert (loading.groupby("step").max() > 100.0001).mean() <= 0.1


def test_a_band_that_nothing_keeps_ends_loudly(run, capsys):
    code, tables = run("v_min_pu: 0.99999\n    v_max_pu: 1.00001")
    assert code == 3
    clearing = tables["clearing"]
    assert clearing.binding[clearing.promise != "kept"].all()
    assert (clearing.slack_pu[clearing.promise != "kept"] > 0).all()
    share = (clearing.promise != "kept").mean()
    assert f"UNCERTIFIED: {(clearing.promise != 'kept').sum()} network-steps ({share:.1%}" in (
        capsys.readouterr().err
    )


def test_a_load_beyond_the_substation_is_served_and_told_not_refused(run):
    code, tables = run("substation_kva: 20", "renewable_to_peak: 0, dispatchable_to_peak: 0.01")
    assert tables["bids"].accepted.all()
    assert code == 3
    assert (tables["clearing"].promise == "no_room").any()
