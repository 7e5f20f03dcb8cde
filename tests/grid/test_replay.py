"""The AC replay: another engine's voltages, closed balances, and what cannot be solved."""

from dataclasses import replace

import numpy as np
import pytest
from pandapower.pf import create_jacobian_numba, makeYbus_numba

from configs.schema import Capacitor, Network
from grid.cases import build_network
from grid.network import RadialNetwork
from grid.power_flow import BatchPowerFlow
from grid.replay import AcReplay, PowerFlowError


@pytest.fixture(scope="module", params=["case69", "case85", "create_cigre_network_mv"])
def network(request: pytest.FixtureRequest) -> RadialNetwork:
    """Networks with capacitors; the last one has transformers and charging at the source."""
    builtin = request.param.startswith("case")
    return build_network(
        Network(
            name=request.param,
            source="builtin" if builtin else "pandapower",
            case=request.param,
            source_vm_pu=1.03,
            capacitors=(Capacitor(bus=10, kvar=150), Capacitor(bus=1, kvar=40)),
        )
    )


def injections(network: RadialNetwork, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw injections of both signs, the source bus included."""
    rng = np.random.default_rng(seed)
    peak = network.load_kw.mean()
    p_kw = rng.normal(-0.2, 0.6, network.n_buses) * peak
    return p_kw, 0.4 * p_kw + rng.normal(0, 0.05, network.n_buses) * peak


def test_agrees_with_another_engine(network):
    replay = AcReplay(network)
    batch = BatchPowerFlow(network)
    for seed in range(5):
        p_kw, q_kvar = injections(network, seed)
        result = replay.run(p_kw, q_kvar)
        other = batch.solve(p_kw[None, 1:], q_kvar[None, 1:])[0]
        np.testing.assert_allclose(result.vm_pu, np.abs(other), atol=1e-8)
        i_pu = np.abs((other[network.parent] - other[1:]) / network.z_pu)
        np.testing.assert_allclose(
            result.loading_percent, 100 * i_pu / network.max_i_pu, rtol=1e-5, atol=1e-4
        )


def test_compiled_functions_are_kept_on_disk(network):
    AcReplay(network)
    assert create_jacobian_numba.create_J2.stats.cache_path
    assert makeYbus_numba.gen_Ybus.stats.cache_path


def test_balances_close(network):
    p_kw, q_kvar = injections(network, 7)
    result = AcReplay(network).run(p_kw, q_kvar)
    in_lines = 3 * (result.i_ka**2 @ network.r_ohm) * 1e3
    in_shunts = result.vm_pu**2 @ network.shunt_kw
    assert result.losses_kw == pytest.approx(in_lines + in_shunts, abs=1e-6)
    consumed_kvar = 3 * (result.i_ka**2 @ network.x_ohm) * 1e3
    injected_kvar = result.vm_pu**2 @ network.shunt_kvar
    assert result.q_source_kvar + q_kvar.sum() == pytest.approx(
        consumed_kvar - injected_kvar, abs=1e-6
    )
    assert result.p_source_kw + p_kw.sum() == pytest.approx(result.losses_kw, abs=1e-9)


def test_runs_do_not_depend_on_earlier_runs(network):
    p_kw, q_kvar = injections(network, 1)
    replay = AcReplay(network)
    first = replay.run(p_kw, q_kvar)
    with pytest.raises(PowerFlowError):
        replay.run(-1000 * np.abs(p_kw), q_kvar)
    replay.run(*injections(network, 2))
    again = replay.run(p_kw, q_kvar)
    np.testing.assert_array_equal(first.vm_pu, again.vm_pu)
    assert first.losses_kw == again.losses_kw


def test_no_injection_leaves_the_source_voltage():
    network = build_network(Network(name="n", case="case85"))
    zero = np.zeros(network.n_buses)
    result = AcReplay(network).run(zero, zero)
    np.testing.assert_allclose(result.vm_pu, 1.0, atol=1e-12)
    np.testing.assert_allclose(result.i_ka, 0.0, atol=1e-9)
    assert result.losses_kw == pytest.approx(0.0, abs=1e-9)


def test_overload_has_no_solution():
    network = build_network(Network(name="west", case="case85"))
    with pytest.raises(PowerFlowError, match=r"west.*does not converge.*-25143 kW"):
        AcReplay(network).run(-10 * network.load_kw, -10 * network.load_kvar)


def test_network_without_solution_is_named():
    network = build_network(Network(name="west", case="case85"))
    broken = replace(network, shunt_kvar=np.full(network.n_buses, np.nan))
    with pytest.raises(PowerFlowError, match=r"west.*without injections"):
        AcReplay(broken)


def test_injections_are_checked():
    network = build_network(Network(name="west", case="case69"))
    p_kw = -network.load_kw
    p_kw[network.position[7]] = np.nan
    replay = AcReplay(network)
    with pytest.raises(PowerFlowError, match="injection at bus 7 is not a finite number"):
        replay.run(p_kw, -network.load_kvar)
    with pytest.raises(ValueError, match="shape"):
        replay.run(p_kw[1:], -network.load_kvar[1:])
