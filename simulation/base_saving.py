"""What a run saves against its base case: at tariff and in resources, with intervals by days."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from simulation.atomic import write_json
from simulation.comparison import ComparisonError, interval_by_days, read_run
from simulation.lock import locked
from simulation.manifest import BASE, read_manifest
from simulation.options import one_line
from simulation.output_folder import clear
from simulation.rationality import rationality_of_runs
from simulation.run_folders import read_summary

if TYPE_CHECKING:
    from pathlib import Path

COSTS = {
    "at_tariff": ("total_operational_cost_eur", "costs"),
    "in_resources": ("resource_cost_eur", "resource_costs"),
}
"""Key figure of the summary, and table, of every cost."""
VALUE = "stored_energy_value_eur_per_kwh.mid"
"""Value of stored energy, among the key figures."""


@dataclass(frozen=True)
class Saving:
    r"""What a run saves of one cost against its base case.

    Both costs are adjusted for the energy that batteries hold more at the end than at the start,
    by the value that experiments give it, the mean of the supplier's selling and buying price:

    .. math:: \tilde C = C - \bar\pi \, \Delta E, \qquad
              s = \tilde C^\mathrm{base} - \tilde C^\mathrm{run} = \sum_d s_d .

    The interval is that of a block bootstrap over the days' paired differences s_d, see
    :func:`simulation.comparison.paired_differences`.

    Attributes
    ----------
    base_eur, run_eur : float
        The adjusted costs. [EUR]
    saving_eur : float
        Their difference. [EUR]
    low_eur, high_eur : float, optional
        Its 95 % interval; none of a single day, or without a cost by step. [EUR]
    share : float, optional
        The saving over the cost of the base case, where that is positive.
    unadjusted_eur : float
        The saving with stored energy left out. [EUR]
    days : int
        Number of blocks.
    """

    base_eur: float
    run_eur: float
    saving_eur: float
    low_eur: float | None
    high_eur: float | None
    share: float | None
    unadjusted_eur: float
    days: int


def savings(folder: Path, base_folder: Path) -> dict[str, Saving]:
    """Compare a finished run with its base case.

    Returns
    -------
    dict of str to Saving
        By cost: those of :data:`COSTS` that both runs know.

    Raises
    ------
    ComparisonError
        If one of the runs is not finished, or damaged.
    """
    run, base = _adjusted_costs(folder), _adjusted_costs(base_folder)
    return {name: _saving(name, run[name], base[name]) for name in run if name in base}


@dataclass(frozen=True, eq=False)
class _Cost:
    """A cost of a run as it is, adjusted, and adjusted by step if its table is there. [EUR]"""

    unadjusted: float
    adjusted: float
    by_step: pd.Series | None


def _adjusted_costs(folder: Path) -> dict[str, _Cost]:
    """Credit a run with what its batteries hold more at the end than at the start."""
    kpis = read_run(folder).kpis
    value, change = (kpis.get(name, 0.0) for name in (VALUE, "stored_energy_change_kwh"))
    stored = _sums(folder, "dispatch", "soc_kwh")
    credit = value * stored.diff()
    credit.iloc[0] = value * (change - (stored.iloc[-1] - stored.iloc[0]))
    return {
        name: _Cost(
            kpis[figure],
            kpis[figure] - value * change,
            _sums(folder, table, "amount_eur") - credit
            if (folder / f"{table}.parquet").is_file()
            else None,
        )
        for name, (figure, table) in COSTS.items()
        if figure in kpis
    }


def _sums(folder: Path, table: str, column: str) -> pd.Series:
    """Add up a column of a table by step."""
    path = folder / f"{table}.parquet"
    try:
        sums = pd.read_parquet(path, columns=["time", column]).groupby("time")[column].sum()
    except (OSError, ValueError) as error:
        raise ComparisonError(f"{path}: damaged run: {error}") from error
    return pd.Series(sums.to_numpy(float), index=pd.DatetimeIndex(sums.index))


def _saving(name: str, run: _Cost, base: _Cost) -> Saving:
    """Compare one cost."""
    low = high = math.nan
    days = 0
    if run.by_step is not None and base.by_step is not None:
        change = base.by_step - run.by_step
        low, high, days = interval_by_days(change, "saving", name)
        low, high = len(change) * low, len(change) * high
    saving = base.adjusted - run.adjusted
    return Saving(
        base_eur=base.adjusted,
        run_eur=run.adjusted,
        saving_eur=saving,
        low_eur=None if math.isnan(low) else low,
        high_eur=None if math.isnan(high) else high,
        share=saving / base.adjusted if base.adjusted > 0 else None,
        unadjusted_eur=base.unadjusted - run.unadjusted,
        days=days,
    )


def _peers(folder: Path, told: dict[str, Saving]) -> dict[str, Any] | None:
    """Who is worse off than without coordination, where the base case is that; else nothing."""
    run, base = read_summary(folder), read_summary(folder / BASE)
    if not told or run is None or base is None or base.get("coordination") != "none":
        return None
    found = rationality_of_runs(folder, run, folder / BASE, base)
    if found is None:
        return None
    return {"not_worse_off_share": found.share, **asdict(found), "text": str(found)}


def with_base_case(folder: Path, failure: str) -> dict[str, Any]:
    """Put the base case at the beginning of the summary of a finished run.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    failure : str
        Why the base case is not finished; empty if it is.

    Returns
    -------
    dict
        The summary.

    Raises
    ------
    LockedError
        If another process writes there.
    OSError
        If the summary cannot be written.
    """
    with locked(folder):
        told: dict[str, Saving] = {}
        try:
            told = {} if failure else savings(folder, folder / BASE)
        except ComparisonError as error:
            failure = one_line(error)
        block = {
            **(read_manifest(folder) or {}).get("base", {"folder": BASE}),
            "failure": failure or None,
            "savings": {name: asdict(saving) for name, saving in told.items()},
            "peers": _peers(folder, told),
        }
        summary = {"base_case": block} | (read_summary(folder) or {}) | {"base_case": block}
        write_json(folder / "summary.json", summary)
        clear(folder)
    return summary
