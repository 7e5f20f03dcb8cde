"""From the pool results of a clearing to priced trades, by the rules of the scenario."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from grid.electrical_distance import electrical_distance
from market.fees import fee_share, trade_fee
from market.matching import MATCHING, Orders
from market.price_checks import checked_prices
from market.pricing import Pool, is_nodal, make_pricing
from market.reservation import reservation_price
from market.trading_rules import price_band

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from configs.schema import Market
    from market.costs import StepPrices
    from market.matching import Trades
    from market.pricing import TradePrices
    from simulation.records import Cleared
    from simulation.setup import World

    Array = NDArray[np.float64]


class PeerTrading:
    """Matches sales and purchases, and finds fee and price of every trade.

    Parameters
    ----------
    settings : Market
        Its matching, pricing and fee rules, and its price band.
    world : World
        Networks and peers.

    Attributes
    ----------
    nodal : bool
        Whether the pricing rule also charges the grid's components of the nodal prices.

    Raises
    ------
    ValueError
        If a pricing rule of the user's own cannot be used.
    """

    def __init__(self, settings: Market, world: World) -> None:
        self._roster = world.roster
        self._match = MATCHING[settings.matching]
        self._rule = make_pricing(settings.pricing)
        self.nodal = is_nodal(self._rule)
        buses = [[peer.bus for peer in group] for group in world.peers]
        self._distance = electrical_distance(world.networks, buses)
        self._fee_share = fee_share(
            settings.network_fee_rule, self._distance, self._roster.network_of
        )
        self._floor, self._cap = price_band(settings)

    def trade(
        self, cleared: Cleared, k: int, prices: StepPrices
    ) -> tuple[Trades, Array, TradePrices]:
        """Match and price the trades of binding step ``k``.

        Returns
        -------
        Trades
            Who trades with whom.
        ndarray, shape (n_trades,)
            Network fees. [EUR/kWh]
        TradePrices
            Prices of the energy.

        Raises
        ------
        PricingError
            If the pricing rule returns what cannot be settled.
        """
        schedule, book, roster = cleared.result.schedule, cleared.book, self._roster
        nodal, sell_limit, buy_limit = cleared.result.prices, book.sell_limit[k], book.buy_limit[k]
        # Without prices, after a fallback, there are no trades either.
        pool_price = np.full(roster.n_networks, np.nan) if nodal is None else nodal.pool[k]
        asked = reservation_price(book, k, schedule.dispatchable[k], pool_price, roster)
        trades = self._match(
            Orders(
                sold_kw=schedule.sold[k],
                bought_kw=schedule.bought[k],
                sell_limit=asked,
                buy_limit=buy_limit,
                network_of=roster.network_of,
                distance=self._distance,
            )
        )
        fee = trade_fee(trades, self._fee_share, prices)
        # A solver's pool price may exceed a buyer's offer by a rounding error.
        offered = np.full(roster.n_peers, self._cap)
        np.minimum.at(offered, trades.seller, buy_limit[trades.buyer] - fee)
        pool = Pool(
            trades=trades,
            fee=fee,
            sell_limit=np.maximum(sell_limit, np.minimum(asked, offered)),
            buy_limit=buy_limit,
            imports_kw=schedule.imports[k],
            exports_kw=schedule.exports[k],
            network_of=roster.network_of,
            prices=prices,
            pool_price=pool_price,
            floor=self._floor,
            cap=self._cap,
        )
        priced = checked_prices(
            self._rule,
            pool,
            step=cleared.step + k,
            hours=roster.step_hours,
            peer_id=roster.peer_id,
        )
        return trades, fee, priced
