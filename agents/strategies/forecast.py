"""Change the forecasts in a bid."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from agents.strategies.protocol import Observation
    from market.bids import Bid


def scale_forecast(
    truthful: Bid, observation: Observation, *, load: float, renewable: float
) -> Bid:
    """Scale the must-serve load and the renewable power of a bid.

    Parameters
    ----------
    truthful : Bid
        The bid; it is not changed.
    observation : Observation
        Its registered rating limits the renewable power.
    load : float
        Factor on the active and the reactive load, at least zero. [-]
    renewable : float
        Factor on the available renewable power, at least zero. [-]
    """
    plant, rating = truthful.renewable, observation.renewable_rating_kw
    return replace(
        truthful,
        load_kw=truthful.load_kw * load,
        load_kvar=truthful.load_kvar * load,
        renewable=plant
        and replace(plant, available_kw=np.minimum(plant.available_kw * renewable, rating)),
    )
