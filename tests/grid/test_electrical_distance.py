"""Path resistances against the pseudo-inverse of the Laplacian, and by hand."""

from dataclasses import replace

import numpy as np
import pytest

from configs.schema import Network
from grid.cases import build_network
from grid.electrical_distance import electrical_distance


@pytest.fixture(scope="module", params=["case85", "case69"])
def network(request):
    return build_network(Network(name=request.param, case=request.param))


def test_it_is_the_resistance_distance(network):
    """Resistance between two terminals: from the pseudo-inverse of the conductance matrix."""
    n = network.n_buses
    laplacian = np.zeros((n, n))
    for k, (parent, ohm) in enumerate(zip(network.parent, network.r_ohm, strict=True)):
        for i, j, sign in ((parent, parent, 1), (k + 1, k + 1, 1), (parent, k + 1, -1)):
            laplacian[i, j] += sign / ohm
            laplacian[j, i] += sign / ohm if i != j else 0
    inverse = np.linalg.pinv(laplacian, hermitian=True)
    own = np.diag(inverse)
    expected = own[:, None] + own - 2 * inverse
    distance = electrical_distance([network], [network.bus.tolist()])
    np.testing.assert_allclose(distance, expected, atol=1e-8)


def test_it_is_a_tree_metric(network):
    rng = np.random.default_rng(2)
    buses = rng.choice(network.bus, 12).tolist()
    distance = electrical_distance([network], [buses])
    np.testing.assert_array_equal(distance, distance.T)
    same = np.array(buses)[:, None] == np.array(buses)
    np.testing.assert_array_equal(distance == 0, same)
    detour = distance[:, :, None] + distance[None, :, :]  # from i by j to k
    assert (detour.min(axis=1) >= distance - 1e-12).all()
    # The four-point condition, which holds in trees alone: the two largest sums are equal.
    i, j, k, m = rng.integers(0, 12, (4, 200))
    sums = np.sort(
        [
            distance[i, j] + distance[k, m],
            distance[i, k] + distance[j, m],
            distance[i, m] + distance[j, k],
        ],
        axis=0,
    )
    np.testing.assert_allclose(sums[1], sums[2], atol=1e-12)


def line(name="line", kv=(10.0, 10.0, 10.0), ohm=(1.0, 2.0)):
    """Three buses in a row."""
    base = build_network(Network(name=name, case="case69"))
    return replace(
        base,
        bus=np.array([7, 8, 9]),
        vn_kv=np.array(kv),
        parent=np.array([0, 1]),
        r_ohm=np.array(ohm),
        x_ohm=np.array(ohm),
        **{
            key: getattr(base, key)[:3]
            for key in ("v_min_pu", "v_max_pu", "shunt_kw", "shunt_kvar", "load_kw", "load_kvar")
        },
        max_i_ka=base.max_i_ka[:2],
    )


def test_across_networks_it_leads_through_both_sources():
    distance = electrical_distance([line(), line(ohm=(4.0, 8.0))], [[9, 8], [8, 9]])
    np.testing.assert_allclose(
        distance, [[0, 2, 7, 15], [2, 0, 5, 13], [7, 5, 0, 8], [15, 13, 8, 0]]
    )


def test_resistances_are_referred_to_one_voltage():
    # 1 ohm at 0.4 kV is 625 ohm at 10 kV.
    transformed = line(kv=(10.0, 0.4, 0.4), ohm=(0.01, 1.0))
    np.testing.assert_allclose(
        electrical_distance([transformed], [[7, 8, 9]])[0], [0, 6.25, 631.25]
    )
    other = line(kv=(20.0, 20.0, 20.0))
    np.testing.assert_allclose(
        electrical_distance([line(), other], [[8], [8]]), [[0, 1.25], [1.25, 0]]
    )


def test_every_network_comes_with_its_peers():
    assert electrical_distance([line(), line()], [[], [9]]).shape == (1, 1)
    with pytest.raises(ValueError, match="zip"):
        electrical_distance([line()], [[9], [9]])
