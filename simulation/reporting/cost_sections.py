"""The two costs of a run, and the transfers that lead from one to the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulation.reporting.blocks import Picture, Table, number, number_cell, text_cell
from simulation.reporting.market_figures import cost_figure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulation.reporting.run_data import RunData

_NOTES = {
    "cost at tariff": "What the community pays at the supplier's prices, also called total "
    "operational cost; network fees and recourse capacity move between actors and use up nothing.",
    "resource cost": "What is used up: energy through the substations at the wholesale price in "
    "either direction, losses apart, fuel, wear and discomfort. Levies, taxes, margins, fees and "
    "payments between actors are left out.",
}
_PARTS = {
    "cost at tariff": ("total_operational_cost_eur", "costs_by_component_eur"),
    "resource cost": ("resource_cost_eur", "resource_costs_by_component_eur"),
}


def cost_blocks(run: RunData) -> list[Picture | Table]:
    """Show both costs by component, and the bridge between them."""
    blocks: list[Picture | Table] = []
    for words, (total, parts) in _PARTS.items():
        costs = {str(name): float(eur) for name, eur in run.summary.get(parts, {}).items()}
        if not costs:  # of a run of an earlier version
            continue
        first = max(costs, key=lambda name: costs[name])
        blocks.append(
            Picture(
                f"What the {words} consists of",
                cost_figure(costs),
                f"The largest part is {first.replace('_', ' ')}, {number(costs[first])} of "
                f"{number(run.summary[total])} EUR.",
                _NOTES[words],
            )
        )
    if run.summary.get("transfers_eur"):
        blocks.append(_bridge(run.summary))
    return blocks


def _bridge(summary: Mapping[str, Any]) -> Table:
    """List what leads from the resource cost to the cost at tariff."""
    amounts = {"resource cost": summary["resource_cost_eur"], **summary["transfers_eur"]}
    rows = [
        [text_cell(name.replace("_", " ")), number_cell(float(eur), ",.2f")]
        for name, eur in amounts.items()
    ]
    total = float(summary["total_operational_cost_eur"])
    foot = [text_cell("cost at tariff"), number_cell(total, ",.2f")]
    note = (
        "Transfers: what the supplier charges, and pays, above the wholesale price, network fees "
        "and recourse capacity. The tables resource_costs, transfers and costs hold every step."
    )
    title = "From the resource cost to the cost at tariff"
    return Table(title, ["part", "amount [EUR]"], rows, note, foot)
