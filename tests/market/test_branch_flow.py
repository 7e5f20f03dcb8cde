"""The branch-flow relaxation by hand, against AC power flows, and where it is not exact."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from configs.schema import Capacitor, Network
from grid.cases import build_network
from grid.network_model import AcModel
from grid.units import S_BASE_KVA
from market.branch_flow import EXACT, BranchFlow, Injection, Relaxation
from market.conic_problem import ConicProblem
from market.impedances import BranchFlowData
from market.solve import solve

V0 = 1.02


def one_line(**changes) -> BranchFlowData:
    """The source, and a bus behind 0.05 + j0.08 p.u."""
    line = BranchFlowData(
        parent=np.array([0]),
        r_pu=np.array([0.05]),
        x_pu=np.array([0.08]),
        g_pu=np.zeros(1),
        b_pu=np.zeros(1),
        max_i_pu=np.ones(1),
        source_vm_pu=V0,
        base_kva=1000.0,
        line_of=np.array([0]),
    )
    return replace(line, **changes)


def nothing(data: BranchFlowData, p_kw, q_kvar, n_columns=1) -> Injection:
    """Injections that no column moves, (n_steps, n_members)."""
    none = sparse.csr_array((np.size(p_kw), n_columns))
    return Injection(none, none, np.asarray(p_kw, float), np.asarray(q_kvar, float))


def optimise(
    flow: BranchFlow, injections, *, gain=0.0, most=0.0, v_max=None, price=0.05
) -> tuple[float, np.ndarray, Relaxation]:
    """Sell what one column injects at a price, up to a most, under an upper voltage limit.

    Returns the column, the relaxation's columns, and how exact they are.
    """
    n_rows = 2 if v_max is None else 3
    # 0 <= x <= most, and, of the last bus of the first network and step, v <= v_max^2.
    start = ConicProblem(
        quadratic=sparse.csc_array((1, 1)),
        linear=np.array([-gain]),
        matrix=sparse.csr_array((0, 1)),
        offset=np.zeros(0),
        n_zero=0,
        n_nonnegative=0,
    )
    block = flow.pose(injections, np.full(flow.n_steps, price), 1.0)
    wide = start.with_columns(block.cost, block.equal, block.equal_to)
    bounds = sparse.lil_array((n_rows, 1 + flow.n_columns))
    bounds[0, 0], bounds[1, 0] = -1.0, 1.0
    room = [0.0, most]
    if v_max is not None:
        last = flow.networks[0].n_lines - 1
        bounds[2, 1 + flow.column(0, "v", 0, last)] = 1.0
        room.append(v_max**2)
    bounded = wide.with_rows(bounds, np.array(room), n_rows, ())
    solution = solve(bounded.with_rows(block.cones, block.offset, 0, block.dimensions))
    x = solution.x[1:]
    return float(solution.x[0]), x, flow.read(x, block.cost)


def test_one_loaded_line_by_hand():
    p, q = 0.4, 0.1
    data = one_line()
    # l v0^2 = (p + r l)^2 + (q + x l)^2, the smaller root.
    z2, b = 0.05**2 + 0.08**2, 2 * (0.05 * p + 0.08 * q) - V0**2
    current = (-b - np.sqrt(b**2 - 4 * z2 * (p**2 + q**2))) / (2 * z2)
    flow = BranchFlow([data], 1)
    _, x, relaxation = optimise(flow, [nothing(data, [[-400.0]], [[-100.0]])])
    P, Q = p + 0.05 * current, q + 0.08 * current
    v = V0**2 - 2 * (0.05 * P + 0.08 * Q) + z2 * current
    np.testing.assert_allclose(x, [P, Q, current, v], atol=1e-6)
    assert relaxation.loss_kw[0, 0] == pytest.approx(50.0 * current, abs=1e-3)
    assert relaxation.cost == pytest.approx(0.05 * 50.0 * current, abs=1e-4)
    assert relaxation.exact.all()


def test_shunts_draw_and_supply_by_the_voltage():
    data = one_line(g_pu=np.array([0.02]), b_pu=np.array([0.3]))
    flow = BranchFlow([data], 1)
    _, (P, Q, current, v), relaxation = optimise(flow, [nothing(data, [[-100.0]], [[0.0]])])
    assert P - 0.05 * current == pytest.approx(0.1 + 0.02 * v, abs=1e-6)
    assert Q - 0.08 * current == pytest.approx(-0.3 * v, abs=1e-6)
    assert v > V0**2
    # The conductance is paid for like a loss, and is no loss of a line.
    assert relaxation.cost == pytest.approx(0.05 * 1000 * (0.05 * current + 0.02 * v), abs=1e-4)
    assert relaxation.loss_kw[0, 0] == pytest.approx(50 * current, abs=1e-3)


@pytest.mark.parametrize("case", ["case85", "case69"])
def test_loaded_networks_are_those_of_the_power_flow(case):
    """Load and moderate feed-in without binding limits: the relaxation is exact."""
    network = build_network(
        Network(name=case, case=case, source_vm_pu=1.03, capacitors=(Capacitor(bus=10, kvar=300),))
    )
    rng = np.random.default_rng(4)
    n_steps, m = 3, network.n_lines
    p_kw = network.load_kw[1:] * rng.uniform(-1.0, 0.6, (n_steps, m))
    q_kvar = network.load_kvar[1:] * rng.uniform(-1.0, 0.0, (n_steps, m))
    data = of_network(network)
    flow = BranchFlow([data], n_steps)
    _, x, relaxation = optimise(flow, [nothing(data, p_kw, q_kvar)])
    ac = AcModel(network).at(p_kw, q_kvar)
    _, _, current, v = x.reshape(4, n_steps, m)
    np.testing.assert_allclose(np.sqrt(v), ac.value[:, :m], rtol=0, atol=2e-6)
    loading = np.sqrt(np.maximum(current, 0)) / network.max_i_pu
    np.testing.assert_allclose(loading, ac.value[:, 2 * m : 3 * m], rtol=0, atol=5e-3)
    np.testing.assert_allclose(relaxation.loss_kw[:, 0], ac.loss_kw, rtol=0, atol=2e-2)
    assert relaxation.exact.all()
    assert relaxation.gap.max() < EXACT / 10


def of_network(network) -> BranchFlowData:
    """One member at every bus."""
    return BranchFlowData(
        parent=network.parent,
        r_pu=network.z_pu.real,
        x_pu=network.z_pu.imag,
        g_pu=network.shunt_pu.real[1:],
        b_pu=network.shunt_pu.imag[1:],
        max_i_pu=network.max_i_pu,
        source_vm_pu=network.source_vm_pu,
        base_kva=S_BASE_KVA,
        line_of=np.arange(network.n_lines),
    )


def feeder(data: BranchFlowData) -> Injection:
    """One column that injects a kW per unit."""
    p = sparse.csr_array(np.ones((1, 1)))
    return Injection(p, sparse.csr_array((1, 1)), np.zeros((1, 1)), np.zeros((1, 1)))


def test_an_upper_voltage_limit_makes_it_inexact_where_losses_are_cheap():
    # To sell more than the limit allows, it pays to lose some of it: 0.10 against 0.05 a kWh.
    data = one_line()
    flow = BranchFlow([data], 1)
    limits = {"gain": 0.10, "most": 2000.0, "v_max": 1.05}
    sold, _, relaxation = optimise(flow, [feeder(data)], price=0.05, **limits)
    assert not relaxation.exact.any()
    assert relaxation.gap[0, 0] > 0.1
    assert relaxation.excess_kw[0, 0] > 10.0
    assert 0 < relaxation.loss_gap[0, 0] < 1
    network_limit = largest_feed_in(1.05)
    assert sold > 1.02 * network_limit
    # Dear losses are never invented.
    sold, _, relaxation = optimise(flow, [feeder(data)], price=10.0, **limits)
    assert relaxation.exact.all()
    assert sold <= network_limit + 1e-3


def largest_feed_in(v_max: float) -> float:
    """Active power that lifts the bus of ``one_line`` to a voltage. [kW]"""
    z, p = 0.05 + 0.08j, np.linspace(0, 3, 300001)
    # |V|^2 = v solves v^2 - (v0^2 + 2 r p) v + |z|^2 p^2 = 0, the larger root.
    b = V0**2 + 2 * z.real * p
    v = (b + np.sqrt(b**2 - 4 * abs(z) ** 2 * p**2)) / 2
    return 1000 * p[np.flatnonzero(v <= v_max**2).max()]


def test_without_a_limit_feed_in_is_exact():
    data = one_line()
    sold, _, relaxation = optimise(BranchFlow([data], 1), [feeder(data)], gain=0.10, most=500.0)
    assert sold == pytest.approx(500.0, abs=1e-3)
    assert relaxation.exact.all()
    assert relaxation.loss_gap[0, 0] < 1e-4


def test_networks_and_steps_stand_side_by_side():
    near, far = one_line(), one_line(r_pu=np.array([0.1]))
    p = np.array([[-100.0], [-300.0]])
    together = BranchFlow([near, far], 2)
    none = np.zeros((2, 1))
    _, _, both = optimise(together, [nothing(near, p, none), nothing(far, 2 * p, none)])
    for d, (data, scale) in enumerate(((near, 1), (far, 2))):
        for t in range(2):
            alone = nothing(data, scale * p[t : t + 1], none[:1])
            _, _, single = optimise(BranchFlow([data], 1), [alone])
            assert both.loss_kw[t, d] == pytest.approx(single.loss_kw[0, 0], abs=1e-3)
    assert both.gap.shape == (2, 2)


def test_two_peers_at_one_bus_add_up():
    data = one_line(line_of=np.array([0, 0]))
    flow = BranchFlow([data], 1)
    _, split, _ = optimise(flow, [nothing(data, [[-150.0, -250.0]], [[-40.0, -60.0]])])
    single = one_line()
    _, joint, _ = optimise(BranchFlow([single], 1), [nothing(single, [[-400.0]], [[-100.0]])])
    np.testing.assert_allclose(split, joint, atol=1e-6)
