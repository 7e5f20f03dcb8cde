"""Report another forecast than one's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agents.strategies.forecast import scale_forecast
from agents.strategies.memoryless import Memoryless
from agents.strategies.parameters import check_number

if TYPE_CHECKING:
    from agents.strategies.protocol import Observation
    from market.bids import Bid


@dataclass(frozen=True)
class Misreporting(Memoryless):
    """Scale the reported forecasts of load and renewable power; prices stay true.

    A factor above one over-reports, one below under-reports. What is not as reported shows up as
    an imbalance of the peer. The network operators take their error samples from the profiles,
    not from bids, so the ambiguity set does not know of the misreport: the whole difference is an
    error with a mean that no sample has, the promised violation probability no longer covers it,
    and what it does to the grid shows in the replay.

    Attributes
    ----------
    load : float
        Reported over forecast must-serve load, active and reactive. [-]
    renewable : float
        Reported over forecast renewable power; the report ends at the registered rating. [-]
    """

    load: float = 1.0
    renewable: float = 1.0

    def __post_init__(self) -> None:
        for name in ("load", "renewable"):
            check_number(name, getattr(self, name), 0.0)

    def submit(self, truthful: Bid, observation: Observation) -> Bid:
        """Return the bid with its forecasts scaled."""
        return scale_forecast(truthful, observation, load=self.load, renewable=self.renewable)
