"""Orderly stops: Ctrl-C and SIGTERM let the step under way finish."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import FrameType, TracebackType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
NOTICE = b"\nstopping when this step is done; once more stops at once\n"


class StopRequested(KeyboardInterrupt):
    """A run that was asked to stop, between two steps."""


class Stops:
    """Takes the first signal for a request and the second for an order.

    Signals are taken within the context and in the main thread only, so that nobody who uses a
    run from a program of their own finds signals redirected.

    Attributes
    ----------
    number : int, optional
        The first signal that came.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._take) for number in SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Stop here, if a signal has come.

        Raises
        ------
        StopRequested
            If so.
        """
        if self.number is not None:
            raise StopRequested

    @property
    def exit_code(self) -> int:
        """What shells call a process that a signal ended; without one, as if by Ctrl-C."""
        return 128 + (signal.SIGINT if self.number is None else self.number)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None:
            raise KeyboardInterrupt
        self.number = number
        # A handler may come in the middle of a write: buffered streams do not stand that.
        os.write(2, NOTICE)
