"""Plain data from nested data and back: JSON, and arrays beside it. Nothing in it can be run."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, is_dataclass
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOMS = ("agents", "configs", "grid", "market", "simulation")
"""Packages whose data classes may be stored."""


def pack(value: Any, arrays: list[np.ndarray[Any, Any]]) -> Any:
    """Turn a value into JSON data.

    Parameters
    ----------
    value : object
        None, text, numbers, arrays of these, data classes of this project, counters of tuples of
        whole numbers, and nests of them.
        Numbers and arrays come back to the last bit, arrays in the same order of memory, too:
        sums over them depend on it.
    arrays : list of ndarray
        Takes the arrays; the JSON data refer to their places.

    Raises
    ------
    TypeError
        If anything else stands in it.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        arrays.append(value)
        return {"array": len(arrays) - 1}
    return _pack_nest(value, partial(pack, arrays=arrays))


def _pack_nest(value: Any, pack_one: Callable[[Any], Any]) -> Any:
    """Turn a nest into JSON data, given what does so with its members."""
    kind = type(value)
    packed: Any
    if kind is list:
        packed = [pack_one(one) for one in value]
    elif kind is tuple:
        packed = {"tuple": pack_one(list(value))}
    elif kind is dict:
        packed = {"dict": [[pack_one(key), pack_one(one)] for key, one in value.items()]}
    elif kind is Counter:  # as arrays these many numbers take a tenth of the room
        keys, counts = np.array(list(value), dtype=int), np.array(list(value.values()))
        packed = {"counter": [pack_one(keys), pack_one(counts)]}
    elif is_dataclass(value) and kind.__module__.partition(".")[0] in ROOMS:
        content = {field.name: pack_one(getattr(value, field.name)) for field in fields(value)}
        packed = {"is": [kind.__module__, kind.__name__], "with": content}
    else:
        raise TypeError(f"{kind.__module__}.{kind.__name__} is no plain data")
    return packed


def unpack(data: Any, arrays: Sequence[np.ndarray[Any, Any]]) -> Any:
    """Turn JSON data back into the value.

    Parameters
    ----------
    data : object
        What :func:`pack` returned.
    arrays : sequence of ndarray
        The arrays beside it.

    Raises
    ------
    ValueError
        If it is nothing that :func:`pack` writes, or names a class that is not there (any more).
    """
    value: Any
    match data:
        case None | bool() | int() | float() | str():
            value = data
        case list():
            value = [unpack(one, arrays) for one in data]
        case {"array": int(place)}:
            value = arrays[place]
        case {"tuple": list(members)}:
            value = tuple(unpack(members, arrays))
        case {"dict": list(pairs)}:
            value = dict(unpack(pairs, arrays))
        case {"counter": list(columns)}:
            keys, counts = unpack(columns, arrays)
            value = Counter(dict(zip(map(tuple, keys.tolist()), counts.tolist(), strict=True)))
        case {"is": [str(module), str(name)], "with": dict(content)}:
            make = _class(module, name)
            value = make(**{key: unpack(one, arrays) for key, one in content.items()})
        case _:
            raise ValueError(f"{data!r:.60} is no packed data")
    return value


def _class(module: str, name: str) -> Any:
    """Find a data class of this project."""
    ours = module.partition(".")[0] in ROOMS
    found = getattr(import_module(module), name, None) if ours else None
    if not (isinstance(found, type) and is_dataclass(found)):
        raise ValueError(f"{module}.{name} is no data class of this program")
    return found
