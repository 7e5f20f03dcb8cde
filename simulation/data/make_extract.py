"""Make the bundled profile extract from SimBench's raw tables.

Usage::

    python simulation/data/make_extract.py FOLDER [--output FILE]

FOLDER holds ``LoadProfile.csv`` and ``RESProfile.csv`` of the SimBench data set, for example
``simbench/networks/1-complete_data-mixed-all-2-sw`` of the PyPI package ``simbench``. What is
kept and what is changed is described in the README beside this script.
"""

from __future__ import annotations

import argparse
import hashlib
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

N_ROWS = 366 * 96
DECIMALS = 4
LOADS = r"BL-H|WB-H|[GL]\d-[A-Z]|H0-[A-Z]"
HEAT_PUMPS = r"(?:Air|Soil)_(?:Alternative|Parallel|Semi-Parallel)_\d"
HOME_CHARGING = r"HLS_[A-C]_[\d.]+"
GENERATION = {"pv": r"PV\d+", "wind": r"WP\d+"}
NOTICE = {
    "source": "SimBench, simbench 1.6.3, networks/1-complete_data-mixed-all-2-sw",
    "attribution": (
        "Contains information from SimBench (https://simbench.de), which is made available under "
        "the Open Database License (ODbL) 1.0. S. Meinecke et al., Energies 13(12), 3290, 2020, "
        "doi:10.3390/en13123290"
    ),
    "license": "ODbL-1.0, https://opendatacommons.org/licenses/odbl/1-0/",
    "changes": "columns selected and renamed, uniform UTC time stamps, values rounded to 1e-4",
}


def read_raw(path: Path) -> pd.DataFrame:
    """Read one raw table.

    Parameters
    ----------
    path : Path
        ``LoadProfile.csv`` or ``RESProfile.csv``.

    Returns
    -------
    DataFrame
        One column per profile; the rows in file order, without the time labels.

    Raises
    ------
    ValueError
        If the table is not one leap year of quarter hours without gaps.
    """
    raw = pd.read_csv(path, sep=";")
    first = str(raw["time"].iloc[0])
    if len(raw) != N_ROWS or first != "01.01.2016 00:00":
        msg = f"{path}: {len(raw)} rows from {first}, expected {N_ROWS} from 01.01.2016 00:00"
        raise ValueError(msg)
    raw = raw.drop(columns="time")
    if raw.isna().to_numpy().any():
        msg = f"{path}: column {raw.columns[raw.isna().any()][0]} has missing values"
        raise ValueError(msg)
    return raw


def select(loads: pd.DataFrame, renewables: pd.DataFrame) -> dict[str, np.ndarray]:
    """Pick and rename the columns of the extract.

    Parameters
    ----------
    loads, renewables : DataFrame
        The raw tables.

    Returns
    -------
    dict of str to ndarray of float32, shape (N_ROWS,)
        Profiles by the column names that ``simulation.profiles`` reads.
    """
    kept = re.compile(f"(?:{LOADS}|{HEAT_PUMPS}|{HOME_CHARGING})")
    active = loads.columns[loads.columns.str.endswith("_pload")].astype(str)
    names = [name for name in active.str.removesuffix("_pload") if kept.fullmatch(name)]
    columns = {f"load_p:{name}": loads[f"{name}_pload"] for name in names}
    columns |= {f"load_q:{name}": loads[f"{name}_qload"] for name in names}
    for kind, pattern in GENERATION.items():
        columns |= {
            f"{kind}:{name}": renewables[name] for name in renewables.filter(regex=f"^{pattern}$")
        }
    # Adding zero turns the negative zeros of rounding into zeros.
    return {
        name: (values.to_numpy(np.float64).round(DECIMALS) + 0.0).astype(np.float32)
        for name, values in columns.items()
    }


def write(columns: dict[str, np.ndarray], output: Path) -> None:
    """Write the extract with its licence notice in the file's metadata.

    Parameters
    ----------
    columns : dict of str to ndarray
        The profiles.
    output : Path
        The Parquet file.
    """
    # Row k is the quarter hour from 2016-01-01 00:00 UTC + k * 15 min: see the README.
    time = pd.date_range("2016-01-01", periods=N_ROWS, freq="15min", tz="UTC", unit="s")
    table = pa.table({"time": pa.array(time, pa.timestamp("ms", "UTC")), **columns})
    pq.write_table(
        table.replace_schema_metadata(NOTICE),
        output,
        compression="zstd",
        compression_level=19,
        row_group_size=N_ROWS,
        # Few distinct values per column: the dictionary is what keeps the file small.
        use_dictionary=list(columns),
        dictionary_pagesize_limit=2**20,
        data_page_size=2**22,
        column_encoding={"time": "DELTA_BINARY_PACKED"},
    )


def main() -> None:
    """Make the extract and print its size and checksum."""
    parser = argparse.ArgumentParser(description="Make the bundled profile extract from SimBench.")
    parser.add_argument("folder", type=Path, help="folder of LoadProfile.csv and RESProfile.csv")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(__file__).with_name("simbench_extract.parquet"),
        help="Parquet file to write (default: %(default)s)",
    )
    arguments = parser.parse_args()
    columns = select(
        read_raw(arguments.folder / "LoadProfile.csv"),
        read_raw(arguments.folder / "RESProfile.csv"),
    )
    write(columns, arguments.output)
    content = arguments.output.read_bytes()
    print(f"{arguments.output}: {len(columns)} profiles, {len(content)} bytes")
    print(f"SHA-256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
