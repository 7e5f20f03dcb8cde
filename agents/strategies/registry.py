"""The strategies a configuration may name."""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING, Any

from agents.strategies.bandit import Bandit
from agents.strategies.best_response import BestResponse
from agents.strategies.markup import Markup
from agents.strategies.misreporting import Misreporting
from agents.strategies.risk_averse import RiskAverse
from agents.strategies.roth_erev import RothErev
from agents.strategies.truthful import Truthful
from agents.strategies.withholding import Withholding
from agents.strategies.zero_intelligence import ZeroIntelligence
from configs.schema import CLASS_PATH
from market.plugins import load_class

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np

    from agents.strategies.protocol import Strategy

STRATEGIES: dict[str, Callable[..., Strategy]] = {
    "truthful": Truthful,
    "markup": Markup,
    "withholding": Withholding,
    "misreporting": Misreporting,
    "risk_averse": RiskAverse,
    "zero_intelligence": ZeroIntelligence,
    "roth_erev": RothErev,
    "bandit": Bandit,
    "best_response": BestResponse,
}
"""Strategies by name."""
METHODS = ("submit", "learn", "state", "restore")
"""What every strategy can do."""


def make_strategy(
    name: str, parameters: Mapping[str, Any], rng: np.random.Generator | None = None
) -> Strategy:
    """Create a strategy by its configured name.

    Parameters
    ----------
    name : str
        A key of :data:`STRATEGIES`, or the path of a class, ``package.module:ClassName``, that
        behaves like :class:`agents.strategies.protocol.Strategy`.
    parameters : mapping of str to number, str or bool
        Keyword arguments of its constructor.
    rng : numpy.random.Generator, optional
        Stream of the peer or the coalition, for strategies that draw at random: those whose
        constructor has a keyword ``rng``.

    Raises
    ------
    ValueError
        If the name is unknown or the class cannot be loaded, a parameter does not fit, or a
        stream is needed and not given.
    """
    make = STRATEGIES.get(name)
    if make is None:
        if not CLASS_PATH.fullmatch(name):
            msg = f"unknown strategy {name!r}; known are {sorted(STRATEGIES)}, or the path of a "
            raise ValueError(f"{msg}class, package.module:ClassName")
        make = load_class(name, METHODS)
    arguments = _arguments(name, make, parameters, rng)
    try:
        return make(**arguments)
    except ValueError as error:
        raise ValueError(f"strategy {name!r}: {error}") from error
    except Exception as error:  # user code may raise anything
        msg = f"strategy {name!r} failed with the parameters {dict(parameters)}: "
        raise ValueError(f"{msg}{type(error).__name__}: {error}") from error


def _arguments(
    name: str,
    make: Callable[..., Strategy],
    parameters: Mapping[str, Any],
    rng: np.random.Generator | None,
) -> dict[str, Any]:
    """Keyword arguments of the constructor, once it is clear that it takes them."""
    expected = signature(make)
    takes_rng = "rng" in expected.parameters
    arguments = dict(parameters) | ({"rng": rng} if takes_rng else {})
    try:
        if "rng" in parameters:
            raise TypeError("'rng' is not a parameter")
        expected.bind(**arguments)
    except TypeError as error:
        known = ", ".join(key for key in expected.parameters if key != "rng") or "none"
        msg = f"strategy {name!r} does not take the parameters {dict(parameters)}: {error}; "
        raise ValueError(f"{msg}it takes {known}") from error
    if takes_rng and rng is None:
        raise ValueError(f"strategy {name!r} draws at random and needs a random stream")
    return arguments
