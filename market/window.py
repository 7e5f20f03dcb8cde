"""One window on its way through a clearing: its data, and the problem that stands on them."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from market.errors import SolverFailedError
from market.nodal_prices import NodalPrices, marginal_costs
from market.relaxation import no_losses
from market.solve import SOFTENED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from market.book import BidBook, TariffWindow
    from market.chance import ChanceRow
    from market.decomposed import DecomposedStage
    from market.exchange import Coordination
    from market.first_stage import Decisions, FirstStage
    from market.offers import NetworkOffer
    from market.parameters import LossModel, SecondStage
    from market.relaxation import RelaxedGrid

log = logging.getLogger(__name__)


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
    start : float
        When the clearing began. [s]
    solver_s, problem_s : float
        Seconds spent so far inside the solver, and on putting its problems together and reading
        their solutions.
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
    start: float
    solver_s: float = field(default=0.0, init=False)
    problem_s: float = field(default=0.0, init=False)
    fallbacks: set[str] = field(default_factory=set, init=False)
    n_asked: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._assign(self.second)

    def solve(
        self, rows: Sequence[ChanceRow], *, only_prices: bool = False, may_soften: bool = True
    ) -> Decisions:
        """Solve with the given chance constraints.

        Parameters
        ----------
        rows : sequence of ChanceRow
            The chance constraints.
        only_prices : bool
            Whether only the prices matter.
        may_soften : bool
            Whether a solution that misses constraints is better than none.

        Raises
        ------
        SolverFailedError
            If there is no such solution.
        """
        start = time.perf_counter()
        decisions = self.first_stage.solve(rows, self.relaxed, only_prices=only_prices)
        self.solver_s += decisions.solver_s
        self.n_asked += decisions.coordination.n_iterations
        self.problem_s += time.perf_counter() - start - decisions.solver_s
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
        *,
        tell_risk: bool,
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
        tell_risk : bool
            Whether to solve once more without margins and reserves.
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
        )
        actual = price(decisions)
        if not tell_risk:
            return NodalPrices(actual, None, loss)
        if not self._knows_risk(rows):
            return NodalPrices(actual, actual, loss)
        try:
            riskless = price(self._solve_without_risk(rows))
        except SolverFailedError as error:
            log.warning("no prices without risk (%s)", error)
            self.note("no_riskless_prices")
            riskless = None
        return NodalPrices(actual, riskless, loss)

    def _knows_risk(self, rows: Sequence[ChanceRow]) -> bool:
        """Whether there is any margin, reserve or doubt of the errors' law."""
        second = self.second
        reserves = second.reserve_up_kw.any() or second.reserve_down_kw.any()
        return bool(reserves or second.transport_kw.any() or any(row.kappa > 0 for row in rows))

    def _solve_without_risk(self, rows: Sequence[ChanceRow]) -> Decisions:
        """Solve the same window as the deterministic method would."""
        self._assign(self.second.without_reserves)
        riskless = [replace(row, conic=False, kappa=0.0) for row in rows]
        return self.solve(riskless, only_prices=True, may_soften=False)

    def _assign(self, second: SecondStage) -> None:
        """Set the parameters of the compiled problem."""
        start, stage = time.perf_counter(), self.first_stage
        losses = self.losses if self.relaxed is None else no_losses(stage.roster)
        stage.assign(self.book, self.tariff, second, losses)
        self.problem_s += time.perf_counter() - start
