"""Sections of a run's report on the solver, the power flow, and where the results come from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from simulation.reporting.answers import fallback_steps
from simulation.reporting.blocks import (
    NONE,
    Code,
    Picture,
    Prose,
    Section,
    Table,
    count,
    number,
    percent,
    significant,
    text_cell,
)
from simulation.reporting.drawing import moment
from simulation.reporting.picks import largest
from simulation.reporting.risk_figures import phase_figure, solver_figure

if TYPE_CHECKING:
    from simulation.reporting.run_data import RunData

_SHOWN_OF_MANIFEST = ("command", "versions", "data_sha256", "notes", "resumed")


def audit(run: RunData) -> Section:
    """What the solver and the power flow did."""
    clearing = run.tables["clearing"]
    blocks: list[Picture | Table | Prose] = []
    steps = clearing.drop_duplicates("step")
    timed = steps[steps.wall_s > 0]
    if len(timed):
        slowest = largest(timed, "wall_s")
        blocks.append(
            Picture(
                "Time of the clearings",
                solver_figure(clearing),
                f"A clearing takes {significant(timed.wall_s.median())} s in the median; the "
                f"slowest, that of {moment(slowest.time)} UTC, took {significant(slowest.wall_s)} "
                f"s. {percent((timed.n_iterations > 1).mean())} of them needed more than one pass.",
                "Every marker is one clearing of all networks; passes repeat the solve with a new "
                "linearisation and new safety margins.",
            )
        )
    phases = _phases(run)
    if phases:
        longest = max(phases, key=lambda name: phases[name])
        blocks.append(
            Picture(
                "Where the time went",
                phase_figure(phases),
                f"Of {significant(sum(phases.values()))} s, {longest.replace('_', ' ')} took "
                f"{significant(phases[longest])} s.",
                "Wall-clock seconds of the whole run by phase; phases under half a percent are "
                "left out.",
            )
        )
    blocks.append(_facts(run))
    return Section("audit", "Solver and power-flow audit", blocks)


def _phases(run: RunData) -> dict[str, float]:
    """Seconds by phase; runs of earlier versions tell engines only, cut-short ones nothing."""
    seconds = run.summary.get("seconds") or {}
    found = seconds.get("by_phase") or {k: v for k, v in seconds.items() if k != "total"}
    return {
        str(name): float(spent)
        for name, spent in found.items()
        if isinstance(spent, int | float) and spent > 0
    }


def _facts(run: RunData) -> Table:
    s, clearing = run.summary, run.tables["clearing"]
    facts: list[tuple[str, str]] = [
        ("clearings", number(s.get("clearings", clearing.step.nunique()))),
        ("solves in them", number(s.get("solves"))),
        ("passes of a clearing, at most", number(float(clearing.n_iterations.max()))),
        ("steps with a fallback", number(fallback_steps(s))),
        *(
            (f"fallback: {name.replace('_', ' ')}", number(n))
            for name, n in (s.get("fallbacks") or {}).items()
        ),
        ("network-steps without their promise", number(s["uncertified_clearings"])),
        ("network-steps with a binding grid limit", number(float(clearing.binding.sum()))),
        ("largest slack of a voltage row [p.u.]", significant(clearing.slack_pu.max())),
        (
            "largest gap of the branch-flow relaxation [p.u.]",
            significant(clearing.relaxation_gap_pu.max()),
        ),
        ("power flows without solution, network-steps", _failures(run)),
        (
            "dispatches of Monte Carlo checks that failed",
            number(s.get("failed_dispatches_of_checks")),
        ),
        ("bids rejected", number(s.get("rejected_bids"))),
        (
            "solver time in all clearings [s]",
            significant(float(clearing.drop_duplicates("step").solver_s.sum())),
        ),
    ]
    rows = [[text_cell(name), text_cell(value)] for name, value in facts]
    return Table(
        "Audit",
        ["quantity", "value"],
        rows,
        "A dash stands where nothing of the kind was recorded.",
    )


def _failures(run: RunData) -> str:
    told = run.summary.get("power_flow_failures")
    if told is not None:
        return number(sum(told.values()))
    v = run.tables["bus_voltage"]
    return number(len(v[v.vm_pu.isna()][["step", "network"]].drop_duplicates()))


def origin(run: RunData) -> Section:
    """Configuration and manifest."""
    m = run.manifest
    rows = [
        (key.replace("_", " "), _text(value))
        for key, value in m.items()
        if key not in _SHOWN_OF_MANIFEST
    ]
    rows.append(("command", " ".join(map(str, m.get("command", [])))))
    blocks: list[Prose | Table | Code] = [Prose(str(note)) for note in m.get("notes") or []]
    blocks.append(_pairs("Manifest", rows))
    for key, title in (
        ("versions", "Versions"),
        ("data_sha256", "Checksums of the data (SHA-256)"),
    ):
        if isinstance(m.get(key), dict) and m[key]:
            blocks.append(_pairs(title, [(name, _text(value)) for name, value in m[key].items()]))
    if m.get("resumed"):
        resumed = count(len(m["resumed"]), "time")
        blocks.append(Prose(f"The run was stopped and resumed {resumed}."))
    blocks.append(Code("config.yaml, the resolved configuration", run.config_text))
    return Section("origin", "Configuration and origin", blocks)


def _pairs(title: str, pairs: list[tuple[str, str]]) -> Table:
    rows = [[text_cell(name), text_cell(value)] for name, value in pairs]
    return Table(title, ["entry", "value"], rows)


def _text(value: Any) -> str:
    if value is None:
        return NONE
    return value if isinstance(value, str) else json.dumps(value)
