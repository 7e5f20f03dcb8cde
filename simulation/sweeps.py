"""The runs of an experiment: planned, checked, and executed side by side."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import traceback
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError
from pydantic import TypeAdapter, ValidationError
from tqdm import tqdm

from configs.loading import ConfigError, dump, load_run
from configs.schema import Market, StrategyUse
from market.plugins import allow
from market.safety_factors import make_safety_factor
from simulation.execution import execute, prepare
from simulation.prices import run_values
from simulation.run_folders import ATTEMPTS, attempts, begin, begun, publish, status
from simulation.strategic_peers import in_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from configs.experiment_schema import Experiment, Overrides
    from configs.schema import ScenarioConfig

log = logging.getLogger(__name__)

RESTARTS = 10
"""How often the processes of a sweep are started anew before it ends."""


@dataclass(frozen=True)
class Run:
    """One treatment on one replicate.

    Attributes
    ----------
    id : str
        Name of its folder. It ends with a checksum of the settings: a run whose settings change
        is another run.
    treatment : str
        Label of the treatment.
    replicate : int
        Number of the replicate, from 1.
    settings : dict
        Values of the factors and of the replicate, by place.
    config : ScenarioConfig
        The whole scenario.
    """

    id: str
    treatment: str
    replicate: int
    settings: Overrides
    config: ScenarioConfig


def label(treatment: Overrides) -> str:
    """Name a treatment by its values.

    Words of the market stand as they are (``gaussian``), what is true by its key
    (``perfect_foresight``), strategies by who uses them (``markup 25%``), everything else with its
    place (``risk_level=0.1``, ``networks.case85.load_scale=0.9``), prices without their unit.
    """
    words = []
    for place, value in treatment.items():
        of_market = place.startswith("market.")
        key = place.removeprefix("market.").removesuffix("_eur_per_kwh")
        if value is True:
            words.append(place.rpartition(".")[2])
        elif of_market and isinstance(value, str):
            words.append(value)
        elif place == "strategies":
            words.append(_strategies(value))
        else:
            words.append(f"{key}={as_text(value)}")
    return ", ".join(words) or "scenario"


def _strategies(value: Any) -> str:
    """Describe who uses which strategy; what is none is refused with its place later on."""
    try:
        return in_words(TypeAdapter(tuple[StrategyUse, ...]).validate_python(value))
    except ValidationError:
        return f"strategies={as_text(value)}"


def references(experiment: Experiment, change: Overrides) -> dict[str, str]:
    """Return the label of the treatment that each one is compared with, where there is one.

    Parameters
    ----------
    experiment : Experiment
        The experiment.
    change : dict
        What is changed in a treatment to get the other one; null takes a place out of it.
    """
    return {
        label(treatment): label(reference)
        for treatment in experiment.treatments
        if (reference := experiment.reference(treatment, change)) is not None
    }


def plan(experiment: Experiment) -> list[Run]:
    """List the runs of an experiment, replicate by replicate.

    Raises
    ------
    ConfigError
        If the settings of a run are not valid, or two runs or treatments cannot be told apart.
    """
    names = [label(treatment) for treatment in experiment.treatments]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        msg = f"factors: several treatments are called {min(twice)!r}; allowed are distinct ones"
        raise ConfigError(msg)
    runs = []
    for number, replicate in enumerate(experiment.replicates, start=1):
        for treatment in experiment.treatments:
            settings = {**treatment, **replicate}
            config = load_run(experiment, settings)
            checksum = hashlib.sha256(dump(config).encode()).hexdigest()[:8]
            name = "-".join(filter(None, (_slug(label(treatment)), _slug(label(replicate)))))
            runs.append(Run(f"{name}-{checksum}", label(treatment), number, settings, config))
    seen: dict[str, Run] = {}
    for run in runs:
        twin = seen.setdefault(dump(run.config), run)
        if twin is not run:
            msg = (
                f"{twin.treatment} on replicate {twin.replicate} and {run.treatment} on replicate "
                f"{run.replicate} have the same settings; allowed are runs that differ"
            )
            raise ConfigError(msg)
    return runs


def check(runs: Iterable[Run], plugins: Sequence[str] = ()) -> dict[str, float]:
    """Build everything the runs start from, before anything is written.

    Parameters
    ----------
    runs : iterable of Run
        The planned runs.
    plugins : sequence of str
        What :func:`market.plugins.allow` takes.

    Returns
    -------
    dict of str to float
        Value of a kWh in a battery by run, see `market.stored_energy`. [EUR/kWh]

    Raises
    ------
    ValueError
        If networks, peers, profiles, forecasts, prices or methods cannot be used.
    """
    alike: dict[str, list[Run]] = {}
    for run in runs:
        market = run.config.market
        make_safety_factor(market.method, market.risk_level, market.radius)
        # Of the market only the look-ahead has to do with what a run starts from ...
        bare = Market(horizon_hours=market.horizon_hours)
        alike.setdefault(dump(run.config.model_copy(update={"market": bare})), []).append(run)
    # ... and the smallest risk level asks for the most error samples.
    configs = [
        min((run.config for run in group), key=lambda c: c.market.risk_level)
        for group in alike.values()
    ]
    tasks = [delayed(_stored_energy_value)(config, tuple(plugins)) for config in configs]
    values: dict[str, float] = {}
    found = Parallel(batch_size=1, pre_dispatch="n_jobs")(tasks)
    for value, group in zip(found, alike.values(), strict=True):
        if isinstance(value, str):
            raise ConfigError(value)
        values |= {run.id: value for run in group}
    return values


def _stored_energy_value(config: ScenarioConfig, plugins: tuple[str, ...]) -> float | str:
    """Build what a run starts from; return the value of stored energy, or what is wrong."""
    try:
        allow(plugins)
        tariff = prepare(config).world.tariff
    except (ValueError, OSError) as error:  # not all of these survive the way between processes
        return str(error)
    return run_values(tariff, config.n_steps)["mid"]


def conduct(
    runs: Sequence[Run], folder: Path, *, plugins: Sequence[str] = (), quiet: bool = True
) -> None:
    """Execute the runs that are not finished yet, each in a process and folder of its own.

    They go to the engine that joblib is set up with, see :mod:`simulation.engines`. A run that
    fails leaves ``error.txt`` in its folder and does not keep the others from running. Nor does
    one whose process ends by force: it is begun anew, at most :data:`ATTEMPTS` times.

    Parameters
    ----------
    runs : sequence of Run
        The planned runs.
    folder : Path
        Folder of all runs, which all processes must see under this path.
    plugins : sequence of str
        What :func:`market.plugins.allow` takes.
    quiet : bool
        Show no progress bar.

    Raises
    ------
    TerminatedWorkerError
        If processes end by force again and again.
    """
    left = [run for run in runs if status(folder / run.id) != "finished"]
    for run in left:  # what an earlier start left half done or failed
        shutil.rmtree(folder / run.id, ignore_errors=True)
    token = uuid4().hex[:8]
    n_done = len(runs) - len(left)
    with tqdm(total=len(runs), initial=n_done, unit="run", disable=quiet, smoothing=0) as bar:
        for restarts in count(1):
            tasks = [
                delayed(_perform)(run.config, folder / run.id, tuple(plugins), token)
                for run in left
            ]
            try:
                _work_off(tasks, bar)
                break
            except TerminatedWorkerError:
                states = {run.id: status(folder / run.id) for run in left}
                left = [run for run in left if states[run.id] not in ("finished", "failed")]
                log.warning(
                    "a process ended by force; restart %d, runs left %d", restarts, len(left)
                )
                if restarts > RESTARTS:
                    raise
                bar.n = len(runs) - len(left)
                # Where one run is the cause, the others shall be done before its next attempt.
                left.sort(key=lambda run: len(attempts(folder / run.id, token)))
    shutil.rmtree(begun(folder), ignore_errors=True)


def _work_off(tasks: Sequence[Any], bar: Any) -> None:
    """Execute tasks as workers become free, and count them on the progress bar."""
    n_failed = 0
    # No more tasks than workers are under way: Dask blames the death of a worker on all of its.
    engine = Parallel(batch_size=1, pre_dispatch="n_jobs", return_as="generator_unordered")
    for succeeded in engine(tasks):
        n_failed += not succeeded
        if n_failed:
            bar.set_postfix_str(f"{n_failed} failed", refresh=False)
        bar.update()


def as_text(value: Any) -> str:
    """Write a value as in a scenario file, more or less."""
    return value if isinstance(value, str) else json.dumps(value, default=str).strip('"')


def _slug(words: str) -> str:
    """Turn words into a part of a file name."""
    return re.sub(r"[^A-Za-z0-9.]+", "_", words).strip("_.")[:80]


def _perform(config: ScenarioConfig, folder: Path, plugins: tuple[str, ...], token: str) -> bool:
    """Execute one run in the process at hand; tell whether it finished.

    It is written aside and appears in its folder when it is whole, so that nothing half done can
    be taken for a run, even where two processes are at it because one was thought dead.

    Parameters
    ----------
    config, folder, plugins :
        Of the run.
    token : str
        Tells the attempts of one command from those of another.
    """
    # The result of a finished run may be lost with the process that returned it.
    if status(folder) == "finished":
        return True
    attempt = begin(folder, token)
    aside = attempt or begun(folder.parent) / f"{folder.name}.{token}.last" / folder.name
    # What a run warns of stands in its tables; on the terminal it would break the progress bar.
    logging.disable(logging.WARNING)
    # Threads of the solver; those of linear algebra are limited where a run is executed.
    os.environ["RAYON_NUM_THREADS"] = "1"
    try:
        if attempt is None:
            msg = f"the process ended by force {ATTEMPTS} times, perhaps for want of memory"
            raise RuntimeError(msg)
        allow(plugins)
        execute(prepare(config, aside))
    except Exception:  # whatever it is, the other runs go on, and the index reports it
        aside.mkdir(parents=True, exist_ok=True)
        (aside / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")
        return False
    else:
        return True
    finally:
        logging.disable(logging.NOTSET)
        publish(aside, folder)
