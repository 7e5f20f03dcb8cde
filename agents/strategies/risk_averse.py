r"""Bid a quantile of what may come instead of the forecast.

Whoever pays for imbalances best offers a quantile of its predictive distribution, whose level
depends on the prices of surplus and shortage [1]_. The quantile is that of the peer's own past,

.. math:: \beta_\tau = \arg\min_\beta \sum_i \rho_\tau(a_i - \beta f_i) ,

quantile regression [2]_ of what came, a, on what was forecast, f, through the origin, with the
check function :math:`\rho_\tau(u) = u (\tau - 1_{u < 0})`. Its solution is the quantile of the
ratios a/f weighted with f, so that hours without sun say nothing. The bid is :math:`\beta_\tau`
times the forecast.

References
----------
.. [1] P. Pinson, C. Chevallier, G. Kariniotakis, Trading wind generation from short-term
   probabilistic forecasts of wind power, IEEE Trans. Power Syst. 22(3), 2007,
   doi:10.1109/TPWRS.2007.901117.
.. [2] R. Koenker, G. Bassett, Regression quantiles, Econometrica 46(1), 1978.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

from agents.strategies.forecast import scale_forecast
from agents.strategies.parameters import check_count, check_number, series

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from agents.strategies.protocol import Observation, Outcome
    from market.bids import Bid

    Array = NDArray[np.float64]


class RiskAverse:
    """Offer the tau-quantile of the renewable power and ask for the (1 - tau)-quantile of the load.

    The level tau is on the safe side below one half: little to sell, much to buy. Prices stay true,
    and so does the whole bid until enough has been learnt. The factors of the last settled steps
    are used for the whole window.

    Parameters
    ----------
    quantile : float
        Level tau. [-]
    n_min : int
        Number of settled steps from which on the quantiles are bid.
    n_max : int
        Number of settled steps that are remembered, at least ``n_min``; the oldest are forgotten.
    """

    def __init__(self, quantile: float = 0.25, n_min: int = 48, n_max: int = 720) -> None:
        check_number("quantile", quantile, 0.0, 1.0, "()")
        check_count("n_min", n_min, 1)
        check_count("n_max", n_max, n_min)
        self.quantile, self.n_min = quantile, n_min
        self._past: deque[list[float]] = deque(maxlen=n_max)

    def submit(self, truthful: Bid, observation: Observation) -> Bid:
        """Return the bid with quantiles for forecasts."""
        if len(self._past) < self.n_min:
            return truthful
        load, load_forecast, renewable, renewable_forecast = np.array(self._past).T
        return scale_forecast(
            truthful,
            observation,
            load=quantile_factor(load, load_forecast, 1 - self.quantile),
            renewable=quantile_factor(renewable, renewable_forecast, self.quantile),
        )

    def learn(self, outcome: Outcome) -> None:
        """Remember forecast and outcome, where both are known."""
        o = outcome
        past = [o.load_kw, o.load_forecast_kw, o.renewable_kw, o.renewable_forecast_kw]
        if np.isfinite(past).all():
            self._past.append(past)

    def state(self) -> dict[str, Any]:
        """Return the past."""
        return {"past": [list(step) for step in self._past]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a past."""
        past = series("past", state["past"] or np.empty((0, 4)), (len(state["past"]), 4))
        self._past.clear()
        self._past.extend(past.tolist())


def quantile_factor(actual: Array, forecast: Array, level: float) -> float:
    """Quantile regression through the origin.

    Parameters
    ----------
    actual, forecast : ndarray, shape (n,)
        What came and what was forecast. [kW]
    level : float
        Level of the quantile. [-]

    Returns
    -------
    float
        Factor on a forecast; one where nothing but zero was ever forecast. [-]
    """
    told = forecast > 0
    if not told.any():
        return 1.0
    ratio = actual[told] / forecast[told]
    order = np.argsort(ratio)
    weight = forecast[told][order].cumsum()
    place = np.searchsorted(weight, level * weight[-1])
    return float(ratio[order[place]])
