"""What can go wrong in a clearing, by name."""

from __future__ import annotations


class MarketError(RuntimeError):
    """Base of all errors of the market."""


class SolverFailedError(MarketError):
    """No attempt of the solvers gave a usable solution; the message names what each one did."""


class NotFiniteError(MarketError):
    """A quantity that is not a number, found at its source; the message names it and its step."""
