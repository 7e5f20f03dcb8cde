"""Writes the main figures of a run to print: PDF, SVG and PNG in one style and width."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl

from simulation.atomic import replacing
from simulation.figure_parts import STYLE
from simulation.reporting import print_figures
from simulation.reporting.grid_sections import feeders_of, most_critical

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from simulation.reporting.grid_views import Feeder
    from simulation.reporting.run_data import RunData

FORMATS = ("pdf", "svg", "png")
_DPI = 300
FIGURES: dict[str, Callable[[RunData, Sequence[Feeder]], Figure | None]] = {
    "feeder_maps": print_figures.feeder_maps,
    "voltages": print_figures.voltage_maps,
    "energy_balance": print_figures.energy_balance,
    "trades": print_figures.trades,
    "prices": print_figures.prices,
    "violation": print_figures.violation,
    "certificates": print_figures.certificates,
    "money": print_figures.money,
    "batteries": print_figures.batteries,
}
"""Figures by name."""


def draw_all(run: RunData, target: Path) -> list[Path]:
    """Draw all figures of a run that has data for them.

    Parameters
    ----------
    run : RunData
        The run; of more networks than fit, those whose voltages come closest to a limit.
    target : Path
        Folder of the files, ``<figure>.pdf``, ``.svg`` and ``.png``.

    Returns
    -------
    list of Path
        The files.
    """
    feeders = most_critical(feeders_of(run))
    target.mkdir(parents=True, exist_ok=True)
    paths = []
    with mpl.rc_context({**STYLE, "pdf.fonttype": 42}):
        for name, draw in FIGURES.items():
            figure = draw(run, feeders)
            if figure is None:
                continue
            # Arranging the panels takes longest: once for all formats.
            figure.draw_without_rendering()
            figure.set_layout_engine("none")
            for form in FORMATS:
                path = target / f"{name}.{form}"
                # Without dates the same run gives the same files.
                dates = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}[form]
                with replacing(path) as unfinished:
                    figure.savefig(unfinished, format=form, dpi=_DPI, metadata=dates)
                paths.append(path)
    return paths
