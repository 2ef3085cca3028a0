"""Standard errors from one run against the spread over many."""

import math

import numpy as np
import pytest

from ppl_scaling.inference import Genealogy, ParticleFilter, enumerate_posterior, multinomial
from tests.inference.exactness import share_of
from tests.statistics import assert_mean
from tests.worlds import LIKELIHOODS, LastLetter, early_ends


def test_lineages_lead_back_through_the_ancestors():
    genealogy = Genealogy(np.array([[0, 0, 2], [2, 1, 1]]), np.array([True, True]), 3)
    assert genealogy.lineages().tolist() == [[2, 0, 0], [2, 1, 1], [0, 1, 2]]
    assert genealogy.roots().tolist() == [2, 0, 0]


def test_without_resampling_it_is_the_formula_for_weighted_independent_draws():
    weights, values = np.array([0.5, 0.3, 0.2]), np.array([1.0, 0.0, 4.0])
    genealogy = Genealogy(np.tile(np.arange(3), (4, 1)), np.zeros(4, dtype=bool), 3)
    mean = weights @ values
    expected = math.sqrt(1.5 * np.sum((weights * (values - mean)) ** 2))
    assert genealogy.standard_error(weights, values) == pytest.approx(expected)
    relative_variance = 1 - 1.5 * (1 - np.sum(weights**2))
    assert genealogy.log_evidence_standard_error(weights) == pytest.approx(math.sqrt(relative_variance))


def test_one_root_says_nothing():
    genealogy = Genealogy(np.array([[1, 1, 1]]), np.array([True]), 3)
    weights = np.full(3, 1 / 3)
    assert math.isnan(genealogy.standard_error(weights, np.array([0.0, 1.0, 2.0])))
    assert math.isnan(genealogy.log_evidence_standard_error(weights))
    assert math.isnan(genealogy.chan_lai_standard_error(np.zeros((1, 3)))), "the first step was resampled"
    no_step = Genealogy(np.zeros((0, 3), dtype=np.int64), np.zeros(0, dtype=bool), 3)
    assert math.isnan(no_step.chan_lai_standard_error(np.zeros((0, 3))))
    two_roots_one_weightless = Genealogy(np.array([[0, 1, 1]]), np.array([True]), 3)
    assert math.isnan(two_roots_one_weightless.standard_error(np.array([0.0, 0.5, 0.5]), np.array([0.0, 1.0, 2.0])))


def test_a_negative_variance_says_nothing():
    genealogy = Genealogy(np.array([[0, 0, 1], [0, 1, 2]]), np.array([True, True]), 3)  # 27 / 8 (1 - 5 / 9) > 1
    assert math.isnan(genealogy.log_evidence_standard_error(np.full(3, 1 / 3)))
    equal = Genealogy(np.tile(np.arange(7), (2, 1)), np.zeros(2, dtype=bool), 7)
    assert equal.log_evidence_standard_error(np.full(7, 1 / 7)) == pytest.approx(0.0, abs=1e-6), "nothing was weighed"


def test_estimated_variance_is_the_variance_between_replicates():
    """Multinomial resampling at every step, where theory says so; the mean over 600 replicates within 5 errors.

    The variance between replicates has a relative standard error of about sqrt(2 / 600) of its own, which is added.
    """
    model = early_ends(LIKELIHOODS["bernoulli"])
    smc = ParticleFilter(model, num_particles=150, ess_threshold=1.0, resampling=multinomial, answer_format=LastLetter())
    results = smc.run_batch(["?"] * 600, seed=0)
    shares = np.array([share_of(one, "a") for one in results])
    errors = np.array([{e.answer: e.standard_error for e in one.answers}["a"] for one in results])
    assert not np.isnan(errors).any()
    assert_mean(errors**2, shares.var(ddof=1), bias=5 * math.sqrt(2 / 600) * shares.var(ddof=1))
    exact = enumerate_posterior(model, "?").log_evidence
    relative = np.exp([one.log_evidence - exact for one in results])
    estimated = np.array([one.log_evidence_standard_error for one in results])
    assert_mean(estimated**2, relative.var(ddof=1), bias=5 * math.sqrt(2 / 600) * relative.var(ddof=1))
