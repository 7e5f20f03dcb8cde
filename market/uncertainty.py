"""The forecast errors of a window as set-points and recourse policy let them through."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from market.chance import RowErrors
from market.devices import renewable_output

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from market.offers import ErrorSamples, NetworkOffer
    from market.recourse import RecoursePolicy
    from market.roster import Roster
    from market.schedule import Schedule

    Array = NDArray[np.float64]


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
        available = np.clip(forecast + error_kw, 0.0, self.rating_kw[plants])
        return renewable_output(available, 0.0, cap) - np.minimum(forecast, cap)


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
    """

    def __init__(
        self,
        samples: Sequence[ErrorSamples],
        policy: RecoursePolicy,
        roster: Roster,
        set_points: SetPoints | None = None,
    ) -> None:
        self.samples = tuple(samples)
        self.policy = policy
        self.set_points = set_points
        owner_network = roster.network_of[roster.renewable]
        self._plants = [np.flatnonzero(owner_network == d) for d in range(roster.n_networks)]
        self._members = [
            np.searchsorted(roster.members(d), roster.renewable[plants])
            for d, plants in enumerate(self._plants)
        ]
        self._to_plants = [
            own.renewable_to_p[:, members]
            for own, members in zip(self.samples, self._members, strict=True)
        ]
        self._withheld: dict[tuple[int, int], Array] = {}
        self._omega: dict[tuple[int, int], Array] = {}

    def follow(self, schedule: Schedule, steps: Iterable[int]) -> None:
        """Take over what a schedule caps in some steps."""
        if self.set_points is None:
            return
        steps = set(steps)
        self.set_points.follow(schedule.renewable, steps)
        self._withheld = {at: kw for at, kw in self._withheld.items() if at[1] not in steps}
        self._omega = {at: kw for at, kw in self._omega.items() if at[1] not in steps}

    def capped(self, schedule: Schedule) -> Schedule:
        """Write the caps into a schedule."""
        if self.set_points is None:
            return schedule
        return replace(schedule, cap_kw=self.set_points.cap_kw.copy())

    def omega(self, network: int, step: int) -> Array:
        """Sum of a network's errors, shape (n_samples,). [kW]"""
        if (network, step) not in self._omega:
            omega = self.samples[network].omega(step)
            if self.set_points is not None:
                omega = omega - self._kept(network, step).sum(axis=1)
            self._omega[network, step] = omega
        return self._omega[network, step]

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

    def rows(self, network: int, step: int, offer: NetworkOffer) -> RowErrors:
        """Carry the errors through to the constraint rows of a network's linear model."""
        d_p = offer.d_p[step]
        u = self.samples[network].effect(step, d_p, offer.d_q[step])
        if self.set_points is not None:
            u = u - self._kept(network, step) @ d_p[:, self._members[network]].T
        return RowErrors(u, self.signals(network, step), self.weights(network, step))

    def member_errors(self, network: int, step: int) -> tuple[Array, Array]:
        """Active and reactive errors of every member, (n_samples, n_members). [kW, kvar]"""
        samples = self.samples[network]
        sources = samples.steps[step].sources
        p_error, q_error = sources @ samples.to_p, sources @ samples.to_q
        if self.set_points is not None:
            p_error[:, self._members[network]] -= self._kept(network, step)
        return p_error, q_error

    def _kept(self, network: int, step: int) -> Array:
        """What plants do not pass on of their errors, shape (n_samples, n_plants). [kW]"""
        if self.set_points is None:
            msg = "only set-points keep errors back"
            raise AssertionError(msg)
        if (network, step) not in self._withheld:
            error = self.samples[network].steps[step].sources @ self._to_plants[network]
            passed = self.set_points.errors(step, error, self._plants[network])
            self._withheld[network, step] = error - passed
        return self._withheld[network, step]
