"""One window of many networks: one problem, or one a network on one worker and on two.

``python tests/benchmarks/decomposed.py [--networks 50] [--iterations 5] [--horizon 24]``

The networks are the default scenario's two in turns, with peers of their own. The window is solved
as one problem; then network by network on two workers until they agree, which is compared with it;
then some iterations of the same on one worker and on two, for the ratio of their times. Projected
is the time with a worker a network: the longest network of every round as one worker took it, and
what two workers took on top of their networks (the DSO's own work, messages, waiting). Absolute
times depend on the machine, the ratio on whether its cores have other work.
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
from market.decomposed import DecomposedStage
from market.first_stage import FirstStage
from simulation.run import prepare

if TYPE_CHECKING:
    from configs.schema import Market, ScenarioConfig
    from market.first_stage import Decisions

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


def on_top(stage: DecomposedStage, wall_s: float) -> float:
    """Seconds of a solve that are none of the busiest worker of each round."""
    shares = stage._opened().networks
    busy = [max(sum(seconds[d] for d in own) for own in shares) for seconds in stage._rounds]
    return wall_s - sum(busy)


def export(decisions: Decisions) -> np.ndarray:
    """P2P exports less imports, (n_steps, n_networks). [kW]"""
    return decisions.values["exchange_out"] - decisions.values["exchange_in"]


def main() -> int:
    """Print times and differences; 1 if two workers are not as fast as they must be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=50)
    parser.add_argument("--iterations", type=int, default=5, help="for the ratio of times")
    parser.add_argument("--horizon", type=float, default=24.0, help="look-ahead window [h]")
    options = parser.parse_args()
    load_before = os.getloadavg()[0]
    with threadpool_limits(limits=1):
        config = scenario(options.networks, options.horizon)
        posed = pose(config)
        print(
            f"{options.networks} networks, {posed.stage.roster.n_peers} peers, "
            f"{len(posed.rows)} grid rows; load before {load_before:.1f} of {os.cpu_count()} cores"
        )
        posed.stage.solve(posed.rows)  # compiles
        start = time.perf_counter()
        central = posed.stage.solve(posed.rows)
        central_s = time.perf_counter() - start
        print(f"one problem: {central_s:.1f} s")

        settings = config.market.model_copy(update={"solver": "decomposed", "solver_workers": 2})
        agreed = decomposed(posed, settings)
        apart = agreed.solve(posed.rows)
        how, scale = apart.coordination, np.abs(export(central)).max()
        agreed.close()
        traded = [np.maximum(export(found), 0).sum(axis=1) for found in (apart, central)]
        print(
            f"network by network, two workers: {how.wall_s:.1f} s, {how.n_iterations} iterations, "
            f"residual {how.residual:.1e}, gap {how.gap:.1e}"
        )
        print(
            f"difference: cost {(apart.objective / central.objective - 1):+.1e} of it; exchange "
            f"between all networks {np.abs(traded[0] - traded[1]).max() / scale:.1e}, of single "
            f"networks {np.abs(export(apart) - export(central)).max() / scale:.1e} of the largest"
        )
        few = {"max_exchange_iterations": options.iterations}
        times = {}
        for n_workers in (1, 2):
            stage = decomposed(
                posed, settings.model_copy(update={**few, "solver_workers": n_workers})
            )
            times[n_workers] = stage.solve(posed.rows).coordination
            overhead_s = on_top(stage, times[n_workers].wall_s)
            stage.close()
        ratio = times[1].wall_s / times[2].wall_s
        print(
            f"{options.iterations} iterations: one worker {times[1].wall_s:.1f} s, two "
            f"{times[2].wall_s:.1f} s, {ratio:.2f} times faster (at least {FASTER})"
        )
        rounds = (how.n_iterations + 2) / (options.iterations + 2)
        projected_s = rounds * (times[1].longest_s + overhead_s)
        print(
            f"projected with {options.networks} workers: {projected_s:.1f} s for all "
            f"{how.n_iterations} iterations, of which {rounds * times[1].longest_s:.1f} s the "
            f"longest network and {rounds * overhead_s:.1f} s coordination and messages; "
            f"{central_s / projected_s:.1f} times faster than one problem"
        )
    return int(ratio < FASTER)


if __name__ == "__main__":
    raise SystemExit(main())
