"""Networks, profiles, prices, peers and states in broken files: one line names the file."""

import json
import sys
from functools import cache

import numpy as np
import pandapower as pp
import pandas as pd
import pytest

from configs.schema import Profiles
from grid.cases import build_network
from grid.loaders_json import read_pandapower
from simulation import run, setup
from simulation.profiles import load_profiles
from tests.simulation.hostile import BUSES, LINES, SCENARIO, ask, fault, write


@cache
def bundled(step_minutes):
    """The bundled profiles, read once."""
    return load_profiles(Profiles(), step_minutes)


def profiles_of(settings, step_minutes):
    """Read profiles, the bundled ones from memory."""
    return load_profiles(settings, step_minutes) if settings.file else bundled(step_minutes)


@pytest.fixture
def work(tmp_path, monkeypatch):
    """An empty working folder, beside one of input files."""
    folder = tmp_path / "input"
    folder.mkdir()
    write(folder, "b.csv", BUSES)
    write(folder, "l.csv", LINES)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(setup, "load_profiles", profiles_of)
    monkeypatch.setattr(run, "execute", lambda *_, **__: "")
    return tmp_path / "work"


@pytest.fixture
def built_once(monkeypatch):
    """Build the network once for all tests that leave it as it is."""

    def built(settings):
        if not KNOWN:
            KNOWN.append(build_network(settings))
        return KNOWN[0]

    monkeypatch.setattr(setup, "build_network", built)


KNOWN = []
"""The network of the valid files, once it has been built."""


def refusal(work, **changes):
    """The one line about a scenario whose network or sections are changed."""
    network = {**SCENARIO["networks"][0], **changes.pop("network", {})}
    network = {key: value for key, value in network.items() if value is not None}
    scenario = write(
        work.parent / "input", "s.yaml", {**SCENARIO, **changes, "networks": [network]}
    )
    answer = ask("--quiet", "--config", scenario)
    assert fault(answer, work) == ""
    return answer.err


# --- networks from CSV files ------------------------------------------------------------------

HEAD, *ROWS = BUSES.splitlines(keepends=True)
LINE_HEAD, *LINE_ROWS = LINES.splitlines(keepends=True)

BROKEN_NETWORKS = {
    "loop": (BUSES, LINES + "1,4,1,1\n", "loop"),
    "parallel lines": (BUSES, LINES + "3,4,1,1\n", "loop"),
    "line to itself": (BUSES, LINES + "4,4,1,1\n", "loop"),
    "island": (BUSES + "8,1,0,11\n9,1,0,11\n", LINES + "8,9,1,1\n", "source"),
    "isolated bus": (BUSES + "8,1,0,11\n", LINES, "source"),
    "two buses of one number": (BUSES + "4,1,0,11\n", LINES, "duplicate bus 4"),
    "two lines of one kind": (BUSES, LINES + LINE_ROWS[2], "loop"),
    "unknown from-bus": (BUSES, LINES + "77,78,1,1\n", "77"),
    "unknown to-bus": (BUSES, LINES + "4,77,1,1\n", "77"),
    "two sources": (
        HEAD.strip() + ",is_source\n" + "".join(f"{row.strip()},1\n" for row in ROWS),
        LINES,
        "exactly one source",
    ),
    "no source": (
        HEAD.strip() + ",is_source\n" + "".join(f"{row.strip()},0\n" for row in ROWS),
        LINES,
        "exactly one source",
    ),
    "zero impedance": (BUSES, LINES.replace("3,4,1,1", "3,4,0,0"), "impedance"),
    "tiny impedance": (BUSES, LINES.replace("3,4,1,1", "3,4,1e-12,0"), "too small"),
    "negative resistance": (BUSES, LINES.replace("3,4,1,1", "3,4,-1,1"), "impedance"),
    "negative reactance": (BUSES, LINES.replace("3,4,1,1", "3,4,1,-1"), "impedance"),
    "huge impedance": (BUSES, LINES.replace("3,4,1,1", "3,4,1e300,1"), "impedance"),
    "NaN impedance": (BUSES, LINES.replace("3,4,1,1", "3,4,nan,1"), "r_ohm"),
    "infinite impedance": (BUSES, LINES.replace("3,4,1,1", "3,4,inf,1"), "r_ohm"),
    "word for impedance": (BUSES, LINES.replace("3,4,1,1", "3,4,much,1"), "'much'"),
    "NaN rating": (BUSES, "".join([LINE_HEAD.strip(), ",max_i_ka\n1,2,1,1,nan\n"]), "max_i_ka"),
    "zero rating": (
        BUSES,
        LINE_HEAD.strip() + ",max_i_ka\n" + "".join(f"{row.strip()},0\n" for row in LINE_ROWS),
        "rating",
    ),
    "no load": (HEAD + "1,0,0,11\n2,0,0,11\n3,0,0,11\n4,0,0,11\n", LINES, "load"),
    "negative load": (BUSES.replace("50", "-50"), LINES, "load -50"),
    "NaN load": (BUSES.replace("50", "nan"), LINES, "load_kw"),
    "huge load": (BUSES.replace("50", "1e300"), LINES, "bus 2 has a load"),
    "infinite reactive load": (BUSES.replace("50,10", "50,inf"), LINES, "load_kvar"),
    "rated voltage 0": (BUSES.replace(",11\n3", ",0\n3"), LINES, "rated voltage"),
    "negative rated voltage": (BUSES.replace(",11\n3", ",-11\n3"), LINES, "rated voltage"),
    "bus number with a fraction": (BUSES.replace("\n4,", "\n4.5,"), LINES, "'4.5'"),
    "huge bus number": (BUSES.replace("\n4,", "\n1e300,"), LINES, "'1e300'"),
    "column missing": (BUSES.replace("vn_kv", "volt"), LINES, "vn_kv"),
    "column unknown": (BUSES.replace("11\n", "11,1\n").replace("vn_kv", "vn_kv,x"), LINES, "x"),
    "column twice": (BUSES.replace("load_kvar", "load_kw"), LINES, "load_kw"),
    "column doubled": (BUSES.replace("load_kvar", "load_kvar,load_kw"), LINES, "twice"),
    "semicolons": (BUSES.replace(",", ";"), LINES, "missing column"),
    "row cut short": (BUSES + "5,1\n", LINES, "line 6"),
    "row too long": (BUSES + "5,1,0,11,9\n", LINES, "line 6"),
    "empty cell": (BUSES + "5,,0,11\n", LINES, "load_kw is ''"),
    "no rows": (HEAD, LINES, "no rows"),
    "no lines": (BUSES, LINE_HEAD, "no rows"),
    "empty file": ("", LINES, "missing column"),
    "not UTF-8": (b"\xff\xfe\x00", LINES, "cannot be read"),
    "zero bytes": (b"\x00" * 100, LINES, "missing column"),
    "impossible limits": (
        HEAD.strip() + ",v_min_pu,v_max_pu\n" + "".join(f"{row.strip()},1.1,0.9\n" for row in ROWS),
        LINES,
        "v_min_pu is not below v_max_pu",
    ),
    "source voltage outside": (
        HEAD.strip() + ",source_vm_pu\n" + "".join(f"{row.strip()},2\n" for row in ROWS),
        LINES,
        "source is held at 2 p.u.",
    ),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", BROKEN_NETWORKS)
def test_broken_networks(work, kind):
    buses, lines, reason = BROKEN_NETWORKS[kind]
    write(work.parent / "input", "b.csv", buses)
    write(work.parent / "input", "l.csv", lines)
    message = refusal(work)
    assert reason in message
    assert "b.csv" in message or "l.csv" in message or "network line" in message


# --- networks from other files ----------------------------------------------------------------

CASE = """function mpc = small
mpc.version = '2';
mpc.baseMVA = 10;
mpc.bus = [
  1 3 0 0 0 0 1 1 0 11 1 1.1 0.9;
  2 1 0.05 0.01 0 0 1 1 0 11 1 1.1 0.9;
];
mpc.gen = [ 1 0 0 10 -10 1 100 1 10 0 ];
mpc.branch = [ 1 2 0.01 0.01 0 0 0 0 0 0 1 -360 360 ];
"""

BROKEN_CASES = {
    "cut short": (CASE[:150], "mpc."),
    "without branches": (CASE[: CASE.index("mpc.branch")], "mpc.branch"),
    "without base": (CASE.replace("mpc.baseMVA = 10", ""), "baseMVA"),
    "negative base": (CASE.replace("= 10;", "= -10;"), "baseMVA"),
    "two references": (CASE.replace("2 1 0.05", "2 3 0.05"), "reference"),
    "no reference": (CASE.replace("1 3 0 0", "1 1 0 0"), "reference"),
    "word in a table": (CASE.replace("0.05", "much"), "much"),
    "row too short": (CASE.replace("1 2 0.01 0.01 0 0 0 0 0 0 1 -360 360", "1 2 0.01"), "columns"),
    "system call": (CASE + "mpc.bus(1,3) = system('touch harmed');\n", "not understood"),
    "evaluated call": (CASE.replace("= 10;", "= __import__('os').system('x');"), "not understood"),
    "loop": (CASE + "for k = 1:1e9\nend\n", "not understood"),
    "tower of powers": (CASE.replace("= 10;", "= 9^9^9^9^9;"), "not understood"),
    "complex number": (CASE.replace("= 10;", "= (-1)^0.5;"), "not understood"),
    "deep expression": (CASE.replace("= 10;", f"= {'(' * 5000}1{')' * 5000};"), "not understood"),
    "long sum": (CASE.replace("= 10;", f"= {'1+' * 5000}1;"), "not understood"),
    "bus number with a fraction": (CASE.replace("2 1 0.05", "2.5 1 0.05"), "BUS_I"),
    "huge bus number": (CASE.replace("1 2 0.01", "1 1e300 0.01"), "T_BUS"),
    "infinite load": (CASE.replace("0.05", "Inf"), "load"),
}


@pytest.mark.parametrize("kind", BROKEN_CASES)
def test_broken_matpower_cases(work, kind):
    text, reason = BROKEN_CASES[kind]
    write(work.parent / "input", "case.m", text)
    network = {"source": "matpower", "case": "case.m", "lines": None}
    message = refusal(work, network=network)
    assert reason in message
    assert "case.m" in message


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A small pandapower network as saved by the library."""
    net = pp.create_empty_network()
    first, second = (pp.create_bus(net, vn_kv=11.0) for _ in range(2))
    pp.create_ext_grid(net, first)
    pp.create_line_from_parameters(net, first, second, 1.0, 0.3, 0.3, 0.0, 0.2)
    pp.create_load(net, second, 0.05, 0.01)
    path = tmp_path_factory.mktemp("saved") / "net.json"
    pp.to_json(net, str(path))
    return json.loads(path.read_text())


def table(tree, name):
    """Content of a table of a saved network."""
    return json.loads(tree["_object"][name]["_object"])


def changed(tree, name, change):
    """The network with one table changed."""
    tree = json.loads(json.dumps(tree))
    content = table(tree, name)
    change(content)
    tree["_object"][name]["_object"] = json.dumps(content)
    return tree


def evil(module, name):
    """An object that the library would import a module for."""
    return {"_module": module, "_class": name, "_object": json.dumps({"a": 1})}


def planted(tree, what):
    """The network with an object in every kind of place: beside tables, in a cell, in a dict."""
    tree = changed(tree, "line", lambda t: t["data"][0].__setitem__(0, what))
    tree["_object"]["more"] = what
    tree["_object"]["std_types"] = {"line": {"deep": [what]}}
    tree["_object"]["controller"]["_object"] = json.dumps(
        {"columns": ["object", "in_service"], "index": [0], "data": [[what, True]]}
    )
    return tree


@pytest.mark.parametrize("module", ["planted_module", "os", "subprocess", "builtins"])
@pytest.mark.parametrize("name", ["Thing", "function", "exec", "method", "Popen"])
def test_no_module_is_imported_for_a_network(work, saved, monkeypatch, module, name):
    """The library imports whatever a file names; here only its tables are read."""
    folder = work.parent / "input"
    mark = folder / "harmed"
    write(folder, "planted_module.py", f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n")
    monkeypatch.syspath_prepend(folder)
    write(folder, "net.json", json.dumps(planted(saved, evil(module, name))))
    net = read_pandapower(folder / "net.json")
    assert len(net.bus) == 2
    assert "more" not in net or net["more"] is None
    assert len(net.controller) == 0
    assert not mark.exists()
    assert "planted_module" not in sys.modules


def test_no_other_file_is_opened_for_a_network(work, saved):
    """A table that is the name of a file would be read from there."""
    tree = json.loads(json.dumps(saved))
    other = write(work.parent / "input", "other.json", saved["_object"]["bus"]["_object"])
    tree["_object"]["bus"]["_object"] = other
    write(work.parent / "input", "net.json", json.dumps(tree))
    network = {"source": "pandapower_json", "case": "net.json", "lines": None}
    assert "net.json: not a pandapower network" in refusal(work, network=network)


BROKEN_TABLES = {
    "no network": (lambda tree: [1, 2], "not a pandapower network"),
    "no tables": (lambda tree: {**tree, "_object": {}}, "ext_grid"),
    "missing column": (
        lambda tree: changed(
            tree,
            "line",
            lambda t: t["columns"].__setitem__(t["columns"].index("r_ohm_per_km"), "r"),
        ),
        "net.json",
    ),
    "huge bus number": (
        lambda tree: changed(tree, "bus", lambda t: t["index"].__setitem__(1, 10**12)),
        "bus numbers",
    ),
    "negative bus number": (
        lambda tree: changed(tree, "bus", lambda t: t["index"].__setitem__(1, -5)),
        "bus numbers",
    ),
    "unknown bus": (
        lambda tree: changed(
            tree, "line", lambda t: t["data"][0].__setitem__(t["columns"].index("to_bus"), 77)
        ),
        "net.json",
    ),
    "NaN length": (
        lambda tree: changed(
            tree, "line", lambda t: t["data"][0].__setitem__(t["columns"].index("length_km"), None)
        ),
        "net.json",
    ),
    "words for numbers": (
        lambda tree: changed(
            tree, "load", lambda t: t["data"][0].__setitem__(t["columns"].index("p_mw"), "much")
        ),
        "net.json",
    ),
}


@pytest.mark.parametrize("kind", BROKEN_TABLES)
def test_broken_pandapower_files(work, saved, kind):
    make, reason = BROKEN_TABLES[kind]
    write(work.parent / "input", "net.json", json.dumps(make(saved)))
    network = {"source": "pandapower_json", "case": "net.json", "lines": None}
    message = refusal(work, network=network)
    assert reason in message
    assert "net.json" in message


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "null", "5", '{"_module": "os"}', "NaN"])
def test_files_that_are_no_pandapower_networks(work, text):
    write(work.parent / "input", "net.json", text)
    network = {"source": "pandapower_json", "case": "net.json", "lines": None}
    assert "net.json" in refusal(work, network=network)


# --- profiles, prices and forecasts -----------------------------------------------------------


def profiles(n_days=3):
    times = pd.date_range("2016-06-03", periods=24 * n_days, freq="h", tz="UTC")
    values = np.random.default_rng(0).uniform(0.1, 0.9, (len(times), 4))
    given = pd.DataFrame(values, columns=["load_p:G0-A", "load_q:G0-A", "pv:PV1", "wind:WP4"])
    given.insert(0, "time", times.astype(str))
    return given.astype(object)


def cell(row, column, value):
    """The profiles with one value changed."""
    given = profiles()
    given.loc[row, column] = value
    return given.to_csv(index=False)


TEXT = profiles().to_csv(index=False)
BROKEN_PROFILES = {
    "NaN": (cell(5, "pv:PV1", float("nan")), "pv:PV1"),
    "infinite": (cell(5, "pv:PV1", "inf"), "pv:PV1"),
    "negative generation": (cell(5, "wind:WP4", -0.1), "wind:WP4"),
    "generation beyond the rating": (cell(5, "wind:WP4", 9.0), "wind:WP4"),
    "huge load": (cell(5, "load_p:G0-A", 1e300), "load_p:G0-A"),
    "huge negative load": (cell(5, "load_q:G0-A", -1e300), "load_q:G0-A"),
    "word": (cell(5, "load_p:G0-A", "much"), "'much'"),
    "truth value": (cell(5, "load_p:G0-A", "True"), "load_p:G0-A"),
    "date for a value": (cell(5, "load_p:G0-A", "2016-01-01"), "load_p:G0-A"),
    "gap": (profiles().drop(index=7).to_csv(index=False), "gap"),
    "time twice": (cell(7, "time", "2016-06-03 06:00:00+00:00"), "twice"),
    "unsorted": (profiles().iloc[::-1].to_csv(index=False), "must increase"),
    "no time": (cell(7, "time", ""), "time"),
    "word for a time": (cell(7, "time", "noon"), "'noon'"),
    "time beyond the calendar": (cell(7, "time", "9999-01-01"), "time"),
    "impossible date": (cell(7, "time", "2016-02-31"), "'2016-02-31'"),
    "numbers for times": (profiles().assign(time=range(72)).to_csv(index=False), "ISO 8601"),
    "mixed offsets": (cell(7, "time", "2016-06-03 07:00:00+05:00"), "time"),
    "part of a day": (profiles().iloc[:20].to_csv(index=False), "no whole day"),
    "one row": (profiles().iloc[:1].to_csv(index=False), "rows"),
    "no rows": (profiles().iloc[:0].to_csv(index=False), "rows"),
    "only times": (profiles()[["time"]].to_csv(index=False), "columns"),
    "no column of times": (profiles().drop(columns="time").to_csv(index=False), "'time'"),
    "unknown kind": (TEXT.replace("pv:", "sun:"), "sun:PV1"),
    "kind without a name": (TEXT.replace("pv:PV1", "pv:"), "pv:"),
    "column twice": (TEXT.replace("load_q:G0-A", "load_p:G0-A"), "twice"),
    "semicolons": (TEXT.replace(",", ";"), "'time'"),
    "decimal commas": (TEXT.replace(",", ";").replace(".", ","), "profiles.csv"),
    "ragged": (TEXT + "2016-06-06,1,1,1,1,1,1,1\n", "profiles.csv"),
    "one column more in all rows": (TEXT.replace("\n2016", ",7\n2016"), "profiles.csv"),
    "UTF-16": (TEXT.encode("utf-16"), "profiles.csv"),
    "zero bytes": (b"\x00" * 300, "profiles.csv"),
    "empty": ("", "profiles.csv"),
    "huge field": ("time," + "x" * 200_000 + "\n", "profiles.csv"),
    "too short for the history": (TEXT, "sample_days"),
}


@pytest.mark.parametrize("kind", BROKEN_PROFILES)
def test_broken_profiles(work, built_once, kind):
    content, reason = BROKEN_PROFILES[kind]
    write(work.parent / "input", "profiles.csv", content)
    message = refusal(work, profiles={"file": "profiles.csv"})
    assert reason in message
    assert "profiles.csv" in message or "sample_days" in message


def test_a_byte_order_mark_is_no_fault(work, built_once):
    """Spreadsheets write one."""
    write(work.parent / "input", "profiles.csv", b"\xef\xbb\xbf" + TEXT.encode())
    assert "sample_days" in refusal(work, profiles={"file": "profiles.csv"})


@pytest.mark.parametrize(
    "given",
    [
        pd.DataFrame({"time": [[1], [2]], "pv:PV1": [0.1, 0.2]}),
        pd.DataFrame({"time": profiles().time, "pv:PV1": [[0.1]] * 72}),
        pd.DataFrame({"time": profiles().time, "pv:PV1": [{"a": 1}] * 72}),
        pd.DataFrame({"time": profiles().time, "pv:PV1": [b"x"] * 72}),
        pd.DataFrame({"time": profiles().time, "pv:PV1": pd.date_range("2016", periods=72)}),
        pd.DataFrame({"time": np.full(72, "9999-01-01", "datetime64[us]"), "pv:PV1": 0.1}),
    ],
    ids=["lists of times", "lists", "sections", "bytes", "dates", "end of the calendar"],
)
def test_parquet_columns_of_anything(work, given):
    path = work.parent / "input" / "profiles.parquet"
    given.to_parquet(path)
    assert "profiles.parquet" in refusal(work, profiles={"file": path.name})


@pytest.mark.parametrize("name", ["profiles.parquet", "profiles.xlsx", "profiles", "input", "."])
def test_files_that_are_no_tables(work, built_once, name):
    if "profiles" in name:
        write(work.parent / "input", name, b"PAR1 nonsense PAR1")
    for section in ("profiles", "prices", "forecast"):
        refusal(work, **{section: {**SCENARIO.get(section, {}), "file": name}})


@pytest.mark.parametrize(
    ("spot", "reason"),
    [("1e300", "1e+300"), ("nan", "spot"), ("cheap", "'cheap'"), ("-0.9", "retail price")],
)
def test_broken_prices(work, built_once, spot, reason):
    times = pd.date_range("2016-06-04", periods=48, freq="h", tz="UTC").astype(str)
    rows = "".join(f"{time},{spot if k == 3 else 0.03}\n" for k, time in enumerate(times))
    write(work.parent / "input", "prices.csv", "time,spot_eur_per_kwh\n" + rows)
    message = refusal(work, prices={"file": "prices.csv"})
    assert reason in message
    assert "prices.csv" in message


# --- peers and what strategies have learnt ----------------------------------------------------

BROKEN_PEERS = {
    "no peers": ("peer_id,bus\n", "no peers"),
    "empty": ("", "no peers"),
    "unknown bus": ("peer_id,bus\na,99\n", "bus 99"),
    "source bus": ("peer_id,bus\na,1\n", "bus 1"),
    "huge bus": ("peer_id,bus\na,99999999999999999999\n", "bus"),
    "twice": ("peer_id,bus\na,2\na,3\n", "twice"),
    "column twice": ("peer_id,bus,pv_kw,pv_kw\na,2,1,2\n", "'pv_kw' stands twice"),
    "path for a name": ("peer_id,bus\n../../x,2\n", "peer_id"),
    "tag for a name": ("peer_id,bus\n<b>x</b>,2\n", "peer_id"),
    "account for a name": ("peer_id,bus\ndso,2\n", "called"),
    "no name": ("peer_id,bus\n,2\n", "peer_id"),
    "NaN": ("peer_id,bus,pv_kw\na,2,nan\n", "pv_kw"),
    "infinite": ("peer_id,bus,pv_kw\na,2,inf\n", "pv_kw"),
    "negative": ("peer_id,bus,pv_kw\na,2,-1\n", "pv_kw"),
    "huge": ("peer_id,bus,load_kw\na,2,1e300\n", "load_kw"),
    "huge reactive": ("peer_id,bus,load_kvar\na,2,-1e300\n", "load_kvar"),
    "digits": (
        "peer_id,bus,strategy,strategy_parameters\na,2,markup,markup=" + "9" * 5000,
        "markup",
    ),
    "unknown column": ("peer_id,bus,pv\na,2,1\n", "pv"),
    "half a battery": ("peer_id,bus,battery_kw\na,2,1\n", "battery_kwh"),
    "code": ("peer_id,bus,strategy\na,2,os.system\n", "--allow-plugins"),
    "not UTF-8": (b"peer_id,bus\n\xff,2\n", "cannot be read"),
    "ragged": ("peer_id,bus\na,2,3\n", "line 2"),
    "semicolons": ("peer_id;bus\na;2\n", "peer_id"),
}


@pytest.mark.parametrize("kind", BROKEN_PEERS)
def test_broken_peers(work, built_once, kind):
    content, reason = BROKEN_PEERS[kind]
    write(work.parent / "input", "peers.csv", content)
    message = refusal(work, network={"peer_table": "peers.csv"})
    assert reason in message
    assert "peers.csv" in message or "network line" in message


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "5",
        "{",
        "[" * 100_000,
        b"\xff\xfe",
        '{"nobody": {}}',
        '{"line-2": 5}',
        '{"line-2": {"strategy": "truthful", "parameters": {}, "state": {"a": 1}, "x": 1}}',
        '{"line-2": {"strategy": "bandit", "parameters": {}, "state": {}}}',
        '{"line-2": {"strategy": "truthful", "parameters": {}, "state": [1]}}',
        '{"line-2": {"strategy": "truthful", "parameters": {}, "state": {"a": NaN}}}',
    ],
)
def test_broken_states(work, built_once, content):
    write(work.parent / "input", "strategies.json", content)
    message = refusal(work, strategy_state="strategies.json")
    assert "strategies.json" in message


def test_enough_kinds_of_defects_are_tried():
    assert len(BROKEN_NETWORKS) + len(BROKEN_CASES) + len(BROKEN_TABLES) >= 60
    assert len(BROKEN_PROFILES) + len(BROKEN_PEERS) >= 50
