"""From the name or file of a scenario or experiment, and overrides, to checked settings."""

from __future__ import annotations

import copy
import difflib
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import BaseModel, ValidationError

from configs.experiment_schema import Experiment
from configs.files import InputFileError, NoFileError, read_text
from configs.limits import SETTINGS_BYTES
from configs.schema import ScenarioConfig
from configs.yaml_text import YamlError, parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic_core import ErrorDetails


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names its place and what is allowed."""


def shipped(kind: str = "") -> list[str]:
    """List the names of the scenarios, or ``experiments``, that come with the package."""
    return sorted(
        entry.name.removesuffix(".yaml")
        for entry in resources.files("configs").joinpath(kind).iterdir()
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
    tree, origin = _read(name_or_path)
    for override in overrides:
        path, value = parse_override(override)
        _put(tree, path, value, f"--set {override}")
    return _scenario(tree, origin)


def load_experiment(
    name_or_path: str, overrides: Iterable[str] = (), *, quick: bool = False
) -> Experiment:
    """Load an experiment.

    Parameters
    ----------
    name_or_path : str
        Name of a shipped experiment, or a YAML file.
    overrides : iterable of str
        ``key.path=value`` each, for the scenario of all runs.
    quick : bool
        Take the smaller version.

    Raises
    ------
    ConfigError
        If the experiment is unknown, not readable, or not valid.
    """
    tree, origin = _read(name_or_path, "experiments")
    try:
        experiment = Experiment.model_validate(tree)
        if quick:
            experiment = Experiment.model_validate(experiment.quickened())
        settings = {**experiment.set, **dict(map(parse_override, overrides))}
        scenario = experiment.scenario
        if scenario not in shipped() and Path(origin).is_file():
            scenario = str(Path(origin).absolute().parent / scenario)
        changed = {
            **experiment.model_dump(exclude={"quick"}),
            "scenario": scenario,
            "set": settings,
        }
        return Experiment.model_validate(changed)
    except ValidationError as error:
        explained = "; ".join(_explain(error, Experiment))
        raise ConfigError(f"{origin}: {explained}") from error


def load_run(experiment: Experiment, settings: Mapping[str, Any]) -> ScenarioConfig:
    """Load the scenario of one run of an experiment.

    Parameters
    ----------
    experiment : Experiment
        The experiment, for its scenario and the settings of all runs.
    settings : mapping of str to value
        Settings of this run, by place.

    Raises
    ------
    ConfigError
        If the scenario is unknown, not readable, or not valid with these settings.
    """
    tree, origin = _read(experiment.scenario)
    for path, value in {**experiment.set, **settings}.items():
        # A later setting may lie inside an earlier one, which other runs use as it is.
        _put(tree, path, copy.deepcopy(value), f"{path}={value}")
    return _scenario(tree, origin)


def dump(config: ScenarioConfig | Experiment) -> str:
    """Write resolved settings as YAML that can be loaded again."""
    # The smaller version is no part of an experiment as it was run.
    return yaml.safe_dump(config.model_dump(mode="json", exclude={"quick"}), sort_keys=False)


def altered(config: ScenarioConfig, overrides: Iterable[str], option: str) -> ScenarioConfig:
    """Change settings of a scenario that has been loaded.

    Parameters
    ----------
    config : ScenarioConfig
        The scenario.
    overrides : iterable of str
        As those of :func:`load`.
    option : str
        The option that they come from, for messages.

    Raises
    ------
    ConfigError
        If the outcome is not valid.
    """
    tree = config.model_dump(mode="json")
    for override in overrides:
        path, value = parse_override(override, option)
        _put(tree, path, value, f"{option} {override:.200}")
    return _scenario(tree, option)


def parse_override(override: str, option: str = "--set") -> tuple[str, Any]:
    """Split ``key.path=value`` into the path and the value, which is read as YAML."""
    path, separator, text = override.partition("=")
    if not separator or not path:
        msg = f"{option} {override:.200}: expected key.path=value"
        raise ConfigError(msg)
    try:
        return path, parse(text)
    except YamlError as error:
        msg = f"{option} {override:.200}: the value is not valid YAML: {error}"
        raise ConfigError(msg) from error


def _scenario(tree: dict[str, Any], origin: str) -> ScenarioConfig:
    """Check a scenario."""
    try:
        return ScenarioConfig.model_validate(_relative_to(tree, origin))
    except ValidationError as error:
        explained = "; ".join(_explain(error, ScenarioConfig))
        raise ConfigError(f"{origin}: {explained}") from error


def _read(name_or_path: str, kind: str = "") -> tuple[dict[str, Any], str]:
    """Return the content of a scenario or experiment, and where it comes from."""
    text, origin = _text(name_or_path, kind)
    try:
        tree = parse(text)
    except YamlError as error:
        msg = f"{origin}: not valid YAML: {error}"
        raise ConfigError(msg) from error
    if not isinstance(tree, dict):
        msg = f"{origin}: must be a mapping of settings, got {type(tree).__name__}"
        raise ConfigError(msg)
    return tree, origin


def _text(name_or_path: str, kind: str) -> tuple[str, str]:
    """Return the text of a scenario or experiment, and where it comes from."""
    if name_or_path in shipped(kind):
        file = resources.files("configs").joinpath(kind, f"{name_or_path}.yaml")
        return file.read_text(encoding="utf-8"), name_or_path
    path = Path(name_or_path)
    try:
        return read_text(path, SETTINGS_BYTES), str(path)
    except NoFileError as error:
        reason = str(error).removeprefix(f"{path}: ")
        msg = (
            f"{name_or_path}: neither a readable file ({reason}) nor a shipped "
            f"{kind.removesuffix('s') or 'scenario'} ({', '.join(shipped(kind))})"
        )
        raise ConfigError(msg) from error
    except InputFileError as error:
        raise ConfigError(str(error)) from error


def _put(tree: dict[str, Any], path: str, value: Any, place: str) -> None:
    """Set one value in place."""
    *parents, last = path.split(".")
    node: Any = tree
    for key in parents:
        node = _child(node, key, place)
    if isinstance(node, list):
        node[_entry(node, last, place)] = value
    elif isinstance(node, dict):
        node[last] = value
    else:
        msg = f"{place}: {parents[-1]} is a single value, not a section"
        raise ConfigError(msg)


def _child(node: Any, key: str, place: str) -> Any:
    """Step down one level, creating sections that the file leaves at their defaults."""
    if isinstance(node, list):
        return node[_entry(node, key, place)]
    if isinstance(node, dict):
        return node.setdefault(key, {})
    msg = f"{place}: there is nothing below {key}"
    raise ConfigError(msg)


def _entry(entries: list[Any], key: str, place: str) -> int:
    """Find a list entry by number or name."""
    names = [entry.get("name") if isinstance(entry, dict) else None for entry in entries]
    if key in names:
        return names.index(key)
    if key.isdecimal() and int(key) < len(entries):
        return int(key)
    msg = f"{place}: no entry {key!r}; there are {names} (or 0 to {len(entries) - 1})"
    raise ConfigError(msg)


_FILES = (("prices", "file"), ("profiles", "file"), ("forecast", "file"))
_NETWORK_FILES = ("pandapower_json", "matpower", "csv")


def _relative_to(tree: dict[str, Any], origin: str) -> dict[str, Any]:
    """Read relative paths in a file as relative to that file; absolute, they outlive it."""
    folder = Path(origin).absolute().parent if Path(origin).is_file() else Path.cwd()

    def placed(value: Any) -> Any:
        return str(folder / value) if isinstance(value, str) else value

    for section, key in _FILES:
        node = tree.get(section)
        if isinstance(node, dict) and node.get(key) is not None:
            node[key] = placed(node[key])
    if tree.get("strategy_state") is not None:
        tree["strategy_state"] = placed(tree["strategy_state"])
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


def _explain(error: ValidationError, schema: type[BaseModel]) -> list[str]:
    """One sentence for every fault."""
    out = []
    faults = error.errors()
    for fault in faults:
        if fault["type"] == "too_short" and _has_inner_fault(fault["loc"], faults):
            continue
        place = ".".join(map(str, fault["loc"])) or schema.__name__.lower().removesuffix("config")
        if fault["type"] == "extra_forbidden":
            out.append(f"unknown key {place}{_suggestion(fault['loc'], schema)}")
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


def _suggestion(location: tuple[int | str, ...], schema: type[BaseModel]) -> str:
    """Name the key that may have been meant."""
    model: Any = schema
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
