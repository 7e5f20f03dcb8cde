"""What sellers ask at least: their limit price, or the offer of the unit that runs."""

from dataclasses import replace

import numpy as np
import pytest

from market.price_blocks import PriceBlocks
from market.reservation import last_price, reservation_price
from tests.market.builders import FEED_IN, Peer, make_book, make_roster, make_tariff, unit

PEERS = {
    "home": Peer(load=3.0),
    "unit": Peer(unit=unit(10.0, 0.15, 0.002), sell=0.12),
    "dear": Peer(unit=unit(5.0, 0.30)),
    "idle": Peer(unit=unit(5.0, 0.14)),
}


def market(peers=PEERS):
    tariff, roster = make_tariff(), make_roster(peers)
    return make_book(peers, tariff, roster), roster


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        (0.18, [FEED_IN, 0.17, 0.18, FEED_IN]),  # the dear one runs for the grid's sake
        (0.16, [FEED_IN, 0.16, 0.16, FEED_IN]),
        (0.05, [FEED_IN, 0.12, FEED_IN, FEED_IN]),
        (np.nan, [FEED_IN, 0.12, FEED_IN, FEED_IN]),
    ],
)
def test_units_ask_for_their_last_kwh(pool, expected):
    book, roster = market()
    asked = reservation_price(book, 0, np.array([5.0, 1.0, 0.0]), np.array([pool]), roster)
    np.testing.assert_allclose(asked, expected, atol=1e-12)


@pytest.mark.parametrize(
    ("kw", "price"), [(0.5, 0.1), (4.0, 0.1), (4.0004, 0.1), (4.1, 0.2), (9.9, 0.2), (10.0, 0.2)]
)
def test_blocks_ask_for_the_last_one_that_is_used(kw, price):
    blocks = PriceBlocks(np.array([4.0, 6.0]), np.array([0.1, 0.2]))
    book, _ = market({"unit": Peer(unit=unit(10.0, 0.0))})
    book = replace(
        book,
        block_kw=blocks.quantity_kw[None, :],
        block_price=blocks.price_eur_per_kwh[None, :],
    )
    assert last_price(book, np.array([kw]))[0] == price
