"""What flexible loads leave undone, in the samples as in reality."""

from dataclasses import replace

import numpy as np
import pytest

from market.flexible_response import FlexibleResponse
from market.schedule import supplier_only
from market.uncertainty import Uncertainty
from tests.market.builders import (
    COMMON,
    Peer,
    errors_of,
    flexible,
    make_book,
    make_roster,
    make_tariff,
)

LOAD = flexible(
    [4.0, 4.0], curtailable_share=0.5, served_max_kw=6.0, backlog_kwh=1.0, backlog_max_kwh=10.0
)
PEERS = {"home": Peer(load=1.0, flexible=LOAD), "other": Peer(load=2.0)}


def followed(curtailed, deferred, backlog=(1.0, 1.0)):
    roster = make_roster(PEERS, 2)
    book = make_book(PEERS, make_tariff(2), roster)
    response = FlexibleResponse(book, roster)
    column = (np.array([values]).T for values in (curtailed, deferred, backlog))
    names = ("curtailed", "deferred", "backlog")
    schedule = replace(supplier_only(book, roster, 1), **dict(zip(names, column, strict=True)))
    response.follow(schedule, range(2))
    return response, schedule, roster, book


def undone(response, step, *errors):
    return response.errors(step, np.array([errors]).T, np.array([0]))[:, 0].tolist()


def test_a_load_without_a_task_follows_whatever_comes():
    response, *_ = followed([0.0, 0.0], [0.0, 0.0])
    assert undone(response, 0, -4.0, 0.0, 3.0) == [0.0, 0.0, 0.0]


def test_what_does_not_come_up_is_neither_dropped_nor_put_off():
    response, *_ = followed([1.0, 0.0], [2.0, 0.0])
    # Of 1 kW half is dropped and the rest put off: 1 kW instead of 3.
    assert undone(response, 0, 0.0, -3.0, -4.0, 1.0) == pytest.approx([0.0, -2.0, -3.0, 0.0])


def test_waiting_energy_is_made_up_for_as_far_as_the_connection_allows():
    response, *_ = followed([0.0, 0.0], [-1.0, 0.0])
    # With 5.5 kW of its own there is room for 0.5 kW more.
    assert undone(response, 0, 0.0, 1.5, 2.0) == pytest.approx([0.0, 0.5, 1.0])


def test_the_backlog_is_that_of_the_schedule_before_the_step():
    response, *_ = followed([0.0, 0.0], [0.0, -1.0], backlog=(0.25, 0.0))
    # Only a quarter of a kWh waits when the second step begins.
    assert undone(response, 1, 0.0) == pytest.approx([0.75])


def test_it_adds_to_the_error_of_the_network_and_of_its_owner():
    response, schedule, roster, _ = followed([1.0, 0.0], [2.0, 0.0])
    samples = errors_of({0: [3.0, -2.0]}, 2, n_steps=2)  # less load, and more, of the home
    samples = replace(samples, flexible_to_p=samples.to_p)
    seen = Uncertainty([samples], COMMON, roster, flexible=response)
    seen.follow(schedule, range(2))
    # 3 kW less load are a surplus of 3 kW, of which 2 kW are not dropped and put off.
    np.testing.assert_allclose(seen.omega(0, 0), [3.0 - 2.0, -2.0])
    np.testing.assert_allclose(seen.member_errors(0, 0)[0], [[1.0, 0.0], [-2.0, 0.0]])
    mean, deviation = seen.omega_moments([0])
    np.testing.assert_allclose(mean, [[-0.5]])
    np.testing.assert_allclose(deviation, [[1.5]])
