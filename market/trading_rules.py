r"""Who may trade with peers, in which price band, and how much networks may exchange.

A trade is possible where some price suits everybody: with the network fee f of the trade,

.. math:: \max(\text{seller's limit}, \text{floor}) \le \text{price}
          \le \min(\text{buyer's limit} - f, \text{cap}) .

The clearing itself sees to it that a seller's limit is at most a buyer's less the fee. What is
left to ask is that no seller wants more than the cap, and that every buyer can pay the floor and
the fee. Who does not fit is left out, by limit prices at which nobody trades; everybody else's
stay what they are. Cutting *their* limits to the band instead would tell the objective that a
trade is worth less than it is (a trade counts as the buyer's limit less the seller's), and the
dispatch would follow: the band says how the value of a trade is shared, not how large it is.
The pricing rules then choose a price inside the band.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from configs.schema import Market
    from market.book import BidBook
    from market.roster import Roster

    Array = NDArray[np.float64]


def apply_trading_rules(book: BidBook, settings: Market, roster: Roster) -> BidBook:
    """Leave out who may not trade, or cannot at any price in the band.

    Parameters
    ----------
    book : BidBook
        The bids.
    settings : Market
        The market's configuration.
    roster : Roster
        The registered peers.

    Returns
    -------
    BidBook
        The same book, with buyers that may not trade offering minus infinity and sellers that may
        not asking infinity.
    """
    floor, cap = price_band(settings)
    barred = np.zeros(roster.n_peers, dtype=bool)
    if settings.traders == "prosumers":
        barred = ~owns_supply(roster)
    cannot_buy = barred | (book.buy_limit < floor + largest_fee(settings, roster))
    cannot_sell = barred | (book.sell_limit > cap)
    return replace(
        book,
        buy_limit=np.where(cannot_buy, -np.inf, book.buy_limit),
        sell_limit=np.where(cannot_sell, np.inf, book.sell_limit),
    )


def price_band(settings: Market) -> tuple[float, float]:
    """Lowest and highest price of a trade, infinite where there is none. [EUR/kWh]"""
    floor, cap = settings.price_floor_eur_per_kwh, settings.price_cap_eur_per_kwh
    return -np.inf if floor is None else floor, np.inf if cap is None else cap


def owns_supply(roster: Roster) -> NDArray[np.bool_]:
    """Tell which peers own generation or storage, shape (n_peers,)."""
    owners = np.concatenate([roster.renewable, roster.dispatchable, roster.storage])
    return np.isin(np.arange(roster.n_peers), owners)


def largest_fee(settings: Market, roster: Roster) -> float:
    """Network fee of the dearest trade open to a buyer. [EUR/kWh]

    The pool does not say whom a buyer is matched with: it has to be able to pay for any.
    """
    across = settings.coordination == "across_networks" and roster.n_networks > 1
    return settings.network_fee_within_eur_per_kwh + (
        settings.network_fee_across_eur_per_kwh if across else 0.0
    )


def exchange_limits(settings: Market, roster: Roster) -> Array:
    """Largest P2P export or import of every network, infinite where unlimited. [kW]"""
    limits = settings.exchange_limit_kw
    if not isinstance(limits, dict):
        limits = dict.fromkeys(roster.network, np.inf if limits is None else limits)
    return np.array([limits.get(network, np.inf) for network in roster.network])
