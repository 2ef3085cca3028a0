"""The pieces of tokens against plain decoding, for every kind of tokenizer."""

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from ppl_scaling.backends.vocabulary import Vocabulary
from ppl_scaling.models.pretrained import LANGUAGE_MODEL_PATH

CPU = torch.device("cpu")
TEXT = 'Äpfel kosten 3.50 €.\n\n  "Gut", sagt 李明 。\ta\u3000b'


@pytest.fixture(scope="module")
def merged():
    """Byte-level BPE with tokens larger than characters, such as a delimiter with text before it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("Ċ", "Ċ"), (".", "ĊĊ"), ("Ġ", "a"), ("å", "¥")]
    words = [*alphabet, *("".join(pair) for pair in merges), "<eos>"]
    backend = Tokenizer(models.BPE({word: place for place, word in enumerate(words)}, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_tokens([AddedToken("  three  spaces", normalized=False)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>")


@pytest.fixture(scope="module", params=["replace", "metaspace"])
def sentencepiece(request):
    """Metaspace and byte fallback, as Llama 2, Mistral and Gemma have them."""
    words = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    words += ["▁", "▁a", "▁G", "ut", "▁▁", *'abgGtus.350",koenfl']
    scores = [(word, -float(place)) for place, word in enumerate(words)]
    backend = Tokenizer(models.Unigram(scores, unk_id=0, byte_fallback=True))
    if request.param == "replace":
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        strip = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        backend.decoder = decoders.Sequence(strip)
    else:
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
        backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="always")])
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


@pytest.fixture(scope="module")
def wordpiece():
    words = ["[UNK]", "un", "##able", "##s", "cup", "a", ".", "[SEP]"]
    backend = Tokenizer(models.WordPiece({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(cleanup=False)
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", eos_token="[SEP]")


def joined(vocabulary, tokens):
    return b"".join(vocabulary.pieces[token] for token in tokens).decode(errors="replace")


def decoded(tokenizer, tokens):
    return tokenizer.decode(tokens, clean_up_tokenization_spaces=False)


def test_byte_level(merged, byte_tokenizer):
    for tokenizer in (merged, byte_tokenizer, AutoTokenizer.from_pretrained(str(LANGUAGE_MODEL_PATH))):
        size = len(tokenizer)
        vocabulary = Vocabulary.from_tokenizer(tokenizer, size, CPU)
        tokens = tokenizer(TEXT)["input_ids"]
        assert joined(vocabulary, tokens) == decoded(tokenizer, tokens) == TEXT
        generator = torch.Generator().manual_seed(0)
        for _ in range(100):
            tokens = torch.randint(size, (8,), generator=generator).tolist()
            assert joined(vocabulary, tokens) == decoded(tokenizer, tokens)
    assert b"\xe3" in vocabulary.pieces and "�" in vocabulary.texts


def test_sentencepiece(sentencepiece):
    vocabulary = Vocabulary.from_tokenizer(sentencepiece, len(sentencepiece), CPU)
    tokens = sentencepiece(TEXT, add_special_tokens=False)["input_ids"]
    assert decoded(sentencepiece, tokens) == TEXT
    assert joined(vocabulary, tokens).removeprefix(" ") == TEXT
    assert vocabulary.pieces[sentencepiece.convert_tokens_to_ids("▁G")] == b" G"
    assert vocabulary.pieces[sentencepiece.convert_tokens_to_ids("<0x0A>")] == b"\n"
    generator = torch.Generator().manual_seed(0)
    start = sentencepiece.convert_tokens_to_ids("a")
    for _ in range(100):
        tokens = [start, *torch.randint(259, len(sentencepiece), (8,), generator=generator).tolist()]
        assert joined(vocabulary, tokens) == decoded(sentencepiece, tokens)


def test_another_kind_is_decoded_behind_an_anchor(wordpiece):
    vocabulary = Vocabulary.from_tokenizer(wordpiece, len(wordpiece) + 2, CPU)
    assert vocabulary.pieces[:5] == [b"[UNK]", b" un", b"able", b"s", b" cup"]
    assert vocabulary.pieces[-2:] == [b"", b""]


def test_numbers_without_a_token_add_nothing(merged):
    assert Vocabulary.from_tokenizer(merged, len(merged) + 3, CPU).pieces[-3:] == [b"", b"", b""]
    assert len(Vocabulary.from_tokenizer(merged, 10, CPU).pieces) == 10


def test_tables_are_built_once():
    vocabulary = Vocabulary(["a"], CPU)
    first = vocabulary.table("key", lambda: [True])
    assert vocabulary.table("key", lambda: pytest.fail("built again")) is first
