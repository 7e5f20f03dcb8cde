"""Random streams: one seed, and an independent stream for every purpose."""

import numpy as np
import pytest

from simulation.streams import stream


def draws(*arguments, n=1000):
    return stream(*arguments).standard_normal(n)


def test_the_same_purpose_is_the_same_stream():
    np.testing.assert_array_equal(draws(1, "prices"), draws(1, "prices"))
    np.testing.assert_array_equal(draws(1, "population", "a"), draws(1, "population", "a"))


@pytest.mark.parametrize(
    "other",
    [
        (2, "prices"),
        (1, "price"),
        (1, "population", "prices"),
        (1, "prices", "prices"),
        (1,),
    ],
)
def test_streams_are_independent(other):
    one, two = draws(1, "prices"), draws(*other)
    assert not np.isin(one, two).any()
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.15


def test_the_order_of_names_counts():
    assert (draws(1, "a", "b") != draws(1, "b", "a")).all()


def test_streams_do_not_touch_each_other():
    """What one purpose draws changes no other."""
    first = stream(1, "a")
    first.random(10)
    np.testing.assert_array_equal(draws(1, "b"), draws(1, "b"))
    assert first.random() != stream(1, "b").random()


def test_streams_are_the_same_everywhere():
    """Results must repeat on another machine: the names are hashed without a salt."""
    np.testing.assert_array_equal(
        stream(7, "population", "west").integers(0, 1000, 5), [670, 664, 463, 199, 155]
    )
