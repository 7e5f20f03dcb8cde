"""Monte Carlo checks repeat what really happens, with errors that no clearing has seen."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import beta

from agents.forecasting import ForecastArchive
from configs.schema import Forecast, OutOfSample
from grid.power_flow import BatchPowerFlow
from market.out_of_sample import OverlapError
from simulation.model import CoSimulation
from simulation.out_of_sample import UnseenErrors
from simulation.records import Check
from simulation.run import main
from simulation.setup import build_world

ON = ("out_of_sample.cadence_steps=3", "out_of_sample.days=10")
WALL_CLOCK = ["solver_s", "wall_s"]


@pytest.fixture(scope="module")
def checked(execute):
    return execute(*ON)


# --- the checks repeat reality ------------------------------------------------------------------


class Silence:
    def __init__(self):
        self.records = []

    def write_step(self, record):
        self.records.append(record)


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("market.renewable_setpoint=cap", "market.recourse_shares=up_down"),
        ("market.second_stage=reoptimised", "market.recourse_pool=all"),
        ("strategies=[{use: misreporting, share: 0.5, parameters: {load: 1.4, renewable: 0.6}}]",),
    ],
)
def test_the_error_that_comes_gives_what_comes(scenario, overrides, monkeypatch):
    """Meter readings, and pandapower's voltages, from the row of the data that comes true."""
    monkeypatch.setattr("simulation.out_of_sample.CHUNK", 2)  # three scenarios, two chunks
    config = scenario("market.cadence_steps=2", *ON, *overrides)
    world, sink = build_world(config), Silence()
    model = CoSimulation(config, world, sink)
    carlo, foreseen = model.monte_carlo, []

    def foresee(step, cleared, prices):
        k, row = step - cleared.step, world.first_row + step
        profiles = world.profiles.values[row : row + 1]
        foreseen.append(
            (
                carlo.injections(cleared, k, profiles, prices),
                carlo.excess(cleared, k, np.repeat(profiles, 3, axis=0), prices),
            )
        )
        return ()

    carlo.check = foresee
    power_flow = [BatchPowerFlow(network) for network in world.networks]
    for _ in range(10):
        model.step()
    recourse = 0.0
    for record, ((p_kw, q_kvar), excess) in zip(sink.records, foreseen, strict=True):
        readings = record.realised
        np.testing.assert_allclose(p_kw[0], readings.column("p_kw"), rtol=0, atol=1e-9)
        np.testing.assert_array_equal(q_kvar[0], readings.column("q_kvar"))
        recourse += np.abs(readings.column("recourse_kw")).sum()
        for d, (operator, replay) in enumerate(
            zip(model.operators, record.replayed.replays, strict=True)
        ):
            members = world.roster.members(d)
            p_bus, q_bus = (operator.bus_injections(x[:, members]) for x in (p_kw, q_kvar))
            voltage = power_flow[d].solve(p_bus, q_bus)[0]
            np.testing.assert_allclose(np.abs(voltage), replay.vm_pu, rtol=0, atol=1e-8)
            grid = operator.grid
            source = np.hypot(replay.p_source_kw, replay.q_source_kvar) / grid.substation_kva
            worst = max(
                (replay.vm_pu - grid.v_max_pu)[1:].max(),
                (grid.v_min_pu - replay.vm_pu)[1:].max(),
                replay.loading_percent.max() / 100 - 1,
                source - 1,
            )
            np.testing.assert_allclose(excess[:, d], worst, rtol=0, atol=1e-7)
    assert recourse > 1.0


def test_scenarios_are_possible(scenario):
    """Forecast plus error, cut to between nothing and the rating."""
    config = scenario(*ON, "out_of_sample.days=60")
    world = build_world(config)
    model = CoSimulation(config, world, Silence())
    carlo, seen = model.monte_carlo, []
    carlo.excess = lambda cleared, k, profiles, _: seen.append(profiles) or np.zeros((180, 2))
    for _ in range(4):
        model.step()
    plants = np.array([kind != "load" for kind in world.profiles.kinds])
    active = np.array([not column.startswith("load_q") for column in world.profiles.columns])
    cut = 0
    for step, profiles in zip((0, 3), seen, strict=True):
        row = world.first_row + step
        errors = UnseenErrors(world.archive, config, row).draw(row, 0).errors
        raw = world.archive.forecast(row)[0] + errors
        kept = profiles == raw
        cut += (~kept).sum()
        assert profiles[:, active].min() >= 0
        assert profiles[:, plants].max() <= 1
        assert (kept | (profiles == 0) | (profiles == 1))[:, active].all()
        assert (profiles >= world.profiles.values.min(axis=0).clip(max=0)).all()
    assert cut > 0


def test_nothing_is_checked_where_no_forecast_errs(scenario):
    config = scenario(*ON, "forecast.perfect_foresight=true")
    sink = Silence()
    CoSimulation(config, build_world(config), sink).step()
    assert sink.records[0].checks == ()


# --- the test set -------------------------------------------------------------------------------

DAY = 8
N_DAYS = 40
VALUES = np.random.default_rng(0).uniform(0.1, 0.9, (N_DAYS * DAY, 2))


def small_archive(sample_days=12) -> ForecastArchive:
    return ForecastArchive(
        VALUES,
        ("load", "wind"),
        np.zeros(len(VALUES), dtype=np.int64),
        steps_per_day=DAY,
        n_leads=4,
        settings=Forecast(climatology_days=5, sample_days=sample_days, sample_hours=3),
    )


class Settings:
    """The part of a scenario that the test set depends on."""

    steps_per_day = DAY

    def __init__(self, days, cadence=3):
        self.forecast = Forecast(climatology_days=5, sample_days=12, sample_hours=3)
        self.out_of_sample = OutOfSample(days=days)
        self.market = type("Market", (), {"cadence_steps": cadence})()


@pytest.mark.parametrize("row", [15 * DAY + 2, 39 * DAY + 6])
@pytest.mark.parametrize("lead", [0, 2])
def test_errors_to_come_by_hand(row, lead):
    """From the issue step on, at the same times of day as the training set, of the same lead."""
    archive = small_archive()
    drawn = UnseenErrors(archive, Settings(days=3), row).draw(row, lead)
    near = {(row + lead + offset) % DAY for offset in (-1, 0, 1)}
    targets = [t for t in range(row, row + 3 * DAY) if t % DAY in near]
    fresh = small_archive()
    expected = [VALUES[t % len(VALUES)] - fresh.forecast(t - lead)[lead] for t in targets]
    np.testing.assert_allclose(drawn.errors, expected, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(drawn.day, np.array(targets) // DAY)
    training = archive.rows(row, lead)
    assert set(training % DAY) == near
    assert not set(training) & {t % len(VALUES) for t in targets}


def test_the_training_set_is_left_alone():
    archive, untouched = small_archive(), small_archive()
    errors = UnseenErrors(archive, Settings(days=20), 15 * DAY)
    for row in range(15 * DAY, 18 * DAY):
        errors.draw(row, 1)
        np.testing.assert_array_equal(archive.forecast(row), untouched.forecast(row))
        for lead in range(4):
            np.testing.assert_array_equal(
                archive.error_samples(row, lead), untouched.error_samples(row, lead)
            )


def test_as_many_days_as_there_are_and_no_more():
    UnseenErrors(small_archive(), Settings(days=N_DAYS - 12), 7 * DAY)
    with pytest.raises(
        OverlapError, match=r"days 29: .* overlaps .*: 3 of its 87 rows .*sample_days 12"
    ):
        UnseenErrors(small_archive(), Settings(days=N_DAYS - 11), 7 * DAY)


def test_an_overlap_ends_a_run_before_it_begins(small, capsys):
    arguments = ["--config", str(small / "small.yaml"), "--output", str(small / "never")]
    overlapping = ["--set", "out_of_sample.cadence_steps=1", "--set", "out_of_sample.days=360"]
    assert main([*arguments, *overlapping]) == 2
    message = capsys.readouterr().err
    assert "out_of_sample.days 360: the test set overlaps the training set" in message
    assert not (small / "never").exists()


# --- what a run leaves --------------------------------------------------------------------------


def test_nothing_else_depends_on_the_checks(checked, day):
    for path in sorted(day.folder.glob("*.parquet")):
        if path.stem == "out_of_sample":
            continue
        with_checks = pd.read_parquet(checked.folder / path.name)
        without = pd.read_parquet(path)
        skip = [column for column in WALL_CLOCK if column in without]
        pd.testing.assert_frame_equal(with_checks.drop(columns=skip), without.drop(columns=skip))
    changed = {"out_of_sample", "seconds"}
    assert {k: v for k, v in checked.summary.items() if k not in changed} == {
        k: v for k, v in day.summary.items() if k not in changed
    }
    assert day.summary["out_of_sample"] == {}
    assert len(day.out_of_sample) == 0


def test_table_of_checks(checked):
    table = checked.out_of_sample
    assert list(table.step.unique()) == list(range(0, 24, 3))
    assert len(table) == 8 * 2
    assert (table.n_scenarios == 10 * 3).all()
    clearing = checked.clearing.set_index(["step", "network"]).loc[
        pd.MultiIndex.from_frame(table[["step", "network"]])
    ]
    for column in ("time", "binding", "certified_violation_probability"):
        np.testing.assert_array_equal(table[column], clearing[column])
    events = (table.violation_rate * table.n_scenarios).round()
    low = np.where(events > 0, beta.ppf(0.025, events, table.n_scenarios - events + 1), 0.0)
    np.testing.assert_allclose(table.ci_low, low, atol=1e-9)
    assert ((table.ci_low <= table.violation_rate) & (table.violation_rate <= table.ci_high)).all()
    assert ((table.max_excess_pu > 1e-6) == (table.violation_rate > 0)).all()
    assert (table.mean_excess_pu <= table.max_excess_pu).all()
    # The night violates nothing, the windy or sunny hours do: the check tells them apart.
    assert table.violation_rate.min() == 0 < table.violation_rate.max() < 1


def test_summary_of_checks(checked):
    table, summary = checked.out_of_sample, checked.summary["out_of_sample"]
    for scope, rows in (("all", table), ("binding", table[table.binding])):
        for network in ("together", "west", "east"):
            of_network = rows if network == "together" else rows[rows.network == network]
            tally = summary[scope][network]
            assert tally["network_steps"] == len(of_network)
            assert tally["scenarios"] == of_network.n_scenarios.sum()
            if len(of_network):
                assert tally["rate"] == pytest.approx(of_network.violation_rate.mean())
                assert tally["ci_low"] <= tally["rate"] <= tally["ci_high"]
            else:
                assert tally["rate"] is None
    assert checked.summary["seconds"]["out_of_sample"] > 0


def test_a_power_flow_without_solution_is_a_violation():
    check = Check("west", np.array([-0.1, np.nan, 2e-6, 5e-7]), np.arange(4), 0.0, binding=False)
    np.testing.assert_array_equal(check.violated, [False, True, True, False])
