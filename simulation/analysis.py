"""From the index of an experiment to its table: means, paired differences, pooled rates."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from simulation.daily_rates import pooled as pooled_by_day
from simulation.gains import key_figures
from simulation.intervals import (
    Interval,
    clusters_of,
    mean_interval,
    paired_change,
    ratio_interval,
    scaled,
)
from simulation.stored_value import VALUES
from simulation.strategic_peers import MARKUP
from simulation.streams import stream
from simulation.sweep_index import DESCRIBED, MARKET, VALUED
from simulation.sweeps import references
from simulation.tallies import DayTally, Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from configs.experiment_schema import Experiment


@dataclass(frozen=True)
class Comparison:
    """A difference of costs to report.

    Attributes
    ----------
    name : str
        Such as ``reduction_against_none``.
    sign : int
        1 for additional costs, -1 for reductions.
    reference : dict of str to str
        Label of the treatment that each treatment is compared with, where there is one.
    """

    name: str
    sign: int
    reference: dict[str, str]


def comparisons(experiment: Experiment) -> list[Comparison]:
    """List what an experiment compares with what."""
    out = []
    for kind, sign in (("reduction_against", -1), ("premium_over", 1)):
        earlier: set[str] = set()
        for name, change in getattr(experiment, kind).items():
            pairs = {
                treatment: reference
                for treatment, reference in references(experiment, change).items()
                if treatment not in earlier
            }
            out.append(Comparison(f"{kind}_{name}", sign, pairs))
            if kind == "reduction_against":  # base cases get better and better
                earlier |= set(pairs.values())
    return out


def pooled(runs: pd.DataFrame, scope: str) -> dict[str, Tally]:
    """Add up the violated network-steps of several runs, by network.

    Parameters
    ----------
    runs : DataFrame
        Rows of the index.
    scope : str
        ``all`` or ``binding``.
    """
    prefix = f"steps_{scope}:"
    networks = [c.removeprefix(prefix) for c in runs.columns if c.startswith(prefix)]
    return {
        network: Tally(
            int(runs[f"violated_{scope}:{network}"].sum()),
            int(runs[f"{prefix}{network}"].sum()),
        )
        for network in networks
    }


def worst(tallies: dict[str, Tally]) -> tuple[str | None, Tally]:
    """Return the network with the highest rate, the one with more steps if rates are equal."""
    seen = {network: tally for network, tally in tallies.items() if tally.steps}
    if not seen:
        return None, Tally()
    name = max(seen, key=lambda n: (seen[n].events / seen[n].steps, seen[n].steps))
    return name, seen[name]


def tabulate(
    index: pd.DataFrame,
    compared: Sequence[Comparison],
    gains: pd.DataFrame | None = None,
    counts: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Compute the table of an experiment, one row a treatment.

    Parameters
    ----------
    index : DataFrame
        What :func:`simulation.sweep_index.index` returns; only finished runs count.
    compared : sequence of Comparison
        Differences of the adjusted costs to report.
    gains : DataFrame, optional
        What :func:`simulation.gains.peer_gains` returns; with it the table tells of the market.
    counts : DataFrame, optional
        What :func:`simulation.daily_rates.counts_of_runs` returns; with it violation rates have
        intervals by days.

    Returns
    -------
    DataFrame
        Costs, at tariff and in resources, are means over the replicates, per run; ``_low`` and
        ``_high`` end their 95 % intervals: Student's over the clusters of
        :func:`simulation.intervals.clusters_of`; ``:stored_at_*`` are changes at other values of
        stored energy. Violation rates are pooled over the replicates: violated among all, or
        binding, network-steps; their ``_low`` and ``_high`` are Clopper and Pearson's, which take
        steps as independent, ``_days_low`` and ``_days_high`` those of the bootstrap that resamples
        calendar days, each with the steps of all replicates (see
        :class:`simulation.tallies.DayTally`).
        ``violation_worst`` is that of the network with the highest rate in its binding steps.
        ``out_of_sample`` are the rates of the Monte Carlo checks, with Student's interval over
        the clusters. ``market_`` are means over the replicates; of the ``gains_over_``, too,
        with intervals, but for the worst, which is that of all replicates. Where treatments
        differ in their strategic peers, ``strategy`` and ``strategic_share`` tell which ones and
        how many, and ``markup_day:<n>`` what they ask, means over the replicates.
    """
    finished, clusters = index[index.status == "finished"], clusters_of(index)
    by_treatment = {str(name): runs for name, runs in finished.groupby("treatment", sort=False)}
    strategic = _strategic_peers_differ(finished)
    settings = [c for c in index.columns if c in DESCRIBED or ("." in c and ":" not in c)]
    rows = []
    for treatment, planned in index.groupby("treatment", sort=False):
        runs = finished[finished.treatment == treatment]
        constant = [c for c in settings if planned[c].nunique(dropna=False) == 1]
        row: dict[str, Any] = {"treatment": treatment, **planned.iloc[0][constant]}
        row |= {"runs": len(planned), "finished": len(runs)}
        if len(runs):
            for cost in ("cost", "adjusted_cost", "resource_cost", "adjusted_resource_cost"):
                if f"{cost}_eur" in runs:
                    costs = runs.set_index("replicate")[f"{cost}_eur"]
                    row |= _columns(cost, "eur", mean_interval(costs, clusters))
            row["stored_energy_change_kwh"] = runs.stored_energy_change_kwh.mean()
            for comparison in compared:
                reference = by_treatment.get(comparison.reference.get(str(treatment), ""))
                if reference is not None:
                    row |= _changes(runs, reference, comparison, clusters)
            if strategic:
                row |= _strategic_peers(runs)
            if gains is not None:
                own = gains[gains.treatment == treatment]
                row |= _market(finished, str(treatment), own, clusters)
            row |= _violations(runs, clusters)
            if counts is not None and len(counts):
                row |= _by_days(counts[counts.run_id.isin(runs.run_id)], row)
            for count in ("uncertified_clearings", "fallback_clearings", "clearings", "solves"):
                row[count] = int(runs[count].sum())
            row["seconds_per_day"] = runs.total_s.sum() / runs.days.sum()
        rows.append(row)
    return pd.DataFrame(rows)


def adjusted_cost(runs: pd.DataFrame, cost: str, value: str | None = None) -> pd.Series:
    """Cost of every replicate less the value of what its batteries hold more at the end. [EUR]

    Either cost of the index, at one of :data:`simulation.stored_value.VALUES` or at the one that
    counts; NaN where runs do not tell.
    """
    runs = runs.set_index("replicate")
    nothing = pd.Series(np.nan, index=runs.index)
    if value is None:
        return runs.get(f"adjusted_{cost}", nothing)
    stored = runs.get(f"{VALUED}{value}", nothing) * runs.stored_energy_change_kwh
    return runs.get(cost, nothing) - stored


def _changes(
    runs: pd.DataFrame, reference: pd.DataFrame, comparison: Comparison, clusters: pd.Series
) -> dict[str, float]:
    """Relative changes of both costs against a reference."""

    def change(cost: str, value: str | None) -> Interval:
        own, other = (adjusted_cost(rows, cost, value) for rows in (runs, reference))
        return scaled(paired_change(own, other, clusters), comparison.sign)

    in_resources = f"{comparison.name}_in_resources"
    return {
        **_by_value(comparison.name, "percent", partial(change, "cost_eur")),
        **_by_value(in_resources, "percent", partial(change, "resource_cost_eur")),
    }


def _savings(
    runs: pd.DataFrame, reference: pd.DataFrame, comparison: str, clusters: pd.Series
) -> dict[str, float]:
    """What a treatment saves against a reference, at tariff and in resources. [EUR]"""

    def saved(cost: str, value: str | None) -> Interval:
        own, other = (adjusted_cost(rows, cost, value) for rows in (runs, reference))
        return mean_interval((other - own).dropna(), clusters)

    return {
        **_by_value(f"{comparison}_saved_at_tariff", "eur", partial(saved, "cost_eur")),
        **_by_value(f"{comparison}_saved_resources", "eur", partial(saved, "resource_cost_eur")),
    }


def _by_value(name: str, unit: str, estimate: Callable[[str | None], Interval]) -> dict[str, float]:
    """Name an estimate at the value of stored energy that counts, and its means at others."""
    at = {f"{name}_{unit}:stored_at_{value}": estimate(value).mean for value in VALUES}
    return {**_columns(name, unit, estimate(None)), **at}


def _violations(runs: pd.DataFrame, clusters: pd.Series) -> dict[str, Any]:
    """Violation rates of one treatment."""
    every, binding = pooled(runs, "all"), pooled(runs, "binding")
    network, of_worst = worst(binding)
    tallies = {
        "all": sum(every.values(), start=Tally()),
        "binding": sum(binding.values(), start=Tally()),
        "worst": of_worst,
    }
    out: dict[str, Any] = {"violation_worst_network": network}
    for scope, tally in tallies.items():
        ends = [tally.summary()[key] for key in ("rate", "ci_low", "ci_high")]
        rate = Interval(*(np.nan if end is None else float(end) for end in ends))
        out |= _columns(f"violation_{scope}", "rate", rate)
        out |= {f"violation_{scope}_events": tally.events, f"violation_{scope}_steps": tally.steps}
    for name in ("out_of_sample_all", "out_of_sample_binding"):
        if f"{name}_rate" in runs:
            checked = runs.set_index("replicate")
            scenarios = checked[f"{name}_scenarios"]
            # A replicate in which nothing binds has no rate.
            violated = (checked[f"{name}_rate"] * scenarios).fillna(0.0)
            rate_of = ratio_interval(violated, scenarios, clusters)
            low, high = np.clip([rate_of.low, rate_of.high], 0, 1)
            out |= _columns(name, "rate", Interval(rate_of.mean, low, high))
    return out


def _by_days(counts: pd.DataFrame, row: dict[str, Any]) -> dict[str, float]:
    """Intervals by days of one treatment's violation rates."""
    every, binding = pooled_by_day(counts, "all"), pooled_by_day(counts, "binding")
    tallies = {
        "all": sum(every.values(), start=DayTally()),
        "binding": sum(binding.values(), start=DayTally()),
        "worst": binding.get(row["violation_worst_network"], DayTally()),
    }
    out: dict[str, float] = {}
    for scope, tally in tallies.items():
        low, high = tally.interval(stream(0, "violations", str(row["treatment"]), scope))
        name = f"violation_{scope}_rate_days"
        out |= {
            f"{name}_{end}": np.nan if at is None else at
            for end, at in (("low", low), ("high", high))
        }
    return out


def _strategic_peers_differ(runs: pd.DataFrame) -> bool:
    """Whether runs of the same replicate differ in their strategic peers."""
    if "strategic_share" not in runs:
        return False
    told = runs.groupby("replicate")[["strategy", "strategic_share"]]
    return bool((told.nunique() > 1).any(axis=None))


def _strategic_peers(runs: pd.DataFrame) -> dict[str, Any]:
    """Which peers are strategic under one treatment, and the mark-ups that they choose."""
    markups = runs.filter(regex=f"^{MARKUP}")
    return {
        "strategy": runs.strategy.iloc[0],
        "strategic_share": float(runs.strategic_share.mean()),
        **{str(column): float(markups[column].mean()) for column in markups},
    }


def _market(
    finished: pd.DataFrame, treatment: str, gains: pd.DataFrame, clusters: pd.Series
) -> dict[str, Any]:
    """Key figures of the market under one treatment, what it saves, and who gains by it."""
    own = finished[finished.treatment == treatment]
    runs = own.filter(regex=f"^{MARKET}")
    out: dict[str, Any] = {str(column): float(runs[column].mean()) for column in runs}
    for (comparison, reference), rows in gains.groupby(["comparison", "reference"], sort=False):
        other = finished[finished.treatment == str(reference)]
        out |= _savings(own, other, str(comparison), clusters)
        by_run = pd.DataFrame({k: key_figures(run) for k, run in rows.groupby("replicate")}).T
        out[f"{comparison}_worst_eur"] = by_run.pop("worst_eur").min()
        worst_off = rows.loc[rows.gain_eur.astype(float).idxmin()]
        out[f"{comparison}_worst_peer"] = f"{worst_off.peer_id} ({worst_off.kind})"
        for name, values in by_run.items():
            out |= _columns(str(comparison), str(name), mean_interval(values.dropna(), clusters))
    return out


def _columns(name: str, unit: str, interval: Interval) -> dict[str, float]:
    """Name a mean and the ends of its interval."""
    return {
        f"{name}_{unit}": interval.mean,
        f"{name}_{unit}_low": interval.low,
        f"{name}_{unit}_high": interval.high,
    }
