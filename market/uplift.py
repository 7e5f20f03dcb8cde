"""Who gets what the coordinating operator takes in beyond its expenses, or bears what it lacks.

Imbalances, recourse, congestion, losses and risk are settled with the DSO, item by item, and do not
add up to nothing in a step. What is left, by source, is shared out at once:

- ``load``: among all peers in proportion to the load that they were served;
- ``trades``: in proportion to the energy that they traded with peers; by load where nobody traded;
- ``dso``: not at all, the DSO keeps it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from market.ledger import Ledger
    from market.matching import Trades

    Array = NDArray[np.float64]

Uplift = Literal["load", "trades", "dso"]

CONGESTION_ITEMS = ("congestion_charge", "exchange_rent")
LOSS_ITEMS = ("loss_charge", "loss_compensation")
SOURCES = ("congestion", "loss", "risk")
"""Where the DSO's surplus comes from."""
ITEMS = tuple(f"uplift_{source}" for source in SOURCES)
"""Items of the ledger that share it out."""


def dso_surplus(ledger: Ledger) -> dict[str, float]:
    """What the DSO is left with by source; the sources add up to its account. [EUR]

    ``congestion``: nodal congestion charges and the rent of limited exchange; ``loss``: loss
    charges less what operators are paid for the losses; ``risk``: everything else, that is risk
    charges, imbalances and recourse; ``uplift``: what was shared out of these, or gathered in.
    """
    received = {item: float(amounts[ledger.dso]) for item, amounts in ledger.items.items()}
    uplift = sum(received.pop(item, 0.0) for item in ITEMS)
    congestion = sum(received.pop(item, 0.0) for item in CONGESTION_ITEMS)
    loss = sum(received.pop(item, 0.0) for item in LOSS_ITEMS)
    risk = sum(received.values())
    return {"congestion": congestion, "loss": loss, "risk": risk, "uplift": uplift}


def share_out(ledger: Ledger, shares: Array) -> None:
    """Share the DSO's surplus or deficit of a step out.

    Parameters
    ----------
    ledger : Ledger
        All other payments of the step.
    shares : ndarray, shape (n_peers,)
        Share of every peer; they sum to one, or are all zero if the DSO keeps it.
    """
    if not shares.any():
        return
    surplus = dso_surplus(ledger)
    for source, item in zip(SOURCES, ITEMS, strict=True):
        ledger.pay(ledger.dso, ledger.peers, item, surplus[source] * shares)


def uplift_shares(uplift: Uplift, load_kw: Array, trades: Trades) -> Array:
    """Shares of the peers in the DSO's surplus or deficit, (n_peers,).

    Parameters
    ----------
    uplift : {"load", "trades", "dso"}
        The rule.
    load_kw : ndarray, shape (n_peers,)
        Load that was served. [kW]
    trades : Trades
        The trades of the step.

    Returns
    -------
    ndarray, shape (n_peers,)
        They sum to one; all zero with ``dso``. Where nobody has any load, all have the same share.
    """
    n = len(load_kw)
    if uplift == "dso":
        return np.zeros(n)
    key = np.maximum(load_kw, 0.0)
    if uplift == "trades" and trades.power_kw.sum() > 0:
        bought = np.bincount(trades.buyer, trades.power_kw, minlength=n)
        key = bought + np.bincount(trades.seller, trades.power_kw, minlength=n)
    total = key.sum()
    shares: Array = key / total if total > 0 else np.full(n, 1 / n)
    return shares
