"""The safety margins of a window, remembered from clearing to clearing."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from market.calibration import NEAR_AHEAD, NEAR_BINDING, calibrate, certify, situation
from market.grid_rows import HalfPlanes
from market.magnitudes import Scatter, sketched
from market.radius import RadiusRule
from market.safety_factors import make_safety_factor

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from configs.schema import Market
    from market.calibration import Audit, Hour
    from market.offers import NetworkOffer
    from market.roster import Roster
    from market.safety_factors import SafetyFactor
    from market.schedule import Schedule
    from market.uncertainty import Uncertainty

    Place = tuple[int, int]
    """Network and step."""

BINDING_DUAL = 1.0
"""A row binds when a higher limit would save more than this. [EUR/p.u.]"""
AIM = 0.98
"""Part of the risk level that the margins of an exact joint method are found for, so that the
certificate of the AC-exact schedule ends at most at the risk level. In 384 clearings of sixteen
June days this took 490 passes and none of 80 certificates ended above it; aiming at the risk level
itself, and allowing 0.1 percentage points more, took 508, and 28 of 80 did."""
CAUTION = 0.7
"""Part of the risk level that margins are found for once a clearing takes too long to keep it."""
RESCREEN = 1.3
"""An hour ahead is calibrated anew when its last known margins, so enlarged, touch a limit."""


class Margins:
    """Radii, calibrations and certificates of the networks.

    Parameters
    ----------
    roster : Roster
        The registered peers.
    settings : Market
        The market's configuration.

    Attributes
    ----------
    factor : SafetyFactor
        The method, with the configured radius.
    factors : list of list of SafetyFactor
        The method with the radius chosen, by network and step of the window.
    hours : dict of (int, int) to Hour
        Calibrations by network and step of the window.
    """

    def __init__(self, roster: Roster, settings: Market) -> None:
        self.roster = roster
        self.binding_steps = range(settings.cadence_steps)
        self.factor: SafetyFactor = make_safety_factor(
            settings.method, settings.risk_level, settings.radius
        )
        self.radius_rule = RadiusRule(settings.radius_rule, self.factor, settings.radius_confidence)
        self.factors: list[list[SafetyFactor]] = []
        self.hours: dict[Place, Hour] = {}
        self._known: dict[Place, Hour] = {}

    def unknown_steps(self, step: int) -> set[int]:
        """Steps of the window at ``step`` that have not been calibrated, or are about to bind."""
        n_steps = self.roster.n_steps
        known = {t for t in range(n_steps) if (0, step + t) in self._known}
        return set(range(n_steps)) - known | set(self.binding_steps)

    def choose_radii(
        self,
        step: int,
        schedule: Schedule,
        offers: Sequence[NetworkOffer],
        uncertainty: Uncertainty,
    ) -> None:
        """Choose the radius of every network and hour of day; those ahead take the last one."""
        steps_per_day = round(24 / self.roster.step_hours)
        hour = (step + np.arange(self.roster.n_steps)) % steps_per_day
        for d, t in product(range(len(offers)), self.binding_steps):
            place, day = (d, int(hour[t])), uncertainty.samples[d].steps[t].day
            if self.radius_rule.is_due(place, day):
                rows = offers[d].rows(t)
                errors = uncertainty.rows(d, t, rows)
                gain = schedule.gain(self.roster, d, t, rows.d_p)
                self.radius_rule.learn(place, situation(self.factor, rows, errors, day, gain=gain))
        self.factors = [
            [self._with_radius(self.radius_rule.choice((d, int(h))).radius) for h in hour]
            for d in range(len(offers))
        ]

    def calibrate(
        self,
        step: int,
        schedule: Schedule,
        offers: Sequence[NetworkOffer],
        uncertainty: Uncertainty,
    ) -> None:
        """Calibrate the window that starts at ``step``; hours ahead only near a limit."""
        self.hours = {}
        for (d, offer), t in product(enumerate(offers), range(self.roster.n_steps)):
            known = self._known.get((d, step + t))
            if known is not None and t not in self.binding_steps:
                rows = offer.rows(t, known.half_planes)
                room = rows.limit - rows.value - RESCREEN * known.margin
                if room.min() > 0:
                    self.hours[d, t] = known
                    continue
            self.hours[d, t] = self._hour(schedule, offer, uncertainty, (d, t), known)

    def recalibrate(
        self,
        schedule: Schedule,
        offers: Sequence[NetworkOffer],
        uncertainty: Uncertainty,
        networks: NDArray[np.bool_],
        steps: Collection[int],
        *,
        cautious: NDArray[np.bool_],
    ) -> None:
        """Calibrate some networks and steps anew, at a schedule.

        Of the networks to be ``cautious`` with, shape (n_networks,), for less risk.
        """
        for d, t in product(np.flatnonzero(networks).tolist(), steps):
            known = self.hours[d, t]
            self.hours[d, t] = self._hour(
                schedule, offers[d], uncertainty, (d, t), known, cautious=bool(cautious[d])
            )

    def audit(
        self,
        schedule: Schedule,
        offers: Sequence[NetworkOffer],
        uncertainty: Uncertainty,
        steepest: dict[Place, float],
    ) -> tuple[tuple[Audit, ...], ...]:
        """Certify the binding steps at the AC-exact schedule.

        Parameters
        ----------
        schedule : Schedule
            The schedule.
        offers : sequence of NetworkOffer
            Models at the schedule.
        uncertainty : Uncertainty
            The errors.
        steepest : dict of (int, int) to float
            Largest dual of the grid constraints by network and step; zero where there is none.
            [EUR/p.u.]
        """
        return tuple(
            tuple(
                self._audit(schedule, offer, uncertainty, (d, t), steepest.get((d, t), 0.0))
                for t in self.binding_steps
            )
            for d, offer in enumerate(offers)
        )

    def _audit(
        self,
        schedule: Schedule,
        offer: NetworkOffer,
        uncertainty: Uncertainty,
        place: Place,
        steepest: float,
    ) -> Audit:
        """Certify one network and binding step."""
        (d, t), known = place, self.hours.get(place)
        scatter = Scatter.of(offer, uncertainty, schedule, self.roster, place)
        rows = offer.rows(t, None if known is None else known.half_planes)
        return certify(
            self.factors[d][t],
            rows,
            uncertainty.rows(d, t, rows),
            gain=schedule.gain(self.roster, d, t, rows.d_p),
            known=known,
            scatter=scatter,
            binding=steepest > BINDING_DUAL,
        )

    def remember(self, step: int) -> None:
        """Keep what the next clearing starts from; it chooses its rows anew."""
        later = step + len(self.binding_steps)
        self._known = {
            (d, step + t): replace(hour, chosen=np.zeros(0, dtype=np.intp))
            for (d, t), hour in self.hours.items()
            if step + t >= later
        }

    def forget(self) -> None:
        """Start anew: after a fallback nothing stands where it stood."""
        self.hours, self._known = {}, {}

    def state(self) -> dict[str, Any]:
        """Return what the next clearing starts from."""
        return {"known": self._known, "radii": self.radius_rule.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a state."""
        self._known = state["known"]
        self.radius_rule.restore(state["radii"])

    def _with_radius(self, radius: float) -> SafetyFactor:
        return type(self.factor)(self.factor.risk_level, radius)

    def _aiming(self, factor: SafetyFactor, *, cautious: bool) -> SafetyFactor:
        """Return the method at the risk level that margins are found for."""
        # Without a ball, probabilities move in steps of whole samples: nothing is below to aim at.
        aims = factor.exact_joint and factor.radius > 0.0
        part = CAUTION if cautious else AIM if aims else 1.0
        return type(factor)(part * factor.risk_level, factor.radius)

    def _hour(
        self,
        schedule: Schedule,
        offer: NetworkOffer,
        uncertainty: Uncertainty,
        place: Place,
        known: Hour | None,
        *,
        cautious: bool = False,
    ) -> Hour:
        """Calibrate one network and step of the window."""
        d, t = place
        if known is not None and t not in self.binding_steps:
            # Whose half-planes are others every time.
            known = replace(known, chosen=known.chosen[known.chosen < len(offer.limit)])
        rows = offer.rows(t, self._half_planes(schedule, offer, uncertainty, place))
        return calibrate(
            self._aiming(self.factors[d][t], cautious=cautious),
            rows,
            uncertainty.rows(d, t, rows),
            gain=schedule.gain(self.roster, d, t, rows.d_p),
            known=known,
            reach=NEAR_BINDING if t in self.binding_steps else NEAR_AHEAD,
            every=cautious,
        )

    def _half_planes(
        self, schedule: Schedule, offer: NetworkOffer, uncertainty: Uncertainty, place: Place
    ) -> HalfPlanes:
        """Half-planes of magnitudes near their limits; those of this clearing are kept."""
        if place[1] not in self.binding_steps:
            return sketched(offer, place[1])
        scatter = Scatter.of(offer, uncertainty, schedule, self.roster, place)
        earlier = self.hours.get(place)
        planes = HalfPlanes.none() if earlier is None else earlier.half_planes
        return planes if scatter is None else scatter.half_planes(planes, self.factor.risk_level)
