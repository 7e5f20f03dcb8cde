"""The two-stage clearing: solve, replay the schedule in AC, recalibrate, certify, repeat."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from market.calibration import (
    NEAR_AHEAD,
    NEAR_BINDING,
    calibrate,
    certify,
    pose_rows,
    second_stage,
    situation,
)
from market.errors import SolverFailedError
from market.first_stage import FirstStage
from market.parameters import LossModel
from market.radius import RadiusRule
from market.recourse import RecoursePolicy
from market.relaxation import Exactness, RelaxedGrid, no_losses
from market.safety_factors import make_safety_factor
from market.schedule import fixed_injection, from_decisions, supplier_only
from market.uncertainty import SetPoints, Uncertainty
from market.warm_start import LastClearing, warm_start

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from configs.schema import Market
    from market.book import BidBook, TariffWindow
    from market.calibration import Audit, Hour
    from market.chance import ChanceRow
    from market.first_stage import Decisions
    from market.offers import GridOperator, NetworkOffer
    from market.parameters import SecondStage
    from market.roster import Roster
    from market.safety_factors import SafetyFactor
    from market.schedule import Schedule

    Array = NDArray[np.float64]
    Hours = dict[tuple[int, int], Hour]
    """Calibrations by network and step."""

log = logging.getLogger(__name__)

BINDING_DUAL = 1.0
"""A row binds when a higher limit would save more than this. [EUR/p.u.]"""
CERTIFICATE_TOLERANCE = 0.002
"""How far a certificate may exceed the risk level and still count as kept."""
SHORT, WASTEFUL = 0.02, 0.15
"""A binding row may miss its margin by the first, exceed it by the second number of sigmas."""
USEFUL_CERTIFICATE = 0.7
"""A binding step whose certificate is below this part of the risk level wastes some of it."""
CLOSE_CERTIFICATE = 0.001
"""How far a certificate may exceed the risk level without another pass."""
RESCREEN = 1.3
"""An hour is linearised anew when its last known margins, so enlarged, touch a limit."""


@dataclass(frozen=True, eq=False)
class ClearingResult:
    """A cleared window; the first ``cadence_steps`` steps of it bind.

    Attributes
    ----------
    schedule : Schedule
        Decisions of every step.
    offers : tuple of NetworkOffer
        Linear network models at the schedule.
    audits : tuple of tuple of Audit
        By network and binding step.
    second : SecondStage
        Statistics of the uncertainty.
    objective : float
        Optimal cost of the window. [EUR]
    duals : dict of str to ndarray
        Duals of the first stage by constraint label.
    fallback : str
        Empty, or the name of the degraded step that was taken.
    n_passes : int
        Number of solves.
    solver_s, wall_s : float
        Seconds inside the solver, and altogether.
    exactness : Exactness, optional
        How exact the branch-flow relaxation is, where it is the grid model.
    """

    schedule: Schedule
    offers: tuple[NetworkOffer, ...]
    audits: tuple[tuple[Audit, ...], ...]
    second: SecondStage
    objective: float
    duals: dict[str, Array]
    fallback: str
    n_passes: int
    solver_s: float
    wall_s: float
    exactness: Exactness | None = None


@dataclass
class _Clock:
    """Seconds spent where."""

    start: float = field(default_factory=time.perf_counter)
    solver: float = 0.0


@dataclass(frozen=True, eq=False)
class _Iterate:
    """One pass: a schedule and what it promises."""

    decisions: Decisions
    schedule: Schedule
    offers: tuple[NetworkOffer, ...]
    audits: tuple[tuple[Audit, ...], ...]

    @property
    def certificate(self) -> float:
        """The worst of the certificates."""
        return max(audit.certificate for audits in self.audits for audit in audits)


class MarketClearing:
    """Clears window after window, each warm-started from the one before.

    Parameters
    ----------
    roster : Roster
        The registered peers.
    settings : Market
        The market's configuration.
    operators : sequence of GridOperator
        The network operators, in the roster's order of networks.
    """

    def __init__(self, roster: Roster, settings: Market, operators: Sequence[GridOperator]) -> None:
        self.roster = roster
        self.settings = settings
        self.operators = tuple(operators)
        self.factor: SafetyFactor = make_safety_factor(
            settings.method, settings.risk_level, settings.radius
        )
        self.policy = RecoursePolicy.of(settings, roster.n_networks)
        self.radius_rule = RadiusRule(settings.radius_rule, self.factor, settings.radius_confidence)
        self._factors: list[list[SafetyFactor]] = []
        self._groups = np.array(roster.network_of)
        self._first_stage: FirstStage | None = None
        self._last: LastClearing | None = None
        self._hours: Hours = {}

    def clear(self, step: int, book: BidBook, tariff: TariffWindow) -> ClearingResult:
        """Clear the window that starts at a step.

        Parameters
        ----------
        step : int
            First step of the window, counted from the start of the run.
        book : BidBook
            The bids.
        tariff : TariffWindow
            The supplier's prices.

        Returns
        -------
        ClearingResult
            The schedule with its certificates; on a solver failure the supplier-only schedule,
            flagged as fallback.
        """
        clock = _Clock()
        n_steps = self.roster.n_steps
        before = warm_start(self._last, step, book, self.roster, self.policy.n_signals)
        uncertainty = self._uncertainty(book)
        uncertainty.follow(before, range(n_steps))
        offers = self._linearise(before, self._stale(step))
        self._choose_radii(step, before, offers, uncertainty)
        second = second_stage(self._factors, uncertainty, n_steps)
        hours = self._calibrate(step, before, offers, uncertainty)
        relaxed = self._relaxed(book, tariff)
        first_stage = self._compiled(book, tariff)
        first_stage.parameters.assign(
            book=book,
            tariff=tariff,
            second=second,
            losses=self._losses(offers) if relaxed is None else no_losses(self.roster),
            roster=self.roster,
            groups=self._groups,
            policy=self.policy,
            q_damping=first_stage.q_damping,
        )
        try:
            iterates = self._passes(
                first_stage,
                book,
                offers,
                relaxed=relaxed,
                hours=hours,
                uncertainty=uncertainty,
                clock=clock,
            )
        except SolverFailedError as error:
            log.warning("step %d: solver failed (%s); supplier-only schedule", step, error)
            return self._fall_back(book, second, clock)
        best = min(iterates, key=self._preference)
        self._remember(step, book, best.schedule, hours)
        return ClearingResult(
            schedule=best.schedule,
            offers=best.offers,
            audits=best.audits,
            second=second,
            objective=best.decisions.objective,
            duals=best.decisions.duals,
            fallback="",
            n_passes=len(iterates),
            solver_s=clock.solver,
            wall_s=time.perf_counter() - clock.start,
            exactness=_exactness(iterates[0].decisions, best.decisions),
        )

    # The loop ---------------------------------------------------------------------------------

    def _passes(
        self,
        first_stage: FirstStage,
        book: BidBook,
        offers: tuple[NetworkOffer, ...],
        *,
        relaxed: RelaxedGrid | None,
        hours: Hours,
        uncertainty: Uncertainty,
        clock: _Clock,
    ) -> list[_Iterate]:
        """Solve until the binding steps are certified and nothing is wasted."""
        iterates: list[_Iterate] = []
        for _ in range(self.settings.max_passes):
            rows = self._rows(offers, hours, book, relaxed)
            try:
                decisions = first_stage.solve(rows, relaxed)
            except SolverFailedError:
                if not iterates:
                    raise
                log.warning(
                    "solver failed after %d passes; the best of them is kept", len(iterates)
                )
                break
            clock.solver += decisions.solver_s
            schedule = from_decisions(
                decisions.values,
                book,
                self.roster,
                self._groups,
                coordination=self.settings.coordination,
                n_signals=self.policy.n_signals,
            )
            uncertainty.follow(schedule, self._binding_steps)
            schedule = uncertainty.capped(schedule)
            exact = self._linearise(schedule, self._binding_steps)
            audits = self._audit(
                schedule, exact, uncertainty, hours=hours, steepest=_steepest(rows, decisions.mu)
            )
            iterates.append(_Iterate(decisions, schedule, exact, audits))
            relaxation = decisions.relaxation
            restated = relaxed and relaxation and relaxed.note(relaxation)
            if not restated and self._settled(audits, schedule):
                break
            offers = self._refreshed(offers, exact)
            for d, t in product(range(len(exact)), self._binding_steps):
                hours[d, t] = self._calibrate_hour(
                    schedule, exact[d], uncertainty, place=(d, t), known=hours[d, t]
                )
        return iterates

    def _well_used(self, audit: Audit) -> bool:
        """Whether the certificate is kept and, where it costs something, used up.

        A certificate below what is useful is accepted where the margin is the smallest possible:
        with few samples the worst-case probability moves in jumps.
        """
        useful = USEFUL_CERTIFICATE * self.settings.risk_level
        tight = audit.gap.min() <= SHORT
        unused = audit.binding and audit.certificate < useful and not tight
        return audit.certificate <= self._allowed and not unused

    @property
    def _allowed(self) -> float:
        """Largest certificate that needs no further pass."""
        return self.settings.risk_level + CLOSE_CERTIFICATE

    @property
    def _binding_steps(self) -> range:
        return range(self.settings.cadence_steps)

    def _settled(self, audits: tuple[tuple[Audit, ...], ...], schedule: Schedule) -> bool:
        """Whether every margin is kept and no binding one exceeds what is needed."""
        for network, of_network in enumerate(audits):
            for step, audit in enumerate(of_network):
                tightest = audit.gap.min()
                # No room at all, unless the schedule's own caps make some.
                if schedule.violation[step, network] > 1e-6 and tightest <= WASTEFUL:
                    continue
                if tightest < -SHORT or (audit.binding and tightest > WASTEFUL):
                    return False
                if self.factor.exact_joint and not self._well_used(audit):
                    return False
        return True

    def _preference(self, iterate: _Iterate) -> tuple[float, bool, float]:
        """Rank iterates that keep their promise by cost, and before them none; others by excess.

        Exact joint methods promise the certificate, the others the margins of their rows. The cost
        of a relaxation that is not exact is too good to be true: exact ones come first.
        """
        if self.factor.exact_joint:
            excess = iterate.certificate - self._allowed
        else:
            excess = -SHORT - min(a.gap.min() for audits in iterate.audits for a in audits)
        relaxation = iterate.decisions.relaxation
        inexact = relaxation is not None and not relaxation.exact.all()
        return max(float(excess), 0.0), inexact, iterate.decisions.objective

    def _refreshed(
        self, offers: tuple[NetworkOffer, ...], exact: tuple[NetworkOffer, ...]
    ) -> tuple[NetworkOffer, ...]:
        """Move the binding steps' models to the new schedule; the others stay where they are."""
        out = []
        for old, new in zip(offers, exact, strict=True):
            p, q, value = old.p_kw.copy(), old.q_kvar.copy(), old.value.copy()
            d_p, d_q = dict(old.d_p), dict(old.d_q)
            for t in self._binding_steps:
                p[t], q[t], value[t] = new.p_kw[t], new.q_kvar[t], new.value[t]
                d_p[t], d_q[t] = new.d_p[t], new.d_q[t]
            out.append(replace(old, p_kw=p, q_kvar=q, value=value, d_p=d_p, d_q=d_q))
        return tuple(out)

    # Uncertainty and calibration --------------------------------------------------------------

    def _uncertainty(self, book: BidBook) -> Uncertainty:
        """Gather the error samples of the window; no plant is capped yet."""
        set_points = None
        if self.settings.renewable_setpoint == "cap":
            rating = np.array([self.roster.rating[k].renewable_kw for k in self.roster.renewable])
            set_points = SetPoints(book.renewable_max_kw, rating)
        samples = [operator.samples for operator in self.operators]
        return Uncertainty(samples, self.policy, self.roster, set_points)

    def _choose_radii(
        self,
        step: int,
        schedule: Schedule,
        offers: tuple[NetworkOffer, ...],
        uncertainty: Uncertainty,
    ) -> None:
        """Choose the radius of every network and hour of day; those ahead take the last one."""
        steps_per_day = round(24 / self.roster.step_hours)
        hour = (step + np.arange(self.roster.n_steps)) % steps_per_day
        for d, t in product(range(len(offers)), self._binding_steps):
            place, day = (d, int(hour[t])), uncertainty.samples[d].steps[t].day
            if self.radius_rule.is_due(place, day):
                gain = schedule.gain(self.roster, d, t, offers[d].d_p[t])
                rows = uncertainty.rows(d, t, offers[d])
                at = situation(self.factor, offers[d], rows, day, t, gain=gain)
                self.radius_rule.learn(place, at)
        self._factors = [
            [self._with_radius(self.radius_rule.choice((d, int(h))).radius) for h in hour]
            for d in range(len(offers))
        ]

    def _with_radius(self, radius: float) -> SafetyFactor:
        return make_safety_factor(self.settings.method, self.settings.risk_level, radius)

    def _calibrate(
        self,
        step: int,
        schedule: Schedule,
        offers: tuple[NetworkOffer, ...],
        uncertainty: Uncertainty,
    ) -> Hours:
        """Calibrate the hours that come near a limit, by network and step of the window."""
        hours: Hours = {}
        for d, offer in enumerate(offers):
            for t in range(self.roster.n_steps):
                known = self._hours.get((d, step + t))
                if known is not None and t not in self._binding_steps:
                    room = offer.limit - offer.value[t] - RESCREEN * known.margin
                    if room.min() > 0:
                        hours[d, t] = known
                        continue
                hours[d, t] = self._calibrate_hour(
                    schedule, offer, uncertainty, place=(d, t), known=known
                )
        return hours

    def _calibrate_hour(
        self,
        schedule: Schedule,
        offer: NetworkOffer,
        uncertainty: Uncertainty,
        *,
        place: tuple[int, int],
        known: Hour | None,
    ) -> Hour:
        """Calibrate one network and step of the window."""
        d, t = place
        return calibrate(
            self._factors[d][t],
            offer,
            uncertainty.rows(d, t, offer),
            t,
            gain=schedule.gain(self.roster, d, t, offer.d_p[t]),
            known=known,
            reach=NEAR_BINDING if t in self._binding_steps else NEAR_AHEAD,
        )

    def _audit(
        self,
        schedule: Schedule,
        offers: tuple[NetworkOffer, ...],
        uncertainty: Uncertainty,
        *,
        hours: Hours,
        steepest: dict[tuple[int, int], float],
    ) -> tuple[tuple[Audit, ...], ...]:
        """Certify the binding steps at the AC-exact schedule."""
        return tuple(
            tuple(
                certify(
                    self._factors[d][t],
                    offer,
                    uncertainty.rows(d, t, offer),
                    t,
                    gain=schedule.gain(self.roster, d, t, offer.d_p[t]),
                    known=hours.get((d, t)),
                    binding=steepest.get((d, t), 0.0) > BINDING_DUAL,
                )
                for t in self._binding_steps
            )
            for d, offer in enumerate(offers)
        )

    # Assembly ---------------------------------------------------------------------------------

    def _rows(
        self,
        offers: tuple[NetworkOffer, ...],
        hours: Hours,
        book: BidBook,
        relaxed: RelaxedGrid | None,
    ) -> list[ChanceRow]:
        """Pose the chosen rows of every network and step."""
        fixed_p, fixed_q = fixed_injection(book, self.roster), -book.load_kvar
        rows: list[ChanceRow] = []
        for (d, t), hour in hours.items():
            members = self.roster.members(d)
            fixed = fixed_p[:, members], fixed_q[:, members]
            conic = t in self._binding_steps
            posed = pose_rows(offers[d], hour, fixed, network=d, t=t, conic=conic)
            rows += posed if relaxed is None else relaxed.rows(posed, hour.chosen, offers[d])
        return rows

    def _linearise(self, schedule: Schedule, refresh: range | set[int]) -> tuple[NetworkOffer, ...]:
        """Ask every operator for its model around a schedule."""
        offers = []
        for d, operator in enumerate(self.operators):
            members = self.roster.members(d)
            p_kw, q_kvar = schedule.p_kw[:, members], schedule.q_kvar[:, members]
            offers.append(operator.linearise(p_kw, q_kvar, refresh))
        return tuple(offers)

    def _relaxed(self, book: BidBook, tariff: TariffWindow) -> RelaxedGrid | None:
        """Return the branch-flow relaxation of the window, where it is the grid model."""
        if self.settings.grid_model != "socp":
            return None
        impedances = [operator.impedances for operator in self.operators]
        return RelaxedGrid(impedances, book, tariff, self.roster)

    def _losses(self, offers: tuple[NetworkOffer, ...]) -> LossModel:
        """Put the networks' loss models side by side."""
        shape = (self.roster.n_steps, self.roster.n_peers)
        constant = np.zeros((self.roster.n_steps, self.roster.n_networks))
        d_p, d_q, centre = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        for d, offer in enumerate(offers):
            members = self.roster.members(d)
            d_p[:, members], d_q[:, members] = offer.loss_d_p, offer.loss_d_q
            centre[:, members] = offer.q_kvar
            linear = offer.loss_d_p * offer.p_kw + offer.loss_d_q * offer.q_kvar
            constant[:, d] = offer.loss_kw - linear.sum(axis=1)
        return LossModel(constant, d_p, d_q, centre)

    def _compiled(self, book: BidBook, tariff: TariffWindow) -> FirstStage:
        """Return the first-stage problem, compiled anew only when price groups must be split."""
        groups = refine_groups(self._groups, book)
        if self._first_stage is None or (groups != self._groups).any():
            curvature = np.zeros(self.roster.n_peers)
            if self.settings.grid_model != "socp":  # whose losses are convex of themselves
                for d, operator in enumerate(self.operators):
                    curvature[self.roster.members(d)] = operator.reactive_curvature
            damping = float(tariff.loss.mean()) * curvature[self.roster.reactive]
            self._groups = groups
            self._first_stage = FirstStage(self.roster, groups, self.settings, damping)
        return self._first_stage

    # From clearing to clearing ------------------------------------------------------------------

    def _stale(self, step: int) -> set[int]:
        """Steps of the window whose sensitivities have to be computed."""
        known = {t for t in range(self.roster.n_steps) if (0, step + t) in self._hours}
        return set(range(self.roster.n_steps)) - known | set(self._binding_steps)

    def _remember(self, step: int, book: BidBook, schedule: Schedule, hours: Hours) -> None:
        """Keep what the next clearing starts from; it chooses its rows anew."""
        idle = supplier_only(book, self.roster, self.policy.n_signals)
        curtailed = schedule.renewable < book.renewable_max_kw
        self._last = LastClearing(step, schedule, idle.p_kw, curtailed)
        later = step + self.settings.cadence_steps
        self._hours = {
            (d, step + t): replace(hour, chosen=np.zeros(0, dtype=np.intp))
            for (d, t), hour in hours.items()
            if step + t >= later
        }

    def _fall_back(
        self,
        book: BidBook,
        second: SecondStage,
        clock: _Clock,
    ) -> ClearingResult:
        """Schedule every peer on its retail contract."""
        schedule = supplier_only(book, self.roster, self.policy.n_signals)
        offers = self._linearise(schedule, range(self.roster.n_steps))
        audits = self._audit(schedule, offers, self._uncertainty(book), hours={}, steepest={})
        self._last, self._hours = None, {}
        return ClearingResult(
            schedule=schedule,
            offers=offers,
            audits=audits,
            second=second,
            objective=float("nan"),
            duals={},
            fallback="supplier_only",
            n_passes=0,
            solver_s=clock.solver,
            wall_s=time.perf_counter() - clock.start,
        )


def _exactness(first: Decisions, kept: Decisions) -> Exactness | None:
    """Put the relaxations of the first and of the kept pass side by side."""
    if first.relaxation is None or kept.relaxation is None:
        return None
    return Exactness(first.relaxation, kept.relaxation)


def _steepest(rows: list[ChanceRow], mu: Array) -> dict[tuple[int, int], float]:
    """Return the largest dual of every network and step. [EUR/p.u.]"""
    out: dict[tuple[int, int], float] = {}
    for row, dual in zip(rows, mu, strict=True):
        place = row.network, row.step
        out[place] = max(out.get(place, 0.0), float(dual))
    return out


def refine_groups(groups: NDArray[np.intp], book: BidBook) -> NDArray[np.intp]:
    """Split price groups whose members ask for different limit prices.

    Groups are never merged again, so that the problem is compiled only a few times.
    """
    prices = np.vstack([book.buy_limit, book.sell_limit]).round(9)
    keys = np.vstack([groups[None, :], prices]).T
    _, refined = np.unique(keys, axis=0, return_inverse=True)
    return refined.reshape(-1)
