"""Reports of runs: what they show, that they show what the run left, and what they refuse."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from configs.loading import load
from simulation.figure_parts import STYLE
from simulation.report import main, write_figures, write_report
from simulation.reporting.base_case import read_base
from simulation.reporting.blocks import Picture, Table, number, significant
from simulation.reporting.flow_views import energy_balance, flows_between, thinned, traded_power
from simulation.reporting.grid_sections import feeders_of
from simulation.reporting.grid_views import _period, _worst_of_periods, feeder
from simulation.reporting.market_views import received_by_kind
from simulation.reporting.print_figures import WIDTH
from simulation.reporting.publication import FIGURES
from simulation.reporting.rendering import render
from simulation.reporting.risk_views import delivered_rates
from simulation.reporting.run_data import read_run
from simulation.reporting.run_page import run_page
from simulation.reporting.stored_tables import ReportError
from tests.simulation.resumed import run_and_copy

SECTIONS = [
    "answer",
    "maps",
    "voltages",
    "energy",
    "prices",
    "promise",
    "money",
    "recourse",
    "audit",
    "origin",
]
OPTIONAL = (
    "prices",
    "accounts",
    "peer_outcomes",
    "out_of_sample",
    "line_loading",
    "substation",
    "risk",
    "dso_surplus",
    "resource_costs",
    "transfers",
    "tariff",
)


@pytest.fixture(scope="module")
def data(day):
    """The run as it is read for its report."""
    return read_run(day.folder)


@pytest.fixture(scope="module")
def page(data):
    """Its page."""
    return run_page(data)


@pytest.fixture
def copy(day, tmp_path):
    """A copy of the run's folder that may be spoilt."""
    return shutil.copytree(day.folder, tmp_path / "run")


def pictures(page):
    return [
        block for section in page.sections for block in section.blocks if block.kind == "picture"
    ]


def tables(page, title):
    return [
        block
        for section in page.sections
        for block in section.blocks
        if isinstance(block, Table) and block.title == title
    ]


def sections(html):
    return re.findall(r'<section id="([^"]+)"', html)


def with_status(folder, status, *, summary):
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    (folder / "manifest.json").write_text(json.dumps({**manifest, "status": status}))
    if not summary:
        (folder / "summary.json").unlink()


def changed(data, **tables):
    """The run with other tables."""
    return replace(data, tables={**data.tables, **tables})


# What is shown -----------------------------------------------------------------------------------


def test_every_section_in_order_in_one_small_file_without_requests(copy):
    path = write_report(copy)
    html = path.read_text(encoding="utf-8")
    assert path == copy / "report.html"
    assert sections(html) == SECTIONS
    assert path.stat().st_size < 6e6
    own = re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)
    assert re.findall(r'(?:src|href)="(?!#|data:)[^"]*"', own) == []
    assert "@import" not in own
    assert "url(" not in own


def test_every_axis_has_a_title_with_a_unit(page):
    for picture in pictures(page):
        layout = picture.figure.to_dict()["layout"]
        axes = {key: axis for key, axis in layout.items() if re.fullmatch(r"[xy]axis\d*", key)}
        assert len(axes) >= 2
        for key, axis in axes.items():
            shared = axis.get("matches") and not axis.get("showticklabels", True)
            if axis.get("visible", True) and not shared:
                assert re.search(r"\[.+\]", axis["title"]["text"]), (picture.title, key)


def test_every_picture_says_what_is_seen_and_how_to_read_it(page):
    found = pictures(page)
    assert len(found) > 12
    for picture in found:
        assert len(picture.seen) > 20
        assert picture.seen.endswith(".")
        assert len(picture.reading) > 40
        assert "nan" not in picture.seen.lower().split()


def test_answers_are_those_of_the_summary(day, page):
    cost, saving, _, traded, violation, fallbacks = page.answers
    s = day.summary
    assert cost.value == f"{s['total_operational_cost_eur']:,.0f} EUR"
    assert saving.value == "–"
    assert f"{s['energy_traded_across_kwh']:,.0f} kWh across" in traded.note
    for scope in ("binding", "all"):
        tally = s["delivered_violation"][scope]["together"]
        assert f"{tally['events']} of {tally['steps']}" in violation.note
    assert fallbacks.value == f"{s['fallback_steps']} of {s['n_steps']}"


def test_rates_are_those_of_the_summary_with_counts_for_all_and_binding_steps(day, data):
    rates = delivered_rates(data).set_index(["source", "scope", "network"])
    for scope, tallies in day.summary["delivered_violation"].items():
        for network, tally in tallies.items():
            row = rates.loc[("replay", scope, network)]
            assert row.counts == f"{tally['events']} of {tally['steps']}"
            if tally["steps"]:
                ends = [100 * tally[key] for key in ("rate", "ci_days_low", "ci_days_high")]
                assert [row.rate, row.low, row.high] == pytest.approx(ends)


def test_the_worst_bus_of_a_map_is_that_of_the_table(data, day):
    for network in data.networks:
        fed = feeder(data, network)
        rows = day.bus_voltage.query("network == @network").merge(day.buses, on=["network", "bus"])
        margin = np.minimum(rows.vm_pu - rows.v_min_pu, rows.v_max_pu - rows.vm_pu)
        assert fed.worst.margin_pu == pytest.approx(margin.min(), abs=1e-12)
        assert int(fed.worst.name) == int(rows.bus[margin.idxmin()])


def test_energy_balance_closes_in_every_step(data):
    for network in data.networks:
        balance = energy_balance(data, network)
        assert balance.sum(axis=1).abs().max() < 1e-6
        assert balance["load"].max() <= 0


def test_trade_is_counted_once_and_where_it_belongs(data, day):
    flows = flows_between(data)
    s = day.summary
    assert np.trace(flows.to_numpy()) == pytest.approx(s["energy_traded_within_kwh"])
    across = flows.to_numpy().sum() - np.trace(flows.to_numpy())
    assert across == pytest.approx(s["energy_traded_across_kwh"], abs=1e-9)
    one, other = (traded_power(data, network) for network in data.networks)
    assert one.sold.to_numpy() == pytest.approx(-other.bought.to_numpy())


def test_accounts_sum_to_zero(data):
    assert received_by_kind(data).to_numpy().sum() == pytest.approx(0, abs=1e-6)


def test_configuration_and_origin_stand_in_the_page(data, page):
    assert page.sections[-1].blocks[-1].text == data.config_text
    values = {row[0].text: row[1].text for row in tables(page, "Manifest")[0].rows}
    assert values["seed"] == "3"
    assert values["status"] == "finished"


# Names, sizes, gaps ------------------------------------------------------------------------------

EVIL = "<script>alert(1)</script>&\"'"


def test_names_are_escaped(data):
    first = data.networks[0]
    renamed = {
        name: table.assign(network=table.network.astype(str).replace({first: EVIL}))
        for name, table in data.tables.items()
        if "network" in table
    }
    peers = renamed["peer_outcomes"].astype({"peer_id": str})
    peers.loc[0, "peer_id"] = EVIL
    summary = json.loads(json.dumps(data.summary).replace(f'"{first}"', json.dumps(EVIL)))
    forged = replace(changed(data, **renamed | {"peer_outcomes": peers}), summary=summary)
    forged = replace(forged, config_text=f"name: {EVIL}", manifest={"scenario": EVIL})
    html = render(run_page(forged))
    assert "&lt;script&gt;alert(1)" in html
    assert "<script>alert" not in html


def test_of_many_networks_the_critical_ones_are_drawn(data):
    n, first = 20, data.networks[0]
    many = {}
    for name, table in data.tables.items():
        if "network" in table:
            own = table[table.network == first]
            parts = [own.assign(network=f"n{k:02d}") for k in range(n)]
            many[name] = pd.concat(parts, ignore_index=True)
    voltages = many["bus_voltage"]
    voltages.loc[voltages.network == "n17", "vm_pu"] += 0.05
    page = run_page(changed(data, **many))
    maps = page.sections[0].blocks
    drawn = [block.title for block in maps if isinstance(block, Picture)]
    assert len(drawn) == 8
    assert "Network n17" in drawn
    assert "8 of 20 networks" in maps[0].text
    assert len(tables(page, "Networks")[0].rows) == 20
    assert len(render(page).encode()) < 15e6


def test_a_run_of_an_earlier_version_without_the_newer_tables(copy):
    for name in OPTIONAL:
        (copy / f"{name}.parquet").unlink()
    summary = json.loads((copy / "summary.json").read_text(encoding="utf-8"))
    for key in (
        *("seconds", "market", "fallback_steps", "power_flow_failures", "load_kwh"),
        *("resource_cost_eur", "resource_costs_by_component_eur", "transfers_eur"),
    ):
        del summary[key]
    (copy / "summary.json").write_text(json.dumps(summary))
    assert sections(write_report(copy).read_text(encoding="utf-8")) == SECTIONS


def test_tables_without_rows(data):
    empty = {name: data.tables[name].iloc[:0] for name in ("violations", "trades", *OPTIONAL[:6])}
    page = run_page(changed(data, **empty))
    assert [section.key for section in page.sections] == SECTIONS[1:]
    assert "No limit was violated in the AC replay." in {
        block.text for block in page.sections[4].blocks if block.kind == "prose"
    }
    render(page)


def test_prices_that_are_missing_after_fallbacks_leave_a_gap(data):
    prices = data.tables["prices"]
    gaps = prices.assign(
        dlmp_eur_per_kwh=prices.dlmp_eur_per_kwh.where(prices.step != 3),
        risk=np.nan,
    )
    found = [p for p in pictures(run_page(changed(data, prices=gaps))) if "prices" in p.title]
    assert found
    for picture in found:
        assert "1 step without prices" in picture.reading
        assert "for risk" not in {trace.name for trace in picture.figure.data}


def test_power_flows_without_solution_are_left_out_of_the_voltages(data):
    table = data.tables["bus_voltage"]
    failed = table.assign(vm_pu=table.vm_pu.where((table.step != 5) | (table.network == "east")))
    page = run_page(changed(data, bus_voltage=failed))
    assert all(np.isfinite(fed.worst.vm_pu) for fed in [feeder(data, "west")])
    render(page)
    none = table.assign(vm_pu=np.nan)
    assert (
        "No voltage of west was recorded."
        in pictures(run_page(changed(data, bus_voltage=none)))[0].seen
    )


def test_a_single_network(data):
    only = {
        name: table[table.network == "east"]
        for name, table in data.tables.items()
        if "network" in table
    }
    own = set(only["peers"].peer_id)
    trades = data.tables["trades"]
    only["trades"] = trades[trades.seller.isin(own) & trades.buyer.isin(own)]
    page = run_page(changed(data, **only))
    assert not tables(page, "Energy traded between networks")
    render(page)


# Long runs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_steps", "n_buses", "step_hours", "hours"),
    [
        (720, 84, 1, 1),
        (24 * 61, 5, 1, 24),
        (24 * 365, 84, 1, 24),
        (96 * 30, 84, 0.25, 1),
        (720, 1000, 1, 12),
        (72, 84, 4, 4),
    ],
)
def test_periods_of_the_voltages_keep_the_page_small(n_steps, n_buses, step_hours, hours):
    assert _period(n_steps, n_buses, step_hours) == hours
    assert n_steps * step_hours / hours * n_buses <= 80_000


def test_a_period_shows_its_worst_voltage():
    limits = np.array([[0.95, 1.05], [0.9, 1.1]])
    voltages = np.array([[1.0, 1.0], [1.04, 1.02], [0.955, np.nan], [np.nan, np.nan], [1.02, 0.92]])
    worst = _worst_of_periods(voltages, limits, 3)
    assert worst.tolist() == [[0.955, 1.02], [1.02, 0.92]]


def test_points_of_long_curves_are_means_at_the_beginning_of_their_period():
    table = pd.DataFrame({"p": [1.0, 3.0, 5.0, 9.0, 4.0]}, index=list("abcde"))
    assert thinned(table, 2).p.to_dict() == {"a": 2.0, "c": 7.0, "e": 4.0}
    assert thinned(table, 1) is table


def test_a_long_run_draws_means_and_tells_of_single_steps(data):
    long = {}
    for name, table in data.tables.items():
        if "step" in table:
            parts = [
                table.assign(step=table.step + 24 * day, time=table.time + pd.Timedelta(days=day))
                for day in range(70)
            ]
            table = pd.concat(parts, ignore_index=True)  # noqa: PLW2901
        long[name] = table
    config = {**data.config, "days": 70}
    page = run_page(replace(changed(data, **long), config=config))
    balance = next(p for p in pictures(page) if p.title == "Energy balance of west")
    load = energy_balance(data, "west")["load"]
    assert f"Load peaks at {-load.min():,.0f} kW" in balance.seen
    assert "mean over 2 hours" in balance.reading
    trace = next(trace for trace in balance.figure.data if trace.name == "load")
    assert len(trace.y) == 70 * 12
    assert trace.y[0] == pytest.approx(load.iloc[:2].mean(), rel=1e-6)
    voltages = next(p for p in pictures(page) if p.title == "Voltages of west")
    assert "in 24 hours" in voltages.reading


# Runs cut short ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "words"),
    [("interrupted", "was interrupted"), ("failed", "failed"), ("running", "still going on")],
)
def test_a_run_that_did_not_finish_says_so_first(copy, day, status, words):
    with_status(copy, status, summary=False)
    html = write_report(copy).read_text(encoding="utf-8")
    assert sections(html) == SECTIONS
    warning = re.search(r'<p class="warning".*?</p>', html, re.DOTALL)[0]
    assert words in warning
    assert "24 of 24 steps" in warning
    assert f"{day.summary['total_operational_cost_eur']:,.0f} EUR" in html


def test_key_figures_from_the_tables_are_those_of_the_summary(copy, day):
    with_status(copy, "interrupted", summary=False)
    found, told = read_run(copy).summary, day.summary
    for key in found.keys() & told.keys() - {"out_of_sample", "violations_by_cause"}:
        assert _close(found[key], told[key]), key
    assert len(found.keys() & told.keys()) > 14


def _close(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_close(one[key], other[key]) for key in one)
    same: bool = (
        one == other if one is None or isinstance(one, str) else one == pytest.approx(other)
    )
    return same


@pytest.fixture(scope="module")
def killed(small, tmp_path_factory):
    """What a run of two days leaves that is killed at the end of its first day, and of its last."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("killed") / "run"
        days = run_and_copy(load(str(small / "feeder.yaml")), folder, patch)
    return *days, folder


def test_a_killed_run_is_reported_from_its_days(killed):
    first, last, whole = killed
    assert not (first / "clearing.parquet").exists()
    html = write_report(first).read_text(encoding="utf-8")
    assert sections(html) == SECTIONS
    assert "6 of 12 steps" in html
    cut, full = read_run(last), read_run(whole)
    assert cut.summary["total_operational_cost_eur"] == pytest.approx(
        full.summary["total_operational_cost_eur"]
    )
    one, other = (
        received_by_kind(run).rename(index=str, columns=str).sort_index() for run in (cut, full)
    )
    pd.testing.assert_frame_equal(one, other, check_like=True, check_names=False)


def test_tables_of_an_earlier_stop_do_not_hide_later_days(killed, tmp_path):
    _, last, whole = killed
    folder = shutil.copytree(last, tmp_path / "run")
    for path in whole.glob("*.parquet"):
        table = pd.read_parquet(path)
        table = table[table.step < 3] if "step" in table else table
        table.to_parquet(folder / path.name, index=False)
    assert read_run(folder).summary["n_steps"] == 12


# Base case ---------------------------------------------------------------------------------------


def test_saving_against_a_base_case(copy, data, day):
    summary = {**day.summary, "total_operational_cost_eur": 1000.0, "coordination": "none"}
    summary["resource_cost_eur"] -= 50.0
    (copy / "summary.json").write_text(json.dumps(summary))
    outcomes = pd.read_parquet(copy / "peer_outcomes.parquet")
    outcomes.loc[0, "net_eur"] += 7.5
    outcomes.to_parquet(copy / "peer_outcomes.parquet")
    saved = 1000 - day.summary["total_operational_cost_eur"]
    value = day.summary["stored_energy_value_eur_per_kwh"]["mid"]
    adjusted = 1000 - value * day.summary["stored_energy_change_kwh"]
    answers = run_page(data, read_base(copy, data)).answers
    answer = answers[0]
    assert answer.value == f"{number(100 * saved / adjusted, '.1f')} %"
    assert "coordination none" in answer.note
    assert f"than the {number(adjusted)} EUR of run" in answer.note
    assert f"the saving is {number(saved)} EUR" in answer.note
    peer = f"{outcomes.peer_id[0]} ({outcomes.kind[0]}) 7.50 EUR"
    assert "92.9% of 14 peers not worse off" in answer.note
    assert answer.note.endswith(f"lose, most {peer}")
    assert answers[1].label == "Saving in resources against the base case"
    assert "50 EUR more than" in answers[1].note


def test_both_costs_and_the_bridge_between_them(page, day):
    told = day.summary
    cards = {answer.label: answer.value for answer in page.answers}
    assert cards["Cost at tariff"] == f"{told['total_operational_cost_eur']:,.0f} EUR"
    assert cards["Resource cost"] == f"{told['resource_cost_eur']:,.0f} EUR"
    (bridge,) = tables(page, "From the resource cost to the cost at tariff")
    assert len(bridge.rows) == 1 + len(told["transfers_eur"])
    amounts = sum(row[1].order for row in bridge.rows)
    assert amounts == pytest.approx(told["total_operational_cost_eur"])


def test_a_base_case_on_other_draws_is_refused(copy, data):
    text = (copy / "config.yaml").read_text(encoding="utf-8")
    (copy / "config.yaml").write_text(text.replace("seed: 3", "seed: 4"))
    with pytest.raises(ReportError, match="differs in seed"):
        read_base(copy, data)
    with_status(copy, "interrupted", summary=True)
    with pytest.raises(ReportError, match="not finished"):
        read_base(copy, data)


def test_the_base_case_of_a_run_of_an_experiment_is_its_sibling(day, tmp_path):
    runs = tmp_path / "runs"
    own, base = (shutil.copytree(day.folder, runs / name) for name in ("own", "base"))
    summary = {**day.summary, "total_operational_cost_eur": 4321.0}
    (base / "summary.json").write_text(json.dumps(summary))
    index = pd.DataFrame(
        {
            "run_id": ["own", "base", "other"],
            "replicate": [1, 1, 2],
            "status": "finished",
            "market.coordination": ["across_networks", "none", "none"],
            "market.pricing": ["dlmp", "uniform", "uniform"],
            "market.method": "gaussian",
        }
    )
    index.to_parquet(tmp_path / "index.parquet")
    assert " EUR of base (coordination across networks" in write_report(own).read_text(
        encoding="utf-8"
    )
    assert "no finished base case at hand" in write_report(base).read_text(encoding="utf-8")


# What is refused ---------------------------------------------------------------------------------


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def without(column):
    def spoil(path):
        pd.read_parquet(path).drop(columns=column).to_parquet(path, index=False)

    return spoil


def with_text(column):
    def spoil(path):
        table = pd.read_parquet(path)
        table.assign(**{column: "abc"}).to_parquet(path, index=False)

    return spoil


def no_rows(path):
    pd.read_parquet(path).iloc[:0].to_parquet(path, index=False)


def loop(path):
    table = pd.read_parquet(path)
    table["from_bus"] = table.to_bus
    table.to_parquet(path, index=False)


@pytest.mark.parametrize(
    ("name", "spoil", "words"),
    [
        ("manifest.json", lambda path: path.unlink(), "holds no run"),
        ("manifest.json", lambda path: path.write_text("{"), "manifest.json: is damaged"),
        (
            "manifest.json",
            lambda path: path.write_text("[]"),
            "manifest.json: holds no JSON object",
        ),
        ("summary.json", lambda path: path.unlink(), "summary.json: is missing"),
        ("summary.json", lambda path: path.write_text("{}"), "summary.json: has no total_oper"),
        ("summary.json", lambda path: path.write_bytes(b"\xff"), "summary.json: is damaged"),
        ("config.yaml", lambda path: path.unlink(), "config.yaml: is missing"),
        ("config.yaml", lambda path: path.write_text("a: ["), "config.yaml: is damaged"),
        ("config.yaml", lambda path: path.write_text("a: 1"), "config.yaml: is no configuration"),
        ("clearing.parquet", cut, "clearing.parquet: is damaged"),
        ("trades.parquet", lambda path: path.unlink(), "trades.parquet: is missing"),
        ("prices.parquet", cut, "prices.parquet: is damaged"),
        ("bus_voltage.parquet", without("vm_pu"), "bus_voltage has no column vm_pu"),
        ("bus_voltage.parquet", with_text("vm_pu"), "column vm_pu of bus_voltage"),
        ("clearing.parquet", no_rows, "nothing to report"),
        ("lines.parquet", loop, "no tree"),
    ],
)
def test_a_damaged_folder_gets_one_message_and_no_page(copy, capsys, name, spoil, words):
    spoil(copy / name)
    assert main([str(copy)]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert words in err
    assert str(copy) in err
    assert out == ""
    assert not list(copy.glob("report.html*"))


def test_foreign_folders_get_one_message(tmp_path, capsys):
    for folder, words in (
        (tmp_path, "holds no run"),
        (tmp_path / "none", "is no folder"),
    ):
        assert main([str(folder)]) == 2
        assert words in capsys.readouterr().err


def test_a_run_that_failed_before_its_first_step(copy, capsys):
    with_status(copy, "running", summary=False)
    for path in copy.glob("*.parquet"):
        path.unlink()
    assert main([str(copy)]) == 2
    assert "no step was written" in capsys.readouterr().err
    (copy / "manifest.json").unlink()
    (copy / "error.txt").write_text("Traceback\nValueError: bad price\n")
    assert main([str(copy)]) == 2
    assert "failed before it began: ValueError: bad price" in capsys.readouterr().err


def test_a_page_that_cannot_be_written_leaves_the_old_one(copy, tmp_path, capsys, monkeypatch):
    target = tmp_path / "page.html"
    target.write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("simulation.atomic.os.fsync", full)
    assert main([str(copy), "--output", str(target)]) == 1
    assert "No space left" in capsys.readouterr().err
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.glob("page*")] == ["page.html"]


# Command line, figures to print ------------------------------------------------------------------


def test_help_waits_for_no_library():
    code = (
        "import sys, simulation.report as r\n"
        "try:\n    r.main(['--help'])\n"
        "except SystemExit:\n    pass\n"
        "sys.exit(any(name in sys.modules for name in ('numpy', 'pandas', 'plotly', 'matplotlib')))"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode
        == 0
    )


def test_output_goes_where_it_is_told(copy, tmp_path, capsys):
    target = tmp_path / "new" / "page.html"
    assert main([str(copy), "--output", str(target)]) == 0
    assert capsys.readouterr().out == f"{target}\n"
    assert not (copy / "report.html").exists()


@pytest.mark.parametrize("name", FIGURES)
def test_figures_to_print_have_units_and_the_same_width(data, name):
    with mpl.rc_context(STYLE):
        figure = FIGURES[name](data, feeders_of(data))
    assert figure.get_figwidth() == WIDTH
    panels = [ax for ax in figure.axes if ax.get_ylabel() or ax.get_xlabel()]
    assert panels
    for ax in panels:
        for label in filter(None, (ax.get_xlabel(), ax.get_ylabel())):
            assert re.search(r"\[.+\]", label), label


def test_files_of_the_figures(day, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "simulation.reporting.publication.FIGURES", {name: FIGURES[name] for name in ("money",)}
    )
    paths = write_figures(day.folder, tmp_path / "figures")
    heads = {".pdf": b"%PDF", ".svg": b"<?xml", ".png": b"\x89PNG"}
    assert [path.name for path in paths] == [f"money{ending}" for ending in heads]
    for path in paths:
        assert path.read_bytes().startswith(heads[path.suffix])
    assert set((tmp_path / "figures").iterdir()) == set(paths)
    again = write_figures(day.folder, tmp_path / "again")
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in paths]


def test_nothing_to_print_of_what_did_not_happen(data):
    quiet = changed(
        data, trades=data.tables["trades"].iloc[:0], prices=data.tables["prices"].iloc[:0]
    )
    assert FIGURES["trades"](quiet, []) is None
    assert FIGURES["prices"](quiet, feeders_of(data)) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (-1e-13, "-1e-13"), (1234.5, "1,234"), (0.123456, "0.1235"), (None, "–")],
)
def test_numbers_of_any_size(value, text):
    assert significant(value) == text


def test_zero_has_no_sign():
    assert number(-0.001, ".2f") == "0.00"
    assert number(float("nan")) == "–"
