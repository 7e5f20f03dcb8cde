"""Devices of a peer: what they are, and how they follow a schedule in reality."""

from __future__ import annotations

from dataclasses import dataclass

from market.devices import battery_output, flexible_output, unit_output


@dataclass
class Battery:
    """A battery with separate charging and discharging losses.

    Attributes
    ----------
    power_kw : float
        Rating of the inverter, either way, at the grid side. [kW]
    capacity_kwh : float
        Usable energy. [kWh]
    charge_efficiency, discharge_efficiency : float
        Stored over charged, discharged over withdrawn energy. [-]
    wear_eur_per_kwh : float
        Wear per kWh charged and per kWh discharged. [EUR/kWh]
    energy_kwh : float
        Energy stored now. [kWh]
    """

    power_kw: float
    capacity_kwh: float
    charge_efficiency: float
    discharge_efficiency: float
    wear_eur_per_kwh: float
    energy_kwh: float

    def follow(self, net_kw: float, hours: float) -> tuple[float, float]:
        """Deliver a net injection as far as power and energy allow.

        Parameters
        ----------
        net_kw : float
            Asked injection; negative for charging. [kW]
        hours : float
            Length of the step. [h]

        Returns
        -------
        charge_kw, discharge_kw : float
            What was delivered; one of them is zero. [kW]
        """
        charge, discharge, energy = battery_output(
            net_kw,
            hours,
            power_kw=self.power_kw,
            capacity_kwh=self.capacity_kwh,
            energy_kwh=self.energy_kwh,
            charge_efficiency=self.charge_efficiency,
            discharge_efficiency=self.discharge_efficiency,
        )
        self.energy_kwh = float(energy)
        return float(charge), float(discharge)


@dataclass(frozen=True)
class DispatchableUnit:
    """A dispatchable generator with linear and quadratic cost.

    Attributes
    ----------
    power_kw : float
        Rating. [kW]
    cost_eur_per_kwh : float
        Linear cost. [EUR/kWh]
    cost_eur_per_kw2h : float
        Quadratic cost. [EUR/(kW2 h)]
    """

    power_kw: float
    cost_eur_per_kwh: float
    cost_eur_per_kw2h: float

    def follow(self, power_kw: float) -> float:
        """Deliver a power as far as the rating allows. [kW]"""
        return float(unit_output(power_kw, self.power_kw))


@dataclass
class FlexibleLoad:
    """Load that may be dropped or put off.

    Attributes
    ----------
    power_kw : float
        Largest load when waiting energy is made up for. [kW]
    curtailable_share : float
        Part of the baseline that may be dropped. [-]
    willingness_to_pay_eur_per_kwh : float
        Discomfort of a dropped kWh. [EUR/kWh]
    deferral_eur_per_kwh_h : float
        Discomfort of a kWh waiting for an hour. [EUR/(kWh h)]
    backlog_max_kwh : float
        Largest energy that may wait. [kWh]
    backlog_kwh : float
        Energy waiting now. [kWh]
    """

    power_kw: float
    curtailable_share: float
    willingness_to_pay_eur_per_kwh: float
    deferral_eur_per_kwh_h: float
    backlog_max_kwh: float
    backlog_kwh: float = 0.0

    def follow(
        self, curtail_kw: float, defer_kw: float, baseline_kw: float, hours: float
    ) -> tuple[float, float]:
        """Drop and put off load as scheduled, as far as the real load allows.

        Parameters
        ----------
        curtail_kw, defer_kw : float
            Scheduled; a negative deferral makes up for waiting energy. [kW]
        baseline_kw : float
            The load that really came up. [kW]
        hours : float
            Length of the step. [h]

        Returns
        -------
        curtailed_kw, deferred_kw : float
            What was done. [kW]
        """
        curtailed, deferred, self.backlog_kwh = self.answer(
            curtail_kw, defer_kw, baseline_kw, hours
        )
        return curtailed, deferred

    def answer(
        self, curtail_kw: float, defer_kw: float, baseline_kw: float, hours: float
    ) -> tuple[float, float, float]:
        """Tell what :meth:`follow` would do, and the energy that would wait then. [kW, kWh]"""
        curtailed, deferred, backlog = flexible_output(
            curtail_kw,
            defer_kw,
            baseline_kw,
            hours,
            power_kw=self.power_kw,
            curtailable_share=self.curtailable_share,
            backlog_kwh=self.backlog_kwh,
            backlog_max_kwh=self.backlog_max_kwh,
        )
        return float(curtailed), float(deferred), float(backlog)
