"""Posteriors where some completions have no answer: how many have one is learned as well."""

import numpy as np
import pytest
from scipy import stats

from ppl_scaling.inference.optscale import GuaranteeRule, infer_scores
from ppl_scaling.inference.optscale.answered import AnsweredPosterior, infer_answered
from ppl_scaling.inference.optscale.posterior import ScorePosterior
from ppl_scaling.models.scores import BetaScores
from tests.inference.optscale.seen import LAWS, SEEN, evidence
from tests.statistics import assert_mean


@pytest.fixture(scope="module")
def posterior():
    """Of five completions with an answer and two without: the next has one with a probability from Beta(6, 2)."""
    return evidence((*SEEN, None, None)).posterior


@pytest.mark.parametrize("number", [1, 7, 512, 513, 600])  # by a sum up to 512, by quadrature above
def test_powers_are_integrals_over_the_share_of_answers(posterior, number):
    assert isinstance(posterior, AnsweredPosterior) and posterior.best == 0.8
    nodes, weights = np.polynomial.legendre.leggauss(320)  # exact for polynomials of degree 639
    shares, weights = (1 + nodes) / 2, weights / 2 * stats.beta(6, 2).pdf((1 + nodes) / 2)

    def missed(log_cdf):
        return (1 + shares * np.expm1(log_cdf)[:, None]) ** number @ weights

    exact = infer_scores(LAWS["beta"], SEEN).expectation(0.85, missed)
    assert np.exp(posterior.log_power_mean(0.85, number)) == pytest.approx(exact, rel=1e-9)


def test_quantiles_and_draws_are_those_of_the_same_law(posterior):
    grid = (np.arange(1000) + 0.5) / 1000
    above = 1 - infer_scores(LAWS["beta"], SEEN).cdf_quantile(0.85, grid)
    exact = np.quantile(1 - stats.beta(6, 2).ppf(grid)[:, None] * above, [0.1, 0.9])
    assert posterior.cdf_quantile(0.85, [0.1, 0.9]) == pytest.approx(exact, abs=0.002)
    drawn = posterior.sample_scores((4000, 3), seed=2)
    assert_mean((drawn < 0.85).all(1), float(np.exp(posterior.log_power_mean(0.85, 3))))


def test_a_rule_asks_for_more_where_some_may_have_no_answer():
    rule = GuaranteeRule(0.9, 0.8, give_up_below=0)
    assert rule.decide(evidence((*SEEN, None, None))).further > rule.decide(evidence()).further


def test_under_a_dirichlet_process_no_answer_is_a_score_of_0():
    seen = evidence((*SEEN, None, None), law="dirichlet").posterior
    assert seen.log_power_mean(0.85, 7) == infer_scores(LAWS["dirichlet"], (*SEEN, 0, 0)).log_power_mean(0.85, 7)


def test_gains_with_unanswered_completions_are_means_over_the_number_of_answers():
    posterior = infer_answered(BetaScores(), SEEN, 3)
    numbers = np.array([0, 1, 7, 64])
    direct = ScorePosterior.expected_gains(posterior, numbers)
    np.testing.assert_allclose(posterior.expected_gains(numbers), direct, rtol=0, atol=2e-4 * (1 - max(SEEN)))
    # One more completion brings what one with an answer does, if it has one.
    assert posterior.expected_gain(1) == pytest.approx(6 / 9 * posterior.answered.expected_gain(1), rel=1e-5)
    assert posterior.expected_gain(600) > posterior.expected_gain(512) > posterior.expected_gain(64)
    assert posterior.precise
