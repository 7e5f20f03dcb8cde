"""What a finished run tells of its strategic peers: how many there are, and what they ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from configs.schema import StrategyUse

TRUTHFUL = "truthful"
"""Every other strategy is strategic."""
MARKUP = "markup_day:"
"""How the columns of the daily mean mark-ups begin; the number of the day follows."""


def in_words(uses: Sequence[StrategyUse]) -> str:
    """Describe who uses which strategy: ``markup 25% (markup=0.3)``."""
    words = []
    for use in uses:
        given = use.model_dump(exclude_defaults=True, exclude={"use", "share", "parameters"})
        shown = ", ".join(f"{name}={value}" for name, value in {**given, **use.parameters}.items())
        words.append(f"{use.use} {use.share:.0%}" + f" ({shown})" * bool(shown))
    return " + ".join(words) or TRUTHFUL


def peer_strategies(folder: Path) -> pd.Series:
    """Strategy of every peer of a run; empty of a run that did not record its peers."""
    try:
        peers = pd.read_parquet(folder / "peers.parquet", columns=["peer_id", "strategy"])
    except FileNotFoundError:
        return pd.Series(dtype=str, name="strategy")
    return peers.set_index("peer_id").strategy


def strategic_peers(folder: Path) -> dict[str, str | float]:
    """Key figures of a run's strategic peers, for the index of an experiment.

    Parameters
    ----------
    folder : Path
        Folder of the run.

    Returns
    -------
    dict of str to str or float
        ``strategy``: the strategies other than :data:`TRUTHFUL`, that one if there is no other;
        ``strategic_share``: share of the peers that use them; ``markup_day:<n>``: mean of the
        mark-ups chosen on a day, where there are such. Empty of a run without these tables. [-]
    """
    strategy = peer_strategies(folder)
    if strategy.empty:
        return {}
    strategic = strategy[strategy != TRUTHFUL]
    out: dict[str, str | float] = {
        "strategy": " + ".join(sorted(strategic.unique())) or TRUTHFUL,
        "strategic_share": len(strategic) / len(strategy),
    }
    try:
        chosen = pd.read_parquet(folder / "strategies.parquet", columns=["time", "markup"])
        first = pd.read_parquet(folder / "costs.parquet", columns=["time"]).time.min()
    except FileNotFoundError:
        return out
    day = (chosen.time - first).dt.days + 1
    for number, markup in chosen.markup.groupby(day).mean().items():
        out[f"{MARKUP}{number}"] = float(markup)
    return out
