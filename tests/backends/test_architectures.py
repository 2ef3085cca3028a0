"""The ragged cache on other architectures, against plain forward passes; what it does not support is refused."""

import pytest
import torch
from transformers import (
    BambaConfig,
    BambaForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    GemmaForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from ppl_scaling.backends import TransformersLanguageModel
from ppl_scaling.backends.cache_layers import CacheLayers
from ppl_scaling.errors import BackendError
from ppl_scaling.token_law import TokenLaw
from tests.backends.plain import drawn_tokens, plain_log_prob
from tests.conftest import tiny_config

SIZES = {
    "vocab_size": 257,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 96,
    "initializer_range": 0.4,
    "eos_token_id": 256,
    "bos_token_id": None,
    "pad_token_id": 256,
}
MODELS = {
    "llama": lambda: LlamaForCausalLM(tiny_config()),
    "llama, eager": lambda: LlamaForCausalLM(tiny_config(attn_implementation="eager")),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES)),
    "qwen2, some layers slide": lambda: Qwen2ForCausalLM(
        Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=5, max_window_layers=1)
    ),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SIZES)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**SIZES, sliding_window=None)),
    "mistral, all layers slide": lambda: MistralForCausalLM(MistralConfig(**SIZES, sliding_window=6)),
    "gemma": lambda: GemmaForCausalLM(GemmaConfig(**SIZES)),
    "gemma 2, slides, caps its logits": lambda: Gemma2ForCausalLM(
        Gemma2Config(**SIZES, sliding_window=5, attn_implementation="eager")
    ),
    "gemma 3, slides, two kinds of positions": lambda: Gemma3ForCausalLM(
        Gemma3TextConfig(**SIZES, sliding_window=5, layer_types=["sliding_attention", "full_attention", "sliding_attention"])
    ),
    "gpt 2, learned positions": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=257, n_positions=64, n_embd=32, n_layer=2, n_head=4, bos_token_id=None, eos_token_id=256)
    ),
}


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_sessions_equal_plain_forward_passes_beyond_the_window(make, byte_tokenizer):
    torch.manual_seed(0)
    lm = TransformersLanguageModel(make(), byte_tokenizer, boundary=4)
    lm.end_tokens = frozenset()  # rows go on whatever they draw
    prompts = ["ab", "a longer prompt"]
    session = lm.start(prompts, 3, max_step_tokens=4, max_tokens=None)
    contexts = [byte_tokenizer(prompt + "\n")["input_ids"] for prompt in prompts for _ in range(3)]
    for rows in ([0, 1, 2, 3, 4, 5], [2, 2, 5, 0, 1, 1], [5, 0, 3], [1, 1, 0]):
        session.select(torch.tensor(rows))
        law = TokenLaw(torch.ones(len(rows)))
        block = session.sample(law)
        log_prob = session.log_prob(block, law)
        session.accept(block, last_step=False)
        contexts = [contexts[row] for row in rows]
        for row, drawn in enumerate(drawn_tokens(block)):
            assert len(drawn) == 4
            assert float(log_prob[row]) == pytest.approx(plain_log_prob(lm.model, contexts[row], drawn), abs=2e-3)
            contexts[row] = contexts[row] + drawn


def test_a_window_matters():
    """The yardstick of the test above: without its window the model would say something else."""
    torch.manual_seed(0)
    sliding = MODELS["mistral, all layers slide"]()
    full = MistralForCausalLM(MistralConfig(**SIZES, sliding_window=None))
    full.load_state_dict(sliding.state_dict())
    tokens = torch.arange(20)[None]
    with torch.no_grad():
        assert (sliding(tokens).logits[0, -1] - full(tokens).logits[0, -1]).abs().max() > 0.1


def test_layers_other_than_attention_are_refused(byte_tokenizer):
    config = BambaConfig(
        **(SIZES | {"num_hidden_layers": 2}), attn_layer_indices=[1], mamba_n_heads=8, mamba_d_head=8, mamba_d_state=8
    )
    with pytest.raises(BackendError, match="attention layers only, got layers of type"):
        TransformersLanguageModel(BambaForCausalLM(config), byte_tokenizer)


def test_an_architecture_that_does_not_take_the_cache_is_refused(byte_tokenizer):
    class Forgetful(LlamaForCausalLM):
        """Reads what it is given and ignores the cache."""

        def forward(self, input_ids, past_key_values=None, attention_mask=None, **kwargs):
            return super().forward(input_ids)

    with pytest.raises(BackendError, match="Forgetful"):
        TransformersLanguageModel(Forgetful(tiny_config()), byte_tokenizer)


def test_logits_that_are_not_numbers_are_refused(byte_tokenizer):
    model = LlamaForCausalLM(tiny_config())
    model.lm_head.weight.data.fill_(float("nan"))
    with pytest.raises(BackendError, match="gives logits that are not numbers"):
        TransformersLanguageModel(model, byte_tokenizer)


def test_layers_answer_by_the_names_of_all_versions_of_transformers():
    layer = CacheLayers(1, 1).cache.layers[0]
    assert layer.get_max_length() == layer.get_max_cache_shape() == -1
