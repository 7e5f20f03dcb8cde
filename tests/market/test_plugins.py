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
        run, "execute", lambda prepared, **_: cleared_by.append(prepared.config.market.method)
    )
    file = str(write(TWICE_SIGMA, "elsewhere/my_file.py"))
    arguments = ["--config", "smoke", "--quiet", "--set", "market.method=my_file:Sigmas"]
    assert run.main([*arguments, "--allow-plugins", "numpy", "--allow-plugins", file]) == 0
    assert cleared_by == ["my_file:Sigmas"]
    assert run.main([*arguments, "--allow-plugins", "no/where.py"]) == 2
    assert "--allow-plugins no/where.py: no such file" in capsys.readouterr().err
