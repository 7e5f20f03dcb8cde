"""Key figures of a run, gathered step by step."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Any, TypeVar

from simulation.tallies import DayTally, ScenarioTally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import numpy as np

    from grid.violations import MissedLimit, Violation
    from market.exchange import Coordination
    from simulation.records import Check
    from simulation.tallies import Rate

T = TypeVar("T", DayTally, ScenarioTally)


@dataclass
class Excess:
    """How far violations of one kind exceed their limits."""

    n: int = 0
    total_pu: float = 0.0
    largest_pu: float = 0.0

    def add(self, excess_pu: float) -> None:
        """Add one violation. [p.u.]"""
        self.n += 1
        self.total_pu += excess_pu
        self.largest_pu = max(self.largest_pu, excess_pu)

    def summary(self) -> dict[str, float]:
        """Return number, mean and largest."""
        return {"n": self.n, "mean_pu": self.total_pu / self.n, "largest_pu": self.largest_pu}


@dataclass
class RunTotals:
    """Sums and counts over a run.

    Attributes
    ----------
    networks : tuple of str
        Names of the networks.
    costs_eur : dict of str to float
        Operational cost by component. [EUR]
    within_kwh, across_kwh : float
        Energy traded between peers of one network, and of two. [kWh]
    promises : dict of str to int
        Network-steps by what became of the promise: see :class:`market.calibration.Audit`.
    missed : dict of (str, str, int) to (int, float)
        Limits that schedules miss with their margins, by network, kind and element: steps, and
        the largest miss. [p.u.]
    steps : int
        Steps.
    fallbacks : dict of str to int
        Steps in which a solver failed by what was fallen back on: see :mod:`market.fallbacks`.
    fallback_clearings : int
        Clearings in which a solver failed.
    coordination_iterations, unagreed_clearings : int
        How often networks that solve their own problems were asked; clearings in which they stopped
        before they agreed.
    largest_coordination_gap : float
        By how much the cost of a clearing may exceed the optimum, over what all load would pay.
    failed_dispatches_of_checks : int
        Dispatches that failed in Monte Carlo checks, where the cleared shares stood in.
    power_flow_failures : dict of str to int
        Steps whose AC replay has no solution, by network.
    clearings, passes : int
        Clearings, and the solves in them.
    rejected_bids : int
        Bids that an operator refused.
    causes : dict of str to int
        Single violations by cause.
    excesses : dict of str to Excess
        How far single violations exceed their limits, by kind.
    certificates : list of float
        Certified violation probabilities of the steps in which a grid limit binds.
    every, binding : dict of str to DayTally
        AC violations by network, over all steps and over those in which a grid limit binds.
    checked, checked_binding : dict of str to ScenarioTally
        The same of the Monte Carlo checks.
    """

    networks: tuple[str, ...]
    costs_eur: dict[str, float] = field(default_factory=dict)
    within_kwh: float = 0.0
    across_kwh: float = 0.0
    promises: dict[str, int] = field(default_factory=dict)
    missed: dict[tuple[str, str, int], tuple[int, float]] = field(default_factory=dict)
    steps: int = 0
    fallbacks: dict[str, int] = field(default_factory=dict)
    fallback_clearings: int = 0
    coordination_iterations: int = 0
    unagreed_clearings: int = 0
    largest_coordination_gap: float = 0.0
    failed_dispatches_of_checks: int = 0
    power_flow_failures: dict[str, int] = field(default_factory=dict)
    clearings: int = 0
    passes: int = 0
    rejected_bids: int = 0
    causes: dict[str, int] = field(default_factory=dict)
    excesses: dict[str, Excess] = field(default_factory=dict)
    certificates: list[float] = field(default_factory=list)
    every: dict[str, DayTally] = field(default_factory=dict)
    binding: dict[str, DayTally] = field(default_factory=dict)
    checked: dict[str, ScenarioTally] = field(default_factory=dict)
    checked_binding: dict[str, ScenarioTally] = field(default_factory=dict)

    def add_costs(self, costs: dict[str, float]) -> None:
        """Add the costs of a step by component. [EUR]"""
        for component, amount in costs.items():
            self.costs_eur[component] = self.costs_eur.get(component, 0.0) + amount

    def add_step(self, fallback: str) -> None:
        """Count a step, and what it fell back on, if anything."""
        self.steps += 1
        if fallback:
            self.fallbacks[fallback] = self.fallbacks.get(fallback, 0) + 1

    def add_promise(self, promise: str) -> None:
        """Count what became of the promise of one network and step."""
        self.promises[promise] = self.promises.get(promise, 0) + 1

    @property
    def uncertified(self) -> int:
        """Network-steps whose promise is not kept."""
        return sum(n for promise, n in self.promises.items() if promise != "kept")

    @property
    def without_room(self) -> int:
        """Those of them whose limits no schedule could keep."""
        return self.promises.get("no_room", 0)

    @property
    def uncertified_share(self) -> float:
        """Share of the network-steps whose promise is not kept."""
        n = sum(self.promises.values())
        return self.uncertified / n if n else 0.0

    def add_missed(self, network: str, limit: MissedLimit) -> None:
        """Count a limit that a schedule misses with its margin."""
        place = network, limit.kind, limit.element
        steps, largest = self.missed.get(place, (0, 0.0))
        self.missed[place] = steps + 1, max(largest, limit.missed_pu)

    def missed_limits(self) -> list[dict[str, Any]]:
        """Limits that schedules miss, those missed most often first."""
        ranked = sorted(self.missed.items(), key=lambda item: (-item[1][0], -item[1][1], item[0]))
        return [
            {
                "network": network,
                "kind": kind,
                "element": element,
                "steps": steps,
                "largest_pu": largest,
            }
            for (network, kind, element), (steps, largest) in ranked
        ]

    def add_coordination(self, coordination: Coordination) -> None:
        """Count how networks that solve their own problems agreed on a clearing."""
        self.coordination_iterations += coordination.n_iterations
        self.unagreed_clearings += not coordination.agreed
        self.largest_coordination_gap = max(self.largest_coordination_gap, coordination.gap)

    def add_power_flow_failure(self, network: str) -> None:
        """Count a step whose replay has no solution."""
        self.power_flow_failures[network] = self.power_flow_failures.get(network, 0) + 1

    @property
    def fallback_steps(self) -> int:
        """Steps in which a solver failed."""
        return sum(self.fallbacks.values())

    @property
    def fallback_share(self) -> float:
        """Share of the steps in which a solver failed."""
        return self.fallback_steps / self.steps if self.steps else 0.0

    def add_replay(self, network: str, day: int, *, violated: bool, binding: bool) -> None:
        """Count one network and step of a day of the run."""
        self.every.setdefault(network, DayTally()).add(day, violated=violated)
        if binding:
            self.binding.setdefault(network, DayTally()).add(day, violated=violated)

    def add_check(self, run_day: int, check: Check) -> None:
        """Count the scenarios of one network and step."""
        for tallies in (self.checked, self.checked_binding) if check.binding else (self.checked,):
            tally = tallies.setdefault(check.network, ScenarioTally())
            tally.add(run_day, check.day.tolist(), check.violated.tolist())

    def add_violations(self, violations: Iterable[Violation]) -> None:
        """Count single violations by cause, and measure them by kind."""
        for violation in violations:
            self.causes[violation.cause] = self.causes.get(violation.cause, 0) + 1
            if isfinite(violation.excess):
                self.excesses.setdefault(violation.kind, Excess()).add(violation.excess)

    @property
    def total_cost_eur(self) -> float:
        """Total operational cost. [EUR]"""
        return sum(self.costs_eur.values())

    @property
    def violated_steps(self) -> int:
        """Network-steps with any violation."""
        return sum(tally.events.total() for tally in self.every.values())

    def delivered(self, rng: np.random.Generator) -> dict[str, Any]:
        """Return delivered violation rates over all and over binding steps."""
        scopes = {"all": self.every, "binding": self.binding}
        return {
            scope: rates(tallies, self.networks, DayTally, rng) for scope, tallies in scopes.items()
        }

    def out_of_sample(self, rng: np.random.Generator) -> dict[str, Any]:
        """Return violation rates of the Monte Carlo checks; empty without checks."""
        if not self.checked:
            return {}
        scopes = {"all": self.checked, "binding": self.checked_binding}
        return {
            scope: rates(tallies, self.networks, ScenarioTally, rng)
            for scope, tallies in scopes.items()
        }


def rates(
    tallies: Mapping[str, T],
    networks: Iterable[str],
    make: Callable[[], T],
    rng: np.random.Generator,
) -> dict[str, Rate]:
    """Rates of all networks together and of each.

    Parameters
    ----------
    tallies : mapping of str to DayTally or ScenarioTally
        Counts of the networks in which anything was counted.
    networks : iterable of str
        All networks.
    make : callable
        Makes a tally that has counted nothing.
    rng : Generator
        Draws the bootstrap samples.
    """
    together = sum(tallies.values(), start=make())
    each = {network: tallies.get(network, make()) for network in networks}
    return {name: tally.summary(rng) for name, tally in {"together": together, **each}.items()}
