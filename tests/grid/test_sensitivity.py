"""Analytic sensitivities against finite differences of AC power flows."""

from dataclasses import replace

import numpy as np
import pytest

from configs.schema import Capacitor, Network
from grid.cases import build_network
from grid.limits import LimitRows
from grid.network import RadialNetwork
from grid.power_flow import BatchPowerFlow
from grid.replay import AcReplay
from grid.sensitivity import ImpedanceModel, OperatingPoint, SensitivityError

RELATIVE = 1e-4


def make_network(case: str) -> RadialNetwork:
    """A network with capacitors, conductances, and a shunt at the source."""
    network = build_network(
        Network(
            name=case,
            source="builtin" if case.startswith("case") else "pandapower",
            case=case,
            source_vm_pu=1.03,
            capacitors=(Capacitor(bus=10, kvar=300), Capacitor(bus=1, kvar=40)),
        )
    )
    shunt_kw = network.shunt_kw.copy()
    shunt_kw[[2, network.n_buses // 2]] += 25.0
    return replace(network, shunt_kw=shunt_kw)


@pytest.fixture(scope="module", params=["case85", "case69", "create_cigre_network_mv"])
def network(request: pytest.FixtureRequest) -> RadialNetwork:
    return make_network(request.param)


def typical_load(network: RadialNetwork) -> float:
    return float(np.median(network.load_kw[network.load_kw > 0]))


def schedules(network: RadialNetwork) -> tuple[np.ndarray, np.ndarray]:
    """Load, feed-in, and both at once; no bus rests, so that no line is idle."""
    rng = np.random.default_rng(5)
    n = network.n_buses - 1
    load = typical_load(network) * rng.uniform(0.5, 1.0, n)
    feeds_in = np.where(rng.random(n) < 0.4, rng.uniform(2.0, 5.0, n), 0.0)
    p_kw = load * np.array([-np.ones(n), rng.uniform(0.5, 1.5, n), feeds_in - 1])
    q_kvar = load * rng.uniform([[-0.5], [-0.6], [-0.6]], [[-0.3], [0.2], [0.2]], (3, n))
    return p_kw, q_kvar


def operating_point(network: RadialNetwork, p_kw: np.ndarray, q_kvar: np.ndarray) -> OperatingPoint:
    voltage = BatchPowerFlow(network).solve(p_kw, q_kvar)
    assert np.isfinite(voltage).all()
    return OperatingPoint(ImpedanceModel.of(network), voltage, p_kw, q_kvar)


def shifted(values: np.ndarray, by: float) -> np.ndarray:
    """One scenario for every bus whose injection is shifted."""
    return values + by * np.eye(len(values))


def central_differences(network, p_kw, q_kvar, of, share=0.02):
    """Derivatives of a quantity of operating points by every p and q, last axis the injection.

    Two widths, shares of a typical load, extrapolated: the magnitude of a small current bends
    within a few kW.
    """
    out = []
    for move_p, move_q in ((1, 0), (0, 1)):
        at_width = []
        for width in np.array([share, 2 * share]) * typical_load(network):
            ends = [
                of(
                    operating_point(
                        network,
                        shifted(p_kw, move_p * signed),
                        shifted(q_kvar, move_q * signed),
                    )
                )
                for signed in (width, -width)
            ]
            at_width.append((ends[0] - ends[1]).T / (2 * width))
        out.append((4 * at_width[0] - at_width[1]) / 3)
    return out


def assert_close(analytic: tuple[np.ndarray, ...], numeric: list[np.ndarray]) -> None:
    """Equal to 1e-4 of the entry, or of 3 % of its row's largest where it is tiny."""
    size = np.abs(np.concatenate(analytic, axis=-1)).max(axis=-1, keepdims=True)
    assert size.min() > 0
    for one, other in zip(analytic, numeric, strict=True):
        assert one.shape == other.shape
        allowed = RELATIVE * np.maximum(np.abs(one), 3e-2 * size)
        assert (np.abs(one - other) <= allowed).all()


@pytest.mark.parametrize("step", range(3))
def test_every_limit_row(network, step):
    p_kw, q_kvar = schedules(network)
    rows = LimitRows.of(network)
    analytic = rows.sensitivities(operating_point(network, p_kw, q_kvar), step)
    assert_close(analytic, central_differences(network, p_kw[step], q_kvar[step], rows.value))


@pytest.mark.parametrize("step", range(3))
def test_loss_gradient(network, step):
    p_kw, q_kvar = schedules(network)
    point = operating_point(network, p_kw, q_kvar)
    # Losses are smooth and differences of large powers: wide steps lose fewer digits.
    numeric = central_differences(network, p_kw[step], q_kvar[step], lambda at: at.loss_kw, 0.4)
    assert_close(tuple(gradient[step] for gradient in point.loss_gradient()), numeric)


def test_with_pandapower(network):
    """The same through the engine of the replay, for a few injections far apart."""
    p_kw, q_kvar = (values[2] for values in schedules(network))
    rows, replay = LimitRows.of(network), AcReplay(network)
    point = operating_point(network, p_kw[None], q_kvar[None])
    analytic = [*rows.sensitivities(point, 0)]
    loss = [gradient[0] for gradient in point.loss_gradient()]

    def run(p, q):
        result = replay.run(np.append(0.0, p), np.append(0.0, q))
        apparent = np.hypot(result.p_source_kw, result.q_source_kvar) / network.substation_kva
        vm = result.vm_pu[1:]
        return np.concatenate([vm, -vm, result.loading_percent / 100, [apparent, result.losses_kw]])

    size = np.abs(np.hstack(analytic)).max(axis=1)
    size = np.append(size, np.abs(np.concatenate(loss)).max())
    width = typical_load(network) / 50
    for bus in (0, len(p_kw) // 3, len(p_kw) - 1):
        move = width * np.eye(len(p_kw))[bus]
        by_p = (run(p_kw + move, q_kvar) - run(p_kw - move, q_kvar)) / (2 * width)
        by_q = (run(p_kw, q_kvar + move) - run(p_kw, q_kvar - move)) / (2 * width)
        for k, numeric in enumerate((by_p, by_q)):
            expected = np.append(analytic[k][:, bus], loss[k][bus])
            assert (np.abs(expected - numeric) <= 3 * RELATIVE * size).all()


def test_voltage_derivatives_hold_the_angle_too(network):
    p_kw, q_kvar = schedules(network)
    point = operating_point(network, p_kw, q_kvar)
    numeric = central_differences(network, p_kw[1], q_kvar[1], lambda at: at.voltage[:, 1:])
    assert_close(point.voltage_derivatives(1), numeric)


def test_operating_point_solves_the_power_flow_equations(network):
    """The reduced impedance matrix reproduces the voltages of the other engine."""
    p_kw, q_kvar = schedules(network)
    point = operating_point(network, p_kw, q_kvar)
    model = point.model
    current = np.conj((p_kw + 1j * q_kvar) / 1000 / point.voltage[:, 1:])
    no_load = -model.z @ (model.y_source * network.source_vm_pu)
    np.testing.assert_allclose(
        point.voltage[:, 1:], no_load + current @ model.z.T, rtol=0, atol=1e-8
    )


def test_losses_are_those_of_lines_and_shunts(network):
    p_kw, q_kvar = schedules(network)
    point = operating_point(network, p_kw, q_kvar)
    in_lines = np.abs(point.line_current) ** 2 @ network.z_pu.real * 1000
    in_shunts = point.vm_pu**2 @ network.shunt_kw
    np.testing.assert_allclose(point.loss_kw, in_lines + in_shunts, atol=1e-5)


def test_idle_lines_have_no_direction():
    """Without any current the loading is at its kink; its derivative is taken as zero."""
    network = build_network(Network(name="n", case="case69"))
    idle = np.zeros((1, network.n_buses - 1))
    rows = LimitRows.of(network)
    d_p, d_q = rows.sensitivities(operating_point(network, idle, idle), 0)
    currents = rows.kind == "over_current"
    assert not d_p[currents].any()
    assert not d_q[currents].any()
    assert np.isfinite(d_p).all()
    assert (d_p[rows.kind == "over_voltage"] >= 0).all()


@pytest.mark.parametrize("step", range(3))
def test_phasors_of_currents_and_of_the_substation(network, step):
    p_kw, q_kvar = schedules(network)
    rows = LimitRows.of(network)
    analytic = rows.phasor_sensitivities(operating_point(network, p_kw, q_kvar), step)
    assert_close(analytic, central_differences(network, p_kw[step], q_kvar[step], rows.phasors))


def test_phasors_have_no_kink_where_nothing_flows():
    """The magnitude has one; real and imaginary part are smooth, and known there too."""
    network = build_network(Network(name="n", case="case69"))
    idle = np.zeros(network.n_buses - 1)
    rows = LimitRows.of(network)
    # Next to nothing flows: 1e-6 of the load of one bus, at the far end.
    almost = np.where(np.arange(len(idle)) == len(idle) - 1, 1e-6, 0.0)
    for p_kw in (idle, almost):
        point = operating_point(network, p_kw[None], idle[None])
        analytic = rows.phasor_sensitivities(point, 0)
        assert_close(analytic, central_differences(network, p_kw, idle, rows.phasors))
        np.testing.assert_allclose(np.abs(rows.phasors(point)), rows.value(point)[:, -69:])


def test_collapse_is_named():
    network = build_network(Network(name="west", case="case85"))
    p_kw, q_kvar = -network.load_kw[None, 1:], -network.load_kvar[None, 1:]
    solved = operating_point(network, p_kw, q_kvar)
    beyond = replace(solved, p_kw=30 * p_kw, q_kvar=30 * q_kvar)
    with pytest.raises(SensitivityError, match="west"), np.errstate(all="ignore"):
        beyond.loss_gradient()
