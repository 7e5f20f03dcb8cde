"""Command-line options that the commands have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import ArgumentParser

LONGEST_MESSAGE = 2_000
"""Characters of a message that are shown."""


def one_line(error: Exception) -> str:
    """Put a message into one line, whatever names of a user's it quotes.

    Messages of libraries may have several lines; a name may hold characters that a terminal takes
    for commands.
    """
    words = " ".join(str(error).split()) or type(error).__name__
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in words)
    return shown if len(shown) <= LONGEST_MESSAGE else f"{shown[:LONGEST_MESSAGE]} ..."


def add_overrides(parser: ArgumentParser, text: str) -> None:
    """Add ``--set``, which collects overrides of settings; ``text`` is its help."""
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY.PATH=VALUE",
        help=text,
    )


def add_plugins(parser: ArgumentParser) -> None:
    """Add ``--allow-plugins``, which collects what :func:`market.plugins.allow` takes."""
    parser.add_argument(
        "--allow-plugins",
        action="append",
        default=[],
        metavar="NAME",
        help="package or Python file whose classes a scenario may name; their code is run "
        "(repeatable)",
    )
