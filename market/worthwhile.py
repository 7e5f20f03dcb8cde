"""Trades that are worth less than nothing are undone.

At the optimum, no seller that trades asks more than a buyer that trades offers beyond the network
fee: both would rather keep to the supplier. A solver comes close to the optimum only, and may leave
a trade that no price suits. Such trades are taken back; what the peers produce and consume stays
as it is, and the supplier buys and sells what they no longer trade.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from market.matching import ROUNDING

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from configs.schema import Market
    from market.book import BidBook
    from market.roster import Roster
    from market.schedule import Schedule

    Array = NDArray[np.float64]

SAME_PRICE = 1e-12
"""Prices closer than this are the same. [EUR/kWh]"""


def keep_worthwhile(
    schedule: Schedule, book: BidBook, settings: Market, roster: Roster
) -> Schedule:
    """Take back the trades that no price suits.

    Afterwards, in every step, any seller of a network asks at most what any of its buyers offers
    less the fee within; and any seller of a network that exports at most what any buyer of a
    network that imports offers less the fee across. So it does not matter who is matched with whom.

    Parameters
    ----------
    schedule : Schedule
        A schedule whose sales equal the purchases in every pool.
    book : BidBook
        The limit prices.
    settings : Market
        Its network fees and its coordination.
    roster : Roster
        The registered peers.
    """
    sold, bought = schedule.sold.copy(), schedule.bought.copy()
    fee_within = settings.network_fee_within_eur_per_kwh
    for step in range(len(sold)):
        _undo(
            sold[step],
            bought[step],
            asked=book.sell_limit[step],
            offered=book.buy_limit[step] - fee_within,
            network_of=roster.network_of,
            fee_across=settings.network_fee_across_eur_per_kwh,
        )
    exchange = schedule.exchange
    if settings.coordination == "across_networks":
        exchange = np.zeros_like(exchange)
        np.add.at(exchange.T, roster.network_of, (sold - bought).T)
    return replace(schedule, sold=sold, bought=bought, exchange=exchange)


def _undo(
    sold: Array,
    bought: Array,
    *,
    asked: Array,
    offered: Array,
    network_of: NDArray[np.intp],
    fee_across: float,
) -> None:
    """Reduce sales and purchases of one step in place, from the worst pair of networks on.

    The dearest sellers and the buyers who offer least lose the same power, until nothing is left
    of one side, or networks no longer exchange.
    """
    n = int(network_of.max()) + 1
    own = np.eye(n, dtype=bool)
    while True:
        supply, demand = np.bincount(network_of, sold, n), np.bincount(network_of, bought, n)
        sent = supply - demand
        sent[np.abs(sent) <= ROUNDING * np.maximum(supply, demand)] = 0.0
        dearest, lowest = np.full(n, -np.inf), np.full(n, np.inf)
        np.maximum.at(dearest, network_of, np.where(sold > 0, asked, -np.inf))
        np.minimum.at(lowest, network_of, np.where(bought > 0, offered, np.inf))
        meet = own | ((sent[:, None] > 0) & (sent < 0))
        worth = np.where(meet, lowest - dearest[:, None] - np.where(own, 0.0, fee_across), np.inf)
        seller, buyer = np.unravel_index(worth.argmin(), worth.shape)
        if worth[seller, buyer] >= -SAME_PRICE:
            return
        sellers = (network_of == seller) & (sold > 0) & (asked == dearest[seller])
        buyers = (network_of == buyer) & (bought > 0) & (offered == lowest[buyer])
        most_sold, most_bought = sold[sellers].sum(), bought[buyers].sum()
        limit = np.inf if seller == buyer else min(sent[seller], -sent[buyer])
        undone = min(most_sold, most_bought, limit)
        sold[sellers] *= 1 - undone / most_sold
        bought[buyers] *= 1 - undone / most_bought
