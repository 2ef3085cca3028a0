"""A draft model as proposal: the target stays the model's, and the draft follows the particles through resampling."""

import math

import pytest
import torch
from transformers import LlamaForCausalLM

from ppl_scaling.backends import TransformersLanguageModel
from ppl_scaling.backends.finite import FiniteLanguageModel
from ppl_scaling.backends.prompts import render_prompt
from ppl_scaling.inference import (
    AnnealedSMC,
    Islands,
    ParallelTempering,
    ParticleFilter,
    ParticleGibbs,
    ResampleMoveFilter,
    enumerate_posterior,
    multinomial,
)
from ppl_scaling.models import DraftProposal, LanguageModelStateSpace
from tests.backends.plain import plain_log_prob
from tests.conftest import tiny_config
from tests.inference.exactness import assert_matches
from tests.worlds import LIKELIHOODS, LastLetter, early_ends, truncation

DRAFTS = {
    "early ends": (
        early_ends,
        FiniteLanguageModel({"": {"a": 0.3, "b": 0.4, "$": 0.3}, "b": {"a": 0.6, "b": 0.2, "$": 0.2}}),
    ),
    "truncation": (
        truncation,
        FiniteLanguageModel(
            {"": {"a": 0.4, "b": 0.4, "$": 0.2}, "a": {"a": 0.3, "b": 0.3, ";": 0.3, "$": 0.1}, ";": {"a": 0.7, "b": 0.3}},
            delimiter=";",
        ),
    ),
}


@pytest.mark.parametrize("ess_threshold", [0.5, 1.0])
@pytest.mark.parametrize(("world", "draft"), DRAFTS.values(), ids=DRAFTS)
def test_the_target_stays_the_models(world, draft, ess_threshold):
    model = world(LIKELIHOODS["bernoulli"])
    smc = ParticleFilter(
        model,
        DraftProposal(model, draft, temperature=1.2),
        num_particles=40,
        ess_threshold=ess_threshold,
        answer_format=LastLetter(),
        resampling=multinomial,
    )
    assert_matches(smc.run_batch(["?", "!"] * 150, seed=1), enumerate_posterior(model, "?"))


@pytest.mark.parametrize("method", [AnnealedSMC, ResampleMoveFilter])
def test_moves_with_a_draft(method):
    model = early_ends(LIKELIHOODS["odds"])
    settings = {"powers": (0.5, 1.0), "ess_target": 0.9} if method is AnnealedSMC else {"ess_threshold": 0.9}
    proposal = DraftProposal(model, DRAFTS["early ends"][1])
    smc = method(model, proposal, num_particles=20, answer_format=LastLetter(), **settings)
    results = smc.run_batch(["?"] * 150, seed=2)
    assert_matches(results, enumerate_posterior(model, "?"))
    assert all(one.draft_tokens_forwarded > 0 for one in results)


def other_lm(byte_tokenizer, seed=5, **settings):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return TransformersLanguageModel(LlamaForCausalLM(tiny_config(num_hidden_layers=1)), byte_tokenizer, **settings)


def test_two_transformers(tiny_lm, tiny_prm, byte_tokenizer):
    model = LanguageModelStateSpace(tiny_lm, tiny_prm, max_steps=4, max_step_tokens=5)
    proposal = DraftProposal(model, other_lm(byte_tokenizer))
    result = ParticleFilter(model, proposal, num_particles=6, ess_threshold=1.0, resampling=multinomial).run("abc", seed=0)
    assert result.resampled.any() and math.isfinite(result.log_evidence)
    plain = ParticleFilter(model, num_particles=6, ess_threshold=1.0).run("abc", seed=0)
    assert plain.draft_tokens_forwarded == 0 and result.to_dict()["draft_tokens_forwarded"] > 0
    # Both models read the prompt once, and each token that has a successor once.
    assert 4 < result.draft_tokens_forwarded <= result.generated_tokens + 4
    assert result.lm_tokens_forwarded == result.draft_tokens_forwarded


@pytest.mark.parametrize("kind", [ParticleGibbs, AnnealedSMC, ResampleMoveFilter, ParallelTempering])
def test_every_method_counts_the_drafts_tokens(kind, tiny_lm, tiny_prm, byte_tokenizer):
    model = LanguageModelStateSpace(tiny_lm, tiny_prm, max_steps=3, max_step_tokens=4)
    proposal = DraftProposal(model, other_lm(byte_tokenizer))
    result = kind(model, proposal, num_particles=3).run("abc", seed=0)
    assert 0 < result.draft_tokens_forwarded <= result.lm_tokens_forwarded
    assert kind(model, num_particles=3).run("abc", seed=0).draft_tokens_forwarded == 0


def test_replicates_add_up(tiny_lm, tiny_prm, byte_tokenizer):
    model = LanguageModelStateSpace(tiny_lm, tiny_prm, max_steps=3, max_step_tokens=4)
    one = ParticleFilter(model, DraftProposal(model, other_lm(byte_tokenizer)), num_particles=3)
    pooled = Islands(one, num_replicates=2).run("abc", seed=0)
    assert pooled.draft_tokens_forwarded == sum(result.draft_tokens_forwarded for result in pooled.replicates) > 0


def test_weights_are_the_difference_of_log_probabilities(tiny_lm, byte_tokenizer):
    """Recomputed from whole texts by each model alone."""
    draft = other_lm(byte_tokenizer)
    model = LanguageModelStateSpace(tiny_lm, None, max_steps=3, max_step_tokens=4)
    smc = ParticleFilter(model, DraftProposal(model, draft), num_particles=5, ess_threshold=1e-9)
    for one in smc.run("abc", seed=3).trajectories:
        tokens = [token for block in one.token_blocks for token in block]
        difference = 0.0
        for language, sign in ((tiny_lm, 1), (draft, -1)):
            prompt = render_prompt(language.tokenizer, "abc")
            difference += sign * plain_log_prob(language.model, prompt, tokens)
        assert one.log_weight == pytest.approx(difference, abs=1e-3)


def test_models_that_do_not_agree_are_refused(tiny_lm, byte_tokenizer):
    model = early_ends(LIKELIHOODS["twist"])
    with pytest.raises(ValueError, match=r"draft language model with tokens .*like the model's, got"):
        DraftProposal(model, FiniteLanguageModel({"": {"b": 0.5, "a": 0.3, "$": 0.2}}))
    with pytest.raises(ValueError, match="with delimiter None like the model's, got 'b'"):
        DraftProposal(model, FiniteLanguageModel({"": {"a": 0.5, "b": 0.3, "$": 0.2}}, delimiter="b"))
    with pytest.raises(ValueError, match="with boundary"):
        DraftProposal(LanguageModelStateSpace(tiny_lm, None), other_lm(byte_tokenizer, boundary="\n\n"))
    with pytest.raises(ValueError, match="temperature above 0, got 0"):
        DraftProposal(model, DRAFTS["early ends"][1], temperature=0)


def test_a_draft_with_a_shorter_context_is_noticed(tiny_lm, byte_tokenizer):
    short = other_lm(byte_tokenizer)
    short.context_length = 10
    model = LanguageModelStateSpace(tiny_lm, None, max_steps=6, max_step_tokens=4)
    smc = ParticleFilter(model, DraftProposal(model, short), num_particles=4)
    with pytest.raises(ValueError, match=r"go on after step .* wherever the model does"):
        smc.run("abc", seed=0)


def test_what_it_is_called():
    model = early_ends(LIKELIHOODS["twist"])
    assert repr(DraftProposal(model, DRAFTS["early ends"][1], top_p=0.9)) == "DraftProposal(FiniteLanguageModel, top_p=0.9)"
