"""Increments at ordinary and at extreme scores."""

import math

import pytest
import torch

from ppl_scaling.models import BernoulliLikelihood, Emission, OddsLikelihood, TwistLikelihood
from tests.worlds import LIKELIHOODS


def logits(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_increments_by_hand():
    after, before = logits(math.log(4)), logits(0.0)  # scores 0.8 and 0.5
    assert BernoulliLikelihood().log_increment(after, before).item() == pytest.approx(math.log(0.8))
    assert TwistLikelihood().log_increment(after, before).item() == pytest.approx(math.log(0.8 / 0.5))
    assert OddsLikelihood(temperature=2.0).log_increment(after, before).item() == pytest.approx(math.log(4) / 2)


def test_the_first_twist_divides_by_one():
    assert TwistLikelihood().log_increment(logits(0.0), logits(math.inf)).item() == pytest.approx(math.log(0.5))


def test_twists_telescope_to_the_last_score():
    path = logits(math.inf, -3.0, 7.5, 0.2, 31.0, -1.4)
    increments = TwistLikelihood().log_increment(path[1:], path[:-1])
    assert increments.sum().item() == pytest.approx(math.log(1 / (1 + math.exp(1.4))))


@pytest.mark.parametrize("likelihood", LIKELIHOODS.values(), ids=LIKELIHOODS)
def test_scores_near_one_keep_their_differences(likelihood):
    """At logit 38 a probability is 1 to the last bit of float64, and the logarithms still differ."""
    increments = likelihood.log_increment(logits(38.0, 40.0), logits(math.inf, math.inf))
    assert increments.isfinite().all() and increments[0] < increments[1]


def test_score_zero_is_minus_infinity_and_stays_dead():
    assert BernoulliLikelihood().log_increment(logits(-math.inf), logits(0.0)).item() == -math.inf
    twist = TwistLikelihood()
    assert twist.log_increment(logits(-math.inf), logits(0.0)).item() == -math.inf
    assert twist.log_increment(logits(1.0), logits(-math.inf)).item() == 0.0


def test_the_emission_is_exact_for_certain_scores():
    emission = Emission(logits=logits(math.inf, -math.inf, 0.0))
    assert emission.log_prob(torch.ones(3)).tolist() == pytest.approx([0.0, -math.inf, math.log(0.5)])
    assert emission.log_prob(torch.zeros(3)).tolist() == pytest.approx([-math.inf, 0.0, math.log(0.5)])
    assert isinstance(emission.expand((2, 3)), Emission)


def test_settings_are_shown():
    assert repr(OddsLikelihood(2.0, beta=0.5)) == "OddsLikelihood(beta=0.5, temperature=2.0)"
