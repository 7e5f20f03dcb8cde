"""The forecast errors of a window as set-points and recourse policy let them through."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from market.chance import RowErrors

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from numpy.typing import NDArray

    from market.flexible_response import FlexibleResponse
    from market.grid_rows import GridRows
    from market.offers import ErrorSamples
    from market.recourse import RecoursePolicy
    from market.roster import Roster
    from market.schedule import Schedule

    Array = NDArray[np.float64]
    Quantities = NDArray[Any]
    """Real or complex."""


class SetPoints:
    """Which renewable plants are held below a cap in which steps.

    A plant scheduled below its forecast is capped there: it feeds in the less of its cap and what
    is available, so that it passes on the downward part of its forecast error only. Within one
    clearing a plant that has been capped stays so, if need be at its forecast: taking the cap
    away again would bring the upward error back, and the passes would not settle.

    Parameters
    ----------
    available_kw : ndarray, shape (n_steps, n_renewable)
        Forecast renewable power of the window. [kW]
    rating_kw : ndarray, shape (n_renewable,)
        Rated power. [kW]
    """

    def __init__(self, available_kw: Array, rating_kw: Array) -> None:
        self.available_kw = available_kw
        self.rating_kw = rating_kw
        self.cap_kw = np.full_like(available_kw, np.inf)

    def follow(self, renewable_kw: Array, steps: Iterable[int]) -> None:
        """Cap the plants that a schedule, (n_steps, n_renewable), curtails in some steps. [kW]"""
        rows = np.array(list(steps), dtype=np.intp)
        scheduled = renewable_kw[rows]
        capped = (scheduled < self.available_kw[rows]) | np.isfinite(self.cap_kw[rows])
        self.cap_kw[rows] = np.where(capped, scheduled, np.inf)

    def errors(self, step: int, error_kw: Array, plants: NDArray[np.intp]) -> Array:
        """What plants deviate from their schedule when their forecasts err.

        Parameters
        ----------
        step : int
            Step of the window.
        error_kw : ndarray, shape (n_samples, n_plants)
            Errors of the forecasts of available power. [kW]
        plants : ndarray of int, shape (n_plants,)
            The plants, among all renewable ones.

        Returns
        -------
        ndarray, shape (n_samples, n_plants)
            Output less scheduled output; nothing above rated or below zero power is available.
            [kW]
        """
        forecast, cap = self.available_kw[step, plants], self.cap_kw[step, plants]
        output = np.clip(forecast + error_kw, 0.0, np.minimum(self.rating_kw[plants], cap))
        return output - np.minimum(forecast, cap)


@dataclass(frozen=True, eq=False)
class _Network:
    """How the errors of the underlying series enter one network.

    Attributes
    ----------
    samples : ErrorSamples
        Past errors of the series.
    plants : ndarray of int, shape (n_plants,)
        Its renewable plants, among all.
    loads : ndarray of int, shape (n_loads,)
        Its flexible loads, among all.
    owners : ndarray of int, shape (n_plants + n_loads,)
        Owners of the plants and then of the loads, among the members.
    to_plants : ndarray, shape (n_sources, n_plants)
        Power of each plant per unit of each series. [kW]
    to_loads : ndarray, shape (n_sources, n_loads)
        Power of each flexible load per unit of each series. [kW]
    others : ndarray of int, shape (n_others,)
        Series that drive anything but plants.
    to_p, to_q : ndarray, shape (n_others, n_members)
        Injection of each member, but for plants, per unit of these series. [kW, kvar]
    to_total : ndarray, shape (n_sources,)
        Active injection of all members, but for plants, per unit of each series. [kW]
    """

    samples: ErrorSamples
    plants: NDArray[np.intp]
    loads: NDArray[np.intp]
    owners: NDArray[np.intp]
    to_plants: Array
    to_loads: Array
    others: NDArray[np.intp]
    to_p: Array
    to_q: Array
    to_total: Array

    @classmethod
    def of(cls, samples: ErrorSamples, roster: Roster, network: int) -> _Network:
        members = roster.members(network)
        plants = np.flatnonzero(roster.network_of[roster.renewable] == network)
        owners = np.searchsorted(members, roster.renewable[plants])
        loads = np.flatnonzero(roster.network_of[roster.flexible] == network)
        holders = np.searchsorted(members, roster.flexible[loads])
        flexible = samples.flexible_to_p
        to_plants = samples.renewable_to_p[:, owners]
        to_p, to_q = samples.to_p.copy(), samples.to_q
        to_p[:, owners] -= to_plants
        others = np.flatnonzero((to_p != 0.0).any(axis=1) | (to_q != 0.0).any(axis=1))
        return cls(
            samples=samples,
            plants=plants,
            loads=loads if flexible is not None else loads[:0],
            owners=np.concatenate([owners, holders if flexible is not None else holders[:0]]),
            to_plants=to_plants,
            to_loads=-flexible[:, holders] if flexible is not None else to_plants[:, :0],
            others=others,
            to_p=to_p[others],
            to_q=to_q[others],
            to_total=to_p.sum(axis=1),
        )

    def other_sources(self, step: int) -> Array:
        """Errors of the series that drive anything but plants, (n_samples, n_others)."""
        return self.samples.steps[step].sources[:, self.others]


class Uncertainty:
    """Error samples of all networks as the constraint rows and the recourse see them.

    Parameters
    ----------
    samples : sequence of ErrorSamples
        Past errors by network.
    policy : RecoursePolicy
        What the recourse answers.
    roster : Roster
        The registered peers.
    set_points : SetPoints, optional
        Caps of renewable plants; none: every plant passes its whole error on.
    flexible : FlexibleResponse, optional
        What flexible loads leave undone; none: they follow their schedules whatever comes.
    """

    def __init__(
        self,
        samples: Sequence[ErrorSamples],
        policy: RecoursePolicy,
        roster: Roster,
        set_points: SetPoints | None = None,
        flexible: FlexibleResponse | None = None,
    ) -> None:
        self.samples = tuple(samples)
        self.policy = policy
        self.set_points = set_points
        self.flexible = flexible
        self._networks = [_Network.of(own, roster, d) for d, own in enumerate(self.samples)]
        self._of_devices: dict[tuple[int, int], Array] = {}

    def follow(self, schedule: Schedule, steps: Iterable[int]) -> None:
        """Take over what a schedule caps, and asks of flexible loads, in some steps."""
        steps = set(steps)
        if self.set_points is not None:
            self.set_points.follow(schedule.renewable, steps)
        if self.flexible is not None:
            self.flexible.follow(schedule, steps)
        self._of_devices = {at: kw for at, kw in self._of_devices.items() if at[1] not in steps}

    def capped(self, schedule: Schedule) -> Schedule:
        """Write the caps into a schedule."""
        if self.set_points is None:
            return schedule
        return replace(schedule, cap_kw=self.set_points.cap_kw.copy())

    def omega(self, network: int, step: int) -> Array:
        """Sum of a network's errors, shape (n_samples,). [kW]"""
        at = self._networks[network]
        total = at.samples.steps[step].sources @ at.to_total
        return total + self._devices(network, step).sum(axis=1)

    def omega_moments(self, steps: Collection[int]) -> tuple[Array, Array]:
        """Mean and standard deviation of each network's error, (n_steps, n_networks) each. [kW]"""
        shape = len(steps), len(self.samples)
        mean, deviation = np.zeros(shape), np.zeros(shape)
        for (k, t), d in product(enumerate(steps), range(shape[1])):
            omega, weights = self.omega(d, t), self.weights(d, t)
            mean[k, d] = weights @ omega
            deviation[k, d] = np.sqrt(weights @ (omega - mean[k, d]) ** 2)
        return mean, deviation

    def pool_omega(self, pool: int, step: int) -> Array:
        """Sum of the errors of a pool's networks, shape (n_samples,). [kW]"""
        return reduce(np.add, (self.omega(d, step) for d in self.policy.networks(pool)))

    def weights(self, network: int, step: int) -> Array:
        """Probabilities of the samples of a network, shape (n_samples,)."""
        return self.samples[network].weights(step)

    def signals(self, network: int, step: int) -> Array:
        """What the recourse devices of a network answer, shape (n_samples, n_signals). [kW]"""
        pool = int(self.policy.pool_of[network])
        return self.policy.signals(self.pool_omega(pool, step))

    def rows(self, network: int, step: int, rows: GridRows) -> RowErrors:
        """Carry the errors through to the constraint rows of a network."""
        u = self.effects(network, step, rows.d_p, rows.d_q)
        return RowErrors(u, self.signals(network, step), self.weights(network, step))

    def effects(self, network: int, step: int, d_p: Quantities, d_q: Quantities) -> Quantities:
        """Carry the errors through to quantities with given sensitivities, real or complex.

        Parameters
        ----------
        network, step : int
            Where the quantities belong.
        d_p, d_q : ndarray, shape (n_quantities, n_members)
            Sensitivities. [per kW, per kvar]

        Returns
        -------
        ndarray, shape (n_samples, n_quantities)
            What every sample does to each without recourse.
        """
        at = self._networks[network]
        sources = np.hstack([at.other_sources(step), self._devices(network, step)])
        per_source = at.to_p @ d_p.T + at.to_q @ d_q.T
        return sources @ np.vstack([per_source, d_p.T[at.owners]])

    def largest_errors(self, network: int, step: int) -> tuple[Array, Array]:
        """Bound the active and reactive error of every member, (n_members,) each. [kW, kvar]"""
        at = self._networks[network]
        largest = np.abs(at.other_sources(step)).max(axis=0, initial=0.0)
        p_error, q_error = largest @ np.abs(at.to_p), largest @ np.abs(at.to_q)
        np.add.at(p_error, at.owners, np.abs(self._devices(network, step)).max(axis=0, initial=0.0))
        return p_error, q_error

    def member_errors(self, network: int, step: int) -> tuple[Array, Array]:
        """Active and reactive errors of every member, (n_samples, n_members). [kW, kvar]"""
        at = self._networks[network]
        sources = at.other_sources(step)
        p_error = sources @ at.to_p
        np.add.at(p_error.T, at.owners, self._devices(network, step).T)
        return p_error, sources @ at.to_q

    def _devices(self, network: int, step: int) -> Array:
        """What plants and flexible loads deviate from their schedules beside the others' errors.

        Returns
        -------
        ndarray, shape (n_samples, n_plants + n_loads)
            As injections; of a flexible load what it leaves undone, as its error itself is among
            the others'. [kW]
        """
        if (network, step) not in self._of_devices:
            at = self._networks[network]
            sources = at.samples.steps[step].sources
            plants, undone = sources @ at.to_plants, np.zeros((len(sources), len(at.loads)))
            if self.set_points is not None:
                plants = self.set_points.errors(step, plants, at.plants)
            if self.flexible is not None:
                undone = self.flexible.errors(step, sources @ at.to_loads, at.loads)
            self._of_devices[network, step] = np.hstack([plants, undone])
        return self._of_devices[network, step]
