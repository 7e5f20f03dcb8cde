"""Cost at tariff of one step (the total operational cost) by component, computed here alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from market.matching import Trades
    from market.roster import Roster

    Array = NDArray[np.float64]

COMPONENTS = (
    "upstream_energy",
    "dispatchable_fuel",
    "storage_wear",
    "flexible_discomfort",
    "network_fees",
    "losses",
    "recourse_capacity",
    "imbalance",
)


@dataclass(frozen=True, eq=False)
class Flows:
    """Quantities of one step that cost something, and what was agreed for them.

    All in the roster's order. Scheduled trades are firm; devices, losses and the deviation are
    what really happened (or, for the first stage alone, what is scheduled, with no deviation).
    """

    supplier_buy_kw: Array
    """Scheduled purchases of every peer from the supplier, (n_peers,)."""
    supplier_sell_kw: Array
    """Scheduled sales of every peer to the supplier, (n_peers,)."""
    network_fees: Array
    """Fees on what the peers of every network buy from peers, (n_networks,). [EUR/h]"""
    dispatchable_kw: Array
    charge_kw: Array
    discharge_kw: Array
    curtailed_kw: Array
    backlog_kwh: Array
    reserve_kw: Array
    """Power that every recourse device keeps ready, (n_recourse,)."""
    capacity_price: Array
    """Price it was offered at, (n_recourse,). [EUR/(kW h)]"""
    loss_kw: Array
    """AC losses of every network, (n_networks,)."""
    deviation_kw: Array
    """Realised less scheduled injection of every network's peers, (n_networks,)."""
    pool_of: NDArray[np.intp]
    """Networks whose deviations are settled together, (n_networks,)."""


@dataclass(frozen=True)
class StepPrices:
    """Prices of one step. [EUR/kWh]"""

    retail: float
    feed_in: float
    loss: float
    imbalance_buy: float
    imbalance_sell: float
    fee_within: float
    fee_across: float
    spot: float
    """Wholesale price."""


@dataclass(frozen=True, eq=False)
class DeviceCosts:
    """True costs of the devices, in the roster's order of each kind."""

    dispatchable: Array
    """[EUR/kWh]"""
    dispatchable_quadratic: Array
    """[EUR/(kW2 h)]"""
    wear: Array
    """[EUR/kWh]"""
    willingness_to_pay: Array
    """[EUR/kWh]"""
    deferral: Array
    """[EUR/(kWh h)]"""


def fuel_cost(power_kw: Array, costs: DeviceCosts, hours: float) -> Array:
    """Fuel cost of every dispatchable unit. [EUR]"""
    return hours * (costs.dispatchable * power_kw + costs.dispatchable_quadratic * power_kw**2)


def wear_cost(charge_kw: Array, discharge_kw: Array, costs: DeviceCosts, hours: float) -> Array:
    """Wear of every battery. [EUR]"""
    return hours * costs.wear * (charge_kw + discharge_kw)


def discomfort_cost(
    curtailed_kw: Array, backlog_kwh: Array, costs: DeviceCosts, hours: float
) -> Array:
    """Discomfort of every flexible load, dropped and waiting. [EUR]"""
    return hours * (costs.willingness_to_pay * curtailed_kw + costs.deferral * backlog_kwh)


def fees_by_network(trades: Trades, trade_fee: Array, roster: Roster) -> Array:
    """Network fees on the trades by the buyer's network, (n_networks,). [EUR/h]

    ``trade_fee`` is that of every trade. [EUR/kWh]
    """
    network = roster.network_of[trades.buyer]
    fees = np.bincount(network, trades.power_kw * trade_fee, minlength=roster.n_networks)
    return np.asarray(fees, dtype=np.float64)


def loss_cost(flows: Flows, prices: StepPrices, hours: float) -> Array:
    """Cost of every network's losses. [EUR]"""
    return hours * prices.loss * flows.loss_kw


def capacity_payment(flows: Flows, hours: float) -> Array:
    """Payment of every recourse device for being ready, at its offered price. [EUR]"""
    return hours * flows.capacity_price * flows.reserve_kw


def imbalance_price(flows: Flows, prices: StepPrices) -> Array:
    """Price of what is left of every network's errors, by the sign of its pool's sum. [EUR/kWh]"""
    pools = np.bincount(flows.pool_of, flows.deviation_kw)[flows.pool_of]
    return np.where(pools < 0, prices.imbalance_buy, prices.imbalance_sell)


def imbalance_cost(flows: Flows, prices: StepPrices, hours: float) -> Array:
    """Cost of every network's deviation at the upstream grid: a surplus earns little. [EUR]"""
    return -hours * imbalance_price(flows, prices) * flows.deviation_kw


def operational_cost(
    flows: Flows, prices: StepPrices, costs: DeviceCosts, roster: Roster
) -> dict[str, Array]:
    """Cost at tariff of one step by component and network.

    Parameters
    ----------
    flows : Flows
        Quantities of the step.
    prices : StepPrices
        Prices of the step.
    costs : DeviceCosts
        True costs of the devices.
    roster : Roster
        The registered peers.

    Returns
    -------
    dict of str to ndarray, shape (n_networks,)
        Cost of each of :data:`COMPONENTS`. [EUR]
    """
    hours = roster.step_hours
    everyone = np.arange(roster.n_peers)

    def sums(values: Array, owners: NDArray[np.intp]) -> Array:
        by_network = np.bincount(roster.network_of[owners], values, minlength=roster.n_networks)
        return np.asarray(by_network, dtype=np.float64)

    supplier = prices.retail * flows.supplier_buy_kw - prices.feed_in * flows.supplier_sell_kw
    wear = wear_cost(flows.charge_kw, flows.discharge_kw, costs, hours)
    discomfort = discomfort_cost(flows.curtailed_kw, flows.backlog_kwh, costs, hours)
    return {
        "upstream_energy": hours * sums(supplier, everyone),
        "dispatchable_fuel": sums(
            fuel_cost(flows.dispatchable_kw, costs, hours), roster.dispatchable
        ),
        "storage_wear": sums(wear, roster.storage),
        "flexible_discomfort": sums(discomfort, roster.flexible),
        "network_fees": hours * flows.network_fees,
        "losses": loss_cost(flows, prices, hours),
        "recourse_capacity": sums(capacity_payment(flows, hours), roster.recourse),
        "imbalance": imbalance_cost(flows, prices, hours),
    }
