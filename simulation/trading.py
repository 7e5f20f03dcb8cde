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

    def trades(self, cleared: Cleared, k: int, prices: StepPrices) -> tuple[Trades, Array]:
        """Match the trades of binding step ``k``; their network fees too, (n_trades,). [EUR/kWh]"""
        schedule, book = cleared.result.schedule, cleared.book
        trades = self._match(
            Orders(
                sold_kw=schedule.sold[k],
                bought_kw=schedule.bought[k],
                sell_limit=self._reservation(cleared, k),
                buy_limit=book.buy_limit[k],
                network_of=self._roster.network_of,
                distance=self._distance,
            )
        )
        return trades, trade_fee(trades, self._fee_share, prices)

    def prices(
        self, cleared: Cleared, k: int, trades: Trades, fee: Array, prices: StepPrices
    ) -> TradePrices:
        """Price the trades of binding step ``k``.

        Raises
        ------
        PricingError
            If the pricing rule returns what cannot be settled.
        """
        schedule, book = cleared.result.schedule, cleared.book
        # A solver's pool price may exceed a buyer's offer by a rounding error.
        offered = np.full(self._roster.n_peers, np.inf)
        np.minimum.at(offered, trades.seller, book.buy_limit[k, trades.buyer] - fee)
        worth = np.minimum(self._reservation(cleared, k), np.minimum(offered, self._cap))
        pool = Pool(
            trades=trades,
            fee=fee,
            sell_limit=np.maximum(book.sell_limit[k], worth),
            buy_limit=book.buy_limit[k],
            imports_kw=schedule.imports[k],
            exports_kw=schedule.exports[k],
            network_of=self._roster.network_of,
            prices=prices,
            pool_price=self._pool_price(cleared, k),
            floor=self._floor,
            cap=self._cap,
        )
        return checked_prices(
            self._rule,
            pool,
            step=cleared.step + k,
            hours=self._roster.step_hours,
            peer_id=self._roster.peer_id,
        )

    def _reservation(self, cleared: Cleared, k: int) -> Array:
        """Lowest price at which every peer sells, (n_peers,). [EUR/kWh]"""
        units = cleared.result.schedule.dispatchable[k]
        price = self._pool_price(cleared, k)
        return reservation_price(cleared.book, k, units, price, self._roster)

    def _pool_price(self, cleared: Cleared, k: int) -> Array:
        """Price of every network's pool, (n_networks,); NaN after a fallback. [EUR/kWh]"""
        nodal = cleared.result.prices
        return np.full(self._roster.n_networks, np.nan) if nodal is None else nodal.pool[k]
