"""What each factor of an experiment does, everything else equal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from simulation.analysis import pooled
from simulation.experiment_report import line
from simulation.intervals import clusters_of, mean_interval
from simulation.rationality import KINDS, peer_worth
from simulation.stored_value import ADJUSTED
from simulation.streams import stream
from simulation.tallies import CONFIDENCE, REPLICATES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FIGURES = {
    **{name: f"{words} [EUR]" for name, words in ADJUSTED.items()},
    "violation_rate": "violated network-steps, share of all",
    **{f"mean_{kind}_eur": f"left to a {kind} [EUR]" for kind in KINDS},
}
"""Figures whose change is reported, and how they are called."""
FEW = 10
"""Fewer replicates are too few for percentiles of their bootstrap samples to be shown."""
NOTES = f"""\
- Means of differences per run against the first level of the factor, between runs that are equal in
  all other factors and in the replicate; a factor that is never varied alone has none. In brackets
  95 % intervals over the starts of the replicates, or over the replicates where all start on the
  same day: Student's, and the percentiles of {REPLICATES} bootstrap samples. Both take the pairs of
  replicates with the same start together, as they share the weather, and hold given the seeds that
  starts share. With fewer than {FEW} starts the bootstrap's is too narrow, and stands in
  `effects.csv` only; a single start has none.
- What is *left to* a peer is what it receives less what it pays and bears in a run, the change of
  its stored energy credited.
"""


def effects(index: pd.DataFrame, factors: Sequence[str], folder: Path) -> pd.DataFrame:
    r"""Compute the effect of every level of every factor.

    .. math:: \bar d = \frac{1}{R} \sum_{r=1}^R d_r, \qquad
        d_r = \frac{1}{|P_r|} \sum_{(a, b) \in P_r} (y_a - y_b) ,

    with the pairs :math:`P_r` of runs of replicate r that differ in this factor alone, a at the
    level and b at the first one. What is resampled are clusters of replicates, see
    :func:`simulation.intervals.clusters_of`: treatments are chosen, only the weather is drawn.

    Parameters
    ----------
    index : DataFrame
        What :func:`simulation.sweep_index.index` returns; only finished runs count.
    factors : sequence of str
        Columns of the index that treatments differ in.
    folder : Path
        Folder of all runs.

    Returns
    -------
    DataFrame
        One row a factor, level and figure of :data:`FIGURES`: ``mean_difference``, Student's
        ``low`` and ``high``, ``bootstrap_low`` and ``bootstrap_high``, and the numbers of
        ``replicates``, ``clusters`` of them and ``pairs``. Levels are text. Empty if there is no
        pair.
    """
    finished, clusters = index[index.status == "finished"], clusters_of(index)
    measured = finished[[*factors, "replicate"]].join(_figures(finished, folder))
    rows = []
    for factor in factors:
        others = [place for place in factors if place != factor] + ["replicate"]
        first, *levels = index[factor].drop_duplicates()
        base = measured[measured[factor] == first].set_index(others)
        for level in levels:
            own = measured[measured[factor] == level].set_index(others)
            both = own.index.intersection(base.index)
            for figure in measured.columns.intersection(list(FIGURES)):
                change = (own.loc[both, figure] - base.loc[both, figure]).dropna()
                if len(change):
                    place = {"factor": factor, "level": str(level), "reference": str(first)}
                    rng = stream(0, "effects", *place.values(), figure)
                    rows.append({**place, "figure": figure, **_effect(change, clusters, rng)})
    return pd.DataFrame(rows)


def as_markdown(effects: pd.DataFrame) -> str:
    """Write what :func:`effects` returns for people."""
    heads = ("factor", "level", "against", "figure", "mean difference", "bootstrap", "replicates")
    lines = ["## Effects of the factors", "", line(heads), line(["---"] * 4 + ["---:"] * 3)]
    for row in effects.to_dict("records"):
        form = ".2%" if row["figure"] == "violation_rate" else ",.2f"
        mean = f"{row['mean_difference']:z{form}}"
        student, bootstrap = (
            "" if np.isnan(low) else f"[{low:z{form}}, {high:z{form}}]"
            for low, high in (
                (row["low"], row["high"]),
                (row["bootstrap_low"], row["bootstrap_high"]),
            )
        )
        cells = [row["factor"], row["level"], row["reference"], FIGURES[row["figure"]]]
        shown = bootstrap if row["clusters"] >= FEW else ""
        cells += [f"{mean} {student}".strip(), shown or "–"]
        lines.append(line([*cells, f"{row['replicates']} ({row['pairs']} pairs)"]))
    return "\n".join([*lines, "", NOTES])


def _figures(runs: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Gather the figures of finished runs, one row each."""
    rows = []
    for _, run in runs.iterrows():
        tallies = pooled(runs.loc[[run.name]], "all").values()
        steps = sum(tally.steps for tally in tallies)
        violated = sum(tally.events for tally in tallies)
        row = {
            "adjusted_cost_eur": run.adjusted_cost_eur,
            "adjusted_resource_cost_eur": run.get("adjusted_resource_cost_eur", np.nan),
            "violation_rate": violated / steps if steps else np.nan,
        }
        left = peer_worth(folder / run.run_id, run.stored_energy_value_eur_per_kwh)
        if left is not None:
            means = left.groupby("kind").worth_eur.mean()
            row |= {f"mean_{kind}_eur": means.get(kind, np.nan) for kind in KINDS}
        rows.append(row)
    return pd.DataFrame(rows, index=runs.index)


def _effect(change: pd.Series, clusters: pd.Series, rng: np.random.Generator) -> dict[str, Any]:
    """Mean of paired differences, with its intervals over the clusters of replicates."""
    by_replicate = change.groupby(level="replicate").mean()
    student = mean_interval(by_replicate, clusters)
    grouped = by_replicate.groupby(clusters.reindex(by_replicate.index))
    total, size = grouped.sum().to_numpy(), grouped.size().to_numpy()
    n = len(total)
    low = high = np.nan
    if n > 1:
        drawn = rng.integers(n, size=(REPLICATES, n))
        means = total[drawn].sum(axis=1) / size[drawn].sum(axis=1)
        low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return {
        "mean_difference": student.mean,
        "low": student.low,
        "high": student.high,
        "bootstrap_low": float(low),
        "bootstrap_high": float(high),
        "replicates": len(by_replicate),
        "clusters": n,
        "pairs": len(change),
    }
