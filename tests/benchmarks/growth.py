"""How the time of a step and the memory grow with networks, peers, window and samples.

``python tests/benchmarks/growth.py [--networks N ...] [--peers N ...] [--window H ...]
[--samples D ...] [--steps N] [--skip N] [--set KEY=VALUE ...]``

Each size is a run of its own in a process of its own: the default scenario's two networks, copied
as often as it takes (``--networks``); one default network whose load buses are shared by several
peers (``--peers``); the default scenario with another look-ahead window (``--window``) or more days
of error samples (``--samples``). Without a size, all of them are run. Of every run the first steps
are left out; printed are the median seconds of a step, on one core (which other work on the machine
disturbs less) and as they passed, these split into the conic solver, putting its problems together,
the AC engines and the rest, the largest memory of the process, and the slope of a straight line
through the logarithms of size and seconds: 1 is linear growth. Absolute times depend on the
machine.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

from agents.population import draw_population
from configs.loading import load
from grid.cases import build_network
from simulation.profiles import load_profiles
from simulation.run import prepare
from simulation.setup import _profile_names

if TYPE_CHECKING:
    from configs.schema import ScenarioConfig

SIZES = {
    "networks": (1, 2, 5, 10, 25, 50),
    "peers": (50, 150, 500, 1500, 5000),
    "window": (6, 12, 24, 48),
    "samples": (30, 60, 120, 240),
}
PARTS = ("cpu", "step", "solver", "problem", "ac", "rest")
MB = 1e3 if sys.platform == "linux" else 1e6
"""What ``ru_maxrss`` counts in, per MB: kB, and bytes on macOS."""


def main() -> None:
    """Run the sizes that are asked for, or measure a single one."""
    parser = argparse.ArgumentParser(description=__doc__)
    for kind in SIZES:
        parser.add_argument(f"--{kind}", type=int, nargs="+", metavar="N", default=[])
    parser.add_argument("--steps", type=int, default=5, help="steps that count")
    parser.add_argument("--skip", type=int, default=1, help="steps before them")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--one", nargs=2, metavar=("KIND", "SIZE"), help="this size, as JSON")
    options = parser.parse_args()
    if options.one:
        kind, size = options.one
        print(json.dumps(measure(kind, int(size), options)))
        return
    asked = {kind: getattr(options, kind) for kind in SIZES if getattr(options, kind)}
    for kind, sizes in (asked or SIZES).items():
        print(f"\n{kind:>8} {'networks':>8} {'peers':>6} {'passes':>6}", end="")
        print("".join(f" {part + ' s':>9}" for part in PARTS) + "   first s       MB")
        found = [in_own_process(kind, size, options) for size in sizes]
        for quantity in ("cpu", "step", "rss_mb"):
            print(f"slope of {quantity}: {slope(sizes, [f[quantity] for f in found])}")


def in_own_process(kind: str, size: int, options: argparse.Namespace) -> dict[str, float]:
    """Measure one size in a process of its own, so that its memory is its own too."""
    command = [sys.executable, __file__, "--one", kind, str(size)]
    command += ["--steps", str(options.steps), "--skip", str(options.skip)]
    command += [part for setting in options.set for part in ("--set", setting)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, float] = json.loads(output.splitlines()[-1])
    print(f"{size:8d} {found['networks']:8d} {found['peers']:6d} {found['passes']:6.2f}", end="")
    print("".join(f" {found[part]:9.3f}" for part in PARTS), end="")
    print(f" {found['first']:9.2f} {found['rss_mb']:8.0f}", flush=True)
    return found


def measure(kind: str, size: int, options: argparse.Namespace) -> dict[str, float]:
    """Run a few steps of one size."""
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(limits=1):
        model = prepare(scenario(kind, size, options, Path(folder)), Path(folder) / "run").model
        spent, passes = [], []
        for _ in range(options.skip + options.steps):
            watch, done = dict(model.stopwatch.seconds), model.totals.passes
            start, cpu = time.perf_counter(), time.process_time()
            model.step()
            step, cpu = time.perf_counter() - start, time.process_time() - cpu
            by_phase = {k: s - watch.get(k, 0.0) for k, s in model.stopwatch.seconds.items()}
            ac = by_phase["ac_clearing"] + by_phase["ac_replay"]
            solver, problem = by_phase["solver"], by_phase["problem"]
            spent.append((cpu, step, solver, problem, ac, step - solver - problem - ac))
            passes.append(model.totals.passes - done)
    counted = zip(*spent[options.skip :], strict=True)
    return {
        "networks": model.roster.n_networks,
        "peers": model.roster.n_peers,
        "passes": statistics.mean(passes[options.skip :]),
        **dict(zip(PARTS, map(statistics.median, counted), strict=True)),
        "first": spent[0][1],
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MB,
    }


def scenario(kind: str, size: int, options: argparse.Namespace, folder: Path) -> ScenarioConfig:
    """Make the scenario of one size."""
    first, second = "networks.case85", "networks.case69"
    overrides = ["start=2016-06-09", *options.set]
    match kind:
        case "networks":
            overrides += [f"{first}.copies={(size + 1) // 2}", f"{second}.copies={size // 2 or 1}"]
        case "peers":
            overrides.append(f"{first}.peer_table={peer_table(size, folder)}")
        case "window":
            overrides.append(f"market.horizon_hours={size}")
        case "samples":
            overrides.append(f"forecast.sample_days={size}")
    config = load("default", overrides)
    if kind == "peers" or (kind, size) == ("networks", 1):
        config = config.model_copy(update={"networks": config.networks[:1]})
    return config


def peer_table(n_peers: int, folder: Path) -> Path:
    """Write a table of peers who share the load buses of the 85-bus network."""
    config = load("default")
    names = _profile_names(load_profiles(config.profiles, config.step_minutes))
    settings = config.networks[0]
    network = build_network(settings)
    n_buses = int((network.load_kw[1:] > 0).sum())
    n_draws = -(-n_peers // n_buses)
    rows = []
    for k in range(n_draws):
        rng = np.random.default_rng([1, k])
        for peer in draw_population(network, settings.population, names, rng):
            row = peer.model_dump(exclude={"strategy_parameters"}, exclude_none=True)
            shared = {f: v / n_draws for f, v in row.items() if f.endswith(("_kw", "_kvar", "kwh"))}
            del shared["dispatchable_eur_per_kwh"]
            rows.append(row | shared | {"peer_id": f"{peer.peer_id}-{k}"})
    path = folder / "peers.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=rows[0])
        writer.writeheader()
        writer.writerows(rows[:n_peers])
    return path


def slope(sizes: list[int], values: list[float]) -> str:
    """Slope of the straight line through the logarithms; of one size there is none."""
    if len(sizes) < 2:
        return "-"
    return f"{np.polyfit(np.log(sizes), np.log(values), 1)[0]:.2f}"


if __name__ == "__main__":
    main()
