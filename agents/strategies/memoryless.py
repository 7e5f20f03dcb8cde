"""What strategies without a memory have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agents.strategies.protocol import Outcome


class Memoryless:
    """A strategy that depends on the present alone: it learns nothing and saves nothing."""

    def learn(self, outcome: Outcome) -> None:
        """Learn nothing."""

    def state(self) -> dict[str, Any]:
        """There is nothing to save."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """There is nothing to restore.

        Raises
        ------
        ValueError
            If there is, of another strategy.
        """
        if state:
            raise ValueError(f"learns nothing, but has a state with {', '.join(map(str, state))}")
