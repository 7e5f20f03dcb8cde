"""Faulty bids are refused with a reason, whatever stands in them."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
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


def valid_bid():
    """A bid with every device that uses its registration to the full."""
    return Bid(
        peer_id="p",
        network="A",
        step=7,
        load_kw=np.array([1.0, 0.0, 16.0]),
        load_kvar=np.array([0.5, 0.0, -1.0]),
        buy_limit_eur_per_kwh=np.array([0.25, 0.2, 0.3]),
        sell_limit_eur_per_kwh=np.array([0.1, 0.0, 0.1]),
        q_max_kvar=6.0,
        renewable=RenewableOffer(np.array([10.0, 0.0, 3.0]), 0.0),
        dispatchable=DispatchableOffer(8.0, 0.15, 0.001),
        storage=StorageOffer(5.0, 5.0, 1.0, 12.0, 12.0, 0.95, 0.9, 0.03, 0.15),
        flexible=FlexibleOffer(np.array([1.0, 2.0, 4.0]), 1.0, 0.5, 4.0, 6.0, 6.0, 0.01, 0.3),
        recourse=RecourseOffer(-0.01, -0.2, 0.005),
    )


def found(bid, rating=RATING):
    return faults(bid, rating, 7, N_STEPS, "A")


def changed(name, value):
    """The valid bid with one field, of the bid or of an offer, changed."""
    bid = valid_bid()
    if "." not in name:
        return replace(bid, **{name: value})
    offer, field = name.split(".")
    return replace(bid, **{offer: replace(getattr(bid, offer), **{field: value})})


OFFERS = ("renewable", "dispatchable", "storage", "flexible", "recourse")
SERIES = (
    "load_kw",
    "load_kvar",
    "buy_limit_eur_per_kwh",
    "sell_limit_eur_per_kwh",
    "renewable.available_kw",
    "flexible.baseline_kw",
)
SCALARS = tuple(
    name
    for name in (
        "q_max_kvar",
        *(f"{o}.{field.name}" for o in OFFERS for field in fields(getattr(valid_bid(), o))),
    )
    if name not in (*SERIES, "dispatchable.blocks")
)
SIGNED = ("load_kvar", "recourse.up_eur_per_kwh", "recourse.down_eur_per_kwh")


def test_a_valid_bid_has_no_faults():
    assert found(valid_bid()) == []


@pytest.mark.parametrize("left_out", OFFERS)
def test_offers_may_be_left_out(left_out):
    assert found(replace(valid_bid(), **{left_out: None})) == []


def test_whole_numbers_are_numbers():
    whole = replace(valid_bid(), step=np.int64(7), q_max_kvar=6, load_kw=np.array([1, 0, 16]))
    assert found(whole) == []


# --- malformed --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SERIES + SCALARS)
def test_numbers_must_be_finite(name):
    for bad in (np.nan, np.inf, -np.inf):
        value = np.array([0.1, bad, 0.1]) if name in SERIES else bad
        assert found(changed(name, value)) == [f"{name} is not finite"]


@pytest.mark.parametrize("name", SERIES + SCALARS)
def test_negative_values_are_refused_where_they_make_no_sense(name):
    bad = np.array([0.1, -0.5, 0.1]) if name in SERIES else -0.5
    reasons = found(changed(name, bad))
    assert reasons == ([] if name in SIGNED else [f"{name} is negative: -0.5"])


@pytest.mark.parametrize("name", SERIES)
def test_series_have_one_value_a_step(name):
    for shape in ((), (N_STEPS - 1,), (N_STEPS + 1,), (0,), (N_STEPS, 1)):
        (reason,) = found(changed(name, np.full(shape, 0.1)))
        assert reason.startswith(f"{name} has shape {shape}")


@pytest.mark.parametrize("name", SCALARS)
def test_numbers_are_no_series(name):
    (reason,) = found(changed(name, np.full(N_STEPS, 0.1)))
    assert reason.startswith(f"{name} has shape")


@pytest.mark.parametrize("name", SERIES + SCALARS)
def test_what_is_no_number_is_refused_and_named(name):
    no_numbers = ["12", "high", None, {}, object(), 1j, b"1", True, [[1.0], [1.0, 2.0]], 10**400]
    for bad in no_numbers:
        (reason,) = found(changed(name, bad))
        assert reason.startswith(f"{name} is not ")


@pytest.mark.parametrize("name", SERIES)
def test_series_are_arrays_of_numbers(name):
    for bad in (["1", "2", "3"], [1.0, None, 2.0], [1j, 1.0, 2.0], [True] * 3, [0.1] * 3):
        for value in (bad, np.array(bad, dtype=object)):
            (reason,) = found(changed(name, value))
            assert reason.startswith(f"{name} is not ")


@pytest.mark.parametrize("name", OFFERS)
@pytest.mark.parametrize("bad", ["10 kW", 4.0, {"p_max_kw": 1.0}, RATING, (1.0,), RenewableOffer])
def test_an_offer_of_another_kind_is_refused(name, bad):
    (reason,) = found(replace(valid_bid(), **{name: bad}))
    assert reason.startswith(f"{name} is not a ")


@pytest.mark.parametrize("step", [6, 8, "7", None, np.nan, np.array([7, 7])])
def test_a_bid_for_another_step_is_refused(step):
    (reason,) = found(replace(valid_bid(), step=step))
    assert "step" in reason


@pytest.mark.parametrize("network", ["B", "", None, 3, np.array(["A", "A"])])
def test_a_bid_for_another_network_is_refused(network):
    (reason,) = found(replace(valid_bid(), network=network))
    assert "network" in reason


def test_all_faults_are_told_at_once():
    bid = replace(changed("load_kw", np.array([np.nan, 0, 0])), q_max_kvar="x", step=1, network="B")
    assert len(found(bid)) == 4


# --- impossible -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("q_max_kvar", 6.1, "exceeds the allowed 6"),
        ("renewable.available_kw", np.array([10.1, 0.0, 0.0]), "exceeds the allowed 10"),
        ("dispatchable.p_max_kw", 8.1, "exceeds the allowed 8"),
        ("storage.charge_max_kw", 5.1, "exceeds the allowed 5"),
        ("storage.discharge_max_kw", 5.1, "exceeds the allowed 5"),
        ("storage.energy_max_kwh", 12.1, "exceeds the allowed 12"),
        ("storage.energy_kwh", 0.5, "outside [1, 12]"),
        ("storage.energy_kwh", 12.5, "outside [1, 12]"),
        ("storage.charge_efficiency", 1.0, "differs from the registered 0.95"),
        ("storage.discharge_efficiency", 0.0, "differs from the registered 0.9"),
        ("flexible.served_max_kw", 4.1, "exceeds the allowed 4"),
        ("flexible.baseline_kw", np.array([4.1, 0.0, 0.0]), "exceeds the allowed 4"),
        ("flexible.curtailable_share", 1.1, "exceeds the allowed 1"),
        ("flexible.backlog_kwh", 6.1, "exceeds the allowed 6"),
        ("load_kw", np.array([0.0, 0.0, 16.1]), "exceeds the allowed 20"),
    ],
)
def test_bids_beyond_the_registration_are_refused(name, value, part):
    (reason,) = found(changed(name, value))
    assert reason.startswith(name)
    assert part in reason


def test_devices_that_are_not_registered_are_refused():
    reasons = found(valid_bid(), Rating())
    for name in ("renewable.available_kw", "dispatchable.p_max_kw", "storage.energy_max_kwh"):
        assert any(reason.startswith(name) for reason in reasons)


def test_an_unlimited_connection_carries_any_load():
    rating = replace(RATING, connection_kw=np.inf)
    assert found(changed("load_kw", np.full(N_STEPS, 1e9)), rating) == []


# --- price blocks -----------------------------------------------------------------------------


BLOCKS = PriceBlocks(np.array([3.0, 0.0, 5.0]), np.array([0.1, 0.1, 0.2]))


def in_blocks(blocks=BLOCKS, **changes):
    """The valid bid with its unit's cost in blocks."""
    unit = DispatchableOffer(8.0, 0.0, 0.0, blocks)
    return replace(valid_bid(), dispatchable=replace(unit, **changes))


def block_faults(bid, n_blocks=4):
    return faults(bid, RATING, 7, N_STEPS, "A", n_blocks=n_blocks)


def test_valid_blocks_have_no_faults():
    assert block_faults(in_blocks()) == []
    assert block_faults(in_blocks(), n_blocks=3) == []
    assert block_faults(in_blocks(PriceBlocks(np.array([8]), np.array([0])))) == []
    assert block_faults(replace(valid_bid(), dispatchable=None)) == []


@pytest.mark.parametrize(
    ("quantity", "price", "reason"),
    [
        ([4.0, 4.0], [0.1], "price_eur_per_kwh has shape (1,), expected (2,)"),
        ([2.0] * 5, [0.1] * 5, "quantity_kw has shape (5,), expected (1,) to (4,)"),
        ([], [], "quantity_kw has shape (0,), expected (1,) to (4,)"),
        ([[8.0]], [[0.1]], "quantity_kw has shape (1, 1), expected (1,) to (4,)"),
        ([9.0, -1.0], [0.1, 0.2], "quantity_kw is negative: -1"),
        ([4.0, 4.0], [-0.1, 0.2], "price_eur_per_kwh is negative: -0.1"),
        ([np.nan, 4.0], [0.1, 0.2], "quantity_kw is not finite"),
        ([4.0, 4.0], [0.1, np.inf], "price_eur_per_kwh is not finite"),
        ([4.0, 4.0], ["0.1", "0.2"], "price_eur_per_kwh is not a number: array(['0.1', '0.2']"),
        (
            [4.0, 2.0, 2.0],
            [0.1, 0.3, 0.2],
            "price_eur_per_kwh falls from 0.3 to 0.2, expected prices that do not fall",
        ),
        ([4.0, 3.9], [0.1, 0.2], "quantity_kw sums to 7.9, expected p_max_kw 8"),
        ([1e308, 1e308], [0.1, 0.2], "quantity_kw sums to inf, expected p_max_kw 8"),
    ],
)
def test_malformed_blocks_are_refused_and_named(quantity, price, reason):
    (given,) = block_faults(in_blocks(PriceBlocks(np.array(quantity), np.array(price))))
    assert given.startswith(f"dispatchable.blocks.{reason}")


@pytest.mark.parametrize("bad", [None, "cheap", [(4.0, 0.1)], {"kw": 8.0}])
def test_a_market_of_blocks_takes_no_cost_curve(bad):
    (reason,) = block_faults(in_blocks(bad))
    assert reason == f"dispatchable.blocks is {bad!r}, expected 1 to 4 PriceBlocks"


@pytest.mark.parametrize("field", ["cost_eur_per_kwh", "cost_eur_per_kw2h"])
def test_no_cost_curve_stands_beside_blocks(field):
    (reason,) = block_faults(in_blocks(**{field: 0.1}))
    assert reason == f"dispatchable.{field} is 0.1 beside blocks, expected 0"


def test_a_market_of_cost_curves_takes_no_blocks():
    (reason,) = found(in_blocks())
    assert reason.startswith("dispatchable.blocks is PriceBlocks(")
    assert reason.endswith("expected None: cost curves are bid")


# --- anything ---------------------------------------------------------------------------------

anything = st.one_of(
    st.none(),
    st.text(max_size=3),
    st.integers(),
    st.floats(),
    st.complex_numbers(),
    st.booleans(),
    st.lists(st.one_of(st.none(), st.floats(), st.text(max_size=2)), max_size=4),
    st.dictionaries(st.text(max_size=2), st.floats(), max_size=2),
    st.lists(st.floats(-1e300, 1e300), min_size=N_STEPS, max_size=N_STEPS).map(np.array),
    st.lists(st.floats(0, 30), min_size=N_STEPS, max_size=N_STEPS).map(np.array),
    st.datetimes().map(np.datetime64),
)


@given(anything, anything, anything)
def test_no_blocks_raise_and_what_passes_is_usable(quantity, price, p_max):
    bid = in_blocks(PriceBlocks(quantity, price), p_max_kw=p_max)
    reasons = block_faults(bid)
    assert all(isinstance(reason, str) and reason for reason in reasons)
    if not reasons:
        assert sum(quantity) == pytest.approx(float(p_max), abs=2e-6)
        assert (np.diff(price) >= 0).all()
        assert len(price) == len(quantity)


@given(st.dictionaries(st.sampled_from((*SERIES, *SCALARS, *OFFERS, "step", "network")), anything))
def test_no_content_raises_and_what_passes_is_usable(changes):
    bid = valid_bid()
    for name, value in changes.items():
        offer, _, field = name.partition(".")
        if not field:
            bid = replace(bid, **{name: value})
        elif isinstance(getattr(bid, offer), type(getattr(valid_bid(), offer))):
            bid = replace(bid, **{offer: replace(getattr(bid, offer), **{field: value})})
    reasons = found(bid)
    assert all(isinstance(reason, str) and reason for reason in reasons)
    if not reasons:
        assert np.isfinite(np.asarray(bid.load_kw + bid.load_kvar, dtype=float)).all()
        assert 0 <= float(bid.q_max_kvar) <= 6 + 1e-6
