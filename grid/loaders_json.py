"""Pandapower networks in JSON, cleared of everything that is not a table of plain values.

Pandapower restores whatever object a file names: it imports the module, may call a function's
owner, and opens further files. Of a network only its tables are needed here, so that all other
objects are left out before the library sees the file.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pandapower as pp

from configs.files import InputFileError, read_text
from configs.limits import TABLE_BYTES
from grid.network import NetworkError

if TYPE_CHECKING:
    from pathlib import Path

_NETWORK = ("pandapower.auxiliary", "pandapowerNet")
_TABLES = {("pandas.core.frame", "DataFrame"), ("pandas", "DataFrame")}
_TABLE_OPTIONS = {"orient", "dtype", "is_multiindex", "is_multicolumn", "index_name", "column_name"}
_TABLE_OPTIONS |= {"index_names", "column_names"}
_OF_OBJECTS = {"controller", "characteristic"}
"""Tables that are nothing without the objects in them."""


def read_pandapower(path: Path) -> Any:
    """Read a network that pandapower saved, its tables only.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    pandapowerNet
        Controllers, geographic data and other objects are missing in it.

    Raises
    ------
    NetworkError
        If the file is missing or holds no pandapower network.
    """
    try:
        tree = json.loads(read_text(path, TABLE_BYTES))
        net = pp.from_json_string(json.dumps(_cleared(tree)), convert=True)
    except InputFileError as error:
        raise NetworkError(str(error)) from error
    except Exception as error:  # the library raises what its parts raise
        msg = f"{path}: not a pandapower network in JSON ({type(error).__name__}: {error})"
        raise NetworkError(msg) from error
    if not isinstance(net, pp.pandapowerNet):
        msg = f"{path}: not a pandapower network in JSON"
        raise NetworkError(msg)
    return net


def _cleared(value: Any) -> Any:
    """Leave out every object but networks and tables, however deep it lies."""
    if isinstance(value, list):
        return [_cleared(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    if "_module" not in value and "_class" not in value:
        return {key: _cleared(entry) for key, entry in value.items()}
    kind = value.get("_module"), value.get("_class")
    content = value.get("_object")
    content = _cleared(json.loads(content) if isinstance(content, str) else content)
    if kind == _NETWORK:
        content = {key: entry for key, entry in content.items() if key not in _OF_OBJECTS}
        return {"_module": kind[0], "_class": kind[1], "_object": content}
    if kind in _TABLES:
        options = {key: value[key] for key in _TABLE_OPTIONS & value.keys()}
        # A text, so that the library reads it as the table and never as the name of a file.
        return {"_module": kind[0], "_class": kind[1], "_object": json.dumps(content), **options}
    return None
