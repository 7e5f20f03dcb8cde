"""The coordinating distribution system operator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mesa
import numpy as np

from market.bids import Activation, Award
from market.book import stack
from market.clearing import MarketClearing
from market.recourse import asked_recourse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from configs.schema import Market
    from market.bids import Bid
    from market.book import BidBook, TariffWindow
    from market.clearing import ClearingResult
    from market.offers import GridOperator
    from market.roster import Roster

    Array = NDArray[np.float64]


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
    """

    def __init__(
        self, model: Any, roster: Roster, settings: Market, operators: Sequence[GridOperator]
    ) -> None:
        super().__init__(model)
        self.roster = roster
        self.clearing = MarketClearing(roster, settings, operators)

    def clear(
        self,
        step: int,
        bids: Mapping[str, Bid],
        retail: Mapping[str, Bid],
        tariff: TariffWindow,
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

        Returns
        -------
        book : BidBook
            The bids in the roster's order.
        result : ClearingResult
            Schedule and certificates.
        """
        book = stack(bids, retail, self.roster)
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

        n_storage = len(roster.storage)
        load_kw = book.load_kw[binding].copy()
        load_kw[:, roster.flexible] += (book.flexible_baseline_kw - s.curtailed - s.deferred)[
            binding
        ]
        columns = {
            "load_kw": load_kw,
            "forecast_kw": spread(book.renewable_max_kw, roster.renewable),
            "renewable_kw": spread(s.renewable, roster.renewable),
            "dispatchable_kw": spread(s.dispatchable, roster.dispatchable),
            "charge_kw": spread(s.charge, roster.storage),
            "discharge_kw": spread(s.discharge, roster.storage),
            "curtailed_load_kw": spread(s.curtailed, roster.flexible),
            "deferred_load_kw": spread(s.deferred, roster.flexible),
            "q_kvar": spread(s.reactive, roster.reactive),
            "bought_kw": s.bought[binding],
            "sold_kw": s.sold[binding],
            "storage_share": spread(s.alpha[:, :n_storage], roster.storage),
            "dispatchable_share": spread(s.alpha[:, n_storage:], roster.dispatchable),
        }
        return [
            Award(peer_id, step, **{name: values[:, k] for name, values in columns.items()})
            for k, peer_id in enumerate(roster.peer_id)
        ]

    def activate(
        self, result: ClearingResult, step: int, k: int, omega_kw: Array
    ) -> tuple[list[Activation], Array]:
        """Call the recourse of one binding step.

        Parameters
        ----------
        result : ClearingResult
            The clearing whose shares apply.
        step : int
            Step that is realised.
        k : int
            Its place among the binding steps.
        omega_kw : ndarray, shape (n_networks,)
            Sum of each network's forecast errors. [kW]

        Returns
        -------
        activations : list of Activation
            One for every peer, in the roster's order.
        asked_kw : ndarray, shape (n_recourse,)
            Change of injection asked of every recourse device. [kW]
        """
        roster = self.roster
        asked = asked_recourse(result.schedule.alpha[k], omega_kw, roster)
        storage, unit = np.zeros(roster.n_peers), np.zeros(roster.n_peers)
        n_storage = len(roster.storage)
        storage[roster.storage] = asked[:n_storage]
        unit[roster.dispatchable] = asked[n_storage:]
        activations = [
            Activation(peer_id, step, s, u)
            for peer_id, s, u in zip(roster.peer_id, storage.tolist(), unit.tolist(), strict=True)
        ]
        return activations, asked
