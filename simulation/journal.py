"""Keeps a run on disk while it goes, so that it can be resumed from whatever it ends by."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from simulation import checkpoint
from simulation.checkpoint import CheckpointError, read_checkpoint, write_checkpoint
from simulation.manifest import Manifest
from simulation.output_folder import clear
from simulation.stops import StopRequested
from simulation.summary import summarise, write_summary

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from simulation.base_case import BaseScenario
    from simulation.model import CoSimulation
    from simulation.tables import StepTables


class Journal:
    """The folder of a run under way.

    Every day ends with its rows, then the state of the model: the state never runs ahead of the
    tables. Leaving the context because of an error, or of a stop, marks the run accordingly and
    makes tables of what there is; resuming drops the unfinished day and computes it anew.

    Parameters
    ----------
    folder : Path
        Folder of the run, locked by this process.
    model : CoSimulation
        The simulation, before its first step.
    tables : StepTables
        Its tables.
    start : float
        When the preparation began, on the clock of ``time.perf_counter``. [s]
    base : BaseScenario, optional
        The base case that is begun beside the run.
    """

    def __init__(
        self,
        folder: Path,
        model: CoSimulation,
        tables: StepTables,
        start: float,
        base: BaseScenario | None = None,
    ) -> None:
        self.folder = folder
        self._model = model
        self._tables = tables
        self._manifest = Manifest(folder, model.config, model.world, base)
        self._start = start
        self._has_tables = False

    def begin(self, *, resume: bool) -> None:
        """Start the run, or go on where its last whole day ended.

        Raises
        ------
        CheckpointError
            If it cannot go on.
        OSError
            If the folder cannot be written.
        """
        state = None
        if resume:
            self._manifest.resume()
            state = read_checkpoint(self.folder, self._manifest.origin)
        if state is not None:
            self._go_on(state)
            self._manifest.write("running")
        else:
            self._tables.recorder.resume(0)
            self._manifest.begin()
            self._tables.write_networks()

    def _go_on(self, state: dict[str, Any]) -> None:
        """Restore the end of the last whole day."""
        path = self.folder / checkpoint.NAME
        try:
            spent, n_parts = state["wall_s"], state["n_parts"]
            self._model.restore(state["model"])
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            msg = f"{path}: does not fit this version of the program ({error})"
            raise CheckpointError(msg) from error
        try:
            self._tables.recorder.resume(n_parts)
        except FileNotFoundError as error:
            raise CheckpointError(f"{path}: cannot be resumed: {error}") from error
        self._start -= spent

    def end_of_day(self) -> None:
        """Bring the day to the disk.

        Raises
        ------
        OSError
            If it cannot be written; all days before are kept.
        """
        recorder = self._tables.recorder
        recorder.flush()
        state = {
            "model": self._model.state(),
            "n_parts": recorder.n_parts,
            "wall_s": self.wall_s,
        }
        write_checkpoint(self.folder, self._manifest.origin, state)
        self._model.save_strategies(self.folder)

    @property
    def wall_s(self) -> float:
        """Seconds that the run has taken, without those of days that were lost. [s]"""
        return time.perf_counter() - self._start

    def finish(self) -> str:
        """Write what only a whole run has, and return its summary as text.

        Raises
        ------
        OSError
            If it cannot be written; the run can be resumed then.
        """
        self._write_tables()
        text = write_summary(self.folder, summarise(self._model, self.wall_s))
        self._manifest.write("finished")
        clear(self.folder)
        return text

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            return
        try:
            # Of a step cut in two there is no telling what is written, and where the disk is full
            # there is no room: the days that are safe are left alone.
            if not issubclass(kind, KeyboardInterrupt | OSError) or kind is StopRequested:
                self._write_tables()
                self._model.save_strategies(self.folder)
        finally:
            stopped = issubclass(kind, KeyboardInterrupt | OSError)
            with suppress(OSError):
                self._manifest.write("interrupted" if stopped else "failed")

    def _write_tables(self) -> None:
        """Make the tables of all days, and of what there is of the last one."""
        if not self._has_tables:
            self._has_tables = True
            self._tables.write_totals(self._model.market_totals)
            self._tables.recorder.merge()
