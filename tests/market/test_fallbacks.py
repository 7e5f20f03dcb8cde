"""What a clearing makes of a failing solver."""

from dataclasses import replace

import numpy as np
import pytest

from market import window
from market.clearing import MarketClearing
from market.errors import SolverFailedError
from market.fallbacks import DEGRADED, FALLBACKS, worst
from market.posed_stage import PosedStage
from market.schedule import supplier_only
from market.solve import LADDER
from tests.faulty_solver import KINDS, FaultySolver, only
from tests.market.builders import (
    FEED_IN,
    RETAIL,
    Peer,
    battery,
    clear,
    make_book,
    make_operators,
    make_roster,
    make_tariff,
    settings,
)

ALL = len(LADDER)
RUNGS = [rung.name for rung in LADDER]
SUN = {"sun": Peer(pv=90.0), "home": Peer(load=4.0, battery=battery())}
GRID = {"R": {"A": [[1e-3, 5e-4]]}, "errors": {"A": {0: np.linspace(-8.0, 8.0, 9)}}}
"""Where the plant has to stay below 50 kW less its margin, and the battery may answer."""


def solved(**changes):
    return clear(SUN, settings(method="gaussian", **changes), **GRID)


def bent():
    """A feeder that one linear model does not do justice, so that a second pass is needed."""
    return clear(SUN, settings(method="gaussian"), bend=5.0, **GRID)


def test_nothing_is_fallen_back_on_without_a_failure():
    c = solved()
    assert c.result.fallback == ""
    assert not c.result.degraded
    assert c.result.audits[0][0].binding
    assert c.bought.sum() > 1.0


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_another_rung_gives_the_same_schedule_and_says_so(monkeypatch, caplog, depth):
    expected = solved()
    FaultySolver("max_iterations", only(depth)).install(monkeypatch)
    c = solved()
    assert c.result.fallback == RUNGS[depth]
    assert not c.result.degraded
    np.testing.assert_allclose(c.p_kw, expected.p_kw, atol=1e-2)
    np.testing.assert_allclose(c.bought, expected.bought, atol=1e-2)
    assert c.result.objective == pytest.approx(expected.result.objective, rel=1e-4)
    assert c.result.prices.dlmp == pytest.approx(expected.result.prices.dlmp, abs=1e-2)
    assert f"step 0: cleared by fallback {RUNGS[depth]}" in caplog.text


def test_softened_constraints_give_a_schedule_without_trades(monkeypatch):
    expected = solved()
    FaultySolver("infeasible", only(ALL - 1)).install(monkeypatch)
    c = solved()
    assert c.result.fallback == "softened"
    assert c.result.degraded
    # This problem has a solution, which the price of the slack leaves where it is.
    np.testing.assert_allclose(c.p_kw, expected.p_kw, atol=0.1)
    assert c.bought.sum() == c.sold.sum() == c.exchange.sum() == 0.0
    np.testing.assert_allclose(c.imports - c.exports, -c.p_kw)
    assert c.result.prices is None
    assert c.result.risk == ()
    # Its certificate is as honest as any.
    (audit,), (regular,) = c.result.audits[0], expected.result.audits[0]
    assert audit.certificate == pytest.approx(regular.certificate, abs=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_where_all_fails_every_peer_stays_with_its_supplier(monkeypatch, kind):
    FaultySolver(kind, lambda _: ALL).install(monkeypatch)
    c = solved()
    expected = supplier_only(c.book, c.roster, 1)
    assert c.result.fallback == "supplier_only"
    assert c.result.degraded
    np.testing.assert_array_equal(c.p_kw, expected.p_kw)
    np.testing.assert_array_equal(c.p_kw, [[90.0, -4.0]])
    assert c.bought.sum() == c.sold.sum() == 0.0
    assert np.isnan(c.result.objective)
    # The audit says that this schedule exceeds the limit: 1.088 p.u. and 0.008 of error.
    (audit,) = c.result.audits[0]
    assert audit.certificate == 1.0
    assert audit.binding  # whatever its duals, which there are none of
    assert c.result.excuse(0, 0) == "fallback"


@pytest.mark.parametrize("depth", [ALL - 1, ALL], ids=["softened", "failed"])
def test_a_later_failure_keeps_the_pass_before(monkeypatch, depth):
    assert bent().result.n_passes > 1
    FaultySolver("max_iterations", only(0, depth)).install(monkeypatch)
    c = bent()
    assert c.result.n_passes == 1
    assert c.result.fallback == "cut_short"
    assert c.result.degraded
    assert c.p_kw[0, 0] > 30.0
    assert c.bought.sum() > 1.0


@pytest.mark.parametrize("depth", [ALL - 1, ALL], ids=["softened", "failed"])
def test_prices_without_risk_may_be_missing(monkeypatch, caplog, depth):
    expected = solved()
    assert expected.result.n_passes == 1
    assert expected.result.prices.riskless is not None
    FaultySolver("nan", only(0, depth)).install(monkeypatch)
    c = solved()
    assert c.result.fallback == "no_riskless_prices"
    assert not c.result.degraded
    np.testing.assert_array_equal(c.p_kw, expected.p_kw)
    np.testing.assert_array_equal(c.result.prices.dlmp, expected.result.prices.dlmp)
    assert c.result.prices.riskless is None
    assert np.isnan(c.result.prices.risk).all()
    assert "no prices without risk" in caplog.text


def test_a_retry_for_the_prices_without_risk_is_told_too(monkeypatch):
    FaultySolver("nan", only(0, 1)).install(monkeypatch)
    c = solved()
    assert c.result.fallback == "scaled"
    assert c.result.prices.riskless is not None


def test_the_worst_of_several_is_told(monkeypatch):
    FaultySolver("nan", only(1, ALL)).install(monkeypatch)
    assert solved().result.fallback == "no_riskless_prices"
    assert worst({"scaled", "softened", "loose"}) == "softened"
    assert worst(set()) == ""
    assert set(RUNGS[1:]) | DEGRADED < set(FALLBACKS)


def test_the_clearing_recovers_after_a_failure(monkeypatch):
    tariff, market = make_tariff(2), settings(method="wasserstein_joint")
    roster = make_roster(SUN, 2)
    operators = list(make_operators(SUN, **GRID, n_steps=2))
    clearing = MarketClearing(roster, market, operators)
    book = make_book(SUN, tariff, roster)
    before = clearing.clear(0, book, tariff)
    for step, (depth, name) in enumerate([(ALL, "supplier_only"), (ALL - 1, "softened")]):
        with monkeypatch.context() as patched:
            FaultySolver("exception", lambda _, depth=depth: depth).install(patched)
            assert clearing.clear(2 * step + 1, book, tariff).fallback == name
        after = clearing.clear(2 * step + 2, book, tariff)
        assert after.fallback == ""
        assert after.objective == pytest.approx(before.objective, rel=1e-3)


def test_the_retail_contract_is_what_a_peer_pays_without_the_market(monkeypatch):
    FaultySolver("exception", lambda _: ALL).install(monkeypatch)
    c = solved()
    bill = RETAIL * c.imports[0] - FEED_IN * c.exports[0]
    np.testing.assert_allclose(bill, [-90.0 * FEED_IN, 4.0 * RETAIL])


@pytest.mark.parametrize("case", [solved, bent])
def test_two_cores_find_what_one_finds(monkeypatch, case):
    found = {}
    for spare in (True, False):
        monkeypatch.setattr(window, "SPARE_CORE", spare)
        found[spare] = case().result
    together, alone = found[True], found[False]
    assert together.fallback == alone.fallback == ""
    np.testing.assert_array_equal(together.schedule.p_kw, alone.schedule.p_kw)
    for name in ("dlmp", "energy", "risk", "voltage"):
        ours, expected = (getattr(result.prices, name) for result in (together, alone))
        np.testing.assert_array_equal(ours, expected)
    assert np.abs(together.prices.voltage).max() > 0.01


@pytest.mark.parametrize("end", ["failed", "softened"])
def test_on_two_cores_too_prices_without_risk_may_be_missing(monkeypatch, caplog, end):
    def fails_without_risk(posed):
        if posed.asked is None:
            return solve(posed)
        if end == "failed":
            raise SolverFailedError("made to fail")
        return replace(solve(posed), fallback="softened")

    solve, expected = PosedStage.solve, solved().result
    monkeypatch.setattr(window, "SPARE_CORE", True)
    monkeypatch.setattr(PosedStage, "solve", fails_without_risk)
    result = solved().result
    assert result.fallback == "no_riskless_prices"
    np.testing.assert_array_equal(result.prices.dlmp, expected.prices.dlmp)
    assert result.prices.riskless is None
    assert "no prices without risk" in caplog.text


def test_on_two_cores_too_a_failure_ends_on_the_retail_contract(monkeypatch):
    def fails_with_risk(posed):
        if posed.asked is None:
            raise SolverFailedError("made to fail")
        return solve(posed)

    solve = PosedStage.solve
    monkeypatch.setattr(window, "SPARE_CORE", True)
    monkeypatch.setattr(PosedStage, "solve", fails_with_risk)
    assert solved().result.fallback == "supplier_only"
