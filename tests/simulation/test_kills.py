"""Runs that are killed without a word, at any time and in the middle of a write, go on."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from configs.loading import load
from simulation.output_folder import is_begun
from simulation.run import main, run
from simulation.run_folders import status
from tests.simulation.resumed import assert_same

ROOT = Path(__file__).parents[2]
AT_RANDOM, IN_WRITES = 13, 12

SOURCE_OF_PROCESSES = """
import json, os, signal, stat, sys
from pathlib import Path
import simulation.journal, simulation.model
from simulation.run import main

def deadly(call, fatal, *, halves):
    def instead(*arguments, **options):
        writes.append(call)
        if len(writes) == fatal:
            if halves and stat.S_ISREG(os.fstat(arguments[0]).st_mode):
                os.ftruncate(arguments[0], os.fstat(arguments[0]).st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **options)
    return instead

writes = []
for line in sys.stdin:
    fatal, arguments = json.loads(line)
    child = os.fork()
    if child:
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        continue
    os.fsync = deadly(os.fsync, fatal, halves=True)  # killed with half of a file written
    os.replace = deadly(os.replace, fatal, halves=False)  # or with all, but not in its place
    Path.replace = lambda path, target: os.replace(path, target)
    code = main(arguments)
    print(len(writes), flush=True)
    os._exit(code)
"""
"""Makes processes that have all libraries loaded, and kill themselves at the n-th write."""


class Processes:
    """Starts runs in processes of their own."""

    def __init__(self, scenario):
        command = [sys.executable, "-c", SOURCE_OF_PROCESSES]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.source = subprocess.Popen(command, cwd=ROOT, text=True, **pipes)
        self.options = ["--config", str(scenario), "--set", "days=5", "--quiet"]

    def start(self, folder, fatal=0):
        """Start a run; return the number of its process."""
        self.source.stdin.write(json.dumps([fatal, [*self.options, "--output", str(folder)]]))
        self.source.stdin.write("\n")
        self.source.stdin.flush()
        return self.read()

    def read(self):
        """Number of writes of a run that ends, and the exit code of every one."""
        return int(self.source.stdout.readline())


def wait_until_begun(folder):
    while not is_begun(folder):
        time.sleep(0.002)


def check_nothing_is_corrupt(folder):
    """All files but those that are being written can be read."""
    for path in folder.rglob("*"):
        match path.suffix:
            case ".json":
                json.loads(path.read_text(encoding="utf-8"))
            case ".zip":
                with zipfile.ZipFile(path) as archive:
                    assert archive.testzip() is None
            case ".parquet":
                pd.read_parquet(path)
            case ".yaml":
                load(str(path))


@pytest.fixture(scope="module")
def processes(small):
    made = Processes(small / "feeder.yaml")
    with made.source:
        yield made


@pytest.fixture(scope="module")
def whole(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    return run(load(str(small / "feeder.yaml"), ["days=5"]), folder)


@pytest.fixture(scope="module")
def measured(processes, tmp_path_factory):
    """Seconds of a run from its beginning to its end, and its number of writes."""
    folder = tmp_path_factory.mktemp("measured") / "run"
    processes.start(folder)
    wait_until_begun(folder)
    begun = time.monotonic()
    n_writes = processes.read()
    assert processes.read() == 0
    return time.monotonic() - begun, n_writes


def go_on(processes, folder, whole):
    """Whatever the kill left is intact, and goes on to the end of the run that was not killed."""
    check_nothing_is_corrupt(folder)
    days = len(list(folder.glob("parts/*.zip")))
    print(f"{days} whole days of 5, {status(folder)}")
    if is_begun(folder):
        assert main(["--resume", str(folder), "--quiet"]) == 0
    else:  # nothing was lost: no step had been taken
        processes.start(folder)
        processes.read()
        assert processes.read() == 0
    assert_same(folder, whole)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(AT_RANDOM))
def test_killed_at_random(processes, whole, measured, tmp_path, number):
    folder, seconds = tmp_path / "run", random.Random(number).uniform(0.0, measured[0])
    while True:
        process = processes.start(folder)
        wait_until_begun(folder)
        time.sleep(seconds)
        os.kill(process, signal.SIGKILL)
        said = processes.read()
        if said == -signal.SIGKILL:
            break
        processes.read()  # it was faster than the one that was measured
        shutil.rmtree(folder)
        seconds /= 2
    print(f"killed {seconds:.2f} s of {measured[0]:.2f} s after its beginning")
    go_on(processes, folder, whole)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(IN_WRITES))
def test_killed_in_a_write(processes, whole, measured, tmp_path, number):
    # From the first write to the last, a different one in each twelfth.
    first, last = (1 + measured[1] * k // IN_WRITES for k in (number, number + 1))
    folder, fatal = tmp_path / "run", random.Random(number).randrange(first, last)
    processes.start(folder, fatal)
    assert processes.read() == -signal.SIGKILL
    print(f"killed in write {fatal} of {measured[1]}")
    go_on(processes, folder, whole)
