"""Rows left for the end of the factorisation: other zeros, the same problem."""

import numpy as np
import pytest

from market import first_stage, posed_stage
from market.elimination import leave_for_last
from market.solve import solve
from tests.market import builders as b

# Least 3 x + y + 2 z with x - y = 0, y - z = 0 and x + y + z >= 6: all are 2.
PROBLEM = b.conic(
    [3.0, 1.0, 2.0], [[1, -1, 0], [0, 1, -1], [-1, -1, -1]], [0.0, 0.0, -6.0], n_zero=2
)


def test_rows_share_their_columns_by_zeros():
    joined = leave_for_last(PROBLEM, np.array([0, 1]))
    np.testing.assert_array_equal(joined.matrix.toarray(), PROBLEM.matrix.toarray())
    assert np.diff(joined.matrix.tocsr().indptr).tolist() == [3, 3, 3]
    found, expected = solve(joined), solve(PROBLEM)
    np.testing.assert_allclose(found.x, [2.0, 2.0, 2.0], atol=1e-7)
    np.testing.assert_allclose(found.z, expected.z, atol=1e-7)


def peers(n_networks):
    seller = {"seller": b.Peer(pv=3.0 * n_networks, network="N0")}
    return seller | {f"buyer{k}": b.Peer(load=2.0, network=f"N{k}") for k in range(1, n_networks)}


@pytest.mark.parametrize(("n_networks", "times"), [(4, 0), (5, 1)])
def test_the_exchange_of_many_networks_is_left_for_last(monkeypatch, n_networks, times):
    left = []

    def remembered(problem, rows):
        left.append(rows)
        return leave_for_last(problem, rows)

    monkeypatch.setattr(posed_stage, "leave_for_last", remembered)
    market = b.settings(coordination="across_networks")
    stage, _, _ = b.make_first_stage(peers(n_networks), b.make_tariff(2), market=market)
    posed = stage.pose([])
    found = stage.read(posed, posed.solve())
    assert len(left) == times
    if times:
        assert len(left[0]) == 2  # one balance a step
    monkeypatch.setattr(first_stage, "FEW_NETWORKS", 10)
    expected = stage.solve([])
    assert found.objective == pytest.approx(expected.objective, rel=1e-8)
    assert found.values["exchange_out"].sum() == pytest.approx(4.0 * (n_networks - 1), abs=1e-5)


@pytest.mark.parametrize("coordination", ["within_network", "none"])
def test_networks_without_exchange_have_nothing_in_common(coordination):
    market = b.settings(coordination=coordination)
    stage, _, _ = b.make_first_stage(peers(6), b.make_tariff(), market=market)
    assert stage.pose([]).joining is None
