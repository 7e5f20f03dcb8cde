"""Who causes the cost of risk: contributions by hand, as derivatives, and adding up."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from market.bids import RecourseOffer
from market.offers import ErrorSamples, PastErrors
from market.recourse import RecoursePolicy
from market.risk import risk_shares
from market.schedule import supplier_only
from market.uncertainty import SetPoints, Uncertainty
from tests.market.builders import (
    COMMON,
    UP_DOWN,
    Peer,
    battery,
    clear,
    make_book,
    make_roster,
    make_tariff,
    settings,
    voltage_row,
)

PEERS = {
    "home": Peer(load=2.0),
    "sun": Peer(pv=5.0),
    "store": Peer(battery=battery(), recourse=RecourseOffer(0.1, 0.1, 0.0)),
}
SENSITIVITY = np.array([0.002, 0.01, 0.005])


def shares_of(errors, alpha, policy=COMMON, *, mu=10.0, kappa=2.0, cap_kw=None, scale=None):
    """Shares in one row of a network of three members, given their errors (n_samples, 3)."""
    tariff, roster = make_tariff(), make_roster(PEERS)
    book = make_book(PEERS, tariff, roster)
    to_p = np.diag(np.ones(3) if scale is None else scale)
    past = PastErrors(errors, np.full(len(errors), 1 / len(errors)), np.arange(len(errors)))
    samples = ErrorSamples((past,), to_p, 0.5 * to_p, to_p * [0, 1, 0])
    set_points = None
    if cap_kw is not None:
        set_points = SetPoints(book.renewable_max_kw, np.array([9.0]))
        set_points.cap_kw[:] = cap_kw
    uncertainty = Uncertainty([samples], policy, roster, set_points)
    idle = supplier_only(book, roster, policy.n_signals)
    schedule = replace(idle, alpha=np.array(alpha, dtype=float).reshape(1, policy.n_signals, 1))
    row = voltage_row(roster, book, SENSITIVITY, d_q=0.1 * SENSITIVITY, kappa=kappa, conic=True)
    shares = risk_shares(
        [row],
        np.array([mu]),
        schedule=schedule,
        uncertainty=uncertainty,
        roster=roster,
        step=0,
    )
    p_error, q_error = uncertainty.member_errors(0, 0)
    u = p_error @ SENSITIVITY + q_error @ (0.1 * SENSITIVITY)
    gain = SENSITIVITY[2] * np.ravel(alpha)
    z = u - uncertainty.signals(0, 0) @ gain
    return shares, mu * kappa * float(z.std())


def test_a_single_source_bears_it_all():
    errors = np.array([[0.0, -1.0, 0.0], [0.0, 1.0, 0.0]])
    shares, _ = shares_of(errors, [0.0])
    # sigma = 0.01 * 1 kW * (1 + 0.1 * 0.5) for the reactive part of the error.
    assert_allclose(shares.margin, [0.0, 10 * 2 * 0.01 * 1.05, 0.0], atol=1e-12)
    assert_allclose(shares.relief, 0.0)
    assert_allclose(shares.imbalance, [0.0, 1.0, 0.0], atol=1e-12)


def test_independent_sources_share_by_variance():
    errors = np.array([[a, b, 0.0] for a in (-3.0, 3.0) for b in (-1.0, 1.0)])
    shares, total = shares_of(errors, [0.0])
    effect = 1.05 * np.array([3 * 0.002, 0.01, 0.0])
    assert_allclose(shares.margin, total * effect**2 / (effect**2).sum(), atol=1e-12)
    assert_allclose(shares.imbalance, [0.9, 0.1, 0.0], atol=1e-12)


def test_an_error_that_offsets_the_others_is_paid_for():
    errors = np.array([[-1.0, 1.0, 0.0], [1.0, -1.0, 0.0]])
    shares, total = shares_of(errors, [0.0])
    assert shares.margin[0] < 0 < shares.margin[1]
    assert shares.margin.sum() == pytest.approx(total)


def test_recourse_gives_room_back():
    errors = np.array([[0.0, -1.0, 0.0], [0.0, 1.0, 0.0]])
    shares, total = shares_of(errors, [1.0])
    # The battery takes half of the effect back, since it sits half as far away.
    assert_allclose(shares.margin.sum(), 10 * 2 * 0.0105)
    assert_allclose(shares.relief, 10 * 2 * 0.005)
    assert shares.margin.sum() - shares.relief.sum() == pytest.approx(total)


def test_a_capped_plant_answers_for_what_it_passes_on():
    errors = np.array([[0.0, -1.0, 0.0], [0.0, 1.0, 0.0], [0.5, 0.0, 0.0]])
    whole, _ = shares_of(errors, [0.0])
    capped, total = shares_of(errors, [0.0], cap_kw=5.0)
    assert capped.margin[1] < whole.margin[1]
    assert capped.margin.sum() == pytest.approx(total)


def test_rows_without_a_price_cost_nothing():
    errors = np.array([[0.0, -1.0, 0.0], [0.0, 1.0, 0.0]])
    for changes in ({"mu": 0.0}, {"kappa": 0.0}):
        shares, _ = shares_of(errors, [0.3], **changes)
        assert not shares.margin.any()
        assert not shares.relief.any()


def test_without_errors_nobody_causes_anything():
    shares, total = shares_of(np.zeros((4, 3)), [0.5])
    assert total == 0.0
    assert not shares.margin.any()
    assert not shares.imbalance.any()


@budget(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    policy=st.sampled_from([COMMON, UP_DOWN]),
    alpha=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    capped=st.booleans(),
)
def test_contributions_add_up_and_are_derivatives(seed, policy, alpha, capped):
    rng = np.random.default_rng(seed)
    errors = rng.normal(size=(30, 3)) @ rng.normal(size=(3, 3))
    cap = 4.5 if capped else None
    share = alpha[: policy.n_signals]
    shares, total = shares_of(errors, share, policy, cap_kw=cap)
    assert shares.margin.sum() - shares.relief.sum() == pytest.approx(total, rel=1e-9, abs=1e-12)
    assert shares.imbalance.sum() == pytest.approx(1.0)
    if policy is COMMON and not capped:  # then everything is linear in each member's error
        h = 1e-6
        for j in range(3):
            scale = np.where(np.arange(3) == j, 1 + h, 1.0)
            _, more = shares_of(errors, share, policy, scale=scale)
            # Scaling the error scales what recourse answers, too: its relief by the error's part.
            own = shares.margin[j] - _answered(errors, share, j)
            assert (more - total) / h == pytest.approx(own, rel=1e-4, abs=1e-7)


def _answered(errors, share, j):
    """Part of the battery's relief that answers the error of one member."""
    u = errors @ (1.05 * SENSITIVITY) - errors.sum(axis=1) * share[0] * SENSITIVITY[2]
    taken = errors[:, j] * share[0] * SENSITIVITY[2]
    return 20.0 * np.cov(taken, u, bias=True)[0, 1] / u.std()


def test_pooled_networks_share_one_error():
    peers = {"a": Peer(load=1.0), "b": Peer(load=1.0, network="B")}
    tariff, roster = make_tariff(), make_roster(peers)
    book = make_book(peers, tariff, roster)
    policy = RecoursePolicy(1, np.zeros(2, dtype=np.intp))
    errors = np.array([[1.0, 2.0], [-1.0, -2.0]])
    samples = [
        ErrorSamples(
            (PastErrors(errors, np.full(2, 0.5), np.arange(2)),),
            np.eye(2)[:, [d]],
            np.zeros((2, 1)),
            np.zeros((2, 1)),
        )
        for d in range(2)
    ]
    shares = risk_shares(
        [],
        np.zeros(0),
        schedule=supplier_only(book, roster, 1),
        uncertainty=Uncertainty(samples, policy, roster),
        roster=roster,
        step=0,
    )
    assert_allclose(shares.imbalance, [1 / 3, 2 / 3])


def test_a_clearing_allocates_the_worth_of_its_margins():
    errors = {"A": {0: [-1.0, 1.0] * 50}}
    market = settings(method="gaussian", risk_level=0.1586552539)
    c = clear({"sun": Peer(pv=8.0)}, market, R={"A": [[0.01]]}, errors=errors)
    # mu = 0.1 / 0.01 EUR/(p.u. h), kappa = 1, sigma = 0.01 p.u.
    assert_allclose(c.result.risk[0].margin, [10 * 0.01], rtol=1e-4)
