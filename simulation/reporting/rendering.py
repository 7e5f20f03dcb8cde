"""From a page to one HTML file that needs nothing else."""

from __future__ import annotations

import json
import math
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from simulation.atomic import write_text

if TYPE_CHECKING:
    from pathlib import Path

    from plotly.graph_objects import Figure

    from simulation.reporting.blocks import Cell, Page

_CONFIG = {"responsive": True, "displaylogo": False, "scrollZoom": False}


def render(page: Page) -> str:
    """Write a page as HTML. Whatever it quotes is escaped."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["figure_json"] = figure_json
    environment.filters["sort_key"] = sort_key
    template = environment.from_string(_asset("page.html"))
    return template.render(
        page=page,
        style=Markup(_asset("page.css")),
        script=Markup(_asset("page.js")),
        plotly=Markup(get_plotlyjs()),
        config=Markup(json.dumps(_CONFIG)),
    )


def write_page(page: Page, path: Path) -> None:
    """Write a page as a whole, or leave what was there.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    write_text(path, render(page))


def figure_json(figure: Figure) -> Markup:
    """Write a figure so that it can stand inside a script element: no ``<`` ends it."""
    return Markup(figure.to_json().replace("<", "\\u003c"))


def sort_key(cell: Cell) -> str:
    """Write what a cell is sorted by; nothing for a number that is missing."""
    if isinstance(cell.order, str):
        return cell.order
    return "" if math.isnan(cell.order) else repr(float(cell.order))


@cache
def _asset(name: str) -> str:
    return (resources.files("simulation.reporting") / name).read_text(encoding="utf-8")
