"""LinDistFlow solved by hand, differentiated numerically and held against the AC power flow."""

from dataclasses import replace

import numpy as np
import pytest

from configs.schema import Capacitor, Network
from grid.cases import build_network
from grid.limits import LimitRows
from grid.lindistflow import LinDistFlow
from grid.network import RadialNetwork
from grid.network_model import AcModel

V0 = 1.02


def two_lines() -> RadialNetwork:
    """Source, bus 1 behind 0.02 + j0.04 p.u., bus 2 behind another 0.03 + j0.01 p.u."""
    z_base = 10.0**2  # ohm per p.u. at 10 kV and 1 MVA
    return RadialNetwork(
        name="hand",
        bus=np.array([1, 2, 3]),
        vn_kv=np.full(3, 10.0),
        v_min_pu=np.full(3, 0.95),
        v_max_pu=np.full(3, 1.05),
        shunt_kw=np.array([4.0, 10.0, 0.0]),
        shunt_kvar=np.array([0.0, 0.0, 50.0]),
        load_kw=np.zeros(3),
        load_kvar=np.zeros(3),
        parent=np.array([0, 1]),
        r_ohm=z_base * np.array([0.02, 0.03]),
        x_ohm=z_base * np.array([0.04, 0.01]),
        max_i_ka=np.array([0.10, 0.05]),
        source_vm_pu=V0,
        substation_kva=2000.0,
    )


@pytest.fixture(scope="module")
def case85() -> RadialNetwork:
    """The 85-bus network with capacitors, conductances and a shunt at the source."""
    network = build_network(
        Network(
            name="case85",
            case="case85",
            source_vm_pu=1.03,
            capacitors=(Capacitor(bus=10, kvar=300), Capacitor(bus=1, kvar=40)),
        )
    )
    shunt_kw = network.shunt_kw.copy()
    shunt_kw[[2, 40]] += 25.0
    return replace(network, shunt_kw=shunt_kw)


def test_two_lines_by_hand():
    network = two_lines()
    p_kw, q_kvar = np.array([[100.0, -300.0]]), np.array([[-20.0, -150.0]])
    point = LinDistFlow.of(network).at(p_kw, q_kvar)
    # In p.u., shunts included: bus 1 injects 0.09 - j0.02, bus 2 -0.3 - j0.1.
    far, near = 0.3 + 0.1j, 0.21 + 0.12j
    np.testing.assert_allclose(point.line_power, [[near, far]], atol=1e-15)
    v1 = V0**2 - 2 * (0.02 * 0.21 + 0.04 * 0.12)
    v2 = v1 - 2 * (0.03 * 0.3 + 0.01 * 0.1)
    rating = np.array([0.10, 0.05]) * np.sqrt(3) * 10.0
    vm = np.sqrt([v1, v2])
    loading = np.abs([near, far]) / rating
    substation = abs(near + 0.004) / 2.0
    np.testing.assert_allclose(point.value, [np.concatenate([vm, -vm, loading, [substation]])])
    losses = 1000 * (0.02 * abs(near) ** 2 + 0.03 * abs(far) ** 2) + 4.0 + 10.0
    assert point.loss_kw == pytest.approx(losses)
    np.testing.assert_array_equal(point.scale, 1.0)
    np.testing.assert_allclose(np.abs(point.phasors), [[*loading, substation]])


def schedules(network: RadialNetwork, scale=1.0) -> tuple[np.ndarray, np.ndarray]:
    """Load, feed-in, and both at once; no bus rests, so that no line is idle."""
    rng = np.random.default_rng(5)
    n = network.n_lines
    p_kw = 40.0 * np.array([-np.ones(n), rng.uniform(0.5, 1.5, n), rng.uniform(-1.0, 2.0, n)])
    return scale * p_kw, scale * rng.uniform(-20.0, 10.0, (3, n))


@pytest.mark.parametrize("moved", ["p", "q"])
def test_derivatives_are_those_of_the_rows(case85, moved):
    model, width = LinDistFlow.of(case85), 0.01
    p_kw, q_kvar = schedules(case85)
    point = model.at(p_kw, q_kvar)
    loss_gradient = point.loss_gradient()[0 if moved == "p" else 1]
    for bus in (0, 20, 50, 83):
        step = np.zeros(case85.n_lines)
        step[bus] = width
        dp, dq = (step, 0.0) if moved == "p" else (0.0, step)
        up, down = model.at(p_kw + dp, q_kvar + dq), model.at(p_kw - dp, q_kvar - dq)
        rows, losses = ((up.value - down.value) / 2, (up.loss_kw - down.loss_kw) / 2)
        np.testing.assert_allclose(loss_gradient[:, bus], losses / width, rtol=1e-6, atol=1e-9)
        for t in range(3):
            own = point.sensitivities(t)[0 if moved == "p" else 1]
            np.testing.assert_allclose(own[:, bus], rows[t] / width, rtol=1e-4, atol=1e-9)


def test_an_idle_line_has_no_derivative():
    network = replace(two_lines(), shunt_kw=np.zeros(3), shunt_kvar=np.zeros(3))
    point = LinDistFlow.of(network).at(np.zeros((1, 2)), np.zeros((1, 2)))
    d_p, d_q = point.sensitivities(0)
    assert np.isfinite(d_p).all()
    np.testing.assert_array_equal(d_p[4:], 0.0)
    np.testing.assert_array_equal(d_q[4:], 0.0)
    np.testing.assert_allclose(d_p[:2, 1], np.array([0.02, 0.05]) / V0 / 1000)


def test_the_error_against_ac_falls_with_the_square_of_the_load(case85):
    # A flat source at 1 p.u. and no shunts: at no load both models agree.
    zero = np.zeros(case85.n_buses)
    network = replace(case85, source_vm_pu=1.0, shunt_kw=zero, shunt_kvar=zero)
    errors = []
    for scale in (0.2, 0.1, 0.05):
        p_kw, q_kvar = schedules(network, scale)
        value = [m.at(p_kw, q_kvar).value for m in (LinDistFlow.of(network), AcModel(network))]
        errors.append(np.abs(value[0] - value[1]).max(axis=0)[: network.n_lines].max())
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(4.0, rel=0.1)
    assert errors[-1] < 1e-4


def test_losses_match_ac_for_small_loads(case85):
    zero = np.zeros(case85.n_buses)
    network = replace(case85, source_vm_pu=1.0, shunt_kw=zero, shunt_kvar=zero)
    p_kw, q_kvar = schedules(network, 0.02)
    ours, exact = LinDistFlow.of(network).at(p_kw, q_kvar), AcModel(network).at(p_kw, q_kvar)
    np.testing.assert_allclose(ours.loss_kw, exact.loss_kw, rtol=0.02)
    for own, ac in zip(ours.loss_gradient(), exact.loss_gradient(), strict=True):
        np.testing.assert_allclose(own, ac, rtol=0, atol=0.02 * np.abs(ac).max())


def test_known_error_at_the_base_load_of_case85():
    network = build_network(Network(name="case85", case="case85", source_vm_pu=1.0))
    p_kw, q_kvar = -network.load_kw[None, 1:], -network.load_kvar[None, 1:]
    voltage = [m.at(p_kw, q_kvar).value[0] for m in (LinDistFlow.of(network), AcModel(network))]
    error = (voltage[0] - voltage[1])[: network.n_lines]
    # Without the losses every voltage is seen too high (Gan et al., 2015, lemma 1).
    assert (error > 0).all()
    assert error.max() == pytest.approx(0.00663, abs=1e-5)


def test_rows_are_laid_out_like_those_of_the_ac_model(case85):
    p_kw, q_kvar = schedules(case85, 0.5)
    ours, exact = LinDistFlow.of(case85).at(p_kw, q_kvar), AcModel(case85).at(p_kw, q_kvar)
    assert ours.value.shape == exact.value.shape == (3, LimitRows.of(case85).n_rows)
    np.testing.assert_allclose(ours.value, exact.value, rtol=0, atol=0.05)
    d_own, d_ac = ours.sensitivities(2), exact.sensitivities(2)
    m = case85.n_lines
    for own, ac in zip(d_own, d_ac, strict=True):
        np.testing.assert_allclose(own[: 2 * m], ac[: 2 * m], rtol=0, atol=0.15 * np.abs(ac).max())


def test_a_load_beyond_any_voltage_stands_at_the_largest_part_with_a_solution():
    model = LinDistFlow.of(two_lines())
    p_kw = np.array([[-50.0, -50.0], [-2e4, -2e4], [-5e6, -5e6]])
    point = model.at(p_kw, np.zeros((3, 2)))
    part = np.array([1.0, 0.25, 0.0])  # a half of 40 MW still collapses
    np.testing.assert_array_equal(point.scale, part)
    there = model.at(part[:, None] * p_kw, np.zeros((3, 2)))
    np.testing.assert_array_equal(there.scale, 1.0)
    np.testing.assert_array_equal(point.value, there.value)
    np.testing.assert_array_equal(point.loss_kw, there.loss_kw)


def test_phasors_are_affine_and_have_no_kink():
    model, rng = LinDistFlow.of(two_lines()), np.random.default_rng(2)
    origin = model.at(np.zeros((1, 2)), np.zeros((1, 2)))
    p_kw, q_kvar = rng.normal(0, 100, (2, 1, 2))
    d_p, d_q = origin.phasor_sensitivities(0)
    moved = origin.phasors + p_kw @ d_p.T + q_kvar @ d_q.T
    np.testing.assert_allclose(model.at(p_kw, q_kvar).phasors, moved, atol=1e-12)


@pytest.mark.parametrize("make", [AcModel, LinDistFlow.of])
def test_resistances_bound_the_curvature_of_the_losses(make):
    # Without shunts the second difference of the losses in reactive power is 2 R.
    network = replace(two_lines(), shunt_kw=np.zeros(3), shunt_kvar=np.zeros(3), source_vm_pu=1.0)
    model, step = make(network), 20.0
    q = np.array([[step, 0.0], [0.0, 0.0], [-step, 0.0]])
    loss = model.at(np.zeros((3, 2)), q).loss_kw
    curvature = (loss[0] - 2 * loss[1] + loss[2]) / step**2
    assert curvature == pytest.approx(2 * model.resistance_pu[0, 0] / 1000, rel=2e-3)
