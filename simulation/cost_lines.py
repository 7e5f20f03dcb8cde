"""The two costs of a run for the terminal: what is paid, what is used up, what lies between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def cost_lines(summary: Mapping[str, Any]) -> list[str]:
    """Format cost at tariff, resource cost and the transfers that lead from one to the other."""
    blocks = (
        ("cost at tariff", "total_operational_cost_eur", "costs_by_component_eur"),
        ("resource cost", "resource_cost_eur", "resource_costs_by_component_eur"),
    )
    lines = []
    for words, total, parts in blocks:
        lines.append(f"{words:<24}{summary[total]:>z14,.2f} EUR")
        lines += _amounts(summary[parts])
    transfers = summary["transfers_eur"]
    total = sum(transfers.values())
    return [*lines, f"{'transfers between them':<24}{total:>z14,.2f} EUR", *_amounts(transfers)]


def _amounts(parts: Mapping[str, float]) -> list[str]:
    """Format amounts by name."""
    return [f"  {name:<22}{amount:>z14,.2f} EUR" for name, amount in parts.items()]
