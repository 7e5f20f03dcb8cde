"""Networks from pandapower: a named example, a JSON file or a SimBench code."""

from __future__ import annotations

import difflib
import importlib
import inspect
import random
import warnings
from typing import TYPE_CHECKING, Any

import pandapower.networks

from grid.loaders_json import read_pandapower
from grid.loaders_pandapower import from_pandapower
from grid.network import NetworkError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from grid.loaders_data import NetworkData


def load_named(name: str, case: str) -> NetworkData:
    """Build a network by its name in pandapower.networks.

    Some of them draw line lengths at random; here the draw is always the same.

    Parameters
    ----------
    name : str
        Name of the network.
    case : str
        A public function of pandapower.networks that needs no argument.

    Returns
    -------
    NetworkData
        The raw network.

    Raises
    ------
    NetworkError
        If there is no such function, or its network cannot be used.
    """
    functions = _named_networks()
    if case not in functions:
        raise NetworkError(_unknown("name in pandapower.networks", case, functions))
    state = random.getstate()
    random.seed(0)
    try:
        net = _quietly(functions[case])
    except Exception as error:  # examples that need a download, for instance
        msg = f"network {name}: pandapower cannot build {case} ({type(error).__name__}: {error})"
        raise NetworkError(msg) from error
    finally:
        random.setstate(state)
    return from_pandapower(name, case, net)


def load_json(name: str, path: Path) -> NetworkData:
    """Read a network that pandapower saved as JSON.

    Parameters
    ----------
    name : str
        Name of the network.
    path : Path
        The file.

    Returns
    -------
    NetworkData
        The raw network.

    Raises
    ------
    NetworkError
        If the file is missing or is no pandapower network, or it cannot be used.
    """
    return from_pandapower(name, str(path), read_pandapower(path))


def load_simbench(name: str, code: str) -> NetworkData:
    """Build a SimBench network.

    Parameters
    ----------
    name : str
        Name of the network.
    code : str
        SimBench code, for instance ``1-LV-rural1--0-sw``.

    Returns
    -------
    NetworkData
        The raw network.

    Raises
    ------
    NetworkError
        If SimBench is not installed, the code is unknown, or the network cannot be used.
    """
    try:
        simbench = importlib.import_module("simbench")
    except ImportError as error:
        msg = f"network {name}: SimBench codes need the extra: pip install 'drcosim[simbench]'"
        raise NetworkError(msg) from error
    codes = simbench.collect_all_simbench_codes()
    if code not in codes:
        raise NetworkError(_unknown("SimBench code", code, codes))
    return from_pandapower(name, code, _quietly(lambda: simbench.get_simbench_net(code)))


def _quietly(build: Callable[[], Any]) -> Any:
    """Build a network without the libraries' remarks on old data formats."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return build()


def _named_networks() -> dict[str, Callable[[], Any]]:
    """Collect the functions of pandapower.networks that build a network without arguments."""
    found: dict[str, Callable[[], Any]] = {}
    for case, function in inspect.getmembers(pandapower.networks, inspect.isfunction):
        if case.startswith("_") or not function.__module__.startswith("pandapower.networks."):
            continue
        parameters = inspect.signature(function).parameters.values()
        variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        if all(p.default is not p.empty or p.kind in variadic for p in parameters):
            found[case] = function
    return found


def _unknown(kind: str, case: str, known: Iterable[str]) -> str:
    """Say that a name is unknown, and which ones come close."""
    close = ", ".join(difflib.get_close_matches(case, list(known), n=3, cutoff=0.4))
    return f"{case!r} is no {kind}" + (f"; close ones: {close}" if close else "")
