"""Clearings with the branch-flow relaxation on one line, by hand and against the AC model."""

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import pytest

from grid.limits import LimitRows
from grid.network import RadialNetwork
from grid.network_model import AcModel
from grid.units import S_BASE_KVA
from market.branch_flow import EXACT
from market.clearing import ClearingResult, MarketClearing
from market.impedances import BranchFlowData
from market.offers import ErrorSamples, NetworkOffer
from market.relaxation import RelaxedGrid
from tests.market.builders import (
    FEED_IN,
    RETAIL,
    Peer,
    errors_of,
    make_book,
    make_roster,
    make_tariff,
    settings,
    unit,
    voltage_row,
)

V0, R, X = 1.02, 0.05, 0.08


def one_line(**changes) -> RadialNetwork:
    """The source, and a bus behind R + jX p.u."""
    z_base = 10.0**2  # ohm per p.u. at 10 kV and 1 MVA
    network = RadialNetwork(
        name="A",
        bus=np.array([1, 2]),
        vn_kv=np.full(2, 10.0),
        v_min_pu=np.full(2, 0.95),
        v_max_pu=np.full(2, 1.05),
        shunt_kw=np.zeros(2),
        shunt_kvar=np.zeros(2),
        load_kw=np.zeros(2),
        load_kvar=np.zeros(2),
        parent=np.array([0]),
        r_ohm=z_base * np.array([R]),
        x_ohm=z_base * np.array([X]),
        max_i_ka=np.array([1.0]),
        source_vm_pu=V0,
        substation_kva=5000.0,
    )
    return replace(network, **changes)


@dataclass
class OneLineOperator:
    """Operator of a network whose peers all live at its one bus; offers the AC model."""

    grid: RadialNetwork
    samples: ErrorSamples

    @property
    def network(self) -> str:
        return self.grid.name

    @property
    def reactive_curvature(self) -> np.ndarray:
        return np.full(self.samples.to_p.shape[1], R / S_BASE_KVA)

    @property
    def impedances(self) -> BranchFlowData:
        return BranchFlowData(
            parent=self.grid.parent,
            r_pu=np.array([R]),
            x_pu=np.array([X]),
            g_pu=np.zeros(1),
            b_pu=np.zeros(1),
            max_i_pu=self.grid.max_i_pu,
            source_vm_pu=V0,
            base_kva=S_BASE_KVA,
            line_of=np.zeros(self.samples.to_p.shape[1], dtype=int),
        )

    def linearise(self, p_kw, q_kvar, refresh: Collection[int]) -> NetworkOffer:
        del refresh  # always new
        point = AcModel(self.grid).at(
            p_kw.sum(axis=1, keepdims=True), q_kvar.sum(axis=1, keepdims=True)
        )
        steps, n_members = range(len(p_kw)), p_kw.shape[1]
        d_p, d_q = (
            {t: np.repeat(d, n_members, axis=1) for t, d in enumerate(each)}
            for each in zip(*(point.sensitivities(t) for t in steps), strict=True)
        )
        loss_d_p, loss_d_q = (np.repeat(d, n_members, axis=1) for d in point.loss_gradient())
        rows = LimitRows.of(self.grid)
        return NetworkOffer(
            network=self.network,
            p_kw=p_kw,
            q_kvar=q_kvar,
            value=point.value,
            limit=rows.limit,
            parent=rows.parent,
            d_p=d_p,
            d_q=d_q,
            loss_kw=point.loss_kw,
            loss_d_p=loss_d_p,
            loss_d_q=loss_d_q,
            converged=point.scale == 1.0,
        )


def clear(peers, grid_model="socp", network=None, n_steps=1, **prices) -> ClearingResult:
    tariff = make_tariff(n_steps, **prices)
    roster = make_roster(peers, n_steps)
    samples = errors_of({0: [-1e-3, 1e-3]}, len(peers), n_steps)
    operator = OneLineOperator(network or one_line(), samples)
    book = make_book(peers, tariff, roster)
    market = settings(grid_model=grid_model, coordination="none", max_passes=20)
    return MarketClearing(roster, market, [operator]).clear(0, book, tariff)


def feed_in_at(v: float) -> float:
    """Active power that lifts the bus to a voltage: v^4 - (v0^2 + 2 R p) v^2 + |z|^2 p^2 = 0."""
    z2, u = R**2 + X**2, v**2
    b = 2 * R * u
    root = np.sqrt(b**2 - 4 * z2 * (u**2 - V0**2 * u))
    return 1000 * (b - root) / (2 * z2)


def test_the_hand_calculation_is_that_of_the_power_flow():
    p = np.array([[feed_in_at(1.05)]])
    assert AcModel(one_line()).at(p, np.zeros((1, 1))).value[0, 0] == pytest.approx(1.05, abs=1e-9)


def test_rows_on_the_state_agree_with_the_linear_ones_at_the_operating_point():
    peers = {"home": Peer(load=500.0, load_kvar=200.0), "sun": Peer(pv=300.0, kvar=100.0)}
    tariff, roster = make_tariff(), make_roster(peers)
    network = one_line(max_i_ka=np.array([0.05]))
    operator = OneLineOperator(network, errors_of({0: [-1.0, 1.0]}, 2))
    book = make_book(peers, tariff, roster)
    relaxed = RelaxedGrid([operator.impedances], book, tariff, roster)
    fixed_p, fixed_q = relaxed.fixed[0]
    p, q = fixed_p + np.array([[0.0, 250.0]]), fixed_q - np.array([[0.0, 60.0]])
    offer = operator.linearise(p, q, {0})
    constant = offer.rows(0).at(fixed_p[0], fixed_q[0])
    rows = [
        voltage_row(
            roster,
            book,
            offer.d_p[0][k],
            index=k,
            d_q=offer.d_q[0][k],
            room=float(offer.limit[k] - constant[k]),
        )
        for k in range(4)
    ]
    on_state = relaxed.rows(rows, offer)
    v, loading = offer.value[0, 0] ** 2, offer.value[0, 2]
    state = {
        relaxed.flow.column(0, "v", 0, 0): v,
        relaxed.flow.column(0, "l", 0, 0): (loading * network.max_i_pu[0]) ** 2,
    }
    assert loading > 0.1
    for k, row in enumerate(on_state[:3]):
        room = row.room - row.state.slope * state[row.state.column]
        assert room == pytest.approx(offer.limit[k] - offer.value[0, k], abs=1e-12)
        # The slope is that of the root.
        change = row.state.slope * 0.02 * state[row.state.column]
        assert change == pytest.approx(offer.value[0, k] * (np.sqrt(1.02) - 1), rel=0.01)
    # The substation's row stays linear, and so does that of a line without current.
    assert on_state[3] is rows[3]
    idle = replace(offer, value=np.where(np.arange(4) == 2, 1e-4, offer.value))
    assert relaxed.rows(rows, idle)[2] is rows[2]


def test_losses_are_those_of_the_relaxation():
    result = clear({"home": Peer(load=400.0, load_kvar=100.0)}, loss=0.05)
    losses = result.offers[0].loss_kw[0]
    assert losses > 8.0
    assert result.objective == pytest.approx(400.0 * RETAIL + 0.05 * losses, abs=1e-4)
    assert result.exactness.plain.exact.all()


def test_an_upper_voltage_limit_is_kept_though_the_plain_relaxation_misses_it():
    peers = {"sun": Peer(pv=2000.0)}
    result = clear(peers, loss=0.05)
    limit = feed_in_at(1.05)
    # The plain relaxation burns what it sells too much; the schedule that is kept does not.
    assert result.exactness.plain.gap[0, 0] > 0.1
    assert not result.exactness.plain.exact[0, 0]
    assert result.exactness.kept.gap[0, 0] <= EXACT
    assert result.schedule.p_kw[0, 0] == pytest.approx(limit, abs=0.05)
    assert result.offers[0].value[0, 0] == pytest.approx(1.05, abs=1e-5)
    assert result.audits[0][0].binding
    default = clear(peers, "ac_sensitivity", loss=0.05)
    assert result.schedule.p_kw[0, 0] == pytest.approx(default.schedule.p_kw[0, 0], abs=0.05)
    assert default.exactness is None


def test_with_dear_losses_the_plain_relaxation_is_exact():
    result = clear({"sun": Peer(pv=2000.0)}, loss=5.0, feed_in=2.0, retail=3.0)
    assert result.exactness.plain.exact.all()
    assert result.schedule.p_kw[0, 0] == pytest.approx(feed_in_at(1.05), abs=0.05)


def test_the_next_kw_costs_as_much_in_losses_as_it_earns():
    result = clear({"sun": Peer(pv=2000.0)}, loss=5.0, feed_in=0.1)
    assert 5.0 * result.offers[0].loss_d_p[0, 0] == pytest.approx(0.1, rel=1e-3)
    assert 100.0 < result.schedule.p_kw[0, 0] < feed_in_at(1.05)
    assert result.exactness.plain.exact.all()


SUPPORT = {
    "home": Peer(load=1500.0, load_kvar=300.0),
    "unit": Peer(unit=unit(1200.0, 0.4)),
}


@pytest.mark.parametrize(
    ("network", "row"),
    [(one_line(), 1), (one_line(max_i_ka=np.array([0.06]), v_min_pu=np.full(2, 0.7)), 2)],
    ids=["lower voltage", "current"],
)
def test_support_is_bought_up_to_the_limit_of_the_power_flow(network, row):
    # Feed-in is cheap, but the unit is dearer than the supplier: it runs for the grid only.
    result = clear(SUPPORT, network=network, feed_in=FEED_IN)
    offer = result.offers[0]
    assert 100.0 < result.schedule.dispatchable[0, 0] < 1200.0
    assert offer.value[0, row] == pytest.approx(offer.limit[row], abs=1e-5)
    assert result.exactness.plain.exact.all()
    assert result.audits[0][0].binding


def test_steps_are_relaxed_each_on_its_own():
    result = clear({"sun": Peer(pv=[100.0, 2000.0, 0.0])}, n_steps=3, loss=0.05)
    assert result.exactness.plain.exact[:, 0].tolist() == [True, False, True]
    assert (result.exactness.kept.gap <= EXACT).all()
    # A lossy cent a kWh: the solver's accuracy in EUR is a few watts here.
    assert result.schedule.p_kw[0, 0] == pytest.approx(100.0, abs=1e-2)
