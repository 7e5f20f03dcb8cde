"""Prices of bilateral trades."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from market.costs import StepPrices
    from market.matching import Trades

    Array = NDArray[np.float64]


def mid_market_rate(
    trades: Trades, sell_limit: Array, buy_limit: Array, prices: StepPrices
) -> Array:
    """Price every trade half way between the supplier's buying and selling price.

    Where a limit price is beyond that, it is the price: no seller gets less than its lowest, no
    buyer pays more than its highest price, network fees included. (Long, Wu, Zhang, Thomas,
    Cheng, Jenkins, Peer-to-peer energy trading in a community microgrid, IEEE PES General
    Meeting 2017, doi:10.1109/PESGM.2017.8274546.)

    Parameters
    ----------
    trades : Trades
        The trades of one step.
    sell_limit, buy_limit : ndarray, shape (n_peers,)
        Limit prices. [EUR/kWh]
    prices : StepPrices
        Prices of the step.

    Returns
    -------
    ndarray, shape (n_trades,)
        Energy price, without network fees. [EUR/kWh]
    """
    fee = prices.fee_within + prices.fee_across * trades.across
    rate = np.full(len(trades.power_kw), (prices.retail + prices.feed_in) / 2)
    return np.maximum(np.minimum(rate, buy_limit[trades.buyer] - fee), sell_limit[trades.seller])
