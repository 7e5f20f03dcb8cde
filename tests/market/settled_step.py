"""Steps to settle: a quiet one to change by hand, and random ones in which everything happens."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from market.charges import GridCharges
from market.costs import DeviceCosts, Flows, StepPrices, fees_by_network, operational_cost
from market.imbalance import Recourse
from market.ledger import Ledger
from market.matching import Trades
from market.pricing import TradePrices
from market.risk import RiskShares
from market.settlement import Metered, settle
from tests.market.builders import Peer, battery, flexible, make_roster, settings, unit

PEERS = {
    "home": Peer(),
    "cell": Peer(battery=battery()),
    "unit": Peer(unit=unit(), network="B"),
    "shifter": Peer(flexible=flexible([1.0]), network="B"),
    "all": Peer(battery=battery(), unit=unit(), flexible=flexible([1.0]), network="C"),
}
ALONE = {"A": 0, "B": 1, "C": 2}
"""Pool of every network that is settled by itself."""


def received(ledger: Ledger, account: str, *items: str) -> float:
    return sum(ledger.entries.get((account, item), 0.0) for item in items)


def two_peers(network_of_home="A", **changes):
    """What an idle generator and an idle home owe each other, and the changes to it.

    The generator, in network A, has a unit and a battery, the home a flexible load. Fields of the
    flows, and the market's settings, are changed one by one.
    """
    peers = {
        "gen": Peer(battery=battery(), unit=unit()),
        "home": Peer(flexible=flexible([1.0]), network=network_of_home),
    }
    roster = make_roster(peers, hours=0.5)
    none, nets = np.zeros(0), np.zeros(roster.n_networks)
    flows = Flows(
        supplier_buy_kw=np.zeros(2),
        supplier_sell_kw=np.zeros(2),
        network_fees=nets,
        dispatchable_kw=np.zeros(1),
        charge_kw=np.zeros(1),
        discharge_kw=np.zeros(1),
        curtailed_kw=np.zeros(1),
        backlog_kwh=np.zeros(1),
        reserve_kw=np.zeros(2),
        capacity_price=np.array([0.004, 0.01]),
        loss_kw=nets,
        deviation_kw=nets,
        pool_of=np.arange(roster.n_networks),
    )
    fields = {name: changes.pop(name) for name in vars(flows) if name in changes}
    kwargs = {
        "flows": replace(flows, **{name: np.array(value) for name, value in fields.items()}),
        "trades": Trades(none.astype(int), none.astype(int), none, none.astype(bool)),
        "trade_prices": TradePrices(none, none, none),
        "trade_fee": none,
        "recourse": Recourse(np.zeros(2), np.array([0.3, 0.2]), np.array([0.05, -0.1])),
        "metered": Metered(*np.zeros((3, 2))),
        "prices": StepPrices(
            0.25, 0.1, 0.04, 0.3, 0.05, fee_within=0.07, fee_across=0.01, spot=0.03
        ),
        "costs": DeviceCosts(*map(np.array, ([0.15], [0.01], [0.02], [0.4], [0.03]))),
        "charges": None,
        "shares": None,
        "roster": roster,
    }
    given = {name: changes.pop(name) for name in kwargs if name in changes}
    return settle(**(kwargs | given), settings=settings(**changes)).entries


class Step:
    """A random step; the order of its peers is free, what happens to each of them is not."""

    def __init__(
        self,
        seed: int,
        pools=ALONE,
        order: Sequence[str] = tuple(PEERS),
        *,
        charged=True,
        **market,
    ):
        rng = np.random.default_rng(seed)
        scale = 10.0 ** rng.uniform(-2, 4)
        self.roster = roster = make_roster({name: PEERS[name] for name in order}, hours=0.25)
        place = np.array([order.index(name) for name in PEERS])

        def arranged(values):
            """Values by peer in the step's order."""
            out = np.empty_like(values)
            out[..., place] = values
            return out

        def of_peers(n, low=0.0, high=1.0):
            """Random values, (n, n_peers) in the step's order."""
            return arranged(rng.uniform(low, high, (n, len(PEERS))))

        def of_recourse(low=0.0, high=1.0):
            of_battery, of_unit = of_peers(2, low, high)
            return np.concatenate([of_battery[roster.storage], of_unit[roster.dispatchable]])

        def of_networks(low=0.0, high=1.0):
            drawn = dict(zip("ABC", rng.uniform(low, high, 3), strict=True))
            return np.array([drawn[name] for name in roster.network])

        self.prices = StepPrices(
            retail=rng.uniform(0.2, 0.4),
            feed_in=rng.uniform(-0.05, 0.2),
            loss=rng.uniform(0, 0.1),
            imbalance_buy=rng.uniform(0.2, 0.5),
            imbalance_sell=rng.uniform(-0.1, 0.1),
            fee_within=0.07,
            fee_across=0.01,
            spot=0.03,
        )
        linear, quadratic, wear, worth, deferral = of_peers(5, 0, 0.3)
        self.costs = DeviceCosts(
            linear[roster.dispatchable],
            quadratic[roster.dispatchable],
            wear[roster.storage],
            worth[roster.flexible],
            deferral[roster.flexible],
        )
        n_trades = int(rng.integers(0, 20))
        seller = place[rng.integers(0, 5, n_trades)]
        buyer = place[rng.integers(0, 5, n_trades)]
        across = roster.network_of[seller] != roster.network_of[buyer]
        self.trades = Trades(seller, buyer, scale * rng.uniform(0, 1, n_trades), across)
        price, kept, self.fee = rng.uniform(0, 0.3, (3, n_trades))
        self.trade_prices = TradePrices(price + kept, price, kept)
        self.recourse = Recourse(
            scale * of_recourse(-1, 1), of_recourse(-0.1, 0.4), of_recourse(-0.1, 0.4)
        )
        p_kw, error_kw = scale * of_peers(2, -1, 1)
        self.metered = Metered(p_kw, error_kw, np.abs(p_kw))
        deviation = np.bincount(roster.network_of, error_kw)
        np.add.at(deviation, roster.network_of[roster.recourse], self.recourse.delivered_kw)
        buy, sell, power, charge, discharge, curtailed, backlog = scale * of_peers(7)
        self.flows = Flows(
            supplier_buy_kw=buy,
            supplier_sell_kw=sell,
            network_fees=fees_by_network(self.trades, self.fee, roster),
            dispatchable_kw=power[roster.dispatchable],
            charge_kw=charge[roster.storage],
            discharge_kw=discharge[roster.storage],
            curtailed_kw=curtailed[roster.flexible],
            backlog_kwh=backlog[roster.flexible],
            reserve_kw=scale * of_recourse(),
            capacity_price=of_recourse(0, 0.01),
            loss_kw=scale * of_networks(0, 0.1),
            deviation_kw=deviation,
            pool_of=np.array([pools[name] for name in roster.network]),
        )
        loss, congestion, risk = scale * of_peers(3, -0.1, 0.1)
        self.charges = GridCharges(loss, congestion, risk) if charged else None
        margin, imbalance = scale * of_peers(1, -0.1, 0.1)[0], of_peers(1, -0.2, 1)[0]
        self.shares = RiskShares(margin, scale * of_recourse(-0.1, 0.1), imbalance)
        self.ledger = settle(
            self.flows,
            self.trades,
            trade_prices=self.trade_prices,
            trade_fee=self.fee,
            recourse=self.recourse,
            metered=self.metered,
            prices=self.prices,
            costs=self.costs,
            charges=self.charges,
            shares=self.shares,
            settings=settings(**market),
            roster=roster,
        )

    @property
    def cost(self):
        """Operational cost by component and network. [EUR]"""
        return operational_cost(self.flows, self.prices, self.costs, self.roster)
