"""Streams the tables of a run to disk day by day, and makes Parquet files of them at its end.

A Parquet file can only be read when it is complete. So every day goes to a file of its own first,
``parts/<number>.zip``, which is whole or not there whatever happens; it holds the day's rows of
every table in Arrow's format. At the end the days become the row groups of ``<table>.parquet``.
"""

from __future__ import annotations

import zipfile
from contextlib import ExitStack
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from simulation.atomic import UNFINISHED, replacing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

PARTS = "parts"
"""Folder of the days, in the folder of the run."""

_TIME = pa.timestamp("ms", tz="UTC")
_TYPES = {
    "time": _TIME,
    "step": pa.int32(),
    "bus": pa.int32(),
    "from_bus": pa.int32(),
    "to_bus": pa.int32(),
    "line": pa.int32(),
    "n_iterations": pa.int32(),
    "n_scenarios": pa.int32(),
    "network": pa.string(),
    "peer_id": pa.string(),
    "offer": pa.string(),
    "reason": pa.string(),
    "status": pa.string(),
    "fallback": pa.string(),
    "seller": pa.string(),
    "buyer": pa.string(),
    "account": pa.string(),
    "item": pa.string(),
    "kind": pa.string(),
    "promise": pa.string(),
    "cause": pa.string(),
    "source": pa.string(),
    "role": pa.string(),
    "component": pa.string(),
    "transfer": pa.string(),
    "strategy": pa.string(),
    "strategy_from_day": pa.int32(),
    "coalition": pa.string(),
    "element": pa.string(),
    "accepted": pa.bool_(),
    "binding": pa.bool_(),
    "is_source": pa.bool_(),
    "crosses_networks": pa.bool_(),
    "relaxation_exact": pa.bool_(),
    "player": pa.string(),
}

TABLES: dict[str, str] = {
    "buses": "network bus vn_kv v_min_pu v_max_pu shunt_kvar shunt_kw is_source source_vm_pu",
    "lines": "network line from_bus to_bus r_ohm x_ohm max_i_ka",
    "peers": "peer_id network bus load_kw flexible_kw pv_kw wind_kw battery_kw battery_kwh "
    "dispatchable_kw reactive_kvar strategy strategy_from_day coalition",
    "strategies": "step time player strategy markup",
    "bids": "step time peer_id offer quantity_kw price_eur_per_kwh accepted reason",
    "clearing": "step time network status fallback n_iterations solver_s wall_s radius "
    "safety_factor certified_violation_probability promise binding slack_pu objective_eur "
    "relaxation_gap_pu relaxation_exact kept_relaxation_gap_pu coordination_iterations "
    "coordination_residual coordination_gap",
    "dispatch": "step time network peer_id p_scheduled_kw q_scheduled_kvar p_kw q_kvar load_kw "
    "renewable_available_kw curtailed_kw dg_kw charge_kw discharge_kw soc_kwh recourse_share "
    "recourse_kw recourse_asked_kw load_curtailed_kw load_deferred_kw",
    "trades": "step time seller buyer energy_kwh price_eur_per_kwh "
    "received_eur_per_kwh network_fee_eur crosses_networks",
    "settlement": "step time account item amount_eur",
    "bus_voltage": "step time network bus vm_pu vm_predicted_pu vm_scheduled_pu",
    "line_loading": "step time network line i_ka loading_percent",
    "substation": "step time network p_kw q_kvar p_scheduled_kw losses_kw losses_scheduled_kw "
    "exchange_kw deviation_kw",
    "missed_limits": "step time network element kind missed_pu",
    "violations": "step time network element kind value limit excess cause",
    "out_of_sample": "step time network n_scenarios violation_rate ci_low ci_high "
    "certified_violation_probability binding mean_excess_pu max_excess_pu",
    "costs": "step time network component amount_eur",
    "resource_costs": "step time network component amount_eur",
    "transfers": "step time network transfer amount_eur",
    "tariff": "step time spot_eur_per_kwh retail_eur_per_kwh feed_in_eur_per_kwh loss_eur_per_kwh",
    "prices": "step time network bus dlmp_eur_per_kwh energy loss voltage risk",
    "risk": "step time network peer_id role amount_eur",
    "imbalance": "step time network omega_kw omega_mean_kw omega_sd_kw surplus_kw shortage_kw "
    "recourse_kw residual_kw surplus_eur shortage_eur upstream_eur",
    "dso_surplus": "step time source amount_eur",
    "accounts": "account kind network item amount_eur",
    "peer_outcomes": "peer_id network kind net_eur gain_from_trade_eur recourse_income_eur "
    "recourse_cost_eur stored_energy_change_kwh bought_kwh sold_kwh",
}
"""Columns of every table, in order."""


@cache
def schema(table: str) -> pa.Schema:
    """Return the Arrow schema of a table; columns without another type are numbers."""
    return pa.schema([(name, _TYPES.get(name, pa.float64())) for name in TABLES[table].split()])


class Recorder:
    """Writes tables as the run goes; nothing is kept in memory longer than a day.

    Parameters
    ----------
    folder : Path
        Folder of the run; must exist when rows are flushed.

    Attributes
    ----------
    n_parts : int
        Number of days on disk.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.n_parts = 0
        self._pending: dict[str, list[pa.RecordBatch]] = {table: [] for table in TABLES}

    def write(self, table: str, columns: Mapping[str, Sequence[Any] | np.ndarray | Any]) -> None:
        """Add rows to a table.

        Parameters
        ----------
        table : str
            A key of :data:`TABLES`.
        columns : mapping of str to sequence or single value
            All columns of the table; a single value stands for all rows.
        """
        form = schema(table)
        n_rows = max(
            (len(v) for v in columns.values() if isinstance(v, list | tuple | np.ndarray)),
            default=1,
        )
        arrays = []
        for name, kind in zip(form.names, form.types, strict=True):
            value = columns[name]
            if isinstance(value, list | tuple | np.ndarray):
                arrays.append(pa.array(value, type=kind))
            else:
                arrays.append(pa.repeat(pa.scalar(value, type=kind), n_rows))
        self._pending[table].append(pa.RecordBatch.from_arrays(arrays, schema=form))

    def flush(self) -> None:
        """Write what is pending as the next part.

        Raises
        ------
        OSError
            If it cannot be written; it is still pending then.
        """
        path = self._part(self.n_parts)
        path.parent.mkdir(exist_ok=True)
        with replacing(path) as unfinished, zipfile.ZipFile(unfinished, "w") as archive:
            for table, rows in self._gathered().items():
                with archive.open(table, "w", force_zip64=True) as member:
                    _write_rows(member, rows)
        self.n_parts += 1
        for batches in self._pending.values():
            batches.clear()

    def resume(self, n_parts: int) -> None:
        """Go on after the first parts; later ones are taken away.

        Raises
        ------
        FileNotFoundError
            If one of the first is not there.
        """
        keep = {self._part(number) for number in range(n_parts)}
        for path in sorted(keep):
            if not path.exists():
                raise FileNotFoundError(f"{path} is missing")
        for path in (self.folder / PARTS).glob("*"):
            if path not in keep:
                path.unlink()
        for path in self.folder.glob(f"*{UNFINISHED}"):
            path.unlink()
        self.n_parts = n_parts

    def merge(self) -> None:
        """Make one Parquet file of every table: a row group of each part, and of what is pending.

        Parts and pending rows stay as they are.

        Raises
        ------
        OSError
            If the files cannot be written; the parts are still there then.
        """
        with ExitStack() as stack:
            writers = {}
            for table in TABLES:
                path = stack.enter_context(replacing(self.folder / f"{table}.parquet"))
                file = pq.ParquetWriter(path, schema(table), compression="zstd")
                writers[table] = stack.enter_context(file)
            for part in self._in_order():
                for table, rows in part.items():
                    writers[table].write_table(rows)

    def _part(self, number: int) -> Path:
        return self.folder / PARTS / f"{number + 1:05d}.zip"

    def _gathered(self) -> dict[str, pa.Table]:
        """Pending rows of the tables that have any."""
        return {
            table: pa.Table.from_batches(batches, schema=schema(table)).combine_chunks()
            for table, batches in self._pending.items()
            if batches
        }

    def _in_order(self) -> Iterator[dict[str, pa.Table]]:
        """Rows of every part, and those that are pending."""
        for number in range(self.n_parts):
            with zipfile.ZipFile(self._part(number)) as archive:
                yield {table: _read_rows(archive.read(table)) for table in archive.namelist()}
        yield self._gathered()


def _write_rows(file: Any, rows: pa.Table) -> None:
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(file, rows.schema, options=options) as writer:
        writer.write_table(rows)


def _read_rows(content: bytes) -> pa.Table:
    with pa.ipc.open_stream(content) as reader:
        return reader.read_all()
