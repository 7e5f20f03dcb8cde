"""Small markets whose clearing can be solved by hand."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

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
from market.conic_problem import ConicProblem
from market.first_stage import FirstStage
from market.grid_rows import Phasors
from market.offers import ErrorSamples, NetworkOffer, PastErrors
from market.parameters import LossModel, SecondStage
from market.recourse import RecoursePolicy
from market.roster import Roster
from market.schedule import fixed_injection

RETAIL, FEED_IN, FEE = 0.25, 0.10, 0.07
LOWER, UPPER = 0.95, 1.05
COMMON = RecoursePolicy(1, np.zeros(1, dtype=np.intp))
"""One network that answers its error with one share a device."""
UP_DOWN = RecoursePolicy(2, np.zeros(1, dtype=np.intp))
"""One network that answers surplus and shortage with a share each."""


@dataclass(frozen=True)
class Peer:
    """A peer by what it bids; its registration is what it offers unless told."""

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
    rated: float | None = None
    """Rating of the plant. [kW]"""

    def rating(self, n_steps: int) -> Rating:
        unit, battery, flexible = self.unit, self.battery, self.flexible
        largest = series(self.pv, n_steps).max() if self.pv is not None else 0.0
        return Rating(
            renewable_kw=largest if self.rated is None else self.rated,
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
    """The plainest market: one affine share a device, a given ball, whole errors pass through."""
    plain = {
        "method": "deterministic",
        "radius_rule": "fixed",
        "radius": 0.0,
        "sample_weights": "equal",
        "renewable_setpoint": "offset",
        "recourse_shares": "common",
        "recourse_pool": "network",
        "uplift": "dso",
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
    blocks = [peer.unit.blocks for peer in peers.values() if peer.unit and peer.unit.blocks]
    n_blocks = max((len(offered.quantity_kw) for offered in blocks), default=0)
    return stack(taking_part, bids, roster, n_blocks)


def errors_of(
    columns: Mapping[int, Sequence[float]],
    n_members: int,
    n_steps=1,
    renewable: Collection[int] = (),
) -> ErrorSamples:
    """Forecast errors of some members, the same in every step. [kW]

    Those of the members in ``renewable`` are errors of their plants.
    """
    to_p = np.zeros((len(columns), n_members))
    to_p[np.arange(len(columns)), list(columns)] = 1.0
    xi = np.array(list(columns.values()), dtype=float).T
    past = PastErrors(xi, np.full(len(xi), 1 / len(xi)), np.arange(len(xi)))
    of_plants = to_p * np.isin(np.arange(n_members), list(renewable))
    return ErrorSamples((past,) * n_steps, to_p, np.zeros_like(to_p), of_plants)


@dataclass
class FakeOperator:
    """A network whose bus voltages are 1 + y + bend y^2, with y = R p + X q.

    Each row of ``R`` is a bus; its upper and lower limit are constrained. Without ``bend`` the
    network is exactly linear. One that ``collapses`` has no solution at any schedule. Each row of
    ``phasors`` is a line, whose power over its rating is that row times the members' p + jq.
    """

    network: str
    samples: ErrorSamples
    R: np.ndarray
    X: np.ndarray | None = None
    bend: float = 0.0
    loss: np.ndarray | None = None
    curvature: np.ndarray | None = None
    collapses: bool = False
    phasors: np.ndarray | None = None

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
        lines = np.zeros((0, p_kw.shape[1])) if self.phasors is None else self.phasors
        flow = (p_kw + 1j * q_kvar) @ lines.T
        n_steps, n_voltages = len(p_kw), 2 * len(self.R)
        tangent = np.where(flow == 0, 0.0, np.exp(-1j * np.angle(flow)))
        loss = np.zeros(p_kw.shape[1]) if self.loss is None else self.loss

        def both_ways(matrix, unit):
            return {
                t: np.vstack(
                    [
                        _mirrored(slope[t][:, None] * matrix),
                        (unit * tangent[t][:, None] * lines).real,
                    ]
                )
                for t in range(n_steps)
            }

        return NetworkOffer(
            network=self.network,
            p_kw=p_kw,
            q_kvar=q_kvar,
            value=np.hstack([v, -v, np.abs(flow)]),
            limit=np.concatenate([np.repeat([UPPER, -LOWER], len(self.R)), np.ones(len(lines))]),
            parent=np.full(n_voltages + len(lines), -1),
            d_p=both_ways(self.R, 1.0),
            d_q=both_ways(self._x, 1j),
            loss_kw=p_kw @ loss,
            loss_d_p=np.tile(loss, (n_steps, 1)),
            loss_d_q=np.zeros_like(p_kw),
            converged=np.full(n_steps, not self.collapses),
            phasors=Phasors(
                row=n_voltages + np.arange(len(lines)),
                value=flow,
                d_p=dict.fromkeys(range(n_steps), lines + 0j),
                d_q=dict.fromkeys(range(n_steps), 1j * lines),
            ),
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

    Errors are given by network and member; those of a peer with a plant are its plant's. Without
    them a pair of tiny ones stands in, which moves no result but gives every row a standard
    deviation.
    """
    for network in dict.fromkeys(peer.network for peer in peers.values()):
        members = [peer for peer in peers.values() if peer.network == network]
        plants = [k for k, peer in enumerate(members) if peer.pv is not None]
        matrix = np.array(R.get(network, np.zeros((1, len(members)))), dtype=float)
        of_network = errors.get(network, {0: [-1e-3, 1e-3]})
        samples = errors_of(of_network, len(members), n_steps, renewable=plants)
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


def no_uncertainty(roster: Roster, policy: RecoursePolicy) -> SecondStage:
    zero = np.zeros((roster.n_steps, policy.n_pools))
    return SecondStage(zero, zero, zero, zero, zero)


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
        second=second or no_uncertainty(roster, stage.policy),
        losses=losses or no_losses(roster),
        roster=roster,
        groups=groups,
        policy=stage.policy,
        q_damping=q_damping,
    )
    return stage, roster, book


def voltage_row(
    roster: Roster, book: BidBook, r: Sequence[float], *, network=0, step=0, **changes
) -> ChanceRow:
    """The upper limit of the voltage 1 + r p of a network's members, without errors.

    It knows one signal, the total error, unless changed.
    """
    d_p = np.asarray(r, dtype=float)
    members = roster.members(network)
    fixed = fixed_injection(book, roster)[step, members]
    row = ChanceRow(
        network=network,
        step=step,
        index=0,
        conic=False,
        d_p=d_p,
        d_q=np.zeros_like(d_p),
        room=float(UPPER - 1.0 - d_p @ fixed),
        kappa=0.0,
        beta=np.zeros(1),
        remainder=0.0,
        mean_signal=np.zeros(1),
        root=np.zeros((1, 1)),
        gain=np.zeros(1),
    )
    return replace(row, **changes)


def conic(linear, matrix, offset, *, n_zero=0, second_order=(), quadratic=None):
    """Pose a conic programme from lists; of the quadratic part the upper triangle counts."""
    matrix = np.array(matrix, dtype=float)
    n = matrix.shape[1]
    return ConicProblem(
        quadratic=sparse.csc_array(
            np.zeros((n, n)) if quadratic is None else np.triu(np.array(quadratic, dtype=float))
        ),
        linear=np.array(linear, dtype=float),
        matrix=sparse.csr_array(matrix),
        offset=np.array(offset, dtype=float),
        n_zero=n_zero,
        n_nonnegative=len(offset) - n_zero - sum(second_order),
        second_order=second_order,
    )
