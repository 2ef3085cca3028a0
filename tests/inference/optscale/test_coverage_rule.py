"""The rule by coverage: held against independent completions of which the score is the probability, and against counts."""

import math

import numpy as np
import pytest
from scipy import stats

from ppl_scaling.inference.optscale import CoverageRule, Evidence, infer_scores, replay
from ppl_scaling.inference.optscale.coverage_rule import expected_score
from ppl_scaling.models.scores import BetaScores, LogitNormalScores
from ppl_scaling.models.scores.dirichlet import DirichletScores
from tests.statistics import assert_mean

SEEN = (0.3, 0.1, 0.2)
LAW = DirichletScores(1.0)


def evidence(scores=SEEN, allowed=20, law=LAW):
    return Evidence(tuple(scores), allowed, law)


def test_it_stops_where_one_is_probably_right():
    covered = 1 - 0.7 * 0.9 * 0.8
    stops = CoverageRule(0.49).decide(evidence())
    assert stops.stop and stops.further == 0 and stops.because == "covered" and stops.probability == pytest.approx(covered)
    assert stops.reason == "one of the 3 completions is right with probability 0.496"
    goes_on = CoverageRule(0.9).decide(evidence())
    mean = (0.5 + sum(SEEN)) / 4
    assert not goes_on.stop and goes_on.because == "more_needed"
    expected = math.log(0.1 / (1 - covered)) / math.log1p(-mean)
    assert goes_on.further == math.ceil(expected)


def test_a_price_is_compared_with_what_the_next_one_adds():
    worth = 0.7 * 0.9 * 0.8 * (0.5 + sum(SEEN)) / 4
    stops = CoverageRule(0.99, price=1.01 * worth).decide(evidence())
    assert stops.stop and stops.further == 0 and stops.because == "not_worthwhile" and "less than its price" in stops.reason
    goes_on = CoverageRule(0.99, price=0.5 * worth).decide(evidence())
    assert not goes_on.stop and goes_on.further == math.ceil(math.log(0.5) / math.log1p(-(0.5 + sum(SEEN)) / 4))


@pytest.mark.parametrize("model", [BetaScores(), LogitNormalScores()], ids=lambda one: one.name)
@pytest.mark.parametrize("scores", [(), (0.9,), (0.02, 0.04, 0.9, 0.6)])
def test_the_expected_score_is_the_mean_of_the_predictive_law(model, scores):
    posterior = infer_scores(model, scores)
    assert_mean(posterior.sample_scores((20_000, 1), seed=3)[:, 0], expected_score(posterior))


def test_the_expected_score_of_a_dirichlet_process():
    posterior = infer_scores(DirichletScores(2.0, stats.beta(2, 6)), SEEN)
    assert expected_score(posterior) == pytest.approx((2 * 0.25 + sum(SEEN)) / 5, abs=1e-6)


def test_coverage_is_what_it_says_of_completions_that_are_right_with_their_score():
    """Over random pools, how often one of the completions is right at the end: the mean of what the rule said.

    Stopping early changes nothing about that, because the rule looks at scores only. The false-alarm rate is the helper's.
    """
    rng = np.random.default_rng(5)
    said, found = [], []
    for _ in range(400):
        scores = rng.beta(1, rng.uniform(1, 8), 24)
        right = rng.random(24) < scores
        end = replay(CoverageRule(0.85, 0.02), evidence(scores))[-1]
        said.append(end.probability)
        found.append(right[: end.num_seen].any())
    assert_mean(np.array(found, float) - np.array(said), 0.0)


def test_easy_problems_are_covered_and_hopeless_ones_given_up():
    rule = CoverageRule(0.9, 0.02)
    easy, hopeless = (replay(rule, evidence([score] * 40))[-1] for score in (0.7, 0.001))
    assert easy.because == "covered" and hopeless.because == "not_worthwhile"
    assert easy.num_seen == 2 and hopeless.num_seen < 40


def test_edges():
    assert CoverageRule(1.0).decide(evidence((0.5, 1.0))).because == "covered"
    assert not CoverageRule(0.9).decide(evidence(())).stop
    assert not CoverageRule(0.9, 0.01).decide(evidence((None,))).stop
    assert CoverageRule(0.9).decide(evidence((0.0,) * 4, law=DirichletScores(0.0))).further == 10**9
    wanted = CoverageRule(0.9).decide(Evidence((0.2, None, None), 5, BetaScores())).further
    assert wanted > CoverageRule(0.9).decide(Evidence((0.2,), 5, BetaScores())).further


@pytest.mark.parametrize(
    ("settings", "message"), [((0.0,), "confidence to be in"), ((0.9, 0.0), r"in \(0, 1\), .* got 0.0")]
)
def test_mistakes_are_said(settings, message):
    with pytest.raises(ValueError, match=message):
        CoverageRule(*settings)
