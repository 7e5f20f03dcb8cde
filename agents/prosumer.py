"""Prosumers: they forecast, bid, follow their award, and learn."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import mesa
import numpy as np

from agents.devices import Battery, DispatchableUnit, FlexibleLoad
from agents.outlook import Scaling
from agents.strategies.protocol import StrategyError
from agents.strategies.truthful import Truthful
from market.bids import (
    Bid,
    DispatchableOffer,
    FlexibleOffer,
    MeterReading,
    Rating,
    RecourseOffer,
    RenewableOffer,
    StorageOffer,
)
from market.devices import renewable_output
from market.price_blocks import PriceBlocks
from market.stored_energy import stored_energy_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from agents.outlook import Outlook
    from agents.population import PeerSpec
    from agents.strategies.protocol import Observation, Outcome, Strategy
    from market.bids import Activation, Award

    Series = NDArray[np.float64]

EFFICIENCY = 0.95
"""One-way efficiency of a battery with its inverter. [-]"""
WEAR_EUR_PER_KWH = 0.02
"""Assumed wear per kWh charged and per kWh discharged. [EUR/kWh]"""
INITIAL_STATE_OF_CHARGE = 0.5
"""Energy stored at the start of a run over the capacity. [-]"""
QUADRATIC_PART = 0.2
"""Rise of a dispatchable unit's marginal cost up to full power, over its linear cost. [-]"""
WILLINGNESS_TO_PAY = 0.6
"""Discomfort of a dropped kWh, about twice the retail price. [EUR/kWh]"""
CURTAILABLE_SHARE = 0.3
"""Part of a flexible load that may be dropped. [-]"""
DEFERRAL_EUR_PER_KWH_H = 0.004
"""Discomfort of a kWh waiting for an hour. [EUR/(kWh h)]"""
BACKLOG_HOURS = 3.0
"""Largest waiting energy of a flexible load, in hours of its rating. [h]"""
CAPACITY_EUR_PER_KW_H = 0.002
"""Truthful price of power kept ready. [EUR/(kW h)]"""
TRUTHFUL = Truthful()
"""Strategy of peers that are given no other."""


class Prosumer(mesa.Agent):
    """A peer with devices and a strategy; peers differ by composition, not by class.

    Parameters
    ----------
    model : mesa.Model
        The simulation.
    spec : PeerSpec
        Connection, devices and strategy.
    network : str
        Name of the network.
    position : mapping of str to int
        Position of each profile column in forecast arrays.
    n_blocks : int
        Number of price blocks in which a unit's cost is bid; zero: its cost curve is.
    strategy : Strategy
        What the peer makes of its truthful bids; members of a coalition share it.
    first_step : int
        Step from which on it uses the strategy; before, it bids truthfully and learns nothing.

    Attributes
    ----------
    rating : Rating
        What the peer registers with its operator.
    """

    def __init__(
        self,
        model: Any,
        spec: PeerSpec,
        network: str,
        position: Mapping[str, int],
        n_blocks: int = 0,
        *,
        strategy: Strategy = TRUTHFUL,
        first_step: int = 0,
    ) -> None:
        super().__init__(model)
        self.spec = spec
        self.rating = registration(spec)
        self.network = network
        self.strategy = strategy
        self._first_step = first_step
        self.battery = _battery(spec)
        self.unit = _unit(spec)
        self.flexible = _flexible(spec)
        self._n_blocks = n_blocks
        self._scaling = Scaling([spec], position)
        self._outlook: Outlook | None = None
        self._revealed = (math.nan, math.nan, math.nan, math.nan)

    @property
    def peer_id(self) -> str:
        """Name of the peer."""
        return self.spec.peer_id

    def forecast(self, outlook: Outlook) -> None:
        """Take a forecast as its own: the next bid stands on it."""
        self._outlook = outlook

    def outlook(self, profiles: Series) -> Outlook:
        """Scale profiles, (n_steps, n_columns), to the peer's devices."""
        return self._scaling.outlooks(profiles)[0]

    def bid(self, observation: Observation) -> Bid:
        """Submit what the strategy makes of the truthful bid.

        Raises
        ------
        StrategyError
            If the strategy fails, or returns something else than a bid.
        """
        truthful = self.truthful_bid(observation)
        if observation.step < self._first_step:
            return truthful
        knowing = replace(observation, renewable_rating_kw=self.rating.renewable_kw)
        with self._naming(observation.step):
            bid = self.strategy.submit(truthful, knowing)
            if not isinstance(bid, Bid):
                raise TypeError(f"submit returned {bid!r:.40}, which is no Bid")
        return bid

    def markup(self, step: int) -> float | None:
        """Mark-up that the strategy chose for a step; None of one that does not tell. [-]"""
        chosen = getattr(self.strategy, "markup", None)
        if step < self._first_step or not isinstance(chosen, int | float):
            return None
        return float(chosen)

    def state(self) -> dict[str, float | None]:
        """Return what the devices hold; the strategy has a state of its own. [kWh]"""
        return {
            "stored_kwh": None if self.battery is None else self.battery.energy_kwh,
            "backlog_kwh": None if self.flexible is None else self.flexible.backlog_kwh,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a state."""
        if self.battery is not None:
            self.battery.energy_kwh = state["stored_kwh"]
        if self.flexible is not None:
            self.flexible.backlog_kwh = state["backlog_kwh"]

    @contextmanager
    def _naming(self, step: int) -> Iterator[None]:
        """Name step, peer and strategy of whatever the strategy raises."""
        try:
            yield
        except Exception as error:  # user code may raise anything
            msg = f"step {step}, peer {self.peer_id}: strategy {self.spec.strategy!r} failed: "
            raise StrategyError(f"{msg}{type(error).__name__}: {error}") from error

    def truthful_bid(self, observation: Observation) -> Bid:
        """Bid the forecast, true costs, and the supplier's prices as limit prices."""
        outlook = self._forecasted()
        worth = 0.0  # of a kWh in the battery
        if self.battery is not None:
            worth = stored_energy_value(
                observation.retail, observation.feed_in, self.battery.discharge_efficiency
            )
        return Bid(
            peer_id=self.peer_id,
            network=self.network,
            step=observation.step,
            load_kw=outlook.load_kw,
            load_kvar=outlook.load_kvar,
            buy_limit_eur_per_kwh=observation.retail,
            sell_limit_eur_per_kwh=observation.feed_in,
            q_max_kvar=self.rating.reactive_kvar,
            renewable=RenewableOffer(outlook.renewable_kw, 0.0) if self.spec.renewable_kw else None,
            dispatchable=None
            if self.unit is None
            else _dispatchable_offer(self.unit, self._n_blocks),
            storage=None if self.battery is None else _storage_offer(self.battery, worth),
            flexible=None
            if self.flexible is None
            else _flexible_offer(
                self.flexible, outlook.flexible_kw, float(observation.retail.max())
            ),
            recourse=self._recourse_offer(worth),
        )

    def _forecasted(self) -> Outlook:
        """The forecast that the latest bid stands on."""
        if self._outlook is None:
            msg = f"peer {self.peer_id} has to forecast before it bids"
            raise RuntimeError(msg)
        return self._outlook

    def _recourse_offer(self, worth: float) -> RecourseOffer | None:
        """Ask for fuel, wear and the worth of stored energy."""
        asked = []
        if self.battery is not None:
            b = self.battery
            up = b.wear_eur_per_kwh + worth / b.discharge_efficiency
            asked.append((up, b.wear_eur_per_kwh - worth * b.charge_efficiency))
        if self.unit is not None:
            u = self.unit
            dearest = u.cost_eur_per_kwh + 2 * u.cost_eur_per_kw2h * u.power_kw
            asked.append((dearest, -u.cost_eur_per_kwh))
        if not asked:
            return None
        up, down = (max(side) for side in zip(*asked, strict=True))
        return RecourseOffer(up, down, CAPACITY_EUR_PER_KW_H)

    def deviation(
        self, award: Award, actual: Outlook, k: int, reported_kw: tuple[float, float], hours: float
    ) -> float:
        """Measure how far reality is off the schedule before any recourse.

        Plant, load, and what the flexible load cannot drop or put off as scheduled.

        Parameters
        ----------
        award : Award
            Schedule of the binding steps.
        actual : Outlook
            What really came, one step.
        k : int
            Binding step that is realised.
        reported_kw : tuple of float
            Must-serve and flexible load that the schedule stands on: those of the bid, so that a
            misreport is a deviation. [kW]
        hours : float
            Length of the step. [h]

        Returns
        -------
        float
            Real less scheduled injection. [kW]
        """
        renewable = _renewable_output(award, actual, k) - float(award.renewable_kw[k])
        must_serve, flexible = reported_kw
        load = actual.load_kw[0] + actual.flexible_kw[0] - must_serve - flexible
        undone = 0.0
        if self.flexible is not None:
            asked = float(award.curtailed_load_kw[k]), float(award.deferred_load_kw[k])
            done = self.flexible.answer(*asked, float(actual.flexible_kw[0]), hours)
            undone = done[0] + done[1] - sum(asked)
        return renewable - float(load) + undone

    def follow(
        self, award: Award, activation: Activation, actual: Outlook, k: int, hours: float
    ) -> MeterReading:
        """Follow the award and the call for recourse as far as reality and devices allow.

        A renewable plant keeps its scheduled distance from its forecast, so that its forecast
        error passes through, or stays below its cap; it cannot give more than there is.

        Parameters
        ----------
        award : Award
            Schedule of the binding steps.
        activation : Activation
            Recourse asked for.
        actual : Outlook
            What really came, one step.
        k : int
            Binding step that is realised.
        hours : float
            Length of the step. [h]

        Returns
        -------
        MeterReading
            What the meter of the peer shows.
        """
        load, baseline = float(actual.load_kw[0]), float(actual.flexible_kw[0])
        renewable = _renewable_output(award, actual, k)
        expected = self._forecasted()
        plant = float(actual.renewable_kw[0])
        self._revealed = load, float(expected.load_kw[k]), plant, float(expected.renewable_kw[k])
        curtailed = deferred = charge = discharge = unit_kw = energy = 0.0
        if self.flexible is not None:
            curtailed, deferred = self.flexible.follow(
                float(award.curtailed_load_kw[k]), float(award.deferred_load_kw[k]), baseline, hours
            )
        delivered = 0.0
        if self.battery is not None:
            planned = float(award.discharge_kw[k] - award.charge_kw[k])
            charge, discharge = self.battery.follow(planned + activation.storage_kw, hours)
            energy = self.battery.energy_kwh
            delivered += discharge - charge - planned
        if self.unit is not None:
            planned = float(award.dispatchable_kw[k])
            unit_kw = self.unit.follow(planned + activation.dispatchable_kw)
            delivered += unit_kw - planned
        served = load + baseline - curtailed - deferred
        return MeterReading(
            peer_id=self.peer_id,
            step=award.step + k,
            p_kw=renewable + unit_kw + discharge - charge - served,
            q_kvar=float(award.q_kvar[k]) - float(actual.load_kvar[0]),
            load_kw=served,
            renewable_available_kw=plant,
            renewable_kw=renewable,
            dispatchable_kw=unit_kw,
            charge_kw=charge,
            discharge_kw=discharge,
            soc_kwh=energy,
            curtailed_load_kw=curtailed,
            deferred_load_kw=deferred,
            backlog_kwh=self.flexible.backlog_kwh if self.flexible is not None else 0.0,
            recourse_kw=delivered,
            recourse_asked_kw=activation.storage_kw + activation.dispatchable_kw,
        )

    def learn(self, outcome: Outcome) -> None:
        """Add to what the market tells of a step what the peer alone knows of it; learn from both.

        That is the must-serve load and the renewable power that came and that were forecast.

        Raises
        ------
        StrategyError
            If the strategy fails.
        """
        if outcome.step < self._first_step:
            return
        load, load_forecast, renewable, renewable_forecast = self._revealed
        known = replace(
            outcome,
            load_kw=load,
            load_forecast_kw=load_forecast,
            renewable_kw=renewable,
            renewable_forecast_kw=renewable_forecast,
        )
        with self._naming(outcome.step):
            self.strategy.learn(known)


def _renewable_output(award: Award, actual: Outlook, k: int) -> float:
    """What a plant feeds in under its set-point of a binding step. [kW]"""
    available = float(actual.renewable_kw[0])
    return float(renewable_output(available, float(award.held_back_kw[k]), float(award.cap_kw[k])))


def registration(spec: PeerSpec) -> Rating:
    """Return what a peer registers with its network operator."""
    inverters = spec.renewable_kw + spec.battery_kw + spec.dispatchable_kw
    return Rating(
        renewable_kw=spec.renewable_kw,
        dispatchable_kw=spec.dispatchable_kw,
        storage_kw=spec.battery_kw,
        storage_kwh=spec.battery_kwh,
        charge_efficiency=EFFICIENCY,
        discharge_efficiency=EFFICIENCY,
        flexible_kw=spec.flexible_kw,
        reactive_kvar=math.tan(math.acos(spec.power_factor)) * inverters,
    )


def source_maps(spec: PeerSpec) -> list[tuple[str, float, float]]:
    """Injection per unit of each profile column: (column, kW, kvar)."""
    out = [
        (f"load_p:{spec.load_profile}", -spec.load_kw, 0.0),
        (f"load_q:{spec.load_profile}", 0.0, -spec.load_kvar),
        (f"load_p:{spec.flexible_profile}", -spec.flexible_kw, 0.0),
    ]
    if spec.pv_kw:
        out.append((f"pv:{spec.pv_profile}", spec.pv_kw, 0.0))
    if spec.wind_kw:
        out.append((f"wind:{spec.wind_profile}", spec.wind_kw, 0.0))
    return out


def retail_bid(spec: PeerSpec, network: str, outlook: Outlook, observation: Observation) -> Bid:
    """Describe what the operator expects of a peer on its retail contract."""
    return Bid(
        peer_id=spec.peer_id,
        network=network,
        step=observation.step,
        load_kw=outlook.load_kw + outlook.flexible_kw,
        load_kvar=outlook.load_kvar,
        buy_limit_eur_per_kwh=observation.retail,
        sell_limit_eur_per_kwh=observation.feed_in,
        q_max_kvar=0.0,
        renewable=RenewableOffer(outlook.renewable_kw, 0.0) if spec.renewable_kw else None,
    )


def _battery(spec: PeerSpec) -> Battery | None:
    if not spec.battery_kwh:
        return None
    return Battery(
        power_kw=spec.battery_kw,
        capacity_kwh=spec.battery_kwh,
        charge_efficiency=EFFICIENCY,
        discharge_efficiency=EFFICIENCY,
        wear_eur_per_kwh=WEAR_EUR_PER_KWH,
        energy_kwh=INITIAL_STATE_OF_CHARGE * spec.battery_kwh,
    )


def _unit(spec: PeerSpec) -> DispatchableUnit | None:
    if not spec.dispatchable_kw:
        return None
    linear = spec.dispatchable_eur_per_kwh
    return DispatchableUnit(
        spec.dispatchable_kw, linear, QUADRATIC_PART * linear / 2 / spec.dispatchable_kw
    )


def _flexible(spec: PeerSpec) -> FlexibleLoad | None:
    if not spec.flexible_kw:
        return None
    return FlexibleLoad(
        power_kw=spec.flexible_kw,
        curtailable_share=CURTAILABLE_SHARE,
        willingness_to_pay_eur_per_kwh=WILLINGNESS_TO_PAY,
        deferral_eur_per_kwh_h=DEFERRAL_EUR_PER_KWH_H,
        backlog_max_kwh=BACKLOG_HOURS * spec.flexible_kw,
    )


def _dispatchable_offer(unit: DispatchableUnit, n_blocks: int) -> DispatchableOffer:
    curve = unit.power_kw, unit.cost_eur_per_kwh, unit.cost_eur_per_kw2h
    if not n_blocks:
        return DispatchableOffer(*curve)
    return DispatchableOffer(unit.power_kw, 0.0, 0.0, PriceBlocks.along(*curve, n_blocks))


def _storage_offer(battery: Battery, worth: float) -> StorageOffer:
    return StorageOffer(
        charge_max_kw=battery.power_kw,
        discharge_max_kw=battery.power_kw,
        energy_min_kwh=0.0,
        energy_max_kwh=battery.capacity_kwh,
        energy_kwh=battery.energy_kwh,
        charge_efficiency=battery.charge_efficiency,
        discharge_efficiency=battery.discharge_efficiency,
        wear_eur_per_kwh=battery.wear_eur_per_kwh,
        end_value_eur_per_kwh=worth,
    )


def _flexible_offer(load: FlexibleLoad, baseline: Series, dearest: float) -> FlexibleOffer:
    return FlexibleOffer(
        baseline_kw=np.maximum(baseline, 0.0),
        curtailable_share=load.curtailable_share,
        willingness_to_pay_eur_per_kwh=load.willingness_to_pay_eur_per_kwh,
        served_max_kw=load.power_kw,
        backlog_kwh=load.backlog_kwh,
        backlog_max_kwh=load.backlog_max_kwh,
        deferral_eur_per_kwh_h=load.deferral_eur_per_kwh_h,
        end_price_eur_per_kwh=dearest,
    )
