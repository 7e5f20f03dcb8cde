"""Payments of one step: who pays whom for what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from market.costs import (
    capacity_payment,
    discomfort_cost,
    fuel_cost,
    imbalance_cost,
    loss_cost,
    wear_cost,
)
from market.imbalance import imbalance_prices
from market.ledger import Ledger
from market.uplift import share_out, uplift_shares

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from configs.schema import Market
    from market.charges import GridCharges
    from market.costs import DeviceCosts, Flows, StepPrices
    from market.imbalance import Recourse
    from market.matching import Trades
    from market.pricing import TradePrices
    from market.risk import RiskShares
    from market.roster import Roster

    Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Metered:
    """What every peer really did, (n_peers,) each."""

    p_kw: Array
    """Realised net injection. [kW]"""
    error_kw: Array
    """Its difference to the schedule, the recourse left out. [kW]"""
    load_kw: Array
    """Load that was served. [kW]"""


def settle(
    flows: Flows,
    trades: Trades,
    *,
    trade_prices: TradePrices,
    trade_fee: Array,
    recourse: Recourse,
    metered: Metered,
    prices: StepPrices,
    costs: DeviceCosts,
    charges: GridCharges | None,
    shares: RiskShares | None,
    settings: Market,
    roster: Roster,
) -> Ledger:
    """Settle one step.

    Peers pay the supplier at its prices and each other at the trade prices, the DSO keeping what
    lies between; network fees go to the buyer's operator. Operators buy the losses, and the
    peers bear them as ``settings.loss_allocation`` says. Each peer's own deviation is settled
    with the DSO; the DSO settles the networks' totals with the supplier and pays the recourse,
    whose cost the peers bear as ``settings.risk_allocation`` says. What the DSO is left with, or
    lacks, is shared out as ``settings.uplift`` says.

    Parameters
    ----------
    flows : Flows
        Quantities of the step.
    trades : Trades
        Bilateral trades.
    trade_prices : TradePrices
        Their energy prices. [EUR/kWh]
    trade_fee : ndarray, shape (n_trades,)
        Their network fees. [EUR/kWh]
    recourse : Recourse
        Delivered recourse and its prices.
    metered : Metered
        What the peers really did.
    prices : StepPrices
        Prices of the step.
    costs : DeviceCosts
        True costs of the devices.
    charges : GridCharges, optional
        Charges at nodal prices; none where the grid is not charged so, or no prices are known.
    shares : RiskShares, optional
        Who causes the cost of risk; none where that is not known.
    settings : Market
        Its ``loss_allocation``, ``imbalance_pricing``, ``risk_allocation`` and ``uplift``.
    roster : Roster
        The registered peers.

    Returns
    -------
    Ledger
        The accounts sum to zero.
    """
    hours = roster.step_hours
    ledger = Ledger(roster.peer_id, roster.network)
    _settle_supply(ledger, flows, prices, hours)
    _settle_trades(ledger, trades, trade_prices, trade_fee, roster)
    _settle_losses(
        ledger,
        flows,
        metered.p_kw,
        prices=prices,
        charges=charges,
        settings=settings,
        roster=roster,
    )
    if charges is not None:
        ledger.pay(ledger.peers, ledger.dso, "congestion_charge", charges.congestion)
        ledger.pay(ledger.peers, ledger.dso, "risk_charge", charges.risk)
    price = imbalance_prices(
        settings.imbalance_pricing, metered.error_kw, flows, recourse, prices, roster=roster
    )
    paid = -roster.step_hours * price * metered.error_kw
    ledger.pay(ledger.peers, ledger.dso, "imbalance", paid)
    upstream = imbalance_cost(flows, prices, roster.step_hours)
    ledger.pay(ledger.dso, ledger.supplier, "imbalance_upstream", upstream)
    _settle_recourse(ledger, flows, recourse, roster)
    if settings.risk_allocation == "causation" and shares is not None:
        _settle_causation(ledger, flows, shares, roster)
    share_out(ledger, uplift_shares(settings.uplift, metered.load_kw, trades))
    _settle_devices(ledger, flows, costs, roster)
    return ledger


def _settle_supply(ledger: Ledger, flows: Flows, prices: StepPrices, hours: float) -> None:
    """Peers buy from and sell to the supplier."""
    bought = hours * prices.retail * flows.supplier_buy_kw
    sold = hours * prices.feed_in * flows.supplier_sell_kw
    ledger.pay(ledger.peers, ledger.supplier, "energy_bought", bought)
    ledger.pay(ledger.supplier, ledger.peers, "energy_sold", sold)


def _settle_trades(
    ledger: Ledger, trades: Trades, prices: TradePrices, fee: Array, roster: Roster
) -> None:
    """Buyers pay sellers for the energy, the DSO the rent, and their operator the network fee."""
    energy_kwh = roster.step_hours * trades.power_kw
    operator = ledger.operators[roster.network_of[trades.buyer]]
    ledger.pay(trades.buyer, trades.seller, "p2p_energy", energy_kwh * prices.received)
    ledger.pay(trades.buyer, ledger.dso, "exchange_rent", energy_kwh * prices.kept)
    ledger.pay(trades.buyer, operator, "network_fee", energy_kwh * fee)


def _settle_losses(
    ledger: Ledger,
    flows: Flows,
    p_kw: Array,
    *,
    prices: StepPrices,
    charges: GridCharges | None,
    settings: Market,
    roster: Roster,
) -> None:
    """Operators buy the losses; the DSO, by marginal charges, or their peers may refund them."""
    cost = loss_cost(flows, prices, roster.step_hours)
    ledger.pay(ledger.operators, ledger.supplier, "losses", cost)
    if charges is not None:
        ledger.pay(ledger.peers, ledger.dso, "loss_charge", charges.loss)
        ledger.pay(ledger.dso, ledger.operators, "loss_compensation", cost)
    elif settings.loss_allocation == "proportional":
        charge = cost[roster.network_of] * exchange_shares(p_kw, roster)
        ledger.pay(ledger.peers, ledger.operators[roster.network_of], "loss_charge", charge)


def exchange_shares(p_kw: Array, roster: Roster) -> Array:
    """Share of every peer in what its network's peers exchange with the grid, (n_peers,).

    Either direction counts alike (pro rata; Conejo, Arroyo, Alguacil, Guijarro, IEEE Trans. Power
    Syst. 17(3), 2002, p. 571). Where nobody exchanges anything, nobody has a share.
    """
    exchanged = np.abs(p_kw)
    total = np.bincount(roster.network_of, exchanged, minlength=roster.n_networks)
    return exchanged / np.where(total > 0, total, 1.0)[roster.network_of]


def _settle_recourse(ledger: Ledger, flows: Flows, recourse: Recourse, roster: Roster) -> None:
    """The DSO pays for power kept ready and for recourse delivered, at the offered prices."""
    hours = roster.step_hours
    capacity = capacity_payment(flows, hours)
    up = np.maximum(recourse.delivered_kw, 0) * recourse.up_price
    down = np.maximum(-recourse.delivered_kw, 0) * recourse.down_price
    ledger.pay(ledger.dso, roster.recourse, "recourse_capacity", capacity)
    ledger.pay(ledger.dso, roster.recourse, "recourse_activation", hours * (up + down))


def _settle_causation(ledger: Ledger, flows: Flows, shares: RiskShares, roster: Roster) -> None:
    """Peers pay what their errors cost: room of the grid, and power that is kept ready.

    Devices whose recourse gives room back are paid for it; see `market.risk`.
    """
    hours = roster.step_hours
    pool_of = flows.pool_of[roster.network_of]
    n_pools = int(flows.pool_of.max()) + 1
    capacity = np.bincount(pool_of[roster.recourse], capacity_payment(flows, hours), n_pools)
    ledger.pay(ledger.peers, ledger.dso, "risk_causation", hours * shares.margin)
    ledger.pay(ledger.dso, roster.recourse, "recourse_relief", hours * shares.relief)
    ledger.pay(ledger.peers, ledger.dso, "capacity_causation", capacity[pool_of] * shares.imbalance)


def _settle_devices(ledger: Ledger, flows: Flows, costs: DeviceCosts, roster: Roster) -> None:
    """Peers bear what their devices consume."""
    hours = roster.step_hours
    fuel = fuel_cost(flows.dispatchable_kw, costs, hours)
    wear = wear_cost(flows.charge_kw, flows.discharge_kw, costs, hours)
    discomfort = discomfort_cost(flows.curtailed_kw, flows.backlog_kwh, costs, hours)
    ledger.pay(roster.dispatchable, ledger.resources, "fuel", fuel)
    ledger.pay(roster.storage, ledger.resources, "wear", wear)
    ledger.pay(roster.flexible, ledger.resources, "discomfort", discomfort)
