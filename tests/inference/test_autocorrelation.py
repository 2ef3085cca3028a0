"""Standard errors of means of autocorrelated series."""

import numpy as np
import pytest

from ppl_scaling.inference.autocorrelation import standard_error_of_mean


def geyer(series):
    """The initial monotone sequence at length; also whether a pair was larger than one before it, and taken for less."""
    n, centred = len(series), series - series.mean()
    covariance = [sum(centred[i] * centred[i + lag] for i in range(n - lag)) / n for lag in range(n)]
    total, least, lowered = 0.0, np.inf, False
    for lag in range(0, n - 1, 2):
        pair = covariance[lag] + covariance[lag + 1]
        if pair <= 0:
            break
        lowered |= pair > least
        least = min(least, pair)
        total += least
    return np.sqrt(max((2 * total - covariance[0]) / n, covariance[0] / n**2)), lowered


def test_the_sum_of_autocovariances_is_cut_as_geyer_does():
    rng = np.random.default_rng(1)
    alternating = np.tile([0.0, 1.0], 50)
    lowered = []
    for series in [alternating, *(rng.standard_normal(size).cumsum() for size in range(8, 40))]:
        expected, was_lowered = geyer(series)
        assert standard_error_of_mean(series) == pytest.approx(expected)
        lowered.append(was_lowered)
    assert any(lowered) and not all(lowered)
    assert standard_error_of_mean(alternating) == pytest.approx(0.5 / 100), "no better than perfect on so many pairs"


def test_standard_error_of_an_autoregression_and_of_series_that_tell_nothing():
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((200, 1000))
    series = np.zeros_like(noise)
    for t in range(1, 1000):
        series[:, t] = 0.8 * series[:, t - 1] + noise[:, t]
    errors = [standard_error_of_mean(one) for one in series]
    assert np.mean(errors) == pytest.approx(5 / np.sqrt(1000), rel=0.1)
    assert np.isnan(standard_error_of_mean(np.ones(100))) and np.isnan(standard_error_of_mean(np.arange(7.0)))
