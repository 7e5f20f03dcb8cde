"""Strategies of users that fail in a run: one line, and what was written stays."""

import json
import re

import pandas as pd
import pytest

from simulation.run import main

FLAWED = """
class Flawed:
    '''Truthful, but for one flaw from the fourth step on.'''

    def __init__(self, flaw="none"):
        self.flaw = flaw
        self.step = 0

    def submit(self, truthful, observation):
        self.step = observation.step
        if self.flaw == "submit" and self.step == 3:
            return {}["price"]
        if self.flaw == "no bid" and self.step == 3:
            return None
        return truthful

    def learn(self, outcome):
        if self.flaw == "learn" and outcome.step == 3:
            raise ArithmeticError("no such luck,\\nnot at all")

    def state(self):
        if self.flaw == "state":
            raise OSError("nothing to tell")
        if self.flaw == "list":
            return [1]
        return {"best": self} if self.flaw == "json" and self.step == 5 else {}

    def restore(self, state):
        pass
"""


@pytest.fixture(scope="module")
def rule(small):
    """The file; a module is loaded once in a process."""
    path = small / "flawed.py"
    path.write_text(FLAWED, encoding="utf-8")
    return path


@pytest.fixture
def command(small, rule, tmp_path):
    """Run a day of six steps in which some peers of one network use a flawed strategy."""

    def run(flaw, *options):
        folder = tmp_path / "run"
        parameters = f"parameters: {{flaw: {flaw}}}"
        entry = f"strategies=[{{use: 'flawed:Flawed', network: east, {parameters}}}]"
        set_all = ["--set", "step_minutes=240", "--set", entry, *options]
        files = ["--config", str(small / "small.yaml"), "--allow-plugins", str(rule)]
        return main([*files, "--output", str(folder), "--quiet", *set_all]), folder

    return run


@pytest.mark.parametrize(
    ("flaw", "fault"),
    [
        ("submit", "KeyError: 'price'"),
        ("no bid", "TypeError: submit returned None, which is no Bid"),
        ("learn", "ArithmeticError: no such luck, not at all"),
    ],
)
def test_a_strategy_that_fails_ends_the_run_with_one_line(command, capsys, flaw, fault):
    code, folder = command(flaw)
    message = capsys.readouterr().err
    assert code == 2
    failed = r"error: step 3, peer east-\d+: strategy 'flawed:Flawed' failed: "
    assert re.match(failed + re.escape(fault), message)
    assert message.endswith(f"results so far in {folder}\n")
    assert message.count("\n") == 1
    for table in ("settlement", "dispatch", "costs", "bids"):
        written = pd.read_parquet(folder / f"{table}.parquet")
        assert sorted(written.step.unique()) == [0, 1, 2], table
    assert json.loads((folder / "manifest.json").read_text())["status"] == "failed"


def test_a_state_that_is_no_json_ends_the_run_when_it_would_be_saved(command, capsys):
    code, folder = command("json")
    message = capsys.readouterr().err
    assert code == 2
    assert re.match(
        r"error: before step 6, peer or coalition east-\d+: the state of strategy "
        r"'flawed:Flawed' cannot be saved: TypeError: .*not JSON serializable; results so far in",
        message,
    )
    assert message.count("\n") == 1
    assert sorted(pd.read_parquet(folder / "costs.parquet").step.unique()) == list(range(6))
    assert json.loads((folder / "manifest.json").read_text())["status"] == "failed"


@pytest.mark.parametrize(
    ("flaw", "fault"),
    [("state", "OSError: nothing to tell"), ("list", "TypeError: state returned")],
)
def test_a_strategy_without_a_state_does_not_begin(command, capsys, flaw, fault):
    code, folder = command(flaw)
    message = capsys.readouterr().err
    assert code == 2
    assert message.startswith("error: before step 0, peer or coalition east-")
    assert fault in message
    assert message.count("\n") == 1
    assert not folder.exists()


def test_without_a_flaw_it_runs(command):
    code, folder = command("none")
    assert code == 0
    assert pd.read_parquet(folder / "strategies.parquet").empty
