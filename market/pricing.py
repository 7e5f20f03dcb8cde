r"""Prices of the trades between peers.

A pricing rule divides what a trade is worth; it never changes what is produced or consumed. Every
rule is one small class with a line in :data:`RULES`; a class outside this package is named by its
path instead (see `market.plugins`). The rules here end between the seller's limit price and the
buyer's less the network fee, and between the price floor and the price cap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from market.plugins import load_class

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from market.costs import StepPrices
    from market.matching import Trades

    Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Pool:
    """What a pricing rule knows of one step.

    Attributes
    ----------
    trades : Trades
        The trades.
    fee : ndarray, shape (n_trades,)
        Network fee, which the buyer pays on top of the energy. [EUR/kWh]
    sell_limit : ndarray, shape (n_peers,)
        Lowest selling price: see `market.reservation`. [EUR/kWh]
    buy_limit : ndarray, shape (n_peers,)
        Highest buying price, network fee included. [EUR/kWh]
    imports_kw, exports_kw : ndarray, shape (n_peers,)
        Scheduled net purchases from and net sales to anyone. [kW]
    network_of : ndarray of int, shape (n_peers,)
        Each peer's network.
    prices : StepPrices
        The supplier's prices and the full network fees.
    pool_price : ndarray, shape (n_networks,)
        Price at which the clearing balances sales and purchases of each network; NaN where there
        is none. [EUR/kWh]
    floor, cap : float
        Lowest and highest price of a trade, network fee left out; infinite when there is none.
        [EUR/kWh]
    """

    trades: Trades
    fee: Array
    sell_limit: Array
    buy_limit: Array
    imports_kw: Array
    exports_kw: Array
    network_of: NDArray[np.intp]
    prices: StepPrices
    pool_price: Array
    floor: float
    cap: float

    @property
    def lowest(self) -> Array:
        """Lowest price each seller accepts, (n_trades,). [EUR/kWh]"""
        return np.maximum(self.sell_limit[self.trades.seller], self.floor)

    @property
    def highest(self) -> Array:
        """Highest price each buyer accepts for the energy, (n_trades,). [EUR/kWh]"""
        return np.minimum(self.buy_limit[self.trades.buyer] - self.fee, self.cap)

    def bounded(self, price: Array) -> Array:
        """Bring prices between the limits of both sides, (n_trades,). [EUR/kWh]"""
        return np.maximum(np.minimum(price, self.highest), self.lowest)


@dataclass(frozen=True, eq=False)
class TradePrices:
    """Prices of the trades of one step, shape (n_trades,) each. [EUR/kWh]

    ``paid`` equals ``received + kept``.
    """

    paid: Array
    """What the buyer pays for the energy; the network fee comes on top."""
    received: Array
    """What the seller gets."""
    kept: Array
    """What the DSO keeps."""


class PricingRule(Protocol):
    """What the settlement asks of a rule.

    A rule may have an attribute ``nodal``: if it is true, every participant is also charged the
    loss, congestion and risk components of the price at its bus.
    """

    def trade_prices(self, pool: Pool) -> TradePrices:
        """Price every trade of one step."""


class Uniform:
    r"""One price for all trades of a network, the one at which its pool balances.

    .. math:: \pi_{ij} = \lambda_d \text{ within network } d, \qquad
              \pi^{\text{sell}}_{ij} = \lambda_{d(i)}, \quad
              \pi^{\text{buy}}_{ij} = \lambda_{d(j)} - f^{\text{across}} \text{ across},

    with :math:`\lambda_d` the dual of the network's pool balance, from the seller's side, and f the
    additional fee on trades across networks. Between networks that exchange as much as they want
    the prices differ by that fee; a binding exchange limit drives them farther apart, and the DSO
    keeps the rent. Marginal pricing: Schweppe, Caramanis, Tabors, Bohn, Spot Pricing of
    Electricity, Kluwer, 1988.
    """

    def trade_prices(self, pool: Pool) -> TradePrices:
        """Price every trade of one step."""
        trades = pool.trades
        seller, buyer = pool.network_of[trades.seller], pool.network_of[trades.buyer]
        received = pool.bounded(pool.pool_price[seller])
        paid = pool.bounded(pool.pool_price[buyer] - pool.prices.fee_across * trades.across)
        # Duals are as accurate as the solver; a rent is never negative.
        return _split(np.maximum(paid, received), received)


class Dlmp(Uniform):
    """The uniform price of the network for trades, and the grid's part of the price at every bus.

    The nodal price of a peer is the energy price plus what losses, congestion and risk add at its
    bus; the settlement charges these components to everybody who takes part, for all it draws and
    feeds in. (Papavasiliou, Analysis of distribution locational marginal prices, IEEE Trans. Smart
    Grid 9(5), 2018, doi:10.1109/TSG.2017.2673860.)
    """

    nodal = True


class MidMarketRate:
    r"""Half way between the supplier's selling price r and buying price s.

    .. math:: \pi = (r + s) / 2

    (Long, Wu, Zhang, Thomas, Cheng, Jenkins, Peer-to-peer energy trading in a community microgrid,
    IEEE PES General Meeting 2017, doi:10.1109/PESGM.2017.8274546.)
    """

    def trade_prices(self, pool: Pool) -> TradePrices:
        """Price every trade of one step."""
        rate = (pool.prices.retail + pool.prices.feed_in) / 2
        return _one_price(pool, np.full_like(pool.fee, rate))


class SupplyDemandRatio:
    r"""The scarcer the supply, the closer to the retail price.

    With S the sales over the purchases of the seller's and the buyer's networks, from and to
    anyone, r the retail price less the network fee and s the supplier's buying price,

    .. math:: \pi = \frac{r \, s}{(r - s) \min(S, 1) + s} .

    This is the selling price of Liu, Yu, Wang, Li, Ma, Lei, Energy-sharing model with price-based
    demand response for microgrids of peer-to-peer prosumers, IEEE Trans. Power Syst. 32(5), 2017,
    doi:10.1109/TPWRS.2017.2649558; their buying price is the mean of what a buyer pays its peers
    and the supplier, which here follows from the quantities.
    """

    def trade_prices(self, pool: Pool) -> TradePrices:
        """Price every trade of one step."""
        supply = _of_both_networks(pool, pool.exports_kw)
        demand = _of_both_networks(pool, pool.imports_kw)
        ratio = np.minimum(supply, demand) / demand
        low, high = pool.prices.feed_in, pool.prices.retail - pool.fee
        # The formula knows positive prices only, the dearer one for buying.
        usable = (low > 0) & (high > low)
        weight = np.where(usable, (high - low) * ratio + low, 1.0)
        return _one_price(pool, np.where(usable, high * low / weight, low))


class PayAsBid:
    r"""Half way between the two limit prices.

    .. math:: \pi_{ij} = (s_i + b_j - f_{ij}) / 2

    with seller i's limit s, buyer j's limit b and the network fee f (Chatterjee, Samuelson,
    Bargaining under incomplete information, Oper. Res. 31(5), 1983, doi:10.1287/opre.31.5.835,
    with equal weights).
    """

    def trade_prices(self, pool: Pool) -> TradePrices:
        """Price every trade of one step."""
        trades = pool.trades
        buyer = pool.buy_limit[trades.buyer] - pool.fee
        return _one_price(pool, (pool.sell_limit[trades.seller] + buyer) / 2)


RULES: dict[str, type[PricingRule]] = {
    "dlmp": Dlmp,
    "uniform": Uniform,
    "mid_market_rate": MidMarketRate,
    "supply_demand_ratio": SupplyDemandRatio,
    "pay_as_bid": PayAsBid,
}
"""Pricing rules by name."""


def _one_price(pool: Pool, price: Array) -> TradePrices:
    """Let the seller get what the buyer pays."""
    price = pool.bounded(price)
    return _split(price, price.copy())


def _split(paid: Array, received: Array) -> TradePrices:
    """Leave the difference to the DSO."""
    return TradePrices(paid, received, paid - received)


def _of_both_networks(pool: Pool, power_kw: Array) -> Array:
    """Sum over the networks of seller and buyer, twice the same one or not, (n_trades,). [kW]"""
    total = np.asarray(np.bincount(pool.network_of, power_kw), dtype=np.float64)
    seller, buyer = pool.network_of[pool.trades.seller], pool.network_of[pool.trades.buyer]
    return np.asarray(total[seller] + total[buyer])


def make_pricing(name: str) -> PricingRule:
    """Create a pricing rule by its configured name.

    Parameters
    ----------
    name : str
        A key of `RULES`, or the path of a class, ``package.module:ClassName``, that is created
        without arguments and behaves like `PricingRule`.

    Raises
    ------
    ValueError
        If the class cannot be loaded or created, or its ``nodal`` is not a bool.
    """
    if name in RULES:
        return RULES[name]()
    rule_class = load_class(name, ("trade_prices",))
    try:
        rule: PricingRule = rule_class()
        nodal = is_nodal(rule)
    except Exception as error:  # user code may raise anything
        raise ValueError(f"{name}: not usable: {type(error).__name__}: {error}") from error
    if not isinstance(nodal, bool):
        raise ValueError(f"{name}: nodal must be a bool, got {nodal!r}")
    return rule


def is_nodal(rule: PricingRule) -> bool:
    """Tell whether participants are also charged the grid's components of their nodal price."""
    nodal: bool = getattr(rule, "nodal", False)
    return nodal
