"""The objective of the first stage is the operational cost, and what else is stated here."""

from dataclasses import dataclass

import numpy as np
import pytest

from market.bids import RecourseOffer
from market.costs import COMPONENTS, DeviceCosts, Flows, StepPrices, operational_cost
from market.first_stage import FirstStage
from market.parameters import LossModel, SecondStage
from market.recourse import RecoursePolicy
from tests.market.builders import (
    Peer,
    battery,
    flexible,
    make_book,
    make_roster,
    make_tariff,
    settings,
    unit,
)

N_STEPS, HOURS = 3, 0.5
FEE_WITHIN, FEE_ACROSS, VIOLATION_PRICE = 0.06, 0.02, 1e5


def random_peers(rng):
    """Every kind of device, peers without any, and peers that take no part, in two networks."""

    def load():
        return rng.uniform(0.5, 5.0, N_STEPS)

    limits = {"buy": 0.19, "sell": 0.13}
    return {
        "sun": Peer(load=load(), pv=rng.uniform(0, 9, N_STEPS), pv_price=0.01, load_kvar=0.5),
        "cell": Peer(
            load=load(),
            battery=battery(wear_eur_per_kwh=0.03, end_value_eur_per_kwh=0.12),
            recourse=RecourseOffer(0.2, -0.03, 0.004),
            kvar=2.0,
        ),
        "home": Peer(load=load()),
        "absent": Peer(load=load(), takes_part=False),
        "absent sun": Peer(load=load(), pv=rng.uniform(0, 9, N_STEPS), takes_part=False),
        "shifter": Peer(
            load=load(),
            flexible=flexible(
                rng.uniform(2, 4, N_STEPS),
                curtailable_share=0.5,
                willingness_to_pay_eur_per_kwh=0.4,
                backlog_max_kwh=9.0,
                deferral_eur_per_kwh_h=0.02,
                end_price_eur_per_kwh=0.3,
            ),
            network="B",
            **limits,
        ),
        "unit": Peer(
            unit=unit(8.0, 0.11, 0.003),
            network="B",
            recourse=RecourseOffer(0.15, 0.05, 0.01),
            kvar=3.0,
            load_kvar=1.0,
            **limits,
        ),
        "other": Peer(load=load(), network="B", **limits),
    }


@dataclass
class Point:
    """A random feasible solution, by peer, and the problem with its variables set to it."""

    rng: np.random.Generator
    shares: str = "common"
    pool: str = "network"

    def __post_init__(self):
        rng = self.rng
        self.market = settings(
            network_fee_within_eur_per_kwh=FEE_WITHIN,
            network_fee_across_eur_per_kwh=FEE_ACROSS,
            violation_price_eur_per_pu_h=VIOLATION_PRICE,
            recourse_shares=self.shares,
            recourse_pool=self.pool,
        )
        self.peers = random_peers(rng)
        self.roster = r = make_roster(self.peers, N_STEPS, HOURS)
        self.tariff = make_tariff(
            N_STEPS,
            retail=rng.uniform(0.2, 0.3, N_STEPS),
            feed_in=rng.uniform(0.05, 0.1, N_STEPS),
            loss=rng.uniform(0.03, 0.06, N_STEPS),
            buy=rng.uniform(0.3, 0.4, N_STEPS),
            sell=rng.uniform(0.0, 0.05, N_STEPS),
        )
        self.book = make_book(self.peers, self.tariff, r)
        shape, per_peer = (N_STEPS, r.n_networks), (N_STEPS, r.n_peers)
        self.policy = RecoursePolicy.of(self.market, r.n_networks)
        pools = (N_STEPS, self.policy.n_pools)
        *kw, up, down = (rng.uniform(0, 4, pools) for _ in range(5))
        self.second = SecondStage(*kw, up, up if self.shares == "common" else down)
        self.losses = LossModel(
            rng.uniform(0, 2, shape),
            rng.normal(0, 0.05, per_peer),
            rng.normal(0, 0.05, per_peer),
            rng.normal(0, 1, per_peer),
        )
        self.damping = rng.uniform(0, 1e-3, len(r.reactive))
        # Peers of network A are truthful, those of B ask for other prices: two price groups.
        self.groups = np.array(r.network_of)
        self._decide()

    def _decide(self):
        rng, r, book = self.rng, self.roster, self.book
        served = rng.uniform(0, 1, (N_STEPS, 1)) * book.flexible_baseline_kw
        self.curtailed = 0.3 * served
        self.deferred = 0.2 * served
        self.backlog = HOURS * np.cumsum(self.deferred, axis=0)
        share = np.ones((N_STEPS, len(r.renewable)))
        share[:, book.participates[r.renewable]] = rng.uniform(0, 1)
        self.renewable = share * book.renewable_max_kw
        self.dispatchable = rng.uniform(0, 8, (N_STEPS, 1))
        self.charge, self.discharge = (rng.uniform(0, 2, (N_STEPS, 1)) for _ in range(2))
        self.energy = 5 + HOURS * np.cumsum(self.charge - self.discharge, axis=0)
        self.reactive = rng.uniform(-2, 2, (N_STEPS, 2))
        self.p_kw = -book.load_kw
        self.p_kw[:, r.renewable] += self.renewable
        self.p_kw[:, r.dispatchable] += self.dispatchable
        self.p_kw[:, r.storage] += self.discharge - self.charge
        self.p_kw[:, r.flexible] += self.curtailed + self.deferred - book.flexible_baseline_kw
        # More exports than surplus: peers may import and export at once.
        self.exports = np.maximum(self.p_kw, 0)
        self.exports[:, r.active] += rng.uniform(0, 1, (N_STEPS, len(r.active)))
        self.imports = self.exports - self.p_kw
        part = book.participates
        self.sold = self.exports * part * rng.uniform(0, 1, (N_STEPS, 1))
        drawn = self.imports * part
        wanted = rng.uniform(0, 1, (N_STEPS, r.n_peers)) * drawn
        total = np.minimum(self.sold.sum(axis=1), wanted.sum(axis=1))[:, None]
        self.sold *= total / np.maximum(self.sold.sum(axis=1, keepdims=True), 1e-12)
        self.bought = wanted * total / np.maximum(wanted.sum(axis=1, keepdims=True), 1e-12)
        self.sent = self.by_network(self.sold - self.bought)
        # One device in each network: its share of a surplus, and of a shortage.
        self.alpha = rng.uniform(0, 0.5, (N_STEPS, self.policy.n_signals, 2))
        self.upstream = 1 - self.by_pool(self.alpha)
        self.violation = rng.uniform(0, 1, (N_STEPS, 2))

    def by_network(self, per_peer):
        out = np.zeros((N_STEPS, self.roster.n_networks))
        np.add.at(out.T, self.roster.network_of, per_peer.T)
        return out

    def by_pool(self, per_device):
        """Sum over the devices, one in each network, of each pool."""
        return per_device.sum(axis=-1, keepdims=True) if self.pool == "all" else per_device

    @property
    def slopes(self):
        """Second-stage cost per kWh of surplus and of shortage, (N_STEPS, n_pools) each."""
        sell, buy = self.tariff.imbalance_sell[:, None], self.tariff.imbalance_buy[:, None]
        down = self.by_pool(self.alpha[:, 0] * [-0.03, 0.05]) - sell * self.upstream[:, 0]
        up = self.by_pool(self.alpha[:, -1] * [0.2, 0.15]) + buy * self.upstream[:, -1]
        return down, up

    @property
    def ready(self):
        """Power kept ready, the mean of both directions, (N_STEPS, n_devices)."""
        down = self.second.reserve_down_kw * self.alpha[:, 0]
        return (down + self.second.reserve_up_kw * self.alpha[:, -1]) / 2

    def posed(self):
        """The compiled problem at this point."""
        stage = FirstStage(self.roster, self.groups, self.market, self.damping)
        stage.parameters.assign(
            book=self.book,
            tariff=self.tariff,
            second=self.second,
            losses=self.losses,
            roster=self.roster,
            groups=self.groups,
            policy=self.policy,
            q_damping=self.damping,
        )
        down, up = self.slopes
        values = {
            "exports": self.exports[:, self.roster.active],
            "bought": self.by_network(self.bought),
            "sold": self.by_network(self.sold),
            "exchange_out": np.maximum(self.sent, 0),
            "exchange_in": np.maximum(-self.sent, 0),
            "alpha": self.alpha.reshape(N_STEPS, -1),
            "alpha_upstream": self.upstream.reshape(N_STEPS, -1),
            "surplus_cost": down,
            "shortage_cost": up,
            "steepest_cost": np.maximum(np.abs(down), np.abs(up)),
            "fuel": np.zeros((N_STEPS, 0)),
        }
        for name in vars(stage.variables):
            value = values[name] if name in values else getattr(self, name)
            getattr(stage.variables, name).value = value
        return stage

    def costs(self):
        """Operational cost of the window by component, without any deviation."""
        q = -self.book.load_kvar
        q[:, self.roster.reactive] += self.reactive
        linear = self.losses.d_p * self.p_kw + self.losses.d_q * q
        loss_kw = self.losses.constant_kw + self.by_network(linear)
        device = DeviceCosts(
            dispatchable=np.array([0.11]),
            dispatchable_quadratic=np.array([0.003]),
            wear=np.array([0.03]),
            willingness_to_pay=np.array([0.4]),
            deferral=np.array([0.02]),
        )
        fees = FEE_WITHIN * self.by_network(self.bought) + FEE_ACROSS * np.maximum(-self.sent, 0)
        window = dict.fromkeys(COMPONENTS, 0.0)
        for t in range(N_STEPS):
            flows = Flows(
                supplier_buy_kw=self.imports[t] - self.bought[t],
                supplier_sell_kw=self.exports[t] - self.sold[t],
                network_fees=fees[t],
                dispatchable_kw=self.dispatchable[t],
                charge_kw=self.charge[t],
                discharge_kw=self.discharge[t],
                curtailed_kw=self.curtailed[t],
                backlog_kwh=self.backlog[t],
                reserve_kw=self.ready[t],
                capacity_price=np.array([0.004, 0.01]),
                loss_kw=loss_kw[t],
                deviation_kw=np.zeros(2),
                pool_of=self.policy.pool_of,
            )
            prices = StepPrices(
                retail=self.tariff.retail[t],
                feed_in=self.tariff.feed_in[t],
                loss=self.tariff.loss[t],
                imbalance_buy=self.tariff.imbalance_buy[t],
                imbalance_sell=self.tariff.imbalance_sell[t],
                fee_within=FEE_WITHIN,
                fee_across=FEE_ACROSS,
                spot=0.0,
            )
            for name, eur in operational_cost(flows, prices, device, self.roster).items():
                window[name] += eur.sum()
        return window

    def not_costs(self):
        """What the objective holds besides the first stage's operational cost."""
        tariff, book, second = self.tariff, self.book, self.second
        # Limit prices: truthful in network A, 0.19 and 0.13 in network B.
        buy = np.stack([np.zeros(N_STEPS), tariff.retail - 0.19], axis=1)
        sell = np.stack([np.zeros(N_STEPS), 0.13 - tariff.feed_in], axis=1)
        premiums = buy * self.by_network(self.bought) + sell * self.by_network(self.sold)
        asked = book.renewable_price * self.renewable
        down, up = self.slopes
        steepest = np.maximum(np.abs(down), np.abs(up))
        second_stage = (
            second.expected_surplus_kw * down
            + second.expected_shortage_kw * up
            + second.transport_kw * steepest
        )
        at = self.roster.reactive
        q = self.reactive - book.load_kvar[:, at]
        moved = self.damping * (q - self.losses.q_centre_kvar[:, at]) ** 2
        return {
            "premiums": HOURS * (premiums.sum() + asked.sum()),
            "stored value": -0.12 * self.energy[-1].sum(),
            "backlog at the end": 0.3 * self.backlog[-1].sum(),
            "expected second stage": HOURS * second_stage.sum(),
            "damping": HOURS * moved.sum(),
            "violation": HOURS * VIOLATION_PRICE / 1000 * self.violation.sum(),
        }


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shares", ["common", "up_down"])
@pytest.mark.parametrize("pool", ["network", "all"])
def test_the_objective_is_the_operational_cost_and_the_terms_that_are_none(seed, shares, pool):
    point = Point(np.random.default_rng(seed), shares, pool)
    problem = point.posed().problem
    broken = {c.label for c in problem.constraints if np.max(c.violation(), initial=0.0) > 1e-9}
    # Room for the recourse is no matter of cost; all else is feasible.
    assert broken <= {"energy_min", "energy_max", "dispatchable_min", "dispatchable_max"}
    expected = sum(point.costs().values()) + sum(point.not_costs().values())
    assert problem.objective.value == pytest.approx(expected, abs=1e-6)


def test_every_component_occurs_in_that_comparison():
    costs = Point(np.random.default_rng(1)).costs()
    assert costs.pop("imbalance") == 0.0  # no deviation before the errors are known
    assert all(abs(eur) > 1e-3 for eur in costs.values())
