"""Text of steps where tokens cut characters or carry their spaces, and answers that a pattern completes."""

from itertools import pairwise

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from ppl_scaling.backends import TransformersLanguageModel
from ppl_scaling.backends.stop_patterns import Boxed
from ppl_scaling.interfaces import PAD
from tests.conftest import tiny_config


@pytest.fixture
def sentencepiece_like():
    """Words with a metaspace in front, as in Llama 2 and Mistral: decoding drops the space of the first."""
    words = ["<unk>", "</s>", "▁the", "▁answer", "▁is", "s", "▁"]
    backend = Tokenizer(models.BPE({word: number for number, word in enumerate(words)}, merges=[], unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", unk_token="<unk>")


def steps(lm, blocks):
    """Texts of given blocks of one row, one step after the other, and how the row stood after each."""
    session = lm.start(["p"], 1, max_step_tokens=50, max_tokens=None)
    texts, ends = [], []
    for block in blocks:
        given = torch.tensor([block])
        finished, truncated = session.accept(given, last_step=False)
        texts += session.decode(given)
        ends.append((bool(finished), bool(truncated)))
        if not any(ends[-1]):
            session.select(torch.tensor([0]))
    return texts, ends


def test_spaces_at_the_beginning_of_a_step_survive(sentencepiece_like):
    torch.manual_seed(0)
    lm = TransformersLanguageModel(
        LlamaForCausalLM(tiny_config(vocab_size=7, eos_token_id=1, pad_token_id=1)), sentencepiece_like
    )
    assert steps(lm, [[2, 3], [5, 4], [2, 1]])[0] == ["the answer", "s is", " the"]


def test_a_character_belongs_to_the_step_that_completes_it(tiny_lm):
    encode = tiny_lm.tokenizer
    text = "né = 5 €."
    tokens = encode(text)["input_ids"]
    assert len(tokens) == len(text.encode())
    for cuts in ([2, 9], [9, 10, 11], [1, 2, 3, 4], []):
        bounds = [0, *cuts, len(tokens)]
        blocks = [tokens[start:stop] for start, stop in pairwise(bounds)]
        texts, _ = steps(tiny_lm, blocks)
        assert "".join(texts) == text and not any("\ufffd" in one for one in texts)


def test_a_pattern_ends_an_answer_at_the_end_of_the_step_that_completes_it(tiny_lm, byte_tokenizer):
    lm = TransformersLanguageModel(tiny_lm.model, byte_tokenizer, stop=Boxed())
    blocks = [byte_tokenizer(text)["input_ids"] for text in ("So \\boxed{", "5} then.\n")]
    texts, ends = steps(lm, blocks)
    assert texts == ["So \\boxed{", "5} then.\n"] and ends == [(False, False), (True, False)]
    assert steps(tiny_lm, blocks)[1][-1] == (False, False), "without the pattern the answer goes on"


def test_a_complete_answer_at_a_limit_is_finished_and_not_truncated(tiny_lm, byte_tokenizer):
    lm = TransformersLanguageModel(tiny_lm.model, byte_tokenizer, stop="!")
    session = lm.start(["p"], 2, max_step_tokens=5, max_tokens=3)
    block = torch.tensor([byte_tokenizer("ab!")["input_ids"], byte_tokenizer("abc")["input_ids"]])
    finished, truncated = session.accept(block, last_step=True)
    assert finished.tolist() == [True, False] and truncated.tolist() == [False, True]
    assert PAD not in block


def test_stopped_rows_are_not_read_any_further(tiny_lm, byte_tokenizer):
    lm = TransformersLanguageModel(tiny_lm.model, byte_tokenizer, stop="!")
    session = lm.start(["p"], 2, max_step_tokens=5, max_tokens=None)
    before = int(session.tokens_forwarded)
    session.accept(torch.tensor([byte_tokenizer("ab!")["input_ids"], byte_tokenizer("abc")["input_ids"]]), last_step=False)
    assert int(session.tokens_forwarded) - before == 2 + 3
    with pytest.raises(ValueError, match="rows that have not ended"):
        session.select(torch.tensor([0]))
    with pytest.raises(TypeError, match="expected a stop pattern"):
        TransformersLanguageModel(tiny_lm.model, byte_tokenizer, stop=5)
