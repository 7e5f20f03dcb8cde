"""Maps of radial networks: compact, and without crossings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.schema import Network
from grid.cases import build_network
from simulation.reporting.feeder_layout import connections, feeder_layout


@st.composite
def trees(draw):
    """Feeding bus of every bus but bus 0."""
    n = draw(st.integers(1, 40))
    return {bus: draw(st.integers(0, bus - 1)) for bus in range(1, n)}


def require_no_crossing(parent, place):
    assert len(set(place.values())) == len(place)
    # Along a column a connection may meet no bus but its own two, and no other bus's connections.
    taken = {}
    for bus, origin in parent.items():
        (column, row), (next_column, to) = place[origin], place[bus]
        assert next_column == column + 1
        for step in range(min(row, to), max(row, to) + 1):
            assert taken.setdefault((column, step), origin) == origin
    for bus, position in place.items():
        assert taken.get(position, bus) == bus


@given(trees())
def test_nothing_crosses(parent):
    place = feeder_layout(parent, 0)
    assert place[0] == (0, 0)
    require_no_crossing(parent, place)


def test_crossing_would_be_seen():
    place = {0: (0, 0), 1: (1, 0), 2: (1, 1), 3: (1, 2), 4: (2, 2), 5: (2, 0)}
    with pytest.raises(AssertionError):
        require_no_crossing({1: 0, 2: 0, 3: 0, 4: 1, 5: 3}, place)


def test_a_chain_is_straight():
    assert feeder_layout({1: 0, 2: 1, 3: 2}, 0) == {0: (0, 0), 1: (1, 0), 2: (2, 0), 3: (3, 0)}


def test_the_deepest_branch_goes_straight_on_and_others_leave_to_both_sides():
    place = feeder_layout({1: 0, 2: 0, 3: 0, 4: 2}, 0)
    assert place[2] == (1, 0)
    assert place[4] == (2, 0)
    assert {place[1], place[3]} == {(1, 1), (1, -1)}


def test_branches_that_do_not_meet_share_a_row():
    # Side branches off the second and the fifth bus of a trunk of seven.
    trunk = {bus: bus - 1 for bus in range(1, 8)}
    place = feeder_layout(trunk | {10: 1, 11: 4}, 0)
    assert place[10][1] == place[11][1] == 1


@pytest.mark.parametrize(
    "parent", [{1: 0, 2: 3, 3: 2}, {2: 1}], ids=["cycle apart", "no line from the source"]
)
def test_what_is_no_tree_is_refused(parent):
    with pytest.raises(ValueError, match="no tree"):
        feeder_layout(parent, 0)


@pytest.mark.parametrize(("case", "rows"), [("case85", 16), ("case69", 6)])
def test_shipped_networks_are_compact(case, rows):
    network = build_network(Network(name="n", case=case))
    bus = network.bus.tolist()
    parent = {bus[k + 1]: bus[p] for k, p in enumerate(network.parent.tolist())}
    place = feeder_layout(parent, bus[0])
    require_no_crossing(parent, place)
    assert len({row for _, row in place.values()}) <= rows


def test_a_thousand_buses_in_a_row():
    place = feeder_layout({bus: bus - 1 for bus in range(1, 1000)}, 0)
    assert place[999] == (999, 0)


def test_lines_go_along_the_column_first():
    x, y = connections({1: 0}, {0: (0, 0), 1: (1, 2)})
    assert x[:3].tolist() == [0, 0, 1]
    assert y[:3].tolist() == [0, 2, 2]
