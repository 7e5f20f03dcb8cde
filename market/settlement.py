"""Payments of one step: every amount is paid by one account to another."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from market.costs import (
    capacity_payment,
    discomfort_cost,
    fuel_cost,
    imbalance_cost,
    imbalance_price,
    wear_cost,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from market.costs import DeviceCosts, Flows, StepPrices
    from market.matching import Trades
    from market.roster import Roster

    Array = NDArray[np.float64]

SUPPLIER = "supplier"
DSO = "dso"
RESOURCES = "resources"
"""Takes what the peers' devices consume: fuel, wear, comfort."""


def operator_account(network: str) -> str:
    """Account of a network's operator."""
    return f"operator:{network}"


@dataclass
class Ledger:
    """Double-entry book of one step; amounts received are positive."""

    entries: dict[tuple[str, str], float] = field(default_factory=dict)

    def pay(self, payer: str, payee: str, item: str, amount_eur: float) -> None:
        """Move an amount from one account to another."""
        if amount_eur:
            self.entries[payer, item] = self.entries.get((payer, item), 0.0) - amount_eur
            self.entries[payee, item] = self.entries.get((payee, item), 0.0) + amount_eur

    def pay_each(self, payers: Sequence[str], payee: str, item: str, amounts: Array) -> None:
        """Let several accounts pay one; negative amounts are received."""
        for payer, amount in zip(payers, amounts.tolist(), strict=True):
            self.pay(payer, payee, item, amount)


@dataclass(frozen=True, eq=False)
class Recourse:
    """Recourse of one step, per recourse device."""

    delivered_kw: Array
    """Change of injection against the schedule. [kW]"""
    up_price: Array
    """Offered price of additional injection. [EUR/kWh]"""
    down_price: Array
    """Offered price of reduced injection. [EUR/kWh]"""


def settle(
    flows: Flows,
    trades: Trades,
    *,
    trade_price: Array,
    recourse: Recourse,
    error_kw: Array,
    prices: StepPrices,
    costs: DeviceCosts,
    roster: Roster,
) -> Ledger:
    """Settle one step.

    Peers pay the supplier at its prices, each other at the trade prices, and network fees to
    their operator. Each peer's own deviation is settled with the DSO at the imbalance price of
    its network; the DSO settles the network's total with the supplier and pays the recourse.
    Operators buy the losses.

    Parameters
    ----------
    flows : Flows
        Quantities of the step.
    trades : Trades
        Bilateral trades.
    trade_price : ndarray, shape (n_trades,)
        Their energy prices. [EUR/kWh]
    recourse : Recourse
        Delivered recourse and its prices.
    error_kw : ndarray, shape (n_peers,)
        Deviation of every peer, its recourse left out. [kW]
    prices : StepPrices
        Prices of the step.
    costs : DeviceCosts
        True costs of the devices.
    roster : Roster
        The registered peers.

    Returns
    -------
    Ledger
        The accounts sum to zero.
    """
    hours, peers = roster.step_hours, roster.peer_id
    ledger = Ledger()
    ledger.pay_each(peers, SUPPLIER, "energy_bought", hours * prices.retail * flows.supplier_buy_kw)
    ledger.pay_each(
        peers, SUPPLIER, "energy_sold", -hours * prices.feed_in * flows.supplier_sell_kw
    )
    _settle_trades(ledger, trades, trade_price, prices, roster)
    for d, network in enumerate(roster.network):
        loss = hours * prices.loss * flows.loss_kw[d]
        ledger.pay(operator_account(network), SUPPLIER, "losses", float(loss))
    _settle_imbalance(ledger, flows, error_kw, prices, roster)
    _settle_recourse(ledger, flows, recourse, costs, roster)
    own = [
        (roster.dispatchable, "fuel", fuel_cost(flows.dispatchable_kw, costs, hours)),
        (roster.storage, "wear", wear_cost(flows.charge_kw, flows.discharge_kw, costs, hours)),
        (
            roster.flexible,
            "discomfort",
            discomfort_cost(flows.curtailed_kw, flows.backlog_kwh, costs, hours),
        ),
    ]
    for owners, item, amounts in own:
        ledger.pay_each([peers[k] for k in owners], RESOURCES, item, amounts)
    return ledger


def _settle_trades(
    ledger: Ledger, trades: Trades, price: Array, prices: StepPrices, roster: Roster
) -> None:
    """Buyers pay sellers for the energy and their operator the network fee."""
    energy = roster.step_hours * trades.power_kw
    fee = trade_fees(trades, prices, roster.step_hours)
    for seller, buyer, amount, network_fee in zip(
        trades.seller.tolist(),
        trades.buyer.tolist(),
        (energy * price).tolist(),
        fee.tolist(),
        strict=True,
    ):
        payer = roster.peer_id[buyer]
        operator = operator_account(roster.network[roster.network_of[buyer]])
        ledger.pay(payer, roster.peer_id[seller], "p2p_energy", amount)
        ledger.pay(payer, operator, "network_fee", network_fee)


def trade_fees(trades: Trades, prices: StepPrices, hours: float) -> Array:
    """Network fee of every trade. [EUR]"""
    return hours * trades.power_kw * (prices.fee_within + prices.fee_across * trades.across)


def _settle_imbalance(
    ledger: Ledger, flows: Flows, error_kw: Array, prices: StepPrices, roster: Roster
) -> None:
    """Peers answer for their errors, the DSO for what is left of them upstream."""
    hours = roster.step_hours
    peer_price = imbalance_price(flows, prices)[roster.network_of]
    ledger.pay_each(roster.peer_id, DSO, "imbalance", -hours * peer_price * error_kw)
    for amount in imbalance_cost(flows, prices, hours).tolist():
        ledger.pay(DSO, SUPPLIER, "imbalance_upstream", amount)


def _settle_recourse(
    ledger: Ledger, flows: Flows, recourse: Recourse, costs: DeviceCosts, roster: Roster
) -> None:
    """The DSO pays for power kept ready, and for recourse delivered at the offered prices."""
    hours = roster.step_hours
    owners = [roster.peer_id[k] for k in roster.recourse]
    capacity = capacity_payment(flows.reserve_kw, costs, hours)
    ledger.pay_each(owners, DSO, "recourse_capacity", -capacity)
    up = np.maximum(recourse.delivered_kw, 0) * recourse.up_price
    down = np.maximum(-recourse.delivered_kw, 0) * recourse.down_price
    ledger.pay_each(owners, DSO, "recourse_activation", -hours * (up + down))
