"""Monte Carlo checks of cleared steps with forecast errors that their clearing did not know.

**Training and test set.** A clearing learns the errors of targets before its issue step (the
trailing ``forecast.sample_days``). A check draws on those of the ``out_of_sample.days`` days that
start *at* the issue step, with the same lead and the same times of day. So the two share no row of
the data, not even where these wrap round; a run in which they would is refused. The forecasts
behind the test errors are those of the run's own forecaster, each made from the values before its
own issue step.

**Scenarios.** Each test error is added to the forecast at hand, and the sum cut to what a profile
can be: generation from nothing to its rating, loads not below zero (nor below the data where
reactive load is negative). Every peer scales the result to its devices as it scales reality.

**What it tests.** The errors of the coming days are drawn whatever the situation: a check holds the
promise against the average of situations (its marginal), not against the one at hand, which the
weights of the samples aim at (its conditional). The error that the step itself will see is one of
them, so that a check and the replay of the step are not independent.

**Intervals.** The table ``out_of_sample`` gives Clopper and Pearson's interval of every check,
which takes its scenarios as independent; those of neighbouring hours of one day are not, so it is
too narrow. The summary's intervals resample days: see :class:`simulation.tallies.ScenarioTally`.

Nothing of a check reaches agents or clearings: a run gives the same tables with and without. With
``forecast.perfect_foresight`` no forecast errs, so nothing is checked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agents.dso import Revealed
from agents.forecasting import ForecastArchive
from grid.power_flow import BatchPowerFlow
from grid.sensitivity import ImpedanceModel, OperatingPoint
from market.finite import require_finite
from market.out_of_sample import (
    Fleet,
    Outturn,
    OverlapError,
    realised_injections,
    require_disjoint,
    worst_excess,
)
from simulation.records import Check

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from agents.dn_operator import DnOperator
    from agents.dso import Dso
    from agents.forecasting import Past
    from agents.prosumer import Prosumer
    from configs.schema import ScenarioConfig
    from market.costs import StepPrices
    from simulation.records import Cleared
    from simulation.setup import World

    Array = NDArray[np.float64]

CHUNK = 4096
"""Scenarios at once: few enough that their power flows fit into little memory."""


class UnseenErrors:
    """Forecast errors from a step on: for evaluation only, never for an agent.

    The errors of the coming days are those that somebody would learn from these many days later,
    so an archive of past errors serves, asked from there.

    Parameters
    ----------
    archive : ForecastArchive
        The archive that the agents learn from.
    config : ScenarioConfig
        The scenario.
    first_row : int
        Row of the profiles at which the run starts.

    Raises
    ------
    OverlapError
        If a clearing would learn from errors that it is tested with.
    """

    def __init__(self, archive: ForecastArchive, config: ScenarioConfig, first_row: int) -> None:
        days, training = config.out_of_sample.days, config.forecast.sample_days
        self._training = archive
        self._ahead = days * config.steps_per_day
        settings = config.forecast.model_copy(update={"sample_days": days})
        self._test = archive.resampled(settings, config.market.cadence_steps)
        try:
            self._require_disjoint(first_row, 0)
        except OverlapError as error:
            msg = (
                f"out_of_sample.days {days}: {error}; together with forecast.sample_days "
                f"{training} they must not exceed the days of the data"
            )
            raise OverlapError(msg) from error

    def draw(self, row: int, lead: int) -> Past:
        """Errors of one lead from an issue step on, with times of day like the training set's."""
        self._require_disjoint(row, lead)
        return self._test.past(row + self._ahead, lead)

    def _require_disjoint(self, row: int, lead: int) -> None:
        test = self._test.rows(row + self._ahead, lead)
        require_disjoint(self._training.rows(row, lead), test)


class MonteCarlo:
    """Checks cleared steps before their devices move.

    Parameters
    ----------
    config : ScenarioConfig
        The scenario.
    world : World
        What the run starts from.
    prosumers : sequence of Prosumer
        The peers, in the roster's order.
    operators : sequence of DnOperator
        The operators, by network.
    dso : Dso
        Calls the recourse.

    Raises
    ------
    ValueError
        If checks are on and their errors would overlap the training set.
    """

    def __init__(
        self,
        config: ScenarioConfig,
        world: World,
        prosumers: Sequence[Prosumer],
        operators: Sequence[DnOperator],
        dso: Dso,
    ) -> None:
        self.cadence_steps = 0
        self._world = world
        self._prosumers = prosumers
        self._operators = operators
        self._dso = dso
        if isinstance(world.archive, ForecastArchive) and config.out_of_sample.cadence_steps:
            self.cadence_steps = config.out_of_sample.cadence_steps
            self._errors = UnseenErrors(world.archive, config, world.first_row)
            self._impedance = [ImpedanceModel.of(network) for network in world.networks]
            self._power_flow = [BatchPowerFlow(network) for network in world.networks]
            values, kinds = world.profiles.values, np.array(world.profiles.kinds)
            self._lowest = np.minimum(values.min(axis=0), 0.0)
            # Data measured a little above rating may come again.
            self._highest = np.where(kinds == "load", np.inf, np.maximum(values.max(axis=0), 1.0))

    def check(self, step: int, cleared: Cleared, prices: StepPrices) -> tuple[Check, ...]:
        """Check one step of a clearing, by network.

        Parameters
        ----------
        step : int
            The step; its devices have not moved yet.
        cleared : Cleared
            The clearing that binds it.
        prices : StepPrices
            Prices of the step.

        Returns
        -------
        tuple of Check
            Empty when checks are off, or none is due.
        """
        if not self.cadence_steps or step % self.cadence_steps:
            return ()
        k, row = step - cleared.step, self._world.first_row + cleared.step
        test = self._errors.draw(row, k)
        forecast = self._world.archive.forecast(row)[k]
        profiles = np.clip(forecast + test.errors, self._lowest, self._highest)
        excess = self.excess(cleared, k, profiles, prices)
        audits = [window[k] for window in cleared.result.audits]
        return tuple(
            Check(
                network.name, excess[:, d], test.day, audits[d].certificate, bool(audits[d].binding)
            )
            for d, network in enumerate(self._world.networks)
        )

    def excess(self, cleared: Cleared, k: int, profiles: Array, prices: StepPrices) -> Array:
        """How far every scenario exceeds the limit that it exceeds most.

        Parameters
        ----------
        cleared : Cleared
            The clearing.
        k : int
            Binding step that is realised.
        profiles : ndarray, shape (n_scenarios, n_columns)
            What the profiles turn out to be. [-]
        prices : StepPrices
            Prices of the step.

        Returns
        -------
        ndarray, shape (n_scenarios, n_networks)
            Negative where all limits are kept; NaN where the power flow has no solution. [p.u.]
        """
        out = np.empty((len(profiles), len(self._operators)))
        for first in range(0, len(profiles), CHUNK):
            part = slice(first, first + CHUNK)
            p_kw, q_kvar = self.injections(cleared, k, profiles[part], prices)
            for name, values in (("p_kw", p_kw), ("q_kvar", q_kvar)):
                what, peers = f"{name} of a Monte Carlo check", self._world.roster.peer_id
                require_finite(what, values, peers, step=cleared.step + k)
            for d, operator in enumerate(self._operators):
                members = self._world.roster.members(d)
                p_bus = operator.bus_injections(p_kw[:, members])
                q_bus = operator.bus_injections(q_kvar[:, members])
                voltage = self._power_flow[d].solve(p_bus, q_bus)
                point = OperatingPoint(self._impedance[d], voltage, p_bus, q_bus)
                out[part, d] = worst_excess(operator.rows.value(point), operator.rows.limit)
        return out

    def injections(
        self, cleared: Cleared, k: int, profiles: Array, prices: StepPrices
    ) -> tuple[Array, Array]:
        """Net injections of every peer; arguments as in :meth:`excess`.

        Returns
        -------
        p_kw, q_kvar : ndarray, shape (n_scenarios, n_peers)
            [kW, kvar]
        """
        fleet, roster = fleet_of(self._prosumers), self._world.roster
        load_kw, flexible_kw = cleared.book.reported_load(k, roster)

        def recourse(error_kw: Array, q_kvar: Array) -> Array:
            revealed = Revealed(error_kw, q_kvar, fleet.energy_kwh[roster.storage], prices)
            return self._dso.recourse(cleared.book, cleared.result, k, revealed)

        return realised_injections(
            cleared.awards,
            k,
            outturn_of(self._prosumers, profiles),
            expected_load_kw=load_kw + flexible_kw,
            recourse=recourse,
            fleet=fleet,
            roster=roster,
        )


def outturn_of(prosumers: Sequence[Prosumer], profiles: Array) -> Outturn:
    """Scale profiles, (n_scenarios, n_columns), to the devices of every peer."""
    outlooks = [prosumer.outlook(profiles) for prosumer in prosumers]
    return Outturn(
        load_kw=np.stack([outlook.load_kw for outlook in outlooks], axis=1),
        load_kvar=np.stack([outlook.load_kvar for outlook in outlooks], axis=1),
        flexible_kw=np.stack([outlook.flexible_kw for outlook in outlooks], axis=1),
        renewable_kw=np.stack([outlook.renewable_kw for outlook in outlooks], axis=1),
    )


def fleet_of(prosumers: Sequence[Prosumer]) -> Fleet:
    """Gather the devices of every peer as they stand now."""

    def column(device: str, attribute: str, without: float = 0.0) -> Array:
        owned = [getattr(prosumer, device) for prosumer in prosumers]
        return np.array([without if o is None else getattr(o, attribute) for o in owned])

    return Fleet(
        battery_kw=column("battery", "power_kw"),
        battery_kwh=column("battery", "capacity_kwh"),
        energy_kwh=column("battery", "energy_kwh"),
        charge_efficiency=column("battery", "charge_efficiency", 1.0),
        discharge_efficiency=column("battery", "discharge_efficiency", 1.0),
        unit_kw=column("unit", "power_kw"),
        flexible_kw=column("flexible", "power_kw"),
        curtailable_share=column("flexible", "curtailable_share"),
        backlog_kwh=column("flexible", "backlog_kwh"),
        backlog_max_kwh=column("flexible", "backlog_max_kwh"),
    )
