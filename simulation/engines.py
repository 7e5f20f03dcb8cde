"""Where the runs of a sweep are executed: processes of this machine, or a Dask cluster.

Both are engines of joblib, which :func:`simulation.sweeps.conduct` takes as it finds it set up.
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any

from joblib import parallel_config

from simulation.run_folders import ATTEMPTS

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE_S = 5
"""How long to wait for a scheduler, and for its workers. [s]"""
PACKAGES = ("agents", "configs", "grid", "market", "simulation")


class EngineError(ValueError):
    """An engine that cannot be used; the message says what to do."""


@contextmanager
def local_processes(jobs: int) -> Iterator[None]:
    """Set up joblib with processes of this machine, with one thread each for linear algebra."""
    with parallel_config("loky", n_jobs=jobs, inner_max_num_threads=1):
        yield


@contextmanager
def dask_cluster(address: str, folder: Path) -> Iterator[None]:
    """Set up joblib with the workers of a running Dask cluster.

    Parameters
    ----------
    address : str
        Address of its scheduler, such as ``tcp://127.0.0.1:8786``.
    folder : Path
        Folder that the workers are to write into.

    Raises
    ------
    EngineError
        If Dask is not installed, the scheduler cannot be reached, or its workers are of no use.
        Workers that join later are not looked at.
    """
    try:
        from distributed import Client  # noqa: PLC0415
    except ImportError as error:
        msg = "--engine dask: needs the package distributed; pip install 'drcosim[dask]'"
        raise EngineError(msg) from error
    try:
        client = Client(address, timeout=PATIENCE_S, set_as_default=False)
    except (OSError, ValueError) as error:
        msg = f"--scheduler {address}: cannot be reached ({error})"
        raise EngineError(msg) from error
    with client:
        _check_cluster(client, address)
        _check_share(client, folder)
        with parallel_config("dask", client=client):
            yield


def _check_cluster(client: Any, address: str) -> None:
    """Refuse a cluster on which runs would disturb each other, or hang."""
    try:
        client.wait_for_workers(1, timeout=PATIENCE_S)
    except TimeoutError as error:
        msg = f"--scheduler {address}: has no worker; start some with: dask worker {address}"
        raise EngineError(msg) from error
    # Settings of solvers and libraries are those of a process, not of a thread.
    threads = max(client.nthreads().values())
    if threads > 1:
        msg = f"--scheduler {address}: a worker has {threads} threads; allowed is --nthreads 1"
        raise EngineError(msg)
    # joblib waits for ever for a task that the scheduler gives up.
    allowed = client.run_on_scheduler(_allowed_failures)
    if allowed < ATTEMPTS:
        msg = (
            f"--scheduler {address}: distributed.scheduler.allowed-failures is {allowed}; allowed "
            f"are at least {ATTEMPTS}"
        )
        raise EngineError(msg)


def _check_share(client: Any, folder: Path) -> None:
    """Make sure that the workers write where this process reads, and run the same code."""
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=folder.resolve()) as probe:
        try:
            sights = client.run(_sight, Path(probe.name))
        except ImportError as error:
            msg = f"--engine dask: a worker cannot import this code ({error}); install it there"
            raise EngineError(msg) from error
        finally:
            if is_new:
                probe.close()
                folder.rmdir()
    code = _sight(folder)[1]
    for worker, (is_shared, its_code) in sights.items():
        if not is_shared:
            msg = f"--output {folder}: worker {worker} does not see it; all workers must share it"
            raise EngineError(msg)
        if its_code != code:
            msg = f"--engine dask: worker {worker} runs another version of this code"
            raise EngineError(msg)


def _allowed_failures(dask_scheduler: Any) -> int:
    """Return how many deaths of workers a task may outlive."""
    return int(dask_scheduler.allowed_failures)


def _sight(path: Path) -> tuple[bool, str]:
    """Tell whether a path exists here, and the checksum of the code."""
    root, code = Path(__file__).parents[1], hashlib.sha256()
    for package in PACKAGES:
        for file in sorted((root / package).rglob("*.py")):
            code.update(file.read_bytes())
    return path.exists(), code.hexdigest()
