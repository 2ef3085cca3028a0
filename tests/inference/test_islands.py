"""Islands: pooled posterior and evidence against enumeration, coverage of their intervals, exchange, adaptive number."""

import json
import math

import numpy as np
import pytest

from ppl_scaling.errors import AllWeightsZeroError
from ppl_scaling.inference import AnnealedSMC, Islands, ParticleFilter, ParticleGibbs, enumerate_posterior, multinomial
from ppl_scaling.inference.pooling import answers_of, jackknife, shares_of
from ppl_scaling.models import OddsLikelihood
from tests.inference.exactness import assert_matches
from tests.statistics import assert_mean
from tests.worlds import LIKELIHOODS, WORLDS, AnyCase, LastLetter, answering, early_ends, impossible_branches, truncation


def small_filter(model, num_particles=8, **settings):
    return ParticleFilter(model, num_particles=num_particles, answer_format=LastLetter(), resampling=multinomial, **settings)


@pytest.mark.parametrize("exchange", [False, True], ids=["apart", "exchange"])
@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_pooled_evidence_and_posterior(world, exchange):
    model = world(LIKELIHOODS["odds"])
    method = Islands(small_filter(model), num_replicates=5, exchange=exchange, exchange_threshold=0.95)
    results = method.run_batch(["?"] * 200, seed=1)
    assert_matches(results, enumerate_posterior(model, "?"))
    assert all(one.num_replicates == 5 for one in results)
    assert all(
        len(one.trajectories) == 8 * sum(hasattr(run, "answers") for run in one.replicates)
        for one in results
        if not exchange
    )
    log_weights = np.array([one.log_weight for one in results[0].trajectories])
    weights = np.exp(log_weights - np.logaddexp.reduce(log_weights))
    np.testing.assert_allclose([one.weight for one in results[0].trajectories], weights)
    if exchange:
        assert any(one.replicates[0].resampled.any() for one in results)


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_islands_that_are_resampled_alone_keep_their_weight(world):
    """Small islands, resampled at every step and hardly ever exchanged: without their weights the evidence is biased."""
    model = world(OddsLikelihood(temperature=0.7))
    method = Islands(small_filter(model, 3, ess_threshold=1.0), num_replicates=12, exchange=True, exchange_threshold=0.2)
    results = method.run_batch(["?"] * 300, seed=10)
    assert_matches(results, enumerate_posterior(model, "?"))


@pytest.mark.parametrize("world", [early_ends, truncation])
def test_chains_are_pooled_by_the_evidence_they_began_with(world):
    """Two particles and three iterations: chains alone are not at the posterior yet; weighed so they are right."""
    model = world(OddsLikelihood(temperature=0.7))
    chain = ParticleGibbs(model, num_particles=2, num_iterations=3, burn_in=1, answer_format=LastLetter())
    assert_matches(Islands(chain, num_replicates=3).run_batch(["?"] * 200, seed=11), enumerate_posterior(model, "?"))


def test_islands_that_die_count_with_nothing():
    """Two particles each: many islands have no possible particle, and the pooled evidence is unbiased all the same."""
    model = impossible_branches(LIKELIHOODS["bernoulli"])
    exact = enumerate_posterior(model, "?")
    for exchange in (False, True):
        method = Islands(small_filter(model, 2), num_replicates=6, exchange=exchange, exchange_threshold=1.0)
        results = method.run_batch(["?"] * 200, seed=2)
        failed = [isinstance(one, AllWeightsZeroError) for one in results]
        evidence = [
            0.0 if fail else math.exp(one.log_evidence - exact.log_evidence)
            for one, fail in zip(results, failed, strict=True)
        ]
        assert_mean(evidence, 1.0)
        died = [(one.replicate_weights == 0).any() for one, fail in zip(results, failed, strict=True) if not fail]
        assert any(died) != exchange  # an exchange has replaced them before the end


@pytest.mark.parametrize("exchange", [False, True], ids=["apart", "exchange"])
def test_intervals_of_two_standard_errors_cover_as_often_as_they_promise(exchange):
    """Coverage of 200 intervals of 12 replicates: by Student's t with 11 degrees of freedom .929.

    Asserted to be above .84; were the coverage .929 in truth, a false alarm would have a chance of 1e-5. And to be below 1,
    which too wide intervals would not be.
    """
    model = early_ends(LIKELIHOODS["odds"])
    exact = enumerate_posterior(model, "?")
    answer, probability = max(
        ((answer, p) for answer, p in exact.answers(LastLetter()).items() if answer), key=lambda pair: pair[1]
    )
    method = Islands(small_filter(model, 10), num_replicates=12, exchange=exchange)
    results = method.run_batch(["?"] * 200, seed=3)
    entries = [next(entry for entry in one.answers if entry.answer == answer) for one in results]
    covered = [abs(entry.probability - probability) <= 2 * entry.standard_error for entry in entries]
    assert 0.84 < np.mean(covered) < 1
    errors = [one.log_evidence_standard_error for one in results]
    covered = [abs(one.log_evidence - exact.log_evidence) <= 2 * e for one, e in zip(results, errors, strict=True)]
    assert 0.84 < np.mean(covered) < 1


def test_the_standard_error_of_a_run_with_a_single_root_is_known_between_islands():
    model = early_ends(LIKELIHOODS["odds"])
    single = small_filter(model, 4, ess_threshold=1.0).run("?", seed=5)
    assert math.isnan(single.answers[0].standard_error)
    pooled = Islands(small_filter(model, 4, ess_threshold=1.0), num_replicates=8).run("?", seed=5)
    assert all(math.isfinite(entry.standard_error) for entry in pooled.answers)


def test_the_jackknife():
    """Of equal weights it is the standard error of a mean; and leaving out the only replicate leaves nothing."""
    shares = np.array([[0.1], [0.4], [0.7], [0.2]])
    _, error = jackknife(np.zeros(4), shares)
    assert error[0] == pytest.approx(shares.std(ddof=1) / 2)
    error, _ = jackknife(np.log([1.0, 1.1, 0.9, 1.0]), shares)
    assert error == pytest.approx(np.std([1, 1.1, 0.9, 1], ddof=1) / 2, rel=1e-2)
    assert all(
        math.isnan(value)
        for value in (jackknife(np.array([0.0, -math.inf]), shares[:2])[0], jackknife(np.zeros(1), shares[:1])[0])
    )


def test_pooled_answers_come_in_order_as_their_weightiest_trajectories_write_them():
    found = [("a", 0.1), ("b", 0.05), ("A", 0.15), (None, 0.1), ("c", 0.0), ("A", 0.1), ("b", 0.5)]
    trajectories = [answering(*one) for one in found]
    weights = np.array([0.4, 0.6])
    names, shares = shares_of(trajectories, [0, 0, 0, 0, 1, 1, 1], weights, AnyCase())
    assert names == ["A", "b", "c"] and shares == pytest.approx(np.array([[25, 5, 0], [10, 50, 0]]) / [[40], [60]])
    pooled = answers_of(names, weights @ shares, np.array([0.1, 0.2, 0.3]))
    assert [(one.answer, pytest.approx(one.probability), one.standard_error) for one in pooled] == [
        ("b", 0.55, 0.2),
        ("A", 0.35, 0.1),
    ]


def test_replicates_are_added_until_the_answer_is_known():
    model = early_ends(LIKELIHOODS["bernoulli"])
    method = Islands(small_filter(model, 8), num_replicates=4, target_standard_error=0.06, max_replicates=200)
    results = method.run_batch(["?", "!"] * 4, seed=6)
    assert {one.stopped_by for one in results} == {"target_standard_error"}
    assert all(one.answers[0].standard_error <= 0.06 for one in results)
    numbers = [one.num_replicates for one in results]
    assert len(set(numbers)) > 1 and all(number % 4 == 0 for number in numbers)
    strict = Islands(small_filter(model, 8), num_replicates=4, target_standard_error=0.025, max_replicates=200)
    assert np.mean([one.num_replicates for one in strict.run_batch(["?"] * 4, seed=6)]) > 3 * np.mean(numbers)


def test_the_limits_of_replicates_and_tokens():
    model = early_ends(LIKELIHOODS["bernoulli"])
    few = Islands(small_filter(model, 4), num_replicates=4, target_standard_error=1e-6, max_replicates=10).run("?", seed=7)
    assert few.stopped_by == "max_replicates" and few.num_replicates == 10
    method = Islands(small_filter(model, 4), num_replicates=4, target_standard_error=1e-6, max_generated_tokens=100)
    short = method.run("?", seed=7)
    assert short.stopped_by == "max_generated_tokens" and short.generated_tokens >= 100
    assert short.generated_tokens == sum(one.generated_tokens for one in short.replicates)
    assert sum(one.generated_tokens for one in short.replicates[:-4]) < 100


def test_other_methods_can_be_replicated_and_written_down():
    model = early_ends(LIKELIHOODS["odds"])
    method = Islands(AnnealedSMC(model, num_particles=8, answer_format=LastLetter()), num_replicates=3)
    result, again = (method.run("?", seed=8) for _ in range(2))
    assert result.method == "islands of annealed SMC" and result.answers == again.answers
    written = json.loads(json.dumps(result.to_dict()))
    assert written["num_replicates"] == 3 and sum(written["replicate_weights"]) == pytest.approx(1)
    assert written["configuration"]["replicated"] == "annealed SMC" and written["stopped_by"] == "num_replicates"
    assert "num_replicates=3" in repr(result)


def test_all_replicates_failing_is_the_failure_of_the_problem():
    model = impossible_branches(LIKELIHOODS["bernoulli"])
    outcomes = Islands(small_filter(model, 1), num_replicates=2).run_batch(["?"] * 60, seed=9)
    failed = [isinstance(one, AllWeightsZeroError) for one in outcomes]
    assert any(failed) and not all(failed)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"num_replicates": 1}, ValueError, "num_replicates to be an integer of at least 2, got 1"),
        ({"max_replicates": 0}, ValueError, "max_replicates to be an integer of at least 2, got 0"),
        ({"target_standard_error": 0.0}, ValueError, "target_standard_error to be above 0, got 0.0"),
        ({"max_generated_tokens": 0}, ValueError, "max_generated_tokens to be an integer of at least 1, got 0"),
        ({"exchange_threshold": 2}, ValueError, r"exchange_threshold to be in \(0, 1\], got 2"),
        ({"exchange": True, "target_standard_error": 0.1}, ValueError, "either exchange or target_standard_error"),
    ],
)
def test_bad_settings(settings, error, message):
    with pytest.raises(error, match=message):
        Islands(small_filter(early_ends(LIKELIHOODS["twist"])), **settings)


def test_methods_that_cannot_exchange_or_be_pooled():
    model = early_ends(LIKELIHOODS["twist"])
    with pytest.raises(TypeError, match="expected a ParticleFilter to exchange islands of, got AnnealedSMC"):
        Islands(AnnealedSMC(model), exchange=True)
