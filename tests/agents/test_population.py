"""Who lives in a network: draws as configured, tables that come back, rows that are refused."""

import csv
from collections import Counter

import numpy as np
import pytest

from agents.population import (
    PeerSpec,
    PopulationError,
    ProfileNames,
    draw_population,
    read_population,
)
from configs.schema import Network, Population
from grid.cases import build_network

NAMES = ProfileNames(
    load=("G0-A", "H0-A", "L0-A"),
    heat_pump=("Air_1",),
    ev=("HLS_A_3.7",),
    pv=("PV1", "PV2"),
    wind=("WP4", "WP7"),
)
NETWORK = build_network(Network(name="west", case="case85"))
N = int((NETWORK.load_kw > 0).sum())
PEAK_KW = float(NETWORK.load_kw.sum())
PEER_40 = ("west-61", "H0-A", "HLS_A_3.7", 0.23652146514748118)
"""Name, profiles and unit cost of a peer that seed 3 has always drawn."""


def draw(seed=1, network=NETWORK, **settings) -> list[PeerSpec]:
    return draw_population(network, Population(**settings), NAMES, np.random.default_rng(seed))


def total(peers, attribute) -> float:
    return sum(getattr(peer, attribute) for peer in peers)


def count(peers, attribute) -> int:
    return sum(getattr(peer, attribute) > 0 for peer in peers)


# --- the draw ---------------------------------------------------------------------------------


def test_one_peer_for_every_load_bus():
    peers = draw()
    assert [peer.bus for peer in peers] == NETWORK.bus[NETWORK.load_kw > 0].tolist()
    assert [peer.peer_id for peer in peers] == [f"west-{peer.bus}" for peer in peers]
    assert len(peers) == N


def test_loads_are_those_of_the_network():
    for peer in draw():
        at = NETWORK.position[peer.bus]
        assert peer.load_kw + peer.flexible_kw == pytest.approx(NETWORK.load_kw[at])
        assert peer.load_kvar == NETWORK.load_kvar[at]


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_shares_and_sizes_are_as_configured(share):
    peers = draw(
        renewable_owner_share=share,
        renewable_to_peak=1.2,
        wind_fraction=0.4,
        battery_owner_share=0.5,
        battery_to_renewable=0.3,
        battery_hours=3.0,
    )
    owners = [peer for peer in peers if peer.renewable_kw]
    assert len(owners) == round(share * N)
    assert not any(peer.pv_kw and peer.wind_kw for peer in peers)
    if not share:
        assert count(peers, "battery_kw") == 0
        return
    assert count(peers, "wind_kw") == round(0.4 * len(owners))
    assert total(peers, "pv_kw") == pytest.approx(0.6 * 1.2 * PEAK_KW)
    assert total(peers, "wind_kw") == pytest.approx(0.4 * 1.2 * PEAK_KW)
    with_battery = [peer for peer in peers if peer.battery_kw]
    assert len(with_battery) == round(0.5 * len(owners))
    for peer in with_battery:
        assert peer.battery_kw == pytest.approx(0.3 * peer.renewable_kw)
        assert peer.battery_kwh == pytest.approx(3.0 * peer.battery_kw)


@pytest.mark.parametrize("n_units", [0, 1, 7])
def test_dispatchable_units(n_units):
    peers = draw(n_dispatchable=n_units, dispatchable_to_peak=0.2)
    units = [peer for peer in peers if peer.dispatchable_kw]
    assert len(units) == n_units
    assert total(peers, "dispatchable_kw") == pytest.approx(0.2 * PEAK_KW * (n_units > 0))
    assert not any(peer.battery_kw for peer in units)
    assert all(0.18 <= peer.dispatchable_eur_per_kwh <= 0.24 for peer in units)


def test_flexible_load():
    peers = draw(flexible_owner_share=0.4, flexible_load_share=0.2)
    assert count(peers, "flexible_kw") == round(0.4 * N)
    assert total(peers, "flexible_kw") == pytest.approx(0.2 * PEAK_KW)
    few = draw(flexible_owner_share=0.05, flexible_load_share=0.5)
    assert all(peer.load_kw == 0 for peer in few if peer.flexible_kw)


def test_nobody_is_drawn_a_strategy():
    """So that entries of the scenario may choose whom they like."""
    assert all("strategy" not in peer.model_fields_set for peer in draw())


def test_the_draw_of_a_seed_is_for_ever():
    """Comparisons with older results need the same peers."""
    peer = draw(seed=3)[40]
    assert (peer.peer_id, peer.load_profile, peer.flexible_profile) == PEER_40[:3]
    assert peer.dispatchable_eur_per_kwh == pytest.approx(PEER_40[3], rel=1e-12)


def test_profiles_come_from_the_lists():
    peers = draw()
    used = {column for peer in peers for column in peer.columns}
    assert used <= {
        *(f"load_p:{name}" for name in NAMES.load + NAMES.heat_pump + NAMES.ev),
        *(f"load_q:{name}" for name in NAMES.load),
        *(f"pv:{name}" for name in NAMES.pv),
        *(f"wind:{name}" for name in NAMES.wind),
    }
    assert len(Counter(peer.load_profile for peer in peers)) == 3


def test_same_seed_same_peers():
    assert draw(seed=3) == draw(seed=3)
    assert draw(seed=3) != draw(seed=4)


def small_network(tmp_path, loads):
    """A line of buses fed from bus 1."""
    buses = [f"{k + 1},{load},0,11" for k, load in enumerate(loads)]
    lines = [f"{k},{k + 1},0.5,0.5" for k in range(1, len(loads))]
    (tmp_path / "b.csv").write_text("\n".join(["bus,load_kw,load_kvar,vn_kv", *buses]))
    (tmp_path / "l.csv").write_text("\n".join(["from_bus,to_bus,r_ohm,x_ohm", *lines]))
    return build_network(
        Network(
            name="line",
            source="csv",
            case=str(tmp_path / "b.csv"),
            lines=str(tmp_path / "l.csv"),
            substation_kva=500,
        )
    )


def test_load_at_the_source_is_no_peer(tmp_path):
    """Nobody at the source can move a voltage."""
    peers = draw(network=small_network(tmp_path, [30, 40, 50]))
    assert [peer.bus for peer in peers] == [2, 3]


@pytest.mark.parametrize("wind_fraction", [0.0, 0.2, 0.8, 1.0])
def test_few_owners_share_all_that_is_installed(tmp_path, wind_fraction):
    network = small_network(tmp_path, [0, 40, 50])
    peers = draw(network=network, renewable_to_peak=2.0, wind_fraction=wind_fraction)
    assert count(peers, "renewable_kw") == 1
    assert total(peers, "renewable_kw") == pytest.approx(180.0)


def test_a_network_without_load_has_no_peers_to_draw(tmp_path):
    with pytest.raises(PopulationError, match="network line: no bus but the source has a load"):
        draw(network=small_network(tmp_path, [10, 0, 0]))


# --- the table --------------------------------------------------------------------------------


@pytest.fixture
def save(tmp_path):
    def write(rows, name="peers.csv"):
        path = tmp_path / name
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return path

    return write


def cell(value) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{name}={parameter}" for name, parameter in value.items())
    return "" if value is None else str(value)


def test_round_trip(save):
    strategic = {
        "strategy": "bandit",
        "strategy_parameters": {"n_actions": 5, "exploration": 0.2, "algorithm": "exp3"},
        "strategy_from_day": 3,
        "coalition": "club",
    }
    peers = draw(renewable_owner_share=0.6)
    peers[::3] = [peer.model_copy(update=strategic) for peer in peers[::3]]
    rows = [{key: cell(value) for key, value in peer.model_dump().items()} for peer in peers]
    assert read_population(save(rows), NETWORK) == peers


@pytest.mark.parametrize(
    ("written", "value"),
    [("5", 5), ("0.5", 0.5), ("1e-3", 0.001), ("true", True), ("False", False), ("exp3", "exp3")],
)
def test_parameters_in_a_cell(written, value):
    parameters = PeerSpec(
        peer_id="a", bus=2, strategy_parameters=f"one= {written} ;two=2;"
    ).strategy_parameters
    assert parameters == {"one": value, "two": 2}
    assert type(parameters["one"]) is type(value)


def test_empty_cells_are_defaults(save):
    (peer,) = read_population(
        save([{"peer_id": "a", "bus": "2", "pv_kw": "", "load_kw": "5"}]), NETWORK
    )
    assert peer == PeerSpec(peer_id="a", bus=2, load_kw=5.0)


def test_byte_order_mark_of_spreadsheets(tmp_path):
    path = tmp_path / "peers.csv"
    path.write_text("peer_id,bus\na,2\n", encoding="utf-8-sig")
    assert read_population(path, NETWORK) == [PeerSpec(peer_id="a", bus=2)]


GOOD = {"peer_id": "a", "bus": "2", "load_kw": "5"}


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"load_kw": "-1"}, "column load_kw: .*greater than or equal to 0.*'-1'"),
        ({"load_kw": "many"}, "column load_kw: .*valid number.*'many'"),
        ({"load_kw": "nan"}, "column load_kw: "),
        ({"load_kvar": "inf"}, "column load_kvar: .*finite"),
        ({"pv_kw": "-3"}, "column pv_kw: "),
        ({"wind_kw": "inf"}, "column wind_kw: "),
        ({"battery_kw": "5"}, "battery_kw and battery_kwh must both be"),
        ({"battery_kwh": "5"}, "battery_kw and battery_kwh must both be"),
        ({"dispatchable_eur_per_kwh": "0"}, "column dispatchable_eur_per_kwh: "),
        ({"power_factor": "1.2"}, "column power_factor: "),
        ({"power_factor": "nan"}, "column power_factor: "),
        ({"markup": "0.1"}, "column markup: Extra inputs are not permitted"),
        (
            {"strategy": "honest"},
            r"column strategy: unknown strategy 'honest'; known are .*'markup'",
        ),
        (
            {"strategy": "markup", "strategy_parameters": "markup=-0.1"},
            "column strategy_parameters.markup: .*markup must be .*-0.1",
        ),
        (
            {"strategy": "truthful", "strategy_parameters": "markup=0.1"},
            "column strategy_parameters.markup: .*'markup'.*it takes none",
        ),
        ({"strategy_parameters": "0.1"}, "column strategy_parameters: .*name=value"),
        ({"strategy_from_day": "0"}, "column strategy_from_day: .*greater than or equal to 1"),
        ({"coalition": "the club"}, "column coalition: "),
        ({"bus": "999"}, "bus 999 is not a load bus of network west"),
        ({"bus": "1"}, "bus 1 is not a load bus of network west"),
        ({"bus": "2.5"}, "column bus: "),
        ({"bus": ""}, "column bus: Field required"),
        ({"peer_id": ""}, "column peer_id: Field required"),
        ({"peer_id": "a b"}, "column peer_id: "),
        ({"peer_id": "first"}, "peer first stands twice"),
        ({"pvkw": "5"}, "column pvkw: Extra inputs are not permitted"),
    ],
)
def test_bad_rows_are_refused(save, fault, message):
    bad = GOOD | fault
    first = dict.fromkeys(bad, "") | {"peer_id": "first", "bus": "3"}
    path = save([first, bad])
    place = "line 2" if "pvkw" in fault and first["pvkw"] else "line 3"
    with pytest.raises(PopulationError, match=f"{path}, {place}.*{message}"):
        read_population(path, NETWORK)


@pytest.mark.parametrize("row", ["a,2,5,6", "a,2"])
def test_rows_of_another_length_are_refused(tmp_path, row):
    path = tmp_path / "peers.csv"
    path.write_text(f"peer_id,bus,load_kw\n{row}\n", encoding="utf-8")
    with pytest.raises(PopulationError, match=f"{path}, line 2: as many values as columns"):
        read_population(path, NETWORK)


def test_files_that_are_no_tables(tmp_path):
    path = tmp_path / "peers.csv"
    with pytest.raises(PopulationError, match=f"{path}: no such file"):
        read_population(path, NETWORK)
    path.write_text("peer_id,bus\n")
    with pytest.raises(PopulationError, match=f"{path}: no peers"):
        read_population(path, NETWORK)
    path.write_bytes(b"peer_id,bus\n\xff\xfe,2\n")
    with pytest.raises(PopulationError, match=f"{path}: cannot be read"):
        read_population(path, NETWORK)
    path.write_text("peer_id,bus\n" + 200_000 * "a" + ",2\n")
    with pytest.raises(PopulationError, match=f"{path}: cannot be read"):
        read_population(path, NETWORK)


def test_a_population_beyond_all_bounds_is_named():
    settings = Population(renewable_to_peak=1e9, battery_to_renewable=1e9)
    with pytest.raises(PopulationError, match=r"its population gives bus \d+ \w+ .* less than"):
        draw_population(NETWORK, settings, NAMES, np.random.default_rng(0))
