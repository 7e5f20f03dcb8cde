r"""The value of stored energy: one for bids, costs of recourse and comparisons alike.

A kWh in a battery replaces :math:`\eta^d` kWh at the grid, the efficiency of discharging, which are
worth a price between what the supplier charges and what it pays:

.. math:: v = \eta^d \, \frac{1}{T} \sum_{t=1}^T \frac{\pi^r_t + \pi^f_t}{2} ,

over the window of a bid, or over the run that is compared. That the truth lies in the middle is an
assumption; comparisons show what follows from other ones, :func:`stored_energy_values`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


def stored_energy_value(retail: Array, feed_in: Array, discharge_efficiency: float) -> float:
    """Value of a kWh in the battery. [EUR/kWh]

    Parameters
    ----------
    retail, feed_in : ndarray, shape (n_steps,)
        What the supplier charges and pays in the steps that count. [EUR/kWh]
    discharge_efficiency : float
        Discharged over withdrawn energy. [-]
    """
    return discharge_efficiency * float((retail + feed_in).mean()) / 2


def stored_energy_values(
    spot: Array, retail: Array, feed_in: Array, discharge_efficiency: float
) -> dict[str, float]:
    """Values of a kWh in the battery by what it replaces; ``mid`` is the one that counts.

    Parameters
    ----------
    spot, retail, feed_in : ndarray, shape (n_steps,)
        Wholesale price, and what the supplier charges and pays. [EUR/kWh]
    discharge_efficiency : float
        Discharged over withdrawn energy. [-]

    Returns
    -------
    dict of str to float
        ``nothing``, ``spot``, ``feed_in``, ``mid``, ``retail``. [EUR/kWh]
    """
    return {
        "nothing": 0.0,
        "spot": stored_energy_value(spot, spot, discharge_efficiency),
        "feed_in": stored_energy_value(feed_in, feed_in, discharge_efficiency),
        "mid": stored_energy_value(retail, feed_in, discharge_efficiency),
        "retail": stored_energy_value(retail, retail, discharge_efficiency),
    }
