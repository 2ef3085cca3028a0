"""Train the tokenizer that both embedded models share, and turn problems and solutions into token ids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from ppl_scaling.tasks.arithmetic import ArithmeticProblem, generate_problems

VOCABULARY_SIZE = 768
MAX_LENGTH = 1024
BOS, EOS, PAD = "<|bos|>", "<|eos|>", "<|pad|>"
SYSTEM, USER, ASSISTANT = "<|system|>", "<|user|>", "<|assistant|>"
SPECIAL_TOKENS = (PAD, BOS, EOS, SYSTEM, USER, ASSISTANT)
STEP_SEPARATOR = "\n"

# A line feed, and a digit with the blank before it, are always pieces of their own.
_PIECES = r"\n| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|[^\S\n]+"

_SYSTEM_MESSAGES = (
    "Solve the problem step by step.",
    "You are a careful assistant that solves word problems.",
    "Please reason step by step, and put your final answer within \\boxed{}.",
)

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ '<|system|>' + message['content'] }}"
    "{% elif message['role'] == 'user' %}{{ '<|user|>' + message['content'] }}"
    "{% elif message['role'] == 'assistant' %}{{ '<|assistant|>' + message['content'] + eos_token }}"
    "{% else %}{{ raise_exception('expected role system, user or assistant, got ' + message['role']) }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer, lossless on any text, with the chat template of both models."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        additional_special_tokens=[SYSTEM, USER, ASSISTANT],
        model_max_length=MAX_LENGTH,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )


def corpus(num_problems_per_length: int = 1000, seed: int = 0) -> Iterator[str]:
    """Give the texts that the tokenizer is trained on: training problems of all lengths with their solutions."""
    for num_steps in range(1, 11):
        for problem in generate_problems(num_problems_per_length, num_steps=num_steps, split="train", seed=seed):
            yield problem.problem
            yield STEP_SEPARATOR.join(problem.steps)
    yield from _SYSTEM_MESSAGES


class ProblemEncoder:
    """Token ids of prompts, steps and solutions, with pieces of text remembered: the same sentences come often."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        self.separator = self._single(STEP_SEPARATOR)
        self.eos = self._single(EOS)
        self.pad = self._single(PAD)

    def _single(self, text: str) -> int:
        (token,) = self.text(text)
        return token

    def text(self, text: str) -> list[int]:
        """Token ids of plain text."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return ids

    def prompt(self, problem: str, system: int | None = None) -> list[int]:
        """Token ids of the chat prompt of a problem, with one of a few system messages or none."""
        messages: list[dict[str, Any]] = [{"role": "user", "content": problem}]
        if system is not None:
            content = _SYSTEM_MESSAGES[system % len(_SYSTEM_MESSAGES)]
            messages.insert(0, {"role": "system", "content": content})
        rendered = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        return self.text(str(rendered))

    def solution(self, steps: Sequence[str]) -> list[int]:
        """Token ids of a whole solution as the language model writes it: steps, line feeds between them, end."""
        return [*self.text(STEP_SEPARATOR.join(steps)), self.eos]

    def example(self, problem: ArithmeticProblem, system: int | None = None) -> tuple[list[int], int]:
        """Token ids of prompt and solution, and the length of the prompt."""
        prompt = self.prompt(problem.problem, system)
        return prompt + self.solution(problem.steps), len(prompt)
