"""A finished run, watched step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import mesa
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from simulation.live.views import SCHEDULE, TRADED_KWH, Moment, key_figures, make_sites
from simulation.recorder import schema
from simulation.reporting.run_data import read_head
from simulation.reporting.stored_tables import ReportError, undamaged

if TYPE_CHECKING:
    from pathlib import Path

    from simulation.live.views import Site

NEEDED = {
    "buses": "network bus v_min_pu v_max_pu is_source",
    "lines": "network line from_bus to_bus",
    "peers": "peer_id network bus pv_kw wind_kw battery_kw battery_kwh dispatchable_kw strategy",
    "bids": "step peer_id offer quantity_kw price_eur_per_kwh accepted reason",
    "clearing": "step time network status certified_violation_probability binding",
    "dispatch": "step time peer_id p_scheduled_kw p_kw soc_kwh",
    "trades": "step seller buyer energy_kwh price_eur_per_kwh crosses_networks",
    "settlement": "step account item amount_eur",
    "bus_voltage": "step network bus vm_pu",
    "line_loading": "step network line i_ka loading_percent",
    "substation": "step network p_kw losses_kw exchange_kw",
    "violations": "step network element kind",
    "costs": "step amount_eur",
}
"""Tables and columns that are shown."""


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run, read once and shared by all who watch it.

    Attributes
    ----------
    title : str
        Name of the scenario.
    settings : str
        Those of its market, in words.
    sites : tuple of Site
        The networks.
    peers : DataFrame
        The peers by ``peer_id``.
    tables : dict of str to DataFrame
        What has steps, in their order.
    history : DataFrame
        See :func:`simulation.live.views.key_figures`.
    n_window : int
        Steps of the look-ahead window.
    step_hours : float
        Length of a step. [h]
    """

    title: str
    settings: str
    sites: tuple[Site, ...]
    peers: pd.DataFrame
    tables: dict[str, pd.DataFrame]
    history: pd.DataFrame
    n_window: int
    step_hours: float

    def rows(self, table: str, first: int, last: int) -> pd.DataFrame:
        """Rows of a table from one step to another, both included."""
        rows = self.tables[table]
        begin, end = np.searchsorted(rows.step.to_numpy(), [first, last + 1])
        return rows.iloc[begin:end]


def open_run(folder: Path) -> Run:
    """Read a finished run.

    Raises
    ------
    ReportError
        If there is none in the folder, or it is not finished, or damaged.
    OSError
        If a file cannot be read.
    """
    head = read_head(folder)
    if head.status != "finished":
        raise ReportError(f"{folder}: the run is {head.status}; only finished ones can be watched")
    tables = {name: _read(folder, name) for name in NEEDED}
    with undamaged(folder):
        fixed = {name: tables.pop(name) for name in ("buses", "lines", "peers")}
        market = head.config["market"]
        rule, hours = market["radius_rule"], head.config["step_minutes"] / 60
        return Run(
            str(head.config["name"]),
            f"risk level {market['risk_level']:g}, method {market['method']}, radius "
            f"{market['radius'] if rule == 'fixed' else rule}, "
            f"coordination {market['coordination']}, pricing {market['pricing']}",
            make_sites(fixed),
            fixed["peers"].set_index("peer_id"),
            tables,
            key_figures(tables),
            max(1, round(market["horizon_hours"] / hours)),
            hours,
        )


def _read(folder: Path, name: str) -> pd.DataFrame:
    """Read the columns of a table that are shown."""
    path, columns = folder / f"{name}.parquet", NEEDED[name].split()
    if not path.is_file():
        raise ReportError(f"{path}: is missing, although the run is finished")
    form = pa.schema([schema(name).field(column) for column in columns])
    texts = [field.name for field in form if pa.types.is_string(field.type)]
    try:
        table = pq.read_table(path, columns=columns)
        missing = [column for column in columns if column not in table.column_names]
        if missing:
            raise ReportError(f"{path}: has no column {', '.join(missing)}")
        frame: pd.DataFrame = table.select(columns).cast(form).to_pandas(categories=texts)
    # pyarrow tells of damage in any of these.
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, ReportError | PermissionError):
            raise
        raise ReportError(f"{path}: is damaged, or no Parquet file ({error})") from error
    return frame


class StoredRun(mesa.Model):
    """A finished run as Mesa's visualisation drives it; see :class:`simulation.live.views.Watched`.

    A step goes to the next step of the run.

    Parameters
    ----------
    run : Run
        What is watched.
    """

    def __init__(self, run: Run) -> None:
        super().__init__(rng=np.random.default_rng(0))  # nothing is drawn
        self.run = run
        self.title, self.settings = run.title, run.settings
        self.pending = self.message = ""
        self.sites, self.peers, self.n_steps = run.sites, run.peers, len(run.history)
        self.moment: Moment | None = None
        self.history = run.history
        self.go_to(0)

    def go_to(self, step: int) -> None:
        """Show a step."""
        tables = {name: self.run.rows(name, step, step) for name in self.run.tables}
        bids = self.run.tables["bids"].step.to_numpy()
        cleared = int(bids[np.searchsorted(bids, step, side="right") - 1])
        tables["bids"] = self.run.rows("bids", cleared, cleared)
        self.moment = Moment(step, self.run.history.time.iloc[step], tables)
        self.history = self.run.history.iloc[: step + 1]
        self.running = step + 1 < self.n_steps

    def step(self) -> None:
        """Show the next step, if there is one."""
        if self.moment is not None and self.running:
            self.go_to(self.moment.step + 1)

    def schedule(self, peer: str) -> tuple[str, pd.DataFrame]:
        """Return what a peer was told to do in this step and those that followed."""
        first = 0 if self.moment is None else self.moment.step
        last = min(first + self.run.n_window, self.n_steps) - 1
        rows = self.run.rows("dispatch", first, last)
        rows = rows[rows.peer_id == peer].set_index("step")
        trades = self.run.rows("trades", first, last)
        trades = trades[trades.energy_kwh > TRADED_KWH]
        power = {
            f"{word}_kw": trades[trades[side] == peer].groupby("step").energy_kwh.sum()
            / self.run.step_hours
            for word, side in (("bought", "buyer"), ("sold", "seller"))
        }
        stored = rows.soc_kwh if self.peers.battery_kwh[peer] > 0 else np.nan
        out = pd.DataFrame({"time": rows.time, "injection_kw": rows.p_scheduled_kw, **power})
        out = out.fillna(dict.fromkeys(power, 0.0)).assign(stored_kwh=stored)
        return "as cleared in each of the coming steps", out.reset_index(drop=True)[list(SCHEDULE)]

    def account(self, peer: str) -> pd.Series:
        """Sum what a peer received so far, by item. [EUR]"""
        last = 0 if self.moment is None else self.moment.step
        rows = self.run.rows("settlement", 0, last)
        rows = rows[rows.account == peer]
        out: pd.Series = rows.groupby(rows["item"].astype(str)).amount_eur.sum()
        return out
