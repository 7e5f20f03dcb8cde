"""Networks that keep their promises are left alone by later passes."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from market import clearing
from market.settled import TRADES, Settled
from tests.market import builders as b

N_NETWORKS = 6
SUNNY = ("N0", "N1")
"""Networks whose plants are held back by a voltage limit."""


def peers():
    """Everybody has load and a battery; the sunny ones more sunshine than their feeders bear."""
    out = {}
    for k in range(N_NETWORKS):
        name = f"N{k}"
        out[f"home{k}"] = b.Peer(load=30.0 + k, network=name, battery=b.battery())
        if name in SUNNY:
            out[f"sun{k}"] = b.Peer(pv=90.0, network=name)
    return out


R = {name: [[1e-3, 1e-3], [1e-3, 1e-3]] for name in SUNNY}
ERRORS = {"N0": {0: np.linspace(-8.0, 8.0, 9)}, "N1": {0: np.linspace(-2.0, 2.0, 9)}}


def cleared(one_by_one, monkeypatch, **changes):
    """Clear, and tell which networks were solved in every pass."""
    asked = []

    def watched(window, rows, *, settled=None, **rest):
        everybody = np.ones(N_NETWORKS, dtype=bool)
        asked.append(everybody if settled is None else ~settled.networks)
        return solve(window, rows, settled=settled, **rest)

    solve = clearing.Window.solve
    monkeypatch.setattr(clearing.Window, "solve", watched)
    monkeypatch.setattr(clearing, "FEW_NETWORKS", 4 if one_by_one else 100)
    market = b.settings(method="gaussian", coordination="across_networks")
    found = b.clear(peers(), market, R=R, errors=ERRORS, bend=5.0, **changes)
    monkeypatch.undo()
    return found, asked


def test_only_networks_that_are_not_settled_are_solved_again(monkeypatch):
    found, asked = cleared(True, monkeypatch)
    assert len(asked) > 1
    assert asked[0].all()
    for before, now in pairwise(asked):
        assert now.any()
        assert not (now & ~before).any()  # who is settled stays so
        assert not now[len(SUNNY) :].any()
    assert found.result.fallback == ""
    assert all(audit.binding for (audit,) in found.result.audits[: len(SUNNY)])


def test_the_promises_are_those_of_a_clearing_that_solves_everybody_again(monkeypatch):
    ours, _ = cleared(True, monkeypatch)
    whole, asked = cleared(False, monkeypatch)
    assert all(now.all() for now in asked)
    for (audit,), (expected,) in zip(ours.result.audits, whole.result.audits, strict=True):
        assert audit.gap.min() > -0.02
        assert audit.certificate == pytest.approx(expected.certificate, abs=0.01)
    # What is settled is not thought over, which costs a little.
    assert ours.result.objective == pytest.approx(whole.result.objective, rel=2e-3)
    np.testing.assert_allclose(ours.p_kw, whole.p_kw, atol=0.5)
    assert ours.exchange.sum() == pytest.approx(0.0, abs=1e-6)
    np.testing.assert_allclose(ours.result.prices.dlmp, whole.result.prices.dlmp, atol=1e-3)


def two_stages():
    """Six networks in one problem, solved whole."""
    market = b.settings(coordination="across_networks")
    stage, roster, book = b.make_first_stage(peers(), b.make_tariff(2), market=market)
    return stage, roster, book, stage.solve([])


def limit(roster, book, network, top):
    """An upper voltage limit of a network, tighter than the usual one."""
    row = b.voltage_row(roster, book, [1e-3, 1e-3], network=network)
    return replace(row, room=row.room - (b.UPPER - top))


def test_what_is_settled_stays_and_the_rest_is_optimal_beside_it():
    stage, _, _, before = two_stages()
    settled = Settled(np.array([True, False, True, True, False, True]), before, [])
    after = stage.solve([], settled=settled)
    assert after.objective == pytest.approx(before.objective, abs=1e-6)
    for name in before.values.keys() - TRADES:
        stays = settled.columns(name, before.values[name].shape[1], stage._networks_of)
        ours, expected = after.values[name][:, stays], before.values[name][:, stays]
        np.testing.assert_array_equal(ours, expected, err_msg=name)


def test_a_network_that_has_to_sell_less_finds_its_partners_open_to_it():
    # All networks but the second are settled; they bought its sunshine, of which a limit leaves
    # less. What they lack comes from the supplier.
    stage, roster, book, before = two_stages()
    sent = (before.values["exchange_out"] - before.values["exchange_in"])[0]
    assert sent[1] > 30.0
    settled = Settled(np.arange(N_NETWORKS) != 1, before, [])
    row = limit(roster, book, 1, 1.0)
    after, whole = stage.solve([row], settled=settled), stage.solve([row])
    assert after.mu[0] > 0.01
    np.testing.assert_allclose(after.values["violation"], 0.0, atol=1e-6)
    now = (after.values["exchange_out"] - after.values["exchange_in"])[0]
    assert now[1] < sent[1] - 20.0
    assert now.sum() == pytest.approx(0.0, abs=1e-5)
    assert whole.objective - 1e-6 <= after.objective <= 1.01 * whole.objective


def test_prices_of_settled_networks_stay():
    stage, roster, book, _ = two_stages()
    rows = [limit(roster, book, k, 1.02) for k in (0, 1)]
    both = stage.solve(rows)
    assert both.mu.min() > 0.01
    settled = Settled(np.arange(N_NETWORKS) != 1, both, rows)
    tighter = limit(roster, book, 1, 1.01)
    after = stage.solve([rows[0], tighter], settled=settled)
    assert after.mu[0] == both.mu[0]
    assert after.mu[1] != pytest.approx(both.mu[1], abs=1e-9)
    for label in ("imports_min", "bought_max", "pool_balance", "storage_dynamics"):
        stays = settled.columns(label, both.duals[label].shape[1], stage._networks_of)
        ours, expected = after.duals[label][:, stays], both.duals[label][:, stays]
        np.testing.assert_array_equal(ours, expected, err_msg=label)


@pytest.mark.parametrize(
    "changes",
    [{"recourse_pool": "all"}, {"solver": "decomposed"}, {"look_ahead_blocks": (1,)}],
    ids=lambda changes: next(iter(changes)),
)
def test_where_networks_cannot_be_told_apart_all_are_solved(changes):
    market = b.settings(coordination="across_networks", **changes)
    roster = b.make_roster(peers())
    operators = tuple(b.make_operators(peers(), {}, {}, 1))
    assert not clearing.MarketClearing(roster, market, operators)._settles_one_by_one
    plain = b.settings(coordination="across_networks")
    assert clearing.MarketClearing(roster, plain, operators)._settles_one_by_one
