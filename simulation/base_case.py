"""Which base case a run is held against: the same scenario under other settings of the market."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from configs.loading import ConfigError, altered
from configs.schema import Market

if TYPE_CHECKING:
    from collections.abc import Iterable

    from configs.schema import ScenarioConfig

COORDINATIONS = get_args(Market.model_fields["coordination"].annotation)


@dataclass(frozen=True)
class BaseScenario:
    """A base case before it is run.

    Attributes
    ----------
    overrides : tuple of str
        What differs from the run, ``market.key=value`` each.
    config : ScenarioConfig
        The whole scenario.
    """

    overrides: tuple[str, ...]
    config: ScenarioConfig


def base_scenario(config: ScenarioConfig, words: Iterable[str]) -> BaseScenario:
    """Change the market of a scenario; weather, peers and prices stay what they are.

    Parameters
    ----------
    config : ScenarioConfig
        Scenario of the run.
    words : iterable of str
        What ``--base`` says: a coordination, or ``market.key=value``.

    Raises
    ------
    ConfigError
        If the base case is not valid, or is the run itself.
    """
    overrides = tuple(_override(word) for word in words)
    base = altered(config, overrides, "--base")
    if base == config:
        msg = f"--base {', '.join(overrides):.200}: changes nothing: the run has these settings"
        raise ConfigError(msg)
    return BaseScenario(overrides, base)


def _override(word: str) -> str:
    """Write out a coordination; refuse what would change the draws."""
    if word in COORDINATIONS:
        return f"market.coordination={word}"
    if not word.startswith("market.") or "=" not in word:
        msg = (
            f"--base {word:.200}: expected {', '.join(COORDINATIONS)} or market.key=value; the "
            "base case differs from the run in its market alone, so that both have the same draws"
        )
        raise ConfigError(msg)
    return word
