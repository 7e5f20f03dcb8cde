"""Offer less than there is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from agents.strategies.memoryless import Memoryless
from agents.strategies.parameters import check_number

if TYPE_CHECKING:
    from agents.strategies.protocol import Observation
    from market.bids import Bid, DispatchableOffer
    from market.price_blocks import PriceBlocks


@dataclass(frozen=True)
class Withholding(Memoryless):
    """Offer fractions of the quantities at true prices: physical withholding.

    Selling less may pay for a seller that moves the price (Cournot competition). A withheld unit or
    battery rests. What is withheld of the renewable power still flows, unless the plant is held
    back, and is settled as an imbalance.

    Attributes
    ----------
    renewable : float
        Fraction of the available renewable power that is offered. [-]
    dispatchable : float
        Fraction of the unit's power that is offered; of price blocks, the cheapest. [-]
    storage : float
        Fraction of the discharging power that is offered; charging stays true. [-]
    """

    renewable: float = 1.0
    dispatchable: float = 1.0
    storage: float = 1.0

    def __post_init__(self) -> None:
        for name in ("renewable", "dispatchable", "storage"):
            check_number(name, getattr(self, name), 0.0, 1.0)

    def submit(self, truthful: Bid, observation: Observation) -> Bid:
        """Return the bid with its quantities cut."""
        plant, unit, battery = truthful.renewable, truthful.dispatchable, truthful.storage
        return replace(
            truthful,
            renewable=plant and replace(plant, available_kw=plant.available_kw * self.renewable),
            dispatchable=unit and _cut_unit(unit, self.dispatchable),
            storage=battery
            and replace(battery, discharge_max_kw=battery.discharge_max_kw * self.storage),
        )


def _cut_unit(unit: DispatchableOffer, fraction: float) -> DispatchableOffer:
    """Offer a fraction of a unit's power; the cheapest part has to be offered first."""
    p_max = unit.p_max_kw * fraction
    return replace(unit, p_max_kw=p_max, blocks=unit.blocks and _cheapest(unit.blocks, p_max))


def _cheapest(blocks: PriceBlocks, p_max_kw: float) -> PriceBlocks:
    """Cut blocks off above a power; those beyond it become empty."""
    before = blocks.quantity_kw.cumsum() - blocks.quantity_kw
    return replace(blocks, quantity_kw=np.clip(p_max_kw - before, 0.0, blocks.quantity_kw))
