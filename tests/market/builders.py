"""Small markets whose clearing can be solved by hand."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from configs.schema import Market
from market.bids import (
    Bid,
    DispatchableOffer,
    FlexibleOffer,
    Rating,
    RecourseOffer,
    RenewableOffer,
    StorageOffer,
)
from market.book import BidBook, TariffWindow, stack
from market.chance import ChanceRow
from market.clearing import ClearingResult, MarketClearing
from market.first_stage import FirstStage
from market.offers import ErrorSamples, NetworkOffer
from market.parameters import LossModel, SecondStage
from market.roster import Roster
from market.schedule import fixed_injection

RETAIL, FEED_IN, FEE = 0.25, 0.10, 0.07
LOWER, UPPER = 0.95, 1.05


@dataclass(frozen=True)
class Peer:
    """A peer by what it bids; its registration is what it offers."""

    load: float | Sequence[float] = 0.0
    network: str = "A"
    pv: float | Sequence[float] | None = None
    pv_price: float = 0.0
    unit: DispatchableOffer | None = None
    battery: StorageOffer | None = None
    flexible: FlexibleOffer | None = None
    recourse: RecourseOffer | None = None
    kvar: float = 0.0
    load_kvar: float = 0.0
    buy: float | None = None
    sell: float | None = None
    takes_part: bool = True

    def rating(self, n_steps: int) -> Rating:
        unit, battery, flexible = self.unit, self.battery, self.flexible
        return Rating(
            renewable_kw=series(self.pv, n_steps).max() if self.pv is not None else 0.0,
            dispatchable_kw=unit.p_max_kw if unit else 0.0,
            storage_kw=max(battery.charge_max_kw, battery.discharge_max_kw) if battery else 0.0,
            storage_kwh=battery.energy_max_kwh if battery else 0.0,
            charge_efficiency=battery.charge_efficiency if battery else 1.0,
            discharge_efficiency=battery.discharge_efficiency if battery else 1.0,
            flexible_kw=flexible.served_max_kw if flexible else 0.0,
            reactive_kvar=self.kvar,
        )

    def bid(self, peer_id: str, tariff: TariffWindow, step: int = 0) -> Bid:
        n_steps = len(tariff.retail)
        return Bid(
            peer_id=peer_id,
            network=self.network,
            step=step,
            load_kw=series(self.load, n_steps),
            load_kvar=series(self.load_kvar, n_steps),
            buy_limit_eur_per_kwh=tariff.retail if self.buy is None else series(self.buy, n_steps),
            sell_limit_eur_per_kwh=(
                tariff.feed_in if self.sell is None else series(self.sell, n_steps)
            ),
            q_max_kvar=self.kvar,
            renewable=(
                RenewableOffer(series(self.pv, n_steps), self.pv_price)
                if self.pv is not None
                else None
            ),
            dispatchable=self.unit,
            storage=self.battery,
            flexible=self.flexible,
            recourse=self.recourse,
        )


def series(value: float | Sequence[float], n_steps: int) -> np.ndarray:
    """One value a step."""
    return np.broadcast_to(np.asarray(value, dtype=float), (n_steps,)).copy()


def unit(p_max=10.0, cost=0.15, quadratic=0.0) -> DispatchableOffer:
    return DispatchableOffer(p_max, cost, quadratic)


def battery(**changes) -> StorageOffer:
    """A lossless battery of 4 kW and 10 kWh, half full, dear enough to rest."""
    rest = StorageOffer(
        charge_max_kw=4.0,
        discharge_max_kw=4.0,
        energy_min_kwh=0.0,
        energy_max_kwh=10.0,
        energy_kwh=5.0,
        charge_efficiency=1.0,
        discharge_efficiency=1.0,
        wear_eur_per_kwh=1.0,
        end_value_eur_per_kwh=0.0,
    )
    return replace(rest, **changes)


def flexible(baseline: Sequence[float], **changes) -> FlexibleOffer:
    """Load that may neither be dropped nor deferred unless changed."""
    stiff = FlexibleOffer(
        baseline_kw=np.asarray(baseline, dtype=float),
        curtailable_share=0.0,
        willingness_to_pay_eur_per_kwh=1.0,
        served_max_kw=10.0,
        backlog_kwh=0.0,
        backlog_max_kwh=0.0,
        deferral_eur_per_kwh_h=0.0,
        end_price_eur_per_kwh=1.0,
    )
    return replace(stiff, **changes)


def make_tariff(n_steps=1, retail=RETAIL, feed_in=FEED_IN, loss=0.0, **imbalance) -> TariffWindow:
    """Prices over the window; imbalance costs nothing unless given."""
    return TariffWindow(
        retail=series(retail, n_steps),
        feed_in=series(feed_in, n_steps),
        loss=series(loss, n_steps),
        imbalance_buy=series(imbalance.get("buy", 0.0), n_steps),
        imbalance_sell=series(imbalance.get("sell", 0.0), n_steps),
    )


def settings(**changes) -> Market:
    plain = {
        "method": "deterministic",
        "radius": 0.0,
        "network_fee_within_eur_per_kwh": FEE,
        "network_fee_across_eur_per_kwh": 0.01,
    }
    return Market(**(plain | changes))


def make_roster(peers: Mapping[str, Peer], n_steps=1, hours=1.0) -> Roster:
    networks = tuple(dict.fromkeys(peer.network for peer in peers.values()))
    return Roster(
        peer_id=tuple(peers),
        network=networks,
        network_of=np.array([networks.index(peer.network) for peer in peers.values()]),
        rating=tuple(peer.rating(n_steps) for peer in peers.values()),
        n_steps=n_steps,
        step_hours=hours,
    )


def make_book(peers: Mapping[str, Peer], tariff: TariffWindow, roster: Roster) -> BidBook:
    """Stack the bids; of a peer that takes no part only load and renewable power are known."""
    bids = {name: peer.bid(name, tariff) for name, peer in peers.items()}
    taking_part = {name: bids[name] for name, peer in peers.items() if peer.takes_part}
    return stack(taking_part, bids, roster)


def errors_of(columns: Mapping[int, Sequence[float]], n_members: int, n_steps=1) -> ErrorSamples:
    """Forecast errors of some members, the same in every step. [kW]"""
    to_p = np.zeros((len(columns), n_members))
    to_p[np.arange(len(columns)), list(columns)] = 1.0
    xi = np.array(list(columns.values()), dtype=float).T
    return ErrorSamples((xi,) * n_steps, to_p, np.zeros_like(to_p))


@dataclass
class FakeOperator:
    """A network whose bus voltages are 1 + y + bend y^2, with y = R p + X q.

    Each row of ``R`` is a bus; its upper and lower limit are constrained. Without ``bend`` the
    network is exactly linear. One that ``collapses`` has no solution at any schedule.
    """

    network: str
    samples: ErrorSamples
    R: np.ndarray
    X: np.ndarray | None = None
    bend: float = 0.0
    loss: np.ndarray | None = None
    curvature: np.ndarray | None = None
    collapses: bool = False

    @property
    def reactive_curvature(self):
        return np.zeros(self.R.shape[1]) if self.curvature is None else self.curvature

    def voltage(self, p_kw, q_kvar):
        y = p_kw @ self.R.T + q_kvar @ self._x.T
        return 1.0 + y + self.bend * y**2

    @property
    def _x(self):
        return np.zeros_like(self.R) if self.X is None else self.X

    def linearise(self, p_kw, q_kvar, refresh: Collection[int]) -> NetworkOffer:
        if self.collapses:
            p_kw, q_kvar = np.zeros_like(p_kw), np.zeros_like(q_kvar)
        y = p_kw @ self.R.T + q_kvar @ self._x.T
        v, slope = self.voltage(p_kw, q_kvar), 1.0 + 2.0 * self.bend * y
        n_steps, n_rows = len(p_kw), 2 * len(self.R)
        loss = np.zeros(p_kw.shape[1]) if self.loss is None else self.loss

        def both_ways(matrix):
            return {t: _mirrored(slope[t][:, None] * matrix) for t in range(n_steps)}

        return NetworkOffer(
            network=self.network,
            p_kw=p_kw,
            q_kvar=q_kvar,
            value=np.hstack([v, -v]),
            limit=np.repeat([UPPER, -LOWER], len(self.R)),
            parent=np.full(n_rows, -1),
            d_p=both_ways(self.R),
            d_q=both_ways(self._x),
            loss_kw=p_kw @ loss,
            loss_d_p=np.tile(loss, (n_steps, 1)),
            loss_d_q=np.zeros_like(p_kw),
            converged=np.full(n_steps, not self.collapses),
        )


def _mirrored(matrix):
    return np.vstack([matrix, -matrix])


@dataclass(frozen=True)
class Cleared:
    """A cleared market with everything that went into it."""

    result: ClearingResult
    roster: Roster
    book: BidBook
    operators: tuple[FakeOperator, ...]

    def __getattr__(self, name):
        return getattr(self.result.schedule, name)


def make_operators(
    peers: Mapping[str, Peer],
    R: Mapping[str, Sequence[Sequence[float]]],
    errors: Mapping[str, Mapping[int, Sequence[float]]],
    n_steps=1,
    **changes,
) -> Iterator[FakeOperator]:
    """One operator a network; without ``R`` the peers sit at a bus of constant voltage.

    Errors are given by network and member; without them a pair of tiny ones stands in, which
    moves no result but gives every row a standard deviation.
    """
    for network in dict.fromkeys(peer.network for peer in peers.values()):
        n_members = sum(peer.network == network for peer in peers.values())
        matrix = np.array(R.get(network, np.zeros((1, n_members))), dtype=float)
        samples = errors_of(errors.get(network, {0: [-1e-3, 1e-3]}), n_members, n_steps)
        yield FakeOperator(network, samples, matrix, **changes)


def clear(
    peers: Mapping[str, Peer],
    market: Market | None = None,
    *,
    tariff: TariffWindow | None = None,
    R: Mapping[str, Sequence[Sequence[float]]] | None = None,
    errors: Mapping[str, Mapping[int, Sequence[float]]] | None = None,
    hours=1.0,
    **changes,
) -> Cleared:
    """Clear one window."""
    tariff = tariff or make_tariff()
    n_steps = len(tariff.retail)
    roster = make_roster(peers, n_steps, hours)
    operators = tuple(make_operators(peers, R or {}, errors or {}, n_steps, **changes))
    book = make_book(peers, tariff, roster)
    result = MarketClearing(roster, market or settings(), operators).clear(0, book, tariff)
    return Cleared(result, roster, book, operators)


def no_uncertainty(roster: Roster) -> SecondStage:
    zero = np.zeros((roster.n_steps, roster.n_networks))
    return SecondStage(zero, zero, zero, zero)


def no_losses(roster: Roster) -> LossModel:
    zero = np.zeros((roster.n_steps, roster.n_peers))
    return LossModel(np.zeros((roster.n_steps, roster.n_networks)), zero, zero, zero)


def make_first_stage(
    peers: Mapping[str, Peer],
    tariff: TariffWindow,
    *,
    market: Market | None = None,
    second: SecondStage | None = None,
    losses: LossModel | None = None,
    groups: np.ndarray | None = None,
    q_damping: np.ndarray | None = None,
    hours=1.0,
) -> tuple[FirstStage, Roster, BidBook]:
    """The compiled problem with its parameters assigned."""
    roster = make_roster(peers, len(tariff.retail), hours)
    book = make_book(peers, tariff, roster)
    groups = np.array(roster.network_of) if groups is None else groups
    q_damping = np.zeros(len(roster.reactive)) if q_damping is None else q_damping
    stage = FirstStage(roster, groups, market or settings(), q_damping)
    stage.parameters.assign(
        book=book,
        tariff=tariff,
        second=second or no_uncertainty(roster),
        losses=losses or no_losses(roster),
        roster=roster,
        groups=groups,
        q_damping=q_damping,
    )
    return stage, roster, book


def voltage_row(
    roster: Roster, book: BidBook, r: Sequence[float], *, network=0, step=0, **changes
) -> ChanceRow:
    """The upper limit of the voltage 1 + r p of a network's members, without errors."""
    d_p = np.asarray(r, dtype=float)
    members = roster.members(network)
    fixed = fixed_injection(book, roster)[step, members]
    row = ChanceRow(
        network=network,
        step=step,
        conic=False,
        d_p=d_p,
        d_q=np.zeros_like(d_p),
        room=float(UPPER - 1.0 - d_p @ fixed),
        kappa=0.0,
        beta=0.0,
        remainder=0.0,
        mean_omega=0.0,
        std_omega=0.0,
        gain=0.0,
    )
    return replace(row, **changes)
