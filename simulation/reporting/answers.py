"""The answer of a run in five figures, and what has to be known before reading them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulation.reporting.blocks import NONE, Answer, count, number, percent
from simulation.reporting.drawing import moment
from simulation.reporting.risk_views import judged, shown_interval

if TYPE_CHECKING:
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
    """Answer in five figures."""
    return [_cost(run), _saving(run, base), _traded(run), _violation(run), _fallbacks(run)]


def _cost(run: RunData) -> Answer:
    s = run.summary
    days = s["n_steps"] * run.step_hours / 24
    cost = s["total_operational_cost_eur"]
    return Answer(
        "Total operational cost",
        f"{number(cost)} EUR",
        f"over {days:,.3g} day{'' if days == 1 else 's'}, {number(cost / days)} EUR a day; "
        f"{count(len(run.networks), 'network')}, "
        f"{count(len(run.tables['peers']), 'peer')}",
    )


def _saving(run: RunData, base: BaseCase | None) -> Answer:
    label = "Saving against the base case"
    if not run.is_whole:
        return Answer(label, NONE, "not told for a run that is not finished")
    if base is None:
        return Answer(label, NONE, "no base case at hand; --base RUN names one")
    saved = base.cost_eur - run.summary["total_operational_cost_eur"]
    stored = run.summary.get("stored_energy_change_kwh", float("nan")) - base.stored_change_kwh
    share = saved / base.cost_eur if base.cost_eur > 0 else float("nan")
    return Answer(
        label,
        percent(share),
        f"{number(abs(saved))} EUR {'less' if saved >= 0 else 'more'} than the "
        f"{number(base.cost_eur)} EUR of {base.name} (coordination "
        f"{base.coordination.replace('_', ' ')}, {base.method}), on the same draws. Not credited: "
        f"at the end its batteries hold {number(abs(stored))} kWh "
        f"{'less' if stored >= 0 else 'more'}",
    )


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
