"""Methods of the user's own: loaded where allowed, tried before the run."""

import sys

import numpy as np
import pytest

from configs.loading import ConfigError, load
from market.clearing import MarketClearing
from market.plugins import allow, load_class
from market.safety_factors import make_safety_factor
from simulation import run
from tests.market.builders import Peer, clear, settings

TWICE_SIGMA = """
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Sigmas:
    risk_level: float
    radius: float
    exact_joint: bool = False

    def factors(self, z, weights, slack_ratio):
        return np.full(z.shape[1], 2.0)

    def two_sided(self, z, weights):
        return 2.5


class Incomplete:
    def __init__(self, risk_level, radius):
        pass

    def factors(self, z, weights, slack_ratio):
        return np.zeros(z.shape[1])


number = 3
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write modules into a folder that Python imports from; forget them afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def _write(text, name="my_methods.py"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    yield _write
    allow([])
    for name in set(sys.modules) - before:
        if name.partition(".")[0].startswith("my_"):
            del sys.modules[name]


# --- loading ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["my_methods:Sigmas", "my_methods.Sigmas"])
def test_a_class_is_loaded_by_its_path(write, path):
    write(TWICE_SIGMA)
    allow(["my_methods"])
    factor = make_safety_factor(path, 0.1, 0.2)
    assert (factor.risk_level, factor.radius) == (0.1, 0.2)
    np.testing.assert_array_equal(
        factor.factors(np.zeros((5, 2)), np.full(5, 0.2), np.zeros(2)), 2.0
    )


def test_a_package_allows_what_is_inside(write):
    write("", "my_package/__init__.py")
    write(TWICE_SIGMA, "my_package/safety.py")
    allow(["my_package"])
    assert load_class("my_package.safety:Sigmas", ["factors"]).__name__ == "Sigmas"
    allow(["my_package.safety"])
    assert load_class("my_package.safety:Sigmas", ["factors"]).__name__ == "Sigmas"


def test_a_file_is_loaded_from_anywhere(write, tmp_path):
    file = write(TWICE_SIGMA, "elsewhere/my_file.py")
    assert str(file.parent) not in sys.path
    allow([str(file)])
    assert make_safety_factor("my_file:Sigmas", 0.1, 0.2).two_sided(np.zeros(1), np.ones(1)) == 2.5
    # A second clearing finds the same class.
    assert load_class("my_file:Sigmas", []) is load_class("my_file.Sigmas", [])


MARK = "import pathlib\npathlib.Path(__file__).with_suffix('.ran').touch()\n"


@pytest.mark.parametrize("allowed", [[], ["my"], ["my_meth"], ["my_methods.sub"], ["numpy"]])
def test_nothing_runs_that_has_not_been_allowed(write, tmp_path, allowed):
    write(MARK + TWICE_SIGMA)
    allow(allowed)
    with pytest.raises(ValueError, match=r"my_methods:Sigmas: .*--allow-plugins my_methods"):
        make_safety_factor("my_methods:Sigmas", 0.1, 0.2)
    assert "my_methods" not in sys.modules
    assert not (tmp_path / "my_methods.ran").exists()
    allow(["my_methods"])
    make_safety_factor("my_methods:Sigmas", 0.1, 0.2)
    assert (tmp_path / "my_methods.ran").exists()


@pytest.mark.parametrize("allowed", ["my_methods", "my_methods_too"])
def test_a_name_allows_none_that_begins_like_it(write, allowed):
    other = {"my_methods": "my_methods_too", "my_methods_too": "my_methods"}[allowed]
    for name in (allowed, other):
        write(MARK + TWICE_SIGMA, f"{name}.py")
    allow([allowed])
    with pytest.raises(ValueError, match=f"--allow-plugins {other} "):
        load_class(f"{other}:Sigmas", [])
    assert other not in sys.modules


def test_a_file_allows_nothing_but_itself(write, tmp_path):
    file = write(MARK + TWICE_SIGMA, "my_file.py")
    allow([str(file)])
    for path in ("my_file.os:PathLike", "my_file.sub:Sigmas", "my_file.my_file:Sigmas"):
        with pytest.raises(ValueError, match="--allow-plugins"):
            load_class(path, [])
    assert not (tmp_path / "my_file.ran").exists()


def test_a_link_is_the_file_that_it_leads_to_when_it_is_allowed(write, tmp_path):
    """Where it leads to afterwards does not matter."""
    file = write(TWICE_SIGMA, "elsewhere/my_own.py")
    evil = write(MARK + TWICE_SIGMA, "elsewhere/my_evil.py")
    link = tmp_path / "elsewhere" / "my_link.py"
    link.symlink_to(file)
    allow([str(link)])
    link.unlink()
    link.symlink_to(evil)
    load_class("my_link:Sigmas", [])
    assert not (tmp_path / "elsewhere" / "my_evil.ran").exists()


@pytest.mark.parametrize(
    "path",
    [
        "os.system",
        "os:system",
        "subprocess:Popen",
        "builtins:exec",
        "builtins.__import__",
        "market.plugins:__builtins__",
        "market.plugins.importlib:import_module",
        "my_methods.__class__.__mro__:x",
        "__main__:x",
        "sys:modules",
    ],
)
def test_code_of_the_system_is_not_reached(write, path):
    for allowed in ([], ["my_methods"], ["numpy"]):
        write(TWICE_SIGMA)
        allow(allowed)
        with pytest.raises(ValueError, match=r"--allow-plugins|import failed|no class"):
            load_class(path, ["factors"])


def test_what_an_allowed_module_imports_is_no_method(write):
    """Names in an allowed module are classes with the methods of a method, or refused."""
    write("from subprocess import Popen\nfrom os import system\n" + TWICE_SIGMA)
    allow(["my_methods"])
    for name, reason in (
        ("Popen", "lacks"),
        ("system", "no class"),
        ("__loader__", "no class|lacks"),
    ):
        with pytest.raises(ValueError, match=reason):
            load_class(f"my_methods:{name}", ["factors", "two_sided"])


def test_permission_is_not_kept(write):
    write(TWICE_SIGMA)
    allow(["my_methods"])
    allow([])
    with pytest.raises(ValueError, match="--allow-plugins"):
        load_class("my_methods:Sigmas", [])


@pytest.mark.parametrize("path", ["market.safety_factors:Gaussian", "os:PathLike"])
def test_installed_modules_are_no_exception(write, path):
    with pytest.raises(ValueError, match=f"{path}: .*--allow-plugins"):
        make_safety_factor(path, 0.1, 0.2)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("my_methods:Missing", "my_methods has no class Missing"),
        ("my_methods:number", "my_methods has no class number"),
        ("my_methods:Incomplete", "lacks the methods two_sided"),
        ("my_methods.deeper:Sigmas", "import failed: ModuleNotFoundError"),
    ],
)
def test_what_cannot_be_used_is_named(write, path, message):
    write(TWICE_SIGMA)
    allow(["my_methods"])
    with pytest.raises(ValueError, match=f"^{path}: .*{message}"):
        make_safety_factor(path, 0.1, 0.2)


@pytest.mark.parametrize("text", ["1 / 0", "def", "import no_such_library"])
def test_modules_that_fail_to_import(write, text):
    for name in ("my_methods", str(write(text))):
        allow([name])
        with pytest.raises(ValueError, match=r"^my_methods:Sigmas: import failed: "):
            make_safety_factor("my_methods:Sigmas", 0.1, 0.2)
        assert "my_methods" not in sys.modules


@pytest.mark.parametrize("path", ["plain", "a b:C", "../up:C", ":C", "a:", "a:b:c", "a..b"])
def test_what_is_no_path(path):
    with pytest.raises(ValueError, match="not the path of a class"):
        load_class(path, [])


@pytest.mark.parametrize("name", ["../up", "a b", "", "a..b", "missing.py"])
def test_what_cannot_be_allowed(name):
    with pytest.raises(ValueError, match=r"--allow-plugins .*: (neither|no such)"):
        allow([name])


@pytest.mark.parametrize("name", ["json.py", "market.py", "no-name.py"])
def test_a_file_must_not_hide_a_module(write, name):
    file = write(TWICE_SIGMA, f"elsewhere/{name}")
    with pytest.raises(ValueError, match=r"rename the file|name of a module"):
        allow([str(file)])


# --- the trial before the run -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("np.full(z.shape[1], 2.0)", "np.full(z.shape[0], 2.0)", "one per row"),
        ("np.full(z.shape[1], 2.0)", "-np.ones(z.shape[1])", "nonnegative"),
        ("np.full(z.shape[1], 2.0)", "np.full(z.shape[1], np.nan)", "nonnegative"),
        ("np.full(z.shape[1], 2.0)", "'much'", "not usable: ValueError"),
        ("np.full(z.shape[1], 2.0)", "1 / 0", "not usable: ZeroDivisionError"),
        ("return 2.5", "return float('inf')", "two_sided must be nonnegative and finite, got inf"),
        ("return 2.5", "return -1", "two_sided must be nonnegative and finite"),
        ("    radius: float\n", "", "not usable: AttributeError"),
        ("exact_joint: bool = False", "exact_joint: bool = None", "exact_joint be a bool"),
        (
            "    def factors",
            "    def __post_init__(self):\n"
            "        object.__setattr__(self, 'radius', 0.0)\n\n    def factors",
            "keep risk_level and radius",
        ),
    ],
)
def test_a_faulty_method_fails_before_the_run(write, old, new, message):
    assert old in TWICE_SIGMA
    write(TWICE_SIGMA.replace(old, new))
    allow(["my_methods"])
    with pytest.raises(ValueError, match=f"^my_methods:Sigmas: .*{message}"):
        make_safety_factor("my_methods:Sigmas", 0.1, 0.2)


# --- in a scenario ----------------------------------------------------------------------------


def test_the_clearing_keeps_the_margin_of_a_method_of_the_user(write):
    write(TWICE_SIGMA)
    allow(["my_methods"])
    c = clear(
        {"sun": Peer(pv=100.0)},
        settings(method="my_methods:Sigmas"),
        R={"A": [[1e-3]]},
        errors={"A": {0: [-8.0, 8.0]}},
    )
    assert c.p_kw[0, 0] == pytest.approx(50.0 - 2.0 * 8.0, abs=1e-4)
    allow([])
    with pytest.raises(ValueError, match="--allow-plugins my_methods"):
        MarketClearing(c.roster, settings(method="my_methods:Sigmas"), c.operators)


@pytest.mark.parametrize("method", ["my_methods:Sigmas", "my.methods.Sigmas", "hypercube"])
def test_the_configuration_accepts_names_and_paths(method):
    assert load("smoke", [f"market.method={method}"]).market.method == method


@pytest.mark.parametrize("method", ["guess", "a b:C", "':C'", "'os; x:C'"])
def test_the_configuration_lists_what_it_accepts(method):
    with pytest.raises(ConfigError, match=r"market\.method: .*'hypercube', 'robust'.*ClassName"):
        load("smoke", [f"market.method={method}"])


def test_the_command_line_refuses_code_it_was_not_told_to_run(write, tmp_path, capsys):
    write(MARK + TWICE_SIGMA)
    folder = tmp_path / "results"
    arguments = ["--config", "smoke", "--quiet", "--output", str(folder)]
    assert run.main([*arguments, "--set", "market.method=my_methods:Sigmas"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: my_methods:Sigmas: ")
    assert error.count("\n") == 1
    assert "--allow-plugins my_methods" in error
    assert not folder.exists()
    assert not (tmp_path / "my_methods.ran").exists()


def test_the_command_line_allows_code(write, capsys, monkeypatch):
    cleared_by = []
    monkeypatch.setattr(
        run, "_execute", lambda task, *_: cleared_by.append(task.config.market.method) or 0
    )
    file = str(write(TWICE_SIGMA, "elsewhere/my_file.py"))
    arguments = ["--config", "smoke", "--quiet", "--set", "market.method=my_file:Sigmas"]
    assert run.main([*arguments, "--allow-plugins", "numpy", "--allow-plugins", file]) == 0
    assert cleared_by == ["my_file:Sigmas"]
    assert run.main([*arguments, "--allow-plugins", "no/where.py"]) == 2
    assert "--allow-plugins no/where.py: no such file" in capsys.readouterr().err
