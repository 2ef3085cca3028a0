"""A tokenizer of pairs of texts, for encoders."""

import pytest
from tokenizers import Tokenizer, processors
from transformers import PreTrainedTokenizerFast


@pytest.fixture
def pair_tokenizer(byte_tokenizer):
    """[problem, separator, answer, separator], as encoders read pairs of texts."""
    backend = Tokenizer.from_str(byte_tokenizer.backend_tokenizer.to_str())
    backend.post_processor = processors.TemplateProcessing(
        single="$A <eos>", pair="$A <eos> $B:1 <eos>:1", special_tokens=[("<eos>", 256)]
    )
    names = ["input_ids", "token_type_ids", "attention_mask"]
    settings = {"sep_token": "<eos>", "pad_token": "<eos>", "model_max_length": 64, "model_input_names": names}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **settings)
