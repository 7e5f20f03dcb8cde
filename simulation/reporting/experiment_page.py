"""The page of an experiment: which sections it has, and in what order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulation.reporting import experiment_sections as sections_of
from simulation.reporting.blocks import Page, count
from simulation.reporting.experiment_answers import answers, warnings

if TYPE_CHECKING:
    from simulation.reporting.experiment_data import ExperimentData


def experiment_page(data: ExperimentData) -> Page:
    """Compose the report of an experiment."""
    sections = [
        sections_of.costs(data),
        sections_of.promise(data),
        sections_of.frontier(data),
        sections_of.gains(data),
        sections_of.effects(data),
    ]
    sections = [section for section in sections if section.blocks]
    sections += [sections_of.treatments(data), sections_of.runs(data), sections_of.origin(data)]
    replicates = data.index.replicate.nunique()
    return Page(
        title=f"Experiment {data.name}",
        subtitle=f"{count(len(data.table), 'treatment')} with finished runs, "
        f"{count(replicates, 'replicate')}, {count(len(data.index), 'run')}",
        warnings=warnings(data),
        answers=answers(data),
        sections=sections,
    )
