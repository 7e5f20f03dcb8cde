"""The schedule a clearing starts from."""

from dataclasses import replace

import numpy as np
import pytest

from market.schedule import supplier_only
from market.warm_start import LastClearing, warm_start
from tests.market.builders import Peer, make_book, make_roster, make_tariff


def market(pv, n_steps, hours):
    peers = {"sun": Peer(pv=pv, kvar=5.0, load_kvar=1.0)}
    roster = make_roster({"sun": Peer(pv=100.0, kvar=5.0)}, n_steps, hours)
    return roster, make_book(peers, make_tariff(n_steps), roster)


def start(hours, shift, n_steps=4):
    """Start after a clearing in which 9, 8, 7, 6 of 10 kW were used and 4, 3, 2, 1 kvar given.

    The plant was curtailed in all steps but the third.
    """
    roster, before = market(np.full(n_steps, 10.0), n_steps, hours)
    rest = supplier_only(before, roster, 2)
    used = np.array([[9.0], [8.0], [7.0], [6.0]])
    kvar = np.array([[4.0], [3.0], [2.0], [1.0]])
    alpha = np.arange(1.0, 9.0).reshape(4, 2, 1) / 10
    last = replace(rest, p_kw=used, reactive=kvar, renewable=used, alpha=alpha)
    curtailed = np.array([[True], [True], [False], [True]])
    _, book = market([20.0, 30.0, 40.0, 4.0], n_steps, hours)
    last = LastClearing(5, last, rest.p_kw, curtailed)
    return warm_start(last, 5 + shift, book, roster, 2), roster, book


def test_the_first_clearing_starts_with_devices_at_rest():
    roster, book = market(10.0, 4, 1.0)
    cold = warm_start(None, 0, book, roster, 1)
    np.testing.assert_array_equal(cold.p_kw, supplier_only(book, roster, 1).p_kw)
    np.testing.assert_array_equal(cold.alpha, np.zeros((4, 1, 0)))


@pytest.mark.parametrize(
    ("shift", "curtailed", "kvar"),
    [(1, [2, 3, 4, 0], [2, 1, 0, -1]), (2, [3, 4, 0, 0], [1, 0, -1, -1])],
)
def test_a_shifted_window_keeps_what_was_decided(shift, curtailed, kvar):
    warm, _, _ = start(1.0, shift)
    np.testing.assert_allclose(warm.p_kw[:, 0], [20, 30, 40, 4] - np.array(curtailed))
    np.testing.assert_allclose(warm.q_kvar[:, 0], kvar)


def test_a_window_of_whole_days_enters_with_the_same_time_of_day():
    warm, _, _ = start(6.0, 1)
    np.testing.assert_allclose(warm.p_kw[:, 0], [20 - 2, 30 - 3, 40 - 4, 4 - 1])
    np.testing.assert_allclose(warm.q_kvar[:, 0], [2, 1, 0, 3])


@pytest.mark.parametrize(
    ("hours", "held", "first_share"),
    [(1.0, [8, 30, 6, 4], [0.3, 0.5, 0.7, 0.0]), (6.0, [8, 30, 6, 4], [0.3, 0.5, 0.7, 0.1])],
)
def test_curtailed_plants_start_at_what_they_used_and_others_at_their_forecast(
    hours, held, first_share
):
    # What enters the window is not held back, or held below what there is.
    warm, _, _ = start(hours, 1)
    np.testing.assert_allclose(warm.renewable[:, 0], held)
    np.testing.assert_allclose(warm.alpha[:, 0, 0], first_share)
    assert warm.alpha.shape == (4, 2, 1)


def test_a_plant_whose_forecast_falls_below_what_it_used_is_not_held_back():
    warm, _, book = start(1.0, 0)
    np.testing.assert_allclose(warm.renewable[:, 0], [9, 8, 40, 4])
    assert warm.renewable[3, 0] == book.renewable_max_kw[3, 0]
