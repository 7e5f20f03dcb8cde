"""Mutations of a scenario, and how a command is asked for its refusal."""

import copy
import io
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from simulation import run

BUSES = "bus,load_kw,load_kvar,vn_kv\n1,0,0,11\n2,50,10,11\n3,40,10,11\n4,30,5,11\n"
LINES = "from_bus,to_bus,r_ohm,x_ohm\n1,2,1,1\n2,3,1,1\n3,4,1,1\n"
SCENARIO = {
    "name": "victim",
    "start": "2016-06-04",
    "days": 1,
    "market": {"horizon_hours": 2},
    "forecast": {"sample_days": 20},
    "networks": [{"name": "line", "source": "csv", "case": "b.csv", "lines": "l.csv"}],
}
"""A valid scenario that is quickly prepared."""


class Answer(NamedTuple):
    """What a command did: its exit code, the two streams, and what it wrote where."""

    code: int
    out: str
    err: str


def ask(*arguments: str, command=run) -> Answer:
    """Run a command up to the point where it would begin to simulate."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = command.main(list(arguments))
    return Answer(code, out.getvalue(), err.getvalue())


def fault(answer: Answer, work: Path) -> str:
    """Why this is no proper refusal; empty for one line that begins with ``error:``."""
    if answer.code != 2:
        return f"exit code {answer.code}"
    if answer.out or not answer.err.startswith("error: ") or answer.err.count("\n") != 1:
        return f"not one line: {answer.err[-300:]!r}"
    if "Traceback" in answer.err or not answer.err.rstrip("\n").isprintable():
        return f"not fit for a terminal: {answer.err[-300:]!r}"
    if list(work.iterdir()):
        return f"wrote {[path.name for path in work.iterdir()]}"
    return ""


def leaves(tree: Any, place: tuple = ()) -> Iterator[tuple[tuple, Any]]:
    """Every value of a tree with its place, sections and lists included."""
    if place:
        yield place, tree
    if isinstance(tree, dict | list):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from leaves(value, (*place, key))


def put(tree: Any, place: tuple, value: Any) -> Any:
    """Return a copy of the tree with another value at a place."""
    tree = copy.deepcopy(tree)
    node = tree
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    return tree


def write(folder: Path, name: str, content: Any) -> str:
    """Write a file of text, bytes or YAML, and return its path."""
    path = folder / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        text = content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
        path.write_text(text, encoding="utf-8")
    return str(path)
