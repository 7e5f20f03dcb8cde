"""Key figures of a run, gathered step by step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scipy.stats import binomtest

if TYPE_CHECKING:
    from collections.abc import Iterable

CONFIDENCE = 0.95


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
    curtailed_kwh, renewable_available_kwh : float
        Renewable energy not used, and all there was. [kWh]
    load_kwh : float
        Served load. [kWh]
    uncertified : int
        Network-steps whose certificate exceeds the promise.
    fallbacks : dict of str to int
        Degraded clearings by name.
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
    """

    networks: tuple[str, ...]
    costs_eur: dict[str, float] = field(default_factory=dict)
    within_kwh: float = 0.0
    across_kwh: float = 0.0
    curtailed_kwh: float = 0.0
    renewable_available_kwh: float = 0.0
    load_kwh: float = 0.0
    uncertified: int = 0
    fallbacks: dict[str, int] = field(default_factory=dict)
    clearings: int = 0
    passes: int = 0
    rejected_bids: int = 0
    causes: dict[str, int] = field(default_factory=dict)
    certificates: list[float] = field(default_factory=list)
    every: dict[str, Tally] = field(default_factory=dict)
    binding: dict[str, Tally] = field(default_factory=dict)

    def add_costs(self, costs: dict[str, float]) -> None:
        """Add the costs of a step by component. [EUR]"""
        for component, amount in costs.items():
            self.costs_eur[component] = self.costs_eur.get(component, 0.0) + amount

    def add_replay(self, network: str, *, violated: bool, binding: bool) -> None:
        """Count one network and step."""
        self.every.setdefault(network, Tally()).add(violated=violated)
        tally = self.binding.setdefault(network, Tally())
        if binding:
            tally.add(violated=violated)

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
