"""Which pass of a clearing keeps its promises best."""

from dataclasses import replace

import numpy as np
import pytest

from market.acceptance import CLOSE_CERTIFICATE, SHORT, Acceptance
from market.calibration import Audit
from market.safety_factors import make_safety_factor

RISK_LEVEL = 0.05
KEPT = Audit(RISK_LEVEL, np.ones(2), np.array([0.0, 1.0]), binding=True, radius=0.0)


def audits(*certificates):
    return tuple((replace(KEPT, certificate=certificate),) for certificate in certificates)


@pytest.fixture
def joint():
    return Acceptance(make_safety_factor("wasserstein_joint", RISK_LEVEL, 0.0))


def test_a_pass_that_keeps_its_promises_falls_short_of_nothing(joint):
    assert joint.excess(audits(0.01, RISK_LEVEL, RISK_LEVEL + CLOSE_CERTIFICATE)) == 0.0


def test_a_network_without_hope_does_not_hide_the_others(joint):
    allowed = RISK_LEVEL + CLOSE_CERTIFICATE
    assert joint.excess(audits(1.0, 0.04)) == pytest.approx(1.0 - allowed)
    assert joint.excess(audits(1.0, 0.30)) == pytest.approx(1.0 - allowed + 0.30 - allowed)
    assert joint.excess(audits(1.0, 0.04)) < joint.excess(audits(1.0, 0.06))


def test_other_methods_promise_their_margins():
    gaussian = Acceptance(make_safety_factor("gaussian", RISK_LEVEL, 0.0))
    short = replace(KEPT, certificate=1.0, gap=np.array([-SHORT - 0.3, 1.0]))
    assert gaussian.excess(((KEPT,), (KEPT,))) == 0.0
    assert gaussian.excess(((short,), (KEPT,))) == pytest.approx(0.3)
    assert gaussian.excess(((short,), (short,))) == pytest.approx(0.6)
