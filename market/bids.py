"""The messages of the market: frozen, with one array entry per step of the look-ahead window.

Injections into the grid are positive; loads and purchases are positive quantities of their own.
Power is in kW and kvar, energy in kWh, prices in EUR/kWh.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from market.price_blocks import PriceBlocks

    Series = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RenewableOffer:
    """Renewable power that may be curtailed without compensation."""

    available_kw: Series
    """Forecast of the available power. [kW]"""
    price_eur_per_kwh: float
    """Asked for every kWh used, beyond the supplier's price. [EUR/kWh]"""


@dataclass(frozen=True)
class DispatchableOffer:
    """A dispatchable unit; its cost is linear plus quadratic in power, or given by blocks."""

    p_max_kw: float
    """Rating. [kW]"""
    cost_eur_per_kwh: float
    """Linear cost. [EUR/kWh]"""
    cost_eur_per_kw2h: float
    """Quadratic cost. [EUR/(kW2 h)]"""
    blocks: PriceBlocks | None = None
    """Instead of these costs, which are zero then, where the market takes price blocks."""


@dataclass(frozen=True)
class StorageOffer:
    """A battery."""

    charge_max_kw: float
    """Charging power at the grid side. [kW]"""
    discharge_max_kw: float
    """Discharging power at the grid side. [kW]"""
    energy_min_kwh: float
    """Least stored energy. [kWh]"""
    energy_max_kwh: float
    """Largest stored energy. [kWh]"""
    energy_kwh: float
    """Energy stored at the start of the window. [kWh]"""
    charge_efficiency: float
    """Stored over charged energy. [-]"""
    discharge_efficiency: float
    """Discharged over withdrawn energy. [-]"""
    wear_eur_per_kwh: float
    """Wear per kWh charged and per kWh discharged. [EUR/kWh]"""
    end_value_eur_per_kwh: float
    """Worth of a kWh stored at the end of the window. [EUR/kWh]"""


@dataclass(frozen=True, eq=False)
class FlexibleOffer:
    """Load that can be curtailed, or deferred and made up for later."""

    baseline_kw: Series
    """Load without any intervention. [kW]"""
    curtailable_share: float
    """Part of the baseline that may be dropped. [-]"""
    willingness_to_pay_eur_per_kwh: float
    """Worth of a served kWh: what a dropped one costs in discomfort. [EUR/kWh]"""
    served_max_kw: float
    """Largest load when deferred energy is made up for. [kW]"""
    backlog_kwh: float
    """Deferred energy at the start of the window. [kWh]"""
    backlog_max_kwh: float
    """Largest deferred energy. [kWh]"""
    deferral_eur_per_kwh_h: float
    """Discomfort of one kWh kept waiting for an hour. [EUR/(kWh h)]"""
    end_price_eur_per_kwh: float
    """Price of energy still owed at the end of the window. [EUR/kWh]"""


@dataclass(frozen=True)
class RecourseOffer:
    """Readiness to answer forecast errors with the storage or the dispatchable unit."""

    up_eur_per_kwh: float
    """Asked per kWh of additional injection. [EUR/kWh]"""
    down_eur_per_kwh: float
    """Asked per kWh of reduced injection; negative where energy or fuel is gained. [EUR/kWh]"""
    capacity_eur_per_kw_h: float
    """Asked per kW kept ready for an hour. [EUR/(kW h)]"""


@dataclass(frozen=True, eq=False)
class Bid:
    """What one peer submits for one window.

    A peer has at most one device of a kind; one recourse offer covers its storage and its
    dispatchable unit.
    """

    peer_id: str
    network: str
    step: int
    load_kw: Series
    """Must-serve load. [kW]"""
    load_kvar: Series
    """Reactive load, flexible load included. [kvar]"""
    buy_limit_eur_per_kwh: Series
    """Highest price paid to peers, network fees included. [EUR/kWh]"""
    sell_limit_eur_per_kwh: Series
    """Lowest price accepted from peers. [EUR/kWh]"""
    q_max_kvar: float
    """Reactive capability of the inverters and machines, either way. [kvar]"""
    renewable: RenewableOffer | None = None
    dispatchable: DispatchableOffer | None = None
    storage: StorageOffer | None = None
    flexible: FlexibleOffer | None = None
    recourse: RecourseOffer | None = None

    @property
    def offers(self) -> Iterator[tuple[str, object]]:
        """The device offers that are present, by name."""
        for name in ("renewable", "dispatchable", "storage", "flexible", "recourse"):
            offer = getattr(self, name)
            if offer is not None:
                yield name, offer


@dataclass(frozen=True)
class Rating:
    """What a peer registered with its network operator: no bid may exceed it."""

    renewable_kw: float = 0.0
    dispatchable_kw: float = 0.0
    storage_kw: float = 0.0
    storage_kwh: float = 0.0
    charge_efficiency: float = 1.0
    discharge_efficiency: float = 1.0
    flexible_kw: float = 0.0
    reactive_kvar: float = 0.0
    connection_kw: float = np.inf
    """Largest load the connection carries. [kW]"""


@dataclass(frozen=True, eq=False)
class Award:
    """What one peer is told after the clearing, for the steps that bind."""

    peer_id: str
    step: int
    load_kw: Series
    """Scheduled load: must-serve and served flexible load. [kW]"""
    renewable_kw: Series
    """Renewable power used. [kW]"""
    held_back_kw: Series
    """Distance to keep from the available renewable power. [kW]"""
    cap_kw: Series
    """Renewable power not to be exceeded. [kW]"""
    dispatchable_kw: Series
    charge_kw: Series
    discharge_kw: Series
    curtailed_load_kw: Series
    deferred_load_kw: Series
    q_kvar: Series
    """Reactive injection of the inverters and machines. [kvar]"""
    bought_kw: Series
    """Purchases from peers. [kW]"""
    sold_kw: Series
    """Sales to peers. [kW]"""
    storage_share: Series
    """Recourse share of the storage, the mean over surplus and shortage. [-]"""
    dispatchable_share: Series
    """Recourse share of the dispatchable unit. [-]"""


@dataclass(frozen=True)
class Activation:
    """The second stage's call on one peer: change of injection asked of each device."""

    peer_id: str
    step: int
    storage_kw: float
    dispatchable_kw: float


@dataclass(frozen=True)
class MeterReading:
    """What really happened at one peer in one step."""

    peer_id: str
    step: int
    p_kw: float
    """Net injection. [kW]"""
    q_kvar: float
    """Net reactive injection. [kvar]"""
    load_kw: float
    renewable_available_kw: float
    renewable_kw: float
    dispatchable_kw: float
    charge_kw: float
    discharge_kw: float
    soc_kwh: float
    """Stored energy at the end of the step. [kWh]"""
    curtailed_load_kw: float
    deferred_load_kw: float
    backlog_kwh: float
    """Deferred energy at the end of the step. [kWh]"""
    recourse_kw: float
    """Recourse delivered: change of injection against the schedule. [kW]"""
    recourse_asked_kw: float
    """Recourse asked for. [kW]"""
