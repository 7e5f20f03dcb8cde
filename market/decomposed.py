"""The first stage solved network by network, with the DSO coordinating the exchange by its price.

The same optimum as :class:`~market.first_stage.FirstStage` finds for all networks at once, but no
network's bids, loads or grid leave its worker: see :mod:`market.exchange` and
:mod:`market.workers`.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from market.decisions import Decisions
from market.errors import SolverFailedError
from market.exchange import TOGETHER, Coordination, ExchangeState, coordinate
from market.fallbacks import worst
from market.network_stage import net_export
from market.networks import put_together, take_apart
from market.recourse import RecoursePolicy
from market.trading_rules import exchange_limits
from market.workers import Workers, WorkersLostError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from configs.schema import Market
    from market.book import BidBook, TariffWindow
    from market.chance import ChanceRow
    from market.network_stage import Answer
    from market.parameters import LossModel, SecondStage
    from market.relaxation import RelaxedGrid
    from market.roster import Roster

    Array = NDArray[np.float64]

log = logging.getLogger(__name__)

HELD = 1e4
"""Penalty that holds exports at their targets, over that of the coordination."""
ATTEMPTS = 2
"""How often a solve may be started, where a worker is lost."""
STRICTER = 4.0
"""Divisor of the tolerance where the gap is too large still."""
PRICE_RANGE = 0.15
"""Range of the price over the supplier's selling price, and"""
TYPICAL_SHARE = 0.5
"""typical exchange of a network over its mean load, to choose the first penalty by."""


class DecomposedStage:
    """The first stage of a roster, taken apart into its networks.

    Parameters
    ----------
    roster : Roster
        The registered peers.
    groups : ndarray of int, shape (n_peers,)
        Price group of every peer.
    settings : Market
        The market's configuration.
    q_damping : ndarray, shape (n_reactive,)
        Weights of the reactive damping. [EUR/(kvar2 h)]
    state : ExchangeState, optional
        Where the last clearing's coordination ended.

    Attributes
    ----------
    state : ExchangeState or None
        Where the last coordination ended.
    """

    def __init__(
        self,
        roster: Roster,
        groups: NDArray[np.intp],
        settings: Market,
        q_damping: Array,
        state: ExchangeState | None = None,
    ) -> None:
        self.roster = roster
        self.groups = groups
        self.q_damping = q_damping
        self.policy = RecoursePolicy.of(settings, roster.n_networks)
        self.state = state
        self._settings = settings
        self._parts = take_apart(
            roster, groups, np.flatnonzero(np.isfinite(exchange_limits(settings, roster)))
        )
        self._workers: Workers | None = None
        self._book: BidBook | None = None
        self._rounds: list[list[float]] = []
        self._solver_s = 0.0

    # The window -------------------------------------------------------------------------------

    def assign(
        self, book: BidBook, tariff: TariffWindow, second: SecondStage, losses: LossModel
    ) -> None:
        """Take the data of a window, see :meth:`market.first_stage.FirstStage.assign`."""
        settings = self._settings
        fees = settings.network_fee_within_eur_per_kwh + settings.network_fee_across_eur_per_kwh
        # Nobody sells for less, or buys for more: the price is looked for in between.
        self._band = tariff.feed_in, np.maximum(tariff.retail - fees, tariff.feed_in)
        paid = self.roster.step_hours * float(tariff.retail @ book.load_kw.sum(axis=1))
        self._turnover = max(paid, 1.0)
        typical_kw = TYPICAL_SHARE * book.load_kw.sum() / self._nothing.size
        self._penalty = PRICE_RANGE * float(tariff.retail.mean()) / max(typical_kw, 1.0)
        if book is not self._book:
            self.state = self._start(book)
        self._book = book
        self._data = [
            {
                "book": part.book(book),
                "tariff": tariff,
                "second": part.second(second),
                "losses": part.losses(losses),
            }
            for part in self._parts
        ]

    def _start(self, book: BidBook) -> ExchangeState:
        """Begin where the last window ended, moved to the new one."""
        roster, (_, top) = self.roster, self._band
        if self.state is not None:
            whole_days = (roster.n_steps * roster.step_hours) % 24 == 0
            cadence = self._settings.cadence_steps
            return self.state.shifted(cadence, whole_days=whole_days, price=top)
        return ExchangeState(top.copy(), self._nothing)

    # Solving ----------------------------------------------------------------------------------

    def solve(
        self,
        rows: Sequence[ChanceRow],
        relaxed: RelaxedGrid | None = None,
        *,
        only_prices: bool = False,
    ) -> Decisions:
        """Solve with the data assigned, see :meth:`market.first_stage.FirstStage.solve`.

        Raises
        ------
        SolverFailedError
            If a network has no usable solution, or its worker is lost twice.
        """
        if relaxed is not None:
            raise AssertionError("the settings exclude a relaxation across networks")
        for _ in range(ATTEMPTS):
            try:
                return self._solve(rows, only_prices=only_prices)
            except WorkersLostError as error:
                log.warning("a worker was lost (%s)", error)
                self.close()
                lost = error
        raise SolverFailedError(f"workers lost in {ATTEMPTS} attempts ({lost})")

    def close(self) -> None:
        """End the workers."""
        if self._workers is not None:
            self._workers.close()
            self._workers = None

    def _solve(self, rows: Sequence[ChanceRow], *, only_prices: bool) -> Decisions:
        start = time.perf_counter()
        self._rounds, self._solver_s = [], 0.0
        workers = self._opened()
        workers.each("assign", self._data)
        posed = [{"rows": part.rows(rows), "only_prices": only_prices} for part in self._parts]
        workers.each("take_rows", posed)
        if self._settings.coordination == "across_networks":
            held, priced, coordination = self._coordinated(only_prices=only_prices)
        else:
            held = priced = self._decide(np.zeros(self.roster.n_steps))
            coordination = TOGETHER
        coordination = replace(
            coordination,
            wall_s=time.perf_counter() - start,
            networks_s=float(np.sum(self._rounds)),
            longest_s=float(np.max(self._rounds, axis=1).sum()),
        )
        return self._whole(rows, held, priced, coordination)

    @property
    def _nothing(self) -> Array:
        return np.zeros((self.roster.n_networks, self.roster.n_steps))

    def _opened(self) -> Workers:
        """Return the workers, which compile their problems first."""
        if self._workers is None:
            settings = self._settings
            networks = self.roster.network_of[self.roster.reactive]
            problems = [
                {
                    "roster": part.roster,
                    "groups": part.groups,
                    "settings": settings,
                    "q_damping": self.q_damping[networks == d],
                }
                for d, part in enumerate(self._parts)
            ]
            self._workers = Workers(problems, settings.solver_workers, settings.solver_scheduler)
        return self._workers

    def _coordinated(
        self, *, only_prices: bool
    ) -> tuple[list[Decisions], list[Decisions], Coordination]:
        """Agree on the exchange; return the decisions that keep to it, and those at its price.

        The schedule is that of the former. The prices are those of the latter: held at a point
        where its costs have a kink, a network would have a price of its own.
        """
        settings, state = self._settings, self.state
        if state is None:
            raise AssertionError("no data were assigned")
        tolerance, n_iterations = settings.exchange_tolerance, 0
        while True:
            found = coordinate(
                self._exports,
                state,
                penalty=self._penalty,
                tolerance=tolerance,
                max_iterations=settings.max_exchange_iterations - n_iterations,
            )
            price = np.clip(found.state.price, *self._band)
            state, n_iterations = (
                replace(found.state, price=price),
                n_iterations + found.n_iterations,
            )
            held = self._decide(price, state.target_kw, np.full(len(price), HELD * self._penalty))
            priced = self._decide(price)
            gap = float("nan") if only_prices else self._gap(price, held, priced)
            close = not gap > settings.exchange_gap
            if close or not found.agreed or n_iterations == settings.max_exchange_iterations:
                break
            tolerance /= STRICTER
        self.state = state
        how = Coordination(n_iterations, found.residual, gap, agreed=close and found.agreed)
        log.log(
            logging.INFO if how.agreed else logging.WARNING,
            "networks %s after %d iterations, off their exchanges by %.1e of the largest; the cost "
            "may exceed the optimum by %.1e of what all load would pay the supplier",
            "agreed" if how.agreed else "had not agreed",
            how.n_iterations,
            how.residual,
            how.gap,
        )
        return held, priced, how

    def _exports(self, price: Array, target_kw: Array, penalty: Array) -> Array | None:
        """Ask for the exports at a price; None where a network has no solution of its own."""
        answers = self._ask(price, target_kw, penalty)
        if any(answer.softened for answer in answers):
            return None
        return np.array([answer.export_kw for answer in answers])

    def _gap(self, price: Array, held: list[Decisions], priced: list[Decisions]) -> float:
        """Compare the cost with the least that the networks would have at the price."""
        return (self._cost(price, held) - self._cost(price, priced)) / self._turnover

    def _cost(self, price: Array, decisions: list[Decisions]) -> float:
        """Cost of all networks; what their exchanges leave unbalanced is paid at a price. [EUR]"""
        export = np.sum([net_export(own)[:, 0] for own in decisions], axis=0)
        earned = self.roster.step_hours * float(price @ export)
        return sum(own.objective for own in decisions) - earned

    def _ask(self, price: Array, target_kw: Array, penalty: Array) -> list[Answer]:
        answers: list[Answer] = self._each("answer", price, target_kw, penalty)
        self._waited_for([answer.solver_s for answer in answers])
        return answers

    def _decide(
        self, price: Array, target_kw: Array | None = None, penalty: Array | None = None
    ) -> list[Decisions]:
        """Ask for all decisions at a price, near a target if there is one."""
        target_kw = self._nothing if target_kw is None else target_kw
        penalty = np.zeros_like(price) if penalty is None else penalty
        decisions: list[Decisions] = self._each("decide", price, target_kw, penalty)
        self._waited_for([own.solver_s for own in decisions])
        return decisions

    def _each(self, method: str, price: Array, target_kw: Array, penalty: Array) -> list[Any]:
        workers = self._opened()
        results = workers.each(
            method,
            [{"price": price, "target_kw": own, "penalty": penalty} for own in target_kw],
        )
        self._rounds.append(list(workers.busy_s))
        return results

    def _waited_for(self, solver_s: Sequence[float]) -> None:
        """Add the solvers' seconds of the worker that took longest."""
        shares = self._opened().networks
        self._solver_s += max(sum(solver_s[d] for d in networks) for networks in shares)

    def _whole(
        self,
        rows: Sequence[ChanceRow],
        held: list[Decisions],
        priced: list[Decisions],
        coordination: Coordination,
    ) -> Decisions:
        """Put the networks' decisions together."""
        duals = put_together(self._parts, [own.duals for own in priced])
        price = np.zeros(self.roster.n_steps)
        if self._settings.coordination == "across_networks" and self.state is not None:
            # As in the problem of all networks: that of exports less imports.
            price = self.state.price
            duals["exchange_balance"] = -self.roster.step_hours * price
        own_mu = [iter(own.mu.tolist()) for own in priced]
        return Decisions(
            values=put_together(self._parts, [own.values for own in held]),
            duals=duals,
            mu=np.array([next(own_mu[row.network]) for row in rows]),
            objective=self._cost(price, held),
            solver_s=self._solver_s,
            fallback=worst({own.fallback for own in held + priced} - {""}),
            coordination=coordination,
        )
