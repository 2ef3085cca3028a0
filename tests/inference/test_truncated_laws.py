"""Top-k and top-p as part of the model and as proposals, against enumeration of the law that each is said to target."""

import math

import pytest

from ppl_scaling.backends.finite import FiniteLanguageModel, FunctionRewardModel
from ppl_scaling.inference import ParticleFilter, enumerate_posterior
from ppl_scaling.models import LanguageModelStateSpace, SamplingProposal
from tests.inference.exactness import assert_matches
from tests.worlds import LIKELIHOODS, LastLetter

TABLE = {
    "": {"a": 0.4, "b": 0.3, "c": 0.2, "$": 0.1},
    "a": {"a": 0.1, "b": 0.45, "c": 0.05, "$": 0.4},
    "c": {"a": 0.6, "$": 0.4},
}


def world(likelihood, table=TABLE, **truncation):
    reward = FunctionRewardModel(lambda prompt, text: 0.2 + 0.6 * text.count("b") / (1 + len(text)))
    language = FiniteLanguageModel(table, delimiter="c")
    return LanguageModelStateSpace(language, reward, likelihood, max_steps=3, max_step_tokens=2, **truncation)


@pytest.mark.parametrize("truncation", [{"top_k": 2}, {"top_p": 0.65}, {"top_k": 3, "top_p": 0.8, "temperature": 1.4}])
@pytest.mark.parametrize("likelihood", ["bernoulli", "twist, beta 2", "odds"])
def test_truncation_as_part_of_the_model(likelihood, truncation):
    model = world(LIKELIHOODS[likelihood], **truncation)
    smc = ParticleFilter(model, num_particles=40, answer_format=LastLetter())
    exact = enumerate_posterior(model, "?")
    assert_matches(smc.run_batch(["?"] * 400, seed=8), exact)
    assert len(exact.trajectories) < len(enumerate_posterior(world(LIKELIHOODS[likelihood]), "?").trajectories)


def test_enumeration_renormalises_what_top_k_keeps():
    first_steps = {step: pytest.approx(probability) for step, probability in {"a": 0.4 / 0.7, "b": 0.3 / 0.7}.items()}
    exact = enumerate_posterior(world(LIKELIHOODS["twist"], top_k=2), "?")
    mass = {}
    for one in exact.trajectories:
        mass[one.text[0]] = mass.get(one.text[0], 0.0) + math.exp(one.log_prior)
    assert mass == first_steps


@pytest.mark.parametrize("settings", [{"temperature": 0.8, "top_p": 1.0}, {"top_k": 4, "temperature": 1.2}])
def test_a_proposal_that_keeps_everything_leaves_the_target_alone(settings):
    model = world(LIKELIHOODS["bernoulli"])
    smc = ParticleFilter(model, SamplingProposal(model, **settings), num_particles=40, answer_format=LastLetter())
    assert_matches(smc.run_batch(["?"] * 400, seed=9), enumerate_posterior(model, "?"))


@pytest.mark.parametrize("likelihood", ["bernoulli", "twist"])
def test_a_truncated_proposal_targets_the_model_restricted_to_its_support(likelihood):
    """The restricted model as a table: the same probabilities, what top-2 cuts off lost to a token that scores zero."""
    model = world(LIKELIHOODS[likelihood])
    smc = ParticleFilter(model, SamplingProposal(model, top_k=2), num_particles=40, answer_format=LastLetter())
    kept = {context: dict(sorted(row.items(), key=lambda one: -one[1])[:2]) for context, row in TABLE.items()}
    lost = {context: row | ({"#": 1 - sum(row.values())} if sum(row.values()) < 1 else {}) for context, row in kept.items()}
    restricted = world(LIKELIHOODS[likelihood], lost)
    score = restricted.reward_model.score_logit
    restricted.reward_model.score_logit = lambda prompt, text: -math.inf if "#" in text else score(prompt, text)
    exact = enumerate_posterior(restricted, "?")
    assert exact.log_evidence < enumerate_posterior(model, "?").log_evidence
    assert_matches(smc.run_batch(["?"] * 400, seed=10), exact)


def test_bad_settings_are_refused():
    model = world(LIKELIHOODS["twist"])
    with pytest.raises(ValueError, match="top_p to be in"):
        SamplingProposal(model, top_p=1.5)
    with pytest.raises(ValueError, match="temperature above 0"):
        SamplingProposal(model, temperature=0.0)
    with pytest.raises(ValueError, match="top_k to be an integer"):
        world(LIKELIHOODS["twist"], top_k=0)


def test_the_result_names_the_proposal():
    model = world(LIKELIHOODS["twist"])
    result = ParticleFilter(model, SamplingProposal(model, top_k=2), num_particles=3, answer_format=LastLetter()).run(
        "?", seed=0
    )
    assert result.configuration["proposal"] == "SamplingProposal(top_k=2)" and result.configuration["top_p"] is None
