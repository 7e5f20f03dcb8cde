"""Reads the tables of a run: Parquet files or, of a run cut short, the days written so far."""

from __future__ import annotations

import zipfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from simulation.recorder import PARTS, TABLES, schema

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pandas as pd

NEEDED: dict[str, str] = {
    "buses": "network bus v_min_pu v_max_pu is_source",
    "lines": "network line from_bus to_bus",
    "peers": "peer_id network bus",
    "clearing": "step time network n_iterations certified_violation_probability binding",
    "dispatch": "step time peer_id load_kw renewable_available_kw curtailed_kw dg_kw charge_kw "
    "discharge_kw soc_kwh recourse_share recourse_kw",
    "trades": "step time seller buyer energy_kwh crosses_networks",
    "violations": "step time network element kind value limit excess cause",
    "bus_voltage": "step time network bus vm_pu",
    "costs": "step time network component amount_eur",
}
"""Tables of every run, and the columns of them without which there is no report."""
WANTED: dict[str, str] = {
    "peers": "pv_kw wind_kw battery_kwh dispatchable_kw strategy",
    "clearing": "promise status fallback solver_s wall_s slack_pu relaxation_gap_pu "
    "relaxation_exact",
    "dispatch": "network recourse_asked_kw",
    "trades": "price_eur_per_kwh network_fee_eur",
    "line_loading": "network line loading_percent",
    "substation": "step time network p_kw losses_kw",
    "prices": "step time network dlmp_eur_per_kwh energy loss voltage risk",
    "resource_costs": TABLES["resource_costs"],
    "transfers": TABLES["transfers"],
    "out_of_sample": "step time network n_scenarios violation_rate binding",
    "accounts": TABLES["accounts"],
    "peer_outcomes": TABLES["peer_outcomes"],
}
"""What is shown besides, where a run has it."""
_OF_DAYS = {**NEEDED, **WANTED, "settlement": "account item amount_eur"}
"""What is read of a run that has no tables yet."""


class ReportError(ValueError):
    """A folder that nothing can be reported of; the message names the file and what is wrong."""


@contextmanager
def undamaged(folder: Path) -> Iterator[None]:
    """Tell of values that no run has, which only show when they are used, as damage.

    Raises
    ------
    ReportError
        In the place of what such values give rise to.
    """
    try:
        yield
    except ReportError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        what = f"{type(error).__name__}: {error}"
        raise ReportError(f"{folder}: damaged: its files do not fit together ({what})") from error


def read_tables(folder: Path, *, whole: bool) -> dict[str, pd.DataFrame]:
    """Read the tables of a run.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    whole : bool
        Whether the run is finished, so that the tables of :data:`NEEDED` must be there.

    Returns
    -------
    dict of str to DataFrame
        By name, those that are missing empty. Names and kinds are categories; a column that is
        missing and not needed is empty.

    Raises
    ------
    ReportError
        If a table is missing, damaged or none of a run.
    OSError
        If a file cannot be read.
    """
    if not whole and _days_reach_further(folder):
        out = {name: _frame(name, table, folder / PARTS) for name, table in _days(folder)}
        # The accounts of the run are summed up at its end.
        out["accounts"] = accounts_of(out.pop("settlement"), out["peers"])
        return out
    out = {}
    for name in dict.fromkeys((*NEEDED, *WANTED)):
        path = folder / f"{name}.parquet"
        if path.is_file():
            out[name] = _frame(name, _parquet(path, name), path)
        elif whole and name in NEEDED:
            raise ReportError(f"{path}: is missing, although the run is finished")
        else:
            out[name] = _frame(name, schema(name).empty_table(), path)
    return out


def accounts_of(settlement: pd.DataFrame, peers: pd.DataFrame) -> pd.DataFrame:
    """Sum up the payments of the steps, as the table ``accounts`` does at the end of a run."""
    owned = peers[["pv_kw", "wind_kw", "battery_kwh", "dispatchable_kw"]].sum(axis=1) > 0
    kinds = {
        str(peer): "prosumer" if owns else "consumer"
        for peer, owns in zip(peers.peer_id, owned, strict=True)
    }
    network = peers.astype(str).set_index("peer_id").network.to_dict()
    sums = (
        settlement.astype({"account": str, "item": str})
        .groupby(["account", "item"], as_index=False, sort=False)[["amount_eur"]]
        .sum()
    )
    # An operator's account is called operator:<network>.
    names = sums.account.str.split(":", n=1)
    sums["kind"] = [
        kinds.get(name, parts[0]) for name, parts in zip(sums.account, names, strict=True)
    ]
    sums["network"] = [
        network.get(name, parts[-1] if len(parts) > 1 else None)
        for name, parts in zip(sums.account, names, strict=True)
    ]
    return sums[TABLES["accounts"].split()]


def _columns(name: str) -> list[str]:
    return list(dict.fromkeys(f"{NEEDED.get(name, '')} {_OF_DAYS[name]}".split()))


def _parquet(path: Path, name: str) -> pa.Table:
    try:
        file = pq.ParquetFile(path)
        return file.read([column for column in _columns(name) if column in file.schema_arrow.names])
    # pyarrow tells of damage in any of these.
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError | PermissionError):
            raise
        raise ReportError(f"{path}: is damaged, or no Parquet file ({error})") from error


def _frame(name: str, table: pa.Table, path: Path) -> pd.DataFrame:
    """Bring a table to the columns and types of the report."""
    form = schema(name)
    missing = [
        column for column in NEEDED.get(name, "").split() if column not in table.schema.names
    ]
    if missing:
        raise ReportError(f"{path}: {name} has no column {', '.join(missing)}")
    columns = {}
    for column in _columns(name):
        kind = form.field(column).type
        try:
            columns[column] = (
                table[column].cast(kind)
                if column in table.schema.names
                else pa.nulls(table.num_rows, kind)
            )
        except (pa.ArrowException, ValueError) as error:
            raise ReportError(f"{path}: column {column} of {name}: {error}") from error
    texts = [column for column in columns if pa.types.is_string(form.field(column).type)]
    frame: pd.DataFrame = pa.table(columns).to_pandas(categories=texts)
    return frame


def _days_reach_further(folder: Path) -> bool:
    """Whether the days on disk hold more than the tables: these are of an earlier stop, then."""
    days = sorted((folder / PARTS).glob("*.zip"))
    if not days:
        return False
    path = folder / "clearing.parquet"
    if not path.is_file():
        return True
    tables = _parquet(path, "clearing")
    last = _day(days[-1]).get("clearing")
    if last is None or not tables.num_rows:
        return last is not None
    return int(last["step"].to_numpy().max()) > int(tables["step"].to_numpy().max())


def _days(folder: Path) -> Iterator[tuple[str, pa.Table]]:
    """Rows of all days by table."""
    days = [_day(path) for path in sorted((folder / PARTS).glob("*.zip"))]
    for name in _OF_DAYS:
        rows = [day[name] for day in days if name in day]
        yield name, pa.concat_tables(rows) if rows else schema(name).empty_table()


def _day(path: Path) -> dict[str, pa.Table]:
    try:
        with zipfile.ZipFile(path) as archive:
            return {
                name: pa.ipc.open_stream(archive.read(name)).read_all()
                for name in archive.namelist()
                if name in _OF_DAYS
            }
    except (zipfile.BadZipFile, pa.ArrowException, ValueError, EOFError) as error:
        raise ReportError(f"{path}: is damaged ({error})") from error
