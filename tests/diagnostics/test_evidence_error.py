"""Error bars of the evidence: by hand, and against the spread over replicates in a finite world."""

import math

import numpy as np
import pytest

from ppl_scaling.diagnostics import chan_lai_standard_error, evidence_spread
from ppl_scaling.errors import AllWeightsZeroError
from ppl_scaling.inference import ParticleFilter, enumerate_posterior, multinomial, systematic
from tests.diagnostics.made import made_result
from tests.statistics import assert_mean
from tests.worlds import LIKELIHOODS, LastLetter, early_ends

REPLICATES = 400


def test_chan_and_lai_by_hand():
    """Four particles; before the second step, families 0 and 1 have two children each.

    First stretch: 4 W - 1 = (1, 0, -0.6, -0.4). Second: families 0 and 1 begin with two particles and end with the weights
    0.7 and 0.3, so 4 W - 2 = (0.8, -0.8). Sums (1.8, -0.8, -0.6, -0.4).
    """
    weights = [[0.5, 0.25, 0.1, 0.15], [0.4, 0.3, 0.2, 0.1]]
    result = made_result(weights, [[0, 1, 2, 3], [0, 0, 1, 1]], [False, True])
    assert chan_lai_standard_error(result) == pytest.approx(math.sqrt((1.8**2 + 0.8**2 + 0.6**2 + 0.4**2) / 12))


def test_without_resampling_both_estimates_are_the_same():
    weights = np.array([[0.5, 0.3, 0.2]])
    relative_variance = 1 - 1.5 * (1 - np.sum(weights**2))
    assert chan_lai_standard_error(made_result(weights)) == pytest.approx(math.sqrt(relative_variance))


def test_equal_weights_have_no_error_however_they_are_resampled():
    result = made_result(np.ones((3, 4)), [[0, 1, 2, 3], [0, 0, 1, 3], [2, 2, 2, 2]], [False, True, True])
    assert chan_lai_standard_error(result) == 0.0


def test_where_the_law_of_the_ancestors_is_not_known_there_is_no_estimate():
    assert math.isnan(chan_lai_standard_error(made_result([[0.5, 0.5]], method="auxiliary particle filter")))
    assert math.isnan(chan_lai_standard_error(made_result([[1.0]])))
    assert math.isnan(chan_lai_standard_error(made_result([[0.5, 0.5]], resampled=[True])))


def run(scheme, threshold):
    model = early_ends(LIKELIHOODS["bernoulli"])
    smc = ParticleFilter(model, num_particles=100, ess_threshold=threshold, resampling=scheme, answer_format=LastLetter())
    exact = enumerate_posterior(model, "?").log_evidence
    results = smc.run_batch(["?"] * REPLICATES, seed=0)
    return results, np.exp([one.log_evidence - exact for one in results])


def test_estimated_variance_is_the_variance_between_replicates():
    """Multinomial resampling at every step; the mean over replicates within 5 errors, as in test_genealogy.

    The variance between replicates has a relative standard error of about sqrt(2 / 400) of its own, which is added. The
    replicates of one problem then agree as well as their error bars say.
    """
    results, relative = run(multinomial, 1.0)
    estimates = np.array([chan_lai_standard_error(one) for one in results])
    assert_mean(estimates**2, relative.var(ddof=1), bias=5 * math.sqrt(2 / REPLICATES) * relative.var(ddof=1))
    spread = evidence_spread(results)
    assert spread.ratio == pytest.approx(1.0, abs=5 * math.sqrt(0.5 / REPLICATES) + 0.1)  # 0.1: the log, to second order
    assert spread.standard_error == pytest.approx(relative.std(ddof=1) / relative.mean() / math.sqrt(REPLICATES), rel=0.02)


def test_with_systematic_resampling_the_estimate_errs_on_the_safe_side():
    results, relative = run(systematic, 0.5)
    estimates = np.array([chan_lai_standard_error(one) for one in results])
    assert np.mean(estimates**2) >= relative.var(ddof=1) * (1 - 5 * math.sqrt(2 / REPLICATES))


def test_spread_between_replicates_by_hand():
    results = [made_result([[0.5, 0.5]], log_evidence=one, error=0.3) for one in (-1.0, -2.0, -3.0)]
    spread = evidence_spread([*results, AllWeightsZeroError(1, 0, "y_1")])
    assert (spread.num_replicates, spread.num_failed) == (4, 1)
    assert spread.log_evidence == pytest.approx(math.log((math.exp(-1) + math.exp(-2) + math.exp(-3)) / 4))
    assert spread.standard_deviation == pytest.approx(1.0) and spread.ratio == pytest.approx(1 / 0.3)
    assert spread.limit_99 == pytest.approx(math.sqrt(-math.log(0.01)))  # chi-square with two degrees of freedom, over two
    values = np.exp([-1.0, -2.0, -3.0, -math.inf])
    without = np.log((values.sum() - values) / 3)
    assert spread.standard_error == pytest.approx(math.sqrt(3 / 4 * ((without - without.mean()) ** 2).sum()))


def test_rounding_is_no_spread():
    results = [made_result([[0.5, 0.5]], log_evidence=-1.0 + one, error=1e-16) for one in (0.0, 2e-16, 4e-16, 0.0)]
    spread = evidence_spread(results)
    assert spread.standard_deviation == spread.standard_error == 0.0 and math.isnan(spread.ratio)


def test_what_replicates_cannot_tell_is_nan():
    alone = evidence_spread([made_result([[0.5, 0.5]])])
    assert math.isnan(alone.standard_error) and math.isnan(alone.ratio) and alone.log_evidence == -1.0
    unknown = evidence_spread([made_result([[0.5, 0.5]], error=math.nan, log_evidence=one) for one in (-1.0, -2.0)])
    assert math.isnan(unknown.ratio) and unknown.standard_deviation > 0
    dead = evidence_spread([AllWeightsZeroError(1, 0, "y_1")])
    assert dead.log_evidence == -math.inf and math.isnan(dead.standard_error)
    with pytest.raises(ValueError, match="at least one"):
        evidence_spread([])
