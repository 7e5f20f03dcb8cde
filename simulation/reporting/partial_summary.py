"""Key figures of a run that did not come to its end, from the tables it left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from market.acceptance import CERTIFICATE_TOLERANCE
from simulation.kpis import Tally

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
        "delivered_violation": _delivered(clearing, tables["violations"]),
        "out_of_sample": {},
        "violations_by_cause": {
            str(k): int(n) for k, n in tables["violations"].cause.value_counts().items() if n
        },
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
    return clearing.certified_violation_probability > promised + CERTIFICATE_TOLERANCE


def _delivered(clearing: pd.DataFrame, violations: pd.DataFrame) -> dict[str, Any]:
    """Violated network-steps over all and over binding ones, with exact intervals."""
    place = ["step", "network"]
    seen = clearing[[*place, "binding"]].astype({"network": str})
    hit = violations[place].astype({"network": str}).drop_duplicates().assign(violated=True)
    seen = seen.merge(hit, on=place, how="left")
    seen["violated"] = seen.violated.notna()
    out: dict[str, Any] = {}
    for scope, rows in (("all", seen), ("binding", seen[seen.binding.astype(bool)])):
        groups = {"together": rows}
        groups |= {name: rows[rows.network == name] for name in seen.network.unique()}
        out[scope] = {
            name: Tally(int(group.violated.sum()), len(group)).summary()
            for name, group in groups.items()
        }
    return out


def _number(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)
