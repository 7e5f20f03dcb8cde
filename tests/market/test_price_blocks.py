"""Price blocks: their costs, and the first stage solved by hand with them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from market.bids import DispatchableOffer
from market.price_blocks import PriceBlocks, cost_offset, n_blocks
from tests.market.builders import (
    FEE,
    FEED_IN,
    RETAIL,
    Peer,
    RecourseOffer,
    clear,
    make_first_stage,
    make_tariff,
    settings,
    unit,
    voltage_row,
)

BLOCKS = settings(bid_format="blocks", bid_blocks=3)


def in_blocks(*pairs):
    """A unit that offers (kW, EUR/kWh) blocks."""
    kw, price = np.array(pairs, dtype=float).T
    return DispatchableOffer(kw.sum(), 0.0, 0.0, PriceBlocks(kw, price))


THREE = in_blocks((4, 0.05), (4, 0.12), (2, 0.30))


def cost_of(blocks, p_kw):
    """What the lines through the blocks say. [EUR/h]"""
    offset = cost_offset(blocks.quantity_kw, blocks.price_eur_per_kwh)
    return (blocks.price_eur_per_kwh * np.asarray(p_kw)[..., None] + offset).max(axis=-1)


# --- the cost of blocks -----------------------------------------------------------------------


def test_blocks_along_a_curve_by_hand():
    # Marginal cost 0.1 + 0.02 p: 0.1 to 0.2 over 5 kW, 0.2 to 0.3 over the other 5.
    blocks = PriceBlocks.along(10.0, 0.1, 0.01, 2)
    np.testing.assert_allclose(blocks.quantity_kw, [5.0, 5.0])
    np.testing.assert_allclose(blocks.price_eur_per_kwh, [0.15, 0.25])


def test_lines_through_the_blocks_by_hand():
    offset = cost_offset(THREE.blocks.quantity_kw, THREE.blocks.price_eur_per_kwh)
    np.testing.assert_allclose(offset, [0.0, 0.2 - 4 * 0.12, 0.68 - 8 * 0.30])


positive = st.floats(0.01, 100.0)


@given(positive, positive, st.floats(0.0, 1.0), st.integers(1, 50), st.floats(0.0, 1.0))
def test_blocks_cost_as_much_as_the_curve_at_their_ends_and_never_less(
    rating, linear, quadratic, n, part
):
    blocks = PriceBlocks.along(rating, linear, quadratic, n)
    end = blocks.quantity_kw.cumsum()
    assert end[-1] == pytest.approx(rating)
    np.testing.assert_allclose(cost_of(blocks, end), linear * end + quadratic * end**2, rtol=1e-9)
    assert cost_of(blocks, 0.0) == pytest.approx(0.0, abs=1e-9)
    between = part * rating
    true = linear * between + quadratic * between**2
    assert cost_of(blocks, between) >= true * (1 - 1e-9)
    # Half a block away from its ends the gap is largest: a quarter of q times the width squared.
    assert cost_of(blocks, between) - true <= quadratic * (rating / n) ** 2 / 4 + 1e-9 * (1 + true)
    assert (np.diff(blocks.price_eur_per_kwh) >= 0).all()


@given(st.lists(st.tuples(st.floats(0, 9), st.floats(0, 1)), min_size=1, max_size=6))
def test_the_highest_line_is_what_filling_the_blocks_in_turn_costs(pairs):
    kw, price = np.array(pairs).T
    blocks = PriceBlocks(kw, np.sort(price))
    end = np.append(0.0, kw.cumsum())
    spent = np.append(0.0, (kw * blocks.price_eur_per_kwh).cumsum())
    grid = np.linspace(0, end[-1], 23)
    np.testing.assert_allclose(cost_of(blocks, grid), np.interp(grid, end, spent), atol=1e-9)


def test_the_number_of_blocks_is_none_where_curves_are_bid():
    assert n_blocks(settings(bid_blocks=7)) == 0
    assert n_blocks(settings(bid_blocks=7, bid_format="blocks")) == 7


# --- the first stage --------------------------------------------------------------------------


@pytest.mark.parametrize("hours", [0.25, 1.0])
@pytest.mark.parametrize(
    ("load", "power", "fuel", "price"),
    [
        (2.0, 4.0, 0.2, FEED_IN),  # the first block, beyond what peers need to the supplier
        (6.0, 6.0, 0.2 + 2 * 0.12, 0.12),  # within the second block, dearer than feeding in
        (9.0, 8.0, 0.68, RETAIL - FEE),  # the third block costs more than peers pay
    ],
)
def test_the_pool_price_is_the_price_of_the_block_at_the_margin(load, power, fuel, price, hours):
    peers = {"unit": Peer(unit=THREE), "home": Peer(load=load)}
    stage, _, _ = make_first_stage(peers, make_tariff(), market=BLOCKS, hours=hours)
    decisions = stage.solve([])
    assert decisions.values["dispatchable"][0, 0] == pytest.approx(power, abs=1e-4)
    assert decisions.values["fuel"][0, 0] == pytest.approx(fuel, abs=1e-5)
    traded = min(power, load)
    supplier = RETAIL * (load - traded) - FEED_IN * (power - traded)
    cost = fuel + FEE * traded + supplier
    assert decisions.objective == pytest.approx(hours * cost, abs=1e-5)
    assert -decisions.duals["pool_balance"][0, 0] == pytest.approx(hours * price, abs=1e-5)


def test_the_dual_of_a_block_is_its_part_in_the_marginal_cost():
    peers = {"unit": Peer(unit=THREE), "home": Peer(load=6.0)}
    stage, _, _ = make_first_stage(peers, make_tariff(), market=BLOCKS)
    duals = stage.solve([]).duals["block_costs"]
    np.testing.assert_allclose(duals, [[0.0, 1.0, 0.0]], atol=1e-5)


@pytest.mark.parametrize("hours", [0.5, 1.0])
def test_a_voltage_limit_holds_back_the_block_at_the_margin(hours):
    # The limit leaves room for 3 kW; one more would earn the feed-in price less the first block's.
    peers = {"unit": Peer(unit=THREE)}
    stage, roster, book = make_first_stage(peers, make_tariff(), market=BLOCKS, hours=hours)
    decisions = stage.solve([voltage_row(roster, book, [0.05 / 3])])
    assert decisions.values["dispatchable"][0, 0] == pytest.approx(3.0, abs=1e-4)
    assert decisions.mu[0] == pytest.approx(hours * (FEED_IN - 0.05) * 3 / 0.05, rel=1e-4)


def test_two_units_are_used_in_the_order_of_their_blocks():
    other = in_blocks((3, 0.08), (3, 0.14))  # one block fewer than allowed
    peers = {"one": Peer(unit=THREE), "other": Peer(unit=other), "home": Peer(load=[9.0, 11.5])}
    stage, _, _ = make_first_stage(peers, make_tariff(2, feed_in=0.0), market=BLOCKS)
    decisions = stage.solve([])
    expected = [[6.0, 3.0], [8.0, 3.5]]
    np.testing.assert_allclose(decisions.values["dispatchable"], expected, atol=1e-4)
    fuel = [[0.44, 0.24], [0.68, 0.31]]
    np.testing.assert_allclose(decisions.values["fuel"], fuel, atol=1e-5)
    np.testing.assert_allclose(decisions.duals["pool_balance"].ravel(), [-0.12, -0.14], atol=1e-5)


def test_one_block_is_a_linear_cost():
    def market_with(offer, market):
        peers = {
            "unit": Peer(unit=offer, recourse=RecourseOffer(0.2, -0.1, 0.01)),
            "home": Peer(load=[2.0, 5.0, 9.0]),
        }
        tariff = make_tariff(3, retail=[0.25, 0.19, 0.3], buy=0.4)
        errors = {"A": {1: [-1.0, 0.2, 0.8]}}
        return clear(peers, market, tariff=tariff, errors=errors)

    one = in_blocks((8.0, 0.11))
    blocks = market_with(one, settings(bid_format="blocks", bid_blocks=1))
    linear = market_with(unit(8.0, 0.11), settings())
    np.testing.assert_allclose(blocks.dispatchable, linear.dispatchable, atol=1e-4)
    assert blocks.dispatchable.max() > 1.0
    np.testing.assert_allclose(blocks.alpha, linear.alpha, atol=1e-4)
    assert blocks.result.objective == pytest.approx(linear.result.objective, abs=1e-6)


@given(st.integers(0, 10**6))
@hypothesis_settings(max_examples=10)
def test_finer_blocks_come_closer_to_the_curve_and_never_below_it(seed):
    rng = np.random.default_rng(seed)
    linear, quadratic = rng.uniform(0.02, 0.15), rng.uniform(1e-3, 1e-2)
    load = rng.uniform(1.0, 12.0)

    def cost(offer, market):
        peers = {"unit": Peer(unit=offer), "home": Peer(load=load)}
        return make_first_stage(peers, make_tariff(), market=market)[0].solve([]).objective

    def blocks(n):
        offer = DispatchableOffer(10.0, 0.0, 0.0, PriceBlocks.along(10.0, linear, quadratic, n))
        return cost(offer, settings(bid_format="blocks", bid_blocks=n))

    exact, few, many = cost(unit(10.0, linear, quadratic), settings()), blocks(2), blocks(8)
    # As accurate as three solutions; few blocks cost up to 0.02 EUR more.
    assert exact - 1e-5 <= many <= few + 1e-5
    assert many - exact <= quadratic * (10.0 / 8) ** 2 / 4 + 1e-5


def test_a_market_of_blocks_needs_no_unit():
    stage, _, _ = make_first_stage({"home": Peer(load=6.0)}, make_tariff(), market=BLOCKS)
    assert stage.solve([]).objective == pytest.approx(6.0 * RETAIL, abs=1e-6)
