r"""Resource cost of one step, and the transfers between it and the cost at tariff.

The *cost at tariff* (:func:`market.costs.operational_cost`) is what the community pays at the
supplier's prices. The *resource cost* is what the step uses up: upstream energy at the wholesale
price, fuel, wear and discomfort. What is left of the first are *transfers*: levies, taxes, margins,
fees and payments that somebody else receives, so that

.. math:: C^\mathrm{tariff}_d = C^\mathrm{resource}_d + \sum_j T_{dj}

for every network d. Energy through a substation counts at the spot price :math:`\pi^s` in either
direction: a kWh fed back saves a kWh of wholesale energy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from market.accounts import ROUNDING, SAME_EUR, AccountsError
from market.costs import discomfort_cost, fuel_cost, wear_cost

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from market.costs import DeviceCosts, Flows, StepPrices
    from market.roster import Roster

    Array = NDArray[np.float64]

RESOURCES = (
    "upstream_energy",
    "losses",
    "dispatchable_fuel",
    "storage_wear",
    "flexible_discomfort",
)
"""Components of the resource cost."""
TRANSFERS = (
    "retail_above_spot",
    "feed_in_above_spot",
    "imbalance_above_spot",
    "losses_above_spot",
    "network_fees",
    "recourse_capacity",
    "network_exchange",
)
"""What leads from the resource cost to the cost at tariff."""


def resource_cost(
    flows: Flows, p_kw: Array, prices: StepPrices, costs: DeviceCosts, roster: Roster
) -> dict[str, Array]:
    r"""Resource cost of one step by component and network.

    .. math:: C^\mathrm{resource}_d = \Delta\,\pi^s \Bigl(L_d - \sum_{i \in d} p_i\Bigr)
        + \text{fuel} + \text{wear} + \text{discomfort}

    with the metered injections p, the AC losses L and the step's length Δ; ``losses`` are
    :math:`\Delta\,\pi^s L_d`, ``upstream_energy`` is the rest of the first term.

    Parameters
    ----------
    flows : Flows
        Quantities of the step.
    p_kw : ndarray, shape (n_peers,)
        Realised net injection of every peer. [kW]
    prices : StepPrices
        Prices of the step.
    costs : DeviceCosts
        True costs of the devices.
    roster : Roster
        The registered peers.

    Returns
    -------
    dict of str to ndarray, shape (n_networks,)
        Cost of each of :data:`RESOURCES`. [EUR]
    """
    hours, network_of = roster.step_hours, roster.network_of
    spot = hours * prices.spot

    def sums(values: Array, owners: NDArray[np.intp]) -> Array:
        by_network = np.bincount(network_of[owners], values, minlength=roster.n_networks)
        return np.asarray(by_network, dtype=np.float64)

    wear = wear_cost(flows.charge_kw, flows.discharge_kw, costs, hours)
    discomfort = discomfort_cost(flows.curtailed_kw, flows.backlog_kwh, costs, hours)
    return {
        "upstream_energy": -spot * sums(p_kw, np.arange(roster.n_peers)),
        "losses": spot * flows.loss_kw,
        "dispatchable_fuel": sums(
            fuel_cost(flows.dispatchable_kw, costs, hours), roster.dispatchable
        ),
        "storage_wear": sums(wear, roster.storage),
        "flexible_discomfort": sums(discomfort, roster.flexible),
    }


def transfers(
    flows: Flows,
    exchange_kw: Array,
    at_tariff: Mapping[str, Array],
    prices: StepPrices,
    roster: Roster,
) -> dict[str, Array]:
    """Transfers of one step by name and network.

    What the supplier charges above the spot price for purchases (its margin, levies, taxes), for
    deviations and for losses; what it pays above it for injections, which counts negative; network
    fees; payments for recourse capacity. ``network_exchange`` is energy from other networks at the
    spot price, negative for the network that takes it: it is drawn at another substation than it
    is paid for, and sums to zero.

    Parameters
    ----------
    flows : Flows
        Quantities of the step.
    exchange_kw : ndarray, shape (n_networks,)
        Scheduled sales less purchases of every network's peers among peers. [kW]
    at_tariff : mapping of str to ndarray, shape (n_networks,)
        Cost at tariff by component. [EUR]
    prices : StepPrices
        Prices of the step.
    roster : Roster
        The registered peers.

    Returns
    -------
    dict of str to ndarray, shape (n_networks,)
        Amount of each of :data:`TRANSFERS`. [EUR]
    """
    hours, spot = roster.step_hours, roster.step_hours * prices.spot

    def sums(values: Array) -> Array:
        by_network = np.bincount(roster.network_of, values, minlength=roster.n_networks)
        return np.asarray(by_network, dtype=np.float64)

    return {
        "retail_above_spot": hours * (prices.retail - prices.spot) * sums(flows.supplier_buy_kw),
        "feed_in_above_spot": hours * (prices.spot - prices.feed_in) * sums(flows.supplier_sell_kw),
        "imbalance_above_spot": at_tariff["imbalance"] + spot * flows.deviation_kw,
        "losses_above_spot": at_tariff["losses"] - spot * flows.loss_kw,
        "network_fees": at_tariff["network_fees"],
        "recourse_capacity": at_tariff["recourse_capacity"],
        "network_exchange": spot * exchange_kw,
    }


def check_bridge(
    at_tariff: Mapping[str, Array],
    resources: Mapping[str, Array],
    transferred: Mapping[str, Array],
    *,
    step: int,
) -> None:
    """Make sure that the transfers lead from the resource cost to the cost at tariff.

    Parameters
    ----------
    at_tariff, resources, transferred : mapping of str to ndarray, shape (n_networks,)
        Cost at tariff, resource cost and transfers by name. [EUR]
    step : int
        The step, for the message.

    Raises
    ------
    AccountsError
        If they differ in any network by more than ``SAME_EUR``, or ``ROUNDING`` times the amounts.
    """
    parts = [*at_tariff.values(), *(-a for a in (*resources.values(), *transferred.values()))]
    difference, size = np.sum(parts, axis=0), np.abs(parts).sum(axis=0)
    wrong = np.flatnonzero(~(np.abs(difference) <= np.maximum(SAME_EUR, ROUNDING * size)))
    if wrong.size:
        msg = (
            f"step {step}: the cost at tariff of network {wrong[0]} exceeds resource cost and "
            f"transfers by {difference[wrong[0]]:.9g} EUR"
        )
        raise AccountsError(msg)
