"""The auxiliary filter: exact however it looks ahead, and better where the future tells more than the past."""

import math

import numpy as np
import pytest

from ppl_scaling.backends.finite import FiniteLanguageModel, FunctionRewardModel
from ppl_scaling.inference import AuxiliaryParticleFilter, ParticleFilter, enumerate_posterior, multinomial
from ppl_scaling.models import DraftProposal, GivenSteps, LanguageModelStateSpace, SamplingProposal
from tests.inference.exactness import assert_matches
from tests.worlds import LIKELIHOODS, WORLDS, LastLetter, early_ends


@pytest.mark.parametrize(
    ("likelihood", "ess_threshold", "num_lookahead"), [("bernoulli", 1.0, 1), ("twist", 0.9, 1), ("odds", 1.0, 3)]
)
@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_posterior_and_evidence(world, likelihood, ess_threshold, num_lookahead):
    model = world(LIKELIHOODS[likelihood])
    smc = AuxiliaryParticleFilter(
        model,
        num_lookahead=num_lookahead,
        num_particles=20,
        ess_threshold=ess_threshold,
        answer_format=LastLetter(),
        resampling=multinomial,
    )
    results = smc.run_batch(["?"] * 200, seed=1)
    assert_matches(results, enumerate_posterior(model, "?"))
    assert any(one.resampled.any() for one in results)


def proposals(model):
    draft = FiniteLanguageModel({"": {"a": 0.3, "b": 0.4, "$": 0.3}, "b": {"a": 0.6, "b": 0.2, "$": 0.2}})
    return {"hotter": SamplingProposal(model, temperature=1.5), "draft": DraftProposal(model, draft)}


@pytest.mark.parametrize("kind", ["hotter", "draft"])
def test_posterior_and_evidence_with_a_proposal(kind):
    """Groups end at different times, so that slots are numbered anew while a draft follows them."""
    model = early_ends(LIKELIHOODS["odds"])
    smc = AuxiliaryParticleFilter(model, proposals(model)[kind], num_particles=20, answer_format=LastLetter())
    assert_matches(smc.run_batch(["?"] * 200, seed=2), enumerate_posterior(model, "?"))


def test_it_sees_what_the_plain_filter_does_not():
    """After 'b' hardly anything good follows, though 'b' itself scores a little better than 'a'.

    After the next step nearly all of its particles are of use, and half of the plain filter's; its estimates are the same.
    """
    language = FiniteLanguageModel({"": {"a": 0.5, "b": 0.5}, "a": {"c": 1.0}, "b": {"c": 1.0}, "c": {"$": 1.0}})
    scores = {"a": 0.5, "b": 0.6, "ac": 0.9, "bc": 0.02}
    model = LanguageModelStateSpace(language, FunctionRewardModel(scores), LIKELIHOODS["bernoulli"], max_steps=3)
    sizes = []
    for method in (ParticleFilter, AuxiliaryParticleFilter):
        smc = method(model, num_particles=20, ess_threshold=1.0, answer_format=LastLetter())
        results = smc.run_batch(["?"] * 200, seed=3)
        assert_matches(results, enumerate_posterior(model, "?"))
        sizes.append(np.mean([one.ess[1] for one in results]))
    assert sizes[0] < 12 and sizes[1] > 16


def test_what_it_costs():
    model = early_ends(LIKELIHOODS["odds"])
    result = AuxiliaryParticleFilter(model, num_lookahead=2, num_particles=10, answer_format=LastLetter()).run("?", seed=4)
    assert result.method == "auxiliary particle filter" and result.configuration["num_lookahead"] == 2
    # Steps of one token each: every step drawn is scored, the trials as well.
    assert result.generated_tokens == result.prm_calls == result.prm_tokens_forwarded
    plain = ParticleFilter(model, num_particles=10, answer_format=LastLetter()).run("?", seed=4)
    assert result.generated_tokens > 2 * plain.generated_tokens


def test_trials_leave_no_trace_in_a_transformer(tiny_lm, tiny_prm):
    """The steps that follow are those that the texts alone would get: replayed by a plain filter, scores are the same."""
    model = LanguageModelStateSpace(tiny_lm, tiny_prm, LIKELIHOODS["odds"], max_steps=4, max_step_tokens=4)
    smc = AuxiliaryParticleFilter(model, num_lookahead=2, num_particles=4, resampling=multinomial)
    first = smc.run("abc", seed=0)
    assert first.resampled[1:].all() and math.isfinite(first.log_evidence)
    given = GivenSteps(model, {0: {i: one.token_blocks for i, one in enumerate(first.trajectories)}})
    again = ParticleFilter(model, given, num_particles=4, ess_threshold=1e-9).run("abc", seed=1)
    for old, new in zip(first.trajectories, again.trajectories, strict=True):
        assert new.text == old.text and new.scores == pytest.approx(old.scores, abs=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_lookahead": 0}, "num_lookahead to be an integer of at least 1, got 0"),
        ({"defensive_share": 0.0}, r"defensive_share to be in \(0, 1\), got 0.0"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        AuxiliaryParticleFilter(early_ends(LIKELIHOODS["twist"]), **settings)


def test_models_that_it_cannot_look_ahead_of():
    class Other(LanguageModelStateSpace):
        def advance(self, *args):
            super().advance(*args)

    model = early_ends(LIKELIHOODS["twist"])
    with pytest.raises(TypeError, match=r"the method 'advance' of LanguageModelStateSpace.* got Other"):
        AuxiliaryParticleFilter(Other(model.language_model, model.reward_model))
    with pytest.raises(ValueError, match="a model with a reward model"):
        AuxiliaryParticleFilter(LanguageModelStateSpace(model.language_model, None))
