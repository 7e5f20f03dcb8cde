"""Command-line options that the commands have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import ArgumentParser


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
