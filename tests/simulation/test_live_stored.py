"""A finished run, watched step by step, shows what its tables hold."""

import json
import shutil

import pandas as pd
import pytest

from simulation.live.feeder_maps import CLASSES, clicked_bus, maps
from simulation.live.figures import curves, schedule
from simulation.live.stored import StoredRun, open_run
from simulation.live.tables import bids_table, number, table
from simulation.live.views import flows, loadings, states, violated, voltages
from simulation.reporting.stored_tables import ReportError


@pytest.fixture(scope="module")
def run(day):
    return open_run(day.folder)


@pytest.fixture
def watched(run):
    return StoredRun(run)


@pytest.fixture
def copy(day, tmp_path):
    return shutil.copytree(day.folder, tmp_path / "run")


def test_steps_and_jumps(watched):
    assert (watched.moment.step, watched.n_steps) == (0, 24)
    watched.step()
    assert watched.moment.step == 1
    watched.go_to(22)
    assert watched.running
    watched.step()
    assert (watched.moment.step, watched.running) == (23, False)
    watched.step()
    assert watched.moment.step == 23
    assert len(watched.history) == 24


def test_a_step_is_that_of_the_tables(watched, day):
    watched.go_to(12)
    site = watched.sites[0]
    rows = day.bus_voltage.query("step == 12 and network == @site.network").set_index("bus").vm_pu
    assert {b: v for b, v in voltages(watched.moment, site).items() if b != site.source} == (
        rows.to_dict()
    )
    lines = day.lines.query("network == @site.network").set_index("line").to_bus
    loads = day.line_loading.query("step == 12 and network == @site.network").set_index("line")
    for line, bus in lines.items():
        assert loadings(watched.moment, site)[bus][0] == loads.loading_percent[line]


def test_accounts_end_at_those_of_the_run(watched, day):
    watched.go_to(23)
    for peer in watched.peers.index:
        expected = day.accounts.query("account == @peer").amount_eur.sum()
        assert watched.account(peer).sum() == pytest.approx(expected, abs=1e-9)


def test_flows_and_states_add_up(watched, day):
    for step in (3, 12, 20):
        watched.go_to(step)
        sums = flows(watched.moment, watched.peers)
        traded = day.trades.query("step == @step").energy_kwh.sum()
        assert sums.energy_kwh.sum() == pytest.approx(traded, abs=1e-3)
        state = states(watched.moment, watched.sites)
        across = sums[sums.seller != sums.buyer].set_index("seller").energy_kwh
        for network in state.index:
            sent = (
                across.get(network, 0.0)
                - sums[(sums.buyer == network) & (sums.seller != network)].energy_kwh.sum()
            )
            assert state.sent_kw[network] == pytest.approx(sent, abs=0.01)


def test_the_schedule_is_what_followed(watched, day):
    watched.go_to(10)
    seller = day.trades.query("step == 12 and energy_kwh > 0.1").seller.iloc[0]
    words, rows = watched.schedule(seller)
    assert "coming steps" in words
    told = day.dispatch.query("10 <= step < 14 and peer_id == @seller")
    assert rows.injection_kw.tolist() == told.p_scheduled_kw.tolist()
    sold = day.trades.query("step == 12 and seller == @seller and energy_kwh > 1e-6").energy_kwh
    assert rows.sold_kw[2] == pytest.approx(sold.sum())
    watched.go_to(23)
    assert len(watched.schedule(seller)[1]) == 1


def test_violations_are_marked(copy):
    path = copy / "violations.parquet"
    form = pd.read_parquet(path)
    found = [(5, "west", "20", "over_voltage"), (5, "west", "0", "over_current")]
    rows = pd.DataFrame(found, columns=["step", "network", "element", "kind"])
    rows.reindex(columns=form.columns).astype({"step": "int32"}).to_parquet(path, index=False)
    watched = StoredRun(open_run(copy))
    west = watched.sites[0]
    watched.go_to(5)
    assert violated(watched.moment, west) == ({20}, {next(iter(west.parent))})
    assert watched.history.n_violations.tolist() == [0, 0, 0, 0, 0, 2]
    figure = maps(watched.sites, watched.moment, None)
    overloaded, rings = figure.data[len(CLASSES) - 1], figure.data[len(CLASSES) + 3]
    assert len(overloaded.x) == 4
    assert (rings.x[0], rings.y[0]) == west.place[20]


def test_every_bus_can_be_clicked_and_every_peer_reached(watched):
    figure = maps(watched.sites, watched.moment, None)
    n_traces = len(figure.data) // len(watched.sites)
    reached = set()
    for trace, points in enumerate(figure.data):
        for x, y in zip(points.x, points.y, strict=True) if points.mode == "markers" else ():
            site, bus = clicked_bus(watched.sites, trace, x, y)
            assert site is watched.sites[trace // n_traces]
            peer = None
            for _ in site.peers_at.get(bus, ()):
                peer = site.next_peer(bus, peer)
                reached.add(peer)
    assert reached == set(watched.peers.index)
    assert clicked_bus(watched.sites, 0, 999, 999) is None


def test_figures_are_drawn_before_the_first_step_and_after(watched):
    assert maps(watched.sites, None, None).data[len(CLASSES) + 1].marker.color == "white"
    assert len(curves(pd.DataFrame()).data) == 4
    assert list(curves(watched.history).data[0].y) == watched.history.cost_eur.tolist()
    _, rows = watched.schedule(watched.peers.index[0])
    assert list(schedule(rows).data[0].y) == rows.injection_kw.tolist()


def test_tables_escape_names_and_round(watched):
    assert "&lt;script&gt;" in table("", ("a",), [("<script>",)])
    assert (number(-1e-9, 2), number(0.5, 1, plus=True), number(float("nan"), 1)) == (
        "0.00",
        "+0.5",
        "–",
    )
    assert "load" in bids_table(watched.moment, watched.peers.index[0])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "is no folder"),
        (lambda f: (f / "manifest.json").unlink(), "holds no run"),
        (lambda f: _status(f, "interrupted"), "is interrupted; only finished ones"),
        (lambda f: (f / "bids.parquet").unlink(), "bids.parquet: is missing"),
        (lambda f: (f / "trades.parquet").write_bytes(b"no"), "trades.parquet: is damaged"),
        (lambda f: _drop(f, "dispatch", "p_kw"), "dispatch.parquet: "),
        (lambda f: _drop(f, "lines", None), "damaged"),
    ],
)
def test_a_damaged_or_unfinished_run_is_refused(copy, damage, message):
    damage(copy)
    with pytest.raises(ReportError, match=message):
        open_run(copy)


def _status(folder, status):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**manifest, "status": status}), encoding="utf-8")


def _drop(folder, name, column):
    """Take a column, or the first row, out of a table."""
    path = folder / f"{name}.parquet"
    frame = pd.read_parquet(path)
    (frame.drop(columns=column) if column else frame[1:]).to_parquet(path, index=False)
