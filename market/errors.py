"""What can go wrong in a clearing, by name."""

from __future__ import annotations


class MarketError(RuntimeError):
    """Base of all errors of the market."""


class SolverFailedError(MarketError):
    """The conic solver returned no usable solution; the message names its status."""
