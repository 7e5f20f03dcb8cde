"""Violations among what was observed, and the intervals of their rates."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import binomtest, norm, t

if TYPE_CHECKING:
    from collections.abc import Iterable

    Rate = dict[str, float | int | None]
    """A rate with its counts and intervals."""

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

    def summary(self) -> Rate:
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
class DayTally:
    """Violated among observed network-steps, by day.

    Steps of one day share weather and stored energy: violations come in rows, and the interval of
    Clopper and Pearson, which takes steps as independent, is too narrow. So the days are resampled,
    too [1]_: with replacement, each with all of its steps. Percentiles of few days are too narrow,
    and are expanded as Student's interval is against the normal one [2]_.

    References
    ----------
    .. [1] H. R. Künsch, The jackknife and the bootstrap for general stationary observations, Annals
       of Statistics 17(3), 1989, doi:10.1214/aos/1176347265.
    .. [2] T. C. Hesterberg, What teachers should know about the bootstrap, The American
       Statistician 69(4), 2015, doi:10.1080/00031305.2015.1089789.
    """

    events: Counter[tuple[int]] = field(default_factory=Counter)
    steps: Counter[tuple[int]] = field(default_factory=Counter)

    def add(self, day: int, *, violated: bool) -> None:
        """Count one network and step."""
        self.add_day(day, int(violated), 1)

    def add_day(self, day: int, events: int, steps: int) -> None:
        """Count network-steps of one day."""
        self.steps[(day,)] += steps
        if events:
            self.events[(day,)] += events

    def __add__(self, other: DayTally) -> DayTally:
        out = DayTally()
        for tally in (self, other):
            out.events.update(tally.events)
            out.steps.update(tally.steps)
        return out

    def total(self) -> Tally:
        """Return the counts of all days."""
        return Tally(self.events.total(), self.steps.total())

    def summary(self, rng: np.random.Generator) -> Rate:
        """Return what :meth:`Tally.summary` tells, and the 95 % interval by days."""
        low, high = self.interval(rng)
        return {**self.total().summary(), "ci_days_low": low, "ci_days_high": high}

    def interval(self, rng: np.random.Generator) -> tuple[float | None, float | None]:
        r"""Return the block-bootstrap 95 % interval of the rate, whose blocks are the days.

        Its ends are the quantiles of the bootstrap samples at the levels q and 1 - q,

        .. math:: q = \Phi\big(-\sqrt{n / (n - 1)} \; t_{0.975,\,n-1}\big) ,

        with n days.

        Without any event (or with nothing else) there is nothing to resample: then days are the
        trials, see :func:`days_as_trials`. A single day with some of its steps violated tells
        nothing of other days: from 0 to 1. No step, no interval.
        """
        total, n_days = self.total(), len(self.steps)
        if not total.steps:
            return None, None
        if total.events in (0, total.steps):
            return days_as_trials(n_days, violated=total.events > 0)
        if n_days == 1:
            return 0.0, 1.0
        events, steps = (
            np.array([count[day] for day in self.steps], dtype=float)
            for count in (self.events, self.steps)
        )
        drawn = rng.multinomial(n_days, np.full(n_days, 1 / n_days), REPLICATES)
        rates = (drawn @ events) / (drawn @ steps)
        level = norm.cdf(-np.sqrt(n_days / (n_days - 1)) * t.ppf(0.5 + CONFIDENCE / 2, n_days - 1))
        low, high = np.quantile(rates, [level, 1 - level])
        return float(low), float(high)


def days_as_trials(n_days: int, *, violated: bool) -> tuple[float, float]:
    """Clopper and Pearson's interval of days on which nothing, or everything, was violated.

    A day with at least one event is at least as probable as a step is to be one: so the far end
    holds for the rate of steps.
    """
    days = binomtest(n_days * violated, n_days).proportion_ci(CONFIDENCE, method="exact")
    return float(days.low), float(days.high)


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

    def summary(self, rng: np.random.Generator) -> Rate:
        """Return rate and bootstrap 95 % interval.

        Without any event (or with nothing else) there is nothing to resample. Then the far end is
        that of Clopper and Pearson with every error day as one trial: a day with at least one
        event is at least as probable as a scenario is to be one.
        """
        total, n = self.events.total(), self.scenarios.total()
        out: Rate = {
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
        return days_as_trials(len({day for _, day in self.scenarios}), violated=total > 0)
