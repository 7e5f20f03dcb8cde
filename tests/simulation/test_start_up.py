"""Commands answer at once: asked for help, none imports the libraries behind its work."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMANDS = sorted(
    path.stem
    for path in (ROOT / "simulation").glob("*.py")
    if 'if __name__ == "__main__":' in path.read_text(encoding="utf-8")
)
SLOW = ("numpy", "scipy", "pandas", "pyarrow", "pydantic", "matplotlib", "mesa", "cvxpy", "numba")
ASK = """
import runpy, sys
sys.argv = ["command", "--help"]
try:
    runpy.run_module("simulation.{}", run_name="__main__")
finally:
    print("imported:", *sorted(sys.modules))
"""


def test_all_commands_are_known():
    assert {"run", "compare", "experiment"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_imports_nothing_slow(command):
    ask = [sys.executable, "-c", ASK.format(command)]
    done = subprocess.run(ask, cwd=ROOT, capture_output=True, text=True, check=True)
    help_text, _, imported = done.stdout.partition("imported:")
    assert "usage:" in help_text
    assert not set(SLOW) & set(imported.split())
