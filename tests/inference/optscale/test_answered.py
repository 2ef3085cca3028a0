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


def test_completions_without_an_answer_are_learned_about():
    seen = evidence((*SEEN, None, None))
    posterior = seen.posterior
    assert isinstance(posterior, AnsweredPosterior) and posterior.best == 0.8
    answered = infer_scores(LAWS["beta"], SEEN)
    grid = (np.arange(4000) + 0.5) / 4000
    shares = stats.beta(6, 2).ppf(grid)[:, None]
    cdf = answered.cdf_quantile(0.85, grid[::20] + 0.5 / 4000 * 19)
    for number in (1, 7, 600):
        exact = np.mean((1 - shares * (1 - cdf)) ** number)
        assert np.exp(posterior.log_power_mean(0.85, number)) == pytest.approx(exact, rel=0.02)
    around = posterior.log_power_mean(0.85, np.array([512, 513]))
    assert around[1] < around[0] < 0 and around[1] == pytest.approx(around[0], abs=0.01)
    assert posterior.cdf_quantile(0.85, [0.1, 0.9]) == pytest.approx(
        np.quantile(1 - shares * (1 - cdf), [0.1, 0.9]), abs=0.01
    )
    drawn = posterior.sample_scores((4000, 3), seed=2)
    assert_mean((drawn < 0.85).all(1), float(np.exp(posterior.log_power_mean(0.85, 3))))
    rule = GuaranteeRule(0.9, 0.8, give_up_below=0)
    assert rule.decide(seen).further > rule.decide(evidence()).further
    without_shape = evidence((*SEEN, None, None), law="dirichlet").posterior
    assert without_shape.log_power_mean(0.85, 7) == infer_scores(LAWS["dirichlet"], (*SEEN, 0, 0)).log_power_mean(0.85, 7)


def test_gains_with_unanswered_completions_are_means_over_the_number_of_answers():
    posterior = infer_answered(BetaScores(), SEEN, 3)
    numbers = np.array([0, 1, 7, 64])
    direct = ScorePosterior.expected_gains(posterior, numbers)
    np.testing.assert_allclose(posterior.expected_gains(numbers), direct, rtol=0, atol=2e-4 * (1 - max(SEEN)))
    # One more completion brings what one with an answer does, if it has one.
    assert posterior.expected_gain(1) == pytest.approx(6 / 9 * posterior.answered.expected_gain(1), rel=1e-5)
    assert posterior.expected_gain(600) > posterior.expected_gain(512) > posterior.expected_gain(64)
    assert posterior.precise
