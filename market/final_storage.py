r"""Batteries that end a run where they began.

With ``final_storage: as_at_start`` the energy after the run's last step, where a window holds it at
its step T, is bounded from either side,

.. math:: \min\{E_0,\; E + \tau \eta^c \bar h\} \le E_T \le
    \max\{E_0,\; E - \tau \bar d / \eta^d\} , \qquad \tau = 0.95\,(T + 1)\,\Delta ,

with the energy E at the window's opening and that of the run's start, :math:`E_0`. What nearly the
whole power cannot reach is not asked for, so that every window is feasible. What recourse does in
the last hours, and what a short window sees too late, remains.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from market.book import BidBook
    from market.roster import Roster

    Array = NDArray[np.float64]

USABLE = 0.95
"""Part of a battery's power that the way back to the start is reckoned with. [-]"""


def ending_as_at_start(book: BidBook, roster: Roster, end: int, start_kwh: Array) -> BidBook:
    """Bound the stored energy at the end of one step of the window.

    Parameters
    ----------
    book : BidBook
        The bids.
    roster : Roster
        The registered peers.
    end : int
        Place of the run's last step in the window; a window without it is left alone.
    start_kwh : ndarray, shape (n_storage,)
        Energy of every battery at the start of the run. [kWh]
    """
    if end >= roster.n_steps:
        return book
    hours = USABLE * (end + 1) * roster.step_hours
    most = book.energy_kwh + hours * book.charge_max_kw * roster.charge_efficiency
    least = book.energy_kwh - hours * book.discharge_max_kw / roster.discharge_efficiency
    floor, ceiling = book.energy_floor_kwh.copy(), book.energy_ceiling_kwh.copy()
    floor[end] = np.clip(np.minimum(start_kwh, most), floor[end], ceiling[end])
    ceiling[end] = np.clip(np.maximum(start_kwh, least), floor[end], ceiling[end])
    return replace(book, energy_floor_kwh=floor, energy_ceiling_kwh=ceiling)
