"""Where the time of a run goes: every second counts for one phase."""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

P = ParamSpec("P")
R = TypeVar("R")


class Stopwatch:
    """Adds up seconds by phase.

    Phases may be nested: a second counts for the innermost open one alone, so that the phases
    never sum to more than what has passed.

    Attributes
    ----------
    seconds : dict of str to float
        By phase, in the order in which they first ended. [s]
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._spent_inside: list[float] = []

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time inside the ``with`` block for a phase."""
        start = time.perf_counter()
        self._spent_inside.append(0.0)
        try:
            yield
        finally:
            inside = self._spent_inside.pop()
            # Let the phase around leave out all of it, this one's own part included.
            elapsed = time.perf_counter() - start
            if self._spent_inside:
                self._spent_inside[-1] += elapsed
            self.seconds[name] += elapsed - inside

    def credit(self, name: str, seconds: float) -> None:
        """Count seconds of the open phase, measured elsewhere, for another one."""
        self.seconds[name] += seconds
        if self._spent_inside:
            self._spent_inside[-1] += seconds


class _Timed(Protocol):
    stopwatch: Stopwatch


T = TypeVar("T", bound=_Timed)


def timed(
    name: str,
) -> Callable[[Callable[Concatenate[T, P], R]], Callable[Concatenate[T, P], R]]:
    """Count the calls of a method for a phase of its object's ``stopwatch``."""

    def decorate(method: Callable[Concatenate[T, P], R]) -> Callable[Concatenate[T, P], R]:
        @wraps(method)
        def measured(self: T, /, *args: P.args, **kwargs: P.kwargs) -> R:
            with self.stopwatch.phase(name):
                return method(self, *args, **kwargs)

        return measured

    return decorate
