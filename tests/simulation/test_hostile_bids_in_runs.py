"""Strategies that bid whatever they like: refused with a reason, or cleared; the run goes on."""

from dataclasses import replace

import numpy as np
import pytest

from market.bid_checks import LARGEST_PRICE, LONGEST_BACKLOG_H
from simulation.run import prepare
from simulation.tables import offer_rows

STEPS = 3


class Bidder:
    """Submits what a function makes of the truthful bid."""

    def __init__(self, change):
        self.change = change

    def submit(self, truthful, observation):
        return self.change(truthful)

    def learn(self, outcome):
        """Learn nothing."""

    def state(self):
        """Nothing is saved."""
        return {}


def changed(bid, offer, **values):
    """The bid with fields of an offer replaced, where the peer has that device."""
    held = getattr(bid, offer)
    return bid if held is None else replace(bid, **{offer: replace(held, **values)})


class Odd:
    """Something that cannot even be shown, or be a key."""

    __hash__ = None

    def __repr__(self):
        raise RuntimeError


MALFORMED = {
    "other step": lambda bid: replace(bid, step=bid.step - 1),
    "other network": lambda bid: replace(bid, network="nowhere"),
    "other name": lambda bid: replace(bid, peer_id="somebody"),
    "no name": lambda bid: replace(bid, peer_id=[1]),
    "NaN": lambda bid: replace(bid, load_kw=np.full_like(bid.load_kw, np.nan)),
    "infinite price": lambda bid: replace(bid, buy_limit_eur_per_kwh=bid.load_kw + np.inf),
    "too short": lambda bid: replace(bid, load_kw=bid.load_kw[:-1]),
    "too large": lambda bid: replace(bid, load_kw=bid.load_kw + 1e9),
    "huge number": lambda bid: replace(bid, q_max_kvar=10**5000),
    "words for offers": lambda bid: replace(bid, storage="much", flexible=5, recourse=Odd()),
    "odd numbers": lambda bid: replace(bid, load_kw=Odd(), q_max_kvar=Odd(), load_kvar=None),
    "masked": lambda bid: replace(bid, load_kw=np.ma.masked_all_like(bid.load_kw)),
}

EXTREME = {
    "dearest": lambda bid: replace(
        bid,
        buy_limit_eur_per_kwh=np.full_like(bid.load_kw, LARGEST_PRICE),
        sell_limit_eur_per_kwh=np.full_like(bid.load_kw, LARGEST_PRICE),
    ),
    "buys at any price, sells for nothing": lambda bid: replace(
        bid,
        buy_limit_eur_per_kwh=np.full_like(bid.load_kw, LARGEST_PRICE),
        sell_limit_eur_per_kwh=np.zeros_like(bid.load_kw),
    ),
    "largest load": lambda bid: replace(bid, load_kw=bid.load_kw + 100.0),
    "no load": lambda bid: replace(bid, load_kw=0 * bid.load_kw, load_kvar=0 * bid.load_kvar),
    "least numbers": lambda bid: replace(
        bid, load_kw=np.full_like(bid.load_kw, 5e-324), q_max_kvar=5e-324
    ),
    "whole numbers": lambda bid: replace(bid, load_kw=np.ones(len(bid.load_kw), dtype=np.int8)),
    "dear storage": lambda bid: changed(
        bid, "storage", wear_eur_per_kwh=LARGEST_PRICE, end_value_eur_per_kwh=LARGEST_PRICE
    ),
    "storage of no use": lambda bid: changed(bid, "storage", charge_max_kw=0, discharge_max_kw=0),
    "costly unit": lambda bid: changed(
        bid, "dispatchable", cost_eur_per_kwh=LARGEST_PRICE, cost_eur_per_kw2h=LARGEST_PRICE
    ),
    "free unit": lambda bid: changed(
        bid, "dispatchable", cost_eur_per_kwh=0.0, cost_eur_per_kw2h=0.0
    ),
    "dear flexibility": lambda bid: changed(
        bid,
        "flexible",
        willingness_to_pay_eur_per_kwh=LARGEST_PRICE,
        deferral_eur_per_kwh_h=LARGEST_PRICE,
        end_price_eur_per_kwh=LARGEST_PRICE,
    ),
    "longest backlog": lambda bid: (
        bid
        if bid.flexible is None
        else changed(
            bid, "flexible", backlog_max_kwh=0.999 * LONGEST_BACKLOG_H * bid.flexible.served_max_kw
        )
    ),
    "dear recourse": lambda bid: changed(
        bid,
        "recourse",
        up_eur_per_kwh=LARGEST_PRICE,
        down_eur_per_kwh=-LARGEST_PRICE,
        capacity_eur_per_kw_h=LARGEST_PRICE,
    ),
}


@pytest.fixture
def play(scenario, tmp_path):
    """Let the peers bid in turn by the given changes; return the model after some steps."""

    def go(changes, *overrides):
        prepared = prepare(scenario("strategies=[]", *overrides), tmp_path / "run")
        for number, prosumer in enumerate(prepared.model.prosumers):
            prosumer.strategy = Bidder(changes[number % len(changes)])
        for _ in range(STEPS):
            prepared.model.step()
        return prepared.model

    return go


def test_malformed_bids_are_refused_and_the_run_goes_on(play):
    model = play(list(MALFORMED.values()))
    assert model.totals.rejected_bids == STEPS * len(model.prosumers)
    assert np.isfinite(model.totals.total_cost_eur)


def test_extreme_bids_that_are_valid_are_cleared(play):
    changes = list(EXTREME.values())
    model = play(changes)
    assert model.totals.rejected_bids == 0
    assert np.isfinite(model.totals.total_cost_eur)


@pytest.mark.slow
@pytest.mark.parametrize("kind", EXTREME)
def test_all_peers_bid_one_extreme(play, kind):
    model = play([EXTREME[kind]])
    assert np.isfinite(model.totals.total_cost_eur)
    assert model.totals.rejected_bids == 0


def test_malformed_bids_are_listed(scenario, tmp_path):
    model = prepare(scenario("strategies=[]"), tmp_path / "run").model
    model._forecast()
    bids = [bid for _, bid in model._bid()]
    for kind, change in MALFORMED.items():
        for bid in bids:
            rows = list(offer_rows(change(bid)))
            assert rows, kind
            assert all(isinstance(x, float) for row in rows for x in row[1:]), kind
