"""The page of a run: which sections it has, and in what order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulation.reporting.answers import answers, warnings
from simulation.reporting.audit_sections import audit, origin
from simulation.reporting.blocks import Page, Prose, Section, count
from simulation.reporting.drawing import moment
from simulation.reporting.flow_sections import batteries_and_recourse, energy
from simulation.reporting.grid_sections import feeders_of, maps, most_critical, voltages
from simulation.reporting.market_sections import money, prices
from simulation.reporting.risk_sections import promised_and_delivered

if TYPE_CHECKING:
    from simulation.reporting.base_case import BaseCase
    from simulation.reporting.run_data import RunData


def run_page(run: RunData, base: BaseCase | None = None) -> Page:
    """Compose the report of a run.

    Parameters
    ----------
    run : RunData
        The run.
    base : BaseCase, optional
        What it is compared with.
    """
    s, time = run.summary, run.tables["clearing"].time
    feeders = feeders_of(run)
    chosen = most_critical(feeders)
    left_out = len(run.networks) - len(chosen)
    names = [fed.network for fed in chosen]
    note = ""
    if left_out:
        note = (
            f"Drawn are the {len(chosen)} of {len(run.networks)} networks whose voltages come "
            "closest to a limit; the tables hold all of them."
        )
    sections = [
        maps(feeders, chosen, note),
        voltages(run, chosen, note),
        energy(run, names, note),
        prices(run, names, note),
        promised_and_delivered(run),
        money(run),
        batteries_and_recourse(run, names, note),
        audit(run),
        origin(run),
    ]
    return Page(
        title=f"Run {run.name}" + ("" if run.is_whole else f" ({run.status})"),
        subtitle=(
            f"{moment(time.min())} to {moment(time.max())} UTC, {count(s['n_steps'], 'step')}; "
            f"{count(len(run.networks), 'network')}, {count(len(run.tables['peers']), 'peer')}; "
            f"coordination {str(s.get('coordination')).replace('_', ' ')}, method {s.get('method')}"
        ),
        warnings=warnings(run),
        answers=answers(run, base),
        sections=[with_something(section) for section in sections],
    )


def with_something(section: Section) -> Section:
    """Say so where a section has nothing to show."""
    if section.blocks:
        return section
    return Section(section.key, section.title, [Prose("Nothing of this was recorded in this run.")])
