"""From a scenario name or file and overrides to a checked configuration."""

from __future__ import annotations

import difflib
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from configs.schema import ScenarioConfig

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic_core import ErrorDetails


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names its place and what is allowed."""


def shipped() -> list[str]:
    """List the names of the scenarios that come with the package."""
    return sorted(
        entry.name.removesuffix(".yaml")
        for entry in resources.files("configs").iterdir()
        if entry.name.endswith(".yaml")
    )


def load(name_or_path: str, overrides: Iterable[str] = ()) -> ScenarioConfig:
    """Load a scenario.

    Parameters
    ----------
    name_or_path : str
        Name of a shipped scenario, or a YAML file.
    overrides : iterable of str
        ``key.path=value`` each, the value in YAML; list entries are addressed by number or, for
        networks, by name.

    Returns
    -------
    ScenarioConfig
        The checked configuration.

    Raises
    ------
    ConfigError
        If the scenario is unknown, not readable, or not valid.
    """
    text, origin = _read(name_or_path)
    try:
        tree = yaml.safe_load(text)
    # A date that no calendar has is a plain ValueError.
    except (yaml.YAMLError, ValueError) as error:
        msg = f"{origin}: not valid YAML: {' '.join(str(error).split())}"
        raise ConfigError(msg) from error
    if not isinstance(tree, dict):
        msg = f"{origin}: must be a mapping of settings, got {type(tree).__name__}"
        raise ConfigError(msg)
    for override in overrides:
        _override(tree, override)
    try:
        return ScenarioConfig.model_validate(_relative_to(tree, origin))
    except ValidationError as error:
        raise ConfigError(f"{origin}: " + "; ".join(_explain(error))) from error


def dump(config: ScenarioConfig) -> str:
    """Write a resolved configuration as YAML that :func:`load` reads back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _read(name_or_path: str) -> tuple[str, str]:
    """Return the text of a scenario and where it comes from."""
    if name_or_path in shipped():
        return resources.files("configs").joinpath(f"{name_or_path}.yaml").read_text(
            encoding="utf-8"
        ), name_or_path
    path = Path(name_or_path)
    try:
        return path.read_text(encoding="utf-8"), str(path)
    except OSError as error:
        msg = (
            f"{name_or_path}: neither a readable file ({error.strerror}) nor a shipped scenario "
            f"({', '.join(shipped())})"
        )
        raise ConfigError(msg) from error
    except UnicodeDecodeError as error:
        msg = f"{path}: not a UTF-8 text file"
        raise ConfigError(msg) from error


def _override(tree: dict[str, Any], override: str) -> None:
    """Set one value in place."""
    path, separator, text = override.partition("=")
    if not separator or not path:
        msg = f"--set {override}: expected key.path=value"
        raise ConfigError(msg)
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        msg = f"--set {override}: the value is not valid YAML"
        raise ConfigError(msg) from error
    *parents, last = path.split(".")
    node: Any = tree
    for key in parents:
        node = _child(node, key, override)
    if isinstance(node, list):
        node[_entry(node, last, override)] = value
    elif isinstance(node, dict):
        node[last] = value
    else:
        msg = f"--set {override}: {parents[-1]} is a single value, not a section"
        raise ConfigError(msg)


def _child(node: Any, key: str, override: str) -> Any:
    """Step down one level, creating sections that the file leaves at their defaults."""
    if isinstance(node, list):
        return node[_entry(node, key, override)]
    if isinstance(node, dict):
        return node.setdefault(key, {})
    msg = f"--set {override}: there is nothing below {key}"
    raise ConfigError(msg)


def _entry(entries: list[Any], key: str, override: str) -> int:
    """Find a list entry by number or name."""
    names = [entry.get("name") if isinstance(entry, dict) else None for entry in entries]
    if key in names:
        return names.index(key)
    if key.isdecimal() and int(key) < len(entries):
        return int(key)
    msg = f"--set {override}: no entry {key!r}; there are {names} (or 0 to {len(entries) - 1})"
    raise ConfigError(msg)


_FILES = (("prices", "file"), ("profiles", "file"), ("forecast", "file"))
_NETWORK_FILES = {"pandapower_json", "matpower", "csv"}


def _relative_to(tree: dict[str, Any], origin: str) -> dict[str, Any]:
    """Read relative paths in a file as relative to that file; absolute, they outlive it."""
    folder = Path(origin).absolute().parent if Path(origin).is_file() else Path.cwd()

    def placed(value: Any) -> Any:
        return str(folder / value) if isinstance(value, str) else value

    for section, key in _FILES:
        node = tree.get(section)
        if isinstance(node, dict) and node.get(key) is not None:
            node[key] = placed(node[key])
    networks = tree.get("networks")
    for network in networks if isinstance(networks, list) else []:
        if not isinstance(network, dict):
            continue
        keys = ["peer_table", "lines"]
        if network.get("source") in _NETWORK_FILES:
            keys.append("case")
        for key in keys:
            if network.get(key) is not None:
                network[key] = placed(network[key])
    return tree


def _explain(error: ValidationError) -> list[str]:
    """One sentence for every fault."""
    out = []
    faults = error.errors()
    for fault in faults:
        if fault["type"] == "too_short" and _has_inner_fault(fault["loc"], faults):
            continue
        place = ".".join(map(str, fault["loc"])) or "scenario"
        if fault["type"] == "extra_forbidden":
            out.append(f"unknown key {place}{_suggestion(fault['loc'])}")
        elif fault["type"] == "missing":
            out.append(f"{place} is missing")
        else:
            given = fault["input"]
            shown = "" if isinstance(given, dict | list) else f" (got {given!r:.60})"
            out.append(f"{place}: {fault['msg']}{shown}")
    return out


def _has_inner_fault(location: tuple[int | str, ...], faults: list[ErrorDetails]) -> bool:
    """Whether an entry is at fault: its list then counts as empty, which says nothing new."""
    n = len(location)
    return any(len(f["loc"]) > n and f["loc"][:n] == location for f in faults)


def _suggestion(location: tuple[int | str, ...]) -> str:
    """Name the key that may have been meant."""
    model: Any = ScenarioConfig
    for part in location[:-1]:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation
        inner = getattr(annotation, "__args__", None)
        model = inner[0] if inner else annotation
        if not hasattr(model, "model_fields"):
            return ""
    known = list(model.model_fields)
    close = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; allowed are {', '.join(known)}"
