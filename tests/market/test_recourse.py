"""The affine policy of the second stage."""

import numpy as np

from market.recourse import asked_recourse, network_errors
from tests.market.builders import Peer, battery, make_roster, unit

ROSTER = make_roster(
    {
        "home": Peer(),
        "cell": Peer(battery=battery(), network="B"),
        "unit": Peer(unit=unit()),
        "both": Peer(battery=battery(), unit=unit(), network="B"),
    }
)


def test_devices_answer_their_share_of_their_networks_error():
    # Batteries first, then units: cell, both | unit, both.
    asked = asked_recourse(np.array([0.1, 0.2, 0.5, 0.3]), np.array([-4.0, 10.0]), ROSTER)
    np.testing.assert_allclose(asked, [-1.0, -2.0, 2.0, -3.0])


def test_the_upstream_grid_takes_the_rest():
    omega = np.array([6.0, -2.0])
    alpha = np.array([0.1, 0.2, 0.5, 0.3])
    left = omega + network_errors(
        np.bincount(ROSTER.recourse, asked_recourse(alpha, omega, ROSTER), minlength=4), ROSTER
    )
    np.testing.assert_allclose(left, omega * (1 - np.array([0.5, 0.6])))


def test_errors_add_up_by_network():
    np.testing.assert_allclose(network_errors(np.array([1.0, 2.0, -4.0, 8.0]), ROSTER), [-3, 10])
