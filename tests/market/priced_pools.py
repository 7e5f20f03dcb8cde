"""Pools to price: one trade by hand, and random ones whose limits leave room for every trade."""

import numpy as np
from hypothesis import strategies as st

from market.costs import StepPrices
from market.fees import fee_share, trade_fee
from market.matching import MATCHING, Orders, Trades
from market.pricing import Pool

PRICES = StepPrices(0.25, 0.11, 0.04, 0.3, 0.05, fee_within=0.04, fee_across=0.01, spot=0.03)


def one_trade(
    sell=0.11,
    buy=0.25,
    *,
    across=False,
    pool_price=(0.15, 0.17),
    exports=2.0,
    imports=4.0,
    floor=-np.inf,
    cap=np.inf,
    prices=PRICES,
):
    """Two kilowatts from the first peer, in the first network, to the second."""
    trades = Trades(np.array([0]), np.array([1]), np.array([2.0]), np.array([across]))
    return Pool(
        trades=trades,
        fee=np.array([prices.fee_within + prices.fee_across * across]),
        sell_limit=np.array([sell, 9.0]),
        buy_limit=np.array([-9.0, buy]),
        imports_kw=np.array([0.0, imports]),
        exports_kw=np.array([exports, 0.0]),
        network_of=np.array([0, int(across)]),
        prices=prices,
        pool_price=np.array(pool_price[: 1 + across]),
        floor=floor,
        cap=cap,
    )


price = st.floats(0.0, 1.0)


@st.composite
def pools(draw):
    """A pool that has been cleared: some price suits seller and buyer of every trade."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(2, 12))
    network_of = rng.integers(0, draw(st.integers(1, 3)), n)
    seller = rng.random(n) < 0.5
    sold, bought = (np.where(side, rng.uniform(0, 50, n), 0.0) for side in (seller, ~seller))
    total = min(sold.sum(), bought.sum())
    sold, bought = (side * (total / side.sum()) if total else 0 * side for side in (sold, bought))
    prices = StepPrices(*(draw(price) for _ in range(8)))
    middle = draw(price)
    floor = draw(st.one_of(st.just(-np.inf), st.floats(0.0, middle)))
    cap = draw(st.one_of(st.just(np.inf), st.floats(middle, 2.0)))
    # Every seller would sell at the middle price, and every buyer pay it and any fee.
    orders = Orders(
        sold,
        bought,
        rng.uniform(0, middle, n),
        middle + prices.fee_within + prices.fee_across + rng.uniform(0, 0.3, n),
        network_of,
        np.abs(np.subtract.outer(np.arange(n), np.arange(n))).astype(float),
    )
    trades = MATCHING[draw(st.sampled_from(sorted(MATCHING)))](orders)
    share = fee_share(
        draw(st.sampled_from(["flat", "distance"])), orders.distance, orders.network_of
    )
    return Pool(
        trades=trades,
        fee=trade_fee(trades, share, prices),
        sell_limit=orders.sell_limit,
        buy_limit=orders.buy_limit,
        imports_kw=bought * rng.uniform(1, 2, n),
        exports_kw=sold * rng.uniform(1, 2, n),
        network_of=network_of,
        prices=prices,
        pool_price=rng.uniform(-0.1, 1.5, int(network_of.max()) + 1),
        floor=floor,
        cap=cap,
    )
