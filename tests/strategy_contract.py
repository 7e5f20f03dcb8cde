"""What every strategy has to keep to; a strategy of your own is run through it in one line.

``check_strategy(MyStrategy)``, or ``check_strategy(lambda rng: MyStrategy(0.1, rng=rng))`` for one
that draws at random. It raises an AssertionError that says what is broken.
"""

import copy
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from inspect import signature

import numpy as np

from agents.strategies.protocol import Observation, Outcome, Strategy
from market.bid_checks import faults
from market.bids import (
    Bid,
    DispatchableOffer,
    FlexibleOffer,
    Rating,
    RecourseOffer,
    RenewableOffer,
    StorageOffer,
)
from market.price_blocks import PriceBlocks

DEVICES = ("renewable", "dispatchable", "blocks", "storage", "flexible")
PEERS = ((), *((name,) for name in DEVICES), ("renewable", "blocks", "storage", "flexible"))
WINDOWS = ((1, 1), (6, 3))
"""Steps of the window, and how many of them a bid binds."""


@dataclass(frozen=True)
class Round:
    """A bid, what is known when it is submitted, and what comes of it."""

    truthful: Bid
    observation: Observation
    outcomes: tuple[Outcome, ...]


def check_strategy(make: Callable[..., Strategy], n_rounds: int = 12) -> None:
    """Run a strategy through the contract.

    Parameters
    ----------
    make : callable
        Creates a new strategy; with a parameter ``rng``, from a random stream.
    n_rounds : int
        Number of bids of every kind of peer: enough for the strategy to have learnt something
        after half of them.

    Raises
    ------
    AssertionError
        If a submitted bid is not valid, an argument was changed, the same question gets two
        answers within a step, bids depend on what is not known yet or on other streams than the
        strategy's own, or a restored strategy does not continue as the saved one would have.
    """
    for peer in PEERS:
        for n_steps, cadence in WINDOWS:
            rounds, others = (
                list(make_rounds(peer, n_steps, cadence, n_rounds, seed)) for seed in (1, 2)
            )
            _bids_are_valid(_new(make, 0), rounds, peer, n_steps)
            _equal_streams_give_equal_bids(make, rounds)
            _nothing_is_known_ahead(make, rounds, others)
            _others_are_left_alone(make, rounds)
            _restored_strategies_continue(make, rounds)


def _new(make: Callable[..., Strategy], seed: int) -> Strategy:
    rng = {"rng": np.random.default_rng(seed)} if "rng" in signature(make).parameters else {}
    return make(**rng)


# --- the family of bids -----------------------------------------------------------------------


def rating(peer: Sequence[str]) -> Rating:
    """The registration that the family's bids fit into."""
    return Rating(
        renewable_kw=8.0 if "renewable" in peer else 0.0,
        dispatchable_kw=20.0 if {"dispatchable", "blocks"} & set(peer) else 0.0,
        storage_kw=5.0 if "storage" in peer else 0.0,
        storage_kwh=12.0 if "storage" in peer else 0.0,
        charge_efficiency=0.95,
        discharge_efficiency=0.9,
        flexible_kw=2.0 if "flexible" in peer else 0.0,
        reactive_kvar=3.0,
    )


def make_rounds(
    peer: Sequence[str], n_steps: int, cadence: int, n_rounds: int, seed: int
) -> Iterator[Round]:
    """Successive truthful bids of a peer, up to its ratings, with prices and outcomes."""
    rng = np.random.default_rng(seed)
    registered = rating(peer)
    for step in range(0, n_rounds * cadence, cadence):
        feed_in = rng.uniform(0.0, 0.12, n_steps)
        retail = feed_in + rng.uniform(0.05, 0.3, n_steps)
        observation = Observation(
            step=step,
            retail=retail,
            feed_in=feed_in,
            fee=0.07,
            last_price=float("nan") if step == 0 else float(rng.uniform(0.0, 0.4)),
            renewable_rating_kw=registered.renewable_kw,
        )
        # Some hours at the rating, some without any power.
        power = 8.0 * rng.choice([0.0, 0.3, 1.0], n_steps)
        yield Round(
            truthful=_truthful_bid(peer, observation, power, rng),
            observation=observation,
            outcomes=tuple(_outcome(peer, step + k, power[k], rng) for k in range(cadence)),
        )


def _truthful_bid(
    peer: Sequence[str], observation: Observation, power: np.ndarray, rng: np.random.Generator
) -> Bid:
    n_steps, unit = len(power), None
    if "dispatchable" in peer:
        unit = DispatchableOffer(20.0, rng.uniform(0.05, 0.5), 1e-3)
    elif "blocks" in peer:
        price = np.sort(rng.uniform(0.05, 0.5, 3))
        unit = DispatchableOffer(20.0, 0.0, 0.0, PriceBlocks(np.array([5.0, 5.0, 10.0]), price))
    storage = StorageOffer(5.0, 5.0, 0.0, 12.0, rng.uniform(0.0, 12.0), 0.95, 0.9, 0.02, 0.15)
    flexible = FlexibleOffer(
        rng.choice([0.0, 2.0], n_steps), 0.3, 0.6, 2.0, rng.uniform(0.0, 6.0), 6.0, 0.004, 0.25
    )
    return Bid(
        peer_id="a",
        network="west",
        step=observation.step,
        load_kw=rng.choice([0.0, 4.0], n_steps),
        load_kvar=rng.uniform(-1.0, 1.0, n_steps),
        buy_limit_eur_per_kwh=observation.retail.copy(),
        sell_limit_eur_per_kwh=observation.feed_in.copy(),
        q_max_kvar=3.0,
        renewable=RenewableOffer(power, 0.0) if "renewable" in peer else None,
        dispatchable=unit,
        storage=storage if "storage" in peer else None,
        flexible=flexible if "flexible" in peer else None,
        recourse=RecourseOffer(0.2, -0.1, 0.002) if unit or "storage" in peer else None,
    )


def _outcome(peer: Sequence[str], step: int, power: float, rng: np.random.Generator) -> Outcome:
    plant = "renewable" in peer
    return Outcome(
        step=step,
        bought_kwh=float(rng.choice([0.0, 2.0])),
        sold_kwh=float(rng.choice([0.0, 3.0])),
        payment_eur=float(rng.normal()),
        # Rounding errors of the settlement may leave a gain just below zero.
        gain_eur=float(rng.choice([-1e-12, 0.0, rng.uniform(0.0, 2.0)])),
        pool_price=float(rng.choice([np.nan, rng.uniform(0.0, 0.3)])),
        load_kw=float(rng.uniform(0.0, 5.0)),
        load_forecast_kw=float(rng.choice([0.0, 4.0])),
        renewable_kw=float(rng.uniform(0.0, 8.0)) if plant else 0.0,
        renewable_forecast_kw=float(power) if plant else 0.0,
    )


# --- playing ----------------------------------------------------------------------------------


def play(strategy: Strategy, rounds: Sequence[Round]) -> list[Bid]:
    """What a strategy submits, round after round."""
    bids = []
    for each in rounds:
        bids.append(strategy.submit(each.truthful, each.observation))
        for outcome in each.outcomes:
            strategy.learn(outcome)
    return bids


def flatten(message: object, prefix: str = "") -> dict[str, object]:
    """All values of a message by dotted name."""
    out: dict[str, object] = {}
    for field in fields(message):
        value = getattr(message, field.name)
        if is_dataclass(value):
            out |= flatten(value, f"{prefix}{field.name}.")
        else:
            out[prefix + field.name] = value
    return out


def changed(before: object, after: object) -> set[str]:
    """Names of the values in which two messages differ."""
    one, other = flatten(before), flatten(after)
    return {
        name
        for name in one.keys() | other.keys()
        if not _same(one.get(name, "missing"), other.get(name, "missing"))
    }


def _same(one: object, other: object) -> bool:
    if isinstance(one, str) or isinstance(other, str) or one is None or other is None:
        return type(one) is type(other) and one == other
    return np.array_equal(one, other, equal_nan=True)


def _assert_equal(bids: Sequence[Bid], expected: Sequence[Bid], told: str) -> None:
    for bid, other in zip(bids, expected, strict=True):
        names = changed(other, bid)
        assert not names, f"{told}: step {other.step}, {sorted(names)}"


# --- the clauses ------------------------------------------------------------------------------


def _bids_are_valid(
    strategy: Strategy, rounds: Sequence[Round], peer: Sequence[str], n_steps: int
) -> None:
    """Valid bids, untouched arguments, and one answer to one question."""
    n_blocks = 3 if "blocks" in peer else 0
    for each in rounds:
        before = copy.deepcopy(each)
        bid = strategy.submit(each.truthful, each.observation)
        step = each.truthful.step
        assert isinstance(bid, Bid), f"submit returns {bid!r:.40}, not a Bid"
        found = faults(bid, rating(peer), step, n_steps, "west", n_blocks=n_blocks)
        assert not found, f"a bid of a peer with {peer} is not valid: {found}"
        assert bid.peer_id == each.truthful.peer_id, f"the bid is one of peer {bid.peer_id!r}"
        again = strategy.submit(each.truthful, each.observation)
        _assert_equal([again], [bid], "a second answer in the same step differs")
        for outcome in each.outcomes:
            strategy.learn(outcome)
        names = changed(before.truthful, each.truthful)
        assert not names, f"submit changes the truthful bid: {sorted(names)}"
        names = changed(before.observation, each.observation)
        assert not names, f"submit changes the observation: {sorted(names)}"


def _equal_streams_give_equal_bids(make: Callable[..., Strategy], rounds: Sequence[Round]) -> None:
    first, second = play(_new(make, 3), rounds), play(_new(make, 3), rounds)
    _assert_equal(first, second, "equal streams give different bids")


def _nothing_is_known_ahead(
    make: Callable[..., Strategy], rounds: Sequence[Round], others: Sequence[Round]
) -> None:
    """Another future leaves the present as it is; what was submitted is not changed later."""
    now = len(rounds) // 2
    # The last bid is the same in both; its outcomes already are another future.
    meeting = Round(rounds[now].truthful, rounds[now].observation, others[now].outcomes)
    strategy = _new(make, 4)
    bids = play(strategy, rounds[: now + 1])
    submitted = copy.deepcopy(bids)
    play(strategy, rounds[now + 1 :])
    _assert_equal(bids, submitted, "a bid changed after it was submitted")
    otherwise = play(_new(make, 4), [*rounds[:now], meeting, *others[now + 1 :]])
    _assert_equal(otherwise[: now + 1], submitted, "a bid depends on what came later")


def _others_are_left_alone(make: Callable[..., Strategy], rounds: Sequence[Round]) -> None:
    """Two peers that take turns do what each does alone, and nobody draws from a global stream."""
    alone = [play(_new(make, seed), rounds) for seed in (5, 6)]
    shared = _global_streams()
    strategies = [_new(make, seed) for seed in (5, 6)]
    together: list[list[Bid]] = [[], []]
    for each in rounds:
        for bids, strategy in zip(together, strategies, strict=True):
            bids.extend(play(strategy, [each]))
    for one, other in zip(together, alone, strict=True):
        _assert_equal(one, other, "a second peer with this strategy changes the bids")
    assert _global_streams() == shared, "the strategy draws from a global random stream"


def _global_streams() -> str:
    legacy = np.random.get_state()  # noqa: NPY002 (the stream that must not be used)
    return repr((random.getstate(), legacy[1].tobytes(), legacy[2:]))


def _restored_strategies_continue(make: Callable[..., Strategy], rounds: Sequence[Round]) -> None:
    """Saved before or after the outcomes of a round, as JSON, and restored into a new object."""
    now = len(rounds) // 2
    expected = play(_new(make, 7), rounds)[now + 1 :]
    present, later = rounds[now], rounds[now + 1 :]
    for n_seen in (0, len(present.outcomes)):
        saved = _new(make, 7)
        play(saved, rounds[:now])
        saved.submit(present.truthful, present.observation)
        for outcome in present.outcomes[:n_seen]:
            saved.learn(outcome)
        state = saved.state()
        text = json.dumps(state)
        restored = _new(make, 8)
        restored.restore(json.loads(text))
        for strategy in (saved, restored):
            for outcome in present.outcomes[n_seen:]:
                strategy.learn(outcome)
            told = "a restored strategy" if strategy is restored else "saving a strategy"
            _assert_equal(play(strategy, later), expected, f"{told} changes what follows")
        assert json.dumps(state) == text, "what state() returned changes later"
