"""What is not a number is named."""

import numpy as np
import pytest

from market.errors import MarketError, NotFiniteError
from market.finite import require_finite


def test_numbers_pass():
    require_finite("load", 3, step=0)
    require_finite("load", np.arange(6.0).reshape(2, 3), ["a", "b", "c"], step=0)
    require_finite("load", np.zeros((0, 3)), step=0)
    # Whose sum is no number any more.
    require_finite("load", [1e308, 1e308], step=0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_first_that_is_none_is_named_with_its_owner(value):
    values = np.zeros((2, 3))
    values[1, 2] = value
    with pytest.raises(NotFiniteError) as caught:
        require_finite("load", values, ["a", "b", "c"], step=7)
    assert str(caught.value) == f"step 7: load of c is {value}, not a finite number"
    assert isinstance(caught.value, MarketError)


def test_infinities_that_cancel_are_none_either():
    with pytest.raises(NotFiniteError, match="load is inf"):
        require_finite("load", [np.inf, -np.inf], step=0)


def test_without_names_the_quantity_alone_is_named():
    with pytest.raises(NotFiniteError, match=r"^step 0: price is nan, not a finite number$"):
        require_finite("price", float("nan"), step=0)
