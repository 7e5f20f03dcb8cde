"""The grid models side by side: a few clearings of the default scenario with each of them.

``python tests/benchmarks/grid_models.py [--start DATE] [--hour H] [--steps N]``

Every model runs on its own from the same step; peers, forecasts and errors are the same. Voltages
and certificates of all three are taken from AC power flows at their schedules. The columns:

- schedule error: largest difference between a voltage as offered with the schedule and the AC power
  flow at the schedule, binding steps. Zero where the offer is the AC power flow; for ``socp`` the
  voltages are those of the relaxation itself;
- window: optimal cost of the look-ahead windows, mean, without the price of limits that cannot be
  kept hours ahead; that of ``socp`` has the losses of its relaxation, the others' are linearised;
- realised: operational cost of the steps that were run, sum;
- certificate: worst-case joint violation probability at the AC schedule, largest; and in how many
  of the binding steps it exceeds the risk level;
- gap: largest excess of a line's l v over P^2 + Q^2 in the binding steps, of the plain relaxation
  (first pass) and of the schedule kept; exact: binding steps in which the plain one is exact;
- passes and seconds per clearing, mean and median.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np
from threadpoolctl import threadpool_limits

from agents.dn_operator import DnOperator
from configs.loading import load
from configs.schema import GridModel
from market.acceptance import largest_kept
from market.calibration import certify
from simulation.run import prepare

if TYPE_CHECKING:
    from market.book import BidBook, TariffWindow
    from market.clearing import ClearingResult
    from simulation.model import CoSimulation


@dataclass
class Outcome:
    """What the clearings of one grid model came to."""

    error: list[float] = field(default_factory=list)
    objective: list[float] = field(default_factory=list)
    certificate: list[float] = field(default_factory=list)
    gap: list[float] = field(default_factory=list)
    kept_gap: list[float] = field(default_factory=list)
    exact: list[bool] = field(default_factory=list)
    passes: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    fallbacks: int = 0
    realised: float = 0.0

    def row(self, name: str, allowed: float) -> str:
        """Line of the table."""
        broken = sum(certificate > allowed for certificate in self.certificate)
        plain = f"{max(self.gap):.1e} / {max(self.kept_gap):.1e}" if self.gap else "-"
        exact = f"{sum(self.exact)} of {len(self.exact)}" if self.exact else "-"
        cells = (
            name,
            f"{max(self.error):.1e}",
            f"{statistics.mean(self.objective):.2f}",
            f"{self.realised:.2f}",
            f"{max(self.certificate):.3f} ({broken} of {len(self.certificate)})",
            plain,
            exact,
            f"{statistics.mean(self.passes):.1f}",
            f"{statistics.median(self.seconds):.2f}",
            str(self.fallbacks),
        )
        return f"| {' | '.join(cells)} |"


HEADER = (
    "grid model",
    "schedule error [p.u.]",
    "window [EUR]",
    "realised [EUR]",
    "certificate (broken)",
    "gap plain / kept [p.u.]",
    "plain exact",
    "passes",
    "s / clearing",
    "fallbacks",
)


def run(name: str, options: argparse.Namespace) -> Outcome:
    """Run the clearings of one grid model."""
    config = load("default", [f"start={options.start}", "days=1", f"market.grid_model={name}"])
    model: CoSimulation = prepare(config, Path(tempfile.mkdtemp())).model
    model.now = options.hour
    outcome, clearing = Outcome(), model.dso.clearing
    clear = clearing.clear

    def noted(step: int, book: BidBook, tariff: TariffWindow) -> ClearingResult:
        result = clear(step, book, tariff)
        add(outcome, model, book, result)
        return result

    clearing.clear = noted
    for _ in range(options.steps):
        model.step()
    outcome.realised = sum(model.totals.costs_eur.values())
    return outcome


def add(outcome: Outcome, model: CoSimulation, book: BidBook, result: ClearingResult) -> None:
    """Add a clearing, with voltages and certificates from AC power flows at its schedule."""
    market, violated = model.config.market, float(result.schedule.violation.sum())
    slack = market.violation_price_eur_per_pu_h * model.roster.step_hours * violated
    outcome.objective.append(result.objective - slack)
    outcome.passes.append(result.n_passes)
    outcome.seconds.append(result.wall_s)
    outcome.fallbacks += bool(result.fallback)
    roster, world, clearing = model.roster, model.world, model.dso.clearing
    uncertainty = clearing._uncertainty(book)
    if uncertainty.set_points is not None:
        uncertainty.set_points.cap_kw = result.schedule.cap_kw
    position = {column: k for k, column in enumerate(world.profiles.columns)}
    ac = market.model_copy(update={"grid_model": "ac_sensitivity"})
    for d, t in product(range(roster.n_networks), range(ac.cadence_steps)):
        members, schedule = roster.members(d), result.schedule
        operator = DnOperator(model, world.networks[d], world.peers[d], position, ac)
        exact = operator.linearise(schedule.p_kw[:, members], schedule.q_kvar[:, members], {t})
        audit = certify(
            clearing.margins.factors[d][t],
            exact,
            uncertainty.rows(d, t, exact),
            t,
            gain=schedule.gain(roster, d, t, exact.d_p[t]),
            known=None,
            binding=result.audits[d][t].binding,
        )
        outcome.certificate.append(audit.certificate)
        m = world.networks[d].n_lines
        offered = result.offers[d].value[t, :m]
        if result.exactness is not None:
            plain, kept = result.exactness.plain, result.exactness.kept
            offered = kept.vm_pu[d][t]
            outcome.gap.append(plain.gap[t, d])
            outcome.kept_gap.append(kept.gap[t, d])
            outcome.exact.append(bool(plain.exact[t, d]))
        outcome.error.append(float(np.abs(offered - exact.value[t, :m]).max()))


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--start", default="2016-06-10")
    parser.add_argument("--hour", type=int, default=9, help="first step of the day")
    parser.add_argument("--steps", type=int, default=4, help="clearings of each model")
    options = parser.parse_args()
    print(f"| {' | '.join(HEADER)} |")
    print(f"|{' --- |' * len(HEADER)}")
    allowed = largest_kept(load("default").market.risk_level)
    with threadpool_limits(limits=1):
        for name in get_args(GridModel):
            print(run(name, options).row(name, allowed), flush=True)


if __name__ == "__main__":
    main()
