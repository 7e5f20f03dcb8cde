"""Networks as configured: known answers of the literature, modifications, ratings."""

from pathlib import Path

import numpy as np
import pandapower as pp
import pandas as pd
import pytest

import grid.cases
from configs.schema import Capacitor, Network
from grid.cases import build_network
from grid.network import NetworkError, RadialNetwork

DATA = Path(grid.cases.__file__).with_name("data")


def power_flow(case: str, capacitors: dict[int, float] | None = None) -> pp.pandapowerNet:
    """Solve a builtin case from its files, without any code under test."""
    buses = pd.read_csv(DATA / f"{case}_buses.csv")
    lines = pd.read_csv(DATA / f"{case}_lines.csv")
    net = pp.create_empty_network()
    pp.create_buses(net, len(buses), buses.vn_kv[0], index=buses.bus)
    pp.create_loads(net, buses.bus, p_mw=buses.load_kw / 1e3, q_mvar=buses.load_kvar / 1e3)
    pp.create_lines_from_parameters(
        net, lines.from_bus, lines.to_bus, 1.0, lines.r_ohm, lines.x_ohm, 0.0, 1.0
    )
    for bus, kvar in (capacitors or {}).items():
        pp.create_shunt(net, bus, q_mvar=-kvar / 1e3)
    pp.create_ext_grid(net, 1, vm_pu=1.0)
    pp.runpp(net)
    return net


@pytest.mark.parametrize(
    ("case", "load_kva", "losses_kw", "lowest_pu", "lowest_bus"),
    [
        ("case69", 3802.1 + 2694.7j, 224.99, 0.90919, 65),
        ("case85", 2514.28 + 2565.0783j, 299.31, 0.87389, 54),
    ],
)
def test_known_answers(case, load_kva, losses_kw, lowest_pu, lowest_bus):
    network = build_network(Network(name="n", case=case))
    assert network.load_kw.sum() == pytest.approx(load_kva.real)
    assert network.load_kvar.sum() == pytest.approx(load_kva.imag)
    assert network.source_vm_pu == 1.0
    solved = power_flow(case)
    assert solved.res_line.pl_mw.sum() * 1e3 == pytest.approx(losses_kw, abs=0.005)
    assert solved.res_bus.vm_pu.min() == pytest.approx(lowest_pu, abs=5e-6)
    assert solved.res_bus.vm_pu.idxmin() == lowest_bus
    replayed = grid.cases.AcReplay(network).run(-network.load_kw, -network.load_kvar)
    np.testing.assert_allclose(replayed.vm_pu, solved.res_bus.vm_pu.loc[network.bus], atol=1e-8)
    assert replayed.losses_kw == pytest.approx(losses_kw, abs=0.005)


def test_builtin_buses_keep_their_order():
    for case, n_buses in (("case69", 69), ("case85", 85)):
        network = build_network(Network(name="n", case=case))
        np.testing.assert_array_equal(network.bus, np.arange(1, n_buses + 1))


def test_modifications_do_not_touch_the_ratings():
    plain = build_network(Network(name="n", case="case85"))
    settings = Network(
        name="n",
        case="case85",
        load_scale=0.6,
        source_vm_pu=1.03,
        capacitors=(Capacitor(bus=54, kvar=150), Capacitor(bus=54, kvar=50)),
    )
    network = build_network(settings)
    np.testing.assert_allclose(network.load_kw, 0.6 * plain.load_kw)
    np.testing.assert_allclose(network.load_kvar, 0.6 * plain.load_kvar)
    assert network.source_vm_pu == 1.03
    assert network.shunt_kvar[network.position[54]] == 200
    assert network.shunt_kvar.sum() == 200
    np.testing.assert_array_equal(network.max_i_ka, plain.max_i_ka)
    assert network.substation_kva == plain.substation_kva


def test_rating_rule():
    settings = Network(name="n", case="case69", rating_margin=2.0, min_rating_a=80.0)
    network = build_network(settings)
    solved = power_flow("case69")
    expected = np.maximum(2.0 * solved.res_line.i_ka.to_numpy(), 0.08)
    fed_by = {bus: k for k, bus in enumerate(solved.line.to_bus)}
    order = [fed_by[bus] for bus in network.bus[1:]]
    np.testing.assert_allclose(network.max_i_ka, expected[order], rtol=1e-7)
    upstream = solved.res_ext_grid.iloc[0] * 1e3
    assert network.substation_kva == pytest.approx(2 * np.hypot(upstream.p_mw, upstream.q_mvar))
    given = build_network(settings.model_copy(update={"substation_kva": 5000.0}))
    assert given.substation_kva == 5000.0


def test_capacitor_is_a_constant_susceptance():
    settings = Network(name="n", case="case69", capacitors=(Capacitor(bus=61, kvar=900),))
    network = build_network(settings)
    solved = power_flow("case69", {61: 900})
    replayed = grid.cases.AcReplay(network).run(-network.load_kw, -network.load_kvar)
    np.testing.assert_allclose(replayed.vm_pu, solved.res_bus.vm_pu.loc[network.bus], atol=1e-8)


def test_limits_are_those_of_the_settings():
    network = build_network(Network(name="n", case="case69", v_min_pu=0.9, v_max_pu=1.1))
    np.testing.assert_array_equal(network.v_min_pu, 0.9)
    np.testing.assert_array_equal(network.v_max_pu, 1.1)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"case": "case58"}, "no builtin case 'case58'.*case85"),
        ({"capacitors": (Capacitor(bus=99, kvar=150),)}, "150 kvar at unknown bus 99"),
        ({"source_vm_pu": 1.08}, "held at 1.08 p.u., outside its limits 0.95 to 1.05"),
    ],
)
def test_bad_settings_are_named(changes, told):
    settings = Network(name="west", case="case69").model_copy(update=changes)
    with pytest.raises(NetworkError, match=f"west.*{told}"):
        build_network(settings)


def write_two_buses(folder: Path, load_kw: float) -> Network:
    """Write a network of two buses, without a line rating."""
    (folder / "b.csv").write_text(f"bus,load_kw,load_kvar,vn_kv\n1,0,0,0.4\n2,{load_kw},0,0.4\n")
    (folder / "l.csv").write_text("from_bus,to_bus,r_ohm,x_ohm\n1,2,0.1,0.1\n")
    return Network(
        name="two", source="csv", case=str(folder / "b.csv"), lines=str(folder / "l.csv")
    )


def test_impossible_peak_load_is_named(tmp_path):
    with pytest.raises(NetworkError, match=r"two.*does not converge.*nominal peak load"):
        build_network(write_two_buses(tmp_path, 5000))


def test_no_load_needs_a_substation_rating(tmp_path):
    settings = write_two_buses(tmp_path, 0)
    with pytest.raises(NetworkError, match=r"two has no load.*set substation_kva"):
        build_network(settings)
    network = build_network(settings.model_copy(update={"substation_kva": 100.0}))
    assert isinstance(network, RadialNetwork)
    assert network.max_i_ka == pytest.approx([0.05])
