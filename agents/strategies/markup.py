"""Ask more and offer less than is true."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agents.strategies.memoryless import Memoryless
from agents.strategies.parameters import check_number

if TYPE_CHECKING:
    from agents.strategies.protocol import Observation
    from market.bids import Bid


def shade(truthful: Bid, markup: float) -> Bid:
    r"""Shade every price of a bid by a relative mark-up m; quantities stay true.

    .. math:: s' = (1 + m) s, \qquad c' = (1 + m) c, \qquad b' = b / (1 + m)

    with the lowest selling price s, the cost c of the dispatchable unit (its price blocks alike)
    and the highest buying price b. A unit's ask to its peers is its offered cost and what the
    selling price asks beyond the supplier's, so both mark-ups count there.

    Parameters
    ----------
    truthful : Bid
        The bid; it is not changed.
    markup : float
        Mark-up, at least zero. [-]
    """
    up = 1.0 + markup
    unit = truthful.dispatchable
    return replace(
        truthful,
        sell_limit_eur_per_kwh=truthful.sell_limit_eur_per_kwh * up,
        buy_limit_eur_per_kwh=truthful.buy_limit_eur_per_kwh / up,
        dispatchable=unit
        and replace(
            unit,
            cost_eur_per_kwh=unit.cost_eur_per_kwh * up,
            cost_eur_per_kw2h=unit.cost_eur_per_kw2h * up,
            blocks=unit.blocks
            and replace(unit.blocks, price_eur_per_kwh=unit.blocks.price_eur_per_kwh * up),
        ),
    )


@dataclass(frozen=True)
class Markup(Memoryless):
    """Shade every price by a fixed relative mark-up, see :func:`shade`.

    Attributes
    ----------
    markup : float
        Relative mark-up, at least zero. [-]
    """

    markup: float

    def __post_init__(self) -> None:
        check_number("markup", self.markup, 0.0)

    def submit(self, truthful: Bid, observation: Observation) -> Bid:
        """Return the bid with its prices shaded."""
        return shade(truthful, self.markup)
