"""One window of many networks: one problem, or one a network on one worker and on two.

``python tests/benchmarks/decomposed.py [--networks 50] [--iterations 5] [--ratio-only]``

The networks are the default scenario's two in turns, with peers of their own. The window is solved
as one problem, and network by network on two workers until they agree, which is compared with it
(not with ``--ratio-only``). Then some iterations of the same are made on one worker and on two, for
the ratio of their times; beside it stands what the ratio would be if each worker had a core of its
own, from the seconds of a core that the networks took. Projected is the time with a worker a
network: the longest network of every round, and what the DSO does with two workers (its own work
and its messages). Absolute times depend on the machine, the first ratio on its other work.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from configs.loading import load
from market import window
from market.decomposed import DecomposedStage
from market.first_stage import FirstStage
from simulation.run import prepare

if TYPE_CHECKING:
    from configs.schema import Market, ScenarioConfig
    from market.decisions import Decisions

FASTER = 1.6
"""How much faster two workers must be than one."""


class _Enough(Exception):  # noqa: N818
    """The window is known."""


@dataclass
class Posed:
    """A window as it comes to the solver."""

    stage: FirstStage
    data: tuple[Any, ...]
    rows: list[Any]


def scenario(n_networks: int, horizon: float) -> ScenarioConfig:
    """Take the default networks in turns."""
    config = load("default", ["start=2016-06-09", "days=1", f"market.horizon_hours={horizon}"])
    networks = [
        config.networks[k % 2].model_copy(update={"name": f"{config.networks[k % 2].name}-{k}"})
        for k in range(n_networks)
    ]
    return config.model_copy(update={"networks": tuple(networks)})


def pose(config: ScenarioConfig) -> Posed:
    """Run up to the first solve of a clearing."""
    found: list[Posed] = []
    assign, solve = FirstStage.assign, FirstStage.solve
    given: list[tuple[Any, ...]] = []

    def assigned(stage: FirstStage, *data: Any) -> None:
        given.append(data)
        assign(stage, *data)

    def stop(stage: FirstStage, rows: list[Any], *_: Any, **__: Any) -> Decisions:
        found.append(Posed(stage, given[-1], list(rows)))
        raise _Enough

    FirstStage.assign, FirstStage.solve = assigned, stop
    try:
        prepare(config, Path(tempfile.mkdtemp())).model.step()
    except _Enough:
        pass
    finally:
        FirstStage.assign, FirstStage.solve = assign, solve
    return found[0]


def decomposed(posed: Posed, settings: Market) -> DecomposedStage:
    """Take the window apart, with its problems compiled."""
    whole = posed.stage
    stage = DecomposedStage(whole.roster, whole.groups, settings, whole.q_damping)
    stage._opened()
    stage.assign(*posed.data)
    return stage


def slowest(stage: DecomposedStage) -> float:
    """Seconds of a core of the busiest worker of each round."""
    shares = stage._opened().networks
    return sum(max(sum(seconds[d] for d in own) for own in shares) for seconds in stage._rounds)


def export(decisions: Decisions) -> np.ndarray:
    """P2P exports less imports, (n_steps, n_networks). [kW]"""
    return decisions.values["exchange_out"] - decisions.values["exchange_in"]


def main() -> None:
    """Print times and differences."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=50)
    parser.add_argument("--iterations", type=int, default=5, help="for the ratio of times")
    parser.add_argument("--horizon", type=float, default=24.0, help="look-ahead window [h]")
    parser.add_argument("--ratio-only", action="store_true", help="do not wait until they agree")
    options = parser.parse_args()
    load_before = os.getloadavg()[0]
    window.SPARE_CORE = False  # the first solve of all is asked for
    with threadpool_limits(limits=1):
        config = scenario(options.networks, options.horizon)
        posed = pose(config)
        print(
            f"{options.networks} networks, {posed.stage.roster.n_peers} peers, "
            f"{len(posed.rows)} grid rows; load before {load_before:.1f} of {os.cpu_count()} cores"
        )
        n_iterations = options.iterations
        settings = config.market.model_copy(update={"solver": "decomposed", "solver_workers": 2})
        if not options.ratio_only:
            n_iterations = compare(posed, settings)
        measure(posed, settings, options.iterations, n_iterations)


def compare(posed: Posed, settings: Market) -> int:
    """Compare with one problem; return the iterations until the networks agree."""
    posed.stage.solve(posed.rows)  # compiles
    start = time.process_time()
    central = posed.stage.solve(posed.rows)
    print(f"one problem: {time.process_time() - start:.1f} s")
    stage = decomposed(posed, settings)
    apart = stage.solve(posed.rows)
    stage.close()
    how, scale = apart.coordination, np.abs(export(central)).max()
    traded = [np.maximum(export(found), 0).sum(axis=1) for found in (apart, central)]
    print(
        f"network by network, two workers: {how.wall_s:.1f} s, {how.n_iterations} iterations, "
        f"residual {how.residual:.1e}, gap {how.gap:.1e}"
    )
    print(
        f"difference: cost {(apart.objective / central.objective - 1):+.1e} of it; exchange "
        f"between all networks {np.abs(traded[0] - traded[1]).max() / scale:.1e}, in the step that "
        f"binds {abs(traded[0][0] - traded[1][0]) / scale:.1e} of the largest of a network"
    )
    return how.n_iterations


def measure(posed: Posed, settings: Market, n_measured: int, n_iterations: int) -> None:
    """Time some iterations on one worker and on two, and project the time of all."""
    wall: list[float] = []
    for n_workers in (1, 2):
        few = {"max_exchange_iterations": n_measured, "solver_workers": n_workers}
        stage = decomposed(posed, settings.model_copy(update=few))
        start = time.process_time()
        how = stage.solve(posed.rows).coordination
        own_s = time.process_time() - start
        wall.append(how.wall_s)
        balance = how.networks_s / (slowest(stage) + (own_s if n_workers == 2 else 0.0))
        stage.close()
    print(
        f"{n_measured} iterations: one worker {wall[0]:.1f} s, two {wall[1]:.1f} s, "
        f"{wall[0] / wall[1]:.2f} times faster; {balance:.2f} times with a core each (at least "
        f"{FASTER})"
    )
    rounds = (n_iterations + 2) / (n_measured + 2)
    print(
        f"projected with a worker a network: {rounds * (how.longest_s + own_s):.1f} s for "
        f"{n_iterations} iterations, of which {rounds * how.longest_s:.1f} s the longest network "
        f"and {rounds * own_s:.1f} s the DSO's work and messages; all networks together "
        f"{rounds * how.networks_s:.1f} s"
    )


if __name__ == "__main__":
    main()
