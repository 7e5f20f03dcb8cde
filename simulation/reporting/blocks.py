"""What the pages of a report consist of, and how numbers are written in them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plotly.graph_objects import Figure

NONE = "–"
"""Stands where there is no value."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure with its caption.

    Attributes
    ----------
    title : str
        What is drawn.
    figure : Figure
        The drawing.
    seen : str
        One sentence that says what is to be seen in it.
    reading : str
        How to read it.
    small : bool
        Whether several stand side by side where there is room.
    """

    title: str
    figure: Figure
    seen: str
    reading: str
    small: bool = False
    kind: str = field(default="picture", init=False)


@dataclass(frozen=True)
class Cell:
    """A cell of a table: what is shown, and by what it is sorted."""

    text: str
    order: float | str


@dataclass(frozen=True)
class Table:
    """A table that can be sorted.

    Attributes
    ----------
    title : str
        What is listed.
    heads : sequence of str
        Headings, with units in brackets.
    rows : sequence of sequence of Cell
        Cells; those of a column are all text or all numbers.
    note : str
        How to read it, or what is left out.
    foot : sequence of Cell
        Sums, which stay below.
    """

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    foot: Sequence[Cell] = ()
    kind: str = field(default="table", init=False)


@dataclass(frozen=True)
class Prose:
    """A paragraph."""

    text: str
    kind: str = field(default="prose", init=False)


@dataclass(frozen=True)
class Code:
    """Text as it stands in a file, folded away."""

    title: str
    text: str
    kind: str = field(default="code", init=False)


@dataclass(frozen=True, eq=False)
class Section:
    """A part of the page with its own heading.

    Attributes
    ----------
    key : str
        Anchor in the page.
    title : str
        Heading.
    blocks : sequence
        What stands in it; with nothing to show, a sentence that says so.
    """

    key: str
    title: str
    blocks: Sequence[Picture | Table | Prose | Code]


@dataclass(frozen=True)
class Answer:
    """One of the figures that answer what a run was made for."""

    label: str
    value: str
    note: str


@dataclass(frozen=True, eq=False)
class Page:
    """A whole report.

    Attributes
    ----------
    title, subtitle : str
        What it is about.
    warnings : sequence of str
        What has to be known before anything else is read.
    answers : sequence of Answer
        The result in a few figures.
    sections : sequence of Section
        The rest.
    """

    title: str
    subtitle: str
    warnings: Sequence[str]
    answers: Sequence[Answer]
    sections: Sequence[Section]


def text_cell(value: object) -> Cell:
    """Cell of a name or of a word."""
    shown = NONE if value is None else str(value)
    return Cell(shown, shown)


def number_cell(value: float | None, form: str = ",.0f") -> Cell:
    """Cell of a number, empty at the end of any order without one."""
    return Cell(number(value, form), math.nan if value is None else float(value))


def number(value: float | None, form: str = ",.0f") -> str:
    """Write a number; zero has no sign."""
    if value is None or not math.isfinite(value):
        return NONE
    return format(float(value), f"z{form}")


def percent(share: float | None, form: str = ".1f") -> str:
    """Write a share in percent."""
    return NONE if share is None or not math.isfinite(share) else f"{100 * share:z{form}} %"


def significant(value: float | None) -> str:
    """Write a number of any size to four digits."""
    if value is None or not math.isfinite(value):
        return NONE
    return f"{value:z,.0f}" if abs(value) >= 1000 else f"{value:z.4g}"


def count(n: int, noun: str) -> str:
    """Write a number with its noun."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def listed(words: Sequence[str]) -> str:
    """Join words: a, b and c."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))
