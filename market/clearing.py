"""The two-stage clearing: solve, replay the schedule in AC, recalibrate, certify, repeat."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from market.acceptance import NO_ROOM_PU, Acceptance
from market.calibration import pose_rows, second_stage
from market.decomposed import DecomposedStage
from market.errors import SolverFailedError
from market.exchange import TOGETHER
from market.fallbacks import DEGRADED, worst
from market.first_stage import FEW_NETWORKS, FirstStage
from market.flexible_response import FlexibleResponse
from market.margins import BINDING_DUAL, Margins
from market.parameters import LossModel
from market.recourse import RecoursePolicy
from market.relaxation import Exactness, RelaxedGrid
from market.risk import risk_shares
from market.schedule import fixed_injection, from_decisions, supplier_only
from market.settled import Settled
from market.solve import SOFTENED
from market.uncertainty import SetPoints, Uncertainty
from market.warm_start import LastClearing, warm_start
from market.window import Window
from market.worthwhile import keep_worthwhile

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from configs.schema import Market
    from market.book import BidBook, TariffWindow
    from market.calibration import Audit
    from market.chance import ChanceRow
    from market.decisions import Decisions
    from market.exchange import Coordination, ExchangeState
    from market.nodal_prices import NodalPrices
    from market.offers import GridOperator, NetworkOffer
    from market.parameters import SecondStage
    from market.risk import RiskShares
    from market.roster import Roster
    from market.schedule import Schedule

    Array = NDArray[np.float64]

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ClearingResult:
    """A cleared window; the first ``cadence_steps`` steps of it bind.

    Attributes
    ----------
    schedule : Schedule
        Decisions of every step.
    offers : tuple of NetworkOffer
        Linear network models at the schedule, of the binding steps.
    audits : tuple of tuple of Audit
        By network and binding step.
    second : SecondStage
        Statistics of the uncertainty.
    objective : float
        Optimal cost of the window. [EUR]
    duals : dict of str to ndarray
        Duals of the first stage by constraint label.
    fallback : str
        Empty, or the worst of what was fallen back on: see :mod:`market.fallbacks`.
    n_passes : int
        Number of solves.
    solver_s, wall_s, problem_s : float
        Seconds inside the solver (of two solves at a time the longer), altogether, and on putting
        the problems together.
    omega_mean_kw, omega_sd_kw : ndarray, shape (n_binding, n_networks)
        Mean and standard deviation of the samples of each network's total error at the schedule.
        [kW]
    coordination : Coordination
        How well networks agree that solve their own problems, and how often they were asked in
        all passes.
    exactness : Exactness, optional
        How exact the branch-flow relaxation is, where it is the grid model.
    prices : NodalPrices, optional
        Prices of the binding steps; none where there are no trades because of a fallback.
    risk : tuple of RiskShares
        Who causes the cost of risk, by binding step; empty where there are no prices.
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
    omega_mean_kw: Array
    omega_sd_kw: Array
    problem_s: float = 0.0
    coordination: Coordination = TOGETHER
    exactness: Exactness | None = None
    prices: NodalPrices | None = None
    risk: tuple[RiskShares, ...] = ()

    @property
    def degraded(self) -> bool:
        """Whether the schedule is another one than the clearing would have found."""
        return self.fallback in DEGRADED

    def excuse(self, network: int, k: int) -> str:
        """Why nothing was promised of a network and binding step; empty where something was."""
        audit = self.audits[network][k]
        return "fallback" if self.degraded else "" if audit.kept else audit.promise


@dataclass(frozen=True, eq=False)
class _Iterate:
    """One pass: a schedule and what it promises."""

    rows: list[ChanceRow]
    decisions: Decisions
    schedule: Schedule
    offers: tuple[NetworkOffer, ...]
    audits: tuple[tuple[Audit, ...], ...]

    @property
    def softened(self) -> bool:
        """Whether constraints had to be softened."""
        return self.decisions.fallback == SOFTENED


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
    own_groups : ndarray of bool, shape (n_peers,), optional
        Peers that start with a price group of their own, as their limit prices are expected to go
        ways of their own: it saves compiling the problem anew whenever they do.
    """

    def __init__(
        self,
        roster: Roster,
        settings: Market,
        operators: Sequence[GridOperator],
        own_groups: NDArray[np.bool_] | None = None,
    ) -> None:
        self.roster = roster
        self.settings = settings
        self.operators = tuple(operators)
        self.policy = RecoursePolicy.of(settings, roster.n_networks)
        self.margins = Margins(roster, settings)
        self._acceptance = Acceptance(self.margins.factor)
        self._settles_one_by_one = (
            roster.n_networks > FEW_NETWORKS
            and self.policy.n_pools == roster.n_networks
            and settings.solver == "central"
            and settings.grid_model != "socp"
            and settings.look_ahead_blocks is None
        )
        self._groups = np.array(roster.network_of)
        if own_groups is not None:
            self._groups[own_groups] = roster.n_networks + np.arange(own_groups.sum())
        self._first_stage: FirstStage | DecomposedStage | None = None
        self._last: LastClearing | None = None

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
            The schedule with its certificates; ``fallback`` says what a failing solver has made
            of it.

        Raises
        ------
        NotFiniteError
            If the problem is not made of finite numbers.
        """
        start = time.perf_counter()
        n_steps = self.roster.n_steps
        before = warm_start(self._last, step, book, self.roster, self.policy.n_signals)
        uncertainty = self._uncertainty(book)
        uncertainty.follow(before, range(n_steps))
        offers = self._linearise(before, self.margins.unknown_steps(step))
        self.margins.choose_radii(step, before, offers, uncertainty)
        self.margins.calibrate(step, before, offers, uncertainty)
        window = Window(
            book=book,
            tariff=tariff,
            second=second_stage(self.margins.factors, uncertainty, n_steps),
            losses=self._losses(offers),
            first_stage=self._compiled(book, tariff),
            relaxed=self._relaxed(book, tariff),
            tells_risk=self.settings.risk_prices,
            start=start,
        )
        try:
            iterates = self._passes(window, offers, uncertainty)
        except SolverFailedError as error:
            log.warning("step %d: solver failed (%s); supplier-only schedule", step, error)
            return self._fall_back(window)
        best = min(iterates, key=self._preference)
        self._remember(step, book, best.schedule)
        prices = None if best.softened else self._prices(window, best)
        uncertainty.follow(best.schedule, self.margins.binding_steps)
        omega_mean_kw, omega_sd_kw = uncertainty.omega_moments(self.margins.binding_steps)
        fallback = worst(window.fallbacks)
        if fallback:
            log.warning("step %d: cleared by fallback %s", step, fallback)
        return ClearingResult(
            schedule=best.schedule,
            offers=best.offers,
            audits=self._acceptance.judged(best.audits, best.schedule.violation),
            second=window.second,
            objective=best.decisions.objective,
            duals=best.decisions.duals,
            fallback=fallback,
            n_passes=len(iterates),
            solver_s=window.solver_s,
            wall_s=window.wall_s,
            problem_s=window.problem_s,
            coordination=window.coordinated(best.decisions),
            exactness=_exactness(iterates[0].decisions, best.decisions),
            prices=prices,
            risk=() if best.softened else self._risk(best, uncertainty),
            omega_mean_kw=omega_mean_kw,
            omega_sd_kw=omega_sd_kw,
        )

    def _prices(self, window: Window, best: _Iterate) -> NodalPrices:
        """Price the binding steps."""
        return window.nodal_prices(
            best.decisions,
            best.rows,
            best.offers,
            len(self.margins.binding_steps),
        )

    # The loop ---------------------------------------------------------------------------------

    def _passes(
        self, window: Window, offers: tuple[NetworkOffer, ...], uncertainty: Uncertainty
    ) -> list[_Iterate]:
        """Solve until the binding steps are certified and nothing is wasted."""
        iterates: list[_Iterate] = []
        again, kept = np.ones(self.roster.n_networks, dtype=bool), None
        while self._may_go_on(iterates):
            rows = self._rows(window, offers)
            try:
                decisions = window.solve(rows, settled=kept, may_soften=not iterates)
            except SolverFailedError as error:
                if not iterates:
                    raise
                log.warning("%s; the best pass of %d is kept", error, len(iterates))
                window.note("cut_short")
                break
            schedule = from_decisions(
                decisions.values,
                window.book,
                self.roster,
                self._groups,
                coordination=self.settings.coordination,
                n_signals=self.policy.n_signals,
            )
            if decisions.fallback == SOFTENED:  # whose duals are no prices to trade at
                schedule = schedule.without_trades()
            schedule = keep_worthwhile(schedule, window.book, self.settings, self.roster)
            uncertainty.follow(schedule, self.margins.binding_steps)
            schedule = uncertainty.capped(schedule)
            binding = self.margins.binding_steps
            exact = self._linearise(schedule, binding, len(binding))
            steepest = _steepest(rows, decisions.mu)
            audits = self.margins.audit(schedule, exact, uncertainty, steepest)
            iterates.append(_Iterate(rows, decisions, schedule, exact, audits))
            if iterates[-1].softened:
                break
            relaxed, relaxation = window.relaxed, decisions.relaxation
            restated = relaxed and relaxation and relaxed.note(relaxation)
            before = iterates[-2].schedule.violation if len(iterates) > 1 else None
            settled = self._acceptance.settled(audits, schedule.violation, before)
            if not restated and settled.all():
                break
            if self._settles_one_by_one:
                again, kept = ~settled, Settled(settled, decisions, rows)
            steps = set(binding)
            if schedule.violation.max(initial=0.0) > NO_ROOM_PU:
                steps |= set(np.flatnonzero((schedule.violation > NO_ROOM_PU).any(axis=1)).tolist())
                exact = self._linearise(schedule, steps, max(steps) + 1)
            offers = self._refreshed(offers, exact, again, steps)
            cautious = ~settled & (len(iterates) >= self.settings.max_passes)
            self.margins.recalibrate(schedule, exact, uncertainty, again, steps, cautious=cautious)
        return iterates

    def _may_go_on(self, iterates: Sequence[_Iterate]) -> bool:
        """Whether another pass may be made: more of them where none has kept its promise yet."""
        kept = any(self._acceptance.excess(iterate.audits) == 0.0 for iterate in iterates)
        return len(iterates) < (1 if kept else 2) * self.settings.max_passes

    def _preference(self, iterate: _Iterate) -> tuple[float, bool, float]:
        """Rank iterates that keep their promise by cost, and before them none; others by excess.

        The cost of a relaxation that is not exact is too good to be true: exact ones come first.
        """
        relaxation = iterate.decisions.relaxation
        inexact = relaxation is not None and not relaxation.exact.all()
        return self._acceptance.excess(iterate.audits), inexact, iterate.decisions.objective

    def _refreshed(
        self,
        offers: tuple[NetworkOffer, ...],
        exact: tuple[NetworkOffer, ...],
        networks: NDArray[np.bool_],
        steps: Collection[int],
    ) -> tuple[NetworkOffer, ...]:
        """Move the models of some networks and steps to the new schedule."""
        return tuple(
            old.moved_to(new, steps) if moves else old
            for old, new, moves in zip(offers, exact, networks.tolist(), strict=True)
        )

    # Assembly ---------------------------------------------------------------------------------

    def _uncertainty(self, book: BidBook) -> Uncertainty:
        """Gather the error samples of the window; nothing is scheduled yet."""
        set_points = None
        if self.settings.renewable_setpoint == "cap":
            rating = np.array([self.roster.rating[k].renewable_kw for k in self.roster.renewable])
            set_points = SetPoints(book.renewable_max_kw, rating)
        samples = [operator.samples for operator in self.operators]
        flexible = FlexibleResponse(book, self.roster)
        return Uncertainty(samples, self.policy, self.roster, set_points, flexible)

    def _rows(self, window: Window, offers: tuple[NetworkOffer, ...]) -> list[ChanceRow]:
        """Pose the chosen rows of every network and step."""
        book, relaxed = window.book, window.relaxed
        fixed_p, fixed_q = fixed_injection(book, self.roster), -book.load_kvar
        rows: list[ChanceRow] = []
        for (d, t), hour in self.margins.hours.items():
            members = self.roster.members(d)
            fixed = fixed_p[:, members], fixed_q[:, members]
            conic = t in self.margins.binding_steps
            posed = pose_rows(offers[d], hour, fixed, network=d, t=t, conic=conic)
            rows += posed if relaxed is None else relaxed.rows(posed, offers[d])
        return rows

    def _linearise(
        self, schedule: Schedule, refresh: range | set[int], n_steps: int | None = None
    ) -> tuple[NetworkOffer, ...]:
        """Ask every operator for its model around a schedule, or around its first steps only."""
        offers = []
        for d, operator in enumerate(self.operators):
            members = self.roster.members(d)
            p_kw, q_kvar = schedule.p_kw[:n_steps, members], schedule.q_kvar[:n_steps, members]
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

    def _compiled(self, book: BidBook, tariff: TariffWindow) -> FirstStage | DecomposedStage:
        """Return the first-stage problem, compiled anew only when price groups must be split."""
        groups = refine_groups(self._groups, book)
        if self._first_stage is None or (groups != self._groups).any():
            curvature = np.zeros(self.roster.n_peers)
            if self.settings.grid_model != "socp":  # whose losses are convex of themselves
                for d, operator in enumerate(self.operators):
                    curvature[self.roster.members(d)] = operator.reactive_curvature
            damping = float(tariff.loss.mean()) * curvature[self.roster.reactive]
            self._groups = groups
            self._first_stage = self._compile(damping, _exchange(self._first_stage))
        return self._first_stage

    def _compile(
        self, damping: Array, exchange: ExchangeState | None
    ) -> FirstStage | DecomposedStage:
        """State the first stage for all networks at once, or for each by itself."""
        if self.settings.solver == "central":
            return FirstStage(self.roster, self._groups, self.settings, damping)
        return DecomposedStage(self.roster, self._groups, self.settings, damping, exchange)

    # From clearing to clearing ------------------------------------------------------------------

    def _remember(self, step: int, book: BidBook, schedule: Schedule) -> None:
        """Keep what the next clearing starts from."""
        idle = supplier_only(book, self.roster, self.policy.n_signals)
        curtailed = schedule.renewable < book.renewable_max_kw
        self._last = LastClearing(step, schedule, idle.p_kw, curtailed)
        self.margins.remember(step)

    def state(self) -> dict[str, Any]:
        """Return what the next clearing starts from."""
        stage = self._first_stage
        return {
            "groups": self._groups,
            "q_damping": None if stage is None else stage.q_damping,
            "exchange": _exchange(stage),
            "last": self._last,
            "margins": self.margins.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a state."""
        self._groups, self._last = state["groups"], state["last"]
        self.margins.restore(state["margins"])
        if state["q_damping"] is not None:
            self._first_stage = self._compile(state["q_damping"], state["exchange"])

    def _risk(self, best: _Iterate, uncertainty: Uncertainty) -> tuple[RiskShares, ...]:
        """Allocate the cost of risk of the binding steps: that of the limits that bind."""
        binds = best.decisions.mu > BINDING_DUAL
        rows = [row for row, does in zip(best.rows, binds.tolist(), strict=True) if does]
        return tuple(
            risk_shares(
                rows,
                best.decisions.mu[binds] / self.roster.step_hours,
                schedule=best.schedule,
                uncertainty=uncertainty,
                roster=self.roster,
                step=t,
            )
            for t in self.margins.binding_steps
        )

    def _fall_back(self, window: Window) -> ClearingResult:
        """Schedule every peer on its retail contract."""
        book = window.book
        schedule = supplier_only(book, self.roster, self.policy.n_signals)
        offers = self._linearise(schedule, range(self.roster.n_steps))
        self.margins.forget()
        uncertainty = self._uncertainty(book)
        audits = self.margins.audit(schedule, offers, uncertainty, {})
        omega_mean_kw, omega_sd_kw = uncertainty.omega_moments(self.margins.binding_steps)
        self._last = None
        return ClearingResult(
            schedule=schedule,
            offers=offers,
            audits=self._acceptance.judged(audits, schedule.violation),
            second=window.second,
            objective=float("nan"),
            duals={},
            fallback="supplier_only",
            n_passes=0,
            solver_s=window.solver_s,
            wall_s=window.wall_s,
            problem_s=window.problem_s,
            omega_mean_kw=omega_mean_kw,
            omega_sd_kw=omega_sd_kw,
        )


def _exchange(stage: FirstStage | DecomposedStage | None) -> ExchangeState | None:
    """Return where the coordination of the networks ended, if they were coordinated."""
    return stage.state if isinstance(stage, DecomposedStage) else None


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
