"""Qwen2.5-Math-PRM: a special token after every step, classified by a head of two layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from ppl_scaling.backends.reward_models.heads import HeadedRewardModel, linear, right_against_wrong
from ppl_scaling.backends.reward_models.qwen2 import Qwen2ForProcessRewardModel
from ppl_scaling.backends.reward_models.texts import chat_frame
from ppl_scaling.errors import BackendError

__all__ = ["QwenMathRewardModel"]

_TAG = "<extra_0>"
_SYSTEM_PROMPT = r"Please reason step by step, and put your final answer within \boxed{}."


class QwenMathRewardModel(HeadedRewardModel):
    r"""Qwen2.5-Math-PRM (7B, 72B) and Qwen2.5-Math-7B-PRM800K.

    System prompt and problem in the chat template, then the answer with ``<extra_0>`` after each step, where the score is
    read: the probability of the second of two labels. The card separates steps at blank lines.

    Parameters
    ----------
    model : Qwen2ForProcessRewardModel
        This package's own class; the checkpoint's remote code is not needed.
    tokenizer : transformers.PreTrainedTokenizerBase
    system_prompt : str
        Default: the model card's.
    aggregation : str, optional
        Default: ``"last"``.

    Raises
    ------
    BackendError
        If the tokenizer has no chat template or no token ``<extra_0>``.
    ConstantScoreError
        If the model gives the same score to everything.

    References
    ----------
    Zhang et al. (2025), arXiv 2501.07301; model card of Qwen/Qwen2.5-Math-PRM-7B.
    """

    family: ClassVar[str] = "qwen-math-prm"
    auto_class: ClassVar[Any] = Qwen2ForProcessRewardModel

    def __init__(
        self, model: Any, tokenizer: Any, *, system_prompt: str = _SYSTEM_PROMPT, aggregation: str | None = None
    ) -> None:
        self.system_prompt = system_prompt
        super().__init__(model, tokenizer, aggregation=aggregation)

    @classmethod
    def recognises(cls, config: Mapping[str, Any], name: str) -> bool:
        """By the architecture, ``Qwen2ForProcessRewardModel``."""
        return "Qwen2ForProcessRewardModel" in (config.get("architectures") or ())

    def prepare(self) -> None:
        """Look up the special token."""
        if self.tokenizer.chat_template is None:
            raise BackendError("expected the tokenizer of Qwen2.5-Math-PRM to have a chat template, got none")
        tag = self.encode(_TAG)
        if len(tag) != 1:
            raise BackendError(f"expected {_TAG} to be one token of the tokenizer, got {len(tag)}")
        self._beginning = lru_cache(maxsize=1024)(partial(_render_beginning, self.tokenizer, self.system_prompt))

    def layout(self, problem: str, steps: Sequence[str]) -> list[int]:
        """Tokens of the conversation up to the last ``<extra_0>``."""
        beginning = self._beginning(problem)
        if not steps:
            return list(self.encode(beginning))
        # Nothing merges across a special token, so that what stands between two of them is tokenised by itself.
        tokens = list(self.encode(beginning + steps[0].strip() + _TAG))
        for step in steps[1:]:
            tokens += self.encode(step.strip() + _TAG)
        return tokens

    def head(self, hidden: Tensor) -> Tensor:
        """Logits of the two labels."""
        first, _, second = self.model.score
        return linear(second, torch.relu(linear(first, hidden)))

    def read(self, outputs: Tensor) -> Tensor:
        """Logit of the second label."""
        return right_against_wrong(outputs)


def _render_beginning(tokenizer: Any, system_prompt: str, problem: str) -> str:
    turns = [{"role": "system", "content": system_prompt}, {"role": "user", "content": problem}]
    return chat_frame(tokenizer, turns, "assistant")[0]
