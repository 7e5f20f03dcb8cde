"""Matching, pricing and fee rules of a scenario, and pricing rules of the user's own, in a run."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from market.plugins import allow
from simulation.run import main

RULES = """
from dataclasses import replace

from market.pricing import MidMarketRate


class Leaky(MidMarketRate):
    '''Forgets a cent a kWh of the last trade, from the third step with trades on.'''

    calls = 0

    def trade_prices(self, pool):
        self.calls += len(pool.fee) > 0
        prices = super().trade_prices(pool)
        if self.calls > 2:
            prices.received[-1] -= 0.01
        return prices


class Meddler(MidMarketRate):
    '''Tries to change what was cleared.'''

    def trade_prices(self, pool):
        prices = super().trade_prices(pool)
        pool.trades.power_kw[:] = 0
        pool.imports_kw[:] = 0
        pool.exports_kw[:] = 0
        return prices
"""


@pytest.fixture
def start(small, tmp_path, capsys):
    """Start a run with the user's own rules at hand; its exit code, message and folder."""
    file = tmp_path / "own_trading_rules.py"
    file.write_text(RULES, encoding="utf-8")

    def go(rule, *, allowed=True):
        output = tmp_path / "run"
        arguments = ["--config", str(small / "small.yaml"), "--output", str(output), "--quiet"]
        arguments += ["--set", f"market.pricing=own_trading_rules:{rule}"]
        code = main([*arguments, "--allow-plugins", str(file)] if allowed else arguments)
        out, err = capsys.readouterr()
        assert out == ""
        return code, err, output

    yield go
    allow([])
    sys.modules.pop("own_trading_rules", None)


# --- rules of the user's own ------------------------------------------------------------------


def test_a_rule_that_does_not_balance_ends_the_run(start, day):
    code, err, output = start("Leaky")
    assert code == 2
    assert err.startswith("error: step ")
    assert err.count("\n") == 1
    assert err.endswith(f"results so far in {output}\n")
    step = day.trades.step.unique()[2]
    last = day.trades[day.trades.step == step]
    assert f"step {step}: pricing rule Leaky, account " in err
    assert err.partition("account ")[2].partition(":")[0] in set(last.buyer)
    assert "does not balance" in err
    # The steps before stand as they were, the step itself is not there.
    for table in ("trades", "settlement", "dispatch", "clearing", "bids", "costs"):
        written, whole = pd.read_parquet(output / f"{table}.parquet"), getattr(day, table)
        assert set(written.step) == set(whole.step[whole.step < step])
    manifest = json.loads((output / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["status"] == "failed"
    assert not (output / "summary.json").exists()


@pytest.mark.parametrize(
    ("rule", "allowed", "message"),
    [("Leaky", False, "--allow-plugins own_trading_rules"), ("Absent", True, "no class Absent")],
)
def test_a_rule_that_cannot_be_used_is_refused_before_the_run(start, rule, allowed, message):
    code, err, output = start(rule, allowed=allowed)
    assert code == 2
    assert err.startswith(f"error: own_trading_rules:{rule}: ")
    assert message in err
    assert err.count("\n") == 1
    assert not output.exists()


def test_a_rule_that_meddles_changes_nothing(start, day):
    code, err, output = start("Meddler")
    assert (code, err) == (0, "")
    for table in ("dispatch", "trades", "settlement"):
        assert (output / f"{table}.parquet").read_bytes() == (
            day.folder / f"{table}.parquet"
        ).read_bytes()


# --- rules of the scenario --------------------------------------------------------------------

VARIANTS = {
    "by distance": (
        "market.pricing=dlmp",
        "market.matching=electrical_distance",
        "market.network_fee_rule=distance",
    ),
    "spread": ("market.pricing=pay_as_bid", "market.matching=proportional"),
    "scarcity": ("market.pricing=supply_demand_ratio", "market.price_cap_eur_per_kwh=0.15"),
}


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request, execute):
    return execute(*VARIANTS[request.param])


def test_rules_never_change_the_dispatch(variant, day):
    for table in ("dispatch", "bus_voltage", "line_loading"):
        pd.testing.assert_frame_equal(getattr(variant, table), getattr(day, table))


def test_the_ledger_has_what_the_pool_cleared(variant, day):
    for side in ("seller", "buyer"):
        one, other = (run.trades.groupby(["step", side]).energy_kwh.sum() for run in (variant, day))
        one, other = one.align(other, fill_value=0.0)
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-9)
    assert not variant.trades.drop(columns=["time"]).equals(day.trades.drop(columns=["time"]))


def test_both_sides_keep_their_limit_prices(variant):
    market = variant.config.market
    trades = variant.trades
    bids = variant.bids.drop_duplicates(["step", "peer_id", "offer"])
    load = bids[bids.offer == "load"].set_index(["step", "peer_id"]).price_eur_per_kwh
    limit = load.reindex(pd.MultiIndex.from_frame(trades[["step", "buyer"]])).to_numpy()
    paid = trades.price_eur_per_kwh + trades.network_fee_eur / trades.energy_kwh
    assert (paid <= limit + 1e-9).all()
    renewable = bids[bids.offer == "renewable"].set_index(["step", "peer_id"]).price_eur_per_kwh
    asked = renewable.reindex(pd.MultiIndex.from_frame(trades[["step", "seller"]])).to_numpy()
    assert np.isfinite(asked).any()
    assert not (trades.received_eur_per_kwh < asked - 1e-9).any()
    if market.price_cap_eur_per_kwh is not None:
        assert trades.price_eur_per_kwh.max() <= market.price_cap_eur_per_kwh + 1e-9
        assert trades.price_eur_per_kwh.max() == pytest.approx(market.price_cap_eur_per_kwh)


def test_the_accounts_close(variant):
    sums = variant.settlement.groupby("step").amount_eur.sum()
    assert np.abs(sums).max() <= 1e-9


def test_fees_by_distance_are_never_higher(variant):
    market = variant.config.market
    trades = variant.trades
    full = market.network_fee_within_eur_per_kwh + (
        market.network_fee_across_eur_per_kwh * trades.crosses_networks
    )
    fee = trades.network_fee_eur / trades.energy_kwh
    assert (fee <= full + 1e-12).all()
    assert (fee < 0.9 * full).any() == (market.network_fee_rule == "distance")


def test_without_trades_there_is_nothing_to_price(execute):
    run = execute("market.coordination=none", "market.pricing=dlmp", "days=1")
    assert not Path(run.folder / "trades.parquet").exists() or run.trades.empty
