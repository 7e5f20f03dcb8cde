"""What the market brought to whom: sums over a run."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from agents.prosumer import INITIAL_STATE_OF_CHARGE
from market.costs import fuel_cost, wear_cost
from market.ledger import Ledger
from market.stored_energy import stored_energy_value
from market.uplift import SOURCES, dso_surplus
from simulation.outcomes import gains_from_trade

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray

    from market.costs import DeviceCosts
    from market.roster import Roster
    from simulation.prices import Tariff
    from simulation.records import Settled, StepRecord

    Array = NDArray[np.float64]

RECOURSE_INCOME = ("recourse_capacity", "recourse_activation", "recourse_relief")
"""Items that a provider of recourse is paid for it."""
KINDS = ("consumer", "prosumer", "operator", "dso", "supplier", "resources")
"""Who holds an account. A peer that owns generation or storage is a prosumer."""
NEGLIGIBLE_EUR = 1e-6
"""Amounts below this, the accuracy of the accounts, are taken for zero. [EUR]"""


class MarketTotals:
    """Sums over a run, peers in the roster's order.

    Parameters
    ----------
    roster : Roster
        The registered peers.
    tariff : Tariff
        The supplier's prices, from the first step of the run on.
    costs : DeviceCosts
        True costs of the devices.

    Attributes
    ----------
    book : Ledger
        All payments.
    resources_eur, transfers_eur : dict of str to float
        Resource cost by component, and what leads from it to the cost at tariff, by name. [EUR]
    gain_eur, bought_kwh, sold_kwh : ndarray, shape (n_peers,)
        Gain from trade, and energy traded with peers. [EUR, kWh]
    paid_eur, received_eur : float
        For traded energy, network fees left out. [EUR]
    recourse_cost_eur : ndarray, shape (n_peers,)
        True cost of the recourse delivered. [EUR]
    adequate_steps, n_steps : int
        Steps in which the DSO's surplus before the uplift is not negative, and all steps.
    import_kwh, export_kwh, load_kwh, generation_kwh : ndarray, shape (n_networks + 1,)
        Energy of the peers of each network and, in the last place, of all of them as one
        community; imports and exports are net within a step. [kWh]
    renewable_kwh, available_kwh, dispatchable_kwh : float
        Renewable energy used and available, and that of dispatchable units. [kWh]
    substation_import_kwh : float
        Energy drawn through the substations. [kWh]
    peak_p2p_kw, peak_substation_kw : ndarray, shape (n_networks,)
        Largest magnitude of the scheduled P2P exchange, and of the substation's power. [kW]
    stored_kwh : ndarray, shape (n_peers,)
        Energy in each peer's battery now. [kWh]
    """

    def __init__(self, roster: Roster, tariff: Tariff, costs: DeviceCosts) -> None:
        self.roster = roster
        self._tariff = tariff
        self._costs = costs
        peers, networks = roster.n_peers, roster.n_networks
        self.book = Ledger(roster.peer_id, roster.network)
        self.n_steps = self.adequate_steps = 0
        self.resources_eur: dict[str, float] = {}
        self.transfers_eur: dict[str, float] = {}
        self.paid_eur = self.received_eur = 0.0
        self.gain_eur, self.recourse_cost_eur = np.zeros(peers), np.zeros(peers)
        self.bought_kwh, self.sold_kwh = np.zeros(peers), np.zeros(peers)
        self.import_kwh, self.export_kwh = np.zeros(networks + 1), np.zeros(networks + 1)
        self.load_kwh, self.generation_kwh = np.zeros(networks + 1), np.zeros(networks + 1)
        self.renewable_kwh = self.available_kwh = self.dispatchable_kwh = 0.0
        self.substation_import_kwh = 0.0
        self.peak_p2p_kw, self.peak_substation_kw = np.zeros(networks), np.zeros(networks)
        capacity = np.array([rating.storage_kwh for rating in roster.rating])
        self._stored_at_start = INITIAL_STATE_OF_CHARGE * capacity
        self.stored_kwh = self._stored_at_start

    # Step by step --------------------------------------------------------------------------------

    def add(self, record: StepRecord) -> None:
        """Add one step."""
        settled = record.settled
        self.n_steps += 1
        _add(self.resources_eur, settled.resources)
        _add(self.transfers_eur, settled.transfers)
        for item, received in settled.ledger.items.items():
            self.book.items[item] = self.book.items.get(item, 0.0) + received
        surplus = dso_surplus(settled.ledger)
        before_uplift = sum(surplus[source] for source in SOURCES)
        self.adequate_steps += before_uplift >= -NEGLIGIBLE_EUR
        self._add_trades(settled)
        self._add_recourse(record)
        self._add_energy(record)

    def _add_trades(self, settled: Settled) -> None:
        """Add energy and money of the trades, and what every trader gained by them."""
        trades, price, n = settled.trades, settled.trade_prices, self.roster.n_peers
        energy = self.roster.step_hours * trades.power_kw
        self.gain_eur += gains_from_trade(settled, self.roster)
        self.bought_kwh += np.bincount(trades.buyer, energy, minlength=n)
        self.sold_kwh += np.bincount(trades.seller, energy, minlength=n)
        self.paid_eur += float(energy @ price.paid)
        self.received_eur += float(energy @ price.received)

    def _add_recourse(self, record: StepRecord) -> None:
        """Add what the recourse delivered in the step cost its providers."""
        roster, flows, k = self.roster, record.settled.flows, record.k
        schedule, first = record.cleared.result.schedule, record.cleared.step
        window = slice(first, first + roster.n_steps)
        retail, feed_in = self._tariff.retail[window], self._tariff.feed_in[window]
        value = partial(stored_energy_value, retail, feed_in)
        battery, unit = recourse_cost(
            net_kw=flows.discharge_kw - flows.charge_kw,
            scheduled_net_kw=(schedule.discharge - schedule.charge)[k],
            unit_kw=flows.dispatchable_kw,
            scheduled_unit_kw=schedule.dispatchable[k],
            worth=np.array([value(efficiency) for efficiency in roster.discharge_efficiency]),
            costs=self._costs,
            roster=roster,
        )
        # Nobody owns two devices of a kind.
        self.recourse_cost_eur[roster.storage] += battery
        self.recourse_cost_eur[roster.dispatchable] += unit

    def _add_energy(self, record: StepRecord) -> None:
        """Add the metered energy of the step, and look for peaks."""
        roster, column = self.roster, record.realised.column
        hours, networks = roster.step_hours, roster.n_networks

        def by_network(values: Array) -> Array:
            """Sum over each network, and over all."""
            sums = np.bincount(roster.network_of, values, minlength=networks)
            return np.append(sums, values.sum())

        unit, renewable = column("dispatchable_kw"), column("renewable_kw")
        p_kw = by_network(column("p_kw"))
        self.import_kwh += hours * np.maximum(-p_kw, 0)
        self.export_kwh += hours * np.maximum(p_kw, 0)
        self.load_kwh += hours * by_network(column("load_kw"))
        self.generation_kwh += hours * by_network(renewable + unit)
        self.renewable_kwh += hours * float(renewable.sum())
        self.available_kwh += hours * float(column("renewable_available_kw").sum())
        self.dispatchable_kwh += hours * float(unit.sum())
        substation = record.settled.flows.loss_kw - p_kw[:-1]
        self.substation_import_kwh += hours * float(np.maximum(substation, 0).sum())
        exchange = record.cleared.result.schedule.exchange[record.k]
        self.peak_p2p_kw = np.maximum(self.peak_p2p_kw, np.abs(exchange))
        self.peak_substation_kw = np.maximum(self.peak_substation_kw, np.abs(substation))
        self.stored_kwh = column("soc_kwh")

    def state(self) -> dict[str, Any]:
        """Return the sums so far."""
        given = ("roster", "book", "_tariff", "_costs", "_stored_at_start")
        sums = {name: value for name, value in vars(self).items() if name not in given}
        return {**sums, "items": self.book.items}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a state."""
        sums = dict(state)
        self.book.items = sums.pop("items")
        vars(self).update(sums)

    # At the end ----------------------------------------------------------------------------------

    def received(self, items: Collection[str]) -> Array:
        """What every account received, net, in some items, (n_accounts,). [EUR]"""
        total = np.zeros(len(self.book.accounts))
        for item in items:
            total += self.book.items.get(item, 0.0)
        return total

    @property
    def kind(self) -> list[str]:
        """Kind of every account, see ``KINDS``; (n_accounts,)."""
        roster = self.roster
        owners = set(roster.renewable) | set(roster.recourse)
        peers = ["prosumer" if peer in owners else "consumer" for peer in range(roster.n_peers)]
        return [*peers, *(roster.n_networks * ["operator"]), "dso", "supplier", "resources"]

    @property
    def stored_change_kwh(self) -> Array:
        """What each peer's battery holds more than at the start of the run, (n_peers,). [kWh]"""
        return self.stored_kwh - self._stored_at_start

    def accounts(self) -> dict[str, list[Any]]:
        """Columns of the table ``accounts``: every account's items over the run."""
        roster, kind = self.roster, self.kind
        network = [*(roster.network[d] for d in roster.network_of), *roster.network] + 3 * [None]
        rows = [
            (self.book.accounts[place], kind[place], network[place], item, float(received[place]))
            for item, received in self.book.items.items()
            for place in np.flatnonzero(received).tolist()
        ]
        names = ("account", "kind", "network", "item", "amount_eur")
        return {name: [row[j] for row in rows] for j, name in enumerate(names)}

    def peer_outcomes(self) -> dict[str, Any]:
        """Columns of the table ``peer_outcomes``: what the run brought every peer."""
        roster, peers = self.roster, self.book.peers
        return {
            "peer_id": list(roster.peer_id),
            "network": [roster.network[d] for d in roster.network_of],
            "kind": self.kind[: roster.n_peers],
            "net_eur": self.received(self.book.items)[peers],
            "gain_from_trade_eur": self.gain_eur,
            "recourse_income_eur": self.received(RECOURSE_INCOME)[peers],
            "recourse_cost_eur": self.recourse_cost_eur,
            "stored_energy_change_kwh": self.stored_change_kwh,
            "bought_kwh": self.bought_kwh,
            "sold_kwh": self.sold_kwh,
        }


def recourse_cost(
    *,
    net_kw: Array,
    scheduled_net_kw: Array,
    unit_kw: Array,
    scheduled_unit_kw: Array,
    worth: Array,
    costs: DeviceCosts,
    roster: Roster,
) -> tuple[Array, Array]:
    """True cost of the recourse that was delivered in one step.

    The change of wear and fuel against the schedule and, for a battery, the stored energy that it
    gave, at its value over the window (:mod:`market.stored_energy`), as in the truthful bid.
    Negative costs are savings: whoever is asked for the opposite of what was scheduled saves wear.

    Parameters
    ----------
    net_kw, scheduled_net_kw : ndarray, shape (n_storage,)
        Discharge less charge of every battery. [kW]
    unit_kw, scheduled_unit_kw : ndarray, shape (n_dispatchable,)
        Power of every dispatchable unit. [kW]
    worth : ndarray, shape (n_storage,)
        Value of a kWh in each battery. [EUR/kWh]
    costs : DeviceCosts
        True costs of the devices.
    roster : Roster
        The registered peers.

    Returns
    -------
    battery, unit : ndarray, shapes (n_storage,) and (n_dispatchable,)
        Cost of each device. [EUR]
    """
    hours = roster.step_hours
    (charge, discharge), (charge_0, discharge_0) = _sides(net_kw), _sides(scheduled_net_kw)
    wear = wear_cost(charge, discharge, costs, hours)
    wear -= wear_cost(charge_0, discharge_0, costs, hours)
    stored = (charge - charge_0) * roster.charge_efficiency
    stored -= (discharge - discharge_0) / roster.discharge_efficiency
    fuel = fuel_cost(unit_kw, costs, hours) - fuel_cost(scheduled_unit_kw, costs, hours)
    return wear - worth * hours * stored, fuel


def _add(sums: dict[str, float], amounts: Mapping[str, Array]) -> None:
    """Add the amounts of all networks to the sums of a run. [EUR]"""
    for name, eur in amounts.items():
        sums[name] = sums.get(name, 0.0) + float(eur.sum())


def _sides(net_kw: Array) -> tuple[Array, Array]:
    """Charging and discharging power of a net injection. [kW]"""
    return np.maximum(-net_kw, 0), np.maximum(net_kw, 0)
