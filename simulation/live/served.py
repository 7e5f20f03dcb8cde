"""What the server shows to every browser: a scenario to simulate, or a finished run to watch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import mesa

PLOTLY_FOLDER = "/plotly"
"""Where the server has the scripts of the drawing library."""


@dataclass(frozen=True, eq=False)
class Served:
    """A kind of model and what it is made of.

    Attributes
    ----------
    kind : type
        The model of every session, which behaves like :class:`simulation.live.views.Watched`.
    params : dict
        Its parameters in the form of Mesa's ``model_params``.
    """

    kind: type[mesa.Model]
    params: dict[str, Any]

    def start(self) -> Any:
        """Make the model of a session."""
        values = {
            name: value["value"] if isinstance(value, dict) else value
            for name, value in self.params.items()
        }
        return self.kind(**values)


_served: list[Served] = []


def serve(what: Served) -> None:
    """Set what is shown, before the server starts."""
    _served[:] = [what]


def served() -> Served:
    """Return what is shown."""
    return _served[0]
