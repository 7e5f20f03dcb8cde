"""How well weights of the samples and rules of the radius are calibrated, over a whole year.

``python tests/benchmarks/calibration_over_the_year.py [--every HOURS] [--cap] [--seed N]``

A surrogate that needs no clearing. In every hour whose forecast voltage without control comes
within three standard deviations of the upper limit, the schedule is taken to touch its margin: all
voltages are lowered by the same amount, just enough that the exact joint worst-case probability of
over-voltage is the risk level. This leaves a *room* between the highest forecast voltage and the
limit. Then comes what really happened: the hour violates if any bus rises by more than its room.
Voltages are linear in the errors, with the sensitivities of the network without injections, and
there is no recourse. Forecasts are those issued at the hour, samples those of the 60 days before it
(in January and February they reach back to the end of the same data).

Of each option the table gives the violation rate in per cent with a 95 % interval (bootstrap of
whole days), overall, by network, by season and in the hours whose forecast itself exceeds the
limit; the mean safety factor and room; the mean pinball loss of the room as a forecast of the 95 %
quantile, which is smallest for the true conditional quantile and so weighs calibration against
margin; the median radius, the mean effective number of samples and the time per hour.
``--cap`` lets no plant exceed its forecast.

Forgetting time and kernel width are the defaults of the configuration, set before this was run.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from agents.prosumer import source_maps
from configs.loading import load
from grid.limits import LimitRows
from grid.power_flow import BatchPowerFlow
from grid.sensitivity import ImpedanceModel, OperatingPoint
from market.ambiguity import worst_case_probability, worst_case_quantile
from market.calibration import FOLLOWS, SIGMA_FLOOR
from market.conditional import RULES, sample_weights
from market.radius import RadiusRule, Situation
from market.safety_factors import make_safety_factor
from simulation.setup import build_world

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agents.forecasting import Past
    from configs.schema import Market
    from simulation.setup import World

    Array = NDArray[np.float64]

RADII = ("0", "5e-4", "1e-3", "cross_validation")
SEASONS = {"winter": (12, 1, 2), "spring": (3, 4, 5), "summer": (6, 7, 8), "autumn": (9, 10, 11)}
STRESSED_SIGMAS = 3.0
N_BOOTSTRAPS = 2000


@dataclass(frozen=True, eq=False)
class Feeder:
    """The linear model of one network, by profile column."""

    name: str
    effect: Array
    """Rise of each bus voltage per unit of each column, (n_columns, n_buses). [p.u.]"""
    to_features: Array
    """Renewable power and load per unit of each column, (n_columns, 2). [kW]"""
    voltage: Array
    """Bus voltages at the forecasts of all hours, without control, (n_hours, n_buses). [p.u.]"""
    limit: float

    @classmethod
    def of(cls, world: World, d: int, forecast: Array) -> Feeder:
        """Linearise a network; its voltages at the forecasts are those of AC power flows."""
        network, power_flow = world.networks[d], BatchPowerFlow(world.networks[d])
        n_buses = network.n_buses - 1
        position = {column: k for k, column in enumerate(world.profiles.columns)}
        to_p, to_q = np.zeros((2, len(position), n_buses))
        for peer in world.peers[d]:
            for column, kw, kvar in source_maps(peer):
                place = position[column], network.position[peer.bus] - 1
                to_p[place] += kw
                to_q[place] += kvar
        idle = np.zeros((1, n_buses))
        start = power_flow.solve(idle, idle)
        point = OperatingPoint(ImpedanceModel.of(network), start, idle, idle)
        d_p, d_q = LimitRows.of(network).sensitivities(point, 0)
        by_column = to_p.sum(axis=1)
        return cls(
            name=network.name,
            effect=to_p @ d_p[:n_buses].T + to_q @ d_q[:n_buses].T,
            to_features=np.stack([np.maximum(by_column, 0), np.minimum(by_column, 0)], axis=1),
            voltage=np.abs(power_flow.solve(forecast @ to_p, forecast @ to_q))[:, 1:],
            limit=float(network.v_max_pu[1]),
        )


@dataclass(frozen=True, eq=False)
class Hour:
    """One stressed hour of one network, as known before it, and what then happened."""

    place: tuple[str, int]
    time: pd.Timestamp
    u: Array
    """Rise of the voltages by past errors, (n_samples, n_buses). [p.u.]"""
    realised: Array
    """Rise of the voltages in the hour, (n_buses,). [p.u.]"""
    below: Array
    """How far each forecast voltage is below the highest, (n_buses,). [p.u.]"""
    day: NDArray[np.int64]
    age: Array
    past_features: Array
    features: Array
    exceeds: bool
    """Whether the forecast itself is above the limit."""

    @property
    def worst(self) -> float:
        """Room that the hour needs in hindsight. [p.u.]"""
        return float((self.realised - self.below).max())


def stressed_hours(world: World, d: int, *, every: int, cap: bool) -> list[Hour]:
    """Find the hours of a network that come close to the upper limit by their forecast."""
    rows = world.first_row + np.arange(0, len(world.profiles.values), every)
    forecast = np.array([world.archive.forecast(row)[0] for row in rows])
    feeder = Feeder.of(world, d, forecast)
    renewable = np.array([kind != "load" for kind in world.profiles.kinds])

    def passed_on(errors: Array) -> Array:
        return np.where(renewable, np.minimum(errors, 0.0), errors) if cap else errors

    hours = []
    for k, row in enumerate(rows):
        past: Past = world.archive.past(row, 0)
        u = passed_on(past.errors) @ feeder.effect
        highest = feeder.voltage[k].max()
        reach = feeder.voltage[k] + u.mean(axis=0) + STRESSED_SIGMAS * u.std(axis=0)
        if reach.max() <= feeder.limit:
            continue
        actual = world.profiles.values[row % len(world.profiles.values)]
        when = world.profiles.times[row % len(world.profiles.values)]
        hours.append(
            Hour(
                place=(feeder.name, when.hour),
                time=when,
                u=u,
                realised=passed_on(actual - forecast[k]) @ feeder.effect,
                below=highest - feeder.voltage[k],
                day=past.day,
                age=(row // 24 - past.day).astype(float),
                past_features=past.forecasts @ feeder.to_features,
                features=forecast[k] @ feeder.to_features,
                exceeds=bool(highest > feeder.limit),
            )
        )
    return hours


@dataclass(frozen=True, eq=False)
class Standing:
    """Rows of an hour under one choice of weights."""

    hour: Hour
    weights: Array
    mean: Array
    sigma: Array

    @classmethod
    def of(cls, hour: Hour, weights: Array) -> Standing:
        """Find the moments."""
        mean = weights @ hour.u
        sigma = np.sqrt(weights @ (hour.u - mean) ** 2)
        return cls(hour, weights, mean, np.maximum(sigma, SIGMA_FLOOR))

    def slack_ratio(self, room: float) -> Array:
        """Distance of each row to its limit beyond the mean error. [sigma]"""
        ratio: Array = (room + self.hour.below - self.mean) / self.sigma
        return ratio

    def room(self, risk_level: float, radius: float) -> float:
        """Smallest room at which the exact joint worst case is the risk level. [p.u.]"""
        no_factor = float((self.mean - self.hour.below).max())
        worst = (self.hour.u - self.hour.below).max(axis=1)
        lower = max(worst_case_quantile(worst, self.weights, risk_level, 0.0), no_factor)
        if radius == 0.0:
            return lower
        ratio = (self.hour.below - self.hour.u) / self.sigma

        def certificate(room: float) -> float:
            margin = (ratio + room / self.sigma).min(axis=1)
            return worst_case_probability(margin, self.weights, radius)

        # With a common sigma the smallest additional room is the most that moving mass can gain.
        upper = lower + self.sigma.max() * (radius / risk_level + 1.0)
        while certificate(upper) > risk_level:
            upper += upper - lower
        while upper - lower > 1e-6:
            middle = 0.5 * (lower + upper)
            lower, upper = (lower, middle) if certificate(middle) <= risk_level else (middle, upper)
        return upper


def evaluate(hours: list[Hour], market: Market, weighting: str, radius: str) -> pd.DataFrame:
    """Go through the hours with one option, in order of time."""
    by_rule = not radius[0].isdigit()
    factor = make_safety_factor(
        "wasserstein_joint", market.risk_level, market.radius if by_rule else float(radius)
    )
    rule = RadiusRule(radius if by_rule else "fixed", factor, market.radius_confidence)
    out: defaultdict[str, list[Any]] = defaultdict(list)
    for hour in hours:
        weights = sample_weights(
            weighting,
            hour.age,
            hour.past_features,
            hour.features,
            forgetting_days=market.forgetting_days,
            width=market.similarity_width,
            largest=market.risk_level / 2,
        )
        at = Standing.of(hour, weights)
        chosen = rule.choice(hour.place).radius
        room = at.room(market.risk_level, chosen)
        slack = at.slack_ratio(room)
        kept = np.where(slack <= slack.min() + FOLLOWS, 0.0, slack)
        rule.learn(hour.place, Situation((hour.u - at.mean) / at.sigma, weights, hour.day, kept))
        needed = hour.worst
        out["network"].append(hour.place[0])
        out["time"].append(hour.time)
        out["exceeds"].append(hour.exceeds)
        out["violated"].append(needed > room)
        out["room"].append(1e3 * room)
        out["kappa"].append(slack.min())
        out["radius"].append(chosen)
        out["effective"].append(1.0 / (weights @ weights))
        short = needed - room
        quantile = 1.0 - market.risk_level
        out["pinball"].append(1e3 * max(quantile * short, (quantile - 1.0) * short))
    return pd.DataFrame(out)


def interval(table: pd.DataFrame) -> tuple[float, float]:
    """95 % interval of the violation rate, by a bootstrap of whole days."""
    by_day = table.groupby(table["time"].dt.date)["violated"].agg(["sum", "size"]).to_numpy()
    rng = np.random.default_rng(0)
    drawn = by_day[rng.integers(len(by_day), size=(N_BOOTSTRAPS, len(by_day)))].sum(axis=1)
    low, high = np.percentile(100 * drawn[:, 0] / drawn[:, 1], [2.5, 97.5])
    return float(low), float(high)


def summarise(table: pd.DataFrame) -> dict[str, float | str]:
    """One line of the result."""
    low, high = interval(table)
    month = table["time"].dt.month
    rate = 100 * table["violated"]
    return {
        "viol_%": f"{rate.mean():.1f} [{low:.1f}, {high:.1f}]",
        **{
            name: f"{rate[table['network'] == name].mean():.1f}"
            for name in table["network"].unique()
        },
        **{name: f"{rate[month.isin(of)].mean():.1f}" for name, of in SEASONS.items()},
        "exceeding": f"{rate[table['exceeds']].mean():.1f}",
        "kappa": f"{table['kappa'].mean():.2f}",
        "room_mpu": f"{table['room'].mean():.2f}",
        "pinball": f"{table['pinball'].mean():.3f}",
        "radius_median": f"{table['radius'].median():.0e}",
        "n_eff": f"{table['effective'].mean():.0f}",
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Calibration over the year, without clearing.")
    parser.add_argument("--every", type=int, default=1, help="every how many hours [h]")
    parser.add_argument("--cap", action="store_true", help="no plant exceeds its forecast")
    parser.add_argument("--seed", type=int, default=1, help="seed of the population")
    arguments = parser.parse_args()
    config = load("default", ["start=2016-01-01", "days=366", f"seed={arguments.seed}"])
    world = build_world(config)
    hours = [
        hour
        for d in range(len(world.networks))
        for hour in stressed_hours(world, d, every=arguments.every, cap=arguments.cap)
    ]
    lines = {}
    for weighting, radius in [*product(RULES, RADII), ("equal", "formula")]:
        start = time.perf_counter()
        table = evaluate(hours, config.market, weighting, radius)
        spent = 1e3 * (time.perf_counter() - start) / len(hours)
        lines[weighting, radius] = summarise(table) | {"ms": f"{spent:.1f}"}
    shape = table.groupby(["network", table["time"].dt.month]).size().unstack(fill_value=0)
    print("hours by month\n", shape.to_string(), sep="")
    print(pd.DataFrame(lines).T.to_string())


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
