"""Key figures of a run, gathered step by step."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import binomtest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from grid.violations import MissedLimit
    from market.exchange import Coordination
    from simulation.records import Check

CONFIDENCE = 0.95
REPLICATES = 2000
"""Bootstrap samples of an interval."""


@dataclass
class Tally:
    """Violated among observed network-steps."""

    events: int = 0
    steps: int = 0

    def add(self, *, violated: bool) -> None:
        """Count one network and step."""
        self.steps += 1
        self.events += violated

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.events + other.events, self.steps + other.steps)

    def summary(self) -> dict[str, float | int | None]:
        """Return rate and exact (Clopper and Pearson, Biometrika 26, 1934) 95 % interval."""
        if not self.steps:
            return {"events": 0, "steps": 0, "rate": None, "ci_low": None, "ci_high": None}
        interval = binomtest(self.events, self.steps).proportion_ci(CONFIDENCE, method="exact")
        return {
            "events": self.events,
            "steps": self.steps,
            "rate": self.events / self.steps,
            "ci_low": float(interval.low),
            "ci_high": float(interval.high),
        }


@dataclass
class ScenarioTally:
    """Violated among checked scenarios, by day of the run and day of the error.

    Scenarios of one step share a schedule, and those of one error day share the weather, in every
    step that draws on that day. So the interval is that of the pigeonhole bootstrap [1]_, which
    resamples both kinds of days, each with replacement.

    References
    ----------
    .. [1] A. B. Owen, The pigeonhole bootstrap, Annals of Applied Statistics 1(2), 2007,
       doi:10.1214/07-AOAS122.
    """

    network_steps: int = 0
    events: Counter[tuple[int, int]] = field(default_factory=Counter)
    scenarios: Counter[tuple[int, int]] = field(default_factory=Counter)

    def add(self, run_day: int, error_day: Iterable[int], violated: Iterable[bool]) -> None:
        """Count the scenarios of one network and step."""
        self.network_steps += 1
        for day, event in zip(error_day, violated, strict=True):
            self.scenarios[run_day, int(day)] += 1
            if event:
                self.events[run_day, int(day)] += 1

    def __add__(self, other: ScenarioTally) -> ScenarioTally:
        out = ScenarioTally(self.network_steps + other.network_steps)
        for tally in (self, other):
            out.events.update(tally.events)
            out.scenarios.update(tally.scenarios)
        return out

    def summary(self, rng: np.random.Generator) -> dict[str, float | int | None]:
        """Return rate and bootstrap 95 % interval.

        Without any event (or with nothing else) there is nothing to resample. Then the far end is
        that of Clopper and Pearson with every error day as one trial: a day with at least one
        event is at least as probable as a scenario is to be one.
        """
        total, n = self.events.total(), self.scenarios.total()
        out: dict[str, float | int | None] = {
            "network_steps": self.network_steps,
            "scenarios": n,
            "rate": None,
            "ci_low": None,
            "ci_high": None,
        }
        if n:
            low, high = self._interval(rng) if 0 < total < n else self._interval_of_days(total)
            out |= {"rate": total / n, "ci_low": low, "ci_high": high}
        return out

    def _interval(self, rng: np.random.Generator) -> tuple[float, float]:
        run_day, error_day = (sorted(set(days)) for days in zip(*self.scenarios, strict=True))
        events, scenarios = (
            np.array([[count[r, e] for e in error_day] for r in run_day], dtype=float)
            for count in (self.events, self.scenarios)
        )
        of_run, of_error = (
            rng.multinomial(m, np.full(m, 1 / m), REPLICATES) for m in scenarios.shape
        )
        drawn = ((of_run @ scenarios) * of_error).sum(axis=1)
        rate = ((of_run @ events) * of_error).sum(axis=1)[drawn > 0] / drawn[drawn > 0]
        low, high = np.quantile(rate, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        return float(low), float(high)

    def _interval_of_days(self, total: int) -> tuple[float, float]:
        n_days = len({error_day for _, error_day in self.scenarios})
        days = binomtest(n_days if total else 0, n_days).proportion_ci(CONFIDENCE, method="exact")
        return float(days.low), float(days.high)


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
    certificates : list of float
        Certified violation probabilities of the steps in which a grid limit binds.
    every, binding : dict of str to Tally
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
    certificates: list[float] = field(default_factory=list)
    every: dict[str, Tally] = field(default_factory=dict)
    binding: dict[str, Tally] = field(default_factory=dict)
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

    def add_replay(self, network: str, *, violated: bool, binding: bool) -> None:
        """Count one network and step."""
        self.every.setdefault(network, Tally()).add(violated=violated)
        tally = self.binding.setdefault(network, Tally())
        if binding:
            tally.add(violated=violated)

    def add_check(self, run_day: int, check: Check) -> None:
        """Count the scenarios of one network and step."""
        for tallies in (self.checked, self.checked_binding) if check.binding else (self.checked,):
            tally = tallies.setdefault(check.network, ScenarioTally())
            tally.add(run_day, check.day.tolist(), check.violated.tolist())

    def add_causes(self, causes: Iterable[str]) -> None:
        """Count single violations by cause."""
        for cause in causes:
            self.causes[cause] = self.causes.get(cause, 0) + 1

    @property
    def total_cost_eur(self) -> float:
        """Total operational cost. [EUR]"""
        return sum(self.costs_eur.values())

    @property
    def violated_steps(self) -> int:
        """Network-steps with any violation."""
        return sum(tally.events for tally in self.every.values())

    def delivered(self) -> dict[str, Any]:
        """Return delivered violation rates over all and over binding steps."""
        out: dict[str, Any] = {}
        for name, tallies in (("all", self.every), ("binding", self.binding)):
            together = sum(tallies.values(), start=Tally())
            out[name] = {
                "together": together.summary(),
                **{network: tallies.get(network, Tally()).summary() for network in self.networks},
            }
        return out

    def out_of_sample(self, rng: np.random.Generator) -> dict[str, Any]:
        """Return violation rates of the Monte Carlo checks; empty without checks."""
        if not self.checked:
            return {}
        out: dict[str, Any] = {}
        for name, tallies in (("all", self.checked), ("binding", self.checked_binding)):
            together = sum(tallies.values(), start=ScenarioTally())
            out[name] = {
                "together": together.summary(rng),
                **{
                    network: tallies.get(network, ScenarioTally()).summary(rng)
                    for network in self.networks
                },
            }
        return out
