"""Ten thousand bids of all kinds: none raises, and just the valid ones pass.

What is valid is decided here by rules of its own, field by field, on what was put together.
"""

import itertools
import math
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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

N_STEPS = 3
RATING = Rating(
    renewable_kw=10.0,
    dispatchable_kw=8.0,
    storage_kw=5.0,
    storage_kwh=12.0,
    charge_efficiency=0.95,
    discharge_efficiency=0.9,
    flexible_kw=4.0,
    reactive_kvar=6.0,
    connection_kw=20.0,
)
ROUNDING = 1e-6
HIGHEST_PRICE = 1000.0
YEAR_H = 8760.0

# Largest value of every number: what the peer registered, or what any price may be.
SERIES = {
    "load_kw": 20.0,
    "load_kvar": 20.0,
    "buy_limit_eur_per_kwh": HIGHEST_PRICE,
    "sell_limit_eur_per_kwh": HIGHEST_PRICE,
    "renewable.available_kw": 10.0,
    "flexible.baseline_kw": 4.0,
}
NUMBERS = {
    "q_max_kvar": 6.0,
    "renewable.price_eur_per_kwh": HIGHEST_PRICE,
    "dispatchable.p_max_kw": 8.0,
    "dispatchable.cost_eur_per_kwh": HIGHEST_PRICE,
    "dispatchable.cost_eur_per_kw2h": HIGHEST_PRICE,
    "storage.charge_max_kw": 5.0,
    "storage.discharge_max_kw": 5.0,
    "storage.energy_min_kwh": 12.0,
    "storage.energy_max_kwh": 12.0,
    "storage.energy_kwh": 12.0,
    "storage.charge_efficiency": 0.95,
    "storage.discharge_efficiency": 0.9,
    "storage.wear_eur_per_kwh": HIGHEST_PRICE,
    "storage.end_value_eur_per_kwh": HIGHEST_PRICE,
    "flexible.curtailable_share": 1.0,
    "flexible.willingness_to_pay_eur_per_kwh": HIGHEST_PRICE,
    "flexible.served_max_kw": 4.0,
    "flexible.backlog_kwh": 4.0 * YEAR_H,
    "flexible.backlog_max_kwh": 4.0 * YEAR_H,
    "flexible.deferral_eur_per_kwh_h": HIGHEST_PRICE,
    "flexible.end_price_eur_per_kwh": HIGHEST_PRICE,
    "recourse.up_eur_per_kwh": HIGHEST_PRICE,
    "recourse.down_eur_per_kwh": HIGHEST_PRICE,
    "recourse.capacity_eur_per_kw_h": HIGHEST_PRICE,
}
SIGNED = {"load_kvar", "recourse.up_eur_per_kwh", "recourse.down_eur_per_kwh"}
EXACT = {"storage.charge_efficiency", "storage.discharge_efficiency"}
OFFERS = {
    "renewable": RenewableOffer,
    "dispatchable": DispatchableOffer,
    "storage": StorageOffer,
    "flexible": FlexibleOffer,
    "recourse": RecourseOffer,
}


def good_bid():
    """A bid with every device, well inside its registration."""
    return Bid(
        peer_id="p",
        network="A",
        step=7,
        load_kw=np.array([1.0, 0.0, 6.0]),
        load_kvar=np.array([0.5, 0.0, -1.0]),
        buy_limit_eur_per_kwh=np.array([0.25, 0.2, 0.3]),
        sell_limit_eur_per_kwh=np.array([0.1, 0.0, 0.1]),
        q_max_kvar=6.0,
        renewable=RenewableOffer(np.array([10.0, 0.0, 3.0]), 0.0),
        dispatchable=DispatchableOffer(8.0, 0.15, 0.001),
        storage=StorageOffer(5.0, 5.0, 1.0, 12.0, 6.0, 0.95, 0.9, 0.03, 0.15),
        flexible=FlexibleOffer(np.array([1.0, 2.0, 3.0]), 1.0, 0.5, 4.0, 5.0, 6.0, 0.01, 0.3),
        recourse=RecourseOffer(-0.01, -0.2, 0.005),
    )


def with_fields(bid, values):
    """The bid with some fields, of the bid or of its offers, replaced."""
    for name, value in values.items():
        offer, _, field = name.partition(".")
        if not field:
            bid = replace(bid, **{name: value})
        elif getattr(bid, offer) is not None:
            bid = replace(bid, **{offer: replace(getattr(bid, offer), **{field: value})})
    return bid


# --- the rules --------------------------------------------------------------------------------

PLAIN = (int, float, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32)
PLAIN += (np.uint64, np.float16, np.float32, np.float64, np.longlong, np.ulonglong)
DTYPES = {"i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"}


def as_floats(value, *, series):
    """A field as floats, one a step; None for what is no such field."""
    if series:
        if type(value) is not np.ndarray or value.dtype.str[1:] not in DTYPES:
            return None
        return [float(x) for x in value] if value.shape == (N_STEPS,) else None
    if type(value) not in PLAIN:
        return None
    # As wide as a machine's number.
    return [float(value)] if abs(value) < 2**63 or isinstance(value, float) else None


def is_valid(bid):
    """Whether a bid may pass, by the rules and nothing of the checks."""
    if type(bid) is not Bid or not isinstance(bid.network, str) or bid.network != "A":
        return False
    if type(bid.step) not in PLAIN or isinstance(bid.step, float | np.floating) or bid.step != 7:
        return False
    told = {}
    for offer, kind in OFFERS.items():
        if getattr(bid, offer) is not None and type(getattr(bid, offer)) is not kind:
            return False
    for name, largest in itertools.chain(SERIES.items(), NUMBERS.items()):
        offer, _, field = name.partition(".")
        holder = getattr(bid, offer) if field else bid
        if holder is None:
            continue
        values = as_floats(getattr(holder, field or name), series=name in SERIES)
        if values is None or not all(map(math.isfinite, values)):
            return False
        rounding = 0.0 if largest == HIGHEST_PRICE or name == "storage.energy_min_kwh" else ROUNDING
        low = -largest - rounding if name in SIGNED else 0.0
        if name in EXACT:
            low = largest
            rounding = 0.0
        if name == "storage.energy_min_kwh":
            rounding = math.inf  # the stored energy decides
        if name == "storage.energy_kwh":
            rounding = math.inf
        if not all(low <= value <= largest + rounding for value in values):
            return False
        told[name] = values
    return consistent(told) and getattr(bid.dispatchable, "blocks", None) is None


def consistent(told):
    """Whether what was told of one device fits together."""
    if "storage.energy_kwh" in told:
        low, now, high = (told[f"storage.energy{part}_kwh"][0] for part in ("_min", "", "_max"))
        if now < low - ROUNDING or now > high + ROUNDING:
            return False
    load = told["load_kw"]
    if "flexible.baseline_kw" in told:
        load = [a + b for a, b in zip(load, told["flexible.baseline_kw"], strict=True)]
        if max(told["flexible.baseline_kw"]) > told["flexible.served_max_kw"][0] + ROUNDING:
            return False
        if told["flexible.backlog_kwh"][0] > told["flexible.backlog_max_kwh"][0] + ROUNDING:
            return False
    return max(load) <= 20.0 + ROUNDING


def agree(bid):
    """Check a bid and compare with the rules; return whether it passed."""
    found = faults(bid, RATING, 7, N_STEPS, "A")
    assert all(isinstance(reason, str) and reason and len(reason) < 500 for reason in found)
    assert (found == []) == is_valid(bid), (found, bid)
    return not found


# --- made by hand -----------------------------------------------------------------------------


class Odd:
    """Something that cannot even be shown."""

    def __repr__(self):
        raise RuntimeError

    __hash__ = None


class Wrapped(float):
    """A number that could tell something else the next time."""


@dataclass(frozen=True)
class OwnOffer(StorageOffer):
    """A kind of offer of one's own."""


class OwnArray(np.ndarray):
    """An array of one's own."""


def floats(*values):
    return np.array(values, dtype=float)


ODD_SERIES = [
    *(np.array([0.1, bad, 0.1]) for bad in (np.nan, np.inf, -np.inf, -0.1, 1e308, -1e308, 1e9)),
    *(np.full(n, 0.1) for n in (0, 1, 2, 4, 1000)),
    np.full((3, 1), 0.1),
    np.full((1, 3), 0.1),
    np.full((3, 3), 0.1),
    np.array(0.1),
    np.array([0.1, 0.2, 0.3], dtype=object),
    np.array([Decimal(1), Fraction(1, 3), None], dtype=object),
    np.array(["1", "2", "3"]),
    np.array([b"1", b"2", b"3"]),
    np.array([True, False, True]),
    np.array([1j, 1, 1]),
    np.array([1, 2, 3], dtype="m8[s]"),
    np.array([1, 2, 3], dtype="M8[s]"),
    np.array([1, 2, 3], dtype=np.longdouble),
    np.ma.array([0.1, np.nan, 0.1], mask=[False, True, False]),
    np.array([0.1, 0.2, 0.3]).view(OwnArray),
    np.array([1, 0, 1]),
    np.array([1, 0, 1], dtype=np.int8),
    np.array([3, 3, 3], dtype=np.uint8),
    np.array([127, 127, 127], dtype=np.int8),
    np.array([1, 0, 1], dtype=np.float16),
    np.array([1, 0, 1], dtype=">f8"),
    np.zeros(3),
    -np.zeros(3),
    floats(5e-324, 0, 0),
    [0.1, 0.1, 0.1],
    (0.1, 0.1, 0.1),
    "0.1",
    None,
    0.1,
    7,
    Decimal("0.1"),
    (x for x in (1, 2, 3)),
    range(3),
    {0: 0.1},
    Odd(),
    object,
    memoryview(b"123"),
]
ODD_NUMBERS = [
    *(math.nan, math.inf, -math.inf, -1e-9, -1, 0, -0.0, 5e-324, 1e-300, 0.5, 0.9, 0.95, 1, 1.0),
    *(4, 5, 6, 8, 12, 12.1, 20, 999.0, 1000.0, 1000.1, 1e9, 1e300, 10**19, 10**400, -(10**400)),
    *(np.float16(0.5), np.float32(0.5), np.int8(1), np.uint64(1), np.longdouble(0.5)),
    *(True, False, None, "1", b"1", 1j, Decimal(1), Fraction(1, 2), Wrapped(0.5), Odd(), [], {}),
    *(np.array(0.5), np.array([0.5]), np.bool_(1), np.datetime64(1, "s"), (0.5,), object(), {1}),
]
ODD_STEPS = (6, 8, 7.0, 7.5, np.int64(7), True, None, "7", math.nan, 10**5000, Odd(), floats(7, 7))
ODD_NETWORKS = ("B", "", "A ", "a", None, 3, b"A", np.array(["A"]), Odd(), "A" * 10**6)
ODD_OFFERS = (
    *("10 kW", 4.0, {}, [], (), RATING, RenewableOffer, Odd()),
    OwnOffer(5.0, 5.0, 1.0, 12.0, 6.0, 0.95, 0.9, 0.03, 0.15),
    RecourseOffer(0.0, 0.0, 0.0),
)


def made_by_hand():
    """Every field with everything, and offers of every other kind."""
    for name in SERIES:
        yield from (with_fields(good_bid(), {name: value}) for value in ODD_SERIES)
    for name in NUMBERS:
        yield from (with_fields(good_bid(), {name: value}) for value in ODD_NUMBERS)
    yield from (replace(good_bid(), step=step) for step in ODD_STEPS)
    yield from (replace(good_bid(), network=network) for network in ODD_NETWORKS)
    for offer in OFFERS:
        yield from (replace(good_bid(), **{offer: what}) for what in (None, *ODD_OFFERS))


@dataclass(frozen=True, eq=False)
class OwnBid(Bid):
    """A kind of bid of one's own."""


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_bids_made_by_hand():
    bids = list(made_by_hand())
    n_valid = sum(agree(bid) for bid in bids)
    assert len(bids) > 1500
    assert 150 < n_valid < len(bids) - 800


@pytest.mark.parametrize("what", [None, "bid", 5, {}, [], Odd(), Bid, RATING])
def test_what_is_no_bid(what):
    (reason,) = faults(what, RATING, 7, N_STEPS, "A")
    assert reason.startswith("not a Bid")


def test_a_bid_of_another_class_is_none():
    own = OwnBid(**{name: getattr(good_bid(), name) for name in good_bid().__dataclass_fields__})
    assert not agree(own)


# --- generated --------------------------------------------------------------------------------

near = st.sampled_from([0.0, 1e-7, 2e-6, 0.5, 1.0, 4.0, 5.0, 6.0, 8.0, 12.0, 20.0, 1000.0])
number = st.one_of(near, st.floats(0, 30), st.floats(), st.sampled_from(ODD_NUMBERS))
array = st.one_of(
    st.lists(st.one_of(near, st.floats(0, 5)), min_size=N_STEPS, max_size=N_STEPS).map(np.array),
    st.lists(st.floats(), min_size=0, max_size=5).map(np.array),
    st.sampled_from(ODD_SERIES),
)
sensible = st.fixed_dictionaries(
    {},
    optional={
        **{
            name: st.floats(0, min(top, 40.0)) for name, top in NUMBERS.items() if name not in EXACT
        },
        **{
            name: st.lists(st.floats(0, top / 2), min_size=3, max_size=3).map(np.array)
            for name, top in SERIES.items()
        },
    },
)
anything = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(SERIES, array)
    | dict.fromkeys(NUMBERS, number)
    | {"step": st.sampled_from(ODD_STEPS), "network": st.sampled_from(ODD_NETWORKS)},
)
left_out = st.sets(st.sampled_from(sorted(OFFERS)))


def generated(n, fields):
    """Check n generated bids; return how many there were and how many passed."""
    tried = []

    @settings(max_examples=n, deadline=None, suppress_health_check=list(HealthCheck))
    @given(fields, left_out)
    def check(values, missing):
        bid = replace(good_bid(), **dict.fromkeys(missing))
        tried.append(agree(with_fields(bid, values)))

    check()
    return len(tried), sum(tried)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("n", [400, pytest.param(5000, marks=pytest.mark.slow)])
def test_generated_bids(n):
    n_sensible, passed = generated(n, sensible)
    assert passed > n_sensible / 10
    n_odd, odd_passed = generated(n, anything)
    assert odd_passed < n_odd / 2
    print(f"{n_sensible} sensible bids, {passed} valid; {n_odd} of anything, {odd_passed} valid")


# --- price blocks -----------------------------------------------------------------------------


def blocks_are_valid(quantity, price, p_max):
    """Whether blocks are at most four, none negative, prices do not fall, and all are the unit."""
    for part in (quantity, price):
        if type(part) is not np.ndarray or part.dtype.str[1:] not in DTYPES or part.ndim != 1:
            return False
    kw, eur = [float(x) for x in quantity], [float(x) for x in price]
    if not 1 <= len(kw) <= 4 or len(kw) != len(eur) or not all(map(math.isfinite, kw + eur)):
        return False
    ordered = all(a <= b for a, b in itertools.pairwise(eur))
    bounded = min(kw + eur) >= 0 and max(eur) <= HIGHEST_PRICE
    return ordered and bounded and abs(sum(kw) - p_max) <= ROUNDING


parts = st.lists(st.sampled_from([0.0, 1.0, 2.0, 4.0, 8.0, -1.0, math.nan, 1e308]), max_size=6)
parts = st.one_of(parts.map(np.array), st.sampled_from([*ODD_SERIES, floats(8), floats(4, 4)]))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(parts, parts, st.booleans())
def test_generated_price_blocks(quantity, price, in_order):
    if in_order and isinstance(price, np.ndarray) and price.dtype == float and price.ndim == 1:
        price = np.sort(np.abs(price))
    unit = DispatchableOffer(8.0, 0.0, 0.0, PriceBlocks(quantity, price))
    found = faults(replace(good_bid(), dispatchable=unit), RATING, 7, N_STEPS, "A", n_blocks=4)
    assert (found == []) == blocks_are_valid(quantity, price, 8.0), found
