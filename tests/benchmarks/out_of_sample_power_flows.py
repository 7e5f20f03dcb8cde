"""AC power flows of a Monte Carlo check against a loop of pandapower, in one process.

``python tests/benchmarks/out_of_sample_power_flows.py [--flows N] [--sample N] [--step N]``

Ours: scenarios of one cleared step of the 85-bus network, from the profiles' errors through
set-points, recourse and device limits to the power flow and the grid limits; all of it is timed.
Theirs: pandapower's recycled power flow on a sample of the same injections, the power flow alone.
Scenarios are drawn with replacement from the test errors of a year less the training days; a
second error of another day, a tenth as large, makes each a different one. Prints seconds and
those of the one core that ours runs on, power flows per second, the ratio, and the largest
difference of a voltage. Absolute times depend on the machine, and on what else it does.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

from configs.loading import load
from grid.replay import AcReplay
from simulation.run import prepare

if TYPE_CHECKING:
    from market.costs import StepPrices
    from simulation.model import CoSimulation
    from simulation.records import Cleared


class Silence:
    """Takes the record of every step and writes nothing."""

    def write_step(self, record: object) -> None:
        """Drop the record."""


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flows", type=int, default=100_000, help="power flows of ours")
    parser.add_argument("--sample", type=int, default=200, help="power flows of pandapower")
    parser.add_argument("--step", type=int, default=10, help="hour of the cleared step")
    options = parser.parse_args()
    overrides = ["start=2016-06-04", "market.horizon_hours=4", "out_of_sample.days=280"]
    config = load("default", [*overrides, "out_of_sample.cadence_steps=1"])
    config = config.model_copy(update={"networks": config.networks[:1]})
    model = prepare(config, Path(tempfile.mkdtemp())).model
    model.tables = Silence()

    def check(step: int, cleared: Cleared, prices: StepPrices) -> tuple:
        """Measure in place of a check: the devices have not moved yet."""
        if step == options.step:
            measure(model, step, cleared, prices, options)
        return ()

    model.monte_carlo.check = check
    with threadpool_limits(limits=1):
        for _ in range(options.step + 1):
            model.step()


def measure(
    model: CoSimulation,
    step: int,
    cleared: Cleared,
    prices: StepPrices,
    options: argparse.Namespace,
) -> None:
    """Time both on the scenarios of one step."""
    carlo, world, operator = model.monte_carlo, model.world, model.operators[0]
    row = world.first_row + step
    errors = carlo._errors.draw(row, 0).errors
    rng = np.random.default_rng(0)
    one, other = (errors[rng.integers(len(errors), size=options.flows)] for _ in range(2))
    profiles = np.clip(
        world.archive.forecast(row)[0] + one + other / 10, carlo._lowest, carlo._highest
    )
    start, cpu = time.perf_counter(), time.process_time()
    excess = carlo.excess(cleared, 0, profiles, prices)
    ours, cpu = time.perf_counter() - start, time.process_time() - cpu
    sample = rng.choice(options.flows, size=options.sample, replace=False)
    p_kw, q_kvar = carlo.injections(cleared, 0, profiles[sample], prices)
    p_bus, q_bus = operator.bus_injections(p_kw), operator.bus_injections(q_kvar)
    voltage = np.abs(carlo._power_flow[0].solve(p_bus, q_bus))
    replay = AcReplay(operator.grid)
    source = np.zeros((options.sample, 1))
    p_all, q_all = np.hstack([source, p_bus]), np.hstack([source, q_bus])
    start = time.perf_counter()
    theirs = [replay.run(p, q) for p, q in zip(p_all, q_all, strict=True)]
    theirs_s = (time.perf_counter() - start) / options.sample
    difference = np.abs(voltage - [result.vm_pu for result in theirs]).max()
    print(f"ours: {options.flows} power flows and all around them in {ours:.2f} s")
    print(f"      ({cpu:.2f} s of one core, {options.flows / ours:.0f} a second)")
    print(f"      {np.mean(excess > 1e-6):.2%} of the scenarios violate a limit")
    print(f"pandapower: {1e3 * theirs_s:.2f} ms each over {options.sample}")
    print(f"ratio pandapower / ours: {theirs_s / (ours / options.flows):.0f}")
    print(f"largest difference of a voltage: {difference:.1e} p.u.")


if __name__ == "__main__":
    main()
