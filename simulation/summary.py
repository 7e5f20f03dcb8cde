"""The closing summary of a run, for people and as ``summary.json``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from simulation.atomic import write_json
from simulation.cost_lines import cost_lines
from simulation.market_kpis import market_kpis
from simulation.prices import run_values
from simulation.streams import stream

if TYPE_CHECKING:
    from pathlib import Path

    from simulation.model import CoSimulation
    from simulation.stopwatch import Stopwatch

PHASES = (
    "start_up",
    "forecasts",
    "bids",
    "calibration",
    "problem",
    "solver",
    "ac_clearing",
    "out_of_sample",
    "devices",
    "ac_replay",
    "settlement",
    "recording",
)
"""Where the seconds of a run go, in the order of a step: until its first step; forecasts and error
samples; bids and what strategies learn; margins and certificates, all else of a clearing included;
putting the solver's problems together; the solver; the AC engine inside the clearing; Monte Carlo
checks; activation and what devices do; the AC replay; trades, prices and accounts; tables."""
MOST_LIMITS = 3
"""The terminal names so many of the limits that could not be kept."""
WITHOUT_BASE = "to see what is saved: --base none runs the case without trade beside the run"
SHOWN_S = 0.05
"""The terminal does not show phases shorter than this. [s]"""


def summarise(model: CoSimulation, wall_s: float) -> dict[str, Any]:
    """Gather the key figures of a finished run.

    Parameters
    ----------
    model : CoSimulation
        The run.
    wall_s : float
        Seconds from start to end.

    Returns
    -------
    dict
        What ``summary.json`` holds; units stand in the keys.
    """
    totals, market = model.totals, model.config.market
    certificates = np.array(totals.certificates)
    energy = model.market_totals
    return {
        "scenario": model.config.name,
        "days": model.config.days,
        "n_steps": model.now,
        "n_peers": model.roster.n_peers,
        "method": market.method,
        "coordination": market.coordination,
        "total_operational_cost_eur": totals.total_cost_eur,
        "costs_by_component_eur": totals.costs_eur,
        "resource_cost_eur": sum(energy.resources_eur.values()),
        "resource_costs_by_component_eur": energy.resources_eur,
        "transfers_eur": energy.transfers_eur,
        "energy_traded_within_kwh": totals.within_kwh,
        "energy_traded_across_kwh": totals.across_kwh,
        "load_kwh": float(energy.load_kwh[-1]),
        "renewable_available_kwh": energy.available_kwh,
        "renewable_curtailed_kwh": energy.available_kwh - energy.renewable_kwh,
        "stored_energy_change_kwh": float(energy.stored_change_kwh.sum()),
        "stored_energy_value_eur_per_kwh": run_values(model.world.tariff, model.now),
        "market": market_kpis(energy, model.config.emissions),
        "promised_violation_probability": market.risk_level,
        "certificate_where_binding": {
            "n": len(certificates),
            "median": float(np.median(certificates)) if len(certificates) else None,
            "min": float(certificates.min()) if len(certificates) else None,
            "max": float(certificates.max()) if len(certificates) else None,
        },
        "delivered_violation": totals.delivered(stream(model.config.seed, "delivered")),
        "out_of_sample": totals.out_of_sample(stream(model.config.seed, "out_of_sample")),
        "violations_by_cause": totals.causes,
        "violation_excess": {kind: one.summary() for kind, one in totals.excesses.items()},
        "clearings": totals.clearings,
        "solves": totals.passes,
        "uncertified_clearings": totals.uncertified,
        "uncertified_share": totals.uncertified_share,
        "uncertified_without_room": totals.without_room,
        "limits_without_room": totals.missed_limits(),
        "fallback_clearings": totals.fallback_clearings,
        "fallback_steps": totals.fallback_steps,
        "fallback_share": totals.fallback_share,
        "fallbacks": totals.fallbacks,
        "failed_dispatches_of_checks": totals.failed_dispatches_of_checks,
        "power_flow_failures": {n: totals.power_flow_failures.get(n, 0) for n in totals.networks},
        "exchange_coordination": {
            "iterations": totals.coordination_iterations,
            "largest_gap": totals.largest_coordination_gap,
            "unagreed_clearings": totals.unagreed_clearings,
        },
        "rejected_bids": totals.rejected_bids,
        "seconds": _seconds(model.stopwatch, wall_s),
    }


def _seconds(watch: Stopwatch, wall_s: float) -> dict[str, Any]:
    """Tell where the time went: engines and the rest, and all of it by phase."""
    by_phase = {phase: watch.seconds.get(phase, 0.0) for phase in PHASES}
    by_phase["rest"] = wall_s - sum(by_phase.values())
    engines = {
        "solver": by_phase["solver"],
        "ac": by_phase["ac_clearing"] + by_phase["ac_replay"],
        "out_of_sample": by_phase["out_of_sample"],
    }
    other = wall_s - sum(engines.values())
    return {**engines, "other": other, "total": wall_s, "by_phase": by_phase}


def write_summary(folder: Path, summary: dict[str, Any]) -> str:
    """Write ``summary.json`` and return the summary as text."""
    write_json(folder / "summary.json", summary)
    return as_text(summary, folder)


def as_text(summary: dict[str, Any], folder: Path) -> str:
    """Format a summary for the terminal."""
    s, seconds = summary, summary["seconds"]
    lines = [
        "",
        f"{s['scenario']}: {s['days']} d, {s['n_steps']} steps, {s['n_peers']} peers, "
        f"{s['coordination']}, {s['method']}",
        *cost_lines(s),
        f"traded between peers    {s['energy_traded_within_kwh']:>14,.0f} kWh within, "
        f"{s['energy_traded_across_kwh']:,.0f} kWh across networks",
        *_market_lines(s["market"]),
        f"promised violation probability <= {s['promised_violation_probability']:.1%} "
        "per network and step; delivered in AC, with 95 % intervals by days:",
    ]
    for scope, of_scope in s["delivered_violation"].items():
        for network, tally in of_scope.items():
            lines.append(f"  {scope:<8}{network:<16}{_rate(tally)}")
    if s["out_of_sample"]:
        lines.append(
            "Monte Carlo, on the average of situations, with errors that no clearing had "
            "learnt, in AC:"
        )
        for scope, of_scope in s["out_of_sample"].items():
            for network, tally in of_scope.items():
                lines.append(f"  {scope:<8}{network:<16}{_scenario_rate(tally)}")
    certificate = s["certificate_where_binding"]
    if certificate["n"]:
        lines.append(
            f"certificates where binding: median {certificate['median']:.2%}, "
            f"{certificate['min']:.2%} to {certificate['max']:.2%} of {certificate['n']}"
        )
    if s["violations_by_cause"]:
        causes = ", ".join(f"{name} {n}" for name, n in sorted(s["violations_by_cause"].items()))
        lines.append(f"single violations by cause: {causes}")
        lines += [_excess(kind, one) for kind, one in s["violation_excess"].items()]
    lines += [
        f"clearings {s['clearings']} ({s['solves']} solves), uncertified network-steps "
        f"{s['uncertified_clearings']}, steps with fallbacks {s['fallback_steps']}, rejected bids "
        f"{s['rejected_bids']}",
        *_exchange_lines(s["exchange_coordination"]),
        f"seconds: solver {seconds['solver']:.1f}, AC power flow {seconds['ac']:.1f}, "
        f"everything else {seconds['other']:.1f}",
        "by phase: "
        + ", ".join(
            f"{phase.replace('_', ' ')} {spent:.1f}"
            for phase, spent in seconds["by_phase"].items()
            if spent >= SHOWN_S
        ),
        *([] if "base_case" in s else [WITHOUT_BASE]),
        f"results in {folder}; report.html opens in a browser",
        "",
    ]
    lines[2:2] = saving_lines(s)
    lines[1:1] = _warnings(s)
    return "\n".join(lines)


def saving_lines(s: dict[str, Any]) -> list[str]:
    """Say what the run saves against its base case, if that is known."""
    base = s.get("base_case") or {"savings": {}}
    lines = [
        f"saving {name.replace('_', ' '):<17}{saving['saving_eur']:>14,.2f} EUR "
        f"({_number(saving['share'], '.1%')} of the base case), {_interval(saving)}"
        for name, saving in base["savings"].items()
    ]
    if lines:
        against = ", ".join(base.get("overrides", [])) or base["folder"]
        value = s["stored_energy_value_eur_per_kwh"]["mid"]
        lines.append(
            f"  against {against} on the same draws; energy left in batteries counts "
            f"{value:.4f} EUR/kWh"
        )
    if base.get("peers"):
        lines.append(f"  {base['peers']['text']}")
    return lines


def _interval(saving: dict[str, Any]) -> str:
    """Format the interval of a saving."""
    if saving["low_eur"] is None:
        return "no interval: " + ("a single day" if saving["days"] == 1 else "not known by day")
    return (
        f"95 % interval by days {saving['low_eur']:,.2f} to {saving['high_eur']:,.2f} EUR "
        f"({saving['days']} days)"
    )


def _exchange_lines(exchange: dict[str, Any]) -> list[str]:
    """Say how networks that solve their own problems agreed, if they were asked."""
    if not exchange["iterations"]:
        return []
    return [
        f"networks asked {exchange['iterations']} times for their exchange; largest gap of a "
        f"clearing {exchange['largest_gap']:.1e}"
    ]


def _warnings(s: dict[str, Any]) -> list[str]:
    """Say first what did not go as it should."""
    fallbacks = ", ".join(f"{name} {n}" for name, n in s["fallbacks"].items())
    failures = ", ".join(f"{name} {n}" for name, n in s["power_flow_failures"].items() if n)
    exchange = s["exchange_coordination"]
    found = {
        f"{s['uncertified_clearings']} network-steps ({s['uncertified_share']:.1%}) do not keep "
        f"their promise: {_without_room(s['limits_without_room'])}": s["uncertified_clearings"],
        f"{exchange['unagreed_clearings']} clearings in which networks had not agreed, at a "
        f"gap of at most {exchange['largest_gap']:.1e}": exchange["unagreed_clearings"],
        f"{s['fallback_steps']} steps with fallbacks of the solver: {fallbacks}": fallbacks,
        f"{s['failed_dispatches_of_checks']} dispatches of Monte Carlo checks failed": s[
            "failed_dispatches_of_checks"
        ],
        f"no AC power flow solution in steps of these networks: {failures}": failures,
    }
    return [f"WARNING: {text}" for text, so in found.items() if so]


def _without_room(limits: list[dict[str, Any]]) -> str:
    """Name the limits that the schedules miss most often, and by how much."""
    if not limits:
        return "the passes did not settle"
    named = [
        f"{one['network']} {one['kind'].replace('_', ' ')} at {one['element']} in {one['steps']} "
        f"steps, by at most {one['largest_pu']:.3g} p.u."
        for one in limits[:MOST_LIMITS]
    ]
    more = f", and {len(limits) - MOST_LIMITS} more" if len(limits) > MOST_LIMITS else ""
    return "; ".join(named) + more


def _market_lines(market: dict[str, Any]) -> list[str]:
    """Format the key figures of the market."""
    m, providers, surplus = market, market["recourse_providers"], market["dso_surplus_eur"]
    costs = ", ".join(f"{actor} {eur:,.0f}" for actor, eur in m["cost_by_actor_eur"].items())
    sources = ", ".join(f"{name} {eur:,.2f}" for name, eur in surplus.items() if name != "total")
    emitted = m["emissions_kg"]
    return [
        f"gains from trade {m['gains_from_trade_eur']:,.2f} EUR; price paid "
        f"{_number(m['mean_price_paid_eur_per_kwh'], '.4f')}, received "
        f"{_number(m['mean_price_received_eur_per_kwh'], '.4f')} EUR/kWh",
        f"net cost [EUR]: {costs}",
        f"traders {m['traders']}; their gains: Gini {_number(m['gains_gini'], '.2f')}, "
        f"Jain {_number(m['gains_jain'], '.2f')}",
        f"recourse providers {providers['n']}, "
        f"{_number(providers['cost_recovered_share'], '.1%')} recover their cost",
        f"left with the DSO {surplus['total']:,.2f} EUR ({sources}); before the uplift not "
        "negative in "
        f"{_number(m['dso_revenue_adequate_share'], '.1%')} of steps",
        f"self-sufficiency {_number(m['self_sufficiency']['together'], '.1%')}, "
        f"self-consumption {_number(m['self_consumption']['together'], '.1%')}, curtailed "
        f"{_number(m['renewable_curtailment_share'], '.1%')}"
        + ("" if emitted is None else f", emissions {emitted:,.0f} kg CO2"),
    ]


def _number(value: float | None, form: str) -> str:
    return "none" if value is None else format(value, form)


def _rate(tally: dict[str, Any]) -> str:
    """Format a violation rate with its interval and count."""
    if not tally["steps"]:
        return "no steps"
    return (
        f"{tally['rate']:7.2%}  [{tally['ci_days_low']:.2%}, {tally['ci_days_high']:.2%}]  "
        f"{tally['events']} of {tally['steps']} network-steps"
    )


def _excess(kind: str, excess: dict[str, float]) -> str:
    """Say how far violations of one kind exceed their limits."""
    return (
        f"  {kind.replace('_', ' ')}: {excess['n']} times, by {excess['mean_pu']:.2g} p.u. in the "
        f"mean, {excess['largest_pu']:.2g} p.u. at most"
    )


def _scenario_rate(tally: dict[str, Any]) -> str:
    """Format the violation rate of Monte Carlo checks."""
    if not tally["scenarios"]:
        return "no steps"
    return (
        f"{tally['rate']:7.2%}  [{tally['ci_low']:.2%}, {tally['ci_high']:.2%}]  "
        f"of {tally['scenarios']} scenarios in {tally['network_steps']} network-steps"
    )
