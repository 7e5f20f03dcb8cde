"""User-defined classes, named by their path in a scenario and loaded only where allowed.

Loading a class runs the code of its module. A scenario is data, and data may come from anyone;
whoever starts the run must therefore allow the package or file by name.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from configs.schema import CLASS_PATH

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

_allowed: dict[str, Path | None] = {}
"""Packages and modules that may be loaded; with the file, where one was named."""


def allow(names: Iterable[str]) -> None:
    """Set what may be loaded; whatever was allowed before no longer is.

    Parameters
    ----------
    names : iterable of str
        Packages or modules that Python can import, which allows what lies inside them too, or
        Python files, each of which becomes the module of its name: ``methods/mine.py`` holds
        ``mine:ClassName``.

    Raises
    ------
    ValueError
        If a name is neither, or a file would hide another module.
    """
    _allowed.clear()
    for name in names:
        if name.endswith(".py"):
            _allowed[_module_of(Path(name))] = Path(name).resolve()
        elif all(part.isidentifier() for part in name.split(".")):
            _allowed[name] = None
        else:
            raise ValueError(f"--allow-plugins {name}: neither a package nor a Python file")


def load_class(path: str, methods: Iterable[str]) -> type:
    """Load a class by its path.

    Parameters
    ----------
    path : str
        ``package.module:ClassName`` or ``package.module.ClassName``.
    methods : iterable of str
        Methods that the class must have.

    Returns
    -------
    type
        The class.

    Raises
    ------
    ValueError
        If the path is not one, is not allowed, cannot be imported, or names no such class.
    """
    if not CLASS_PATH.fullmatch(path):
        raise ValueError(f"{path!r} is not the path of a class, package.module:ClassName")
    module_name, _, name = path.replace(":", ".").rpartition(".")
    # A package allows what lies inside it, a file nothing but itself.
    allowed = [
        name
        for name, file in _allowed.items()
        if module_name == name or (file is None and module_name.startswith(f"{name}."))
    ]
    if not allowed:
        package = module_name.partition(".")[0]
        raise ValueError(
            f"{path}: loading a class runs its code, which has not been allowed; if you trust it, "
            f"start with --allow-plugins {package} (or its Python file)"
        )
    try:
        module = _import(module_name, _allowed[allowed[0]])
    except Exception as error:  # user code may raise anything
        raise ValueError(f"{path}: import failed: {type(error).__name__}: {error}") from error
    found = getattr(module, name, None)
    if not isinstance(found, type):
        raise ValueError(f"{path}: {module_name} has no class {name}")
    missing = [method for method in methods if not callable(getattr(found, method, None))]
    if missing:
        raise ValueError(f"{path}: the class lacks the methods {', '.join(missing)}")
    return found


def _module_of(file: Path) -> str:
    """Name of the module in a file, once it is clear that it hides no other."""
    if not file.is_file():
        raise ValueError(f"--allow-plugins {file}: no such file")
    module = file.stem
    if not module.isidentifier():
        raise ValueError(f"--allow-plugins {file}: {module!r} cannot be the name of a module")
    try:
        known = importlib.util.find_spec(module)
    except ValueError as error:  # the module that Python was started with
        raise ValueError(f"--allow-plugins {file}: a module {module} exists") from error
    if known is not None and (known.origin is None or Path(known.origin) != file.resolve()):
        raise ValueError(f"--allow-plugins {file}: a module {module} exists; rename the file")
    return module


def _import(name: str, file: Path | None) -> ModuleType:
    """Import a module by name, or from its file."""
    if file is None or name in sys.modules:
        return importlib.import_module(name)
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} cannot be read as a module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up while it is being executed
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
