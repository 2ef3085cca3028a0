"""Tiny random models of the true architectures, with tokenizers that have the merges and special tokens of the true ones."""

from functools import lru_cache

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from ppl_scaling.backends import TransformersRewardModel
from ppl_scaling.backends.reward_models import Qwen2ForPrmModel, Qwen2ForProcessRewardModel, linear

PROBLEMS = ["What is 12 + 30?", "Mia has 3 boxes of 12 pens.\nHow many pens?"]
STEPS = [
    "First, 12 + 30 = 42.\n\n",
    "So the answer is \\boxed{42}.",
    "She has 3 * 12 = 36 pens.\n",
    "- the sum is 41",
    "(2) Add:\n  12\n  30\n\n",
    "Step 7: the pens are 36. Yes",
]
TEXTS = [*PROBLEMS, *STEPS, "the answer is the sum of the boxes. No + - Yes No\n\nuser assistant system\n\n"] * 3

# How Qwen 2 (and, with up to three digits, Llama 3) cuts texts into words: letters with what stands before them, digits,
# signs with the line feeds after them, line feeds.
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023<|eot_id|>"
    "{% for message in messages %}<|start_header_id|>{{ message.role }}<|end_header_id|>\n\n"
    "{{ message.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)


@lru_cache
def byte_level_tokenizer(words, chat_template, *special_tokens, **settings):
    """Byte-level BPE with some merges."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(words), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, special_tokens=list(special_tokens))
    backend.train_from_iterator(TEXTS, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **settings)
    tokenizer.chat_template = chat_template
    return tokenizer


def qwen_tokenizer():
    return byte_level_tokenizer(
        WORDS,
        CHATML,
        "<|endoftext|>",
        "<|im_start|>",
        "<|im_end|>",
        "<extra_0>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        bos_token="<|endoftext|>",
    )


def llama3_tokenizer():
    return byte_level_tokenizer(
        WORDS.replace(r"\p{N}|", r"\p{N}{1,3}|"),
        LLAMA3,
        "<|begin_of_text|>",
        "<|eot_id|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|end_of_text|>",
        bos_token="<|begin_of_text|>",
        eos_token="<|eot_id|>",
        pad_token="<|end_of_text|>",
    )


@lru_cache
def mistral_tokenizer():
    """SentencePiece BPE as Mistral's: a mark in place of a space, and bytes for what is unknown."""
    backend = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    lines = [line for text in TEXTS for line in text.splitlines()] + ["Step 1: ки", "a ки", "+ ки", "- ки", "+ -"] * 20
    trainer = trainers.BpeTrainer(vocab_size=460, special_tokens=special, max_token_length=8)
    backend.train_from_iterator([word for line in lines for word in line.split()], trainer)
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "initializer_range": 0.3,
    "attn_implementation": "sdpa",
}


def seeded(make):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make().eval()


def qwen_prm():
    config = Qwen2Config(vocab_size=len(qwen_tokenizer()), use_sliding_window=False, bos_token_id=0, eos_token_id=2, **SIZES)
    return seeded(lambda: Qwen2ForProcessRewardModel(config))


def skywork_prm():
    config = Qwen2Config(vocab_size=len(qwen_tokenizer()), bos_token_id=0, eos_token_id=2, tie_word_embeddings=True, **SIZES)
    return seeded(lambda: Qwen2ForPrmModel(config))


def mistral():
    config = MistralConfig(vocab_size=len(mistral_tokenizer()), sliding_window=None, **SIZES)
    return seeded(lambda: MistralForCausalLM(config))


def llama(kind=LlamaForCausalLM, **changes):
    ids = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 4}
    return seeded(lambda: kind(LlamaConfig(vocab_size=len(llama3_tokenizer()), **(SIZES | ids | changes))))


def bert(dtype=torch.float32, **changes):
    settings = {name: size for name, size in SIZES.items() if name not in ("max_position_embeddings", "num_key_value_heads")}
    settings |= {"vocab_size": 400, "max_position_embeddings": 96, "num_labels": 2, "hidden_dropout_prob": 0.0} | changes
    return seeded(lambda: BertForSequenceClassification(BertConfig(**settings))).to(dtype)


class Summary(TransformersRewardModel):
    """The number of steps stands in front of them, so every layout changes in the middle."""

    def layout(self, problem, steps):
        return list(self.encode(f"{problem}\n{len(steps)} steps: {' '.join(step.strip() for step in steps)}."))

    def logit(self, hidden):
        wrong, right = linear(self.model.score, hidden).unbind(-1)
        return right - wrong
