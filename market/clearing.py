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
)
from market.errors import SolverFailedError
from market.first_stage import FirstStage
from market.parameters import LossModel
from market.safety_factors import make_safety_factor
from market.schedule import fixed_injection, from_decisions, supplier_only
from market.warm_start import LastClearing, warm_start

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from configs.schema import Market
    from market.book import BidBook, TariffWindow
    from market.calibration import Audit, Hour
    from market.chance import ChanceRow
    from market.first_stage import Decisions
    from market.offers import ErrorSamples, GridOperator, NetworkOffer
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
        samples = [operator.samples for operator in self.operators]
        second = second_stage(self.factor, samples, self.roster.n_steps)
        before = warm_start(self._last, step, book, self.roster)
        offers = self._linearise(before, self._stale(step))
        hours = self._calibrate(step, before, offers, samples)
        first_stage = self._compiled(book, tariff)
        first_stage.parameters.assign(
            book=book,
            tariff=tariff,
            second=second,
            losses=self._losses(offers),
            roster=self.roster,
            groups=self._groups,
            q_damping=first_stage.q_damping,
        )
        try:
            iterates = self._passes(
                first_stage, book, offers, hours=hours, samples=samples, clock=clock
            )
        except SolverFailedError as error:
            log.warning("step %d: solver failed (%s); supplier-only schedule", step, error)
            return self._fall_back(book, second, samples, clock)
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
        )

    # The loop ---------------------------------------------------------------------------------

    def _passes(
        self,
        first_stage: FirstStage,
        book: BidBook,
        offers: tuple[NetworkOffer, ...],
        *,
        hours: Hours,
        samples: list[ErrorSamples],
        clock: _Clock,
    ) -> list[_Iterate]:
        """Solve until the binding steps are certified and nothing is wasted."""
        iterates: list[_Iterate] = []
        for _ in range(self.settings.max_passes):
            rows = self._rows(offers, hours, book)
            try:
                decisions = first_stage.solve(rows)
            except SolverFailedError:
                if not iterates:
                    raise
                log.warning(
                    "solver failed after %d passes; the best of them is kept", len(iterates)
                )
                break
            clock.solver += decisions.solver_s
            schedule = from_decisions(
                decisions.values, book, self.roster, self._groups, self.settings.coordination
            )
            exact = self._linearise(schedule, self._binding_steps)
            audits = self._audit(
                schedule, exact, samples, hours=hours, steepest=_steepest(rows, decisions.mu)
            )
            iterates.append(_Iterate(decisions, schedule, exact, audits))
            if self._settled(audits, schedule):
                break
            offers = self._refreshed(offers, exact)
            for d, t in product(range(len(exact)), self._binding_steps):
                hours[d, t] = self._calibrate_hour(
                    schedule, exact[d], samples[d], place=(d, t), known=hours[d, t]
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
                if schedule.violation[step, network] > 1e-6:  # no room at all
                    continue
                tightest = audit.gap.min()
                if tightest < -SHORT or (audit.binding and tightest > WASTEFUL):
                    return False
                if self.factor.joint and not self._well_used(audit):
                    return False
        return True

    def _preference(self, iterate: _Iterate) -> tuple[float, float]:
        """Rank iterates that keep their promise by cost, and before them none; others by excess.

        Joint methods promise the certificate, individual ones the margins of their rows.
        """
        if self.factor.joint:
            excess = iterate.certificate - self._allowed
        else:
            excess = -SHORT - min(a.gap.min() for audits in iterate.audits for a in audits)
        return max(float(excess), 0.0), iterate.decisions.objective

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

    # Calibration ------------------------------------------------------------------------------

    def _calibrate(
        self,
        step: int,
        schedule: Schedule,
        offers: tuple[NetworkOffer, ...],
        samples: list[ErrorSamples],
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
                    schedule, offer, samples[d], place=(d, t), known=known
                )
        return hours

    def _calibrate_hour(
        self,
        schedule: Schedule,
        offer: NetworkOffer,
        samples: ErrorSamples,
        *,
        place: tuple[int, int],
        known: Hour | None,
    ) -> Hour:
        """Calibrate one network and step of the window."""
        d, t = place
        return calibrate(
            self.factor,
            offer,
            samples,
            t,
            gain=schedule.gain(self.roster, d, t, offer.d_p[t]),
            known=known,
            reach=NEAR_BINDING if t in self._binding_steps else NEAR_AHEAD,
        )

    def _audit(
        self,
        schedule: Schedule,
        offers: tuple[NetworkOffer, ...],
        samples: list[ErrorSamples],
        *,
        hours: Hours,
        steepest: dict[tuple[int, int], float],
    ) -> tuple[tuple[Audit, ...], ...]:
        """Certify the binding steps at the AC-exact schedule."""
        return tuple(
            tuple(
                certify(
                    self.factor,
                    offer,
                    samples[d],
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
        self, offers: tuple[NetworkOffer, ...], hours: Hours, book: BidBook
    ) -> list[ChanceRow]:
        """Pose the chosen rows of every network and step."""
        fixed_p, fixed_q = fixed_injection(book, self.roster), -book.load_kvar
        rows = []
        for (d, t), hour in hours.items():
            members = self.roster.members(d)
            fixed = fixed_p[:, members], fixed_q[:, members]
            conic = t in self._binding_steps
            rows += pose_rows(offers[d], hour, fixed, network=d, t=t, conic=conic)
        return rows

    def _linearise(self, schedule: Schedule, refresh: range | set[int]) -> tuple[NetworkOffer, ...]:
        """Ask every operator for its model around a schedule."""
        offers = []
        for d, operator in enumerate(self.operators):
            members = self.roster.members(d)
            p_kw, q_kvar = schedule.p_kw[:, members], schedule.q_kvar[:, members]
            offers.append(operator.linearise(p_kw, q_kvar, refresh))
        return tuple(offers)

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
        self._last = LastClearing(step, schedule, supplier_only(book, self.roster).p_kw)
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
        samples: list[ErrorSamples],
        clock: _Clock,
    ) -> ClearingResult:
        """Schedule every peer on its retail contract."""
        schedule = supplier_only(book, self.roster)
        offers = self._linearise(schedule, range(self.roster.n_steps))
        audits = self._audit(schedule, offers, samples, hours={}, steepest={})
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
