"""What the market tells every peer about a settled step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agents.strategies.protocol import Outcome
from market.costs import fuel_cost

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from market.costs import DeviceCosts
    from market.roster import Roster
    from simulation.records import Settled, StepRecord

    Array = NDArray[np.float64]


def outcomes(record: StepRecord, roster: Roster, costs: DeviceCosts) -> list[Outcome]:
    """Tell every peer, in the roster's order, what it traded, received and gained."""
    schedule, ledger, k = record.cleared.result.schedule, record.settled.ledger, record.k
    columns = (
        roster.step_hours * schedule.bought[k],
        roster.step_hours * schedule.sold[k],
        sum(ledger.items.values(), np.zeros(len(ledger.accounts)))[ledger.peers],
        gains(record, roster, costs),
        pool_prices(record, roster)[roster.network_of],
    )
    return [Outcome(record.step, *row) for row in np.column_stack(columns).tolist()]


def pool_prices(record: StepRecord, roster: Roster) -> Array:
    """Price of each network's pool, (n_networks,); NaN where nobody traded. [EUR/kWh]"""
    out = np.full(roster.n_networks, np.nan)
    prices, trades = record.cleared.result.prices, record.settled.trades
    if prices is not None:
        traded = np.unique(roster.network_of[np.append(trades.seller, trades.buyer)])
        out[traded] = prices.pool[record.k, traded]
    return out


def gains(record: StepRecord, roster: Roster, costs: DeviceCosts) -> Array:
    r"""What a step's trades brought every peer, (n_peers,). [EUR]

    Peers may have a unit run that the supplier's prices would leave idle; its fuel is a cost of
    the trades. Of the gain from trade g, with the scheduled injection p of the peer and u of its
    unit, the fuel cost c and the steps' length h, there remains

    .. math:: g - \max\bigl(0,\ c(u) - (S(p) - S(p - u))\bigr), \qquad
              S(x) = h \bigl(\pi^\mathrm{feed} \max(x, 0)
              - \pi^\mathrm{retail} \max(-x, 0)\bigr) ,

    where S is what the supplier would pay for an injection. A unit that is worth its fuel to the
    supplier would run anyway, and what it earns there is not a gain of the trades.
    """
    schedule, k = record.cleared.result.schedule, record.k
    prices, owner, hours = record.settled.prices, roster.dispatchable, roster.step_hours

    def worth(p_kw: Array) -> Array:
        paid = prices.feed_in * np.maximum(p_kw, 0) - prices.retail * np.maximum(-p_kw, 0)
        return np.asarray(hours * paid)

    p_kw, unit_kw = schedule.p_kw[k][owner], schedule.dispatchable[k]
    excess = fuel_cost(unit_kw, costs, hours) - (worth(p_kw) - worth(p_kw - unit_kw))
    out = gains_from_trade(record.settled, roster)
    out[owner] -= np.maximum(excess, 0.0)  # nobody owns two units
    return out


def gains_from_trade(settled: Settled, roster: Roster) -> Array:
    """What every peer gained against trading the same energy with the supplier, (n_peers,). [EUR]

    A buyer gains retail - paid - fee on every kWh, a seller received - feed-in.
    """
    trades, price = settled.trades, settled.trade_prices
    energy = roster.step_hours * trades.power_kw
    gain = np.zeros(roster.n_peers)
    np.add.at(gain, trades.buyer, energy * (settled.prices.retail - price.paid - settled.trade_fee))
    np.add.at(gain, trades.seller, energy * (price.received - settled.prices.feed_in))
    return gain
