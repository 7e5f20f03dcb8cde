"""The first-stage problem of one network that meets the others at a price only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cvxpy as cp
import numpy as np
from scipy import sparse

from market.first_stage import FirstStage
from market.solve import SOFTENED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from configs.schema import Market
    from market.chance import ChanceRow
    from market.conic_form import Layout
    from market.decisions import Decisions
    from market.parameters import Parameters
    from market.roster import Roster
    from market.variables import Variables

    Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Answer:
    """What a network tells of its answer to a price.

    Attributes
    ----------
    export_kw : ndarray, shape (n_steps,)
        P2P export, imports being negative. [kW]
    cost : float
        Cost of the window, without what the exchange earns. [EUR]
    solver_s : float
        Time inside the solver. [s]
    softened : bool
        Whether the network has no solution without softened constraints.
    """

    export_kw: Array
    cost: float
    solver_s: float
    softened: bool


class NetworkStage(FirstStage):
    """A first stage whose exchange earns a price, and is drawn to a target.

    Parameters
    ----------
    roster : Roster
        The peers of one network.
    groups : ndarray of int, shape (n_peers,)
        Price group of every peer.
    settings : Market
        The market's configuration.
    q_damping : ndarray, shape (n_reactive,)
        Weights of the reactive damping. [EUR/(kvar2 h)]
    """

    def __init__(
        self, roster: Roster, groups: NDArray[np.intp], settings: Market, q_damping: Array
    ) -> None:
        self._price = cp.Parameter(roster.n_steps)
        super().__init__(roster, groups, settings, q_damping)
        self._rows: Sequence[ChanceRow] = ()
        self._penalty = np.zeros(roster.n_steps)
        self._only_prices = False

    def _objective(self, v: Variables, p: Parameters, settings: Market) -> cp.Expression:
        earned = self._price @ cp.sum(v.exchange_out - v.exchange_in, axis=1)
        return super()._objective(v, p, settings) - self.roster.step_hours * earned

    def _constraints(self, v: Variables, p: Parameters, settings: Market) -> list[cp.Constraint]:
        # That exchanges balance is up to the networks together.
        own = super()._constraints(v, p, settings)
        return [constraint for constraint in own if constraint.label != "exchange_balance"]

    def _quadratic(self, layout: Layout) -> sparse.csc_array:
        own = super()._quadratic(layout)
        steps, network = np.arange(self.roster.n_steps), np.array([0])
        place = np.concatenate(
            [layout.columns(name, network, steps) for name in ("exchange_out", "exchange_in")]
        )
        weight = np.tile(self.roster.step_hours * self._penalty, 2)
        return sparse.csc_array(own + sparse.csc_array((weight, (place, place)), shape=own.shape))

    def take_rows(self, rows: Sequence[ChanceRow], *, only_prices: bool) -> None:
        """Take the chance constraints of the solves that follow, see :meth:`FirstStage.solve`."""
        self._rows, self._only_prices = rows, only_prices

    def answer(self, price: Array, target_kw: Array, penalty: Array) -> Answer:
        """Solve at a price, with the square of departures from a target as a penalty.

        Parameters
        ----------
        price : ndarray, shape (n_steps,)
            Price of the exchange. [EUR/kWh]
        target_kw : ndarray, shape (n_steps,)
            Export to stay near. [kW]
        penalty : ndarray, shape (n_steps,)
            Weights of half the squared departures. [EUR/kWh per kW]

        Raises
        ------
        SolverFailedError
            If the solver gives no usable solution.
        """
        decisions = self.decide(price, target_kw, penalty)
        return Answer(
            export_kw=net_export(decisions)[:, 0],
            cost=decisions.objective,
            solver_s=decisions.solver_s,
            softened=decisions.fallback == SOFTENED,
        )

    def decide(self, price: Array, target_kw: Array, penalty: Array) -> Decisions:
        """Solve like :meth:`answer` and return all decisions; the objective is the cost."""
        # (e - target)^2 but for a constant: nobody exports and imports at the same time.
        linear = price + penalty * target_kw
        self._price.value = linear
        self._penalty = penalty
        decisions = self.solve(self._rows, only_prices=self._only_prices)
        earned = self.roster.step_hours * float(linear @ net_export(decisions)[:, 0])
        return replace(decisions, objective=decisions.objective + earned)


def net_export(decisions: Decisions) -> Array:
    """P2P exports less imports, shape (n_steps, n_networks). [kW]"""
    return decisions.values["exchange_out"] - decisions.values["exchange_in"]
