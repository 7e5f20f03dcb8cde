"""Plain data: everything comes back as it was, and nothing else goes in or comes out."""

import json
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from market.radius import RadiusChoice
from simulation.plain import pack, unpack
from simulation.tallies import DayTally, ScenarioTally, Tally

NUMBERS = st.integers() | st.floats() | st.booleans()
KEYS = st.text() | st.integers() | st.tuples(st.integers(), st.integers())
NESTS = st.recursive(
    st.none() | NUMBERS | st.text(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(KEYS, inner),
    max_leaves=8,
)


def there_and_back(value):
    arrays = []
    return unpack(json.loads(json.dumps(pack(value, arrays))), arrays)


@settings(max_examples=50)
@given(NESTS)
def test_nests_come_back(value):
    # Of the same form and types, with every bit of the numbers; NaN is not equal to itself.
    assert repr(there_and_back(value)) == repr(value)


@given(npst.arrays(st.sampled_from([np.float64, np.int64, bool]), npst.array_shapes(min_side=0)))
def test_arrays_come_back(array):
    for one in (array, array.T, np.asfortranarray(array)):
        back = there_and_back({"of": [one]})["of"][0]
        np.testing.assert_array_equal(back, one, strict=True)
        assert back.flags["F_CONTIGUOUS"] == one.flags["F_CONTIGUOUS"]


def test_data_classes_come_back():
    days = DayTally(Counter({(3,): 1}), Counter({(3,): 4, (5,): 24}))
    assert there_and_back(days) == days
    assert there_and_back(DayTally()) == DayTally()
    tally = ScenarioTally(2, Counter({(1, 2): 3}), Counter({(1, 2): 5, (2, 2): 1}))
    assert there_and_back(tally) == tally
    assert there_and_back(tally).scenarios.total() == 6
    assert there_and_back(ScenarioTally()) == ScenarioTally()
    choice = RadiusChoice(1e-4, float("nan"), kept=False)
    assert repr(there_and_back({(0, 3): (17, choice)})) == repr({(0, 3): (17, choice)})


def test_numbers_of_numpy_become_plain():
    back = there_and_back([np.float64(0.1), np.int32(3), np.bool_(True)])
    assert back == [0.1, 3, True]
    assert [type(one) for one in back] == [float, int, bool]


@dataclass
class Foreign:
    number: int = 1


@pytest.mark.parametrize(
    "value",
    [Foreign(), print, object(), np.array([print]), {"a": b"bytes"}, {1, 2}, Tally, Counter("ab")],
    ids=[
        "foreign class",
        "function",
        "object",
        "array of objects",
        "bytes",
        "set",
        "class",
        "counted letters",
    ],
)
def test_nothing_else_goes_in(value):
    with pytest.raises((TypeError, ValueError)):
        pack([value], [])


@pytest.mark.parametrize(
    "data",
    [
        {"is": ["os", "system"], "with": {"command": "true"}},
        {"is": ["subprocess", "Popen"], "with": {"args": "true"}},
        {"is": ["simulation.run", "main"], "with": {}},
        {"is": ["simulation.tallies", "gone"], "with": {}},
        {"tuple": 3},
        {"a": 1, "b": 2},
    ],
)
def test_nothing_else_comes_out(data):
    with pytest.raises(ValueError, match=r"no data class|no packed data"):
        unpack([data], [])
