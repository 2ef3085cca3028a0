"""Standard errors of means of autocorrelated series."""

import numpy as np
import pytest

from ppl_scaling.inference.autocorrelation import standard_error_of_mean


def test_standard_error_of_a_chain():
    """An autoregression, whose variance is known; and series that tell nothing."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((200, 1000))
    series = np.zeros_like(noise)
    for t in range(1, 1000):
        series[:, t] = 0.8 * series[:, t - 1] + noise[:, t]
    errors = [standard_error_of_mean(one) for one in series]
    assert np.mean(errors) == pytest.approx(5 / np.sqrt(1000), rel=0.1)
    assert np.isnan(standard_error_of_mean(np.ones(100))) and np.isnan(standard_error_of_mean(np.arange(7.0)))
    alternating = np.tile([0.0, 1.0], 50)
    assert 0 < standard_error_of_mean(alternating) < 0.5 / 10
