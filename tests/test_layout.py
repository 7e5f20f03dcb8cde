"""The house: which folders there are, what they may import, and what no file may hold."""

import ast
import importlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("agents", "configs", "grid", "market", "simulation")
TOP_LEVEL_FOLDERS = {*PACKAGES, "tests", ".ci"}
PANDAPOWER_MODULES = ("grid/cases.py", "grid/loaders*.py", "grid/replay.py")

# A path below the folder of a person or a machine; a URL's path follows a letter and is none.
MACHINE_PATH = re.compile(rb"(?<![\w.])(?:/(?:work|root|home|Users)/|[A-Z]:\\Users\\)\w")


@pytest.fixture(scope="module")
def tracked_files() -> list[Path]:
    """Files under version control, relative to the root."""
    git = shutil.which("git")
    if git is None:
        pytest.skip("git is not installed")
    listing = subprocess.run(
        [git, "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=False
    )
    if listing.returncode != 0:
        pytest.skip("not a git checkout")
    return [Path(name) for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


def imported_modules(source: str) -> Iterator[str]:
    """Absolute module names of all imports, those inside functions included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module


def modules_importing(library: str) -> list[str]:
    """Paths of the packages' modules that import the library, relative to the root."""
    paths = (path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return sorted(
        path.relative_to(ROOT).as_posix()
        for path in paths
        if any(
            name.split(".")[0] == library
            for name in imported_modules(path.read_text(encoding="utf-8"))
        )
    )


@pytest.mark.parametrize("name", PACKAGES)
def test_package_is_ours(name: str) -> None:
    """A foreign package of the same natural name would otherwise be tested instead."""
    module = importlib.import_module(name)
    assert module.__file__ is not None
    assert Path(module.__file__).resolve().parent == ROOT / name


def test_imports_point_down_without_cycles() -> None:
    """Runs the contracts of pyproject.toml; import-linter has no ``python -m``."""
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    check = subprocess.run(
        [sys.executable, "-c", code, "--no-cache", "--no-logo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert check.returncode == 0, check.stdout + check.stderr


def test_pandapower_stays_at_the_boundary() -> None:
    strangers = [
        path
        for path in modules_importing("pandapower")
        if not any(fnmatch(path, pattern) for pattern in PANDAPOWER_MODULES)
    ]
    assert strangers == []


@pytest.mark.parametrize(
    ("source", "modules"),
    [
        ("import pandapower as pp", ["pandapower"]),
        ("from pandapower.networks import case9", ["pandapower.networks"]),
        ("def f():\n    import pandapower.toolbox", ["pandapower.toolbox"]),
        ("from . import pandapower", []),
    ],
)
def test_import_scan(source: str, modules: list[str]) -> None:
    assert list(imported_modules(source)) == modules


def test_top_level_folders(tracked_files: list[Path]) -> None:
    folders = {path.parts[0] for path in tracked_files if len(path.parts) > 1}
    assert folders <= TOP_LEVEL_FOLDERS


def test_no_machine_paths(tracked_files: list[Path]) -> None:
    found = [
        f"{path}: {match.group()!r}"
        for path in tracked_files
        for match in MACHINE_PATH.finditer((ROOT / path).read_bytes())
    ]
    assert found == []


@pytest.mark.parametrize(
    ("text", "is_machine_path"),
    [
        ("open('" + "/ho" + "me/ada/data.csv')", True),
        ("C:" + "\\Users\\ada", True),
        ("https://example.org/home/page", False),
        ("../work/table.csv", False),
    ],
)
def test_machine_path_scan(text: str, is_machine_path: bool) -> None:
    assert bool(MACHINE_PATH.search(text.encode())) is is_machine_path
