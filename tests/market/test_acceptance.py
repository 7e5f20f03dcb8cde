"""Which pass of a clearing keeps its promises best."""

from dataclasses import replace

import numpy as np
import pytest

from market.acceptance import ROUNDING, SHORT, WASTEFUL, Acceptance
from market.calibration import Audit
from market.grid_rows import HalfPlanes
from market.safety_factors import make_safety_factor

RISK_LEVEL = 0.05
KEPT = Audit(
    certificate=RISK_LEVEL,
    kappa=np.ones(2),
    gap=np.array([0.0, 1.0]),
    missed_pu=np.zeros(2),
    binding=True,
    radius=0.0,
    half_planes=HalfPlanes.none(),
)


def audits(*certificates):
    return tuple((replace(KEPT, certificate=certificate),) for certificate in certificates)


@pytest.fixture
def joint():
    return Acceptance(make_safety_factor("wasserstein_joint", RISK_LEVEL, 0.0))


def test_a_pass_that_keeps_its_promises_falls_short_of_nothing(joint):
    assert joint.excess(audits(0.01, RISK_LEVEL, RISK_LEVEL * (1 + ROUNDING))) == 0.0


def test_a_network_without_hope_does_not_hide_the_others(joint):
    assert joint.excess(audits(1.0, 0.04)) == pytest.approx(1.0 - RISK_LEVEL)
    assert joint.excess(audits(1.0, 0.30)) == pytest.approx(1.30 - 2 * RISK_LEVEL)
    assert joint.excess(audits(1.0, 0.04)) < joint.excess(audits(1.0, 0.06))


def test_other_methods_promise_their_margins():
    gaussian = Acceptance(make_safety_factor("gaussian", RISK_LEVEL, 0.0))
    short = replace(KEPT, certificate=1.0, gap=np.array([-SHORT - 0.3, 1.0]))
    assert gaussian.excess(((KEPT,), (KEPT,))) == 0.0
    assert gaussian.excess(((short,), (KEPT,))) == pytest.approx(0.3)
    assert gaussian.excess(((short,), (short,))) == pytest.approx(0.6)


# --- when a clearing may stop -----------------------------------------------------------------

NO_SLACK = np.zeros((1, 1))


def of(**changes):
    return ((replace(KEPT, **changes),),)


@pytest.mark.parametrize(
    ("changes", "settled"),
    [
        ({}, True),
        ({"certificate": RISK_LEVEL * (1 + 0.5 * ROUNDING)}, True),
        ({"certificate": RISK_LEVEL * 1.001}, False),
        ({"gap": np.array([-2 * SHORT, 1.0])}, False),
        # Far inside its margin a row may stand where it does not bind, or uses its certificate up.
        ({"gap": np.array([2 * WASTEFUL, 3.0])}, True),
        ({"gap": np.array([2 * WASTEFUL, 3.0]), "binding": False, "certificate": 0.0}, True),
        # A certificate far below the risk level is a waste, unless its margin is small as can be.
        ({"certificate": 0.5 * RISK_LEVEL, "gap": np.array([2 * SHORT, 1.0])}, False),
        ({"certificate": 0.5 * RISK_LEVEL, "gap": np.array([0.5 * SHORT, 1.0])}, True),
    ],
)
def test_a_clearing_stops_when_promises_are_kept_and_used_up(joint, changes, settled):
    assert joint.settled(of(**changes), NO_SLACK, None).tolist() == [settled]


def test_without_a_joint_promise_a_binding_row_far_inside_its_margin_is_a_waste():
    gaussian = Acceptance(make_safety_factor("gaussian", RISK_LEVEL, 0.0))
    for beyond, settled in ((0.5 * WASTEFUL, True), (2 * WASTEFUL, False)):
        stands = of(gap=np.array([beyond, 3.0]), certificate=0.0)
        assert gaussian.settled(stands, NO_SLACK, None).tolist() == [settled]


def test_slack_is_believed_when_two_passes_agree_on_it(joint):
    broken = of(certificate=1.0, gap=np.array([-3.0, 1.0]))
    slack = np.array([[0.01]])
    assert not joint.settled(broken, slack, None).any()
    assert not joint.settled(broken, slack, np.array([[0.02]])).any()
    assert joint.settled(broken, slack, np.array([[0.0101]])).all()
    # Slack of a step further ahead is no excuse for the one that binds.
    ahead = np.array([[0.0], [0.01]])
    assert not joint.settled(broken, ahead, ahead).any()
    assert not joint.settled(of(), ahead, None).any()
    assert joint.settled(of(), ahead, np.array([[0.0], [0.05]])).all()


@pytest.mark.parametrize(
    ("changes", "slack", "promise", "binding"),
    [
        ({"binding": False}, 0.0, "kept", False),
        ({"certificate": 0.2, "binding": False}, 0.0, "unsettled", True),
        ({"certificate": 0.2, "binding": False}, 0.01, "no_room", True),
        ({"certificate": 0.04}, 0.01, "kept", True),
    ],
)
def test_what_became_of_a_promise(joint, changes, slack, promise, binding):
    ((audit,),) = joint.judged(of(**changes), np.array([[slack]]))
    assert audit.promise == promise
    assert audit.kept == (promise == "kept")
    assert audit.binding == binding


@pytest.mark.parametrize("risk_level", [0.001, 0.05, 0.3])
def test_a_promise_is_kept_at_the_risk_level_however_small_that_is(risk_level):
    joint = Acceptance(make_safety_factor("wasserstein_joint", risk_level, 0.0))
    for share, promise in ((1.0, "kept"), (1 + 1e-6, "unsettled"), (1.5, "unsettled")):
        ((audit,),) = joint.judged(of(certificate=share * risk_level), NO_SLACK)
        assert audit.promise == promise
        assert (joint.excess(((audit,),)) == 0.0) == audit.kept


def test_a_method_of_single_constraints_is_not_held_against_the_joint_level():
    gaussian = Acceptance(make_safety_factor("gaussian", RISK_LEVEL, 0.0))
    (kept,), (short,) = gaussian.judged(
        (*of(certificate=0.3), *of(certificate=0.0, gap=np.array([-2 * SHORT, 1.0]))),
        np.zeros((1, 2)),
    )
    assert kept.kept
    assert short.promise == "unsettled"


def test_slack_tells_how_far_a_schedule_falls_short():
    audit = replace(KEPT, missed_pu=np.array([0.003, 0.02]))
    assert audit.slack_pu(0.0) == 0.0
    broken = replace(audit, promise="unsettled")
    assert broken.slack_pu(0.0) == 0.02
    assert broken.slack_pu(0.05) == 0.05
