"""Whoever is dispatched recovers its offered cost."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st

from market.costs import StepPrices
from market.matching import MATCHING, Orders
from market.pricing import RULES, Pool, make_pricing
from market.reservation import reservation_price
from tests.market.builders import FEE, FEED_IN, RETAIL, Peer, clear, settings, unit

PRICES = StepPrices(
    retail=RETAIL,
    feed_in=FEED_IN,
    loss=0.0,
    imbalance_buy=0.0,
    imbalance_sell=0.0,
    fee_within=FEE,
    fee_across=0.01,
    spot=0.0,
)

ACCURACY = 2e-3
"""A solver may let a unit of some kW that should rest run with a few watts. [EUR]"""


def income(c, rule: str) -> np.ndarray:
    """What every peer gets for its sales, and pays or earns for its use of the grid. [EUR]"""
    s, prices = c.result.schedule, c.result.prices
    asked = reservation_price(c.book, 0, s.dispatchable[0], prices.pool[0], c.roster)
    trades = MATCHING["merit_order"](
        Orders(
            sold_kw=s.sold[0],
            bought_kw=s.bought[0],
            sell_limit=asked,
            buy_limit=c.book.buy_limit[0],
            network_of=c.roster.network_of,
            distance=np.zeros((c.roster.n_peers, c.roster.n_peers)),
        )
    )
    pricing = make_pricing(rule)
    paid = pricing.trade_prices(
        Pool(
            trades=trades,
            fee=PRICES.fee_within + PRICES.fee_across * trades.across,
            sell_limit=asked,
            buy_limit=c.book.buy_limit[0],
            imports_kw=s.imports[0],
            exports_kw=s.exports[0],
            network_of=c.roster.network_of,
            prices=PRICES,
            pool_price=prices.pool[0],
            floor=-np.inf,
            cap=np.inf,
        )
    )
    out = PRICES.feed_in * (s.exports[0] - s.sold[0])
    np.add.at(out, trades.seller, paid.received * trades.power_kw)
    if rule == "dlmp":
        out += (prices.loss + prices.voltage + prices.margin)[0] * s.p_kw[0]
    return out


@budget(max_examples=15, deadline=None)
@given(
    loads=st.lists(st.floats(0.1, 12.0), min_size=1, max_size=3),
    suns=st.lists(st.floats(0.1, 9.0), min_size=1, max_size=2),
    units=st.lists(
        st.tuples(st.floats(0.5, 8.0), st.floats(0.02, 0.3), st.floats(0.0, 0.02)),
        min_size=1,
        max_size=3,
    ),
    sensitivity=st.floats(0.0, 0.01),
)
def test_units_recover_their_offers(loads, suns, units, sensitivity):
    peers = {f"home{k}": Peer(load=kw) for k, kw in enumerate(loads)}
    peers |= {f"sun{k}": Peer(pv=kw, network="AB"[k % 2]) for k, kw in enumerate(suns)}
    peers |= {
        f"unit{k}": Peer(unit=unit(*offer), network="AB"[k % 2]) for k, offer in enumerate(units)
    }
    peers["other"] = Peer(load=1.0, network="B")
    limited = {
        network: [[sensitivity] * sum(peer.network == network for peer in peers.values())]
        for network in "AB"
    }
    free, tight = clear(peers, settings()), clear(peers, settings(), R=limited)
    for c, rule in [(free, rule) for rule in RULES] + [(tight, "dlmp")]:
        kw = c.dispatchable[0]
        cost = c.book.dispatchable_cost * kw + c.book.dispatchable_cost_quadratic * kw**2
        earned = income(c, rule)
        for place, asked in zip(c.roster.dispatchable, cost, strict=True):
            assert earned[place] >= asked - ACCURACY
        # Plants cost nothing and may earn nothing where they are curtailed, but never pay.
        assert (earned[c.roster.renewable] >= -ACCURACY).all()


def test_the_mid_market_rate_gives_way_to_a_unit_that_costs_more():
    # The pool is short, so that its price is 0.18 and the unit runs at 0.178; the rate is 0.175.
    c = clear({"home": Peer(load=9.0), "unit": Peer(unit=unit(5.0, 0.178))})
    assert c.dispatchable[0, 0] == pytest.approx(5.0, abs=1e-4)
    assert income(c, "mid_market_rate")[1] == pytest.approx(5 * 0.178, abs=1e-4)
