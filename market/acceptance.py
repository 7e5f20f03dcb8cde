"""When a clearing may stop, and which of its passes it keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from market.calibration import Audit
    from market.safety_factors import SafetyFactor
    from market.schedule import Schedule

    Audits = tuple[tuple[Audit, ...], ...]
    """By network and binding step."""

CERTIFICATE_TOLERANCE = 0.002
"""How far a certificate may exceed the risk level and still count as kept."""
SHORT, WASTEFUL = 0.02, 0.15
"""A binding row may miss its margin by the first, exceed it by the second number of sigmas."""
USEFUL_CERTIFICATE = 0.7
"""A binding step whose certificate is below this part of the risk level wastes some of it."""
CLOSE_CERTIFICATE = 0.001
"""How far a certificate may exceed the risk level without another pass."""
NO_ROOM_PU = 1e-6
"""A schedule whose grid constraints are missed by more than this had no room. [p.u.]"""


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
        """Largest certificate that needs no further pass."""
        return self.factor.risk_level + CLOSE_CERTIFICATE

    def settled(self, audits: Audits, schedule: Schedule) -> NDArray[np.bool_]:
        """Whether every margin is kept and no binding one exceeds its need, (n_networks,)."""
        return np.array(
            [
                all(
                    self._kept(audit, schedule.violation[step, network])
                    for step, audit in enumerate(of_network)
                )
                for network, of_network in enumerate(audits)
            ]
        )

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
        if tightest < -SHORT or (audit.binding and tightest > WASTEFUL):
            return False
        return not self.factor.exact_joint or self._well_used(audit)

    def _well_used(self, audit: Audit) -> bool:
        """Whether the certificate is kept and, where it costs something, used up.

        A certificate below what is useful is accepted where the margin is the smallest possible:
        with few samples the worst-case probability moves in jumps.
        """
        useful = USEFUL_CERTIFICATE * self.factor.risk_level
        tight = audit.gap.min() <= SHORT
        unused = audit.binding and audit.certificate < useful and not tight
        return audit.certificate <= self.allowed and not unused
