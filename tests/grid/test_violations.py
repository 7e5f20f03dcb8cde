"""Violations and their causes, from arrays made for the purpose."""

import math

import numpy as np
import pytest

from configs.schema import Network
from grid.cases import build_network
from grid.limits import LimitRows
from grid.violations import TOLERANCE_PU, Violation, find_violations, power_flow_failure

ROWS = LimitRows.of(build_network(Network(name="n", case="case69")))
M = ROWS.network.n_lines
OVER, UNDER, CURRENT, SUBSTATION = 5, M + 5, 2 * M + 5, 3 * M
EXCESS = 0.01


def beyond(*rows: int, by: float = EXCESS) -> np.ndarray:
    """All rows well inside their limits but for these."""
    out = ROWS.limit - 0.02
    out[list(rows)] = ROWS.limit[list(rows)] + by
    return out


def causes(actual, promised, delivered, **options) -> dict[int, str]:
    found = find_violations(ROWS, actual, promised, delivered, **options)
    return {violation.element: violation.cause for violation in found}


def test_nothing_to_report():
    assert find_violations(ROWS, beyond(), beyond(OVER), beyond(OVER), excuse="fallback") == []


@pytest.mark.parametrize("row", [OVER, UNDER, CURRENT, SUBSTATION])
@pytest.mark.parametrize(
    ("promised", "delivered", "fallback", "cause"),
    [
        (True, True, False, "tail"),
        (True, False, False, "tail"),
        (False, True, False, "recourse"),
        (False, False, False, "linearisation"),
        (True, True, True, "fallback"),
        (False, False, True, "fallback"),
    ],
)
def test_cause(row, promised, delivered, fallback, cause):
    found = find_violations(
        ROWS,
        beyond(row),
        beyond(row) if promised else beyond(),
        beyond(row) if delivered else beyond(),
        excuse="fallback" if fallback else "",
    )
    assert [violation.cause for violation in found] == [cause]


@pytest.mark.parametrize(
    ("row", "element", "kind", "sign"),
    [
        (OVER, ROWS.network.bus[6], "over_voltage", 1),
        (UNDER, ROWS.network.bus[6], "under_voltage", -1),
        (CURRENT, 5, "over_current", 1),
        (SUBSTATION, ROWS.network.bus[0], "substation_overload", 1),
    ],
)
def test_what_is_reported(row, element, kind, sign):
    (found,) = find_violations(ROWS, beyond(row), beyond(), beyond())
    limit = sign * ROWS.limit[row]
    assert (found.element, found.kind) == (element, kind)
    assert found.limit == pytest.approx(limit)
    assert found.value == pytest.approx(limit + sign * EXCESS)
    assert found.excess == pytest.approx(EXCESS)


def test_each_row_has_its_own_cause():
    assert causes(beyond(OVER, CURRENT, SUBSTATION), beyond(OVER), beyond(CURRENT)) == {
        6 + 1: "tail",
        5: "recourse",
        1: "linearisation",
    }


@pytest.mark.parametrize(("by", "n_found"), [(0.5 * TOLERANCE_PU, 0), (2 * TOLERANCE_PU, 1)])
def test_tolerance(by, n_found):
    found = find_violations(ROWS, beyond(OVER, by=by), beyond(), beyond())
    assert len(found) == n_found


def test_power_flow_failure():
    failure = power_flow_failure(7)
    assert isinstance(failure, Violation)
    assert (failure.element, failure.kind, failure.cause) == (
        7,
        "power_flow_failure",
        "power_flow",
    )
    assert math.isnan(failure.value)
