"""What a command is to do in a folder: execute a run, its base case beside it, or both."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from configs.loading import load
from simulation.base_case import base_scenario
from simulation.base_process import BaseProcess
from simulation.base_saving import with_base_case
from simulation.execution import execute, prepare
from simulation.manifest import BASE
from simulation.output_folder import (
    FolderError,
    config_of,
    is_begun,
    is_finished,
    named_after,
    require_new,
)
from simulation.run_folders import read_summary

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from configs.schema import ScenarioConfig
    from simulation.execution import Prepared
    from simulation.stops import Stops


@dataclass(frozen=True, eq=False)
class Task:
    """A run and its base case, as far as they are not finished.

    Attributes
    ----------
    config : ScenarioConfig
        Scenario of the run.
    folder : Path
        Its folder.
    run : Prepared, optional
        The run; none if it is finished.
    base : BaseProcess, optional
        The process of the base case; none if it is finished, or not asked for.
    """

    config: ScenarioConfig
    folder: Path
    run: Prepared | None
    base: BaseProcess | None

    def execute(self, *, quiet: bool, start: float, stops: Stops) -> None:
        """Execute both side by side; if the run ends early, so does its base case.

        See :func:`simulation.execution.execute` for the parameters and for what it raises.
        """
        begin = None if self.base is None else self.base.begin
        with nullcontext() if self.base is None else self.base:
            if self.run is not None:
                execute(self.run, quiet=quiet, start=start, stops=stops, when_begun=begin)
            elif begin is not None:
                begin()
            if self.base is not None:
                self.base.finish(stops)

    def summary(self) -> dict[str, Any]:
        """Return the summary of the run, which tells of its base case from now on.

        Raises
        ------
        FolderError
            If it has gone.
        LockedError
            If another process writes there.
        OSError
            If it cannot be written.
        """
        if is_begun(self.folder / BASE):
            return with_base_case(self.folder, "" if self.base is None else self.base.failure)
        summary = read_summary(self.folder)
        if summary is None:
            raise FolderError(f"{self.folder}: summary.json has gone")
        return summary


def task_of(
    config: ScenarioConfig,
    output: Path | None,
    *,
    base: Sequence[str] = (),
    plugins: Sequence[str] = (),
) -> Task:
    """Prepare a run, and its base case in a process of its own meanwhile.

    Parameters
    ----------
    config : ScenarioConfig
        Scenario of the run.
    output : Path, optional
        New or empty folder; by default one under ``results`` named after scenario and time.
    base : sequence of str
        What :func:`simulation.base_case.base_scenario` takes; nothing for no base case.
    plugins : sequence of str
        What :func:`market.plugins.allow` takes.

    Raises
    ------
    ValueError
        If the input of either cannot be used; nothing has been written then.
    OSError
        If a file cannot be read.
    """
    if not base:
        prepared = prepare(config, output)
        return Task(config, prepared.folder, prepared, None)
    scenario = base_scenario(config, base)
    folder = named_after(config.name) if output is None else output
    require_new(folder)
    with ExitStack() as unless_all_is_well:
        process = BaseProcess(folder / BASE, scenario.config, plugins)
        unless_all_is_well.enter_context(process)
        prepared = prepare(config, folder, base=scenario)
        process.await_ready()
        if process.failure:
            raise ValueError(f"--base {', '.join(scenario.overrides)}: {process.failure}")
        unless_all_is_well.pop_all()
    return Task(config, folder, prepared, process)


def rest_of(folder: Path, plugins: Sequence[str] = ()) -> Task:
    """Prepare what is left to do of a run and its base case.

    Raises
    ------
    ValueError
        If no run has been started in the folder, or it cannot go on.
    OSError
        If a file cannot be read.
    """
    config = load(str(config_of(folder)))
    run = None if is_finished(folder) else prepare(config, folder, resume=True)
    base_is_left = is_begun(folder / BASE) and not is_finished(folder / BASE)
    base = BaseProcess(folder / BASE, plugins=plugins) if base_is_left else None
    return Task(config, folder, run, base)
