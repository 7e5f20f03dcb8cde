"""Key figures of a run that did not come to its end, from the tables it left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from market.acceptance import largest_kept
from simulation.daily_rates import daily_counts, pooled
from simulation.streams import stream
from simulation.tallies import DayTally

if TYPE_CHECKING:
    from collections.abc import Mapping


def summary_of_tables(
    tables: Mapping[str, pd.DataFrame], config: Mapping[str, Any]
) -> dict[str, Any]:
    """Compute the key figures that the tables tell, under the names of ``summary.json``.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        See :func:`simulation.reporting.stored_tables.read_tables`.
    config : mapping
        The configuration.
    """
    clearing, trades, costs = tables["clearing"], tables["trades"], tables["costs"]
    by_component = costs.groupby("component", observed=True, sort=False).amount_eur.sum()
    across = trades.crosses_networks.to_numpy(dtype=bool)
    certificates = clearing.certified_violation_probability[clearing.binding.astype(bool)]
    market = config["market"]
    promised = float(market.get("risk_level", np.nan))
    failed = clearing[clearing.fallback.notna() & (clearing.fallback != "")]
    steps = failed.drop_duplicates("step")
    return {
        "n_steps": int(clearing.step.nunique()),
        "n_peers": len(tables["peers"]),
        "method": market.get("method"),
        "coordination": market.get("coordination"),
        "total_operational_cost_eur": float(costs.amount_eur.sum()),
        "costs_by_component_eur": {str(k): float(v) for k, v in by_component.items()},
        **_resources(tables["resource_costs"], tables["transfers"]),
        "energy_traded_within_kwh": float(trades.energy_kwh[~across].sum()),
        "energy_traded_across_kwh": float(trades.energy_kwh[across].sum()),
        "promised_violation_probability": promised,
        "certificate_where_binding": {
            "n": int(certificates.notna().sum()),
            **{name: _number(certificates.agg(name)) for name in ("median", "min", "max")},
        },
        "delivered_violation": _delivered(
            clearing, tables["violations"], int(config.get("seed", 0))
        ),
        "out_of_sample": {},
        "violations_by_cause": {
            str(k): int(n) for k, n in tables["violations"].cause.value_counts().items() if n
        },
        "violation_excess": _excess(tables["violations"]),
        "clearings": int(clearing.step.nunique()),
        "uncertified_clearings": int(_unkept(clearing, promised).sum()),
        "fallback_steps": len(steps),
        "fallbacks": {str(k): int(n) for k, n in steps.fallback.value_counts().items() if n},
    }


def _resources(costs: pd.DataFrame, transfers: pd.DataFrame) -> dict[str, Any]:
    """Sum up the resource cost and the transfers; nothing of a run of an earlier version."""
    if costs.empty:
        return {}
    by_component = costs.groupby("component", observed=True, sort=False).amount_eur.sum()
    by_name = transfers.groupby("transfer", observed=True, sort=False).amount_eur.sum()
    return {
        "resource_cost_eur": float(by_component.sum()),
        "resource_costs_by_component_eur": {str(k): float(v) for k, v in by_component.items()},
        "transfers_eur": {str(k): float(v) for k, v in by_name.items()},
    }


def _unkept(clearing: pd.DataFrame, promised: float) -> pd.Series[bool]:
    """Network-steps whose promise is not kept; runs of earlier versions tell certificates only."""
    if "promise" in clearing:
        return clearing.promise != "kept"
    return clearing.certified_violation_probability > largest_kept(promised)


def _delivered(clearing: pd.DataFrame, violations: pd.DataFrame, seed: int) -> dict[str, Any]:
    """Violated network-steps over all and over binding ones, with intervals."""
    counts, rng = daily_counts(clearing, violations), stream(seed, "delivered")
    out: dict[str, Any] = {}
    for scope in ("all", "binding"):
        tallies = pooled(counts, scope)
        tallies = {"together": sum(tallies.values(), start=DayTally()), **tallies}
        out[scope] = {name: tally.summary(rng) for name, tally in tallies.items()}
    return out


def _excess(violations: pd.DataFrame) -> dict[str, dict[str, float]]:
    """How far violations exceed their limits, by kind; those of a failed power flow do not tell."""
    found = violations.dropna(subset=["excess"]).groupby("kind", observed=True).excess
    return {
        str(kind): {"n": len(of), "mean_pu": float(of.mean()), "largest_pu": float(of.max())}
        for kind, of in found
    }


def _number(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)
