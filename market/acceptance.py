"""When a clearing may stop, and which of its passes it keeps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from market.calibration import Audit, Promise
    from market.safety_factors import SafetyFactor

    Array = NDArray[np.float64]
    Audits = tuple[tuple[Audit, ...], ...]
    """By network and binding step."""

ROUNDING = 1e-9
"""A certificate, a sum of weights, is kept at the risk level within this part of it. [-]"""
SHORT, WASTEFUL = 0.02, 0.15
"""A row may miss its margin by the first number of sigmas. The second one is what a binding row may
exceed it by where the certificate does not tell what is used up."""
USEFUL_CERTIFICATE = 0.7
"""A binding step whose certificate is below this part of the risk level wastes some of it."""
NO_ROOM_PU = 1e-6
"""A schedule whose grid constraints are missed by more than this had no room. [p.u.]"""


SAME_SLACK = 0.05
"""Two passes agree on slack that differs by less than this part of it. [-]"""


def unsure(violation_pu: Array, before_pu: Array | None, n_binding: int) -> NDArray[np.bool_]:
    """Where a pass bought slack that another one may not need, (n_steps, n_networks).

    Of the steps that bind, until two passes agree; steps further ahead get a second pass only, as
    they will be cleared again.
    """
    bought: NDArray[np.bool_] = violation_pu > NO_ROOM_PU
    if before_pu is None:
        return bought
    differs: NDArray[np.bool_] = np.abs(violation_pu - before_pu) > SAME_SLACK * violation_pu
    ahead = np.arange(len(violation_pu)) >= n_binding
    return bought & differs & ~ahead[:, None]


def largest_kept(risk_level: float) -> float:
    """Return the largest certificate that keeps a promise: the risk level, within rounding."""
    return risk_level * (1.0 + ROUNDING)


@dataclass(frozen=True, eq=False)
class Acceptance:
    """Judges the passes of a clearing.

    An exact joint method promises the certificate itself, the others the margins of their rows.

    Attributes
    ----------
    factor : SafetyFactor
        The method.
    """

    factor: SafetyFactor

    @property
    def allowed(self) -> float:
        """Largest certificate that is kept: the risk level, within rounding."""
        return largest_kept(self.factor.risk_level)

    def settled(
        self, audits: Audits, violation_pu: Array, before_pu: Array | None
    ) -> NDArray[np.bool_]:
        """Whether every margin is kept and no binding one exceeds its need, (n_networks,).

        Slack counts as needed only when two passes agree on it: the first may have bought it for a
        linear model far from its schedule, in the steps that bind or further ahead.

        Parameters
        ----------
        audits : tuple of tuple of Audit
            By network and binding step.
        violation_pu : ndarray, shape (n_steps, n_networks)
            Slack that the pass bought. [p.u.]
        before_pu : ndarray, shape (n_steps, n_networks), optional
            Slack that the pass before bought; none in the first pass. [p.u.]
        """
        kept = [
            all(self._kept(audit, violation_pu[t, d]) for t, audit in enumerate(of_network))
            for d, of_network in enumerate(audits)
        ]
        doubtful = unsure(violation_pu, before_pu, len(audits[0])).any(axis=0)
        settled: NDArray[np.bool_] = np.array(kept) & ~doubtful
        return settled

    def judged(self, audits: Audits, violation_pu: Array) -> Audits:
        """Say of every network and binding step what became of its promise.

        A promise that is not kept has *no room* where the clearing bought slack, since no schedule
        keeps the limits and their margins; otherwise the passes ended *unsettled*, before they
        agreed with the power flow. Either way a limit binds, whatever its dual is.

        Parameters
        ----------
        audits : tuple of tuple of Audit
            By network and binding step.
        violation_pu : ndarray, shape (n_steps, n_networks)
            Slack that the clearing bought. [p.u.]
        """
        return tuple(
            tuple(self._judged(audit, float(violation_pu[t, d])) for t, audit in enumerate(own))
            for d, own in enumerate(audits)
        )

    def _judged(self, audit: Audit, violation_pu: float) -> Audit:
        """Judge one network and step."""
        if self._promised(audit):
            return audit
        promise: Promise = "no_room" if violation_pu > NO_ROOM_PU else "unsettled"
        return replace(audit, promise=promise, binding=True)

    def _promised(self, audit: Audit) -> bool:
        """Whether what the method promises is kept, within rounding."""
        if self.factor.exact_joint:
            return audit.certificate <= self.allowed
        return bool(audit.gap.min() >= -SHORT)

    def excess(self, audits: Audits) -> float:
        """How far a pass falls short of its promises, all together; zero if it keeps them.

        A sum, so that a network without any hope does not hide what becomes of the others.
        """
        everything = [audit for of_network in audits for audit in of_network]
        if self.factor.exact_joint:
            excesses = [audit.certificate - self.allowed for audit in everything]
        else:
            excesses = [-SHORT - float(audit.gap.min()) for audit in everything]
        return sum(max(excess, 0.0) for excess in excesses)

    def _kept(self, audit: Audit, violation_pu: float) -> bool:
        """Whether one network and step needs no further pass."""
        tightest = audit.gap.min()
        # No room at all, unless the schedule's own caps make some.
        if violation_pu > NO_ROOM_PU and tightest <= WASTEFUL:
            return True
        if tightest < -SHORT:
            return False
        if self.factor.exact_joint:
            return self._well_used(audit)
        return not (audit.binding and tightest > WASTEFUL)

    def _well_used(self, audit: Audit) -> bool:
        """Whether the certificate is kept and, where it costs something, used up.

        A certificate below what is useful is accepted where the margin is the smallest possible:
        with few samples the worst-case probability moves in jumps. For the same reason a margin
        well beyond its need wastes nothing where the certificate is used up.
        """
        useful = USEFUL_CERTIFICATE * self.factor.risk_level
        tight = audit.gap.min() <= SHORT
        unused = audit.binding and audit.certificate < useful and not tight
        return audit.certificate <= self.allowed and not unused
