r"""The supplier's tariff over a run and its look-ahead.

Without a user's file the spot price is **synthetic**: no free real series is at hand. With h the
time of day (UTC), d the day and Δ the step length in hours,

.. math::
    s_t = \max\{0,\; \bar s + A\, g(h_t) + w(d_t) + n_t\}, \qquad
    n_t = \varphi\, n_{t-1} + \sigma \sqrt{1 - \varphi^2}\, \epsilon_t, \quad \varphi = 0.9^{\Delta}

where g has two peaks, at 07:30 and 18:00, zero mean over the day and a half range of one; w is the
weekend discount, shifted to zero mean over the week; ε is standard normal from the given random
stream. Over whole weeks the mean is therefore that of the settings, but for the noise and the floor
at zero, which the default figures practically never reach.

The default figures are meant for Germany in 2016, the calendar year of the bundled profiles. They
are approximate:

- spot: the mean day-ahead price of EPEX Spot for Germany and Austria was about 29 EUR/MWh
  (28.98 EUR/MWh) in 2016;
- retail: BDEW's price analyses give about 28.7 to 28.8 ct/kWh for a household with 3500 kWh per
  year in 2016, taxes included; about 24.2 ct/kWh without the value added tax. The default,
  25.4 ct/kWh on average, lies between the two;
- feed-in: EEG 2014 gave rooftop photovoltaic systems commissioned in the first months of 2016 about
  12.3 ct/kWh up to 10 kW, 12.0 ct/kWh up to 40 kW and 10.7 ct/kWh up to 100 kW;
- imbalance and loss prices are assumptions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from agents.prosumer import EFFICIENCY
from market.stored_energy import stored_energy_values
from simulation.time_tables import mean_over_steps, read_time_table

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from configs.schema import Prices

SPOT = "spot_eur_per_kwh"
LARGEST_SPOT = 1000.0
"""Largest spot price of a file, either way. [EUR/kWh]"""
SYNTHETIC = "synthetic spot price (daily and weekly shape, seeded noise)"
_PEAK_HOURS = (7.5, 18.0)
_PEAK_WIDTH_HOURS = 2.5
_CORRELATION_PER_HOUR = 0.9


class PriceError(ValueError):
    """Prices that cannot be used; the message names file, time, value and what is allowed."""


@dataclass(frozen=True, eq=False)
class Tariff:
    """Prices of a run and its look-ahead, each of shape (n_times,). [EUR/kWh]

    ``imbalance_sell <= feed_in <= retail <= imbalance_buy`` holds in every step.

    Attributes
    ----------
    spot : ndarray
        Wholesale price; synthetic unless ``source`` names a file.
    retail : ndarray
        What a peer pays the supplier.
    feed_in : ndarray
        What the supplier pays a peer.
    loss : ndarray
        Price of network losses, not below zero.
    imbalance_buy : ndarray
        Price of a shortage.
    imbalance_sell : ndarray
        Price paid for a surplus.
    source : str
        Where the spot price comes from.
    """

    spot: NDArray[np.float64]
    retail: NDArray[np.float64]
    feed_in: NDArray[np.float64]
    loss: NDArray[np.float64]
    imbalance_buy: NDArray[np.float64]
    imbalance_sell: NDArray[np.float64]
    source: str


def make_tariff(settings: Prices, times: pd.DatetimeIndex, rng: np.random.Generator) -> Tariff:
    """Compute the tariff.

    Parameters
    ----------
    settings : Prices
        The constants, and the user's file if there is one.
    times : DatetimeIndex, length n_times
        Beginning of each step of the run and of the look-ahead behind it, UTC.
    rng : Generator
        Random stream of the synthetic noise; not used with a file. A longer look-ahead does not
        change the prices of the run.

    Returns
    -------
    Tariff
        The prices.

    Raises
    ------
    PriceError
        If the file is missing or unreadable, has gaps or impossible values, does not cover the
        times, or makes the supplier sell below its own buying price.
    """
    if settings.file is None:
        spot, source = synthetic_spot(settings, times, rng), SYNTHETIC
    else:
        spot, source = _spot_of_file(settings.file, times), str(settings.file)
    retail = spot + settings.retail_adder_eur_per_kwh
    feed_in = _feed_in(settings, spot)
    _check_spread(source, times, retail, feed_in)
    return Tariff(
        spot=spot,
        retail=retail,
        feed_in=feed_in,
        loss=np.maximum(0.0, spot + settings.loss_adder_eur_per_kwh),
        imbalance_buy=retail * settings.imbalance_buy_factor,
        imbalance_sell=feed_in * settings.imbalance_sell_factor,
        source=source,
    )


def _feed_in(settings: Prices, spot: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the supplier pays for injections: a constant, or what follows the spot price."""
    if settings.feed_in_below_spot_eur_per_kwh is None:
        return np.full(len(spot), settings.feed_in_eur_per_kwh)
    return np.maximum(0.0, spot - settings.feed_in_below_spot_eur_per_kwh)


def run_values(tariff: Tariff, n_steps: int) -> dict[str, float]:
    """Values of a kWh in a battery over the first steps of a run; see `market.stored_energy`."""
    spot, retail, feed_in = tariff.spot[:n_steps], tariff.retail[:n_steps], tariff.feed_in[:n_steps]
    return stored_energy_values(spot, retail, feed_in, EFFICIENCY)


def synthetic_spot(
    settings: Prices, times: pd.DatetimeIndex, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Compute the synthetic spot price of the module docstring.

    Parameters
    ----------
    settings : Prices
        Mean, amplitude, discount and noise.
    times : DatetimeIndex, length n_times
        Uniform times, UTC.
    rng : Generator
        Random stream of the noise.

    Returns
    -------
    ndarray, shape (n_times,)
        [EUR/kWh]
    """
    step_hours = (times[1] - times[0]) / pd.Timedelta(hours=1) if len(times) > 1 else 1.0
    hours = ((times - times.normalize()) / pd.Timedelta(hours=1)).to_numpy() + step_hours / 2
    is_weekend = times.dayofweek.to_numpy() >= 5
    discount = settings.spot_weekend_discount_eur_per_kwh
    spot: NDArray[np.float64] = (
        settings.spot_mean_eur_per_kwh
        + settings.spot_daily_amplitude_eur_per_kwh * daily_shape(hours)
        + discount * np.where(is_weekend, -5 / 7, 2 / 7)
        + settings.spot_noise_eur_per_kwh * _unit_noise(len(times), step_hours, rng)
    )
    return np.maximum(0.0, spot)


def daily_shape(hours: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shape of a day with a morning and an evening peak.

    Parameters
    ----------
    hours : ndarray, shape (n_times,)
        Time of day, UTC. [h]

    Returns
    -------
    ndarray, shape (n_times,)
        Zero mean over the day, largest minus smallest value of two. [-]
    """
    grid = _two_peaks(np.arange(0.0, 24.0, 1 / 12))
    shape: NDArray[np.float64] = 2.0 * (_two_peaks(hours) - grid.mean()) / np.ptp(grid)
    return shape


def _two_peaks(hours: NDArray[np.float64]) -> NDArray[np.float64]:
    distance = (hours[:, np.newaxis] - np.array(_PEAK_HOURS) + 12.0) % 24.0 - 12.0
    peaks: NDArray[np.float64] = np.exp(-0.5 * (distance / _PEAK_WIDTH_HOURS) ** 2).sum(axis=1)
    return peaks


def _unit_noise(n: int, step_hours: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Stationary first-order autoregression with unit variance."""
    phi = _CORRELATION_PER_HOUR**step_hours
    shocks = rng.standard_normal(n)
    noise = np.empty(n)
    state = 0.0
    for t, shock in enumerate(shocks):
        state = shock if t == 0 else phi * state + np.sqrt(1.0 - phi**2) * shock
        noise[t] = state
    return noise


def _spot_of_file(path: Path, times: pd.DatetimeIndex) -> NDArray[np.float64]:
    """Read the spot price; finer data are averaged, coarser ones hold until their next time."""
    try:
        file_times, table = read_time_table(path)
        if SPOT not in table:
            msg = f"{path}: no column {SPOT!r}; there are {', '.join(table.columns)}"
            raise PriceError(msg)
        values = table[[SPOT]].to_numpy(np.float64)
        if (beyond := np.abs(values[:, 0]) > LARGEST_SPOT).any():
            row = int(beyond.argmax())
            msg = (
                f"{path}: {SPOT} {values[row, 0]:g} at {file_times[row]}; allowed are "
                f"{-LARGEST_SPOT:g} to {LARGEST_SPOT:g}"
            )
            raise PriceError(msg)
        step = times[1] - times[0] if len(times) > 1 else file_times[1] - file_times[0]
        if file_times[1] - file_times[0] < step:
            minutes = round(step / pd.Timedelta(minutes=1))
            file_times, values = mean_over_steps(path, file_times, values, minutes)
    except PriceError:
        raise
    except ValueError as error:
        raise PriceError(str(error)) from error
    held = file_times[1] - file_times[0] if len(file_times) > 1 else step
    rows = file_times.get_indexer(times, method="ffill")
    covered = (rows >= 0) & np.asarray(times < file_times[-1] + held)
    if not covered.all():
        missing = times[~covered][0]
        msg = (
            f"{path}: no price for {missing}; the run and its look-ahead need "
            f"{times[0]} to {times[-1]}, the file has {file_times[0]} to {file_times[-1]}"
        )
        raise PriceError(msg)
    spot: NDArray[np.float64] = values[rows, 0]
    return spot


def _check_spread(
    source: str,
    times: pd.DatetimeIndex,
    retail: NDArray[np.float64],
    feed_in: NDArray[np.float64],
) -> None:
    below = retail < feed_in
    if below.any():
        t = int(below.argmax())
        msg = (
            f"{source}: retail price {retail[t]:.5f} EUR/kWh (spot plus retail_adder_eur_per_kwh) "
            f"at {times[t]} is below the feed-in price {feed_in[t]:.5f}: buying in order to sell "
            "would pay without limit"
        )
        raise PriceError(msg)
