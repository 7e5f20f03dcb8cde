"""The runs of an experiment: planned, checked, and executed side by side."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from joblib import Parallel, delayed
from tqdm import tqdm

from configs.loading import ConfigError, dump, load_run
from configs.schema import Market
from market.plugins import allow
from market.safety_factors import make_safety_factor
from simulation.run import execute, prepare

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from configs.experiment_schema import Experiment, Overrides
    from configs.schema import ScenarioConfig


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
    (``perfect_foresight``), everything else with its place (``risk_level=0.1``,
    ``networks.case85.load_scale=0.9``), prices without their unit.
    """
    words = []
    for place, value in treatment.items():
        of_market = place.startswith("market.")
        key = place.removeprefix("market.").removesuffix("_eur_per_kwh")
        if value is True:
            words.append(place.rpartition(".")[2])
        elif of_market and isinstance(value, str):
            words.append(value)
        else:
            words.append(f"{key}={as_text(value)}")
    return ", ".join(words) or "scenario"


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


def check(runs: Iterable[Run]) -> dict[str, float]:
    """Build everything the runs start from, before anything is written.

    Parameters
    ----------
    runs : iterable of Run
        The planned runs.

    Returns
    -------
    dict of str to float
        Value of stored energy by run: the mean of what a peer pays the supplier and of what the
        supplier pays a peer, over the run. [EUR/kWh]

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
    values: dict[str, float] = {}
    for group in alike.values():
        # ... and the smallest risk level asks for the most error samples.
        config = min((run.config for run in group), key=lambda c: c.market.risk_level)
        tariff = prepare(config).world.tariff
        value = float((tariff.retail + tariff.feed_in)[: config.n_steps].mean() / 2)
        values |= {run.id: value for run in group}
    return values


def conduct(
    runs: Sequence[Run],
    folder: Path,
    *,
    jobs: int,
    plugins: Sequence[str] = (),
    quiet: bool = True,
) -> None:
    """Execute the runs that are not finished yet, each in a process and folder of its own.

    A run that fails leaves ``error.txt`` in its folder and does not keep the others from running.

    Parameters
    ----------
    runs : sequence of Run
        The planned runs.
    folder : Path
        Folder of all runs.
    jobs : int
        Number of processes.
    plugins : sequence of str
        What :func:`market.plugins.allow` takes.
    quiet : bool
        Show no progress bar.
    """
    waiting = [run for run in runs if status(folder / run.id) != "finished"]
    tasks = (delayed(_perform)(run.config, folder / run.id, tuple(plugins)) for run in waiting)
    with tqdm(
        total=len(runs), initial=len(runs) - len(waiting), unit="run", disable=quiet, smoothing=0
    ) as bar:
        n_failed = 0
        for succeeded in Parallel(n_jobs=jobs, return_as="generator_unordered")(tasks):
            n_failed += not succeeded
            if n_failed:
                bar.set_postfix_str(f"{n_failed} failed", refresh=False)
            bar.update()


def status(folder: Path) -> str:
    """Return the status of a run.

    ``finished``, ``failed``, ``interrupted``, ``running`` (or ended by force), or ``not started``.
    """
    if (folder / "error.txt").exists():
        return "failed"
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        if manifest["status"] == "finished" and read_summary(folder) is None:
            return "running"
        return str(manifest["status"])
    except (OSError, ValueError, KeyError):
        return "running" if folder.exists() else "not started"


def read_summary(folder: Path) -> dict[str, Any] | None:
    """Read the summary of a run, if there is one."""
    try:
        content = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return dict(content)


def as_text(value: Any) -> str:
    """Write a value as in a scenario file, more or less."""
    return value if isinstance(value, str) else json.dumps(value, default=str).strip('"')


def _slug(words: str) -> str:
    """Turn words into a part of a file name."""
    return re.sub(r"[^A-Za-z0-9.]+", "_", words).strip("_.")[:80]


def _perform(config: ScenarioConfig, folder: Path, plugins: tuple[str, ...]) -> bool:
    """Execute one run in the process at hand; tell whether it finished."""
    # What a run warns of stands in its tables; on the terminal it would break the progress bar.
    logging.disable(logging.WARNING)
    # Only what an earlier start left half done can be there.
    shutil.rmtree(folder, ignore_errors=True)
    try:
        allow(plugins)
        execute(prepare(config, folder))
    except Exception:  # whatever it is, the other runs go on, and the index reports it
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")
        return False
    finally:
        logging.disable(logging.NOTSET)
    return True
