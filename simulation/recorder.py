"""Streams the tables of a run to Parquet files, one row group a day."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

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
    "cause": pa.string(),
    "source": pa.string(),
    "role": pa.string(),
    "component": pa.string(),
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
    "safety_factor certified_violation_probability binding slack_pu objective_eur "
    "relaxation_gap_pu relaxation_exact kept_relaxation_gap_pu",
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
    "violations": "step time network element kind value limit excess cause",
    "out_of_sample": "step time network n_scenarios violation_rate ci_low ci_high "
    "certified_violation_probability binding mean_excess_pu max_excess_pu",
    "costs": "step time network component amount_eur",
    "prices": "step time network bus dlmp_eur_per_kwh energy loss voltage risk",
    "risk": "step time network peer_id role amount_eur",
    "dso_surplus": "step time source amount_eur",
    "accounts": "account kind network item amount_eur",
    "peer_outcomes": "peer_id network kind net_eur gain_from_trade_eur recourse_income_eur "
    "recourse_cost_eur stored_energy_change_kwh bought_kwh sold_kwh",
}
"""Columns of every table, in order."""


def schema(table: str) -> pa.Schema:
    """Return the Arrow schema of a table; columns without another type are numbers."""
    return pa.schema([(name, _TYPES.get(name, pa.float64())) for name in TABLES[table].split()])


class Recorder:
    """Writes tables as the run goes; nothing is kept longer than a day.

    Parameters
    ----------
    folder : Path
        Folder of the run; must exist when rows are flushed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pending: dict[str, list[pa.RecordBatch]] = {table: [] for table in TABLES}
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._closed = False

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
            if not isinstance(value, list | tuple | np.ndarray):
                value = [value] * n_rows
            arrays.append(pa.array(value, type=kind))
        self._pending[table].append(pa.RecordBatch.from_arrays(arrays, schema=form))

    def flush(self) -> None:
        """Write what is pending as one row group per table."""
        for table, batches in self._pending.items():
            form = schema(table)
            if table not in self._writers:
                path = self.folder / f"{table}.parquet"
                self._writers[table] = pq.ParquetWriter(path, form, compression="zstd")
            if batches:
                whole = pa.Table.from_batches(batches, schema=form)
                self._writers[table].write_table(whole.combine_chunks())
            batches.clear()

    def close(self) -> None:
        """Write what is pending and finish all files; closing again changes nothing."""
        if self._closed:
            return
        self.flush()
        self._closed = True
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()
