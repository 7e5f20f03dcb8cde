"""The raw data of a configured network, from whatever source it names."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING

from grid.loaders_csv import load_csv
from grid.loaders_library import load_json, load_named, load_simbench
from grid.loaders_matpower import load_matpower
from grid.network import NetworkError

if TYPE_CHECKING:
    from configs.schema import Network
    from grid.loaders_data import NetworkData

_DATA = Path(__file__).with_name("data")
BUILTIN = ("case85", "case69")
"""Names of the networks that come with the package."""


def load(settings: Network) -> NetworkData:
    """Read the source data of a network.

    Parameters
    ----------
    settings : Network
        Which network, and where it comes from.

    Returns
    -------
    NetworkData
        As in the source: not scaled, no capacitors added, not checked.

    Raises
    ------
    NetworkError
        If the source is missing or cannot be understood.
    """
    name, place = settings.name, settings.case
    match settings.source:
        case "builtin":
            return load_builtin(name, place)
        case "csv":
            return load_csv(name, Path(place), Path(str(settings.lines)))
        case "matpower":
            return load_matpower(name, Path(place))
        case "pandapower":
            return load_named(name, place)
        case "pandapower_json":
            return load_json(name, Path(place))
        case "simbench":
            return load_simbench(name, place)


def load_builtin(name: str, case: str) -> NetworkData:
    """Read one of the networks that come with the package.

    Parameters
    ----------
    name : str
        Name of the network.
    case : str
        One of `BUILTIN`.

    Returns
    -------
    NetworkData
        The raw network.

    Raises
    ------
    NetworkError
        If there is no such case.
    """
    if case not in BUILTIN:
        close = difflib.get_close_matches(case, BUILTIN, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        msg = f"network {name}: no builtin case {case!r}, only {' and '.join(BUILTIN)}{hint}"
        raise NetworkError(msg)
    return load_csv(name, _DATA / f"{case}_buses.csv", _DATA / f"{case}_lines.csv")
