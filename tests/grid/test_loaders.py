"""Networks from every source: the physics of the original, or one clear refusal."""

import importlib
import json
import random
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandapower as pp
import pandapower.networks
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.schema import Capacitor, Network
from grid.cases import build_network
from grid.loaders import load
from grid.loaders_data import NetworkData
from grid.loaders_pandapower import from_pandapower
from grid.loaders_radial import order
from grid.network import NetworkError, RadialNetwork
from grid.replay import AcReplay

WIDE = {"v_min_pu": 0.5, "v_max_pu": 1.5}


def volts(network: RadialNetwork) -> dict[int, float]:
    """Voltage of every bus at nominal load. [kV]"""
    result = AcReplay(network).run(-network.load_kw, -network.load_kvar)
    return dict(zip(network.bus.tolist(), (result.vm_pu * network.vn_kv).tolist(), strict=True))


def csv_network(folder: Path, buses: str, lines: str) -> Network:
    """Write the two files of a network."""
    (folder / "buses.csv").write_text(buses)
    (folder / "lines.csv").write_text(lines)
    return Network(
        name="west",
        source="csv",
        case=str(folder / "buses.csv"),
        lines=str(folder / "lines.csv"),
        substation_kva=1000,
    )


# --- CSV ------------------------------------------------------------------------------------

BUSES = "bus,load_kw,load_kvar,vn_kv\n7,0,0,0.4\n3,10,2,0.4\n5,0,0,0.4\n"
LINES = "from_bus,to_bus,r_ohm,x_ohm\n7,5,0.01,0.02\n5,3,0.03,0.04\n"


def test_csv_is_put_in_order(tmp_path):
    network = build_network(csv_network(tmp_path, BUSES, LINES))
    assert network.bus.tolist() == [7, 5, 3]
    assert network.parent.tolist() == [0, 1]
    assert network.load_kw.tolist() == [0, 0, 10]
    assert network.r_ohm.tolist() == [0.01, 0.03]
    assert network.source_vm_pu == 1.0


def test_csv_options(tmp_path):
    settings = csv_network(
        tmp_path,
        "bus,load_kw,load_kvar,vn_kv,shunt_kvar,v_min_pu,v_max_pu,is_source,source_vm_pu\n"
        "1,10,2,0.4,,0.9,,False,\n2,0,0,0.4,5,,1.1,True,1.02\n",
        "from_bus, to_bus, r_ohm, x_ohm, max_i_ka\n1,2,0.01,0.02,0.3\n",
    )
    network = build_network(settings)
    assert network.bus.tolist() == [2, 1]
    assert network.v_min_pu.tolist() == [0.95, 0.9]
    assert network.v_max_pu.tolist() == [1.1, 1.05]
    assert network.shunt_kvar.tolist() == [5, 0]
    assert network.max_i_ka.tolist() == [0.3]
    assert network.source_vm_pu == 1.02


def test_csv_transformer_of_nominal_ratio(tmp_path):
    buses = "bus,load_kw,load_kvar,vn_kv\n1,0,0,20\n2,100,30,0.4\n"
    lines = "from_bus,to_bus,r_ohm,x_ohm,max_i_ka\n1,2,0.004,0.02,0.36\n"
    forward = build_network(csv_network(tmp_path, buses, lines))
    turned = "from_bus,to_bus,r_ohm,x_ohm,max_i_ka\n2,1,10,50,0.0072\n"
    buses = "bus,load_kw,load_kvar,vn_kv,is_source\n1,0,0,20,1\n2,100,30,0.4,0\n"
    backward = build_network(csv_network(tmp_path, buses, turned))
    np.testing.assert_allclose(forward.z_pu, backward.z_pu)
    np.testing.assert_allclose(forward.max_i_pu, backward.max_i_pu)
    assert volts(forward) == pytest.approx(volts(backward))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (",vn_kv\n", "\n", "buses.csv: missing column vn_kv; found bus, load_kw, load_kvar"),
        ("load_kvar,", "load_kvar,colour,", "buses.csv: unknown column colour"),
        ("3,10,2,0.4", "3,ten,2,0.4", "buses.csv, line 3: load_kw is 'ten', not a finite number"),
        ("3,10,2,0.4", "3,nan,2,0.4", "buses.csv, line 3: load_kw is 'nan'"),
        ("3,10,2,0.4", "3,,2,0.4", "buses.csv, line 3: load_kw is ''"),
        ("3,10,2,0.4", "3.5,10,2,0.4", "buses.csv, line 3: bus is '3.5', not a whole number"),
        ("3,10,2,0.4", "3,10,2", "buses.csv, line 3: 4 values are needed"),
        ("3,10,2,0.4", "3,10,2,0", "west.*bus 3 has rated voltage 0 kV"),
        ("3,10,2,0.4", "3,-10,2,0.4", "west.*bus 3 has load -10 kW"),
        ("5,0,0,0.4", "3,0,0,0.4", "west.*duplicate bus 3.*line 1 of.*unknown bus 5"),
        ("5,0,0,0.4\n", "5,0,0,0.4\n8,1,0,0.4\n", "exactly one source bus.*found 7, 8.*is_source"),
        ("7,5,0.01,0.02", "7,6,0.01,0.02", "found 7, 5"),
        ("7,5,0.01,0.02", "7,5,0.01,nan", "lines.csv, line 2: x_ohm is 'nan'"),
        ("7,5,0.01,0.02", "7,5,0,0", r"line 1 of .*lines.csv \(7-5\) has impedance r 0, x 0"),
        ("7,5,0.01,0.02", "7,5,-0.01,0.02", "impedance r -0.01, x 0.02 ohm"),
        ("7,5,0.01,0.02", "7,5,1e-12,0", r"\(7-5\).*too small for a power flow"),
        ("5,3,0.03,0.04", "5,3,0.03,0.04\n7,3,1,1", r"meshed.*line 3 of .*lines.csv \(7-3\)"),
        ("5,3,0.03,0.04", "5,3,0.03,0.04\n5,5,1,1", r"meshed.*line 3 of .*lines.csv \(5-5\)"),
        ("5,3,0.03,0.04", "5,3,0.03,0.04\n5,3,1,1", r"meshed.*line 3 of .*lines.csv \(5-3\)"),
        (LINES, "from_bus,to_bus,r_ohm,x_ohm\n", "lines.csv: no rows"),
    ],
)
def test_bad_csv_is_named(tmp_path, old, new, told):
    assert (BUSES + LINES).count(old) == 1
    settings = csv_network(tmp_path, BUSES.replace(old, new), LINES.replace(old, new))
    with pytest.raises(NetworkError, match=told) as caught:
        build_network(settings)
    assert "\n" not in str(caught.value)


def test_unfed_buses_are_named(tmp_path):
    buses = "bus,load_kw,load_kvar,vn_kv,is_source\n1,0,0,1,1\n2,0,0,1,0\n3,1,0,1,0\n4,1,0,1,0\n"
    lines = "from_bus,to_bus,r_ohm,x_ohm\n1,2,1,1\n3,4,1,1\n"
    with pytest.raises(NetworkError, match="not connected to source bus 1: bus 3, 4"):
        build_network(csv_network(tmp_path, buses, lines))
    with pytest.raises(NetworkError, match="exactly one source bus is needed, found none"):
        build_network(csv_network(tmp_path, buses.replace("1,1\n", "1,0\n"), lines))
    with pytest.raises(NetworkError, match="found 1, 2"):
        build_network(csv_network(tmp_path, buses.replace("2,0,0,1,0", "2,0,0,1,1"), lines))


def test_many_faults_are_counted(tmp_path):
    rows = "".join(f"{k},{k + 1},0,0\n" for k in range(1, 9))
    buses = "bus,load_kw,load_kvar,vn_kv\n" + "".join(f"{k},0,0,1\n" for k in range(1, 10))
    with pytest.raises(NetworkError, match="and 3 more faults"):
        build_network(csv_network(tmp_path, buses, "from_bus,to_bus,r_ohm,x_ohm\n" + rows))


@pytest.mark.parametrize("source", ["csv", "matpower", "pandapower_json"])
def test_missing_file_is_named(tmp_path, source):
    place = str(tmp_path / "nowhere")
    lines = place if source == "csv" else None
    with pytest.raises(NetworkError, match="nowhere"):
        build_network(Network(name="west", source=source, case=place, lines=lines))


# --- MATPOWER -------------------------------------------------------------------------------

CASE = """function mpc = small
%SMALL  a case in {unit}
mpc.version = '2';
mpc.baseMVA = 10;
mpc.bus = [ %% type Pd Qd Gs Bs area Vm Va baseKV zone Vmax Vmin
	10	3	0	0	0	0	1	1	0	20	1	1.1	0.9;
	20	1	{p20}	{q20}	0	0	1	1	0	20	1	1.1	0.9;
	30	1	{p30}	{q30}	0.01	0.2	1	1	0	20	1	1.1	0.9; % a capacitor
	40	1	0, 0, 0	0	1	1	0	20	1	1.1	0.9
	50	4	0	0	0	0	1	1	0	20	1	1.1	0.9;
];
mpc.gen = [
	10	0	0	10	-10	1.02	100	1	10	0	0;
];
mpc.branch = [
	10	20	{z1}	0	5	0	0	0	0	1	-360	360;
	30	20	{z2}	{b2}	0	0	0	0	0	1	-360	360;
	20	40	{z3}	0	0	0	0	0	0	1	-360	360;
	10	40	{z3}	0	0	0	0	0	0	0	-360	360;
];
mpc.bus_name = {{ 'a'; 'b'; }};
"""
PER_UNIT = CASE.format(
    unit="p.u.",
    p20=0.4, q20=0.1, p30=1.2, q30=0.5,
    z1="0.01 0.02", z2="0.03 0.04", z3="0.02 0.02", b2=0.05,
)  # fmt: skip
CONVERTED = (
    CASE.format(
        unit="kW and ohm",
        p20=400, q20=100, p30=1200, q30=500,
        z1="0.4 0.8", z2="1.2 1.6", z3="0.8 0.8", b2=0.05,
    )
    + """
%% convert branch impedances from Ohms to p.u.
[PQ, PV, REF, NONE, BUS_I, BUS_TYPE, PD, QD, GS, BS, BUS_AREA, VM, ...
    VA, BASE_KV, ZONE, VMAX, VMIN, LAM_P, LAM_Q, MU_VMAX, MU_VMIN] = idx_bus;
Vbase = mpc.bus(1, BASE_KV) * 1e3;      %% in Volts
Sbase = mpc.baseMVA * 1e6;              %% in VA
mpc.branch(:, [BR_R BR_X]) = mpc.branch(:, [BR_R BR_X]) / (Vbase^2 / Sbase);

%% convert loads from kW to MW
mpc.bus(:, [PD, QD]) = mpc.bus(:, [PD, QD]) / 1e3;
"""
)  # fmt: skip


def matpower(folder: Path, text: str) -> Network:
    """Write a case file."""
    (folder / "small.m").write_text(text)
    return Network(name="west", source="matpower", case=str(folder / "small.m"), **WIDE)


@pytest.mark.parametrize("text", [PER_UNIT, CONVERTED], ids=["per_unit", "converted"])
def test_matpower(tmp_path, text):
    network = build_network(matpower(tmp_path, text))
    assert network.bus.tolist() == [10, 20, 30, 40]
    assert network.load_kw == pytest.approx([0, 400, 1200, 0])
    assert network.load_kvar == pytest.approx([0, 100, 500, 0])
    assert network.r_ohm == pytest.approx([0.4, 1.2, 0.8])
    assert network.x_ohm == pytest.approx([0.8, 1.6, 0.8])
    assert network.shunt_kw == pytest.approx([0, 0, 10, 0])
    assert network.shunt_kvar == pytest.approx([0, 250, 450, 0])
    assert network.source_vm_pu == 1.02
    assert network.max_i_ka[0] == pytest.approx(5 / (np.sqrt(3) * 20))


def test_matpower_by_another_engine(tmp_path):
    """The same network built by hand, with a transformer of ratio 1.03 for its second branch."""
    text = PER_UNIT.replace("0.05\t0\t0\t0\t0\t0", "0.05\t0\t0\t0\t1.03\t0")
    assert text != PER_UNIT
    network = build_network(matpower(tmp_path, text))
    net = pp.create_empty_network(sn_mva=10)
    pp.create_buses(net, 4, vn_kv=20)
    pp.create_ext_grid(net, 0, vm_pu=1.02)
    for bus, p_mw, q_mvar in ((1, 0.4, 0.1), (2, 1.2, 0.5)):
        pp.create_load(net, bus, p_mw, q_mvar)
    pp.create_shunt(net, 2, p_mw=0.01, q_mvar=-0.2)
    for a, b, r, x in ((0, 1, 0.4, 0.8), (1, 3, 0.8, 0.8)):
        pp.create_line_from_parameters(net, a, b, 1, r, x, 0, 1)
    pp.create_transformer_from_parameters(
        net, 2, 1, sn_mva=10, vn_hv_kv=20 * 1.03, vn_lv_kv=20,
        vkr_percent=3, vk_percent=5, pfe_kw=0, i0_percent=0,
    )  # fmt: skip
    pp.create_shunt(net, 1, p_mw=0, q_mvar=-0.25)
    pp.create_shunt(net, 2, p_mw=0, q_mvar=-0.25 / 1.03**2)
    pp.runpp(net)
    expected = dict(zip([10, 20, 30, 40], net.res_bus.vm_pu * 20, strict=True))
    assert volts(network) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (PER_UNIT.replace("10\t3\t", "10\t1\t"), "exactly one reference bus.*found none"),
        (PER_UNIT.replace("20\t1\t0.4", "20\t3\t0.4"), "found 10, 20"),
        (PER_UNIT.replace("0.4\t0.1", "four\t0.1"), "expression not understood: four"),
        (PER_UNIT.replace("0.4\t0.1", "NaN\t0.1"), "row 2 of mpc.bus: NaN is not a number"),
        (PER_UNIT.replace("20\t40\t", "20\t45\t"), "branch 3 refers to an unknown bus"),
        (PER_UNIT.replace("40\t0.02", "30\t0.02"), r"meshed.*branch 3 \(20-30\)"),
        (PER_UNIT.replace("mpc.baseMVA = 10;", ""), "no positive mpc.baseMVA"),
        (PER_UNIT.replace("mpc.branch", "mpc.lines"), "no table mpc.branch"),
        (PER_UNIT.replace("\t100\t1\t10\t0\t0;", ";"), "row 1 of mpc.gen has 6 of 10 columns"),
        (CONVERTED.replace("/ 1e3;", "/ unit;"), "expression not understood: unit"),
        (PER_UNIT + "mpc.bus(:, PD) = 2 * load_of(mpc);\n", "statement not understood: mpc.bus"),
        (PER_UNIT + "mpc = scale_load(2, mpc);\n", "statement not understood: mpc = scale_load"),
        (
            PER_UNIT.replace("20\t1\t0.4", "20\t2\t0.4").replace(
                "mpc.branch", "mpc.gen(1, 2) = 0;\nmpc.branch"
            ),
            "statement not understood: mpc.gen",
        ),
        (
            PER_UNIT.replace("20\t1\t0.4", "20\t2\t0.4").replace(
                "1.02\t100\t1\t10\t0\t0;", "1.02\t100\t1\t10\t0\t0;\n20 0 0 1 -1 1 100 1 1 0 0"
            ),
            "a generator holds the voltage of bus 20: only the source may",
        ),
    ],
)
def test_bad_matpower_is_named(tmp_path, text, told):
    with pytest.raises(NetworkError, match=f"small.m.*{told}"):
        build_network(matpower(tmp_path, text))


def test_matpower_generation_is_left_out(tmp_path, caplog):
    text = PER_UNIT.replace(
        "1.02\t100\t1\t10\t0\t0;", "1.02 100 1 10 0 0;\n30 5 0 1 -1 1 100 1 9 0"
    )
    caplog.set_level("INFO")
    network = build_network(matpower(tmp_path, text.replace("0.4\t0.1", "-0.4\t0.1")))
    assert network.load_kw == pytest.approx([0, 0, 1200, 0])
    assert "west: 2 generators and negative loads" in caplog.text


# --- pandapower -----------------------------------------------------------------------------


def assert_same_physics(network: RadialNetwork, net: pp.pandapowerNet) -> None:
    """Compare the network with the AC power flow of the original without its generation."""
    for element in ("sgen", "storage"):
        net[element]["in_service"] = False
    pp.runpp(net, voltage_depend_loads=False)
    result = AcReplay(network).run(-network.load_kw, -network.load_kvar)
    nominal = net.bus.vn_kv.loc[network.bus].to_numpy()
    np.testing.assert_allclose(
        result.vm_pu * network.vn_kv / nominal, net.res_bus.vm_pu.loc[network.bus], atol=1e-6
    )
    assert result.p_source_kw == pytest.approx(net.res_ext_grid.p_mw.sum() * 1e3, abs=1e-3)
    assert result.q_source_kvar == pytest.approx(net.res_ext_grid.q_mvar.sum() * 1e3, abs=1e-3)
    np.testing.assert_allclose(network.v_max_pu * network.vn_kv, 1.5 * nominal)
    np.testing.assert_allclose(network.v_min_pu * network.vn_kv, 0.5 * nominal)


@pytest.mark.parametrize(
    ("case", "n_buses"),
    [
        ("create_cigre_network_lv", 41),  # three closed bus-bus switches
        ("create_cigre_network_mv", 15),  # two transformers, open lines
        ("create_kerber_landnetz_freileitung_1", 15),
        ("create_synthetic_voltage_control_lv_network", 26),
        ("panda_four_load_branch", 6),
        ("simple_four_bus_system", 4),
        ("simple_mv_open_ring_net", 7),  # 110/20 kV, tap changer, ring with open switches
        ("kb_extrem_landnetz_kabel_trafo", 56),  # two feeders
    ],
)
def test_pandapower_by_name(case, n_buses):
    network = build_network(Network(name="n", source="pandapower", case=case, **WIDE))
    assert network.n_buses == n_buses
    random.seed(0)
    assert_same_physics(network, getattr(pandapower.networks, case)())


def test_random_networks_are_always_the_same():
    settings = Network(name="n", source="pandapower", case="create_kerber_dorfnetz", **WIDE)
    random.seed(1)
    before = random.getstate()
    first = load(settings)
    assert random.getstate() == before
    random.seed(2)
    np.testing.assert_array_equal(first.r_ohm, load(settings).r_ohm)


@pytest.fixture
def net() -> pp.pandapowerNet:
    """Build a 20/0.4 kV network with most things that the loader has to understand.

    Source 0 =trafos 0, 1= 1 -line 0- 2 -line 1- 3 -switch- 4 -line 2- 5, and line 3 (open at 6)
    from 2 to 6; line 4 out of service, bus 7 isolated, bus 8 out of service.
    """
    net = pp.create_empty_network()
    pp.create_bus(net, 20.0)
    pp.create_buses(net, 8, 0.4)
    pp.create_ext_grid(net, 0, vm_pu=1.01)
    for _ in range(2):
        pp.create_transformer_from_parameters(
            net, 0, 1, sn_mva=0.25, vn_hv_kv=20.0, vn_lv_kv=0.42, vkr_percent=1.5, vk_percent=4,
            pfe_kw=0.6, i0_percent=0.5, shift_degree=150, tap_side="hv", tap_neutral=0, tap_pos=2,
            tap_step_percent=2.5, tap_changer_type="Ratio",
        )  # fmt: skip
    for a, b, parallel in ((1, 2, 2), (3, 2, 1), (4, 5, 1), (2, 6, 1), (1, 5, 1)):
        pp.create_line_from_parameters(
            net, a, b, 0.3, 0.2, 0.08, c_nf_per_km=5e4, max_i_ka=0.27, parallel=parallel,
            g_us_per_km=3.0,
        )  # fmt: skip
    net.line.loc[4, "in_service"] = False
    pp.create_switch(net, 3, 4, et="b")
    pp.create_switch(net, 6, 3, et="l", closed=False)
    pp.create_load(net, 2, 0.05, 0.02, scaling=0.8)
    pp.create_load(net, 4, 0.03, 0.01)
    pp.create_load(net, 5, 0.03, 0.01, const_z_p_percent=30)
    pp.create_load(net, 5, 0.03, 0.01, in_service=False)
    pp.create_load(net, 7, 0.03, 0.01)
    pp.create_shunt(net, 5, q_mvar=-0.02, p_mw=0.001)
    pp.create_sgen(net, 5, 0.05)
    net.bus.loc[8, "in_service"] = False
    return net


def loaded(net: pp.pandapowerNet, folder: Path, **changes: object) -> RadialNetwork:
    """Take the network through a JSON file."""
    pp.to_json(net, str(folder / "net.json"))
    settings = Network(name="west", source="pandapower_json", case=str(folder / "net.json"), **WIDE)
    return build_network(settings.model_copy(update=changes))


def test_pandapower_json(net, tmp_path, caplog):
    caplog.set_level("INFO")
    network = loaded(net, tmp_path)
    assert network.bus.tolist() == [0, 1, 2, 3, 5]
    assert "west: 1 static generators and storages" in caplog.text
    assert_same_physics(network, net)


def test_pandapower_ratings(net, tmp_path):
    network = loaded(net, tmp_path)
    transformers = 2 * 0.25 / (np.sqrt(3) * 0.42)
    assert network.max_i_ka == pytest.approx([transformers, 2 * 0.27, 0.27, 0.27])
    direct = order(from_pandapower("west", "net", net), 0.5, 1.5)
    np.testing.assert_allclose(network.max_i_ka, direct.max_i_ka)


def test_unequal_transformers_in_parallel(net, tmp_path):
    net.trafo.loc[1, "vk_percent"] = 6.0
    network = loaded(net, tmp_path)
    pp.runpp(net, voltage_depend_loads=False)
    first, second = net.trafo.vk_percent
    share = second / (first + second)  # roughly: the first one carries more
    assert network.max_i_ka[0] == pytest.approx(0.25 / (np.sqrt(3) * 0.42) / share, rel=0.02)
    assert_same_physics(network, net)


def test_transformers_of_unequal_ratio_are_a_loop(net, tmp_path):
    net.trafo.loc[1, "tap_pos"] = 0
    with pytest.raises(NetworkError, match=r"west.*net.json.*meshed.*trafo 1 \(0-1\)"):
        loaded(net, tmp_path)


def test_transformer_fed_from_its_low_voltage_side(net, tmp_path):
    net.ext_grid["bus"] = 5
    net.ext_grid["vm_pu"] = 1.0
    pp.create_load(net, 0, 0.04, 0.01)
    network = loaded(net, tmp_path)
    assert network.bus.tolist() == [5, 3, 2, 1, 0]
    assert network.max_i_ka[-1] == pytest.approx(0.5 / (np.sqrt(3) * 20 * 1.05))
    assert_same_physics(network, net)


def test_capacitor_at_a_joined_bus(net, tmp_path):
    network = loaded(net, tmp_path, capacitors=(Capacitor(bus=4, kvar=30),))
    pp.create_shunt(net, 4, q_mvar=-0.03)
    assert_same_physics(network, net)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda net: pp.create_gen(net, 5, 0.01), "1 gen in service"),
        (lambda net: pp.create_ext_grid(net, 5), r"exactly one ext_grid.*found 2 \(bus 0, 5\)"),
        (lambda net: net.ext_grid.drop(0, inplace=True), "found 0"),
        (
            lambda net: net["ext_grid"].loc.__setitem__((slice(None), "bus"), 8),
            "bus 8 of the ext_grid is not in service",
        ),
        (
            lambda net: net["line"].loc.__setitem__((slice(None), "in_service"), True),
            r"meshed.*line 4 \(1-5\)",
        ),
        (
            lambda net: net["line"].loc.__setitem__((slice(None), "r_ohm_per_km"), -1.0),
            "line 0.*impedance r -0.15",
        ),
        (
            lambda net: net["load"].loc.__setitem__((slice(None), "p_mw"), -1.0),
            "bus 2 has load -800 kW",
        ),
        (
            lambda net: pp.create_impedance(net, 5, 7, rft_pu=0.1, xft_pu=0.1, sn_mva=1),
            "1 impedance in service",
        ),
    ],
)
def test_bad_pandapower_is_named(net, tmp_path, change, told):
    change(net)
    with pytest.raises(NetworkError, match=f"west.*net.json.*{told}"):
        loaded(net, tmp_path)


def test_json_that_is_no_network(tmp_path):
    place = tmp_path / "other.json"
    settings = Network(name="west", source="pandapower_json", case=str(place))
    for text in (json.dumps({"a": 1}), "{"):
        place.write_text(text)
        with pytest.raises(NetworkError, match=r"other.json: not a pandapower network in JSON"):
            build_network(settings)


@pytest.mark.parametrize("case", ["create_kerber_dorfnez", "create_bus", "__file__"])
def test_unknown_pandapower_name(case):
    with pytest.raises(NetworkError, match=f"'{case}' is no name in pandapower.networks") as caught:
        build_network(Network(name="n", source="pandapower", case=case))
    if case.startswith("create_kerber"):
        assert "create_kerber_dorfnetz" in str(caught.value)


# --- SimBench -------------------------------------------------------------------------------

SIMBENCH = Network(name="west", source="simbench", case="1-LV-rural1--0-sw", **WIDE)


def test_simbench_needs_its_extra(monkeypatch):
    def missing(name: str) -> types.ModuleType:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(NetworkError, match=r"west.*pip install 'drcosim\[simbench\]'"):
        build_network(SIMBENCH)


def test_simbench_code(monkeypatch, net):
    stand_in = types.ModuleType("simbench")
    stand_in.collect_all_simbench_codes = lambda: [SIMBENCH.case, "1-MV-urban--0-sw"]
    stand_in.get_simbench_net = lambda code: net if code == SIMBENCH.case else None
    monkeypatch.setitem(sys.modules, "simbench", stand_in)
    assert_same_physics(build_network(SIMBENCH), net)
    wrong = SIMBENCH.model_copy(update={"case": "1-LV-rurall--0-sw"})
    with pytest.raises(NetworkError, match="no SimBench code; close ones: 1-LV-rural1--0-sw"):
        build_network(wrong)


def test_real_simbench_network():
    simbench = pytest.importorskip("simbench")
    assert_same_physics(build_network(SIMBENCH), simbench.get_simbench_net(SIMBENCH.case))


# --- order ----------------------------------------------------------------------------------


@st.composite
def networks(draw: st.DrawFn) -> NetworkData:
    """Random trees with transformers, buses in order and lines directed away from the source."""
    n = draw(st.integers(2, 10))

    def numbers(low: float, high: float, size: int) -> np.ndarray:
        values = st.floats(low, high, allow_subnormal=False)
        return np.array(draw(st.lists(values, min_size=size, max_size=size)))

    parents = [draw(st.integers(0, k)) for k in range(n - 1)]
    return NetworkData(
        name="tree",
        origin="drawn",
        bus=np.arange(1, n + 1),
        vn_kv=np.array(draw(st.lists(st.sampled_from([10.0, 20.0]), min_size=n, max_size=n))),
        load_kw=numbers(0, 100, n),
        load_kvar=numbers(-50, 50, n),
        shunt_kw=numbers(0, 5, n),
        shunt_kvar=numbers(-20, 20, n),
        v_min_pu=np.full(n, np.nan),
        v_max_pu=np.full(n, np.nan),
        source=1,
        source_vm_pu=draw(st.floats(0.95, 1.05)),
        line=tuple(f"line {k}" for k in range(n - 1)),
        from_bus=np.array(parents) + 1,
        to_bus=np.arange(2, n + 1),
        r_ohm=numbers(0.01, 1, n - 1),
        x_ohm=numbers(0.01, 1, n - 1),
        ratio=numbers(0.95, 1.05, n - 1),
        max_i_ka=numbers(0.1, 1, n - 1),
    )


def turned(data: NetworkData, lines: np.ndarray) -> NetworkData:
    """Describe some lines from their other end."""
    vn_kv = dict(zip(data.bus.tolist(), data.vn_kv, strict=True))
    nominal = [vn_kv[a] / vn_kv[b] for a, b in zip(data.from_bus, data.to_bus, strict=True)]
    turns = np.where(lines, data.ratio * nominal, 1.0)
    return replace(
        data,
        from_bus=np.where(lines, data.to_bus, data.from_bus),
        to_bus=np.where(lines, data.from_bus, data.to_bus),
        r_ohm=data.r_ohm * turns**2,
        x_ohm=data.x_ohm * turns**2,
        ratio=np.where(lines, 1 / data.ratio, data.ratio),
        max_i_ka=data.max_i_ka / turns,
    )


def shuffled(data: NetworkData, rng: np.random.Generator) -> tuple[NetworkData, dict[int, int]]:
    """Renumber the buses, shuffle both tables and turn about half of the lines."""
    n, m = len(data.bus), len(data.line)
    number = dict(zip(data.bus.tolist(), (rng.permutation(n) * 3 + 5).tolist(), strict=True))
    data = turned(data, rng.random(m) < 0.5)
    buses, lines = rng.permutation(n), rng.permutation(m)
    changes = {
        name: getattr(data, name)[buses]
        for name in ("vn_kv", "load_kw", "load_kvar", "shunt_kw", "shunt_kvar")
    }
    changes |= {
        name: getattr(data, name)[lines] for name in ("r_ohm", "x_ohm", "ratio", "max_i_ka")
    }
    for name, at in (("bus", buses), ("from_bus", lines), ("to_bus", lines)):
        changes[name] = np.array([number[int(b)] for b in getattr(data, name)[at]])
    changes["line"] = tuple(data.line[k] for k in lines)
    return replace(data, source=number[data.source], **changes), number


@settings(max_examples=8, deadline=None)
@given(networks(), st.integers(0, 2**32 - 1))
def test_description_does_not_matter(data, seed):
    network = order(data, 0.9, 1.1)
    other_data, number = shuffled(data, np.random.default_rng(seed))
    other = order(other_data, 0.9, 1.1)
    assert (other.parent <= np.arange(other.n_lines)).all()
    at = [other.position[number[b]] for b in network.bus.tolist()]
    for name in ("vn_kv", "load_kw", "shunt_kvar", "v_min_pu"):
        np.testing.assert_allclose(getattr(network, name), getattr(other, name)[at])
    np.testing.assert_array_equal(
        network.bus[network.parent], other_names(other, number)[np.array(at[1:]) - 1]
    )
    one = AcReplay(network).run(-network.load_kw, -network.load_kvar)
    two = AcReplay(other).run(-other.load_kw, -other.load_kvar)
    np.testing.assert_allclose(one.vm_pu, two.vm_pu[at], atol=1e-9)
    lines = np.array(at[1:]) - 1
    np.testing.assert_allclose(one.loading_percent, two.loading_percent[lines], atol=1e-6)
    assert one.losses_kw == pytest.approx(two.losses_kw, abs=1e-6)


def other_names(other: RadialNetwork, number: dict[int, int]) -> np.ndarray:
    """Give the parents of the other network's buses in the first one's numbers."""
    first = {new: old for old, new in number.items()}
    return np.array([first[int(b)] for b in other.bus[other.parent]])


def test_deterministic():
    data = NetworkData(
        name="star", origin="drawn", bus=np.array([4, 3, 2, 1]), vn_kv=np.ones(4),
        load_kw=np.zeros(4), load_kvar=np.zeros(4), shunt_kw=np.zeros(4), shunt_kvar=np.zeros(4),
        v_min_pu=np.full(4, np.nan), v_max_pu=np.full(4, np.nan), source=2, source_vm_pu=1.0,
        line=("a", "b", "c"), from_bus=np.array([2, 3, 2]), to_bus=np.array([1, 2, 4]),
        r_ohm=np.ones(3), x_ohm=np.ones(3), ratio=np.ones(3), max_i_ka=np.ones(3),
    )  # fmt: skip
    assert order(data, 0.9, 1.1).bus.tolist() == [2, 4, 3, 1]
