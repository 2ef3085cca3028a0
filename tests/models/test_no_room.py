"""Answers whose first step the reward model has no room for: they have no score, and not the best one."""

import json
import math

import pytest

from ppl_scaling.backends.prompts import render_prompt
from ppl_scaling.inference import BestOfN, ParticleFilter, WeightedBestOfN
from ppl_scaling.models import BernoulliLikelihood, LanguageModelStateSpace, TwistLikelihood
from tests.worlds import LastLetter


@pytest.fixture
def crowded(tiny_lm, tiny_prm):
    tiny_prm.context_length = len(render_prompt(tiny_prm.tokenizer, "abc")) + 1
    return tiny_lm, tiny_prm


@pytest.mark.parametrize("likelihood", [BernoulliLikelihood(), TwistLikelihood()], ids=repr)
def test_a_filter_reports_no_score(crowded, likelihood):
    model = LanguageModelStateSpace(*crowded, likelihood, max_steps=3, max_step_tokens=4)
    result = ParticleFilter(model, num_particles=4, answer_format=LastLetter()).run("abc", seed=0)
    assert result.truncated.all() and result.log_evidence == 0, "nothing was observed"
    assert all(math.isnan(one.score) and math.isnan(one.scores[0]) for one in result.trajectories)
    written = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert written["trajectories"][0]["scores"] == [None] and written["trajectories"][0]["score"] is None


@pytest.mark.parametrize("method", [BestOfN, WeightedBestOfN])
def test_completions_without_a_score_have_no_answer(crowded, method):
    model = LanguageModelStateSpace(*crowded, max_steps=3, max_step_tokens=4)
    result = method(model, num_completions=3, answer_format=LastLetter()).run("abc", seed=0)
    assert result.answer is None and result.no_answer_probability == pytest.approx(1)
    assert all(math.isnan(one.score) for one in result.trajectories)
