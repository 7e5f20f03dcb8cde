"""What differs between two runs: settings, key figures, steps, peers."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from configs.files import read_text
from configs.limits import SETTINGS_BYTES
from configs.schema import MINUTES_PER_DAY
from configs.yaml_text import parse
from simulation.rationality import KINDS, SAME_DRAWS, gains_over, rationality
from simulation.run_folders import read_summary
from simulation.stored_value import STORED_VALUE
from simulation.streams import stream
from simulation.tallies import CONFIDENCE, REPLICATES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from simulation.rationality import Rationality

SERIES = {
    "cost_eur": "cost at tariff [EUR]",
    "resource_cost_eur": "resource cost [EUR]",
    "traded_kwh": "energy traded between peers [kWh]",
    "violations": "AC violations",
    "price_eur_per_kwh": "mean price of trades [EUR/kWh]",
}
"""What is compared step by step. Prices are weighted with energy, and missing without trades."""
PEERS_SHOWN = 10


class ComparisonError(ValueError):
    """A folder that holds no whole run; the message names it and says what is wrong."""


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """What is compared of a run.

    Attributes
    ----------
    settings : dict of str to value
        By dotted path; networks and other named entries by name.
    kpis : dict of str to float
        Numbers of the summary, by dotted path.
    minutes : int
        Length of a step. [min]
    steps : DataFrame
        By time: ``cost_eur``, ``resource_cost_eur``, ``traded_kwh``, ``paid_eur``,
        ``violations``.
    peers : DataFrame
        By ``peer_id``: ``network``, ``kind``, ``net_eur``, ``stored_energy_change_kwh``; empty for
        a run that did not record it.
    """

    settings: dict[str, Any]
    kpis: dict[str, float]
    minutes: int
    steps: pd.DataFrame
    peers: pd.DataFrame


def read_run(folder: Path) -> FinishedRun:
    """Read a finished run.

    Raises
    ------
    ComparisonError
        If there is no finished run, or it is damaged.
    """
    if not (folder / "manifest.json").is_file():
        msg = f"{folder}: holds no run (no manifest.json)"
        raise ComparisonError(msg)
    try:
        state = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["status"]
        summary = read_summary(folder)
        if state != "finished":
            msg = f"{folder}: this run is not finished (its status is {state!r})"
            raise ComparisonError(msg)
        if summary is None:
            msg = f"{folder}: damaged run: summary.json is missing or not readable"
            raise ComparisonError(msg)
        config = parse(read_text(folder / "config.yaml", SETTINGS_BYTES))
        numbers = {
            place: float(value)
            for place, value in flatten(summary)
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        minutes = config["step_minutes"]
        if type(minutes) is not int or not 1 <= minutes <= MINUTES_PER_DAY:
            msg = f"{folder}: damaged run: step_minutes in config.yaml is {minutes!r:.40}"
            raise ComparisonError(msg)
        return FinishedRun(dict(flatten(config)), numbers, minutes, _steps(folder), _peers(folder))
    except ComparisonError:
        raise
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        ArithmeticError,
        AttributeError,
        RecursionError,
    ) as error:
        # Of a table cut short, pyarrow tells in an ArrowInvalid, which is a ValueError.
        msg = f"{folder}: damaged run: {type(error).__name__}: {error}"
        raise ComparisonError(msg) from error


def flatten(tree: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """List the values of a tree with their dotted paths, entries of lists by name if they have one.

    Empty sections and lists are values.
    """
    if isinstance(tree, dict) and tree:
        entries = {str(key): value for key, value in tree.items()}
    elif isinstance(tree, list) and tree:
        entries = {
            str(entry.get("name", number) if isinstance(entry, dict) else number): entry
            for number, entry in enumerate(tree)
        }
    else:
        yield place, tree
        return
    for key, value in entries.items():
        yield from flatten(value, f"{place}.{key}" if place else key)


def settings_that_differ(a: FinishedRun, b: FinishedRun) -> pd.DataFrame:
    """List the settings that differ.

    Returns
    -------
    DataFrame
        ``setting`` and its values ``a`` and ``b`` as text; a dash where a run has no such setting.
    """
    rows = [
        (place, *(_text(run.settings, place) for run in (a, b)))
        for place in dict.fromkeys((*a.settings, *b.settings))
    ]
    differing = [row for row in rows if row[1] != row[2]]
    return pd.DataFrame(differing, columns=["setting", "a", "b"])


def kpis(a: FinishedRun, b: FinishedRun) -> pd.DataFrame:
    """Put the key figures side by side.

    Returns
    -------
    DataFrame
        ``kpi``, ``a``, ``b``, ``difference`` (b less a) and ``relative``, the difference over the
        magnitude of a; NaN where one is missing or a is 0.
    """
    places = list(dict.fromkeys((*a.kpis, *b.kpis)))
    table = pd.DataFrame(
        {
            "kpi": places,
            "a": [a.kpis.get(place, math.nan) for place in places],
            "b": [b.kpis.get(place, math.nan) for place in places],
        }
    )
    table["difference"] = table.b - table.a
    table["relative"] = table.difference / table.a.abs().where(table.a != 0)
    return table


def paired_steps(a: FinishedRun, b: FinishedRun) -> pd.DataFrame:
    """Put the common steps side by side.

    Steps of different length are joined to periods of their least common multiple; only periods
    that both runs cover in full count.

    Returns
    -------
    DataFrame
        By ``time``, for each of :data:`SERIES`, its values ``<series>_a`` and ``<series>_b``.
    """
    minutes = math.lcm(a.minutes, b.minutes)
    one, other = (_periods(run, minutes) for run in (a, b))
    return one.join(other, how="inner", lsuffix="_a", rsuffix="_b")


def paired_differences(steps: pd.DataFrame) -> pd.DataFrame:
    r"""Compare the common steps in the mean.

    .. math:: \bar d = \frac{1}{n} \sum_t (y^b_t - y^a_t)

    Steps of one day hang together, days much less. The interval is therefore that of a block
    bootstrap [1]_ whose blocks are the days (UTC), drawn with replacement: the percentiles of the
    means of 2000 samples. It neglects what days have in common, and is too narrow for a handful of
    days; a single day has none.

    Parameters
    ----------
    steps : DataFrame
        What :func:`paired_steps` returns.

    Returns
    -------
    DataFrame
        One row for each of :data:`SERIES`: means ``a`` and ``b``, ``difference`` with ``low`` and
        ``high``, and the numbers of ``steps`` and ``days`` in which both runs have a value.

    References
    ----------
    .. [1] H. R. Künsch, The jackknife and the bootstrap for general stationary observations, Annals
       of Statistics 17(3), 1989, doi:10.1214/aos/1176347265.
    """
    rows = []
    for series in SERIES:
        pair = steps[[f"{series}_a", f"{series}_b"]].dropna().set_axis(["a", "b"], axis="columns")
        change = pair.b - pair.a
        low, high, n_days = interval_by_days(change, "compare", series)
        rows.append(
            {
                "series": series,
                "a": pair.a.mean(),
                "b": pair.b.mean(),
                "difference": change.mean(),
                "low": low,
                "high": high,
                "steps": len(change),
                "days": n_days,
            }
        )
    return pd.DataFrame(rows)


def interval_by_days(change: pd.Series, *purpose: str) -> tuple[float, float, int]:
    """95 % interval of a mean over steps, from the bootstrap of :func:`paired_differences`.

    Parameters
    ----------
    change : Series
        Paired differences by time.
    *purpose : str
        Names of the random stream.

    Returns
    -------
    float, float
        Its ends; NaN of a single day.
    int
        Number of days.
    """
    by_day = change.groupby(pd.DatetimeIndex(change.index).floor("D"))
    days = by_day.agg(["sum", "count"]).to_numpy(dtype=float)
    if len(days) < 2:
        return math.nan, math.nan, len(days)
    chosen = stream(0, *purpose).integers(len(days), size=(REPLICATES, len(days)))
    drawn = days[chosen].sum(axis=1)
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high), len(days)


def peers(a: FinishedRun, b: FinishedRun) -> pd.DataFrame:
    """Put what the runs left every peer with side by side.

    Returns
    -------
    DataFrame
        ``peer_id``, ``network``, ``kind``, ``a``, ``b`` and ``difference`` of ``net_eur``, the
        largest differences first; only peers that are of the same kind in both runs. [EUR]
    """
    place = ["peer_id", "network", "kind"]
    one, other = (run.peers.reset_index()[[*place, "net_eur"]] for run in (a, b))
    both = one.merge(other, on=place, suffixes=("_a", "_b"))
    both = both.rename(columns={"net_eur_a": "a", "net_eur_b": "b"})
    both["difference"] = both.b - both.a
    order = both.difference.abs().sort_values(ascending=False, kind="stable").index
    return both.loc[order].reset_index(drop=True)


def by_type(peers: pd.DataFrame) -> pd.DataFrame:
    """Average what :func:`peers` returns over consumers and over prosumers. [EUR per peer]"""
    seen = [kind for kind in KINDS if (peers.kind == kind).any()]
    means = peers.groupby("kind")[["a", "b", "difference"]].mean().reindex(seen)
    return means.assign(peers=peers.kind.value_counts()).reset_index()


def peers_without_coordination(a: FinishedRun, b: FinishedRun) -> Rationality | None:
    """Tell who is worse off than without coordination, if one of two runs has none.

    None unless both are on the same draws and tell what they left every peer with.
    """
    free = [run.settings.get("market.coordination") == "none" for run in (a, b)]
    same = all(a.settings.get(key) == b.settings.get(key) for key in SAME_DRAWS)
    if free[0] == free[1] or not same:
        return None
    left = [
        run.peers.assign(
            worth_eur=run.peers.net_eur
            + run.kpis.get(f"{STORED_VALUE}.mid", math.nan) * run.peers.stored_energy_change_kwh
        )
        for run in (a, b)
    ]
    reference, own = left if free[0] else left[::-1]
    return rationality(gains_over(own, reference))


def _steps(folder: Path) -> pd.DataFrame:
    """Gather what is compared of every step."""
    costs, trades, violations = (
        pd.read_parquet(folder / f"{table}.parquet") for table in ("costs", "trades", "violations")
    )
    trades["paid_eur"] = trades.energy_kwh * trades.price_eur_per_kwh
    columns = {
        "cost_eur": costs.groupby("time").amount_eur.sum(),
        "resource_cost_eur": _resource_costs(folder),
        "traded_kwh": trades.groupby("time").energy_kwh.sum(),
        "paid_eur": trades.groupby("time").paid_eur.sum(),
        "violations": violations.groupby("time").size(),
    }
    steps = pd.DataFrame({name: columns[name] for name in columns})
    steps = steps.reindex(columns["cost_eur"].index)
    steps = steps.fillna(dict.fromkeys(steps.columns.drop("resource_cost_eur"), 0.0)).astype(float)
    return steps.set_index(pd.DatetimeIndex(steps.index))


def _resource_costs(folder: Path) -> pd.Series:
    """Read the resource cost of every step; none of a run of an earlier version."""
    file = folder / "resource_costs.parquet"
    if not file.exists():
        return pd.Series(dtype=float)
    return pd.read_parquet(file).groupby("time").amount_eur.sum()


def _peers(folder: Path) -> pd.DataFrame:
    """Read what the run left every peer with."""
    amounts = ["net_eur", "stored_energy_change_kwh"]
    columns = ["peer_id", "network", "kind", *amounts]
    file = folder / "peer_outcomes.parquet"
    table = pd.read_parquet(file)[columns] if file.exists() else pd.DataFrame(columns=columns)
    return table.astype(dict.fromkeys(amounts, float)).set_index("peer_id")


def _periods(run: FinishedRun, minutes: int) -> pd.DataFrame:
    """Join steps to periods, and leave out those that are not covered in full."""
    whole = run.steps.groupby(pd.DatetimeIndex(run.steps.index).floor(f"{minutes}min"))
    n = minutes // run.minutes
    out = whole.sum(min_count=n)[whole.size() == n]
    energy = out.traded_kwh.where(out.traded_kwh > 0)
    return out.assign(price_eur_per_kwh=out.paid_eur / energy)[list(SERIES)].rename_axis("time")


def _text(settings: dict[str, Any], place: str) -> str:
    """Show a setting."""
    return json.dumps(settings[place], default=str).strip('"') if place in settings else "–"
