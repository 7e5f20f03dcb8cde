"""Runs whose solver fails now and then: they go on, say so, and keep their rules elsewhere."""

import json
from collections import Counter

import numpy as np
import pytest

from agents import dso
from configs.loading import load
from market.acceptance import largest_kept
from market.errors import SolverFailedError
from market.solve import LADDER
from simulation import run as command
from simulation.run import execute, prepare
from tests.faulty_solver import KINDS, FaultySolver, only
from tests.simulation.conftest import Results

ALL = len(LADDER)
RETRIES = {rung.name for rung in LADDER[1:-1]}
EFFICIENCY = 0.95


def failing(monkeypatch, config, folder, kind, depth):
    """Run a scenario whose n-th problem fails on ``depth(n)`` rungs."""
    prepared = prepare(config, folder)
    solver = FaultySolver(kind, depth, lambda: prepared.model.now).install(monkeypatch)
    execute(prepared)
    return Results(folder, config), solver


def one_in_ten(kind):
    """One of every ten problems fails, on one rung or on more."""
    rng = np.random.default_rng(sorted(KINDS).index(kind))
    depths = np.zeros((60, 10), dtype=int)
    depths[np.arange(60), rng.integers(10, size=60)] = rng.permutation(60) % ALL + 1
    return depths.ravel().tolist().__getitem__


def check_flags(results, solver):
    """The steps with failures are flagged, by the right names, and no others."""
    flagged = results.clearing.groupby("step").fallback.first()
    by_step = {step: [rung for s, rung in solver.failed if s == step] for step in flagged.index}
    assert set(flagged.index[flagged != ""]) == {step for step, rungs in by_step.items() if rungs}
    for step, rungs in by_step.items():
        if rungs and set(rungs) <= RETRIES:
            assert flagged[step] in rungs
        elif rungs:
            assert flagged[step] in ("softened", "supplier_only", "cut_short", "no_riskless_prices")
    counts = Counter(flagged[flagged != ""])
    summary = results.summary
    assert summary["fallbacks"] == counts
    assert summary["fallback_steps"] == summary["fallback_clearings"] == counts.total()
    assert summary["fallback_share"] == pytest.approx(counts.total() / len(flagged))
    return flagged


def check_rules(results, flagged):
    """Devices, balances and accounts hold in all steps, certificates where nothing failed."""
    d = results.dispatch.merge(results.peers, on="peer_id", suffixes=("", "_rated"))
    for low, value, high in (
        (0, d.curtailed_kw, d.renewable_available_kw),
        (0, d.dg_kw, d.dispatchable_kw),
        (0, d.charge_kw, d.battery_kw),
        (0, d.discharge_kw, d.battery_kw),
        (0, d.soc_kwh, d.battery_kwh),
        (0, d.load_curtailed_kw, d.flexible_kw),
    ):
        assert ((value >= low - 1e-9) & (value <= high + 1e-9)).all()
    used = d.renewable_available_kw - d.curtailed_kw
    injected = used + d.dg_kw + d.discharge_kw - d.charge_kw - d.load_kw
    np.testing.assert_allclose(d.p_kw, injected, atol=1e-9)
    for _, own in d[d.battery_kwh > 0].sort_values("step").groupby("peer_id"):
        before = np.append(own.battery_kwh.iloc[0] / 2, own.soc_kwh[:-1])
        change = EFFICIENCY * own.charge_kw - own.discharge_kw / EFFICIENCY
        np.testing.assert_allclose(
            own.soc_kwh, before + results.config.step_hours * change, atol=1e-9
        )
    balance = results.substation.set_index(["step", "network"])
    of_network = results.dispatch.groupby(["step", "network"])
    rest = of_network.p_kw.sum() + balance.p_kw - balance.losses_kw
    np.testing.assert_allclose(rest, 0, atol=1e-6)
    by_step = results.settlement.groupby("step").amount_eur.sum()
    np.testing.assert_allclose(by_step, 0, atol=1e-9)
    assert np.isfinite(results.costs.amount_eur).all()
    assert (results.trades.energy_kwh > 0).all()
    without = flagged.index[flagged.isin(["softened", "supplier_only"])]
    assert not results.trades.step.isin(without).any()
    assert set(results.trades.step) <= set(flagged.index.difference(without))
    assert not results.prices.step.isin(without).any()
    regular = results.clearing[results.clearing.fallback == ""]
    allowed = largest_kept(results.config.market.risk_level)
    assert (regular.certified_violation_probability <= allowed).all()
    assert (regular.status == "solved").all()
    assert (regular.slack_pu < 1e-6).all()
    degraded = flagged.isin(["softened", "supplier_only", "cut_short"])
    status = results.clearing.groupby("step").status.first()
    assert ((status == "fallback") == degraded).all()
    causes = results.violations[results.violations.step.isin(flagged.index[degraded])].cause
    assert set(causes) <= {"fallback"}
    assert "fallback" not in set(
        results.violations.cause[~results.violations.step.isin(flagged.index[degraded])]
    )
    honest = results.clearing.certified_violation_probability > allowed
    assert results.summary["uncertified_clearings"] == honest.sum()


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_tenth_of_the_solves_fails(monkeypatch, scenario, tmp_path, kind):
    results, solver = failing(
        monkeypatch, scenario("step_minutes=120"), tmp_path / "run", kind, one_in_ten(kind)
    )
    assert len(solver.failed) >= 3
    assert len(solver.failed) == pytest.approx(solver.n_problems / 10, abs=1)
    check_rules(results, check_flags(results, solver))


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_tenth_of_the_solves_of_the_default_networks_fails(monkeypatch, tmp_path, kind):
    config = load("smoke", ["days=2"])
    results, solver = failing(monkeypatch, config, tmp_path / "run", kind, one_in_ten(kind))
    assert len(solver.failed) >= 5
    check_rules(results, check_flags(results, solver))


def test_every_fallback_is_in_a_run(monkeypatch, scenario, tmp_path):
    """Rung by rung, in the steps of half a day."""
    depths = [0] * 24
    depths[4:24:4] = range(1, ALL + 1)
    results, solver = failing(
        monkeypatch,
        scenario("step_minutes=120"),
        tmp_path / "run",
        "exception",
        only(*depths),
    )
    check_rules(results, check_flags(results, solver))
    assert len(solver.failed) == ALL


# --- what the command says --------------------------------------------------------------------


@pytest.fixture
def started(small, tmp_path):
    """Start a run of six steps by the command, with overrides."""

    def go(*overrides):
        words = [f"--config={small / 'small.yaml'}", f"--output={tmp_path / 'run'}"]
        return command.main([*words, *(f"--set={o}" for o in ("step_minutes=240", *overrides))])

    return go


def test_the_exit_code_tells_of_too_many_fallbacks(monkeypatch, started, capsys, tmp_path):
    FaultySolver("max_iterations", only(0, 0, 1)).install(monkeypatch)
    assert started() == 3
    out, err = capsys.readouterr()
    assert "WARNING: 1 steps with fallbacks of the solver: scaled 1" in out
    (line,) = [line for line in err.splitlines() if line.startswith("FALLBACKS")]
    assert "solvers failed in 1 of 6 steps (16.7%, max_fallback_share 1.0%): scaled 1" in line
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["status"] == "finished"


def test_more_fallbacks_may_be_allowed(monkeypatch, started, capsys):
    FaultySolver("max_iterations", only(0, 0, 1)).install(monkeypatch)
    assert started("max_fallback_share=0.2") == 0
    out, err = capsys.readouterr()
    assert "steps with fallbacks of the solver: scaled 1" in out
    assert "FALLBACKS" not in err


def test_nothing_is_said_where_nothing_failed(started, capsys):
    assert started() == 0
    out, err = capsys.readouterr()
    assert "WARNING" not in out
    assert "FALLBACKS" not in err


# --- the dispatch that knows the error --------------------------------------------------------


def test_a_failing_dispatch_is_counted(monkeypatch, scenario, tmp_path):
    real, calls = dso.redispatch, []

    def sometimes(*arguments):
        calls.append(prepared.model.now)
        if prepared.model.now in (2, 5):
            raise SolverFailedError("real-time dispatch: no")
        return real(*arguments)

    monkeypatch.setattr(dso, "redispatch", sometimes)
    config = scenario(
        "step_minutes=240",
        "market.second_stage=reoptimised",
        "out_of_sample.cadence_steps=5",
        "out_of_sample.days=2",
    )
    prepared = prepare(config, tmp_path / "run")
    execute(prepared)
    results = Results(tmp_path / "run", config)
    flagged = results.clearing.groupby("step").fallback.first()
    assert flagged[flagged != ""].to_dict() == {2: "cleared_shares", 5: "cleared_shares"}
    assert results.summary["fallbacks"] == {"cleared_shares": 2}
    assert results.summary["fallback_clearings"] == 0
    # Step 5 is one of those that are checked: every scenario of it is dispatched, and one more.
    of_check = int(results.out_of_sample[results.out_of_sample.step == 5].n_scenarios.iloc[0])
    assert results.summary["failed_dispatches_of_checks"] == of_check == calls.count(5) - 1
    assert "fallback" not in set(results.violations.cause)
