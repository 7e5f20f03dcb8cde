"""The answer of a run in a few figures, and what has to be known before reading them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulation.reporting.blocks import NONE, Answer, count, number, percent
from simulation.reporting.drawing import moment
from simulation.reporting.risk_views import judged, shown_interval

if TYPE_CHECKING:
    from simulation.base_saving import Saving
    from simulation.reporting.base_case import BaseCase
    from simulation.reporting.run_data import RunData

_STATES = {
    "interrupted": "This run was interrupted",
    "failed": "This run failed",
    "running": "This run is still going on, or was ended by force",
}


def warnings(run: RunData) -> list[str]:
    """Say what did not go as it should, most serious first."""
    s = run.summary
    out = []
    if not run.is_whole:
        last = run.tables["clearing"].time.max()
        state = _STATES.get(run.status, f"This run is {run.status}")
        why = f" ({run.failure})" if run.failure else ""
        out.append(
            f"{state}{why}. It covers {s['n_steps']:,} of {run.n_steps_planned:,} steps, the last "
            f"one that of {moment(last)} UTC. The key figures were computed from the tables it "
            "left; they are not those of the whole run."
        )
    if s["uncertified_clearings"]:
        out.append(
            f"{count(s['uncertified_clearings'], 'network-step')} of {_network_steps(s):,} do not "
            f"keep their promise{_missed(s.get('limits_without_room') or [])}."
        )
    named = [f"{name} {n}" for name, n in (s.get("fallbacks") or {}).items()]
    steps = fallback_steps(s)
    if steps:
        out.append(
            f"The solver fell back in {count(steps, 'step')}: {', '.join(named) or 'unnamed'}."
        )
    failures = {name: n for name, n in (s.get("power_flow_failures") or {}).items() if n}
    if failures:
        listing = ", ".join(f"{name} {n}" for name, n in failures.items())
        out.append(f"The AC power flow has no solution in steps of these networks: {listing}.")
    return out


def _network_steps(summary: dict[str, Any]) -> int:
    return int(summary["delivered_violation"]["all"]["together"]["steps"])


def _missed(limits: list[dict[str, Any]]) -> str:
    """Name the limit that the schedules miss most often."""
    if not limits:
        return ""
    worst = limits[0]
    return (
        f"; most often the {worst['kind'].replace('_', ' ')} limit at {worst['element']} of "
        f"{worst['network']}, missed with its margin in {count(worst['steps'], 'step')} by at most "
        f"{worst['largest_pu']:.3g} p.u."
    )


def fallback_steps(summary: dict[str, Any]) -> int:
    """Steps with a fallback; runs of earlier versions count clearings."""
    return int(summary.get("fallback_steps", summary.get("fallback_clearings", 0)))


def answers(run: RunData, base: BaseCase | None) -> list[Answer]:
    """Answer in a few figures, the savings first where they are known."""
    others = [_resources(run), _traded(run), _violation(run), _fallbacks(run)]
    if base is not None and base.savings:
        return [*_savings(run, base), _cost(run), *others]
    why = "no finished base case at hand; a run with --base none has one beside it"
    if not run.is_whole:
        why = "not told for a run that is not finished"
    return [_cost(run), Answer("Saving against the base case", NONE, why), *others]


def _cost(run: RunData) -> Answer:
    s = run.summary
    days = s["n_steps"] * run.step_hours / 24
    cost = s["total_operational_cost_eur"]
    return Answer(
        "Cost at tariff",
        f"{number(cost)} EUR",
        f"over {days:,.3g} day{'' if days == 1 else 's'}, {number(cost / days)} EUR a day; "
        f"{count(len(run.networks), 'network')}, "
        f"{count(len(run.tables['peers']), 'peer')}",
    )


def _savings(run: RunData, base: BaseCase) -> list[Answer]:
    """Say what the run saves of every cost."""
    value = (run.summary.get("stored_energy_value_eur_per_kwh") or {}).get("mid")
    stored = (
        f"energy left in batteries counts {number(value, '.4f')} EUR/kWh; without it the saving is "
        if value
        else "energy left in batteries is not credited: the saving is "
    )
    worse_off = f". Peers: {base.worse_off}" if base.worse_off is not None else ""
    return [
        Answer(
            f"Saving {name.replace('_', ' ')} against the base case",
            NONE if saving.share is None else percent(saving.share),
            f"{_less(saving.saving_eur)} than the {number(saving.base_eur)} EUR of {base.name} "
            f"(coordination {base.coordination.replace('_', ' ')}, {base.method}), on the same "
            f"draws; {_interval(saving)}; {stored}{number(saving.unadjusted_eur)} EUR"
            f"{worse_off if name == 'at_tariff' else ''}",
        )
        for name, saving in base.savings.items()
    ]


def _interval(saving: Saving) -> str:
    if saving.low_eur is None or saving.high_eur is None:
        return "no interval: " + ("a single day" if saving.days == 1 else "not known by day")
    return (
        f"95 % interval of the saving {number(saving.low_eur)} to {number(saving.high_eur)} EUR "
        f"(bootstrap over {saving.days} days)"
    )


def _resources(run: RunData) -> Answer:
    label, cost = "Resource cost", run.summary.get("resource_cost_eur")
    if cost is None:
        return Answer(label, NONE, "not told by runs of earlier versions")
    transfers = run.summary["total_operational_cost_eur"] - cost
    return Answer(
        label,
        f"{number(cost)} EUR",
        "upstream energy at the wholesale price, fuel, wear and discomfort; the other "
        f"{number(transfers)} EUR of the cost at tariff are levies, taxes, margins, fees and "
        "other transfers",
    )


def _less(saved_eur: float) -> str:
    return f"{number(abs(saved_eur))} EUR {'more' if saved_eur < 0 else 'less'}"


def _traded(run: RunData) -> Answer:
    s = run.summary
    within, across = s["energy_traded_within_kwh"], s["energy_traded_across_kwh"]
    load = s.get("load_kwh")
    share = f"; together {percent((within + across) / load)} of the load" if load else ""
    return Answer(
        "Energy traded between peers",
        f"{number(within + across)} kWh",
        f"{number(within)} kWh within networks, {number(across)} kWh across them{share}",
    )


def _violation(run: RunData) -> Answer:
    s = run.summary
    binding = s["delivered_violation"]["binding"]["together"]
    every = s["delivered_violation"]["all"]["together"]
    promised = s["promised_violation_probability"]
    value = percent(binding["rate"]) if binding["steps"] else "none binding"
    return Answer(
        f"Violated in AC, where at most {percent(promised, '.3g')} was promised",
        value,
        f"of binding network-steps: {tally_text(binding)}; of all network-steps: "
        f"{tally_text(every)}. {verdict(binding, promised)}",
    )


def verdict(tally: dict[str, Any], promised: float) -> str:
    """Judge a promise by the 95 % intervals of what was delivered, by days and by steps."""
    if not tally["steps"]:
        return "No grid limit was binding: nothing put the promise to the test."
    intervals = [shown_interval(tally), (tally["ci_low"], tally["ci_high"])]
    return {
        "kept": "The promise was kept: its intervals, by days and by steps, lie below it.",
        "broken": "The promise was broken: its intervals, by days and by steps, lie above it.",
        "consistent": "Consistent with the promise, but an interval, by days or by steps, "
        "reaches both sides of it.",
    }[judged(intervals, promised)]


def tally_text(tally: dict[str, Any]) -> str:
    """Write a rate with its counts and its interval."""
    if not tally["steps"]:
        return "no steps"
    low, high = shown_interval(tally)
    kind = "interval by days" if "ci_days_low" in tally else "interval"
    return (
        f"{percent(tally['rate'], '.2f')} ({tally['events']:,} of {tally['steps']:,}; 95 % "
        f"{kind} {100 * low:.2f} to {percent(high, '.2f')})"
    )


def _fallbacks(run: RunData) -> Answer:
    s = run.summary
    steps = fallback_steps(s)
    return Answer(
        "Steps with a fallback of the solver",
        f"{steps:,} of {s['n_steps']:,}",
        f"{count(s['uncertified_clearings'], 'network-step')} without their promise; "
        f"{count(int(s.get('rejected_bids', 0)), 'bid')} rejected",
    )
