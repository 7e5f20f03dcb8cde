"""Voltages of a run as its report shows them: worst ones by bus, and over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from simulation.reporting.feeder_layout import feeder_layout
from simulation.reporting.picks import smallest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulation.reporting.run_data import RunData

VOLTAGES = ("over_voltage", "under_voltage")
DAILY_FROM_DAYS = 60
"""Longer runs show the worst voltage of each day."""
_BLOCK_HOURS = (1, 2, 3, 6, 12, 24, 48, 168, 720)
MOST_CELLS = 80_000
"""Cells of one heat map; more would make the file large."""


@dataclass(frozen=True, eq=False)
class Feeder:
    """A network with its worst voltages.

    Attributes
    ----------
    network : str
        Its name.
    parent : dict of int to int
        Feeding bus of every bus but the source.
    place : dict of int to (int, int)
        Column and row of every bus, see :mod:`simulation.reporting.feeder_layout`.
    buses : DataFrame
        By ``bus``, in the order of ``place``: ``v_min_pu`` and ``v_max_pu``; ``vm_pu``, its worst
        voltage over the run, the one closest to a limit or farthest beyond it, with its ``time``
        and ``margin_pu`` (negative beyond the limit); ``n_violations``, steps with a violation.
    loading : dict of int to float
        Largest loading of the line that feeds each bus, NaN where none is recorded. [%]
    """

    network: str
    parent: dict[int, int]
    place: dict[int, tuple[int, int]]
    buses: pd.DataFrame
    loading: dict[int, float]

    @property
    def worst(self) -> pd.Series | None:
        """Row of the bus with the least margin; None without any voltage."""
        seen = self.buses[self.buses.margin_pu.notna()]
        return None if seen.empty else smallest(seen, "margin_pu")


@dataclass(frozen=True, eq=False)
class VoltageGrid:
    """Voltages of a network over time.

    Attributes
    ----------
    time : DatetimeIndex, shape (n_times,)
        Beginnings of the periods.
    hours : float
        Their length. [h]
    bus : ndarray, shape (n_buses,)
        From the substation outwards, the source left out.
    vm_pu : ndarray, shape (n_buses, n_times)
        The worst voltage of the period; NaN without one. [p.u.]
    """

    time: pd.DatetimeIndex
    hours: float
    bus: NDArray[np.int64]
    vm_pu: NDArray[np.float64]


def feeder(run: RunData, network: str) -> Feeder:
    """Gather what the map of a network shows.

    Raises
    ------
    ValueError
        If the lines are no tree.
    """
    lines, buses = run.of("lines", network), run.of("buses", network).set_index("bus")
    parent = dict(zip(lines.to_bus.tolist(), lines.from_bus.tolist(), strict=True))
    source = int(buses.index[buses.is_source.to_numpy(dtype=bool)][0])
    place = feeder_layout(parent, source)
    worst = _worst(run.of("bus_voltage", network), buses)
    out = buses.loc[list(place), ["v_min_pu", "v_max_pu"]].join(worst)
    found = run.of("violations", network)
    found = found[found.kind.isin(VOLTAGES)]
    counts = found.astype({"element": int}).groupby("element").step.nunique()
    out["n_violations"] = counts.reindex(out.index).fillna(0).astype(int)
    loads = run.of("line_loading", network).groupby("line").loading_percent.max()
    position = range(len(lines))  # lines are numbered by their position
    loading = dict(zip(parent, loads.reindex(position).tolist(), strict=True))
    return Feeder(network, parent, place, out, loading)


def voltage_grid(run: RunData, fed: Feeder) -> VoltageGrid:
    """Arrange the voltages of a network by bus and time, long runs by period."""
    table = run.of("bus_voltage", fed.network).pivot(index="time", columns="bus", values="vm_pu")
    order = [bus for bus in fed.place if bus in table.columns]
    table = table[order]
    limits = fed.buses.loc[order, ["v_min_pu", "v_max_pu"]].to_numpy(float)
    hours = _period(len(table), len(order), run.step_hours)
    per_period = max(1, round(hours / run.step_hours))
    values = _worst_of_periods(table.to_numpy(float), limits, per_period)
    time = pd.DatetimeIndex(table.index[::per_period])
    return VoltageGrid(time, per_period * run.step_hours, np.array(order), values.T)


def _margin(vm_pu: NDArray[np.float64], limits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance to the closer limit, negative beyond it; limits are (n, 2)."""
    margin: NDArray[np.float64] = np.minimum(vm_pu - limits[:, 0], limits[:, 1] - vm_pu)
    return margin


def _worst(voltages: pd.DataFrame, buses: pd.DataFrame) -> pd.DataFrame:
    """Voltage with the least margin, its time and margin, by bus."""
    seen = voltages[voltages.vm_pu.notna()].reset_index(drop=True)
    limits = buses.reindex(seen.bus)[["v_min_pu", "v_max_pu"]].to_numpy(float)
    seen = seen.assign(margin_pu=_margin(seen.vm_pu.to_numpy(float), limits))
    rows = seen.loc[seen.groupby("bus").margin_pu.idxmin()]
    return rows.set_index("bus")[["vm_pu", "time", "margin_pu"]]


def _period(n_steps: int, n_buses: int, step_hours: float) -> float:
    """Length of the periods that keep a heat map small. [h]"""
    duration = n_steps * step_hours
    shortest = 24 if duration > 24 * DAILY_FROM_DAYS else step_hours
    lengths = [step_hours, *(hours for hours in _BLOCK_HOURS if hours > step_hours)]
    for hours in lengths:
        if hours >= shortest and duration / hours * n_buses <= MOST_CELLS:
            return float(hours)
    return float(lengths[-1])


def _worst_of_periods(
    vm_pu: NDArray[np.float64], limits: NDArray[np.float64], per_period: int
) -> NDArray[np.float64]:
    """Take the voltage with the least margin of each period; (n_steps, n) to (n_periods, n)."""
    if per_period == 1:
        return vm_pu
    missing = -len(vm_pu) % per_period
    padded = np.pad(vm_pu, ((0, missing), (0, 0)), constant_values=np.nan)
    blocks = padded.reshape(-1, per_period, vm_pu.shape[1])
    margin = np.nan_to_num(_margin(blocks, limits), nan=np.inf)
    worst = margin.argmin(axis=1)
    out: NDArray[np.float64] = np.take_along_axis(blocks, worst[:, None, :], axis=1)[:, 0]
    return out
