"""The coordinating distribution system operator."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import mesa
import numpy as np

from agents.prosumer import INITIAL_STATE_OF_CHARGE
from market.bids import Activation, Award
from market.book import stack
from market.clearing import MarketClearing
from market.errors import SolverFailedError
from market.final_storage import ending_as_at_start
from market.price_blocks import n_blocks
from market.recourse import network_errors
from market.redispatch import GridState, RealTimeMarket, redispatch
from market.trading_rules import apply_trading_rules

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from configs.schema import Market
    from market.bids import Bid
    from market.book import BidBook, TariffWindow
    from market.clearing import ClearingResult
    from market.costs import StepPrices
    from market.offers import GridOperator
    from market.roster import Roster
    from market.schedule import Schedule

    Array = NDArray[np.float64]

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Revealed:
    """What the DSO knows when it activates the recourse of a step.

    Attributes
    ----------
    error_kw : ndarray, shape (..., n_peers)
        Deviation of every peer from its schedule. [kW]
    q_kvar : ndarray, shape (..., n_peers)
        Net reactive injections. [kvar]
    stored_kwh : ndarray, shape (n_storage,)
        Energy in the batteries. [kWh]
    prices : StepPrices
        Prices of the step.
    """

    error_kw: Array
    q_kvar: Array
    stored_kwh: Array
    prices: StepPrices


class Dso(mesa.Agent):
    """Clears the market over all networks and activates the recourse.

    Parameters
    ----------
    model : mesa.Model
        The simulation.
    roster : Roster
        The registered peers.
    settings : Market
        The market's configuration.
    operators : sequence of GridOperator
        The network operators.
    own_groups : ndarray of bool, shape (n_peers,), optional
        Peers whose limit prices go ways of their own, see :class:`market.clearing.MarketClearing`.

    Attributes
    ----------
    failed_dispatches : int
        How often the dispatch that knows the error failed, and the cleared shares stood in.
    """

    def __init__(
        self,
        model: Any,
        roster: Roster,
        settings: Market,
        operators: Sequence[GridOperator],
        own_groups: NDArray[np.bool_] | None = None,
    ) -> None:
        super().__init__(model)
        self.roster = roster
        self.clearing = MarketClearing(roster, settings, operators, own_groups)
        self.failed_dispatches = 0

    def clear(
        self,
        step: int,
        bids: Mapping[str, Bid],
        retail: Mapping[str, Bid],
        tariff: TariffWindow,
        last_step: int | None = None,
    ) -> tuple[BidBook, ClearingResult]:
        """Clear the window from the accepted bids.

        Parameters
        ----------
        step : int
            First step of the window.
        bids : mapping of str to Bid
            Accepted bids by peer.
        retail : mapping of str to Bid
            What the operators expect of the other peers.
        tariff : TariffWindow
            The supplier's prices.
        last_step : int, optional
            Last step of the run, after which batteries hold what they held at its start; not
            given where that is not asked for.

        Returns
        -------
        book : BidBook
            The bids in the roster's order, under the market's trading rules.
        result : ClearingResult
            Schedule and certificates.
        """
        settings = self.clearing.settings
        submitted = stack(bids, retail, self.roster, n_blocks(settings))
        book = apply_trading_rules(submitted, settings, self.roster)
        if last_step is not None:
            capacity = np.array([self.roster.rating[k].storage_kwh for k in self.roster.storage])
            start_kwh = INITIAL_STATE_OF_CHARGE * capacity
            book = ending_as_at_start(book, self.roster, last_step - step, start_kwh)
        return book, self.clearing.clear(step, book, tariff)

    def awards(self, book: BidBook, result: ClearingResult, step: int, cadence: int) -> list[Award]:
        """Tell every peer its schedule of the binding steps.

        Parameters
        ----------
        book : BidBook
            The bids.
        result : ClearingResult
            Their clearing.
        step : int
            First step of the window.
        cadence : int
            Number of steps that bind.

        Returns
        -------
        list of Award
            One for every peer, in the roster's order.
        """
        s, roster, binding = result.schedule, self.roster, slice(0, cadence)

        def spread(values: Array, owners: NDArray[np.intp]) -> Array:
            out = np.zeros((cadence, roster.n_peers))
            out[:, owners] = values[binding]
            return out

        n_storage, share = len(roster.storage), s.alpha.mean(axis=1)
        load_kw = book.load_kw[binding].copy()
        load_kw[:, roster.flexible] += (book.flexible_baseline_kw - s.curtailed - s.deferred)[
            binding
        ]
        columns = {
            "load_kw": load_kw,
            "renewable_kw": spread(s.renewable, roster.renewable),
            "held_back_kw": spread(self._held_back(book, s), roster.renewable),
            "cap_kw": spread(s.cap_kw, roster.renewable),
            "dispatchable_kw": spread(s.dispatchable, roster.dispatchable),
            "charge_kw": spread(s.charge, roster.storage),
            "discharge_kw": spread(s.discharge, roster.storage),
            "curtailed_load_kw": spread(s.curtailed, roster.flexible),
            "deferred_load_kw": spread(s.deferred, roster.flexible),
            "q_kvar": spread(s.reactive, roster.reactive),
            "bought_kw": s.bought[binding],
            "sold_kw": s.sold[binding],
            "storage_share": spread(share[:, :n_storage], roster.storage),
            "dispatchable_share": spread(share[:, n_storage:], roster.dispatchable),
        }
        by_peer = zip(*(values.T for values in columns.values()), strict=True)
        return [
            Award(peer_id, step, **dict(zip(columns, own, strict=True)))
            for peer_id, own in zip(roster.peer_id, by_peer, strict=True)
        ]

    def _held_back(self, book: BidBook, schedule: Schedule) -> Array:
        """Distance that plants keep from their forecasts: none where they follow caps."""
        if self.clearing.settings.renewable_setpoint == "cap":
            return np.zeros_like(schedule.renewable)
        return book.renewable_max_kw - schedule.renewable

    def activate(
        self, book: BidBook, result: ClearingResult, step: int, k: int, revealed: Revealed
    ) -> tuple[list[Activation], Array]:
        """Call the recourse of one binding step.

        Parameters
        ----------
        book : BidBook
            The bids that were cleared.
        result : ClearingResult
            Their clearing.
        step : int
            Step that is realised.
        k : int
            Its place among the binding steps.
        revealed : Revealed
            What has become known.

        Returns
        -------
        activations : list of Activation
            One for every peer, in the roster's order.
        asked_kw : ndarray, shape (n_recourse,)
            Change of injection asked of every recourse device. [kW]
        """
        roster = self.roster
        asked = self.recourse(book, result, k, revealed)
        storage, unit = np.zeros(roster.n_peers), np.zeros(roster.n_peers)
        n_storage = len(roster.storage)
        storage[roster.storage] = asked[:n_storage]
        unit[roster.dispatchable] = asked[n_storage:]
        activations = [
            Activation(peer_id, step, s, u)
            for peer_id, s, u in zip(roster.peer_id, storage.tolist(), unit.tolist(), strict=True)
        ]
        return activations, asked

    def recourse(self, book: BidBook, result: ClearingResult, k: int, revealed: Revealed) -> Array:
        """Recourse by the cleared shares, or by a dispatch that knows the error.

        Parameters
        ----------
        book, result, k
            As in :meth:`activate`.
        revealed : Revealed
            What has become known, in one scenario or in several along a first axis.

        Returns
        -------
        ndarray, shape (..., n_recourse)
            Change of injection asked of every recourse device. [kW]
        """
        omega = network_errors(revealed.error_kw, self.roster)
        shared = self.clearing.policy.asked(result.schedule.alpha[k], omega, self.roster)
        if self.clearing.settings.second_stage == "affine" or result.degraded:
            return shared
        if omega.ndim > 1:
            scenarios = zip(revealed.error_kw, revealed.q_kvar, strict=True)
            known = (replace(revealed, error_kw=p, q_kvar=q) for p, q in scenarios)
            return np.array([self.recourse(book, result, k, one) for one in known])
        try:
            return redispatch(
                self._real_time_market(book, result, k, revealed),
                self._grid_states(result, k, revealed),
                self.clearing.policy.pooled(omega),
            )
        except SolverFailedError as error:
            self.failed_dispatches += 1
            log.warning("%s; the cleared shares are used", error)
            return shared

    def _real_time_market(
        self, book: BidBook, result: ClearingResult, k: int, revealed: Revealed
    ) -> RealTimeMarket:
        """Put ranges and prices of the recourse devices together."""
        roster, s, policy = self.roster, result.schedule, self.clearing.policy
        hours, stored = roster.step_hours, revealed.stored_kwh
        battery = s.discharge[k] - s.charge[k]
        room = np.maximum(book.energy_max_kwh - stored, 0.0) / roster.charge_efficiency / hours
        stock = np.maximum(stored - book.energy_min_kwh, 0.0) * roster.discharge_efficiency / hours
        able = book.recourse_max_kw > 0
        lowest = np.concatenate(
            [-np.minimum(book.charge_max_kw, room) - battery, -s.dispatchable[k]]
        )
        highest = np.concatenate(
            [
                np.minimum(book.discharge_max_kw, stock) - battery,
                book.dispatchable_max_kw - s.dispatchable[k],
            ]
        )
        return RealTimeMarket(
            lowest_kw=np.where(able, lowest, 0.0),
            highest_kw=np.where(able, highest, 0.0),
            up_price=book.recourse_up,
            down_price=book.recourse_down,
            imbalance_buy=revealed.prices.imbalance_buy,
            imbalance_sell=revealed.prices.imbalance_sell,
            violation_price=self.clearing.settings.violation_price_eur_per_pu_h,
            pool_of_device=policy.pool_of[roster.network_of[roster.recourse]],
        )

    def _grid_states(self, result: ClearingResult, k: int, revealed: Revealed) -> list[GridState]:
        """Move the linear models to the realised errors."""
        roster, states = self.roster, []
        p_kw = result.schedule.p_kw[k] + revealed.error_kw
        for d, offer in enumerate(result.offers):
            members = roster.members(d)
            devices = np.flatnonzero(roster.network_of[roster.recourse] == d)
            owner = np.searchsorted(members, roster.recourse[devices])
            rows = offer.rows(k, result.audits[d][k].half_planes)
            value = rows.at(p_kw[members], revealed.q_kvar[members])
            states.append(GridState(value, rows.limit, rows.d_p[:, owner], devices))
        return states
