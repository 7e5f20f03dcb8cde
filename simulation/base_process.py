"""The base case of a run, in a process beside it.

The two processes share a pipe. Through it the base case says that its input can be used, is told to
begin, and says how it ended. Whatever else comes through the pipe, its end included, stops the base
case after its step: it does not outlive the run that it belongs to. Both are stopped in this way by
Ctrl-C or SIGTERM, and both can go on.
"""

from __future__ import annotations

import logging
import os
import signal
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from typing import TYPE_CHECKING, Self

from configs.loading import load
from market.plugins import allow
from simulation.execution import execute, prepare
from simulation.options import one_line
from simulation.output_folder import config_of
from simulation.stops import StopRequested, Stops

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.connection import Connection
    from pathlib import Path
    from types import FrameType, TracebackType

    from configs.schema import ScenarioConfig

READY, FINISHED, INTERRUPTED = "ready", "finished", "interrupted"
"""What the base case says, if not what went wrong."""
BEGIN, STOP = "begin", "stop"
"""What it is told."""
PATIENCE_S = 10.0
"""How long the process may take to end after its last word. [s]"""
SIGNALS_SEEN_S = 0.1
"""How long a signal may wait, while the run waits for its base case. [s]"""


class BaseProcess:
    """The process of the base case, as the run sees it; leaving the context ends it.

    Parameters
    ----------
    folder : Path
        Folder of the base case.
    config : ScenarioConfig, optional
        Its scenario; by default that of the run in the folder, which goes on.
    plugins : sequence of str
        What :func:`market.plugins.allow` takes.

    Attributes
    ----------
    failure : str
        Why there is no base case; empty as long as nothing went wrong.
    """

    def __init__(
        self, folder: Path, config: ScenarioConfig | None = None, plugins: Sequence[str] = ()
    ) -> None:
        self.failure = ""
        self._has_begun = self._has_ended = self._may_stop = False
        # A fork would inherit threads of the libraries in the middle of their work.
        context = get_context("spawn")
        self._pipe, other_end = context.Pipe()
        self._process = context.Process(
            target=_perform, args=(other_end, folder, config, tuple(plugins))
        )
        with _interrupts_held_back():
            self._process.start()
        other_end.close()

    def await_ready(self) -> None:
        """Wait until the input of the base case has been checked."""
        self._hear()

    def begin(self) -> None:
        """Let the base case begin."""
        self._has_begun = True
        self._tell(BEGIN)

    def finish(self, stops: Stops) -> None:
        """Wait for the end of the base case.

        Raises
        ------
        StopRequested
            If a signal comes first.
        """
        while not self._has_ended:
            stops.check()
            if self._pipe.poll(SIGNALS_SEEN_S):
                self._hear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        at_once = kind is not None and kind is not StopRequested and not issubclass(kind, Exception)
        try:
            if self._has_begun and not at_once:
                self._stop()
        finally:
            self._process.kill()  # it has ended, or loses no more than the day under way
            self._process.join()
            self._pipe.close()

    def _stop(self) -> None:
        """Let the base case finish its step."""
        self._may_stop = True
        self._tell(STOP)
        while not self._has_ended:
            self._hear()
        self._process.join(PATIENCE_S)

    def _tell(self, word: str) -> None:
        with suppress(OSError):  # that it has gone will be heard
            self._pipe.send(word)

    def _hear(self) -> None:
        """Hear the next word, or silence."""
        try:
            word = str(self._pipe.recv())
        except (EOFError, OSError):
            self._process.join()
            word = f"its process was ended by force (exit code {self._process.exitcode})"
        self._has_ended = word != READY
        if word not in (READY, FINISHED) and not (word == INTERRUPTED and self._may_stop):
            self.failure = word


class _Orders(Stops):
    """Stops on a word of the run, at its end, or by SIGTERM."""

    def __init__(self, run: Connection) -> None:
        super().__init__()
        self._run = run
        signal.signal(signal.SIGTERM, self._take)

    def check(self) -> None:
        if self._run.poll():
            raise StopRequested
        super().check()

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.number = number


def _perform(
    run: Connection, folder: Path, config: ScenarioConfig | None, plugins: tuple[str, ...]
) -> None:
    """Execute the base case without a word but those through the pipe."""
    logging.disable(logging.WARNING)
    # Threads of the solver; those of linear algebra are limited where a run is executed.
    os.environ["RAYON_NUM_THREADS"] = "1"
    try:
        allow(plugins)
        scenario = load(str(config_of(folder))) if config is None else config
        prepared = prepare(scenario, folder, resume=True)
        run.send(READY)
        run.recv()
        execute(prepared, stops=_Orders(run))
        word = FINISHED
    except EOFError:  # the run has ended before
        return
    except StopRequested:
        word = INTERRUPTED
    except Exception as error:  # whatever it is, the run goes on and says it
        word = one_line(error)
    with suppress(OSError):
        run.send(word)


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Hold back Ctrl-C in this thread, and for good from a process that is started meanwhile.

    A terminal sends it to both processes, and it is the run's to take.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
