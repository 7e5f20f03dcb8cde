"""Nothing before a step depends on what comes after it."""

from dataclasses import fields, replace

import numpy as np
import pytest

from agents.forecasting import ForecastArchive
from market.ledger import Ledger
from simulation.model import CoSimulation
from simulation.setup import build_world

STEPS = (0, 3, 9)


class Silence:
    """Takes the records of a run and keeps them in memory."""

    def __init__(self):
        self.records = []

    def write_step(self, record):
        self.records.append(record)


def with_other_future(world, config, row):
    """A copy of the world in which all values from a row on are others."""
    values = world.profiles.values.copy()
    values[row:] = np.random.default_rng(1).uniform(0, 1, values[row:].shape)
    profiles = replace(world.profiles, values=values)
    archive = ForecastArchive(
        values,
        profiles.kinds,
        profiles.day_class,
        steps_per_day=config.steps_per_day,
        n_leads=config.n_window_steps,
        settings=config.forecast,
    )
    return replace(world, profiles=profiles, archive=archive)


def simulate(config, world, n_steps):
    """Records of the first steps, and the error samples of every window."""
    sink, samples = Silence(), []
    model = CoSimulation(config, world, sink)
    for _ in range(n_steps):
        model.step()
        samples.append([[past.sources for past in o.samples.steps] for o in model.operators])
    return sink.records, samples


def assert_same(one, other, path="", skip=()):
    """Equal bit for bit, arrays and nested messages included."""
    if path.rsplit(".", 1)[-1] in skip:
        return
    assert type(one) is type(other), path
    if isinstance(one, np.ndarray):
        np.testing.assert_array_equal(one, other, err_msg=path)
    elif hasattr(one, "__dataclass_fields__"):
        for field in fields(one):
            assert_same(
                getattr(one, field.name), getattr(other, field.name), f"{path}.{field.name}", skip
            )
    elif isinstance(one, Ledger):
        assert_same(one.items, other.items, path, skip)
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key in one:
            assert_same(one[key], other[key], f"{path}[{key}]", skip)
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), path
        for k, pair in enumerate(zip(one, other, strict=True)):
            assert_same(*pair, f"{path}[{k}]", skip)
    else:
        assert one == other or (one != one and other != other), path  # noqa: PLR0124 - both NaN


WALL_CLOCK = ("solver_s", "problem_s", "wall_s")


@pytest.mark.parametrize("step", STEPS)
def test_the_future_does_not_matter(scenario, step):
    """Values from a step on are unknown when it is cleared; they are revealed in it."""
    config = scenario()
    world = build_world(config)
    other_world = with_other_future(build_world(config), config, world.first_row + step)
    real, samples = simulate(config, world, step + 1)
    altered, other_samples = simulate(config, other_world, step + 1)
    for k in range(step + 1):
        now = world.first_row + k
        np.testing.assert_array_equal(
            world.archive.forecast(now), other_world.archive.forecast(now)
        )
        assert_same(samples[k], other_samples[k], f"samples[{k}]")
        assert_same(real[k].cleared, altered[k].cleared, f"cleared[{k}]", WALL_CLOCK)
        assert_same(real[k].settled.trades, altered[k].settled.trades, f"trades[{k}]")
    for k in range(step):
        assert_same(real[k], altered[k], f"record[{k}]", WALL_CLOCK)
    # The alteration is no empty one: the step itself turns out differently.
    changed = real[step].realised.column("p_kw") != altered[step].realised.column("p_kw")
    assert changed.mean() > 0.5


def test_the_past_does_matter(scenario):
    """The same comparison notices a change one step earlier."""
    config = scenario()
    world = build_world(config)
    step = 3
    other_world = with_other_future(build_world(config), config, world.first_row + step - 1)
    real, _ = simulate(config, world, step + 1)
    altered, _ = simulate(config, other_world, step + 1)
    with pytest.raises(AssertionError, match="cleared"):
        assert_same(real[step].cleared, altered[step].cleared, "cleared", WALL_CLOCK)
