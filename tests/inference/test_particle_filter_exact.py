"""The particle filter against enumeration: three worlds, all likelihoods, all schemes, one group and many.

The 400 replicates of a case are groups of one batch, so every case with them is a test of groups as well; the cases of
one group run the filter 300 times.
"""

import math

import numpy as np
import pytest

from ppl_scaling.backends.finite import FiniteLanguageModel, FunctionRewardModel
from ppl_scaling.inference import RESAMPLING_SCHEMES, ParticleFilter, enumerate_posterior, multinomial
from ppl_scaling.models import LanguageModelStateSpace, OddsLikelihood, SamplingProposal
from tests.inference.exactness import assert_matches
from tests.worlds import LIKELIHOODS, WORLDS, LastLetter, early_ends, impossible_branches, truncation

NUM_PARTICLES = 40


@pytest.mark.parametrize("ess_threshold", [0.3, 1.0])
@pytest.mark.parametrize("likelihood", LIKELIHOODS.values(), ids=LIKELIHOODS)
@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_posterior_and_evidence_for_all_likelihoods(world, likelihood, ess_threshold):
    model = world(likelihood)
    smc = ParticleFilter(
        model,
        num_particles=NUM_PARTICLES,
        ess_threshold=ess_threshold,
        answer_format=LastLetter(),
        resampling=multinomial,
    )
    assert_matches(smc.run_batch(["?"] * 400, seed=1), enumerate_posterior(model, "?"))


@pytest.mark.parametrize("ess_threshold", [0.3, 1.0])
@pytest.mark.parametrize("scheme", RESAMPLING_SCHEMES.values(), ids=RESAMPLING_SCHEMES)
@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_posterior_and_evidence_for_all_resampling_schemes(world, scheme, ess_threshold):
    model = world(LIKELIHOODS["bernoulli"])
    smc = ParticleFilter(
        model, num_particles=NUM_PARTICLES, ess_threshold=ess_threshold, answer_format=LastLetter(), resampling=scheme
    )
    assert_matches(smc.run_batch(["?"] * 400, seed=2), enumerate_posterior(model, "?"))


@pytest.mark.parametrize(("world", "ess_threshold"), list(zip(WORLDS, (0.3, 1.0, 0.3), strict=True)))
def test_one_group_at_a_time(world, ess_threshold):
    model = WORLDS[world](LIKELIHOODS["twist"])
    smc = ParticleFilter(model, num_particles=NUM_PARTICLES, ess_threshold=ess_threshold, answer_format=LastLetter())
    assert_matches([smc.run("?", seed=seed) for seed in range(300)], enumerate_posterior(model, "?"))


def test_groups_with_different_problems_do_not_mix():
    """The prompt is part of the text, so it decides what 'p' and 'q' answer; each group keeps its own posterior."""
    language = FiniteLanguageModel({"": {"a": 0.5, "$": 0.5}, "p": {"a": 0.9, "b": 0.1}, "q": {"b": 1.0}, "b": {"a": 1.0}})
    model = LanguageModelStateSpace(
        language, FunctionRewardModel(lambda prompt, text: 0.9 if prompt == "p" else 0.2 + 0.1 * len(text)), max_steps=4
    )
    smc = ParticleFilter(model, num_particles=NUM_PARTICLES, ess_threshold=1.0, answer_format=LastLetter())
    results = smc.run_batch(["p", "q"] * 300, seed=4)
    assert_matches(results[::2], enumerate_posterior(model, "p"))
    assert_matches(results[1::2], enumerate_posterior(model, "q"))


def test_a_proposal_at_another_temperature_leaves_the_target_alone():
    model = early_ends(LIKELIHOODS["bernoulli"])
    smc = ParticleFilter(
        model, SamplingProposal(model, temperature=1.7), num_particles=NUM_PARTICLES, answer_format=LastLetter()
    )
    assert_matches(smc.run_batch(["?"] * 400, seed=5), enumerate_posterior(model, "?"))


def test_temperature_of_the_model_is_part_of_the_target():
    model = early_ends(LIKELIHOODS["twist"])
    model.temperature = 0.6
    smc = ParticleFilter(model, num_particles=NUM_PARTICLES, answer_format=LastLetter())
    assert_matches(smc.run_batch(["?"] * 400, seed=6), enumerate_posterior(model, "?"))


def test_without_a_reward_model_the_evidence_is_one():
    model = truncation(LIKELIHOODS["twist"])
    model.reward_model = None
    result = ParticleFilter(model, num_particles=7, answer_format=LastLetter()).run("?", seed=0)
    assert result.log_evidence == pytest.approx(0.0, abs=1e-12)
    assert result.prm_tokens_forwarded == 0 and math.isnan(result.trajectories[0].score)


def test_error_of_the_evidence_falls_like_one_over_the_root_of_the_particles():
    """Slope of log standard deviation against log N: -1/2; its standard error over 400 replicates is about 0.02."""
    model = impossible_branches(LIKELIHOODS["bernoulli"])
    sizes, spreads = [10, 40, 160], []
    for size in sizes:
        smc = ParticleFilter(model, num_particles=size, answer_format=LastLetter())
        results = smc.run_batch(["?"] * 400, seed=7)
        spreads.append(np.std([np.exp(one.log_evidence) for one in results]))
    slope = np.polyfit(np.log(sizes), np.log(spreads), 1)[0]
    assert slope == pytest.approx(-0.5, abs=0.1)


def test_default_thresholds_come_from_the_likelihood():
    assert ParticleFilter(early_ends(OddsLikelihood())).ess_threshold == 1.0
    assert ParticleFilter(early_ends(LIKELIHOODS["twist"])).ess_threshold == 0.5
