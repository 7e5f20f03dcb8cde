"""What devices really deliver: set-points cut to what physics and ratings allow.

Every argument is a number or an array; arrays are broadcast against each other, so that one call
serves one device or all devices in many scenarios. Powers are those of one step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.float64]
    Value: TypeAlias = float | NDArray[np.float64]


def renewable_output(available_kw: Value, held_back_kw: Value, cap_kw: Value) -> Array:
    """Power of a renewable plant.

    A plant that holds back a constant power passes its forecast error on; one with a cap passes
    on what keeps it below the cap. No plant gives more than there is or less than nothing.

    Parameters
    ----------
    available_kw : float or ndarray
        What sun and wind allow, not negative. [kW]
    held_back_kw : float or ndarray
        Distance to keep from that. [kW]
    cap_kw : float or ndarray
        Largest power, not negative; infinite without a cap. [kW]

    Returns
    -------
    ndarray
        Power fed in. [kW]
    """
    kept = np.minimum(np.maximum(available_kw - held_back_kw, 0.0), available_kw)
    return np.minimum(kept, cap_kw)


def battery_output(
    net_kw: Value,
    hours: float,
    *,
    power_kw: Value,
    capacity_kwh: Value,
    energy_kwh: Value,
    charge_efficiency: Value,
    discharge_efficiency: Value,
) -> tuple[Array, Array, Array]:
    """Power of a battery, as far as inverter and energy allow.

    Parameters
    ----------
    net_kw : float or ndarray
        Asked injection; negative for charging. [kW]
    hours : float
        Length of the step. [h]
    power_kw, capacity_kwh : float or ndarray
        Ratings of inverter, either way, and energy. [kW, kWh]
    energy_kwh : float or ndarray
        Energy stored when the step begins. [kWh]
    charge_efficiency, discharge_efficiency : float or ndarray
        Stored over charged, discharged over withdrawn energy. [-]

    Returns
    -------
    charge_kw, discharge_kw : ndarray
        What is delivered; one of them is zero. [kW]
    energy_kwh : ndarray
        Energy stored when the step ends. [kWh]
    """
    room = (capacity_kwh - energy_kwh) / charge_efficiency / hours
    stock = energy_kwh * discharge_efficiency / hours
    charge = _least(np.maximum(np.negative(net_kw), 0.0), power_kw, np.maximum(room, 0.0))
    discharge = _least(np.maximum(net_kw, 0.0), power_kw, np.maximum(stock, 0.0))
    change = charge * charge_efficiency - discharge / discharge_efficiency
    after = np.minimum(np.maximum(energy_kwh + hours * change, 0.0), capacity_kwh)
    return charge, discharge, after


def unit_output(asked_kw: Value, power_kw: Value) -> Array:
    """Power of a dispatchable unit asked for a power, within its rating ``power_kw``. [kW]"""
    return np.minimum(np.maximum(asked_kw, 0.0), power_kw)


def flexible_output(
    curtail_kw: Value,
    defer_kw: Value,
    baseline_kw: Value,
    hours: float,
    *,
    power_kw: Value,
    curtailable_share: Value,
    backlog_kwh: Value,
    backlog_max_kwh: Value,
) -> tuple[Array, Array, Array]:
    """What a flexible load drops and puts off, as far as the real load allows.

    Parameters
    ----------
    curtail_kw, defer_kw : float or ndarray
        Scheduled; a negative deferral makes up for waiting energy. [kW]
    baseline_kw : float or ndarray
        The load that really comes up. [kW]
    hours : float
        Length of the step. [h]
    power_kw : float or ndarray
        Largest load when waiting energy is made up for. [kW]
    curtailable_share : float or ndarray
        Part of the baseline that may be dropped. [-]
    backlog_kwh, backlog_max_kwh : float or ndarray
        Energy waiting when the step begins, and its largest value. [kWh]

    Returns
    -------
    curtailed_kw, deferred_kw : ndarray
        What is done. [kW]
    backlog_kwh : ndarray
        Energy waiting when the step ends. [kWh]
    """
    curtailed = np.minimum(np.maximum(curtail_kw, 0.0), curtailable_share * baseline_kw)
    left = baseline_kw - curtailed
    room = (backlog_max_kwh - backlog_kwh) / hours
    deferred = _least(defer_kw, left, np.maximum(room, 0.0))
    headroom = np.maximum(power_kw - left, 0.0)
    deferred = np.maximum(deferred, np.maximum(np.negative(backlog_kwh) / hours, -headroom))
    after = np.minimum(np.maximum(backlog_kwh + hours * deferred, 0.0), backlog_max_kwh)
    return curtailed, deferred, after


def _least(*values: Value) -> Array:
    """Return the elementwise least of several values."""
    least = np.asarray(values[0], dtype=np.float64)
    for value in values[1:]:
        least = np.minimum(least, value)
    return least
