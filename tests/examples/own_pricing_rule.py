"""A pricing rule of one's own: copy this file, change it, and name it in the configuration.

.. code-block:: yaml

    market: {pricing: "own_pricing_rule:GainSharing"}

A scenario may not run code by itself, so the run has to allow the file:

.. code-block:: bash

    python -m simulation.run --config mine.yaml --allow-plugins own_pricing_rule.py
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from market.pricing import TradePrices

if TYPE_CHECKING:
    from market.pricing import Pool


class GainSharing:
    r"""Divide the gain of every trade between its two sides in a fixed proportion.

    .. math:: \pi_{ij} = s_i + k (b_j - f_{ij} - s_i)

    with seller i's lowest price s, buyer j's highest price b, the network fee f and the seller's
    share k: the k-double auction of Chatterjee and Samuelson, Bargaining under incomplete
    information, Oper. Res. 31(5), 1983, doi:10.1287/opre.31.5.835.
    """

    seller_share = 0.7
    """The seller's share k of the gain. [-]"""

    def trade_prices(self, pool: Pool) -> TradePrices:
        """Price every trade of one step."""
        gain = pool.highest - pool.lowest
        price = pool.bounded(pool.lowest + self.seller_share * gain)
        # What the buyer pays, what the seller gets, and what the DSO keeps.
        return TradePrices(price, price.copy(), np.zeros_like(price))
