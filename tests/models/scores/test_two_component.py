"""Right and wrong completions: the mixture against scipy, labels against Bayes' rule."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from pyro import poutine
from scipy.special import expit, logit

from ppl_scaling.models.scores import ScoreAndCorrectness, TwoComponentScores
from ppl_scaling.models.scores.base import RESOLUTION
from tests.statistics import assert_mean

VALUES = {
    "logit_share": torch.tensor(0.4, dtype=torch.float64),
    "wrong_location": torch.tensor(-0.7, dtype=torch.float64),
    "wrong_log_scale": torch.tensor(0.3, dtype=torch.float64),
    "log_gap": torch.tensor(0.8, dtype=torch.float64),
    "right_log_scale": torch.tensor(-0.6, dtype=torch.float64),
}
SCORES = torch.tensor([0.03, 0.2, 0.5, 0.81, 0.99], dtype=torch.float64)
SHARE = float(expit(0.4))
WRONG, RIGHT = scipy.stats.norm(-0.7, math.exp(0.3)), scipy.stats.norm(-0.7 + math.exp(0.8), math.exp(-0.6))


def density(part, scores):
    return part.pdf(logit(scores)) / (scores * (1 - scores))


def test_the_density_is_the_mixture_of_two_laws_of_logits():
    s = SCORES.numpy()
    expected = SHARE * density(RIGHT, s) + (1 - SHARE) * density(WRONG, s)
    np.testing.assert_allclose(TwoComponentScores().log_prob(SCORES, VALUES).exp(), expected, rtol=1e-12)
    total = TwoComponentScores().log_likelihood(SCORES, VALUES)
    np.testing.assert_allclose(total, np.log(expected).sum(), rtol=1e-12)


def test_both_tails_are_those_of_the_mixture():
    s = np.array([1e-12, 0.01, 0.4, 0.9, 1 - 1e-9])
    below = SHARE * RIGHT.cdf(logit(s)) + (1 - SHARE) * WRONG.cdf(logit(s))
    above = SHARE * RIGHT.sf(logit(s)) + (1 - SHARE) * WRONG.sf(logit(s))
    np.testing.assert_allclose(TwoComponentScores().log_cdf(torch.tensor(s), VALUES), np.log(below), rtol=1e-9)
    np.testing.assert_allclose(TwoComponentScores().log_survival(torch.tensor(s), VALUES), np.log(above), rtol=1e-7)


def test_no_completion_reaches_1_and_all_reach_0():
    model = TwoComponentScores()
    assert model.log_survival(1.0, VALUES) == -math.inf and model.log_cdf(1.0, VALUES) == 0
    assert model.log_survival(0.0, VALUES) == 0 and model.log_cdf(0.0, VALUES) == -math.inf


def test_scores_at_the_ends_have_the_mean_density_there():
    ends = TwoComponentScores().log_prob(torch.tensor([0.0, 1.0], dtype=torch.float64), VALUES).exp() * RESOLUTION
    edge = logit(RESOLUTION)
    expected = [
        SHARE * RIGHT.cdf(edge) + (1 - SHARE) * WRONG.cdf(edge),
        SHARE * RIGHT.sf(-edge) + (1 - SHARE) * WRONG.sf(-edge),
    ]
    np.testing.assert_allclose(ends, expected, rtol=1e-6)


def test_values_broadcast_with_scores():
    grid = {name: value + torch.linspace(-0.5, 0.5, 6).reshape(3, 2) for name, value in VALUES.items()}
    table = TwoComponentScores().log_prob(SCORES, grid)
    assert table.shape == (3, 2, 5)
    one = {name: value[2, 1] for name, value in grid.items()}
    torch.testing.assert_close(table[2, 1], TwoComponentScores().log_prob(SCORES, one))
    torch.testing.assert_close(TwoComponentScores().log_likelihood(SCORES, grid), table.sum(-1))


def test_draws_follow_the_law():
    drawn = TwoComponentScores().sample(VALUES, (4000,), generator=torch.Generator().manual_seed(1))
    for score in (0.1, 0.6, 0.9):
        assert_mean(drawn < score, TwoComponentScores().log_cdf(score, VALUES).exp().item())


def test_the_right_component_lies_above_under_every_prior_draw():
    """Of wrong completions half score below the wrong ones' centre, of right ones less than half."""
    drawn = TwoComponentScores().prior.sample((100,), torch.Generator().manual_seed(0))
    centre = drawn["wrong_location"].sigmoid()
    wrong, right = (
        TwoComponentScores().log_cdf(centre, drawn | {"logit_share": torch.full((100,), logit).double()}).exp()
        for logit in (-50.0, 50.0)
    )
    torch.testing.assert_close(wrong, torch.full((100,), 0.5).double())
    assert (right < 0.5).all()


def test_the_program_observes_every_score():
    site = poutine.trace(TwoComponentScores()).get_trace(SCORES).nodes["score"]
    assert site["is_observed"] and site["fn"].batch_shape == (5,)


# Score and correctness

LABELS = torch.tensor([0.0, math.nan, 1.0, math.nan, 0.0], dtype=torch.float64)


def test_without_any_label_the_joint_model_is_the_mixture():
    joint, mixture = ScoreAndCorrectness(), TwoComponentScores()
    unknown = torch.full((5,), math.nan, dtype=torch.float64)
    for correct in (None, unknown):
        torch.testing.assert_close(joint.log_prob(SCORES, VALUES, correct), mixture.log_prob(SCORES, VALUES))
    traces = [poutine.trace(poutine.condition(joint, VALUES)).get_trace(SCORES, labels) for labels in (None, unknown)]
    traces.append(poutine.trace(poutine.condition(mixture, VALUES)).get_trace(SCORES))
    torch.testing.assert_close(traces[0].log_prob_sum(), traces[1].log_prob_sum())
    torch.testing.assert_close(traces[0].log_prob_sum(), traces[2].log_prob_sum())


def test_with_all_labels_the_joint_model_is_the_two_labelled_likelihoods():
    correct = torch.tensor([0.0, 1, 1, 0, 1], dtype=torch.float64)
    right, s = correct.numpy() == 1, SCORES.numpy()
    expected = np.where(right, SHARE * density(RIGHT, s), (1 - SHARE) * density(WRONG, s))
    np.testing.assert_allclose(ScoreAndCorrectness().log_prob(SCORES, VALUES, correct).exp(), expected, rtol=1e-12)


def test_the_program_has_the_density_of_scores_and_known_labels():
    model = ScoreAndCorrectness()
    trace = poutine.trace(poutine.condition(model, VALUES)).get_trace(SCORES, LABELS)
    trace.compute_log_prob()
    assert trace.nodes["correct"]["is_observed"]
    torch.testing.assert_close(trace.nodes["correct"]["log_prob"] == 0, LABELS.isnan())
    together = trace.nodes["correct"]["log_prob"] + trace.nodes["score"]["log_prob"]
    torch.testing.assert_close(together, model.log_prob(SCORES, VALUES, LABELS))
    torch.testing.assert_close(together.sum(), model.log_likelihood(SCORES, VALUES, LABELS))


def test_the_program_draws_labels_and_then_scores():
    nodes = poutine.trace(poutine.condition(ScoreAndCorrectness(), VALUES)).get_trace(num_scores=4000).nodes
    correct, score = nodes["correct"]["value"], nodes["score"]["value"]
    assert_mean(correct, SHARE)
    assert_mean(score[correct == 1] < 0.8, RIGHT.cdf(logit(0.8)))
    assert_mean(score[correct == 0] < 0.3, WRONG.cdf(logit(0.3)))


def test_probability_correct_is_bayes_rule():
    s = SCORES.numpy()
    right, wrong = SHARE * density(RIGHT, s), (1 - SHARE) * density(WRONG, s)
    np.testing.assert_allclose(
        ScoreAndCorrectness().probability_correct(SCORES, VALUES), right / (right + wrong), rtol=1e-12
    )


@pytest.mark.parametrize(
    ("correct", "message"), [([0.0, 1.0], r"shape \(5,\)"), ([0.0, 1.0, 0.5, 0.0, 1.0], "0, 1 or NaN, got 0.5")]
)
def test_wrong_labels_are_refused(correct, message):
    with pytest.raises(ValueError, match=message):
        ScoreAndCorrectness()(SCORES, torch.tensor(correct))


def test_labels_need_scores():
    with pytest.raises(ValueError, match="only together with scores"):
        ScoreAndCorrectness()(correct=LABELS, num_scores=5)
    with pytest.raises(ValueError, match="neither"):
        ScoreAndCorrectness()()
