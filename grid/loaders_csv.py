"""A network from two CSV files: one of the buses, one of the lines."""

from __future__ import annotations

import csv
import math
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from configs.files import InputFileError, check_file
from configs.limits import BUSES, TABLE_BYTES, WHOLE_NUMBER
from grid.loaders_data import NetworkData
from grid.network import NetworkError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_BUS_COLUMNS = ("bus", "load_kw", "load_kvar", "vn_kv")
_BUS_OPTIONS = ("shunt_kw", "shunt_kvar", "v_min_pu", "v_max_pu", "is_source", "source_vm_pu")
_LINE_COLUMNS = ("from_bus", "to_bus", "r_ohm", "x_ohm")
_LINE_OPTIONS = ("max_i_ka",)
_WHOLE = ("bus", "from_bus", "to_bus")
_TRUTH = {"true": "1", "false": "0", "yes": "1", "no": "0"}


def load_csv(name: str, buses: Path, lines: Path) -> NetworkData:
    """Read a network from its CSV files.

    Parameters
    ----------
    name : str
        Name of the network.
    buses : Path
        Columns bus, load_kw, load_kvar, vn_kv; optional shunt_kw (drawn) and shunt_kvar
        (injected) at the rated voltage, v_min_pu, v_max_pu, is_source, source_vm_pu.
        Without is_source, the source is the bus that no line leads to.
    lines : Path
        Columns from_bus, to_bus, r_ohm, x_ohm; optional max_i_ka. Between buses of different
        vn_kv a line is a transformer of nominal ratio, its values seen from to_bus.

    Returns
    -------
    NetworkData
        The raw network.

    Raises
    ------
    NetworkError
        If a file is missing or a cell is not what its column needs.
    """
    bus = _read(buses, _BUS_COLUMNS, _BUS_OPTIONS)
    line = _read(lines, _LINE_COLUMNS, _LINE_OPTIONS)
    numbers = bus["bus"].astype(np.int64)
    from_bus, to_bus = line["from_bus"].astype(np.int64), line["to_bus"].astype(np.int64)
    source = _source(buses, numbers, bus["is_source"], to_bus)
    vm_pu = bus["source_vm_pu"][numbers == source][0]
    return NetworkData(
        name=name,
        origin=str(buses),
        bus=numbers,
        vn_kv=bus["vn_kv"],
        load_kw=bus["load_kw"],
        load_kvar=bus["load_kvar"],
        shunt_kw=np.nan_to_num(bus["shunt_kw"]),
        shunt_kvar=np.nan_to_num(bus["shunt_kvar"]),
        v_min_pu=bus["v_min_pu"],
        v_max_pu=bus["v_max_pu"],
        source=source,
        source_vm_pu=1.0 if np.isnan(vm_pu) else float(vm_pu),
        line=tuple(f"line {k + 1} of {lines}" for k in range(len(from_bus))),
        from_bus=from_bus,
        to_bus=to_bus,
        r_ohm=line["r_ohm"],
        x_ohm=line["x_ohm"],
        ratio=np.ones(len(from_bus)),
        max_i_ka=line["max_i_ka"],
    )


def _source(
    path: Path,
    numbers: NDArray[np.int64],
    is_source: NDArray[np.float64],
    to_bus: NDArray[np.int64],
) -> int:
    """Find the one bus that feeds the others."""
    if np.isnan(is_source).all():
        found = numbers[~np.isin(numbers, to_bus)]
        rule = "no line leads to it; a column is_source would settle it"
    else:
        found = numbers[np.nan_to_num(is_source) != 0]
        rule = "is_source"
    if len(found) != 1:
        listed = ", ".join(str(number) for number in found) or "none"
        msg = f"{path}: exactly one source bus is needed, found {listed} ({rule})"
        raise NetworkError(msg)
    return int(found[0])


def _read(
    path: Path, needed: tuple[str, ...], optional: tuple[str, ...]
) -> dict[str, NDArray[np.float64]]:
    """Read the columns of a CSV file; nan stands for optional values that are not given."""
    try:
        check_file(path, TABLE_BYTES)
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            columns = tuple(reader.fieldnames or ())
            rows = [(reader.line_num, row) for row in islice(reader, BUSES + 1)]
    except InputFileError as error:
        raise NetworkError(str(error)) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        msg = f"{path}: cannot be read as a CSV file ({error})"
        raise NetworkError(msg) from error
    if missing := [column for column in needed if column not in columns]:
        msg = f"{path}: missing column {', '.join(missing)}; found {', '.join(columns) or 'none'}"
        raise NetworkError(msg)
    if unknown := [column for column in columns if column not in needed + optional]:
        msg = f"{path}: unknown column {', '.join(unknown)}; known: {', '.join(needed + optional)}"
        raise NetworkError(msg)
    if twice := [column for column in columns if columns.count(column) > 1]:
        msg = f"{path}: column {twice[0]} stands twice"
        raise NetworkError(msg)
    if len(rows) > BUSES:
        msg = f"{path}: more than {BUSES:,} rows; allowed are at most {BUSES:,}"
        raise NetworkError(msg)
    if not rows:
        msg = f"{path}: no rows"
        raise NetworkError(msg)
    table = {column: np.full(len(rows), np.nan) for column in needed + optional}
    for k, (number, row) in enumerate(rows):
        if None in row or None in row.values():
            msg = f"{path}, line {number}: {len(columns)} values are needed, one a column"
            raise NetworkError(msg)
        for column in columns:
            text = row[column].strip()
            if text or column in needed:
                table[column][k] = _number(text, column, f"{path}, line {number}")
    return table


def _number(text: str, column: str, place: str) -> float:
    """Read a cell."""
    if column == "is_source":
        text = _TRUTH.get(text.lower(), text)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    whole = column in _WHOLE
    if not math.isfinite(value) or (whole and value != int(value)):
        msg = f"{place}: {column} is {text!r:.40}, not a {'whole' if whole else 'finite'} number"
        raise NetworkError(msg)
    if whole and abs(value) > WHOLE_NUMBER:
        msg = f"{place}: {column} is {text!r:.40}; allowed are at most {WHOLE_NUMBER}"
        raise NetworkError(msg)
    return value
