"""The batch power flow: the replay's voltages, and scenarios that do not disturb each other."""

import numpy as np
import pytest

from configs.schema import Capacitor, Network
from grid.cases import build_network
from grid.network import RadialNetwork
from grid.power_flow import BatchPowerFlow
from grid.replay import AcReplay


@pytest.fixture(scope="module", params=["case85", "case69", "create_cigre_network_mv"])
def network(request: pytest.FixtureRequest) -> RadialNetwork:
    return build_network(
        Network(
            name="n",
            source="builtin" if request.param.startswith("case") else "pandapower",
            case=request.param,
            source_vm_pu=1.02,
            capacitors=(Capacitor(bus=9, kvar=200),),
        )
    )


def spread_kw(network: RadialNetwork) -> float:
    """Size of injections that every network carries."""
    return float(np.median(network.load_kw[network.load_kw > 0]))


def scenarios(network: RadialNetwork, n: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(11)
    p_kw = rng.normal(-0.3, 1.0, (n, network.n_buses - 1)) * spread_kw(network)
    return p_kw, 0.3 * p_kw + 0.1 * rng.normal(size=p_kw.shape) * spread_kw(network)


def test_same_voltages_as_the_replay(network):
    p_kw, q_kvar = scenarios(network)
    voltage = BatchPowerFlow(network).solve(p_kw, q_kvar)
    assert voltage.shape == (6, network.n_buses)
    replay = AcReplay(network)
    for k in range(len(p_kw)):
        result = replay.run(np.append(0.0, p_kw[k]), np.append(0.0, q_kvar[k]))
        np.testing.assert_allclose(np.abs(voltage[k]), result.vm_pu, rtol=0, atol=1e-8)


def test_the_source_is_stiff(network):
    p_kw, q_kvar = scenarios(network)
    voltage = BatchPowerFlow(network).solve(p_kw, q_kvar)
    np.testing.assert_allclose(voltage[:, 0], network.source_vm_pu, rtol=0, atol=1e-12)


def test_a_scenario_without_solution_leaves_the_others_alone(network):
    p_kw, q_kvar = scenarios(network)
    power_flow = BatchPowerFlow(network)
    before = power_flow.solve(p_kw, q_kvar)
    p_bad, q_bad = p_kw.copy(), q_kvar.copy()
    p_bad[2] = -1000 * network.load_kw.sum()
    with_bad = power_flow.solve(p_bad, q_bad)
    assert np.isnan(with_bad[2]).all()
    good = [0, 1, 3, 4, 5]
    np.testing.assert_array_equal(with_bad[good], before[good])
    np.testing.assert_array_equal(power_flow.solve(p_kw, q_kvar), before)


def test_all_scenarios_without_solution(network):
    p_kw = np.full((3, network.n_buses - 1), -1000 * network.load_kw.sum())
    assert np.isnan(BatchPowerFlow(network).solve(p_kw, p_kw)).all()


def test_order_does_not_matter(network):
    p_kw, q_kvar = scenarios(network)
    power_flow = BatchPowerFlow(network)
    forward = power_flow.solve(p_kw, q_kvar)
    backward = power_flow.solve(p_kw[::-1], q_kvar[::-1])
    np.testing.assert_array_equal(forward, backward[::-1])
    alone = power_flow.solve(p_kw[3:4], q_kvar[3:4])
    np.testing.assert_allclose(alone[0], forward[3], rtol=0, atol=1e-13)
