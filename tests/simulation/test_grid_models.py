"""Runs with each grid model: what their tables say of the grid."""

import numpy as np
import pytest

from market.branch_flow import EXACT


@pytest.fixture(scope="module")
def lindistflow(execute):
    return execute("market.grid_model=lindistflow")


@pytest.fixture(scope="module")
def socp(execute):
    return execute("market.grid_model=socp")


def lossless_voltages(results, network, step):
    """LinDistFlow at the schedule, walked from the source through the tables. [p.u.]"""
    buses = results.buses.query("network == @network").set_index("bus")
    lines = results.lines.query("network == @network")
    rows = results.dispatch.query("network == @network and step == @step")
    at = rows.peer_id.map(results.peers.set_index("peer_id").bus)
    power = rows.p_scheduled_kw + 1j * rows.q_scheduled_kvar
    net = power.groupby(at).sum().reindex(buses.index, fill_value=0)
    net = net - buses.shunt_kw + 1j * buses.shunt_kvar
    (source,) = buses.index[buses.is_source]
    z = (lines.r_ohm + 1j * lines.x_ohm).to_numpy() / (1000 * 11.0**2)  # per kVA
    drawn = -net
    for line in lines[::-1].itertuples():
        drawn[line.from_bus] += drawn[line.to_bus]
    v = {source: buses.source_vm_pu[source] ** 2}
    for line, ohm in zip(lines.itertuples(), z, strict=True):
        v[line.to_bus] = v[line.from_bus] - 2 * (np.conj(ohm) * drawn[line.to_bus]).real
    return {bus: np.sqrt(value) for bus, value in v.items() if bus != source}


def test_lindistflow_schedules_its_own_voltages(lindistflow):
    for network in ("west", "east"):
        for step in (0, 12):
            found = lindistflow.bus_voltage.query("network == @network and step == @step")
            expected = lossless_voltages(lindistflow, network, step)
            np.testing.assert_allclose(
                found.vm_scheduled_pu, found.bus.map(expected), rtol=0, atol=1e-9
            )


def test_only_the_relaxation_has_gaps(lindistflow, day):
    for results in (lindistflow, day):
        assert results.clearing.relaxation_gap_pu.isna().all()
        assert results.clearing.kept_relaxation_gap_pu.isna().all()
        assert results.clearing.relaxation_exact.isna().all()


def test_the_relaxation_reports_where_it_is_exact(socp):
    clearing = socp.clearing
    assert (clearing.fallback == "").all()
    exact = clearing.relaxation_exact.astype(bool)
    np.testing.assert_array_equal(exact, clearing.relaxation_gap_pu <= EXACT)
    # The windy feeder runs into its upper limit, the other never does.
    assert exact[clearing.network == "east"].all()
    assert not exact[clearing.network == "west"].all()
    assert (clearing.kept_relaxation_gap_pu <= EXACT).all()


def test_schedules_of_the_relaxation_are_certified_in_ac(socp, day):
    assert socp.summary["uncertified_clearings"] == day.summary["uncertified_clearings"] == 0
    cost = [results.summary["total_operational_cost_eur"] for results in (socp, day)]
    assert cost[0] == pytest.approx(cost[1], rel=0.02)
