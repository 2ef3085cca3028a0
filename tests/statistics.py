"""The statistical comparisons of the test suite: of means, and of frequencies with probabilities.

A test averages independent replicates under fixed seeds and compares the mean with the exact value in units of its own
standard error. ``K = 5`` standard errors: for a normal mean, a right program fails with probability 5.7e-7 a comparison.
The suite makes about 2,100 of them, so were all seeds changed, a false alarm would have a chance of about one in 800; with
fixed seeds a test that passed keeps passing. The replicates are several hundred, so means are close to normal.
"""

import math

import numpy as np
from scipy.stats import chi2

K = 5.0


def assert_mean(samples, exact, *, k=K, bias=0.0):
    """Assert that the mean of independent ``samples`` is ``exact`` within ``k`` standard errors.

    ``bias`` is a bound on the bias that theory allows the estimator, for self-normalised estimates of order 1/N; it is
    zero for unbiased ones, and never fitted to the outcome.
    """
    samples = np.asarray(samples, dtype=float)
    standard_error = samples.std(ddof=1) / math.sqrt(len(samples))
    if set(np.unique(samples)) <= {0.0, 1.0} and 0 < exact < 1:  # known, also where nothing has been seen
        standard_error = math.sqrt(exact * (1 - exact) / len(samples))
    error = abs(samples.mean() - exact)
    assert error <= k * standard_error + bias + 1e-12, (
        f"mean {samples.mean():.5f} of {len(samples)} replicates is {error / max(standard_error, 1e-300):.1f} standard "
        f"errors from {exact:.5f}"
    )


def assert_frequencies(counts, probabilities):
    """Assert that numbers of draws follow ``probabilities``, by chi-square: a right program fails with probability 1e-6.

    Values with fewer than five draws expected are taken together; what is impossible is never drawn.
    """
    counts = np.asarray(counts, dtype=float)
    expected = np.asarray(probabilities, dtype=float) * counts.sum()
    assert not counts[expected == 0].any()
    common = expected >= 5
    statistic = ((counts[common] - expected[common]) ** 2 / expected[common]).sum()
    rest = expected[~common].sum()
    if rest > 1:
        statistic += (counts[~common].sum() - rest) ** 2 / rest
    assert statistic < chi2.ppf(1 - 1e-6, common.sum())


def assert_above(larger, smaller, *, k=K):
    """Assert that independent samples ``larger`` have the larger mean, by ``k`` standard errors of the difference."""
    larger, smaller = (np.asarray(samples, dtype=float) for samples in (larger, smaller))
    standard_error = math.sqrt(larger.var(ddof=1) / len(larger) + smaller.var(ddof=1) / len(smaller))
    difference = larger.mean() - smaller.mean()
    assert difference > k * standard_error, (
        f"mean {larger.mean():.5f} is not {k} standard errors of {standard_error:.5f} above mean {smaller.mean():.5f}"
    )
