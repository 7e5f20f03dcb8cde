"""Sections of a run's report on its networks: maps and voltages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simulation.reporting.blocks import (
    Picture,
    Prose,
    Section,
    Table,
    count,
    number,
    number_cell,
    text_cell,
)
from simulation.reporting.drawing import moment
from simulation.reporting.grid_figures import feeder_map, voltage_map
from simulation.reporting.grid_views import Feeder, feeder, voltage_grid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulation.reporting.run_data import RunData

MOST_NETWORKS = 8
"""Networks that are drawn one by one."""
_SMALL_FROM = 5
"""From so many maps on they are drawn side by side."""


def feeders_of(run: RunData) -> list[Feeder]:
    """Gather all networks."""
    return [feeder(run, name) for name in run.networks]


def most_critical(feeders: Sequence[Feeder]) -> list[Feeder]:
    """Pick the networks to draw, in their order: those whose voltages come closest to a limit."""
    if len(feeders) <= MOST_NETWORKS:
        return list(feeders)
    worst = sorted(feeders, key=_margin)[:MOST_NETWORKS]
    return [fed for fed in feeders if fed in worst]


def _margin(fed: Feeder) -> float:
    return np.inf if fed.worst is None else float(fed.worst.margin_pu)


def maps(feeders: Sequence[Feeder], chosen: Sequence[Feeder], note: str) -> Section:
    """Maps of the networks."""
    blocks: list[Picture | Table | Prose] = [Prose(note)] if note else []
    blocks += [
        Picture(
            f"Network {fed.network}",
            feeder_map(fed),
            _seen(fed),
            "Every dot is a bus; it stands as many columns from the substation (square) as there "
            "are lines between them, rows only keep branches apart. Colour: the voltage over the "
            "run that came closest to a limit of its bus, or went farthest beyond it; red is high, "
            "blue low, pale about 1 p.u. Rings mark buses whose voltage limit was violated, thick "
            "lines a rating exceeded.",
            small=len(chosen) >= _SMALL_FROM,
        )
        for fed in chosen
    ]
    return Section("maps", "Feeder maps", [*blocks, _table(feeders)])


def _seen(fed: Feeder) -> str:
    """Say what the map of a network shows."""
    worst = fed.worst
    if worst is None:
        return f"No voltage of {fed.network} was recorded."
    hit = int((fed.buses.n_violations > 0).sum())
    over = sum(load > 100 for load in fed.loading.values())
    beyond = "beyond its limit" if worst.margin_pu < 0 else "within its limits"
    return (
        f"The worst voltage is {worst.vm_pu:.4f} p.u. at bus {worst.name} on {moment(worst.time)} "
        f"UTC, {abs(worst.margin_pu):.4f} p.u. {beyond}; {hit or 'none'} of "
        f"{len(fed.buses) - 1} buses "
        f"violated a voltage limit, {over or 'none'} of {len(fed.parent)} lines their rating."
    )


def _table(feeders: Sequence[Feeder]) -> Table:
    rows = []
    for fed in feeders:
        seen = fed.buses[fed.buses.margin_pu.notna()]
        worst = fed.worst
        loads = [load for load in fed.loading.values() if np.isfinite(load)]
        rows.append(
            [
                text_cell(fed.network),
                number_cell(len(fed.buses)),
                number_cell(seen.vm_pu.min() if len(seen) else None, ".4f"),
                number_cell(seen.vm_pu.max() if len(seen) else None, ".4f"),
                text_cell(None if worst is None else worst.name),
                number_cell(None if worst is None else worst.margin_pu, ".4f"),
                number_cell(float((fed.buses.n_violations > 0).sum())),
                number_cell(max(loads, default=None), ".0f"),
            ]
        )
    heads = [
        "network",
        "buses",
        "lowest of the worst voltages [p.u.]",
        "highest of the worst voltages [p.u.]",
        "worst bus",
        "its margin [p.u.]",
        "buses violated",
        "largest line loading [%]",
    ]
    return Table(
        "Networks",
        heads,
        rows,
        "The worst voltage of a bus is the one closest to its limits or farthest beyond them; a "
        "negative margin lies beyond.",
    )


def voltages(run: RunData, chosen: Sequence[Feeder], note: str) -> Section:
    """Voltages over time and bus."""
    blocks: list[Picture | Prose] = [Prose(note)] if note else []
    for fed in chosen:
        if fed.worst is None:
            continue
        grid = voltage_grid(run, fed)
        worst = fed.worst
        beyond = int(run.of("violations", fed.network).step.nunique())
        whole = np.isclose(grid.hours, run.step_hours)
        cell = (
            "the voltage of a bus in one step"
            if whole
            else (
                f"the worst voltage of a bus in {grid.hours:g} hours (longer periods keep the page "
                "small)"
            )
        )
        blocks.append(
            Picture(
                f"Voltages of {fed.network}",
                voltage_map(fed, grid),
                f"Voltages come closest to a limit at bus {worst.name} on {moment(worst.time)} "
                f"UTC ({number(worst.vm_pu, '.4f')} p.u.); {count(beyond, 'step')} of this "
                "network had a violation of any kind.",
                f"A cell is {cell}, as the AC power flow gives it. Buses follow the branches of "
                "the map from the substation (top) outwards; colours are those of the map.",
            )
        )
    return Section("voltages", "Voltages over time", blocks)
