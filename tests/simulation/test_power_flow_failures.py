"""Two networks, of which one has no power flow solution for a whole day."""

import numpy as np
import pandas as pd
import pytest

from grid.violations import POWER_FLOW_FAILURE
from market.acceptance import largest_kept
from simulation import run as command
from simulation.profiles import BUNDLED
from simulation.setup import build_world
from tests.simulation.conftest import Results

LOST_DAY = "2016-06-05"
STEPS_PER_DAY = 6
LOST = range(STEPS_PER_DAY, 2 * STEPS_PER_DAY)
OVERRIDES = (
    "days=3",
    "step_minutes=240",
    "market.coordination=within_network",
    "strategies=[]",
)


def own_profile(folder, lost_day):
    """All loads of a network follow one profile of their own, of a given value on one day."""
    table = pd.read_parquet(BUNDLED)
    time = pd.to_datetime(table["time"], utc=True)
    is_lost = time.dt.strftime("%Y-%m-%d") == LOST_DAY
    for kind in ("load_p", "load_q"):
        usual = table[f"{kind}:G0-A"]
        table[f"{kind}:own"] = usual if lost_day is None else usual.where(~is_lost, lost_day)
    path = folder / "profiles.parquet"
    table.to_parquet(path)
    return path


@pytest.fixture(scope="module")
def peer_tables(scenario, tmp_path_factory):
    """The peers of both networks; those of the east follow the profile of their own."""
    folder = tmp_path_factory.mktemp("peers")
    config = scenario(*OVERRIDES)
    out = {}
    for network, peers in zip(config.networks, build_world(config).peers, strict=True):
        rows = pd.DataFrame([peer.model_dump() for peer in peers])
        rows = rows.drop(columns=["strategy", "strategy_parameters", "coalition"])
        if network.name == "east":
            rows[["load_profile", "flexible_profile"]] = "own"
        out[network.name] = folder / f"{network.name}.csv"
        rows.to_csv(out[network.name], index=False)
    return out


@pytest.fixture(scope="module")
def go(small, peer_tables, scenario, tmp_path_factory):
    """Run by the command, with loads of the east on the lost day that are not the usual ones."""

    def run(lost_day=None):
        folder = tmp_path_factory.mktemp("lost")
        overrides = [
            *OVERRIDES,
            f"profiles.file={own_profile(folder, lost_day)}",
            *(f"networks.{name}.peer_table={path}" for name, path in peer_tables.items()),
        ]
        words = [f"--config={small / 'small.yaml'}", f"--output={folder / 'run'}"]
        code = command.main([*words, *(f"--set={word}" for word in overrides)])
        return code, Results(folder / "run", scenario(*overrides))

    return run


def test_one_network_loses_its_power_flow_for_a_day(go, capsys, caplog):
    usual_code, usual = go()
    capsys.readouterr()
    code, lost = go(40.0)
    out = capsys.readouterr().out
    assert (usual_code, code) == (0, 3)  # too many steps without a promise
    assert usual.summary["power_flow_failures"] == {"west": 0, "east": 0}
    # All steps of that day are recorded as what they are, and as violations.
    failures = lost.violations[lost.violations.kind == POWER_FLOW_FAILURE]
    assert list(failures.step) == list(LOST)
    assert set(failures.network) == {"east"}
    assert set(failures.cause) == {"power_flow"}
    assert lost.summary["power_flow_failures"] == {"west": 0, "east": STEPS_PER_DAY}
    assert lost.summary["delivered_violation"]["all"]["east"]["events"] >= STEPS_PER_DAY
    assert lost.summary["violations_by_cause"]["power_flow"] == STEPS_PER_DAY
    assert "WARNING: no AC power flow solution in steps of these networks: east 6" in out
    for step in LOST:
        assert f"step {step}: network east: the AC power flow does not converge" in caplog.text
    # Nobody could forecast the first of them; what was cleared for the others was never promised.
    allowed = largest_kept(lost.config.market.risk_level)
    east = lost.clearing[(lost.clearing.network == "east") & lost.clearing.step.isin(LOST[1:])]
    assert (east.certified_violation_probability > allowed).all()
    assert lost.summary["uncertified_clearings"] >= STEPS_PER_DAY - 1
    assert (lost.clearing.fallback == "").all()
    # Accounts close all the same: the scheduled losses are paid for.
    assert np.isfinite(lost.settlement.amount_eur).all()
    by_step = lost.settlement.groupby("step").amount_eur.sum()
    np.testing.assert_allclose(by_step, 0, atol=1e-6)
    # Before that day nothing is different, and on it the other network goes on as if nothing were.
    # (Who answers an error is not unique, so that what happens differs a little more. Passes are
    # those of both networks together: where the lost one takes more or fewer of them, the other's
    # last one is another, and from then on its batteries hold something else.)
    passes = (usual.clearing.n_iterations != lost.clearing.n_iterations).to_numpy()
    parted = usual.clearing.step[passes & (usual.clearing.step >= LOST.start)].min()
    for table, column, atol in (
        ("dispatch", "p_scheduled_kw", 1e-3),
        ("bus_voltage", "vm_scheduled_pu", 1e-6),
        ("bus_voltage", "vm_pu", 1e-3),
        ("line_loading", "loading_percent", 1.0),
        ("clearing", "certified_violation_probability", 1e-4),
    ):
        one, other = (getattr(results, table) for results in (usual, lost))
        early = one.step < LOST.start
        np.testing.assert_array_equal(one[column][early], other[column][early])
        west = (one.network == "west") & (one.step < min(LOST.stop, parted))
        assert west.any()
        np.testing.assert_allclose(one[column][west], other[column][west], atol=atol)
    # On the day after, the lost one is among the errors that the east learns from. No room is large
    # enough for those, and what that costs leaves the solver less accuracy for the west; its
    # promises are kept.
    west = lost.clearing[lost.clearing.network == "west"]
    assert (west.certified_violation_probability <= allowed).all()
    assert (west.slack_pu < 1e-6).all()
    rates = [r.summary["delivered_violation"]["all"]["west"]["events"] for r in (usual, lost)]
    assert rates[1] <= rates[0] + 1
    assert np.isfinite(lost.bus_voltage[lost.bus_voltage.network == "west"].vm_pu).all()
    voltages = lost.bus_voltage[lost.bus_voltage.network == "east"]
    assert voltages.vm_pu.isna().equals(voltages.step.isin(LOST))
    # A day later it has a solution again.
    assert np.isfinite(voltages.vm_pu[voltages.step > LOST[-1]]).all()
