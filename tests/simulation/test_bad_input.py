"""Input that cannot be used: one line that names the place, nothing written, no traceback."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from simulation.run import main

ROOT = Path(__file__).resolve().parents[2]
LINES = "from_bus,to_bus,r_ohm,x_ohm\n"
BUSES = "bus,load_kw,load_kvar,vn_kv\n1,0,0,11\n2,50,10,11\n3,40,10,11\n"


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write input files into a folder that is the working directory."""
    folder = tmp_path / "input"
    folder.mkdir()
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)

    def save(name, content):
        path = folder / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content, encoding="utf-8")
        return str(path)

    save("b.csv", BUSES)
    save("l.csv", LINES + "1,2,1,1\n2,3,1,1\n")
    return save


def refused(capsys, *arguments) -> str:
    """The one line of a refusal; nothing was written into the working directory."""
    code = main(["--quiet", *arguments])
    out, err = capsys.readouterr()
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert list(Path().iterdir()) == []
    return err


def network(**settings) -> str:
    """A scenario with one network from CSV files."""
    entries = {"name": "line", "source": "csv", "case": "b.csv", "lines": "l.csv"} | settings
    listed = ", ".join(f"{key}: {value}" for key, value in entries.items())
    return f"days: 1\nmarket: {{horizon_hours: 2}}\nnetworks:\n  - {{{listed}}}\n"


# --- settings ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "places"),
    [
        (["--set", "market.riskk=0.1"], ["market.riskk"]),
        (["--set", "market.risk_level=often"], ["market.risk_level", "'often'"]),
        (["--set", "market.risk_level=1.5"], ["market.risk_level", "1.5"]),
        (["--set", "market.radius=-1e-3"], ["market.radius", "greater than or equal to 0"]),
        (["--set", "market.risk_level=0.005"], ["sample_days 60", "180", "0.005", "200"]),
        (["--set", "networks.case85.load_scale=0"], ["networks.0.load_scale", "greater than 0"]),
        (["--set", "networks.north.load_scale=1"], ["networks.north.load_scale", "case85"]),
        (["--set", "nonsense"], ["nonsense", "key.path=value"]),
        (["--days", "0"], ["days", "greater than or equal to 1"]),
        (["--days", "400"], ["days 400", "at most 214"]),
        (["--start", "2015-06-01"], ["2015-06-01", "2016-01-01", "2016-12-31"]),
        (["--start", "2016-12-31", "--days", "2"], ["2016-12-31", "at most 1"]),
        (["--start", "June"], ["start", "'June'"]),
        (["--start", "2016-06-31"], ["start=2016-06-31"]),
        (["--seed", "-1"], ["seed", "-1"]),
        (["--config", "nowhere"], ["nowhere", "default"]),
        (["--config", "missing.yaml"], ["missing.yaml"]),
        (["--set", "networks.case85.case=case58"], ["case85", "'case58'", "did you mean case85"]),
        (["--set", "networks.case85.peer_table=none.csv"], ["none.csv"]),
        (["--set", "profiles.file=none.parquet"], ["none.parquet", "no such file"]),
        (["--set", "prices.file=none.csv"], ["none.csv", "no such file"]),
        (["--set", "forecast.file=none.csv"], ["none.csv", "no such file"]),
        (["--set", "networks.case85.capacitors=[{bus: 99, kvar: 5}]"], ["case85", "bus 99"]),
        (["--set", "networks.case85.source_vm_pu=1.1"], ["case85", "1.1 p.u.", "0.95 to 1.05"]),
        (["--set", "networks.case69.capacitors=[{bus: 9, kvar: 1e9}]"], ["case69", "capacitors"]),
        (["--set", "networks.case69.source=pandapower"], ["case69"]),
        (["--set", "step_minutes=5"], ["15 min", "5 min"]),
        (["--set", "forecast.sample_days=366"], ["sample_days 366", "climatology_days"]),
    ],
)
def test_settings(write, capsys, arguments, places):
    message = refused(capsys, *arguments)
    for place in places:
        assert place in message


def test_files_that_are_no_scenarios(write, capsys):
    for content, place in ((b"\xff\xfe", "UTF-8"), (b"a: [", "YAML"), (b"- a\n", "mapping")):
        name = write("s.yaml", content)
        message = refused(capsys, "--config", name)
        assert name in message
        assert place in message


# --- networks ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("buses", "lines", "places"),
    [
        (BUSES, "1,2,1,1\n2,3,1,1\n1,3,1,1\n", ["line", "3"]),
        (BUSES + "4,10,0,11\n5,10,0,11\n", "1,2,1,1\n2,3,1,1\n4,5,1,1\n", ["source"]),
        (BUSES + "4,10,0,11\n", "1,2,1,1\n2,3,1,1\n", ["source"]),
        (BUSES + "4,10,0,11\n5,10,0,11\n", "1,2,1,1\n2,3,1,1\n4,5,1,1\n5,4,1,1\n", ["4"]),
        (BUSES, "1,2,1,1\n2,3,1,1\n3,9,1,1\n", ["b.csv", "9"]),
        (BUSES, "1,2,1,1\n2,3,zero,1\n", ["l.csv", "line 3", "r_ohm", "'zero'"]),
        (BUSES, "1,2,1,1\n2,3,0,0\n", ["line 2"]),
        (BUSES.replace("50", "nan"), "1,2,1,1\n2,3,1,1\n", ["b.csv", "line 3", "load_kw"]),
        (BUSES.replace("load_kvar", "kvar"), "1,2,1,1\n", ["b.csv", "load_kvar"]),
        (BUSES.replace("50", "5e6"), "1,2,1,1\n2,3,1,1\n", ["line", "does not converge"]),
        (BUSES.replace("50", "0").replace("40", "0"), "1,2,1,1\n2,3,1,1\n", ["line", "load"]),
    ],
    ids=[
        "meshed",
        "disconnected",
        "bus without parent",
        "island with a loop",
        "unknown bus",
        "not a number",
        "no impedance",
        "NaN load",
        "missing column",
        "collapse",
        "no load",
    ],
)
def test_networks(write, capsys, buses, lines, places):
    write("b.csv", buses)
    write("l.csv", LINES + lines)
    message = refused(capsys, "--config", write("s.yaml", network()))
    for place in places:
        assert place in message


def test_a_network_without_load_has_no_peers(write, capsys):
    write("b.csv", BUSES.replace("50", "0").replace("40", "0"))
    message = refused(capsys, "--config", write("s.yaml", network(substation_kva=100)))
    assert "network line" in message
    assert "peers" in message


@pytest.mark.parametrize(
    ("source", "case"), [("matpower", "case.m"), ("pandapower_json", "net.json")]
)
def test_network_files(write, capsys, source, case):
    text = f"networks:\n  - {{name: n, source: {source}, case: {case}}}\n"
    assert case in refused(capsys, "--config", write("s.yaml", text))
    write(case, b"\x00\xff nonsense {")
    assert case in refused(capsys, "--config", write("s.yaml", text))


# --- peers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "places"),
    [
        ("peer_id,bus\na,7\n", ["line 2", "bus 7"]),
        ("peer_id,bus,pv_kw\na,2,lots\n", ["line 2", "pv_kw", "'lots'"]),
        ("peer_id,bus,pv_kw,pv_profile\na,2,5,PV99\n", ["peer a", "pv:PV99", "PV1"]),
        ("peer_id,bus,load_profile\na,2,none\n", ["peer a", "load_p:none"]),
        ("peer_id,bus\na,2\na,3\n", ["line 3", "peer a stands twice"]),
        ("peer_id,bus,strategy\na,2,greedy\n", ["line 2", "'greedy'"]),
        ("peer_id,bus\na,2\nsupplier,3\n", ["network line", "called dso or supplier"]),
        ("peer_id,bus\n", ["no peers"]),
    ],
)
def test_peers(write, capsys, table, places):
    write("p.csv", table)
    message = refused(capsys, "--config", write("s.yaml", network(peer_table="p.csv")))
    for place in places:
        assert place in message


# --- profiles and prices ----------------------------------------------------------------------


def profile_table(n_days=3, **columns) -> pd.DataFrame:
    times = pd.date_range("2016-06-01", periods=24 * n_days, freq="h", tz="UTC")
    values = np.random.default_rng(0).uniform(0.1, 0.9, (len(times), 4))
    table = pd.DataFrame(values, columns=["load_p:G0-A", "load_q:G0-A", "pv:PV1", "wind:WP4"])
    table.insert(0, "time", times)
    return table.assign(**columns)


def change(table: pd.DataFrame, row: int, column: str, value) -> pd.DataFrame:
    table = table.astype({column: object})
    table.loc[row, column] = value
    return table


@pytest.mark.parametrize(
    ("table", "places"),
    [
        (change(profile_table(), 30, "pv:PV1", np.nan), ["pv:PV1", "2016-06-02 06:00"]),
        (change(profile_table(), 30, "pv:PV1", -0.5), ["pv:PV1", "-0.5", "2016-06-02 06:00"]),
        (change(profile_table(), 5, "load_p:G0-A", "x"), ["load_p:G0-A", "'x'"]),
        (profile_table().drop(index=7), ["2016-06-01 06:00", "2016-06-01 08:00"]),
        (profile_table().iloc[::-1], ["times must increase"]),
        (profile_table().iloc[:20], ["no whole day"]),
        (profile_table().drop(columns="time"), ["time"]),
        (profile_table().rename(columns={"pv:PV1": "sun:PV1"}), ["sun:PV1", "pv:NAME"]),
        (profile_table(), ["3 days", "sample_days"]),
        (profile_table(1), ["days 2", "at most 1"]),
    ],
    ids=[
        "NaN",
        "negative",
        "text",
        "gap",
        "backward",
        "part of a day",
        "no time",
        "unknown kind",
        "no history",
        "shorter than the run",
    ],
)
def test_profiles(write, capsys, table, places):
    path = write("profiles.csv", table.to_csv(index=False))
    scenario = write("s.yaml", network() + "profiles: {file: profiles.csv}\nstart: 2016-06-01\n")
    days = "2" if "days 2" in places else "1"
    message = refused(capsys, "--config", scenario, "--days", days)
    for place in places:
        assert place in message
    if "days 2" not in places and "3 days" not in places:
        assert path in message


def test_start_outside_the_users_data(write, capsys):
    write("profiles.csv", profile_table().to_csv(index=False))
    text = network() + "profiles: {file: profiles.csv}\nstart: 2016-07-01\n"
    message = refused(capsys, "--config", write("s.yaml", text))
    assert "start 2016-07-01 lies outside the profiles: allowed is 2016-06-01 to 2016-06-03" in (
        message
    )


def test_a_ragged_file(write, capsys):
    """The reader's own message has several lines."""
    path = write("profiles.csv", "time,pv:PV1\n2016-06-01,1\n2016-06-02,1,5,5\n")
    text = network() + "profiles: {file: profiles.csv}\n"
    assert path in refused(capsys, "--config", write("s.yaml", text))


def test_prices_that_invite_to_trade_in_circles(write, capsys):
    times = pd.date_range("2016-06-01", periods=100, freq="h", tz="UTC")
    spot = pd.DataFrame({"time": times, "spot_eur_per_kwh": -0.5})
    write("prices.csv", spot.to_csv(index=False))
    text = network() + "prices: {file: prices.csv}\nstart: 2016-06-01\n"
    assert "prices.csv" in refused(capsys, "--config", write("s.yaml", text))


# --- the output folder ------------------------------------------------------------------------


def test_an_output_folder_with_something_in_it(write, tmp_path, capsys):
    full = tmp_path / "full"
    full.mkdir()
    (full / "precious.txt").write_text("keep")
    message = refused(capsys, "--output", str(full))
    assert str(full) in message
    assert [path.name for path in full.iterdir()] == ["precious.txt"]
    assert (full / "precious.txt").read_text() == "keep"


def test_an_output_that_is_a_file(write, tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("keep")
    assert str(file) in refused(capsys, "--output", str(file))
    assert file.read_text() == "keep"


# --- the command line -------------------------------------------------------------------------


def test_help_does_not_wait():
    """The libraries behind a run take seconds to import; help must not."""
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "simulation.run", "--help"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        seconds.append(time.perf_counter() - start)
        assert done.returncode == 0, done.stderr
        for option in ("--days", "--config", "--start", "--seed", "--set", "--output"):
            assert option in done.stdout
    assert min(seconds) < 1.5


@pytest.mark.parametrize("arguments", [["--dayz", "3"], ["--days", "many"], ["extra"]])
def test_wrong_options(write, capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err
    assert list(Path().iterdir()) == []
