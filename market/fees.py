"""Network fees: what the buyer of a trade pays to the operator of its network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from market.costs import StepPrices
    from market.matching import Trades

    Array = NDArray[np.float64]


def fee_share(rule: str, distance: Array, network_of: NDArray[np.intp]) -> Array:
    r"""Share of the full network fee that each pair of peers pays.

    With ``flat`` every pair pays all of it; with ``distance`` in proportion to the electrical
    distance :math:`d` between seller i and buyer j [1]_,

    .. math:: s_{ij} = d_{ij} / \max_{(k, l) \in K(i, j)} d_{kl} ,

    where K holds the pairs of the same kind: those of the same network, or all pairs across
    networks. The farthest pair pays the full fee and nobody more, so that trades that are worth
    their full fee, which is what the clearing reckons with, stay worth it.

    Parameters
    ----------
    rule : str
        ``flat`` or ``distance``.
    distance : ndarray, shape (n_peers, n_peers)
        Electrical distance between the peers. [ohm]
    network_of : ndarray of int, shape (n_peers,)
        Each peer's network.

    Returns
    -------
    ndarray, shape (n_peers, n_peers)
        Shares in [0, 1]; one where no pair of the kind has any distance between it. [-]

    References
    ----------
    .. [1] T. Baroche, P. Pinson, R. Le Goff Latimier, H. Ben Ahmed, Exogenous cost allocation in
       peer-to-peer electricity markets, IEEE Trans. Power Syst. 34(4), 2019,
       doi:10.1109/TPWRS.2019.2896654.
    """
    if rule == "flat":
        return np.broadcast_to(1.0, distance.shape)
    share = np.ones_like(distance)
    across = network_of[:, None] != network_of
    for pairs in (across, *(_pairs_within(network_of == d) for d in np.unique(network_of))):
        farthest = distance[pairs].max(initial=0.0)
        if farthest > 0:
            share[pairs] = distance[pairs] / farthest
    return share


def _pairs_within(member: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pairs of the peers of one network."""
    return member[:, None] & member


def trade_fee(trades: Trades, share: Array, prices: StepPrices) -> Array:
    """Network fee of every trade.

    Parameters
    ----------
    trades : Trades
        The trades of one step.
    share : ndarray, shape (n_peers, n_peers)
        Result of :func:`fee_share`. [-]
    prices : StepPrices
        Prices of the step, the full fees among them.

    Returns
    -------
    ndarray, shape (n_trades,)
        What the buyer pays on top of the energy. [EUR/kWh]
    """
    full = prices.fee_within + prices.fee_across * trades.across
    return full * share[trades.seller, trades.buyer]
