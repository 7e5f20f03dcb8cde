"""Perfect foresight: the truth, and errors that are nothing."""

import numpy as np

from agents.foresight import PerfectForesight

VALUES = np.arange(48.0).reshape(24, 2)
TRUTH = PerfectForesight(VALUES, steps_per_day=6, n_leads=4)


def test_forecasts_are_what_comes():
    np.testing.assert_array_equal(TRUTH.forecast(5), VALUES[5:9])


def test_the_data_repeat():
    np.testing.assert_array_equal(TRUTH.forecast(22), VALUES[[22, 23, 0, 1]])


def test_past_forecasts_were_true():
    past = TRUTH.past(14, 2)
    np.testing.assert_array_equal(past.errors, 0.0)
    np.testing.assert_array_equal(past.forecasts, VALUES[[4, 10]])
    np.testing.assert_array_equal(past.day, [0, 1])
    np.testing.assert_allclose(past.age_days, [10 / 6, 4 / 6])
