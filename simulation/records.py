"""What one step leaves behind: the pieces the tables are made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from grid.violations import TOLERANCE_PU
from market.fallbacks import worst

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from grid.replay import ReplayResult
    from grid.violations import MissedLimit, Violation
    from market.bids import Award, Bid, MeterReading
    from market.book import BidBook
    from market.clearing import ClearingResult
    from market.costs import Flows, StepPrices
    from market.ledger import Ledger
    from market.matching import Trades
    from market.pricing import TradePrices

    Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Cleared:
    """A clearing and what was told to whom; it binds ``cadence_steps`` steps."""

    step: int
    bids: list[tuple[str, Bid]]
    """Every sender and its bid."""
    rejected: dict[str, str]
    book: BidBook
    result: ClearingResult
    awards: list[Award]
    markups: dict[str, float] = field(default_factory=dict)
    """Chosen mark-ups by player, of those whose strategies tell. [-]"""


@dataclass(frozen=True, eq=False)
class Realised:
    """What really happened in one step, per peer in the roster's order."""

    readings: list[MeterReading]
    error_kw: Array
    """Deviation from the schedule before recourse, (n_peers,). [kW]"""
    asked_kw: Array
    """Recourse asked of every recourse device, (n_recourse,). [kW]"""
    fallback: str = ""
    """Empty, or what the activation of the recourse fell back on."""

    def column(self, name: str) -> Array:
        """One quantity of all readings, (n_peers,)."""
        return np.array([getattr(reading, name) for reading in self.readings])


@dataclass(frozen=True, eq=False)
class Replayed:
    """The AC replay of one step, by network."""

    replays: tuple[ReplayResult | None, ...]
    """None where the power flow has no solution."""
    promised: tuple[Array, ...]
    """Limit rows of the linear model at the realised errors and the full recourse. [p.u.]"""
    violations: tuple[tuple[Violation, ...], ...]
    missed: tuple[tuple[MissedLimit, ...], ...]
    """Limits that the schedule misses with their margins, where the clearing promises nothing."""


@dataclass(frozen=True, eq=False)
class Settled:
    """Cost, trades and payments of one step."""

    flows: Flows
    costs: dict[str, Array]
    """Cost at tariff by component and network. [EUR]"""
    resources: dict[str, Array]
    """Resource cost by component and network. [EUR]"""
    transfers: dict[str, Array]
    """What leads from the second to the first, by name and network. [EUR]"""
    trades: Trades
    trade_prices: TradePrices
    trade_fee: Array
    """Network fee of every trade, (n_trades,). [EUR/kWh]"""
    prices: StepPrices
    ledger: Ledger


@dataclass(frozen=True, eq=False)
class Check:
    """Monte Carlo check of one network in one step."""

    network: str
    excess_pu: Array
    """How far each scenario exceeds the limit that it exceeds most, (n_scenarios,); negative where
    all limits are kept, NaN where the power flow has no solution. [p.u.]"""
    day: NDArray[np.int64]
    """Day of each scenario's error, counted from the first row of the data, (n_scenarios,)."""
    certificate: float
    """Certified violation probability of the clearing."""
    binding: bool
    """Whether a grid limit binds."""

    @property
    def violated(self) -> NDArray[np.bool_]:
        """Which scenarios violate a limit or have no solution, (n_scenarios,)."""
        return ~(self.excess_pu <= TOLERANCE_PU)


@dataclass(frozen=True, eq=False)
class StepRecord:
    """All of one step."""

    step: int
    cleared: Cleared
    realised: Realised
    replayed: Replayed
    settled: Settled
    bus_prices: tuple[dict[str, Array], ...]
    """Components of the nodal price of every bus but the source, by network; empty after a
    fallback. [EUR/kWh]"""
    checks: tuple[Check, ...]
    """By network; empty when no Monte Carlo check is due."""

    @property
    def k(self) -> int:
        """Place of the step among those that the clearing binds."""
        return self.step - self.cleared.step

    @property
    def fallback(self) -> str:
        """Empty, or the worst of what was fallen back on: see :mod:`market.fallbacks`."""
        return worst({self.cleared.result.fallback, self.realised.fallback} - {""})
