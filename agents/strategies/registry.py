"""The strategies a configuration may name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agents.strategies.markup import Markup
from agents.strategies.truthful import Truthful

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agents.strategies.protocol import Strategy

STRATEGIES: dict[str, Callable[..., Strategy]] = {"truthful": Truthful, "markup": Markup}


def make_strategy(name: str, parameters: Mapping[str, float]) -> Strategy:
    """Create a strategy by its name.

    Raises
    ------
    ValueError
        If the name is unknown or a parameter does not fit.
    """
    if name not in STRATEGIES:
        msg = f"unknown strategy {name!r}; known are {sorted(STRATEGIES)}"
        raise ValueError(msg)
    try:
        return STRATEGIES[name](**parameters)
    except TypeError as error:
        msg = f"strategy {name!r} does not take the parameters {dict(parameters)}: {error}"
        raise ValueError(msg) from error
