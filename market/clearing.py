"""The two-stage clearing: solve, replay the schedule in AC, recalibrate, certify, repeat."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from market.ambiguity import joint_margin, worst_case_probability
from market.chance import ChanceRow, Moments, RowErrors
from market.errors import SolverFailedError
from market.first_stage import FirstStage
from market.parameters import LossModel, SecondStage
from market.safety_factors import make_safety_factor
from market.schedule import Schedule, fixed_injection, from_decisions, supplier_only

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from configs.schema import Market
    from market.book import BidBook, TariffWindow
    from market.first_stage import Decisions
    from market.offers import ErrorSamples, GridOperator, NetworkOffer
    from market.roster import Roster
    from market.safety_factors import SafetyFactor

    Array = NDArray[np.float64]

log = logging.getLogger(__name__)

BINDING_DUAL = 1.0
"""A row binds when a higher limit would save more than this. [EUR/p.u.]"""
CERTIFICATE_TOLERANCE = 0.002
"""How far a certificate may exceed the risk level and still count as kept."""
NEAR_BINDING, NEAR_AHEAD = 6.0, 0.5
"""A row enters the problem when it misses or exceeds its margin by less than this many sigmas, in
the steps that bind and further ahead."""
SHORT, WASTEFUL = 0.02, 0.15
"""A binding row may miss its margin by the first, exceed it by the second number of sigmas."""
USEFUL_CERTIFICATE = 0.7
"""A binding step whose certificate is below this part of the risk level wastes some of it."""
CLOSE_CERTIFICATE = 0.001
"""How far a certificate may exceed the risk level without another pass."""
SIGMA_FLOOR = 1e-9
"""Standard deviations below this are those of rows no error reaches. [p.u.]"""
FOLLOWS = 0.05
"""A row follows the common safety factor when within this many sigmas of it."""
RESCREEN = 1.3
"""An hour is linearised anew when its last known margins, so enlarged, touch a limit."""


@dataclass(frozen=True, eq=False)
class Audit:
    """What the AC-exact schedule promises in one network and binding step.

    Attributes
    ----------
    certificate : float
        Exact worst-case probability that any limit of the network is violated.
    kappa : ndarray, shape (n_rows,)
        Safety factors at the schedule.
    gap : ndarray, shape (n_rows,)
        Room left beyond the margins; negative where a margin is missed. [sigma]
    binding : bool
        Whether a grid constraint of the step has a nonzero dual.
    """

    certificate: float
    kappa: Array
    gap: Array
    binding: bool


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
    solver_s, grid_s, wall_s : float
        Seconds inside the solver, inside the operators' network models, and altogether.
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
    grid_s: float
    wall_s: float


@dataclass
class _Clock:
    """Seconds spent where."""

    start: float = field(default_factory=time.perf_counter)
    solver: float = 0.0
    grid: float = 0.0


@dataclass(frozen=True, eq=False)
class _Hour:
    """Chance constraints of one network and step as last calibrated."""

    margin: Array
    """Mean error plus safety margin of every row. [p.u.]"""
    moments: Moments
    kappa: Array
    gain: Array
    """Recourse gain at the schedule. [p.u./kW]"""
    chosen: NDArray[np.intp]
    """Rows that stand in the problem."""


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
        self._last: tuple[int, Schedule, Array] | None = None
        self._hours: dict[tuple[int, int], _Hour] = {}

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
        second = self._second_stage(samples)
        before = self._warm_start(step, book)
        offers = self._linearise(before, self._stale(step), clock)
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
            grid_s=clock.grid,
            wall_s=time.perf_counter() - clock.start,
        )

    # The loop ---------------------------------------------------------------------------------

    def _passes(
        self,
        first_stage: FirstStage,
        book: BidBook,
        offers: tuple[NetworkOffer, ...],
        *,
        hours: dict[tuple[int, int], _Hour],
        samples: list[ErrorSamples],
        clock: _Clock,
    ) -> list[_Iterate]:
        """Solve until the binding steps are certified and nothing is wasted."""
        iterates: list[_Iterate] = []
        for _ in range(self.settings.max_passes):
            rows = self._rows(offers, hours, book)
            decisions = first_stage.solve(rows)
            clock.solver += decisions.solver_s
            schedule = from_decisions(
                decisions.values, book, self.roster, self._groups, self.settings.coordination
            )
            exact = self._linearise(schedule, self._binding_steps, clock)
            audits = self._audit(schedule, exact, samples, hours, _steepest(rows, decisions.mu))
            iterates.append(_Iterate(decisions, schedule, exact, audits))
            if self._settled(audits, schedule):
                break
            offers = self._refreshed(offers, exact)
            self._recalibrate(hours, schedule, exact, audits, samples)
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
    ) -> dict[tuple[int, int], _Hour]:
        """Calibrate the hours that come near a limit, by network and step of the window."""
        hours = {}
        for d, (offer, sample) in enumerate(zip(offers, samples, strict=True)):
            for t in range(self.roster.n_steps):
                known = self._hours.get((d, step + t))
                if known is not None and t not in self._binding_steps:
                    room = offer.limit - offer.value[t] - RESCREEN * known.margin
                    if room.min() > 0:
                        hours[d, t] = replace(known, chosen=np.zeros(0, dtype=np.intp))
                        continue
                hours[d, t] = self._hour(schedule, offer, sample, network=d, t=t, known=known)
        return hours

    def _recalibrate(
        self,
        hours: dict[tuple[int, int], _Hour],
        schedule: Schedule,
        exact: tuple[NetworkOffer, ...],
        audits: tuple[tuple[Audit, ...], ...],
        samples: list[ErrorSamples],
    ) -> None:
        """Calibrate the binding steps at the AC-exact schedule, keeping their rows."""
        for d in range(len(audits)):
            for t in self._binding_steps:
                hours[d, t] = self._hour(
                    schedule, exact[d], samples[d], network=d, t=t, known=hours[d, t]
                )

    def _hour(
        self,
        schedule: Schedule,
        offer: NetworkOffer,
        samples: ErrorSamples,
        *,
        network: int,
        t: int,
        known: _Hour | None,
    ) -> _Hour:
        """Find safety factors at a schedule and the rows that stand close to their limits."""
        errors = samples.rows(t, offer.d_p[t], offer.d_q[t])
        moments = Moments.of(errors)
        gain = schedule.gain(self.roster, network, t, offer.d_p[t])
        z, sigma, mean = standardise(errors, moments, gain)
        slack_ratio = (offer.limit - offer.value[t] - mean) / sigma
        kappa = self.factor.factors(z, errors.weights, kept_distance(slack_ratio, known))
        exceedance = kappa - slack_ratio
        reach = NEAR_BINDING if t in self._binding_steps else NEAR_AHEAD
        near = (exceedance > -reach) & offer.peaks(exceedance * sigma)
        chosen = np.flatnonzero(near)
        if known is not None:
            chosen = np.union1d(known.chosen, chosen)
        return _Hour(mean + kappa * sigma, moments, kappa, gain, chosen)

    def _audit(
        self,
        schedule: Schedule,
        offers: tuple[NetworkOffer, ...],
        samples: list[ErrorSamples],
        hours: dict[tuple[int, int], _Hour],
        steepest: dict[tuple[int, int], float],
    ) -> tuple[tuple[Audit, ...], ...]:
        """Certify the binding steps at the AC-exact schedule."""
        out = []
        for d, (offer, sample) in enumerate(zip(offers, samples, strict=True)):
            of_network = []
            for t in self._binding_steps:
                errors = sample.rows(t, offer.d_p[t], offer.d_q[t])
                gain = schedule.gain(self.roster, d, t, offer.d_p[t])
                z, sigma, mean = standardise(errors, Moments.of(errors), gain)
                slack_ratio = (offer.limit - offer.value[t] - mean) / sigma
                kept = kept_distance(slack_ratio, hours.get((d, t)))
                kappa = self.factor.factors(z, errors.weights, kept)
                certificate = worst_case_probability(
                    joint_margin(z, slack_ratio), errors.weights, self.settings.radius
                )
                if not offer.converged[t]:
                    certificate = 1.0
                binding = steepest.get((d, t), 0.0) > BINDING_DUAL
                of_network.append(Audit(certificate, kappa, slack_ratio - kappa, binding))
            out.append(tuple(of_network))
        return tuple(out)

    def _second_stage(self, samples: list[ErrorSamples]) -> SecondStage:
        """Statistics of each network's total error, by step."""
        shape = (self.roster.n_steps, self.roster.n_networks)
        surplus, shortage, transport, reserve = (np.zeros(shape) for _ in range(4))
        for d, sample in enumerate(samples):
            for t in range(self.roster.n_steps):
                omega, weights = sample.omega(t), sample.weights(t)
                mean = weights @ omega
                sigma = float(np.sqrt(weights @ (omega - mean) ** 2))
                surplus[t, d] = weights @ np.maximum(omega, 0)
                shortage[t, d] = weights @ np.maximum(-omega, 0)
                transport[t, d] = self.settings.radius * sigma
                z = (omega - mean) / sigma if sigma > 0 else np.zeros_like(omega)
                reserve[t, d] = abs(mean) + self.factor.two_sided(z, weights) * sigma
        return SecondStage(surplus, shortage, transport, reserve)

    # Assembly ---------------------------------------------------------------------------------

    def _rows(
        self,
        offers: tuple[NetworkOffer, ...],
        hours: dict[tuple[int, int], _Hour],
        book: BidBook,
    ) -> list[ChanceRow]:
        """Pose the chosen rows of every network and step."""
        fixed_p, fixed_q = fixed_injection(book, self.roster), -book.load_kvar
        rows = []
        for (d, t), hour in hours.items():
            if not len(hour.chosen):
                continue
            offer, members, m = offers[d], self.roster.members(d), hour.moments
            constant = offer.constant(t, fixed_p[:, members], fixed_q[:, members])
            room = offer.limit - constant - m.mean_u
            rows += [
                ChanceRow(
                    network=d,
                    step=t,
                    conic=t in self._binding_steps and hour.kappa[r] > 0,
                    d_p=offer.d_p[t][r],
                    d_q=offer.d_q[t][r],
                    room=float(room[r]),
                    kappa=float(hour.kappa[r]),
                    beta=float(m.beta[r]),
                    remainder=float(m.remainder[r]),
                    mean_omega=m.mean_omega,
                    std_omega=m.std_omega,
                    gain=float(hour.gain[r]),
                )
                for r in hour.chosen
            ]
        return rows

    def _linearise(
        self, schedule: Schedule, refresh: range | set[int], clock: _Clock
    ) -> tuple[NetworkOffer, ...]:
        """Ask every operator for its model around a schedule."""
        start = time.perf_counter()
        offers = []
        for d, operator in enumerate(self.operators):
            members = self.roster.members(d)
            p_kw, q_kvar = schedule.p_kw[:, members], schedule.q_kvar[:, members]
            offers.append(operator.linearise(p_kw, q_kvar, refresh))
        clock.grid += time.perf_counter() - start
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

    # Warm start -------------------------------------------------------------------------------

    def _warm_start(self, step: int, book: BidBook) -> Schedule:
        """Shift the last schedule to the new window and move it with the forecasts."""
        start = supplier_only(book, self.roster)
        if self._last is None:
            return start
        last_step, last, uncontrolled = self._last
        shift = step - last_step
        source = np.arange(self.roster.n_steps) + shift
        beyond = source >= self.roster.n_steps
        source[beyond] -= self.roster.n_steps
        if not self._whole_days:
            source[beyond] = -1
        moved = start.p_kw - uncontrolled[source]
        p_kw = last.p_kw[source] + moved
        q_kvar = -book.load_kvar
        q_kvar[:, self.roster.reactive] += last.reactive[source]
        alpha = last.alpha[source]
        if not self._whole_days:
            p_kw[beyond], q_kvar[beyond] = start.p_kw[beyond], start.q_kvar[beyond]
            alpha[beyond] = 0.0
        return replace(start, p_kw=p_kw, q_kvar=q_kvar, alpha=alpha)

    @property
    def _whole_days(self) -> bool:
        """Whether the hour that enters the window has the time of day of the one that leaves."""
        return (self.roster.n_steps * self.roster.step_hours) % 24 == 0

    def _stale(self, step: int) -> set[int]:
        """Steps of the window whose sensitivities have to be computed."""
        known = {t for t in range(self.roster.n_steps) if (0, step + t) in self._hours}
        return set(range(self.roster.n_steps)) - known | set(self._binding_steps)

    def _remember(
        self, step: int, book: BidBook, schedule: Schedule, hours: dict[tuple[int, int], _Hour]
    ) -> None:
        """Keep what the next clearing starts from."""
        self._last = step, schedule, supplier_only(book, self.roster).p_kw
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
        offers = self._linearise(schedule, range(self.roster.n_steps), clock)
        audits = self._audit(schedule, offers, samples, {}, {})
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
            grid_s=clock.grid,
            wall_s=time.perf_counter() - clock.start,
        )


def kept_distance(slack_ratio: Array, known: _Hour | None) -> Array:
    """Distance that rows keep whatever the safety factor; zero for rows that follow it.

    Rows follow the factor that stand where the last one put them, or closer to their limits.
    """
    imposed = known.kappa.max() if known is not None else 0.0
    follows = slack_ratio <= max(float(slack_ratio.min()), imposed) + FOLLOWS
    return np.where(follows, 0.0, slack_ratio)


def _steepest(rows: list[ChanceRow], mu: Array) -> dict[tuple[int, int], float]:
    """Return the largest dual of every network and step. [EUR/p.u.]"""
    out: dict[tuple[int, int], float] = {}
    for row, dual in zip(rows, mu, strict=True):
        place = row.network, row.step
        out[place] = max(out.get(place, 0.0), float(dual))
    return out


def standardise(errors: RowErrors, moments: Moments, gain: Array) -> tuple[Array, Array, Array]:
    """Standardise the row errors under a recourse gain.

    Returns
    -------
    z : ndarray, shape (n_samples, n_rows)
        Errors with mean zero and standard deviation one.
    sigma, mean : ndarray, shape (n_rows,)
        Standard deviation and mean. [p.u.]
    """
    mean = moments.mean(gain)
    sigma = np.maximum(moments.sigma(gain), SIGMA_FLOOR)
    return (errors.recourse(gain) - mean) / sigma, sigma, mean


def refine_groups(groups: NDArray[np.intp], book: BidBook) -> NDArray[np.intp]:
    """Split price groups whose members ask for different limit prices.

    Groups are never merged again, so that the problem is compiled only a few times.
    """
    prices = np.vstack([book.buy_limit, book.sell_limit]).round(9)
    keys = np.vstack([groups[None, :], prices]).T
    _, refined = np.unique(keys, axis=0, return_inverse=True)
    return refined.reshape(-1)
