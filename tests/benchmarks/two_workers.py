"""Time of a sweep of eight equal runs on one worker and on two.

    python tests/benchmarks/two_workers.py [--days 2]

The runs differ in their seed alone. Both sweeps are commands of their own, start-up, planning and
report included, on an otherwise idle machine with at least two cores.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT = 0.6
"""What two workers may take of the time of one."""
EXPERIMENT = """
name: two_workers
scenario: smoke
set: {{days: {days}}}
replicates: [{replicates}]
"""


def sweep(file: Path, folder: Path, jobs: int) -> float:
    """Run the sweep and return its time. [s]"""
    command = [sys.executable, "-m", "simulation.experiment", str(file), "--output", str(folder)]
    start = time.perf_counter()
    subprocess.run([*command, "--jobs", str(jobs), "--quiet"], check=True)
    return time.perf_counter() - start


def main() -> int:
    """Print both times and their ratio; 1 if it is above the limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--days", type=int, default=2, help="length of a run [d]")
    days = parser.parse_args().days
    replicates = ", ".join(f"{{seed: {seed}}}" for seed in range(1, 9))
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "two_workers.yaml"
        file.write_text(EXPERIMENT.format(days=days, replicates=replicates), encoding="utf-8")
        load = os.getloadavg()[0]
        one, two = (sweep(file, Path(name) / str(jobs), jobs) for jobs in (1, 2))
    print(f"cores {os.cpu_count()}, load before {load:.1f}, days per run {days}")
    print(f"one worker {one:.1f} s, two workers {two:.1f} s, ratio {two / one:.2f} (limit {LIMIT})")
    return int(two / one > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
