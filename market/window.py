"""One window on its way through a clearing: its data, and the problem that stands on them."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import parent_process
from typing import TYPE_CHECKING

from joblib import cpu_count

from market.decomposed import DecomposedStage
from market.errors import SolverFailedError
from market.nodal_prices import NodalPrices, marginal_costs
from market.relaxation import no_losses
from market.solve import SOFTENED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from market.book import BidBook, TariffWindow
    from market.chance import ChanceRow
    from market.decisions import Decisions
    from market.exchange import Coordination
    from market.first_stage import FirstStage
    from market.offers import NetworkOffer
    from market.parameters import LossModel, SecondStage
    from market.relaxation import RelaxedGrid
    from market.settled import Settled

log = logging.getLogger(__name__)

SPARE_CORE = cpu_count() > 1 and parent_process() is None
"""Whether two problems may be solved at a time: not by one of several processes of a sweep."""


@dataclass(eq=False)
class Window:
    """The first-stage problem of one window.

    Attributes
    ----------
    book : BidBook
        The bids.
    tariff : TariffWindow
        The supplier's prices.
    second : SecondStage
        Statistics of the uncertainty.
    losses : LossModel
        Linearised losses.
    first_stage : FirstStage or DecomposedStage
        The compiled problem.
    relaxed : RelaxedGrid, optional
        Branch-flow relaxation, where it is the grid model.
    tells_risk : bool
        Whether prices tell what risk adds to them.
    start : float
        When the clearing began. [s]
    solver_s, problem_s : float
        Seconds spent so far inside the solver, of two at the same time the longer, and on putting
        its problems together and reading their solutions.
    fallbacks : set of str
        What was fallen back on so far, see :mod:`market.fallbacks`.
    n_asked : int
        How often networks that solve their own problems were asked so far.
    """

    book: BidBook
    tariff: TariffWindow
    second: SecondStage
    losses: LossModel
    first_stage: FirstStage | DecomposedStage
    relaxed: RelaxedGrid | None
    tells_risk: bool
    start: float
    solver_s: float = field(default=0.0, init=False)
    problem_s: float = field(default=0.0, init=False)
    fallbacks: set[str] = field(default_factory=set, init=False)
    n_asked: int = field(default=0, init=False)
    _without_risk: tuple[Sequence[ChanceRow], Decisions | None] = field(
        default=((), None), init=False
    )
    """What is known of a pass without risk, by its rows."""
    _assigned: SecondStage | None = field(default=None, init=False)
    """What the compiled problem has been told."""

    def solve(
        self,
        rows: Sequence[ChanceRow],
        *,
        settled: Settled | None = None,
        may_soften: bool = True,
    ) -> Decisions:
        """Solve with the given chance constraints.

        Where there is a core to spare, the same window is solved without risk at the same time: no
        more is known of the last pass by then, whose prices will be asked for.

        Parameters
        ----------
        rows : sequence of ChanceRow
            The chance constraints.
        settled : Settled, optional
            Networks that stay as an earlier pass left them.
        may_soften : bool
            Whether a solution that misses constraints is better than none.

        Raises
        ------
        SolverFailedError
            If there is no such solution.
        """
        stage, start = self.first_stage, time.perf_counter()
        self._assign(self.second)
        if isinstance(stage, DecomposedStage):
            decisions = stage.solve(rows, self.relaxed)
            longest_s = decisions.solver_s
        elif SPARE_CORE and settled is None and self._asks_for_risk(rows):
            decisions, beside = self._solve_with_and_without_risk(stage, rows)
            longest_s = max(decisions.solver_s, beside.solver_s if beside else 0.0)
            self._without_risk = rows, beside
        else:
            decisions = stage.solve(rows, self.relaxed, settled=settled)
            longest_s = decisions.solver_s
        self._spent(longest_s, start)
        self.n_asked += decisions.coordination.n_iterations
        if decisions.fallback == SOFTENED and not may_soften:
            raise SolverFailedError("solved only with softened constraints")
        self.note(decisions.fallback)
        return decisions

    def coordinated(self, kept: Decisions) -> Coordination:
        """How well the networks agree on the decisions that are kept, after all solves."""
        return replace(kept.coordination, n_iterations=self.n_asked)

    def note(self, fallback: str) -> None:
        """Note what was fallen back on, if anything."""
        if fallback:
            self.fallbacks.add(fallback)

    @property
    def wall_s(self) -> float:
        """Seconds since the clearing began."""
        return time.perf_counter() - self.start

    def nodal_prices(
        self,
        decisions: Decisions,
        rows: Sequence[ChanceRow],
        offers: Sequence[NetworkOffer],
        n_binding: int,
    ) -> NodalPrices:
        """Price the binding steps.

        Parameters
        ----------
        decisions : Decisions
            The solution.
        rows : sequence of ChanceRow
            Its chance constraints.
        offers : sequence of NetworkOffer
            The networks' linear models.
        n_binding : int
            Number of steps that bind.
        """
        binding = slice(0, n_binding)
        loss = -self.tariff.loss[binding, None] * self.losses.d_p[binding]
        price = partial(
            marginal_costs,
            rows=rows,
            book=self.book,
            tariff=self.tariff,
            roster=self.first_stage.roster,
            groups=self.first_stage.groups,
            n_binding=n_binding,
            n_rows=[len(offer.limit) for offer in offers],
            n_phasors=[offer.n_phasors for offer in offers],
        )
        actual = price(decisions)
        if not self.tells_risk:
            return NodalPrices(actual, None, loss)
        if not self._asks_for_risk(rows):
            return NodalPrices(actual, actual, loss)
        riskless = self._decided_without_risk(rows)
        return NodalPrices(actual, None if riskless is None else price(riskless), loss)

    def _asks_for_risk(self, rows: Sequence[ChanceRow]) -> bool:
        """Whether prices shall tell of risk, and there is any margin, reserve or doubt."""
        second = self.second
        reserves = second.reserve_up_kw.any() or second.reserve_down_kw.any()
        risky = reserves or second.transport_kw.any() or any(row.kappa > 0 for row in rows)
        return self.tells_risk and bool(risky)

    def _decided_without_risk(self, rows: Sequence[ChanceRow]) -> Decisions | None:
        """Return the decisions without risk, whose fallbacks count only if they are wanted."""
        known, decisions = self._without_risk
        if known is not rows:
            start = time.perf_counter()
            decisions = self._solve_without_risk(rows)
            self._spent(decisions.solver_s if decisions else 0.0, start)
        if decisions is None or decisions.fallback == SOFTENED:
            log.warning("no prices without risk")
            self.note("no_riskless_prices")
            return None
        self.note(decisions.fallback)
        return decisions

    def _solve_with_and_without_risk(
        self, stage: FirstStage, rows: Sequence[ChanceRow]
    ) -> tuple[Decisions, Decisions | None]:
        """Solve the window and the one without risk at the same time."""
        posed = stage.pose(rows, self.relaxed)
        with ThreadPoolExecutor(1) as other_core:
            solution = other_core.submit(posed.solve)
            beside = self._solve_without_risk(rows)
        return stage.read(posed, solution.result()), beside

    def _solve_without_risk(self, rows: Sequence[ChanceRow]) -> Decisions | None:
        """Solve the same window as the deterministic method would; None if that fails."""
        riskless = [replace(row, conic=False, kappa=0.0) for row in rows]
        self._assign(self.second.without_reserves)
        try:
            return self.first_stage.solve(riskless, self.relaxed, only_prices=True)
        except SolverFailedError as error:
            log.warning("%s", error)
            return None

    def _assign(self, second: SecondStage) -> None:
        """Set the parameters of the compiled problem, unless they are."""
        if second is self._assigned:
            return
        stage, self._assigned = self.first_stage, second
        losses = self.losses if self.relaxed is None else no_losses(stage.roster)
        stage.assign(self.book, self.tariff, second, losses)

    def _spent(self, solver_s: float, start: float) -> None:
        """Add the seconds since a start: those in the solver, and all others."""
        self.solver_s += solver_s
        self.problem_s += time.perf_counter() - start - solver_s
