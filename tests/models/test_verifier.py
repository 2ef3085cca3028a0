"""The weights that are written into the reward model do what they are written for, before any training."""

import re

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from ppl_scaling.models.pretrained import LANGUAGE_MODEL_PATH
from ppl_scaling.models.pretrained.noticing import NoticingSettings, known_solutions
from ppl_scaling.models.pretrained.tokenizer import ProblemEncoder
from ppl_scaling.models.pretrained.training import pad
from ppl_scaling.models.pretrained.verifier import NUM_LAYERS_ABOVE, build_reward_model, layers_above


@pytest.fixture(scope="module")
def built():
    encoder = ProblemEncoder(AutoTokenizer.from_pretrained(LANGUAGE_MODEL_PATH))
    input_ids = pad([row.input_ids for row in next(known_solutions(encoder, NoticingSettings()))[:6]], encoder.pad)
    with torch.random.fork_rng():
        model = build_reward_model(LANGUAGE_MODEL_PATH, encoder, input_ids, seed=0).eval()
    body = AutoModelForCausalLM.from_pretrained(LANGUAGE_MODEL_PATH).eval()
    hidden = []
    for layer in model.model.layers:
        layer.register_forward_hook(lambda _, inputs, output: hidden.append(output))
    before_norm = []
    body.model.norm.register_forward_pre_hook(lambda _, inputs: before_norm.append(inputs[0]))
    with torch.no_grad():
        logits = body(input_ids).logits
        model(input_ids)
    texts = [encoder.tokenizer.decode([token]) for token in range(len(encoder.tokenizer))]
    is_digit = torch.tensor([bool(re.fullmatch(r" ?\d", text)) for text in texts])[input_ids]
    return model, input_ids, hidden, before_norm[0], logits, is_digit


def test_the_body_computes_what_the_language_model_computes(built):
    model, _, hidden, before_norm, _, _ = built
    last = hidden[-NUM_LAYERS_ABOVE - 1][..., : before_norm.shape[-1]]
    assert (last - before_norm).norm() < 1e-2 * before_norm.norm()
    assert sum(parameter.numel() for parameter in layers_above(model)) < sum(p.numel() for p in model.parameters())


def test_the_first_layer_above_multiplies_out_the_logit_of_the_token_that_came(built):
    _, input_ids, hidden, before_norm, logits, is_digit = built
    free = before_norm.shape[-1] + 64
    of_token = logits[:, :-1].gather(2, input_ids[:, 1:, None])[..., 0][is_digit[:, 1:]]
    computed = 8 * hidden[-NUM_LAYERS_ABOVE][:, 1:, free][is_digit[:, 1:]]
    assert torch.corrcoef(torch.stack([of_token, computed]))[0, 1] > 0.99


def test_the_second_layer_above_tells_digits_that_were_not_expected(built):
    _, input_ids, hidden, before_norm, logits, is_digit = built
    mismatch = hidden[-NUM_LAYERS_ABOVE + 1][:, 1:, before_norm.shape[-1] + 65]
    expected = logits[:, :-1].argmax(-1) == input_ids[:, 1:]
    digits = is_digit[:, 1:]
    assert mismatch[digits & ~expected].mean() > 10 * mismatch[digits & expected].abs().mean()
    assert mismatch[~digits].abs().max() < 0.01
