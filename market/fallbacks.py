"""What a step falls back on when a solver fails, by name."""

from __future__ import annotations

FALLBACKS = (
    "scaled",
    "loose",
    "second_solver",
    "cleared_shares",
    "no_riskless_prices",
    "cut_short",
    "softened",
    "supplier_only",
)
"""From the mildest to the worst.

``scaled``, ``loose``
    The first solver succeeded with other settings.
``second_solver``
    The second one did.
``cleared_shares``
    The dispatch that knows the errors failed; recourse followed the cleared shares.
``no_riskless_prices``
    Only the prices without risk are missing, so what risk adds to the prices is not told.
``cut_short``
    A later pass of the clearing failed; the best one before it stands.
``softened``
    The schedule that misses the constraints least; all trade with their supplier.
``supplier_only``
    Every peer on its retail contract, devices at rest.
"""

DEGRADED = frozenset({"cut_short", "softened", "supplier_only"})
"""Those whose schedule is not the one that the clearing would have found."""


def worst(names: set[str]) -> str:
    """Return the worst of some fallbacks; empty if there are none."""
    return max(names, key=FALLBACKS.index, default="")
