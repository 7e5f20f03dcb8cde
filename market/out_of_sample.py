"""What cleared steps do at forecast errors that their clearing did not know.

The very second stage of a run, in many scenarios at once: set-points let the errors through, the
recourse answers their sum, and devices follow as far as they can.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from market.devices import battery_output, flexible_output, renewable_output, unit_output

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from market.bids import Award
    from market.roster import Roster

    Array = NDArray[np.float64]


class OverlapError(ValueError):
    """A test set that holds errors of the training set; the message names one."""


@dataclass(frozen=True, eq=False)
class Outturn:
    """What comes in every scenario, shape (n_scenarios, n_peers) each."""

    load_kw: Array
    """Must-serve load. [kW]"""
    load_kvar: Array
    """Reactive load. [kvar]"""
    flexible_kw: Array
    """Flexible load before it is curtailed or deferred. [kW]"""
    renewable_kw: Array
    """Available renewable power. [kW]"""


@dataclass(frozen=True, eq=False)
class Fleet:
    """Every peer's devices when a step begins, shape (n_peers,) each.

    Zero where a peer has none; then its efficiencies are one.
    """

    battery_kw: Array
    battery_kwh: Array
    energy_kwh: Array
    charge_efficiency: Array
    discharge_efficiency: Array
    unit_kw: Array
    flexible_kw: Array
    curtailable_share: Array
    backlog_kwh: Array
    backlog_max_kwh: Array


def realised_injections(
    awards: Sequence[Award],
    k: int,
    outturn: Outturn,
    *,
    expected_load_kw: Array,
    recourse: Callable[[Array, Array], Array],
    fleet: Fleet,
    roster: Roster,
) -> tuple[Array, Array]:
    """Follow awards and recourse in every scenario.

    Parameters
    ----------
    awards : sequence of Award
        What every peer was told, in the roster's order.
    k : int
        Binding step that is realised.
    outturn : Outturn
        What comes.
    expected_load_kw : ndarray, shape (n_peers,)
        Load that the schedule stands on, flexible load included. [kW]
    recourse : callable
        Change of injection asked of every recourse device, (n_scenarios, n_recourse), given
        every peer's deviation from its schedule and its net reactive injection, (n_scenarios,
        n_peers) each. [kW, kvar]
    fleet : Fleet
        The devices.
    roster : Roster
        The registered peers.

    Returns
    -------
    p_kw, q_kvar : ndarray, shape (n_scenarios, n_peers)
        Net injections. [kW, kvar]
    """

    def told(name: str) -> Array:
        return np.array([getattr(award, name)[k] for award in awards])

    hours = roster.step_hours
    renewable = renewable_output(outturn.renewable_kw, told("held_back_kw"), told("cap_kw"))
    baseline = outturn.load_kw + outturn.flexible_kw
    drop, put_off = told("curtailed_load_kw"), told("deferred_load_kw")
    curtailed, deferred, _ = flexible_output(
        drop,
        put_off,
        outturn.flexible_kw,
        hours,
        power_kw=fleet.flexible_kw,
        curtailable_share=fleet.curtailable_share,
        backlog_kwh=fleet.backlog_kwh,
        backlog_max_kwh=fleet.backlog_max_kwh,
    )
    undone = curtailed + deferred - drop - put_off
    error = renewable - told("renewable_kw") - (baseline - expected_load_kw) + undone
    q_kvar = told("q_kvar") - outturn.load_kvar
    storage, unit = _by_peer(recourse(error, q_kvar), roster)
    charge, discharge, _ = battery_output(
        told("discharge_kw") - told("charge_kw") + storage,
        hours,
        power_kw=fleet.battery_kw,
        capacity_kwh=fleet.battery_kwh,
        energy_kwh=fleet.energy_kwh,
        charge_efficiency=fleet.charge_efficiency,
        discharge_efficiency=fleet.discharge_efficiency,
    )
    unit_kw = unit_output(told("dispatchable_kw") + unit, fleet.unit_kw)
    served = baseline - curtailed - deferred
    return renewable + unit_kw + discharge - charge - served, q_kvar


def _by_peer(asked_kw: Array, roster: Roster) -> tuple[Array, Array]:
    """Sort calls for recourse, (..., n_recourse), to the owners' batteries and units. [kW]"""
    n_storage = len(roster.storage)
    storage, unit = (np.zeros((*asked_kw.shape[:-1], roster.n_peers)) for _ in range(2))
    storage[..., roster.storage] = asked_kw[..., :n_storage]
    unit[..., roster.dispatchable] = asked_kw[..., n_storage:]
    return storage, unit


def worst_excess(value: Array, limit: Array) -> Array:
    """How far each scenario exceeds the limit that it exceeds most.

    Parameters
    ----------
    value : ndarray, shape (n_scenarios, n_rows)
        Constrained quantities; NaN where the power flow has no solution. [p.u.]
    limit : ndarray, shape (n_rows,)
        Their upper limits. [p.u.]

    Returns
    -------
    ndarray, shape (n_scenarios,)
        Negative where all limits are kept; NaN without a solution. [p.u.]
    """
    excess: Array = (value - limit).max(axis=1)
    return excess


def require_disjoint(training: NDArray[np.int64], test: NDArray[np.int64]) -> None:
    """Refuse test errors that are training errors too.

    Parameters
    ----------
    training, test : ndarray of int
        Rows of the data whose forecast errors make up either set.

    Raises
    ------
    OverlapError
        If a row is in both.
    """
    both = np.intersect1d(training, test)
    if both.size:
        msg = (
            f"the test set overlaps the training set: {both.size} of its {np.unique(test).size} "
            f"rows are in both, the first is row {both[0]} of the data"
        )
        raise OverlapError(msg)
