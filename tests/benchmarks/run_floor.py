"""A whole run against its floor: the time inside the conic solver and the AC engines.

``python tests/benchmarks/run_floor.py [--days N] [--start DATE] [--config NAME] [--set KEY=VALUE]
[--one-core]``

One run in one process, imports included. Prints the wall time, the floor, their ratio with and
without the start-up, and where the time went. Of two solves at the same time the longer one counts;
with ``--one-core`` there are none. Ratios are what counts; absolute times depend on the machine,
and on what else it does.
"""

from __future__ import annotations

import time

START = time.perf_counter()  # before the imports, which are part of the run

import argparse  # noqa: E402
import json  # noqa: E402
import tempfile  # noqa: E402
from pathlib import Path  # noqa: E402

from configs.loading import load  # noqa: E402
from market import window  # noqa: E402
from simulation.run import execute, prepare  # noqa: E402


def main() -> None:
    """Run a scenario and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=3)
    parser.add_argument("--start", default="2016-06-09")
    parser.add_argument("--config", default="default")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--one-core", action="store_true", help="never solve two at a time")
    options = parser.parse_args()
    if options.one_core:
        window.SPARE_CORE = False
    overrides = [f"days={options.days}", f"start={options.start}", *options.set]
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        execute(prepare(load(options.config, overrides), run), start=START)
        summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    seconds = summary["seconds"]
    total, floor = seconds["total"], seconds["solver"] + seconds["ac"]
    running = total - seconds["by_phase"]["start_up"]
    print(f"{summary['scenario']}, {summary['days']} d, {summary['n_steps']} steps, ", end="")
    print(f"{summary['n_peers']} peers, {summary['solves']} solves")
    print(f"wall {total:.1f} s, {1e3 * running / summary['n_steps']:.0f} ms a step")
    print(f"floor {floor:.1f} s: solver {seconds['solver']:.1f}, AC {seconds['ac']:.1f}")
    print(f"ratio {total / floor:.2f}; without the start-up {running / floor:.2f}")
    for phase, spent in seconds["by_phase"].items():
        print(f"  {phase:<14}{spent:8.2f} s {spent / total:7.1%} of the wall time")


if __name__ == "__main__":
    main()
