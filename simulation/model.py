"""The co-simulation: one step is one line of the method."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import mesa
import numpy as np

from agents.coalition import make_players
from agents.dn_operator import DnOperator
from agents.dso import Dso, Revealed
from agents.outlook import Scaling
from agents.prosumer import Prosumer, retail_bid
from agents.strategies.protocol import Observation
from grid.replay import AcReplay, PowerFlowError
from grid.violations import find_violations, missed_limits, power_flow_failure
from market import accounts
from market.book import TariffWindow
from market.charges import grid_charges
from market.costs import DeviceCosts, Flows, StepPrices, fees_by_network, operational_cost
from market.finite import require_finite
from market.imbalance import Recourse
from market.price_blocks import n_blocks
from market.recourse import network_errors
from market.resource_costs import check_bridge, resource_cost, transfers
from market.settlement import Metered, settle
from simulation.kpis import RunTotals
from simulation.market_totals import MarketTotals
from simulation.out_of_sample import MonteCarlo
from simulation.outcomes import outcomes, pool_prices
from simulation.records import Cleared, Realised, Replayed, Settled, StepRecord
from simulation.stopwatch import Stopwatch, timed
from simulation.strategy_state import read_states, restore_states, save_states
from simulation.streams import stream
from simulation.trading import PeerTrading

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from configs.schema import ScenarioConfig
    from grid.replay import ReplayResult
    from grid.violations import Violation
    from market.bids import Bid
    from market.book import BidBook
    from market.clearing import ClearingResult
    from simulation.records import Check
    from simulation.setup import World
    from simulation.tables import StepTables

    Array = NDArray[np.float64]

log = logging.getLogger(__name__)


class CoSimulation(mesa.Model):
    """Prosumers, network operators and the DSO, step by step.

    Parameters
    ----------
    config : ScenarioConfig
        The scenario.
    world : World
        What :func:`simulation.setup.build_world` makes of it.
    tables : StepTables
        Takes the records of every step.
    """

    def __init__(self, config: ScenarioConfig, world: World, tables: StepTables) -> None:
        super().__init__(rng=stream(config.seed, "model"))
        self.config = config
        self.world = world
        self.tables = tables
        self.roster = world.roster
        self.now = 0
        self.totals = RunTotals(self.roster.network)
        self.stopwatch = Stopwatch()
        position = {column: k for k, column in enumerate(world.profiles.columns)}
        specs = [spec for group in world.peers for spec in group]
        self.players = make_players(specs, partial(stream, config.seed, "strategy"))
        if config.strategy_state is not None:
            restore_states(config.strategy_state, self.players, specs)
        self._scaling = Scaling(specs, position)
        self.prosumers = [
            Prosumer(
                self,
                spec,
                network.name,
                position,
                n_blocks(config.market),
                strategy=self.players[spec.player],
                first_step=(spec.strategy_from_day - 1) * config.steps_per_day,
            )
            for network, group in zip(world.networks, world.peers, strict=True)
            for spec in group
        ]
        self.operators = [
            DnOperator(self, network, group, position, config.market)
            for network, group in zip(world.networks, world.peers, strict=True)
        ]
        # Strategies without a state of their own mostly bid alike.
        states = read_states(self.players, specs, step=0)
        own_groups = np.array([bool(states[spec.player]) for spec in specs])
        self.dso = Dso(self, self.roster, config.market, self.operators, own_groups)
        self.trading = PeerTrading(config.market, world)
        self._replays = [AcReplay(network) for network in world.networks]
        self._costs = _true_costs(self.prosumers)
        self.market_totals = MarketTotals(self.roster, world.tariff, self._costs)
        self.monte_carlo = MonteCarlo(config, world, self.prosumers, self.operators, self.dso)
        self._pool_price = np.full(self.roster.n_networks, np.nan)
        self._cleared: Cleared | None = None

    def step(self) -> None:
        """Advance one time step."""
        if self._cleared is None or self.now % self.config.market.cadence_steps == 0:
            forecast = self._forecast()
            bids = self._bid()
            accepted, rejected = self._validate(bids)
            book, result = self._clear(accepted, forecast)
            awards = self.dso.awards(book, result, self.now, self.config.market.cadence_steps)
            markups = self._markups()
            self._cleared = Cleared(self.now, bids, rejected, book, result, awards, markups)
        cleared = self._cleared
        checks = self._check(cleared)
        realised = self._realise(cleared)
        replayed = self._replay(cleared, realised)
        settled = self._settle(cleared, realised, replayed)
        prices = self._bus_prices(cleared)
        record = StepRecord(self.now, cleared, realised, replayed, settled, prices, checks)
        self._learn(record)
        self._record(record)
        self.now += 1

    # Forecast, bid, validate, clear ----------------------------------------------------------

    @timed("forecasts")
    def _forecast(self) -> Array:
        """Every peer learns the forecast of its own devices; operators learn the past errors."""
        row, archive = self.world.first_row + self.now, self.world.archive
        forecast = archive.forecast(row)
        past = archive.past(row, np.arange(self.roster.n_steps))
        columns = self.world.profiles.columns
        require_finite("forecast", forecast, columns, step=self.now)
        require_finite("past forecast error", past.errors, columns, step=self.now)
        self._tell(forecast)
        for operator in self.operators:
            operator.open_window(self.now, forecast, past)
        return forecast

    def _tell(self, forecast: Array) -> None:
        """Tell every peer what a forecast of the profiles means for its devices."""
        for prosumer, outlook in zip(self.prosumers, self._scaling.outlooks(forecast), strict=True):
            prosumer.forecast(outlook)

    @timed("bids")
    def _bid(self) -> list[tuple[str, Bid]]:
        """Every peer submits its bid."""
        by_network = dict(zip(self.roster.network, self._observations(), strict=True))
        return [(p.peer_id, p.bid(by_network[p.network])) for p in self.prosumers]

    def _markups(self) -> dict[str, float]:
        """Mark-ups that stand behind the bids, by player."""
        chosen = {p.spec.player: p.markup(self.now) for p in self.prosumers}
        return {player: markup for player, markup in chosen.items() if markup is not None}

    def _observations(self) -> list[Observation]:
        """What the peers of each network may know."""
        window = slice(self.now, self.now + self.roster.n_steps)
        tariff = self.world.tariff
        return [
            Observation(
                step=self.now,
                retail=tariff.retail[window],
                feed_in=tariff.feed_in[window],
                fee=self.config.market.network_fee_within_eur_per_kwh,
                last_price=price,
            )
            for price in self._pool_price.tolist()
        ]

    @timed("bids")
    def _validate(self, bids: list[tuple[str, Bid]]) -> tuple[dict[str, Bid], dict[str, str]]:
        """Every operator checks the bids of its own network."""
        accepted: dict[str, Bid] = {}
        rejected: dict[str, str] = {}
        own: dict[str, list[tuple[str, Bid]]] = {name: [] for name in self.roster.network}
        for bid, prosumer in zip(bids, self.prosumers, strict=True):
            own[prosumer.network].append(bid)
        for operator in self.operators:
            good, bad = operator.validate(own[operator.network], self.now, self.roster.n_steps)
            accepted |= good
            rejected |= bad
        self.totals.rejected_bids += len(rejected)
        return accepted, rejected

    @timed("calibration")
    def _clear(self, accepted: dict[str, Bid], forecast: Array) -> tuple[BidBook, ClearingResult]:
        """The DSO clears; peers without a valid bid stay on their retail contracts."""
        tariff = self._observations()[0]  # The supplier's prices are the same for everybody.
        retail = {
            p.peer_id: retail_bid(p.spec, p.network, p.outlook(forecast), tariff)
            for p in self.prosumers
            if p.peer_id not in accepted
        }
        ac_before = self._ac_seconds()
        as_at_start = self.config.market.final_storage == "as_at_start"
        last = self.config.n_steps - 1 if as_at_start else None
        book, result = self.dso.clear(self.now, accepted, retail, self._tariff_window(), last)
        self.stopwatch.credit("solver", result.solver_s)
        self.stopwatch.credit("problem", result.problem_s)
        self.stopwatch.credit("ac_clearing", self._ac_seconds() - ac_before)
        self._count_clearing(result)
        return book, result

    def _ac_seconds(self) -> float:
        return sum(operator.ac_seconds for operator in self.operators)

    def _tariff_window(self) -> TariffWindow:
        window = slice(self.now, self.now + self.roster.n_steps)
        tariff = self.world.tariff
        prices = TariffWindow(
            retail=tariff.retail[window],
            feed_in=tariff.feed_in[window],
            loss=tariff.loss[window],
            imbalance_buy=tariff.imbalance_buy[window],
            imbalance_sell=tariff.imbalance_sell[window],
        )
        for name, values in vars(prices).items():
            require_finite(f"tariff {name}", values, step=self.now)
        return prices

    def _count_clearing(self, result: ClearingResult) -> None:
        totals = self.totals
        totals.clearings += 1
        totals.passes += result.n_passes
        for audits in result.audits:
            for audit in audits:
                totals.add_promise(audit.promise)
            totals.certificates += [audit.certificate for audit in audits if audit.binding]
        totals.fallback_clearings += bool(result.fallback)
        totals.add_coordination(result.coordination)

    # Realise, replay, settle -----------------------------------------------------------------

    @timed("out_of_sample")
    def _check(self, cleared: Cleared) -> tuple[Check, ...]:
        """Check the clearing with errors that it did not know, where a check is due."""
        failed_before = self.dso.failed_dispatches
        checks = self.monte_carlo.check(self.now, cleared, self._prices())
        self.totals.failed_dispatches_of_checks += self.dso.failed_dispatches - failed_before
        return checks

    @timed("devices")
    def _realise(self, cleared: Cleared) -> Realised:
        """Load and renewable power are revealed; the DSO activates; devices follow."""
        k = self.now - cleared.step
        row = (self.world.first_row + self.now) % len(self.world.profiles.values)
        actual_profiles = self.world.profiles.values[row : row + 1]
        columns = self.world.profiles.columns
        require_finite("profile value", actual_profiles, columns, step=self.now)
        actual = self._scaling.outlooks(actual_profiles)
        load_kw, flexible_kw = cleared.book.reported_load(k, self.roster)
        reported = zip(load_kw.tolist(), flexible_kw.tolist(), strict=True)
        error_kw = np.array(
            [
                p.deviation(award, outlook, k, load, self.roster.step_hours)
                for p, award, outlook, load in zip(
                    self.prosumers, cleared.awards, actual, reported, strict=True
                )
            ]
        )
        revealed = Revealed(
            error_kw=error_kw,
            q_kvar=np.array(
                [
                    float(award.q_kvar[k]) - float(outlook.load_kvar[0])
                    for award, outlook in zip(cleared.awards, actual, strict=True)
                ]
            ),
            stored_kwh=np.array(
                [p.battery.energy_kwh for p in self.prosumers if p.battery is not None]
            ),
            prices=self._prices(),
        )
        failed_before = self.dso.failed_dispatches
        activations, asked = self.dso.activate(cleared.book, cleared.result, self.now, k, revealed)
        fallback = "cleared_shares" if self.dso.failed_dispatches > failed_before else ""
        readings = [
            p.follow(award, activation, outlook, k, self.roster.step_hours)
            for p, award, activation, outlook in zip(
                self.prosumers, cleared.awards, activations, actual, strict=True
            )
        ]
        realised = Realised(readings, error_kw, asked, fallback)
        for quantity in ("p_kw", "q_kvar"):
            values = realised.column(quantity)
            require_finite(f"realised {quantity}", values, self.roster.peer_id, step=self.now)
        return realised

    @timed("ac_replay")
    def _replay(self, cleared: Cleared, realised: Realised) -> Replayed:
        """Run the AC power flow of every network and look for violations."""
        k = self.now - cleared.step
        p_kw, q_kvar = realised.column("p_kw"), realised.column("q_kvar")
        p_policy = cleared.result.schedule.p_kw[k] + realised.error_kw
        np.add.at(p_policy, self.roster.recourse, realised.asked_kw)
        replays: list[ReplayResult | None] = []
        promised: list[Array] = []
        violations: list[list[Violation]] = []
        for d, operator in enumerate(self.operators):
            members = self.roster.members(d)
            offer, own_q = cleared.result.offers[d], q_kvar[members]
            replay = self._power_flow(d, p_kw[members], own_q)
            replays.append(replay)
            promised.append(offer.rows_at(k, p_policy[members], own_q))
            if replay is None:
                violations.append([power_flow_failure(int(operator.grid.bus[0]))])
            else:
                violations.append(
                    find_violations(
                        operator.rows,
                        _row_values(replay, operator.grid.substation_kva),
                        promised[d],
                        offer.rows_at(k, p_kw[members], own_q),
                        excuse=cleared.result.excuse(d, k),
                    )
                )
        audits = [of_network[k] for of_network in cleared.result.audits]
        missed = [
            () if audit.kept else missed_limits(operator.rows, audit.missed_pu)
            for operator, audit in zip(self.operators, audits, strict=True)
        ]
        return Replayed(
            tuple(replays), tuple(promised), tuple(map(tuple, violations)), tuple(missed)
        )

    def _power_flow(self, network: int, p_kw: Array, q_kvar: Array) -> ReplayResult | None:
        """Replay one network; None where the power flow has no solution."""
        operator = self.operators[network]
        p_bus = np.concatenate([[0.0], operator.bus_injections(p_kw)])
        q_bus = np.concatenate([[0.0], operator.bus_injections(q_kvar)])
        try:
            replay = self._replays[network].run(p_bus, q_bus)
        except PowerFlowError as error:
            log.warning("step %d: %s", self.now, error)
            return None
        buses = [f"network {operator.network}, bus {bus}" for bus in operator.grid.bus]
        require_finite("voltage", replay.vm_pu, buses, step=self.now)
        return replay

    @timed("settlement")
    def _settle(self, cleared: Cleared, realised: Realised, replayed: Replayed) -> Settled:
        """Match and price the trades, compute the step's cost and settle all accounts."""
        k, roster, market = self.now - cleared.step, self.roster, self.config.market
        result, book, prices = cleared.result, cleared.book, self._prices()
        trades, fee, trade_prices = self.trading.trade(cleared, k, prices)
        network_fees = fees_by_network(trades, fee, roster)
        flows = self._flows(cleared, realised, replayed, network_fees)
        p_kw, p_scheduled_kw = realised.column("p_kw"), result.schedule.p_kw[k]
        charges = None
        if result.prices and (self.trading.nodal or market.loss_allocation == "marginal"):
            charges = grid_charges(
                result.prices,
                k,
                p_scheduled_kw,
                book.participates,
                roster.step_hours,
                nodal=self.trading.nodal,
            )
        ledger = settle(
            flows,
            trades,
            trade_prices=trade_prices,
            trade_fee=fee,
            recourse=Recourse(
                self._delivered(cleared, realised), book.recourse_up, book.recourse_down
            ),
            metered=Metered(p_kw, realised.error_kw, realised.column("load_kw")),
            prices=prices,
            costs=self._costs,
            charges=charges,
            shares=result.risk[k] if result.risk else None,
            settings=market,
            roster=roster,
        )
        costs = operational_cost(flows, prices, self._costs, roster)
        accounts.check(ledger, costs, step=self.now)
        resources = resource_cost(flows, p_kw, prices, self._costs, roster)
        moved = transfers(flows, result.schedule.exchange[k], costs, prices, roster)
        check_bridge(costs, resources, moved, step=self.now)
        return Settled(
            flows=flows,
            costs=costs,
            resources=resources,
            transfers=moved,
            trades=trades,
            trade_prices=trade_prices,
            trade_fee=fee,
            prices=prices,
            ledger=ledger,
        )

    @timed("settlement")
    def _bus_prices(self, cleared: Cleared) -> tuple[dict[str, Array], ...]:
        """Every operator prices its buses; a fallback has no prices."""
        k, nodal = self.now - cleared.step, cleared.result.prices
        if nodal is None:
            return ()
        loss_price = self._prices().loss
        return tuple(
            operator.publish_prices(nodal, d, self.roster.members(d), k, loss_price)
            for d, operator in enumerate(self.operators)
        )

    def _prices(self) -> StepPrices:
        tariff, market = self.world.tariff, self.config.market
        return StepPrices(
            retail=float(tariff.retail[self.now]),
            feed_in=float(tariff.feed_in[self.now]),
            loss=float(tariff.loss[self.now]),
            imbalance_buy=float(tariff.imbalance_buy[self.now]),
            imbalance_sell=float(tariff.imbalance_sell[self.now]),
            fee_within=market.network_fee_within_eur_per_kwh,
            fee_across=market.network_fee_across_eur_per_kwh,
            spot=float(tariff.spot[self.now]),
        )

    def _flows(
        self, cleared: Cleared, realised: Realised, replayed: Replayed, network_fees: Array
    ) -> Flows:
        """Scheduled trades are firm; devices, losses and deviations are what happened."""
        k, roster, result = self.now - cleared.step, self.roster, cleared.result
        s = result.schedule
        policy = self.dso.clearing.policy
        device_pool = policy.pool_of[roster.network_of[roster.recourse]]
        losses = [
            float("nan") if replay is None else replay.losses_kw for replay in replayed.replays
        ]
        scheduled = np.array([offer.loss_kw[k] for offer in result.offers])
        return Flows(
            supplier_buy_kw=s.imports[k] - s.bought[k],
            supplier_sell_kw=s.exports[k] - s.sold[k],
            network_fees=network_fees,
            dispatchable_kw=realised.column("dispatchable_kw")[roster.dispatchable],
            charge_kw=realised.column("charge_kw")[roster.storage],
            discharge_kw=realised.column("discharge_kw")[roster.storage],
            curtailed_kw=realised.column("curtailed_load_kw")[roster.flexible],
            backlog_kwh=realised.column("backlog_kwh")[roster.flexible],
            reserve_kw=result.second.ready_kw(s.alpha, device_pool)[k],
            capacity_price=cleared.book.recourse_capacity,
            # A replay without a solution has no losses; the scheduled ones stand in.
            loss_kw=np.where(np.isnan(losses), scheduled, losses),
            deviation_kw=network_errors(realised.column("p_kw") - s.p_kw[k], roster),
            pool_of=policy.pool_of,
        )

    def _delivered(self, cleared: Cleared, realised: Realised) -> Array:
        """Recourse every device delivered, (n_recourse,). [kW]"""
        k, roster, s = self.now - cleared.step, self.roster, cleared.result.schedule
        net = realised.column("discharge_kw") - realised.column("charge_kw")
        storage = net[roster.storage] - (s.discharge - s.charge)[k]
        unit = realised.column("dispatchable_kw")[roster.dispatchable] - s.dispatchable[k]
        return np.concatenate([storage, unit])

    # Learn and record ------------------------------------------------------------------------

    @timed("bids")
    def _learn(self, record: StepRecord) -> None:
        """Tell every strategy what the step brought."""
        told = outcomes(record, self.roster, self._costs)
        for prosumer, outcome in zip(self.prosumers, told, strict=True):
            prosumer.learn(outcome)
        self._pool_price = pool_prices(record, self.roster)

    def save_strategies(self, folder: Path) -> None:
        """Write what the strategies have learnt so far into the folder of the run."""
        specs = [prosumer.spec for prosumer in self.prosumers]
        save_states(folder, self.players, specs, step=self.now)

    # Stop and go on -----------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return all that the coming steps depend on, between two steps.

        Restored to a simulation that has just been made from the same configuration and world, the
        coming steps are the same to the last bit. Forecasts and errors are not part of it: they
        are computed when asked for.
        """
        specs = [prosumer.spec for prosumer in self.prosumers]
        return {
            "now": self.now,
            "streams": {"numpy": self.rng.bit_generator.state, "python": self.random.getstate()},
            "strategies": read_states(self.players, specs, self.now),
            "prosumers": [prosumer.state() for prosumer in self.prosumers],
            "operators": [operator.state() for operator in self.operators],
            "clearing": self.dso.clearing.state(),
            "cleared": self._binding(),
            "pool_price": self._pool_price,
            "totals": self.totals,
            "market_totals": self.market_totals.state(),
            "seconds": dict(self.stopwatch.seconds),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.now = state["now"]
        self.rng.bit_generator.state = state["streams"]["numpy"]
        self.random.setstate(state["streams"]["python"])
        for player, learnt in state["strategies"].items():
            self.players[player].restore(learnt)
        for prosumer, own in zip(self.prosumers, state["prosumers"], strict=True):
            prosumer.restore(own)
        for operator, own in zip(self.operators, state["operators"], strict=True):
            operator.restore(own)
        self.dso.clearing.restore(state["clearing"])
        self._cleared = state["cleared"]
        if self._cleared is not None:
            forecast = self.world.archive.forecast(self.world.first_row + self._cleared.step)
            self._tell(forecast)
        self._pool_price = state["pool_price"]
        self.totals = state["totals"]
        self.market_totals.restore(state["market_totals"])
        self.stopwatch.seconds.update(state["seconds"])

    def _binding(self) -> Cleared | None:
        """The clearing that binds the coming step, if any; its bids have had their effect."""
        if self._cleared is None or self.now % self.config.market.cadence_steps == 0:
            return None
        return replace(self._cleared, bids=[], rejected={})

    @timed("recording")
    def _record(self, record: StepRecord) -> None:
        """Write the tables and add to the key figures."""
        self.tables.write_step(record)
        self.market_totals.add(record)
        totals, hours = self.totals, self.roster.step_hours
        day = self.now // self.config.steps_per_day
        totals.add_step(record.fallback)
        totals.add_costs({name: float(eur.sum()) for name, eur in record.settled.costs.items()})
        energy = hours * record.settled.trades.power_kw
        totals.within_kwh += float(energy[~record.settled.trades.across].sum())
        totals.across_kwh += float(energy[record.settled.trades.across].sum())
        for d, network in enumerate(self.roster.network):
            found = record.replayed.violations[d]
            audit = record.cleared.result.audits[d][record.k]
            totals.add_replay(network, day, violated=bool(found), binding=audit.binding)
            totals.add_violations(found)
            for limit in record.replayed.missed[d]:
                totals.add_missed(network, limit)
            if record.replayed.replays[d] is None:
                totals.add_power_flow_failure(network)
        for check in record.checks:
            totals.add_check(day, check)


def _row_values(replay: ReplayResult, substation_kva: float) -> Array:
    """Constrained quantities of an AC replay, in the order of the limit rows. [p.u.]"""
    vm = replay.vm_pu[1:]
    apparent = np.hypot(replay.p_source_kw, replay.q_source_kvar) / substation_kva
    return np.concatenate([vm, -vm, replay.loading_percent / 100, [apparent]])


def _true_costs(prosumers: list[Prosumer]) -> DeviceCosts:
    """Gather what the devices really cost, in the roster's order of each kind."""
    units = [p.unit for p in prosumers if p.unit is not None]
    batteries = [p.battery for p in prosumers if p.battery is not None]
    loads = [p.flexible for p in prosumers if p.flexible is not None]
    return DeviceCosts(
        dispatchable=np.array([unit.cost_eur_per_kwh for unit in units]),
        dispatchable_quadratic=np.array([unit.cost_eur_per_kw2h for unit in units]),
        wear=np.array([battery.wear_eur_per_kwh for battery in batteries]),
        willingness_to_pay=np.array([load.willingness_to_pay_eur_per_kwh for load in loads]),
        deferral=np.array([load.deferral_eur_per_kwh_h for load in loads]),
    )
