"""Where the networks' problems are solved: in this process, in others, or on a Dask cluster.

Every network has one worker, which compiles its problem once and keeps it with all its data:
what goes back and forth while prices are sought are prices and exports.
"""

from __future__ import annotations

import itertools
import os
import time
from concurrent.futures import BrokenExecutor, CancelledError
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from market.errors import MarketError
from market.network_stage import NetworkStage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Submit = Callable[..., Any]
    """Returns a future: that of Dask is none of the standard library's."""
    Arguments = Mapping[int, Mapping[str, Any]]

PATIENCE_S = 10
"""How long to wait for a scheduler and its workers. [s]"""
LONGEST_S = 600
"""Longest answer of a worker of a cluster: one that died never answers. [s]"""

_STAGES: dict[tuple[str, int], NetworkStage] = {}
"""The problems that this process keeps, by market and network."""
_number = itertools.count()


class WorkersLostError(MarketError):
    """A worker is gone, and with it the problems that it kept."""


class Workers:
    """The problems of all networks, wherever they are.

    Parameters
    ----------
    problems : sequence of mapping
        Arguments by name of every network's :class:`~market.network_stage.NetworkStage`.
    n_workers : int
        Number of processes; one is this process.
    scheduler : str, optional
        Address of a Dask scheduler whose workers are used instead.

    Attributes
    ----------
    networks : list of list of int
        The networks of every worker.
    busy_s : list of float
        Seconds of a core that each network took for the last call.

    Raises
    ------
    WorkersLostError
        If a worker cannot be reached.
    """

    def __init__(
        self,
        problems: Sequence[Mapping[str, Any]],
        n_workers: int = 1,
        scheduler: str | None = None,
    ) -> None:
        self._key = f"{os.uname().nodename}-{os.getpid()}-{next(_number)}"
        self._close: list[Callable[[], object]] = []
        self.busy_s = [0.0] * len(problems)
        n_workers = min(n_workers, len(problems))
        self._submit: list[Submit] = []
        if scheduler is not None:
            self._submit = self._dask(scheduler, len(problems))
        elif n_workers > 1:
            self._submit = self._processes(n_workers)
        n_peers = [problem["roster"].n_peers for problem in problems]
        self.networks = shared_out(n_peers, max(len(self._submit), 1))
        self._call(_open, dict(enumerate(problems)))

    def each(self, method: str, arguments: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Call a method of every network's problem.

        Parameters
        ----------
        method : str
            Its name.
        arguments : sequence of mapping
            Its arguments by name, network by network.

        Returns
        -------
        list
            What it returned, network by network.

        Raises
        ------
        WorkersLostError
            If a worker is gone.
        SolverFailedError
            If a solver failed.
        """
        return self._call(_call, dict(enumerate(arguments)), method)

    def _call(self, function: Callable[..., Any], arguments: Arguments, *more: Any) -> list[Any]:
        shares = [{d: arguments[d] for d in networks} for networks in self.networks]
        if not self._submit:
            returned = [function(self._key, shares[0], *more)]
        else:
            try:
                futures = [
                    submit(function, self._key, share, *more)
                    for submit, share in zip(self._submit, shares, strict=True)
                ]
                returned = [future.result(timeout=LONGEST_S) for future in futures]
            except (BrokenExecutor, CancelledError, TimeoutError, _NotKeptError) as error:
                raise WorkersLostError(f"{type(error).__name__} {error}") from error
        results: dict[int, Any] = {}
        for share in returned:
            for d, (result, seconds) in share.items():
                results[d], self.busy_s[d] = result, seconds
        return [results[d] for d in range(len(results))]

    def close(self) -> None:
        """Let go of the problems and end the processes."""
        if not self._submit:
            _forget(self._key)
        for close in self._close:
            close()
        self._close.clear()

    def _processes(self, n_workers: int) -> list[Submit]:
        """Start processes of this machine: one executor each, so that each keeps its networks."""
        from joblib.externals.loky import ProcessPoolExecutor  # noqa: PLC0415

        pools = [ProcessPoolExecutor(max_workers=1, timeout=None) for _ in range(n_workers)]
        self._close += [pool.shutdown for pool in pools]
        return [pool.submit for pool in pools]

    def _dask(self, scheduler: str, n_networks: int) -> list[Submit]:
        """Use the workers of a cluster, one network each as far as they go."""
        try:
            from distributed import Client  # noqa: PLC0415
        except ImportError as error:
            raise WorkersLostError("needs the package distributed") from error
        try:
            client = Client(scheduler, timeout=PATIENCE_S, set_as_default=False)
            self._close.append(client.close)
            client.wait_for_workers(1, timeout=PATIENCE_S)
        except (OSError, ValueError, TimeoutError) as error:
            self.close()
            raise WorkersLostError(f"scheduler {scheduler} or its workers: {error}") from error

        def submit_to(address: str) -> Submit:
            def submit(function: Callable[..., Any], *arguments: Any) -> Any:
                return client.submit(function, *arguments, workers=[address], pure=False)

            return submit

        addresses = sorted(client.nthreads())[:n_networks]
        return [submit_to(address) for address in addresses]


def shared_out(sizes: Sequence[int], n_workers: int) -> list[list[int]]:
    """Share networks out, largest first, each to the worker with the least so far."""
    shares: list[list[int]] = [[] for _ in range(n_workers)]
    load = np.zeros(n_workers)
    for d in sorted(range(len(sizes)), key=lambda d: -sizes[d]):
        least = int(load.argmin())
        shares[least].append(d)
        load[least] += sizes[d]
    return [sorted(share) for share in shares]


class _NotKeptError(RuntimeError):
    """A problem is asked for that its process does not keep."""


def _open(key: str, problems: Arguments) -> dict[int, tuple[None, float]]:
    """Compile the problems of some networks and keep them."""
    # Threads cost the many small matrix products more than they gain them.
    threadpool_limits(limits=1)
    out = {}
    for d, problem in problems.items():
        start = time.process_time()
        _STAGES[key, d] = NetworkStage(**problem)
        out[d] = None, time.process_time() - start
    return out


def _call(key: str, arguments: Arguments, method: str) -> dict[int, tuple[Any, float]]:
    """Call a method of some of the problems kept here; time each."""
    out = {}
    for d, given in arguments.items():
        if (key, d) not in _STAGES:
            raise _NotKeptError(f"network {d}")
        start = time.process_time()
        result = getattr(_STAGES[key, d], method)(**given)
        out[d] = result, time.process_time() - start
    return out


def _forget(key: str) -> None:
    for place in [place for place in _STAGES if place[0] == key]:
        del _STAGES[place]
