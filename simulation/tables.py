"""From the record of a step to rows of the tables."""

from __future__ import annotations

from itertools import islice, zip_longest
from typing import TYPE_CHECKING

import numpy as np

from agents.prosumer import registration
from market.costs import imbalance_cost
from market.price_blocks import PriceBlocks
from market.uplift import dso_surplus
from simulation.tallies import Tally

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from market.bids import Bid
    from market.relaxation import Exactness
    from simulation.market_totals import MarketTotals
    from simulation.recorder import Recorder
    from simulation.records import StepRecord
    from simulation.setup import World

MOST_BLOCKS = 50
"""Price blocks of a unit that are listed; no valid offer has more."""


class StepTables:
    """Writes what stands still once, and the record of every step.

    Parameters
    ----------
    recorder : Recorder
        Takes the rows.
    world : World
        Networks, peers and times.
    """

    def __init__(self, recorder: Recorder, world: World) -> None:
        self.recorder = recorder
        self.world = world
        self._start = world.profiles.times[world.first_row].to_pydatetime()
        self._strategy = {peer.player: peer.strategy for group in world.peers for peer in group}
        self._step = world.profiles.times[1].to_pydatetime() - world.profiles.times[0]

    def write_networks(self) -> None:
        """Write buses, lines and peers."""
        for network, peers in zip(self.world.networks, self.world.peers, strict=True):
            is_source = np.arange(network.n_buses) == 0
            self.recorder.write(
                "buses",
                {
                    "network": network.name,
                    "bus": network.bus,
                    "vn_kv": network.vn_kv,
                    "v_min_pu": network.v_min_pu,
                    "v_max_pu": network.v_max_pu,
                    "shunt_kvar": network.shunt_kvar,
                    "shunt_kw": network.shunt_kw,
                    "is_source": is_source,
                    "source_vm_pu": np.where(is_source, network.source_vm_pu, np.nan),
                },
            )
            self.recorder.write(
                "lines",
                {
                    "network": network.name,
                    "line": np.arange(network.n_lines),
                    "from_bus": network.bus[network.parent],
                    "to_bus": network.bus[1:],
                    "r_ohm": network.r_ohm,
                    "x_ohm": network.x_ohm,
                    "max_i_ka": network.max_i_ka,
                },
            )
            names = (
                "peer_id bus load_kw flexible_kw pv_kw wind_kw battery_kw battery_kwh "
                "dispatchable_kw strategy strategy_from_day coalition"
            )
            columns = {name: [getattr(peer, name) for peer in peers] for name in names.split()}
            columns["reactive_kvar"] = [registration(peer).reactive_kvar for peer in peers]
            self.recorder.write("peers", {"network": network.name, **columns})

    def write_step(self, record: StepRecord) -> None:
        """Write all tables of one step."""
        at = {"step": record.step, "time": self._time(record.step)}
        if record.k == 0:
            self._bids(record, at)
            self._strategies(record, at)
        self._clearing(record, at)
        self._dispatch(record, at)
        self._trades(record, at)
        self._settlement(record, at)
        self._grid(record, at)
        self._missed_limits(record, at)
        self._violations(record, at)
        self._costs(record, at)
        self._tariff(record, at)
        self._prices(record, at)
        self._risk(record, at)
        self._imbalance(record, at)
        self._dso_surplus(record, at)
        self._out_of_sample(record, at)

    def write_totals(self, totals: MarketTotals) -> None:
        """Write what the steps so far brought every account and every peer."""
        self.recorder.write("accounts", totals.accounts())
        self.recorder.write("peer_outcomes", totals.peer_outcomes())

    def _time(self, step: int) -> dt.datetime:
        return self._start + step * self._step

    def _bids(self, record: StepRecord, at: dict[str, object]) -> None:
        rejected = record.cleared.rejected
        rows = [
            (sender, *offer, sender not in rejected, rejected.get(sender, ""))
            for sender, bid in record.cleared.bids
            for offer in offer_rows(bid)
        ]
        names = ("peer_id", "offer", "quantity_kw", "price_eur_per_kwh", "accepted", "reason")
        columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
        self.recorder.write("bids", {**at, **columns})

    def _strategies(self, record: StepRecord, at: dict[str, object]) -> None:
        """Write what strategies chose, of those that tell."""
        markups = record.cleared.markups
        columns = {"player": list(markups), "strategy": [self._strategy[name] for name in markups]}
        self.recorder.write("strategies", {**at, **columns, "markup": list(markups.values())})

    def _clearing(self, record: StepRecord, at: dict[str, object]) -> None:
        result = record.cleared.result
        for d, network in enumerate(self.world.networks):
            audit = result.audits[d][record.k]
            self.recorder.write(
                "clearing",
                {
                    **at,
                    "network": network.name,
                    "status": "fallback" if result.degraded else "solved",
                    # Empty where no solver failed, so that it counts as false.
                    "fallback": record.fallback,
                    "n_iterations": result.n_passes,
                    "solver_s": result.solver_s if record.k == 0 else 0.0,
                    "wall_s": result.wall_s if record.k == 0 else 0.0,
                    "radius": audit.radius,
                    "safety_factor": float(audit.kappa[audit.gap.argmin()]),
                    "certified_violation_probability": audit.certificate,
                    "promise": audit.promise,
                    "binding": audit.binding,
                    "slack_pu": audit.slack_pu(float(result.schedule.violation[record.k, d])),
                    "objective_eur": result.objective,
                    **_relaxation(result.exactness, record.k, d),
                    "coordination_iterations": result.coordination.n_iterations,
                    "coordination_residual": result.coordination.residual,
                    "coordination_gap": result.coordination.gap,
                },
            )

    def _dispatch(self, record: StepRecord, at: dict[str, object]) -> None:
        roster, s, k = self.world.roster, record.cleared.result.schedule, record.k
        column = record.realised.column
        share = np.zeros(roster.n_peers)
        np.add.at(share, roster.recourse, s.alpha[k].mean(axis=0))
        available = column("renewable_available_kw")
        self.recorder.write(
            "dispatch",
            {
                **at,
                "network": [roster.network[d] for d in roster.network_of],
                "peer_id": list(roster.peer_id),
                "p_scheduled_kw": s.p_kw[k],
                "q_scheduled_kvar": s.q_kvar[k],
                "p_kw": column("p_kw"),
                "q_kvar": column("q_kvar"),
                "load_kw": column("load_kw"),
                "renewable_available_kw": available,
                "curtailed_kw": available - column("renewable_kw"),
                "dg_kw": column("dispatchable_kw"),
                "charge_kw": column("charge_kw"),
                "discharge_kw": column("discharge_kw"),
                "soc_kwh": column("soc_kwh"),
                "recourse_share": share,
                "recourse_kw": column("recourse_kw"),
                "recourse_asked_kw": column("recourse_asked_kw"),
                "load_curtailed_kw": column("curtailed_load_kw"),
                "load_deferred_kw": column("deferred_load_kw"),
            },
        )

    def _trades(self, record: StepRecord, at: dict[str, object]) -> None:
        settled, roster = record.settled, self.world.roster
        trades, prices = settled.trades, settled.trade_prices
        if not len(trades.power_kw):
            return
        energy_kwh = roster.step_hours * trades.power_kw
        self.recorder.write(
            "trades",
            {
                **at,
                "seller": [roster.peer_id[k] for k in trades.seller],
                "buyer": [roster.peer_id[k] for k in trades.buyer],
                "energy_kwh": energy_kwh,
                "price_eur_per_kwh": prices.paid,
                "received_eur_per_kwh": prices.received,
                "network_fee_eur": energy_kwh * settled.trade_fee,
                "crosses_networks": trades.across,
            },
        )

    def _settlement(self, record: StepRecord, at: dict[str, object]) -> None:
        entries = record.settled.ledger.entries
        if not entries:
            return
        accounts, items = map(list, zip(*entries, strict=True))
        amounts = list(entries.values())
        self.recorder.write(
            "settlement", {**at, "account": accounts, "item": items, "amount_eur": amounts}
        )

    def _grid(self, record: StepRecord, at: dict[str, object]) -> None:
        k, result = record.k, record.cleared.result
        for d, network in enumerate(self.world.networks):
            replay, offer = record.replayed.replays[d], result.offers[d]
            place = {**at, "network": network.name}
            m = network.n_lines
            nothing = np.full(m, np.nan)
            self.recorder.write(
                "bus_voltage",
                {
                    **place,
                    "bus": network.bus[1:],
                    "vm_pu": nothing if replay is None else replay.vm_pu[1:],
                    "vm_predicted_pu": record.replayed.promised[d][:m],
                    "vm_scheduled_pu": offer.value[k, :m] if offer.converged[k] else nothing,
                },
            )
            self.recorder.write(
                "line_loading",
                {
                    **place,
                    "line": np.arange(m),
                    "i_ka": nothing if replay is None else replay.i_ka,
                    "loading_percent": nothing if replay is None else replay.loading_percent,
                },
            )
            members = self.world.roster.members(d)
            nan, scheduled = float("nan"), float(offer.loss_kw[k])
            self.recorder.write(
                "substation",
                {
                    **place,
                    "p_kw": nan if replay is None else replay.p_source_kw,
                    "q_kvar": nan if replay is None else replay.q_source_kvar,
                    "p_scheduled_kw": scheduled - float(result.schedule.p_kw[k, members].sum()),
                    "losses_kw": nan if replay is None else replay.losses_kw,
                    "losses_scheduled_kw": scheduled,
                    "exchange_kw": float(result.schedule.exchange[k, d]),
                    "deviation_kw": float(record.settled.flows.deviation_kw[d]),
                },
            )

    def _missed_limits(self, record: StepRecord, at: dict[str, object]) -> None:
        """Write which limits a schedule misses with their margins, where it keeps no promise."""
        for network, missed in zip(self.world.networks, record.replayed.missed, strict=True):
            self.recorder.write(
                "missed_limits",
                {
                    **at,
                    "network": network.name,
                    "element": [str(limit.element) for limit in missed],
                    "kind": [limit.kind for limit in missed],
                    "missed_pu": [limit.missed_pu for limit in missed],
                },
            )

    def _violations(self, record: StepRecord, at: dict[str, object]) -> None:
        for network, found in zip(self.world.networks, record.replayed.violations, strict=True):
            for violation in found:
                self.recorder.write(
                    "violations",
                    {
                        **at,
                        "network": network.name,
                        "element": str(violation.element),
                        "kind": violation.kind,
                        "value": violation.value,
                        "limit": violation.limit,
                        "excess": violation.excess,
                        "cause": violation.cause,
                    },
                )

    def _costs(self, record: StepRecord, at: dict[str, object]) -> None:
        settled = record.settled
        tables = (
            ("costs", "component", settled.costs),
            ("resource_costs", "component", settled.resources),
            ("transfers", "transfer", settled.transfers),
        )
        for d, network in enumerate(self.world.networks):
            for table, label, by_name in tables:
                amounts = [float(eur[d]) for eur in by_name.values()]
                names = {"network": network.name, label: list(by_name)}
                self.recorder.write(table, {**at, **names, "amount_eur": amounts})

    def _tariff(self, record: StepRecord, at: dict[str, object]) -> None:
        prices = record.settled.prices
        names = ("spot", "retail", "feed_in", "loss")
        columns = {f"{name}_eur_per_kwh": getattr(prices, name) for name in names}
        self.recorder.write("tariff", {**at, **columns})

    def _prices(self, record: StepRecord, at: dict[str, object]) -> None:
        for network, components in zip(self.world.networks, record.bus_prices, strict=False):
            self.recorder.write(
                "prices",
                {
                    **at,
                    "network": network.name,
                    "bus": network.bus[1:],
                    "dlmp_eur_per_kwh": components["dlmp"],
                    "energy": components["energy"],
                    "loss": components["loss"],
                    "voltage": components["voltage"],
                    "risk": components["risk"],
                },
            )

    def _risk(self, record: StepRecord, at: dict[str, object]) -> None:
        """Who takes room of the binding grid limits by its errors, and who gives it back."""
        roster, hours = self.world.roster, self.world.roster.step_hours
        for shares in record.cleared.result.risk[record.k : record.k + 1]:
            for role, owners, amounts in (
                ("error", np.arange(roster.n_peers), shares.margin),
                ("recourse", roster.recourse, -shares.relief),
            ):
                seen = np.flatnonzero(amounts)
                self.recorder.write(
                    "risk",
                    {
                        **at,
                        "network": [roster.network[roster.network_of[k]] for k in owners[seen]],
                        "peer_id": [roster.peer_id[k] for k in owners[seen]],
                        "role": role,
                        "amount_eur": hours * amounts[seen],
                    },
                )

    def _imbalance(self, record: StepRecord, at: dict[str, object]) -> None:
        """What peers depart by, what answers it and what it costs: accounts to be done again."""
        roster, k, result = self.world.roster, record.k, record.cleared.result
        error_kw, ledger = record.realised.error_kw, record.settled.ledger
        # Peers pay for a shortage and are paid for a surplus, unless its price is negative.
        paid_eur = -ledger.items["imbalance"][ledger.peers]
        surplus = error_kw > 0

        def by_network(values: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.bincount(roster.network_of, values, roster.n_networks).astype(float)

        self.recorder.write(
            "imbalance",
            {
                **at,
                "network": list(roster.network),
                "omega_kw": by_network(error_kw),
                "omega_mean_kw": result.omega_mean_kw[k],
                "omega_sd_kw": result.omega_sd_kw[k],
                "surplus_kw": by_network(np.where(surplus, error_kw, 0.0)),
                "shortage_kw": by_network(np.where(surplus, 0.0, -error_kw)),
                "recourse_kw": by_network(record.realised.column("recourse_kw")),
                "residual_kw": record.settled.flows.deviation_kw,
                "surplus_eur": by_network(np.where(surplus, -paid_eur, 0.0)),
                "shortage_eur": by_network(np.where(surplus, 0.0, paid_eur)),
                "upstream_eur": imbalance_cost(
                    record.settled.flows, record.settled.prices, roster.step_hours
                ),
            },
        )

    def _dso_surplus(self, record: StepRecord, at: dict[str, object]) -> None:
        surplus = dso_surplus(record.settled.ledger)
        columns = {"source": list(surplus), "amount_eur": list(surplus.values())}
        self.recorder.write("dso_surplus", {**at, **columns})

    def _out_of_sample(self, record: StepRecord, at: dict[str, object]) -> None:
        for check in record.checks:
            violated = check.violated
            tally = Tally(int(violated.sum()), len(violated)).summary()
            # Scenarios without a solution have no excess.
            excess = np.maximum(check.excess_pu[np.isfinite(check.excess_pu)], 0.0)
            self.recorder.write(
                "out_of_sample",
                {
                    **at,
                    "network": check.network,
                    "n_scenarios": tally["steps"],
                    "violation_rate": tally["rate"],
                    "ci_low": tally["ci_low"],
                    "ci_high": tally["ci_high"],
                    "certified_violation_probability": check.certificate,
                    "binding": check.binding,
                    "mean_excess_pu": excess.mean() if excess.size else float("nan"),
                    "max_excess_pu": excess.max() if excess.size else float("nan"),
                },
            )


def _relaxation(
    exactness: Exactness | None, k: int, network: int
) -> dict[str, float | bool | None]:
    """Gaps of the branch-flow relaxation; empty with the other grid models."""
    nan = float("nan")
    plain, exact, kept = nan, None, nan
    if exactness is not None:
        plain = float(exactness.plain.gap[k, network])
        exact = bool(exactness.plain.exact[k, network])
        kept = float(exactness.kept.gap[k, network])
    return {
        "relaxation_gap_pu": plain,
        "relaxation_exact": exact,
        "kept_relaxation_gap_pu": kept,
    }


def offer_rows(bid: Bid) -> Iterator[tuple[str, float, float]]:
    """List what a bid offers for its first step: (offer, quantity in kW, price in EUR/kWh).

    Price blocks have a row each. A malformed bid is listed as far as it can be read.
    """
    nan = float("nan")

    def first(holder: object, name: str) -> float:
        return number(getattr(holder, name, nan))

    def number(value: object) -> float:
        try:
            return float(np.asarray(value, dtype=float).reshape(-1)[0])
        except Exception:  # anything may stand in a malformed bid
            return nan

    def each(value: object) -> Iterator[object]:
        return islice(iter(np.atleast_1d(np.asarray(value, dtype=object))), MOST_BLOCKS)

    yield "load", first(bid, "load_kw"), first(bid, "buy_limit_eur_per_kwh")
    if bid.renewable is not None:
        yield (
            "renewable",
            first(bid.renewable, "available_kw"),
            first(bid, "sell_limit_eur_per_kwh"),
        )
    if bid.dispatchable is not None:
        unit = bid.dispatchable
        blocks = getattr(unit, "blocks", None)
        if isinstance(blocks, PriceBlocks):
            for pair in zip_longest(each(blocks.quantity_kw), each(blocks.price_eur_per_kwh)):
                yield "dispatchable", number(pair[0]), number(pair[1])
        else:
            yield "dispatchable", first(unit, "p_max_kw"), first(unit, "cost_eur_per_kwh")
    if bid.storage is not None:
        wear = first(bid.storage, "wear_eur_per_kwh")
        yield "charge", first(bid.storage, "charge_max_kw"), wear
        yield "discharge", first(bid.storage, "discharge_max_kw"), wear
    if bid.flexible is not None:
        worth = first(bid.flexible, "willingness_to_pay_eur_per_kwh")
        yield "flexible", first(bid.flexible, "baseline_kw"), worth
    if bid.recourse is not None:
        yield "recourse_up", nan, first(bid.recourse, "up_eur_per_kwh")
        yield "recourse_down", nan, first(bid.recourse, "down_eur_per_kwh")
