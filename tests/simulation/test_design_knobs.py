"""Knobs of the market that change the clearing: what they say holds in the trades of whole runs."""

from dataclasses import replace

import numpy as np
import pytest

from market.bids import DispatchableOffer
from market.price_blocks import PriceBlocks
from simulation.tables import offer_rows
from tests.agents.test_strategies import full_bid

CADENCES = {
    "rolling": (),
    "hour-ahead": ("market.horizon_hours=1",),
    "day-ahead": ("market.horizon_hours=24", "market.cadence_steps=24"),
}
LIMIT_KW = 30.0
FLOOR, CAP = 0.15, 0.16
RULED = (
    f"market.exchange_limit_kw={{west: {LIMIT_KW}}}",
    "market.traders=prosumers",
    f"market.price_floor_eur_per_kwh={FLOOR}",
    f"market.price_cap_eur_per_kwh={CAP}",
    "market.bid_format=blocks",
    "market.bid_blocks=3",
)


@pytest.fixture(scope="module", params=CADENCES)
def ruled(request, execute):
    """All knobs at once, at every cadence."""
    return request.param, execute(*CADENCES[request.param], *RULED)


def exchange(results):
    """Net P2P export of network west by step. [kWh]"""
    trades, home = results.trades, results.peers.set_index("peer_id").network
    sent = np.where(home[trades.seller].to_numpy() == "west", 1.0, -1.0)
    net = (trades.energy_kwh * sent)[trades.crosses_networks].groupby(trades.step).sum()
    return net.reindex(range(24), fill_value=0.0)


def consumers(results):
    peers = results.peers
    supply = peers[["pv_kw", "wind_kw", "battery_kw", "dispatchable_kw"]].sum(axis=1)
    return set(peers.peer_id[supply == 0])


def test_every_step_of_every_cadence_is_cleared(ruled):
    cadence, results = ruled
    clearings = 1 if cadence == "day-ahead" else 24
    assert results.bids.step.nunique() == clearings
    assert len(results.clearing) == 2 * 24
    assert (results.clearing.status == "solved").all()
    assert results.bids.accepted.all()
    assert len(results.trades)


def test_the_exchange_stays_within_the_limit(ruled, day):
    _, results = ruled
    assert exchange(results).abs().max() <= LIMIT_KW + 1e-3
    assert exchange(day).abs().max() > 1.5 * LIMIT_KW


def test_consumers_do_not_trade(ruled, day):
    _, results = ruled
    shut_out = consumers(results)
    traders = set(results.trades.seller) | set(results.trades.buyer)
    assert traders
    assert not traders & shut_out
    assert (set(day.trades.seller) | set(day.trades.buyer)) & shut_out


def test_trades_are_priced_within_the_band(ruled, day):
    _, results = ruled
    assert results.trades.price_eur_per_kwh.between(FLOOR - 1e-9, CAP + 1e-9).all()
    assert not day.trades.price_eur_per_kwh.between(FLOOR - 1e-9, CAP + 1e-9).all()


def test_units_bid_in_blocks_and_cost_what_they_really_cost(ruled, day):
    _, results = ruled
    units = results.peers[results.peers.dispatchable_kw > 0].set_index("peer_id").dispatchable_kw
    rows = results.bids[results.bids.offer == "dispatchable"].set_index("peer_id")
    by_bid = rows.groupby(["peer_id", "step"])
    assert (by_bid.size() == 3).all()
    total = by_bid.quantity_kw.sum().reset_index("step").quantity_kw
    np.testing.assert_allclose(total, units[total.index])
    assert (by_bid.price_eur_per_kwh.agg(lambda price: price.is_monotonic_increasing)).all()
    # The curve, by its bid in the scenario's own run: its marginal cost rises by a fifth.
    linear = day.bids[day.bids.offer == "dispatchable"].groupby("peer_id").price_eur_per_kwh.first()
    truthful = results.peers.set_index("peer_id").strategy[units.index] == "truthful"
    assert truthful.any()
    power = results.dispatch.pivot_table(index="step", columns="peer_id", values="dg_kw")
    for name in units.index[truthful]:
        p = power[name]
        true = (linear[name] * (p + 0.2 * p**2 / 2 / units[name])).sum()
        paid = results.settlement[results.settlement.account == name]
        fuel = -paid[paid["item"] == "fuel"].amount_eur.sum()
        assert fuel == pytest.approx(true, abs=1e-9)
        assert fuel > 0


@pytest.mark.parametrize(
    ("blocks", "rows"),
    [
        (None, [(20.0, 0.2)]),
        (PriceBlocks(np.array([5.0, 15.0]), np.array([0.2, 0.3])), [(5.0, 0.2), (15.0, 0.3)]),
        (PriceBlocks(np.array([20.0]), np.array([0.2, 0.3])), [(20.0, 0.2), (np.nan, 0.3)]),
        (PriceBlocks(np.zeros(0), np.zeros(0)), []),
        (PriceBlocks("much", None), [(np.nan, np.nan)]),
        (PriceBlocks([[1.0], [2.0, 3.0]], 0.1), [(1.0, 0.1), (2.0, np.nan)]),
        ("much", [(20.0, 0.2)]),
    ],
)
def test_bids_are_listed_block_by_block_as_far_as_they_can_be_read(blocks, rows):
    bid = replace(full_bid(), dispatchable=DispatchableOffer(20.0, 0.2, 1e-3, blocks))
    listed = [row[1:] for row in offer_rows(bid) if row[0] == "dispatchable"]
    np.testing.assert_array_equal(listed, rows)


def test_coarse_blocks_late_in_the_window_hardly_change_a_day(execute, day):
    blocks = [1] * 6 + [2] * 3 + [3] * 4
    coarse = execute("market.horizon_hours=24", f"market.look_ahead_blocks={blocks}")
    fine = execute("market.horizon_hours=24")
    assert (coarse.clearing.status == "solved").all()
    assert (coarse.clearing.certified_violation_probability <= 0.05 + 2e-3).all()
    # What errors are left after recourse is chance, and costs most of what the two differ by.
    costs = [
        results.summary["total_operational_cost_eur"]
        - results.summary["costs_by_component_eur"]["imbalance"]
        for results in (coarse, fine)
    ]
    stored = [results.summary["stored_energy_change_kwh"] for results in (coarse, fine)]
    assert costs[0] != costs[1]
    # What is in the batteries at the end is worth about 0.2 EUR a kWh.
    assert costs[0] - 0.2 * stored[0] == pytest.approx(costs[1] - 0.2 * stored[1], rel=0.02)
