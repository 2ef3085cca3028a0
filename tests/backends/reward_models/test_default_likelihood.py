"""Which likelihood a state space takes where none is given: it follows what the reward model scores."""

import json
import shutil

import pytest

from ppl_scaling.backends import FiniteLanguageModel, FunctionRewardModel, load_reward_model
from ppl_scaling.inference import ParticleFilter
from ppl_scaling.models import BernoulliLikelihood, LanguageModelStateSpace, OddsLikelihood, TwistLikelihood
from ppl_scaling.models.pretrained import REWARD_MODEL_PATH


@pytest.mark.parametrize(
    ("scores_prefixes", "expected"), [(False, BernoulliLikelihood), (True, TwistLikelihood)], ids=["steps", "prefixes"]
)
def test_the_default_likelihood_follows_what_is_scored(scores_prefixes, expected):
    language = FiniteLanguageModel({"": {"a": 0.5, "$": 0.5}})
    reward = FunctionRewardModel(lambda prompt, text: 0.3 + 0.1 * len(text), scores_prefixes=scores_prefixes)
    program = LanguageModelStateSpace(language, reward, max_steps=3)
    assert type(program.likelihood) is expected and program.likelihood.beta == 1
    result = ParticleFilter(program, num_particles=4).run("p", seed=0)
    assert result.configuration["reward_model"] == repr(reward)
    assert result.configuration["likelihood"] == repr(expected())
    assert type(LanguageModelStateSpace(language, reward, OddsLikelihood()).likelihood) is OddsLikelihood
    assert type(LanguageModelStateSpace(language, None).likelihood) is BernoulliLikelihood


def test_a_checkpoint_says_what_it_scores_and_which_power_suits(tmp_path):
    embedded = load_reward_model(REWARD_MODEL_PATH, device="cpu")
    assert embedded.scores_prefixes and embedded.likelihood_beta == 8
    language = FiniteLanguageModel({"": {"2 + 3 = 5\n": 0.5, "$": 0.5}})
    assert repr(LanguageModelStateSpace(language, embedded).likelihood) == "TwistLikelihood(beta=8.0)"
    # what it recommends is for the scores that it was chosen with
    assert load_reward_model(REWARD_MODEL_PATH, device="cpu", aggregation="min").likelihood_beta == 1
    silent = shutil.copytree(REWARD_MODEL_PATH, tmp_path / "silent")
    config = json.loads((silent / "config.json").read_text())
    del config["scores_prefixes"], config["likelihood_beta"]
    (silent / "config.json").write_text(json.dumps(config))
    for aggregation, likelihood in [(None, "BernoulliLikelihood(beta=1.0)"), ("min", "TwistLikelihood(beta=1.0)")]:
        reward = load_reward_model(silent, device="cpu", aggregation=aggregation)
        assert reward.scores_prefixes == (aggregation is not None)
        assert repr(LanguageModelStateSpace(language, reward).likelihood) == likelihood
