"""A record says which weights and settings it was made with."""

import copy

import pytest
import torch
from transformers import LlamaForCausalLM

from ppl_scaling.backends import Boxed, Delimiter, TokenClassificationRewardModel, TransformersLanguageModel, When
from ppl_scaling.backends.fingerprint import fingerprint
from ppl_scaling.backends.finite import FiniteLanguageModel
from ppl_scaling.inference import SingleSample, evaluate
from ppl_scaling.models import LanguageModelStateSpace
from ppl_scaling.tasks import Problem
from tests.conftest import tiny_config


@pytest.fixture
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForCausalLM(tiny_config())


def test_it_follows_the_weights_and_nothing_else(model):
    found = fingerprint(model)
    assert found.startswith("LlamaForCausalLM-") and fingerprint(copy.deepcopy(model)) == found
    assert fingerprint(copy.deepcopy(model).bfloat16()) == found, "the same whether loaded in 32 or 16 bits"
    for _, parameter in zip(range(3), model.parameters(), strict=False):
        with torch.no_grad():
            parameter.view(-1)[0] += 1.0
        changed = fingerprint(model)
        assert changed != found
        found = changed


def test_it_follows_what_the_language_model_is_told(model, byte_tokenizer):
    def found(**settings):
        return TransformersLanguageModel(model, byte_tokenizer, **settings).fingerprint

    plain = found()
    assert found() == plain and found(boundary=Delimiter("\n")) == plain, "as by default"
    for settings in ({"boundary": Delimiter(". ")}, {"stop": Boxed()}, {"system_prompt": "Think."}):
        assert found(**settings) != plain
    assert found(boundary=When(ends_here)) == found(boundary=When(ends_here)) != plain


def ends_here(text):
    return text.endswith("!")


def test_it_follows_what_the_reward_model_is_told(tiny_prm, byte_tokenizer):
    def found(**settings):
        return TokenClassificationRewardModel(tiny_prm.model, byte_tokenizer, **settings).fingerprint

    plain = found()
    assert found() == plain
    for settings in ({"separator": "+"}, {"aggregation": "min"}, {"right_label": 0}):
        assert found(**settings) != plain


def test_results_have_it(tiny_lm, tiny_prm):
    settings = LanguageModelStateSpace(tiny_lm, tiny_prm).configuration
    assert settings["fingerprints"] == [tiny_lm.fingerprint, tiny_prm.fingerprint]
    finite = LanguageModelStateSpace(FiniteLanguageModel({"": {"a": 0.5, "$": 0.5}}), None)
    assert finite.configuration["fingerprints"] == [None, None]


def test_an_evaluation_does_not_go_on_with_other_weights(model, byte_tokenizer, tmp_path):
    def go_on():
        program = LanguageModelStateSpace(TransformersLanguageModel(model, byte_tokenizer), None, max_steps=2)
        return evaluate(SingleSample(program), [Problem("1", "abc", "1")], tmp_path / "results.jsonl")

    assert go_on() == go_on()
    with torch.no_grad():
        model.lm_head.weight[0, 0] += 1.0
    with pytest.raises(ValueError, match="fingerprints was"):
        go_on()
