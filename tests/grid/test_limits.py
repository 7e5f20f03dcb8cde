"""The limit rows: their layout, their values, their tree."""

import numpy as np
import pytest

from configs.schema import Network
from grid.cases import build_network
from grid.limits import (
    OVER_CURRENT,
    OVER_VOLTAGE,
    SUBSTATION_OVERLOAD,
    UNDER_VOLTAGE,
    LimitRows,
)
from grid.network import RadialNetwork
from grid.power_flow import BatchPowerFlow
from grid.replay import AcReplay
from grid.sensitivity import ImpedanceModel, OperatingPoint


@pytest.fixture(scope="module", params=["case85", "case69", "create_cigre_network_mv"])
def network(request: pytest.FixtureRequest) -> RadialNetwork:
    source = "builtin" if request.param.startswith("case") else "pandapower"
    return build_network(Network(name="n", source=source, case=request.param, v_max_pu=1.06))


def spread_kw(network: RadialNetwork) -> float:
    """Size of injections that every network carries."""
    return float(np.median(network.load_kw[network.load_kw > 0]))


def test_one_row_for_every_limit(network):
    rows, m = LimitRows.of(network), network.n_lines
    assert rows.n_rows == 3 * m + 1
    kinds, counts = np.unique(rows.kind, return_counts=True)
    assert dict(zip(kinds.tolist(), counts.tolist(), strict=True)) == {
        OVER_CURRENT: m,
        OVER_VOLTAGE: m,
        SUBSTATION_OVERLOAD: 1,
        UNDER_VOLTAGE: m,
    }
    for kind, limit in (
        (OVER_VOLTAGE, network.v_max_pu[1:]),
        (UNDER_VOLTAGE, -network.v_min_pu[1:]),
        (OVER_CURRENT, 1.0),
        (SUBSTATION_OVERLOAD, 1.0),
    ):
        np.testing.assert_array_equal(rows.limit[rows.kind == kind], limit)
    for kind in (OVER_VOLTAGE, UNDER_VOLTAGE):
        np.testing.assert_array_equal(rows.element[rows.kind == kind], network.bus[1:])
    np.testing.assert_array_equal(rows.element[rows.kind == OVER_CURRENT], np.arange(m))
    assert rows.element[-1] == network.bus[0]


def test_values_are_those_of_the_replay(network):
    rng = np.random.default_rng(3)
    p_kw = rng.normal(-0.3, 1.0, (4, network.n_buses - 1)) * spread_kw(network)
    q_kvar = rng.normal(-0.2, 0.3, p_kw.shape) * spread_kw(network)
    voltage = BatchPowerFlow(network).solve(p_kw, q_kvar)
    point = OperatingPoint(ImpedanceModel.of(network), voltage, p_kw, q_kvar)
    values = LimitRows.of(network).value(point)
    replay = AcReplay(network)
    for k in range(len(p_kw)):
        real = replay.run(np.append(0.0, p_kw[k]), np.append(0.0, q_kvar[k]))
        apparent = np.hypot(real.p_source_kw, real.q_source_kvar) / network.substation_kva
        expected = [real.vm_pu[1:], -real.vm_pu[1:], real.loading_percent / 100, [apparent]]
        np.testing.assert_allclose(values[k], np.concatenate(expected), atol=2e-7)
        assert real.losses_kw == pytest.approx(point.loss_kw[k], abs=1e-4)


def test_parents_lead_to_the_source(network):
    """From a row the parents are the rows of the same kind on the way to the source."""
    rows = LimitRows.of(network)
    m = network.n_lines
    for row in range(rows.n_rows - 1):
        path, at = [], row
        while at >= 0:
            assert at not in path
            path.append(at)
            at = int(rows.parent[at])
        assert {str(rows.kind[r]) for r in path} == {str(rows.kind[row])}
        fed_bus = row % m + 1
        upstream = np.flatnonzero(network.downstream[:, fed_bus])
        assert sorted(r % m for r in path) == upstream.tolist()
    assert rows.parent[-1] == -1
    tops = np.flatnonzero(rows.parent < 0)
    assert (network.parent[tops[tops < 3 * m] % m] == 0).all()


def test_a_parent_never_comes_later(network):
    rows = LimitRows.of(network)
    assert (rows.parent < np.arange(rows.n_rows)).all()
