"""``python -m simulation.compare``: what differs between two runs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from simulation.options import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from simulation.comparison import FinishedRun

# The libraries behind a comparison take a second to import; --help must not wait.

SHOWN = (
    "total_operational_cost_eur",
    "costs_by_component_eur.",
    "resource_cost_eur",
    "resource_costs_by_component_eur.",
    "transfers_eur.",
    "energy_traded_",
    "load_kwh",
    "renewable_curtailed_kwh",
    "stored_energy_change_kwh",
    "certificate_where_binding.median",
    "delivered_violation.all.together.",
    "delivered_violation.binding.together.",
    "out_of_sample.binding.together.rate",
    "uncertified_clearings",
    "fallback_clearings",
)
"""Beginnings of the key figures that are shown; the files have all."""

VALUED = (
    "B less A, what the batteries hold more at the end than at the start credited; the value of a "
    "kWh\nin a battery counts as mid, the other ones show what a small difference hangs on"
)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m simulation.compare",
        description="Show what differs between two runs: settings, key figures, steps, peers. "
        "Differences are B less A.",
    )
    parser.add_argument("a", type=Path, metavar="RUN_A", help="folder of a finished run")
    parser.add_argument("b", type=Path, metavar="RUN_B", help="folder of another one")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="new or empty folder for the whole comparison, as text and tables",
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare two runs.

    Returns
    -------
    int
        0 when done, 1 when the results cannot be written, 2 for input that cannot be used.
    """
    options = parse(arguments)
    from simulation.comparison import read_run  # noqa: PLC0415

    folder = options.output
    try:
        _check_free(folder)
        text, tables = compare(read_run(options.a), read_run(options.b))
    except (ValueError, OSError) as error:
        sys.stderr.write(f"error: {one_line(error)}\n")
        return 2
    text = f"A: {options.a}\nB: {options.b}\n\n{text}"
    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "comparison.txt").write_text(text, encoding="utf-8")
            for name, table in tables.items():
                table.to_parquet(folder / f"{name}.parquet", index=False)
                table.to_csv(folder / f"{name}.csv", index=False)
    except OSError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(text)
    return 0


def _check_free(folder: Path | None) -> None:
    """Refuse a folder with anything in it."""
    if folder is not None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        msg = f"--output {folder}: exists already and is not an empty folder"
        raise ValueError(msg)


def compare(a: FinishedRun, b: FinishedRun) -> tuple[str, dict[str, pd.DataFrame]]:
    """Compare two runs.

    Returns
    -------
    str
        The comparison for people.
    dict of str to DataFrame
        Its tables, see :mod:`simulation.comparison`.
    """
    from simulation import comparison as c  # noqa: PLC0415
    from simulation.stored_value import differences_by_value  # noqa: PLC0415

    steps = c.paired_steps(a, b)
    peers = c.peers(a, b)
    tables = {
        "settings": c.settings_that_differ(a, b),
        "kpis": c.kpis(a, b),
        "stored_energy": differences_by_value(a.kpis, b.kpis),
        "differences": c.paired_differences(steps),
        "steps": steps.reset_index(),
        "types": c.by_type(peers),
        "peers": peers,
    }
    shown = tables["kpis"][tables["kpis"].kpi.str.startswith(SHOWN)]
    shown = shown.assign(relative=100 * shown.relative).rename(columns={"relative": "relative [%]"})
    named = tables["differences"].replace({"series": c.SERIES})
    covered = (
        f"{len(steps)} common periods; A has {len(a.steps)} steps of {a.minutes} min, "
        f"B {len(b.steps)} of {b.minutes} min"
    )
    interval = "95 % interval of the mean difference: bootstrap over days; none of a single day"
    common = f"{len(peers)} common peers; A has {len(a.peers)}, B {len(b.peers)}"
    parts = [
        ("Settings that differ", "", tables["settings"]),
        ("Key figures", "", shown),
        ("Costs by the value of stored energy", VALUED, tables["stored_energy"]),
        ("Step by step, means", f"{covered}\n{interval}", named),
        ("What peers are left with, mean by type [EUR]", common, tables["types"]),
        ("Peers that differ most [EUR]", "", peers.head(c.PEERS_SHOWN)),
    ]
    text = "\n".join(_part(title, note, table) for title, note, table in parts)
    worse = c.peers_without_coordination(a, b)
    if worse is not None:
        text += f"\nAgainst the run without coordination, stored energy at mid\n{worse}\n"
    return text, tables


def _part(title: str, note: str, table: pd.DataFrame) -> str:
    """Write a table with its heading."""
    body = (
        "(none)" if table.empty else table.to_string(index=False, na_rep="–", float_format=_number)
    )
    return "\n".join(filter(None, (title, note, body))) + "\n"


def _number(value: float) -> str:
    """Show a number of any size."""
    return f"{value:z,.2f}" if abs(value) >= 100 else f"{value:z.4g}"


if __name__ == "__main__":
    sys.exit(main())
