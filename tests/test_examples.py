"""The examples that users copy run as their pages say, and do what they are there for."""

import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from agents.strategies.registry import make_strategy
from configs.loading import load
from grid.cases import build_network
from grid.replay import AcReplay
from market.plugins import allow
from market.price_checks import checked_prices
from market.pricing import make_pricing
from market.safety_factors import make_safety_factor
from simulation.run import main
from tests.examples.compare_coordinations import compare
from tests.examples.own_ambiguity_set import TotalVariation
from tests.examples.own_pricing_rule import GainSharing
from tests.market.priced_pools import one_trade

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "tests" / "examples"
PAGES = {
    "network": ROOT / "grid" / "OWN_NETWORK.md",
    "strategy": ROOT / "agents" / "OWN_STRATEGY.md",
    "pricing_rule": ROOT / "market" / "OWN_PRICING_RULE.md",
    "ambiguity_set": ROOT / "market" / "OWN_AMBIGUITY_SET.md",
}
QUICK = ("--set", "step_minutes=240", "--quiet")
"""Six steps instead of a day's 24."""
RUN = "python -m simulation.run "


def page(name):
    return PAGES[name].read_text(encoding="utf-8")


def command(name):
    """Arguments of the command that a page begins with."""
    text = re.sub(r"\\\n\s*", "", page(name))
    first = next(line for line in text.splitlines() if RUN in line)
    return shlex.split(first.partition(RUN)[2])


@pytest.fixture
def plugins():
    """Forget afterwards what was allowed and loaded."""
    before = set(sys.modules)
    yield
    allow([])
    for name in set(sys.modules) - before:
        if name.startswith("own_"):
            del sys.modules[name]


@pytest.fixture
def run_page(tmp_path, monkeypatch, plugins):
    """Run the command of a page; return its tables."""

    def go(name):
        monkeypatch.chdir(ROOT)
        folder = tmp_path / name
        assert main([*command(name), *QUICK, "--output", str(folder)]) == 0
        return lambda table: pd.read_parquet(folder / f"{table}.parquet")

    return go


# --- they run ---------------------------------------------------------------------------------


def test_own_network(run_page):
    tables = run_page("network")
    buses, peers = tables("buses"), tables("peers")
    assert buses.groupby("network").size().to_dict() == {"village": 6, "hamlet": 6}
    in_village = peers[peers.network == "village"].peer_id
    assert sorted(in_village) == ["farm", "house", "mill", "school", "shop"]
    assert tables("clearing").binding.any()
    assert tables("trades").crosses_networks.any()


def test_own_strategy(run_page):
    tables = run_page("strategy")
    peers, bids = tables("peers"), tables("bids")
    own = peers[peers.strategy.str.endswith("PatientSeller")].peer_id
    assert 0 < len(own) < len(peers)
    ask = bids[bids.offer == "renewable"].groupby("peer_id").price_eur_per_kwh
    raised = ask.max() > ask.min() + 1e-9
    assert raised[raised.index.isin(own)].any()
    assert not raised[~raised.index.isin(own)].any()


def test_own_pricing_rule(run_page):
    tables = run_page("pricing_rule")
    trades = tables("trades")
    traded = trades[trades.energy_kwh > 1e-3]
    # Truthful peers ask the feed-in price at least and offer the retail price, fee included.
    fee = traded.network_fee_eur / traded.energy_kwh
    retail = traded.step.map(
        tables("bids").query("offer == 'load'").groupby("step").price_eur_per_kwh.max()
    )
    lowest = (traded.price_eur_per_kwh - 0.7 * (retail - fee)) / 0.3
    assert (lowest > 0.11 - 1e-6).all()
    assert np.isclose(lowest, 0.11).any()
    assert (traded.price_eur_per_kwh == traded.received_eur_per_kwh).all()


def test_own_ambiguity_set(run_page):
    clearing = run_page("ambiguity_set")("clearing")
    assert (clearing.radius == 0.01).all()
    assert (clearing.safety_factor > 0).all()
    assert clearing.binding.any()


def test_the_script_compares_two_coordinations(tmp_path):
    costs = compare(tmp_path, overrides=["step_minutes=240"])
    assert list(costs) == ["none", "across_networks"]
    assert costs["across_networks"].sum() < costs["none"].sum()
    assert costs.none.network_fees == 0 < costs.across_networks.network_fees


# --- they are right ---------------------------------------------------------------------------


def test_the_network_at_peak_load_keeps_the_balance_of_a_power_flow():
    network = build_network(load(str(EXAMPLES / "own_network.yaml")).networks[0])
    peak = AcReplay(network).run(-network.load_kw, -network.load_kvar)
    # Ohm's law along the way to bus 4: the drop is close to (r P + x Q) / V, line by line.
    p_kw, q_kvar = np.array([500, 210, 120]), np.array([165, 70, 40])
    r_ohm, x_ohm = np.array([4.0, 6.1, 7.2]), np.array([2.7, 4.0, 4.8])
    drop = (r_ohm @ p_kw + x_ohm @ q_kvar) * 1e3 / 11e3**2
    assert peak.vm_pu[network.position[4]] == pytest.approx(1.03 - drop / 1.03, abs=2e-3)
    assert peak.losses_kw == pytest.approx(peak.p_source_kw - 500, abs=1e-6)
    assert 0 < peak.losses_kw < 25


def test_the_gain_of_a_trade_is_shared_seven_to_three():
    prices = GainSharing().trade_prices(one_trade(sell=0.11, buy=0.25))
    # The fee is 0.04, so that 0.10 of gain are left between 0.11 and 0.21.
    assert prices.paid == prices.received == pytest.approx([0.18])


def worst_share_above(z, weights, kappa, radius):
    """Move mass up to the radius, from samples below to one above, if there is one."""
    above = z > kappa
    return min(weights[above].sum() + radius, 1.0) if above.any() else 0.0


@pytest.mark.parametrize("radius", [0.0, 0.004, 0.01, 0.03, 0.049, 0.05, 0.2])
def test_the_factor_is_the_smallest_that_keeps_the_risk_level(radius):
    rng = np.random.default_rng(5)
    z, weights = rng.standard_t(3, (90, 2)), rng.dirichlet(np.full(90, 5.0))
    factors = TotalVariation(0.05, radius).factors(z, weights, np.zeros(2))
    for row, kappa in zip(z.T, factors, strict=True):
        assert worst_share_above(row, weights, kappa, radius) <= 0.05 + 1e-12
        assert worst_share_above(row, weights, kappa - 1e-9, radius) > 0.05


def test_the_set_without_a_radius_is_the_sample_distribution():
    rng = np.random.default_rng(6)
    z, weights = rng.normal(size=(60, 3)), np.full(60, 1 / 60)
    plain, own = make_safety_factor("empirical", 0.05, 0.0), TotalVariation(0.05, 0.0)
    np.testing.assert_array_equal(
        own.factors(z, weights, np.zeros(3)), plain.factors(z, weights, np.zeros(3))
    )
    assert own.two_sided(z[:, 0], weights) == plain.two_sided(z[:, 0], weights)


# --- what goes wrong is told as the pages say ---------------------------------------------------


def nothing_allowed(name):
    make_pricing(name)


def faulty_network(change):
    """Build the example's network with one line of one file changed."""

    def attempt(folder):
        for file in EXAMPLES.glob("own_network*.*"):
            (folder / file.name).write_bytes(file.read_bytes())
        name, old, new = change
        text = (folder / name).read_text(encoding="utf-8")
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1), encoding="utf-8")
        build_network(load(str(folder / "own_network.yaml")).networks[0])

    return attempt


class TooDear(GainSharing):
    """Leaves nothing to the buyer, and more."""

    def trade_prices(self, pool):
        prices = super().trade_prices(pool)
        return type(prices)(prices.paid + 0.2, prices.received + 0.2, prices.kept)


def too_dear(_):
    checked_prices(TooDear(), one_trade(), step=12, hours=1.0, peer_id=["farm", "school"])


def with_plugin(file, action):
    def attempt(_):
        allow([str(EXAMPLES / file)])
        action()

    return attempt


FAULTS = {
    "network": [
        faulty_network(("own_network_lines.csv", "r_ohm", "r_ohms")),
        faulty_network(("own_network_lines.csv", "5,6,6.6", "5,3,6.6")),
        faulty_network(("own_network_buses.csv", "4,120", "4,much")),
    ],
    "strategy": [
        lambda _: make_strategy("own_strategy:PatientSeller", {}),
        with_plugin(
            "own_strategy.py",
            lambda: make_strategy(
                "own_strategy:PatientSeller", {"speed": 1.0}, np.random.default_rng(0)
            ),
        ),
        with_plugin(
            "own_strategy.py",
            lambda: make_strategy(
                "own_strategy:PatientSeller", {"lapse": 2}, np.random.default_rng(0)
            ),
        ),
    ],
    "pricing_rule": [
        lambda _: make_pricing("own_pricing_rule:GainSharing"),
        with_plugin("own_pricing_rule.py", lambda: make_pricing("own_pricing_rule:Gain")),
        too_dear,
    ],
    "ambiguity_set": [
        lambda _: make_safety_factor("own_ambiguity_set:TotalVariation", 0.05, 0.01),
        with_plugin(
            "own_ambiguity_set.py",
            lambda: make_safety_factor("own_ambiguity_set:np", 0.05, 0.01),
        ),
    ],
}


@pytest.mark.parametrize(
    ("name", "fault"), [(name, fault) for name, faults in FAULTS.items() for fault in faults]
)
def test_messages_are_those_of_the_page(name, fault, tmp_path, plugins):
    with pytest.raises(ValueError) as raised:  # noqa: PT011 (the page says what it is)
        fault(tmp_path)
    message = str(raised.value).replace(f"{tmp_path}/", "")
    assert message in page(name)
