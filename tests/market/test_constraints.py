"""Constraints of the first stage with values assigned, unsolved."""

from dataclasses import replace

import numpy as np
import pytest

from market import constraints as con
from market.bids import DispatchableOffer
from market.parameters import Parameters, SecondStage
from market.price_blocks import PriceBlocks
from market.recourse import RecoursePolicy
from market.variables import Variables
from tests.market.builders import (
    Peer,
    RecourseOffer,
    battery,
    flexible,
    make_book,
    make_roster,
    make_tariff,
    no_losses,
    unit,
)

PEERS = {
    "sun": Peer(load=[2.0, 3.0], pv=[5.0, 6.0]),
    "cell": Peer(
        load=1.0,
        battery=battery(charge_efficiency=0.9, discharge_efficiency=0.8),
        recourse=RecourseOffer(0.1, -0.05, 0.0),
    ),
    "home": Peer(load=4.0),
    "shifter": Peer(
        flexible=flexible(
            [3.0, 3.0],
            curtailable_share=0.5,
            served_max_kw=5.0,
            backlog_max_kwh=2.0,
            backlog_kwh=1.0,
        ),
        network="B",
    ),
    "unit": Peer(
        load=1.0, unit=unit(8.0), kvar=2.0, network="B", recourse=RecourseOffer(0.2, 0.0, 0.0)
    ),
}
HOURS = 0.5
OWN_ERRORS = RecoursePolicy(1, np.array([0, 1]))


class Unsolved:
    """Variables and parameters of the peers above; every variable starts at zero."""

    def __init__(self, policy, peers=PEERS, n_blocks=0):
        self.policy = policy
        self.roster = make_roster(peers, 2, HOURS)
        self.groups = np.array(self.roster.network_of)
        tariff = make_tariff(2, buy=0.3, sell=0.04)
        self.book = make_book(peers, tariff, self.roster)
        zero = np.zeros((2, policy.n_pools))
        up = np.array([[4.0, 10.0], [6.0, 12.0]])[:, : policy.n_pools]
        down = up if policy.n_signals == 1 else 2 * up
        self.v = Variables.create(self.roster, 2, policy, n_blocks)
        self.p = Parameters.create(self.roster, 2, policy, n_blocks)
        self.p.assign(
            book=self.book,
            tariff=tariff,
            second=SecondStage(zero, zero, zero, reserve_up_kw=up, reserve_down_kw=down),
            losses=no_losses(self.roster),
            roster=self.roster,
            groups=self.groups,
            policy=policy,
            q_damping=np.zeros(len(self.roster.reactive)),
        )
        for name in vars(self.v):
            variable = getattr(self.v, name)
            variable.value = np.zeros(variable.shape)

    def set(self, **values):
        for name, value in values.items():
            getattr(self.v, name).value = np.array(value, dtype=float)
        return self


def violations(constraints):
    """Largest violation by label."""
    return {c.label: float(np.max(c.violation(), initial=0.0)) for c in constraints}


def broken(constraints):
    return {label for label, value in violations(constraints).items() if value > 1e-9}


@pytest.fixture
def u():
    """Each network answers its own errors with one share a device."""
    return Unsolved(OWN_ERRORS)


@pytest.fixture
def split():
    """Each network answers surplus and shortage with a share each."""
    return Unsolved(RecoursePolicy(2, np.array([0, 1])))


def test_injections_of_the_active_peers(u):
    u.set(
        renewable=[[5], [4]],
        charge=[[1], [0]],
        discharge=[[0], [2]],
        curtailed=[[1], [0]],
        deferred=[[0.5], [-1]],
        dispatchable=[[6], [7]],
    )
    assert [u.roster.peer_id[k] for k in u.roster.active] == ["sun", "cell", "shifter", "unit"]
    injected = con.controlled_injection(u.v, u.roster).value
    np.testing.assert_allclose(injected, [[5, -1, 1.5, 6], [4, 2, -1, 7]])


def test_imports_are_exports_less_injections(u):
    u.set(renewable=[[5], [1]], exports=[[4, 0, 0, 0], [0, 0, 0, 0]])
    imported = con.imports(u.v, u.p, u.roster).value
    # The sun's surplus of 3 kW is exported, and 1 kW more than that is imported.
    np.testing.assert_allclose(imported, [[1, 1, 3, 1], [2, 1, 3, 1]])
    assert not broken(con.peer_balance(u.v, u.p, u.roster))
    u.set(exports=[[2.5, 0, 0, 0], [0, 0, 0, 0]])
    assert violations(con.peer_balance(u.v, u.p, u.roster))["imports_min"] == pytest.approx(0.5)


def test_trades_stay_within_what_peers_import_and_export(u):
    def check(**values):
        return broken(con.peer_to_peer(u.set(**values).v, u.p, u.roster, u.groups))

    u.set(renewable=[[5], [0]], exports=[[3, 0, 0, 0], [0, 0, 0, 0]])
    # Network A draws 1 kW at the battery and 4 kW at home, B 3 + 1 kW.
    assert not check(bought=[[5, 4], [8, 4]], sold=[[3, 0], [0, 0]])
    assert check(bought=[[5.1, 4], [8, 4]]) == {"bought_max"}
    assert check(bought=[[5, 4], [8, 4.1]]) == {"bought_max"}
    assert check(bought=[[5, -0.1], [0, 0]], sold=[[3.1, 0], [0, 0]]) == {"bought_min", "sold_max"}
    assert check(bought=[[0, 0], [0, 0]], sold=[[3, -0.2], [0, 0]]) == {"sold_min"}


def test_absent_peers_neither_buy_nor_sell():
    sun = Peer(load=[2.0, 3.0], pv=[5.0, 2.0], takes_part=False)
    home = Peer(load=4.0, takes_part=False)
    u = Unsolved(OWN_ERRORS, {**PEERS, "sun": sun, "home": home})
    u.set(renewable=[[5], [2]], exports=[[3, 0, 0, 0], [0, 0, 0, 0]])

    def check(**values):
        return broken(con.peer_to_peer(u.set(**values).v, u.p, u.roster, u.groups))

    assert not check(bought=[[1, 0], [1, 0]])  # the battery alone
    assert check(bought=[[1.1, 0], [1, 0]]) == {"bought_max"}
    assert check(bought=[[1, 0], [1.1, 0]]) == {"bought_max"}
    assert check(bought=[[1, 0], [1, 0]], sold=[[0.1, 0], [0, 0]]) == {"sold_max"}
    assert broken(con.renewable_range(u.v, u.p)) == set()
    assert broken(con.renewable_range(u.set(renewable=[[4.9], [2]]).v, u.p)) == {"renewable_min"}


@pytest.mark.parametrize(
    ("coordination", "expected"),
    [
        ("across_networks", set()),
        ("within_network", {"no_exchange"}),
        ("none", {"no_exchange", "no_trade"}),
    ],
)
def test_pools_balance(u, coordination, expected):
    def check(**values):
        return broken(con.pool_balance(u.set(**values).v, u.roster, u.groups, coordination))

    across = {
        "sold": [[3, 0], [0, 2]],
        "bought": [[1, 2], [2, 0]],
        "exchange_out": [[2, 0], [0, 2]],
        "exchange_in": [[0, 2], [2, 0]],
    }
    assert check(**across) == expected
    assert "pool_balance" in check(**across | {"sold": [[3, 0], [0, 1.9]]})
    assert "pool_balance" in check(**across | {"exchange_out": [[2.1, 0], [0, 2]]})
    assert "exchange_in_min" in check(**across | {"exchange_in": [[-1, 2], [2, 0]]})


def test_what_leaves_one_network_enters_another(u):
    u.set(sold=[[3, 0], [0, 0]], bought=[[1, 1], [0, 0]])
    u.set(exchange_out=[[2, 0], [0, 0]], exchange_in=[[0, 1], [0, 0]])
    found = con.pool_balance(u.v, u.roster, u.groups, "across_networks")
    assert broken(found) == {"exchange_balance"}


def test_each_network_has_its_own_exchange_limit_or_none(u):
    u.set(exchange_out=[[2, 0], [0, 0]], exchange_in=[[0, 1], [0, 0]])
    found = con.exchange_limit(u.v, np.array([1.5, 0.4]))
    assert violations(found) == {
        "exchange_out_max": pytest.approx(0.5),
        "exchange_in_max": pytest.approx(0.6),
    }
    assert broken(con.exchange_limit(u.v, np.array([2.0, 0.4]))) == {"exchange_in_max"}
    assert not broken(con.exchange_limit(u.v, np.array([2.0, np.inf])))
    assert broken(con.exchange_limit(u.v, np.array([np.inf, 0.4]))) == {"exchange_in_max"}
    assert con.exchange_limit(u.v, np.full(2, np.inf)) == []


def test_storage_carries_energy_over_with_losses(u):
    u.set(charge=[[2], [0]], discharge=[[0], [3]])
    after = 5.0 + HOURS * 2 * 0.9
    then = after - HOURS * 3 / 0.8
    u.set(energy=[[after], [then]])
    assert not broken(con.storage_dynamics(u.v, u.p, u.roster))
    u.set(energy=[[after + 0.2], [then]])
    off = con.storage_dynamics(u.v, u.p, u.roster)[0].residual
    np.testing.assert_allclose(np.abs(off[:, 0]), [0.2, 0.2], atol=1e-12)


def test_batteries_keep_power_and_energy_for_recourse(u):
    # A quarter of network A's 4 and 6 kW: 1 and 1.5 kW.
    u.set(alpha=[[0.25, 0], [0.25, 0]])
    up, down = con.recourse_power(u.v, u.p, u.roster, u.policy)
    for recourse in (up, down):
        np.testing.assert_allclose(recourse.value, [[1, 0], [1.5, 0]])

    def check(**values):
        return broken(con.storage_range(u.set(**values).v, u.p, u.roster, up[:, :1], down[:, :1]))

    least, most = 1.5 * HOURS / 0.8, 10 - 1.5 * HOURS * 0.9
    assert not check(discharge=[[3], [2.5]], energy=[[5], [least]])
    assert not check(discharge=[[3], [2.5]], energy=[[5], [most]])
    assert check(energy=[[5], [least - 0.01]]) == {"energy_min"}
    assert check(energy=[[5], [most + 0.01]]) == {"energy_max"}
    assert check(energy=[[5], [5]], discharge=[[3.01], [0]]) == {"discharge_max"}
    assert check(discharge=[[0], [0]], charge=[[0], [2.51]]) == {"charge_max"}
    assert check(discharge=[[-0.1], [0]], charge=[[0], [0]]) == {"discharge_min"}


def test_batteries_keep_room_upwards_for_a_shortage_and_downwards_for_a_surplus(split):
    # Half of a surplus of 8 and 12 kW, a quarter of a shortage of 4 and 6 kW.
    u = split.set(alpha=[[0.5, 0, 0.25, 0], [0.5, 0, 0.25, 0]])
    up, down = con.recourse_power(u.v, u.p, u.roster, u.policy)
    np.testing.assert_allclose(up.value, [[1, 0], [1.5, 0]])
    np.testing.assert_allclose(down.value, [[4, 0], [6, 0]])
    u.set(alpha=[[0.25, 0, 0.25, 0], [0.25, 0, 0.25, 0]])  # 2 and 3 kW downwards

    def check(**values):
        return broken(con.storage_range(u.set(**values).v, u.p, u.roster, up[:, :1], down[:, :1]))

    least, most = 1.5 * HOURS / 0.8, 10 - 3.0 * HOURS * 0.9
    assert not check(discharge=[[3], [2.5]], energy=[[5], [least]])
    assert not check(discharge=[[3], [2.5]], energy=[[5], [most]])
    assert check(energy=[[5], [least - 0.01]]) == {"energy_min"}
    assert check(energy=[[5], [most + 0.01]]) == {"energy_max"}
    assert check(energy=[[5], [5]], discharge=[[3.01], [0]]) == {"discharge_max"}
    assert not check(discharge=[[0], [0]], charge=[[2], [1]])
    assert check(charge=[[0], [1.01]]) == {"charge_max"}


def test_units_keep_room_for_recourse_both_ways(u):
    # A tenth of network B's 10 and 12 kW: 1 and 1.2 kW.
    u.set(alpha=[[0, 0.1], [0, 0.1]])
    up, down = con.recourse_power(u.v, u.p, u.roster, u.policy)

    def check(power):
        v = u.set(dispatchable=power).v
        return broken(con.dispatchable_range(v, u.p, up[:, 1:], down[:, 1:]))

    assert not check([[7], [1.2]])
    assert check([[7.1], [1.2]]) == {"dispatchable_max"}
    assert check([[7], [1.1]]) == {"dispatchable_min"}


def test_fuel_costs_what_the_blocks_say_or_more():
    blocks = PriceBlocks(np.array([4.0, 4.0]), np.array([0.05, 0.12]))
    offer = DispatchableOffer(8.0, 0.0, 0.0, blocks)
    u = Unsolved(OWN_ERRORS, {**PEERS, "unit": replace(PEERS["unit"], unit=offer)}, n_blocks=2)

    def check(power, fuel):
        v = u.set(dispatchable=[[power], [0]], fuel=[[fuel], [0]]).v
        return violations(con.block_costs(v, u.p))["block_costs"]

    assert check(3.0, 0.15) == pytest.approx(0.0, abs=1e-12)
    assert check(6.0, 0.44) == pytest.approx(0.0, abs=1e-12)
    assert check(6.0, 0.40) == pytest.approx(0.04)  # the second line
    assert check(3.0, 0.10) == pytest.approx(0.05)  # the first one
    assert check(0.0, 0.5) == 0.0


def test_a_unit_that_answers_a_surplus_alone_may_run_at_full_power(split):
    # A tenth of a surplus of 20 and 24 kW.
    u = split.set(alpha=[[0, 0.1, 0, 0], [0, 0.1, 0, 0]])
    up, down = con.recourse_power(u.v, u.p, u.roster, u.policy)

    def check(power):
        v = u.set(dispatchable=power).v
        return broken(con.dispatchable_range(v, u.p, up[:, 1:], down[:, 1:]))

    assert not check([[8], [2.4]])
    assert check([[8.1], [2.4]]) == {"dispatchable_max"}
    assert check([[8], [2.3]]) == {"dispatchable_min"}


def test_shares_of_a_network_sum_to_one(u):
    def check(**values):
        return broken(con.recourse_shares(u.set(**values).v, u.roster, u.policy))

    upstream = [[0.7, 0.4], [1, 1]]
    assert not check(alpha=[[0.3, 0.6], [0, 0]], alpha_upstream=upstream)
    assert check(alpha=[[0.4, 0.6], [0, 0]]) == {"recourse_shares"}
    assert check(alpha=[[1.3, 0.6], [0, 0]], alpha_upstream=[[-0.3, 0.4], [1, 1]]) == {
        "alpha_upstream_min"
    }
    assert check(alpha=[[-0.1, 0.6], [0, 0]], alpha_upstream=[[1.1, 0.4], [1, 1]]) == {"alpha_min"}


def test_shares_sum_to_one_for_each_signal(split):
    def check(**values):
        return broken(con.recourse_shares(split.set(**values).v, split.roster, split.policy))

    alpha, upstream = [[0.3, 0.6, 0, 1], [0] * 4], [[0.7, 0.4, 1, 0], [1] * 4]
    assert not check(alpha=alpha, alpha_upstream=upstream)
    # The same total over both signals is not enough.
    assert check(alpha=[[0.2, 0.6, 0.1, 1], [0] * 4]) == {"recourse_shares"}


def test_shares_of_a_pool_sum_to_one_over_its_networks():
    u = Unsolved(RecoursePolicy(1, np.array([0, 0])))

    def check(**values):
        return broken(con.recourse_shares(u.set(**values).v, u.roster, u.policy))

    assert not check(alpha=[[0.3, 0.6], [0, 1]], alpha_upstream=[[0.1], [0]])
    assert check(alpha=[[0.3, 0.7], [0, 0.9]]) == {"recourse_shares"}


def test_devices_of_a_pool_keep_room_for_its_total_error():
    u = Unsolved(RecoursePolicy(1, np.array([0, 0]))).set(alpha=[[0.25, 0.5], [0.5, 0]])
    for recourse in con.recourse_power(u.v, u.p, u.roster, u.policy):
        np.testing.assert_allclose(recourse.value, [[1, 2], [3, 0]])


def test_slopes_of_the_second_stage(u):
    def check(**values):
        return broken(con.second_stage_slopes(u.set(**values).v, u.p, u.roster, u.policy))

    u.set(alpha=[[0.25, 0.5], [0, 0]], alpha_upstream=[[0.75, 0.5], [1, 1]])
    surplus = [[0.25 * -0.05 - 0.75 * 0.04, -0.5 * 0.04], [-0.04, -0.04]]
    shortage = [[0.25 * 0.1 + 0.75 * 0.3, 0.5 * 0.2 + 0.5 * 0.3], [0.3, 0.3]]
    steepest = np.maximum(np.abs(surplus), np.abs(shortage))
    assert not check(surplus_cost=surplus, shortage_cost=shortage, steepest_cost=steepest)
    assert check(steepest_cost=steepest - 1e-3) == {"steepest_shortage"}
    assert check(surplus_cost=np.zeros((2, 2)), steepest_cost=steepest) == {"surplus_cost"}


def test_slopes_of_each_side_have_their_own_shares(split):
    u = split.set(
        alpha=[[0.25, 0.5, 0, 0.1], [0, 0, 1, 0]],
        alpha_upstream=[[0.75, 0.5, 1, 0.9], [1, 1, 0, 1]],
    )
    surplus = [[0.25 * -0.05 - 0.75 * 0.04, -0.5 * 0.04], [-0.04, -0.04]]
    shortage = [[0.3, 0.1 * 0.2 + 0.9 * 0.3], [0.1, 0.3]]
    u.set(surplus_cost=surplus, shortage_cost=shortage)
    u.set(steepest_cost=np.maximum(np.abs(surplus), np.abs(shortage)))
    assert not broken(con.second_stage_slopes(u.v, u.p, u.roster, u.policy))


def test_deferred_load_waits_in_the_backlog_under_its_ceiling(u):
    def check(**values):
        return broken(con.flexible_load(u.set(**values).v, u.p, u.roster))

    # 1 kWh waits already; 1 kW of 3 is put off, then 2 kW are made up for on top of 3.
    fine = {"deferred": [[1], [-2]], "backlog": [[1.5], [0.5]], "curtailed": [[1.5], [0]]}
    assert not check(**fine)
    assert check(**fine | {"backlog": [[1.5], [0.4]]}) == {"backlog_dynamics"}
    assert check(**fine | {"deferred": [[1], [-2.1]], "backlog": [[1.5], [0.45]]}) == {"served_max"}
    assert check(**fine | {"curtailed": [[1.6], [0]]}) == {"curtailed_max"}
    assert check(**fine | {"curtailed": [[0], [-0.1]]}) == {"curtailed_min", "served_max"}
    more = {"deferred": [[2.5], [0]], "backlog": [[2.25], [2.25]]}
    assert check(**more, curtailed=[[1.5], [0]]) == {"backlog_max", "served_min"}
    less = {"deferred": [[-1.5], [-1.5]], "backlog": [[0.25], [-0.5]], "curtailed": [[0], [0]]}
    assert check(**less) == {"backlog_min"}


def test_simple_ranges(u):
    assert not broken(con.renewable_range(u.set(renewable=[[5], [6]]).v, u.p))
    assert broken(con.renewable_range(u.set(renewable=[[5.1], [6]]).v, u.p)) == {"renewable_max"}
    assert not broken(con.reactive_range(u.set(reactive=[[2], [-2]]).v, u.p))
    assert broken(con.reactive_range(u.set(reactive=[[2.1], [-2]]).v, u.p)) == {"reactive_max"}
    assert broken(con.reactive_range(u.set(reactive=[[2], [-2.1]]).v, u.p)) == {"reactive_min"}
    assert broken(con.violation_range(u.set(violation=[[0, -1], [0, 0]]).v)) == {"violation_min"}
