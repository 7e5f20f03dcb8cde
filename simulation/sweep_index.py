"""One table of all runs of an experiment: status, settings, key figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from simulation.run_folders import read_summary, status
from simulation.stored_value import STORED_VALUE
from simulation.strategic_peers import in_words, strategic_peers
from simulation.sweeps import as_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from configs.schema import ScenarioConfig
    from simulation.sweeps import Run

DESCRIBED = dict.fromkeys(
    (
        "market.coordination",
        "market.method",
        "market.risk_level",
        "market.radius_rule",
        "market.radius",
        "forecast.perfect_foresight",
        "seed",
        "start",
        "days",
    )
)
"""Settings that stand in the index whether they are varied or not."""
MARKET = "market_"
"""How the columns of the market's key figures begin."""
VALUED = "stored_energy_value:"
"""How the columns of the values of stored energy begin."""


def index(runs: Sequence[Run], folder: Path, stored_energy_value: dict[str, float]) -> pd.DataFrame:
    """Gather status, settings and key figures of all runs, one row each.

    Parameters
    ----------
    runs : sequence of Run
        The planned runs.
    folder : Path
        Folder of all runs.
    stored_energy_value : dict of str to float
        What :func:`check` returns. [EUR/kWh]

    Returns
    -------
    DataFrame
        ``cost_eur`` is the cost at tariff, ``adjusted_cost_eur`` is it less the value of what the
        batteries hold more at the end than at the start, and so is ``adjusted_resource_cost_eur``
        of ``resource_cost_eur``; ``stored_energy_value:*`` are other values by which they might
        be adjusted, ``transfer:*`` lead from the resource cost to the cost at tariff.
        ``violated_*`` and ``steps_*`` count network-steps in the AC replay,
        over all and over those in which a grid limit binds; ``out_of_sample_*`` are rates over the
        scenarios of the Monte Carlo checks, if there are any; ``market_*`` are what
        :func:`simulation.market_kpis.market_kpis` tells; strategic peers are told of as
        in :func:`simulation.strategic_peers.strategic_peers`.
    """
    rows = []
    varied = dict.fromkeys(place for run in runs for place in run.settings)
    for run in runs:
        state = status(folder / run.id)
        row: dict[str, Any] = {
            "run_id": run.id,
            "treatment": run.treatment,
            "replicate": run.replicate,
            "status": state,
            "error": _last_line(folder / run.id / "error.txt"),
        }
        row |= {place: _cell(_setting(run.config, place)) for place in DESCRIBED | varied}
        summary = read_summary(folder / run.id) if state == "finished" else None
        if summary is not None:
            row |= figures(summary, stored_energy_value[run.id])
            row |= strategic_peers(folder / run.id)
        rows.append(row)
    table = pd.DataFrame(rows)
    for column in table.select_dtypes("object"):
        kinds = {type(value) for value in table[column].dropna()}
        if len(kinds) > 1:  # Parquet columns have one type
            table[column] = table[column].map(as_text)
    return table


def figures(summary: dict[str, Any], stored_energy_value: float) -> dict[str, float]:
    """Pick the key figures of a run for the index.

    Parameters
    ----------
    summary : dict
        Content of ``summary.json``.
    stored_energy_value : float
        Value of stored energy. [EUR/kWh]
    """
    cost, stored = summary["total_operational_cost_eur"], summary["stored_energy_change_kwh"]
    # Runs of an earlier version do not tell of resources and of the market.
    resources = summary.get("resource_cost_eur", float("nan"))
    out = {
        "cost_eur": cost,
        "resource_cost_eur": resources,
        "stored_energy_change_kwh": stored,
        "stored_energy_value_eur_per_kwh": stored_energy_value,
        "adjusted_cost_eur": cost - stored_energy_value * stored,
        "adjusted_resource_cost_eur": resources - stored_energy_value * stored,
        "traded_within_kwh": summary["energy_traded_within_kwh"],
        "traded_across_kwh": summary["energy_traded_across_kwh"],
        "renewable_curtailed_kwh": summary["renewable_curtailed_kwh"],
        "clearings": summary["clearings"],
        "solves": summary["solves"],
        "uncertified_clearings": summary["uncertified_clearings"],
        "fallback_clearings": summary["fallback_clearings"],
        "certificate_median": summary["certificate_where_binding"]["median"],
        "solver_s": summary["seconds"]["solver"],
        "total_s": summary["seconds"]["total"],
    }
    out |= {f"{VALUED}{name}": value for name, value in summary.get(STORED_VALUE, {}).items()}
    out |= {f"transfer:{name}": eur for name, eur in summary.get("transfers_eur", {}).items()}
    out |= _market(summary.get("market", {}))
    for scope, tallies in summary["delivered_violation"].items():
        for network, tally in tallies.items():
            if network != "together":
                out[f"violated_{scope}:{network}"] = tally["events"]
                out[f"steps_{scope}:{network}"] = tally["steps"]
    for scope, checks in summary["out_of_sample"].items():
        out[f"out_of_sample_{scope}_rate"] = checks["together"]["rate"]
        out[f"out_of_sample_{scope}_scenarios"] = checks["together"]["scenarios"]
    return out


def _market(block: dict[str, Any], prefix: str = MARKET) -> dict[str, float]:
    """Flatten the market's key figures; what belongs to a member stands behind a colon."""
    out: dict[str, float] = {}
    for name, value in block.items():
        if isinstance(value, dict):
            out |= _market(value, f"{prefix}{name}:")
        elif not isinstance(value, str):
            out[f"{prefix}{name}"] = float("nan") if value is None else float(value)
    return out


def _last_line(file: Path) -> str | None:
    """Last line of a traceback: the error itself."""
    try:
        return file.read_text(encoding="utf-8").strip().splitlines()[-1]
    except (OSError, IndexError):
        return None


def _setting(config: ScenarioConfig, place: str) -> Any:
    """Read a setting by its place; none where a run has no such place."""
    if place == "strategies":
        return in_words(config.strategies)
    value: Any = config.model_dump(mode="json")
    for key in place.split("."):
        if isinstance(value, list):
            entries = {str(number): entry for number, entry in enumerate(value)}
            entries |= {entry["name"]: entry for entry in value if "name" in entry}
            value = entries
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _cell(value: Any) -> Any:
    """Return a value that a table can hold."""
    return value if isinstance(value, bool | int | float | str) else as_text(value)
