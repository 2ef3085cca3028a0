"""Any sequence classifier as a reward model of the whole answer so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from ppl_scaling.backends.reward_models.heads import HeadedRewardModel, linear, right_against_wrong
from ppl_scaling.backends.reward_models.texts import chat_frame
from ppl_scaling.errors import BackendError

__all__ = ["SequenceClassificationRewardModel"]


class SequenceClassificationRewardModel(HeadedRewardModel):
    """A classifier, or a reward model with one output, that reads problem and answer as they stand.

    With a chat template the problem is the user's turn and the answer the assistant's. Without one, a decoder reads the
    problem, a line feed and the answer, and an encoder reads the two as a pair of texts. The answer is what was written,
    without the white space around it.

    Decoders are incremental but for what follows the answer. Encoders, which attend in both directions, read everything
    again at every step; in half precision their head is turned into float32 in place.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        A sequence classifier with two labels (wrong, right) or with one (the logit of right).
    tokenizer : transformers.PreTrainedTokenizerBase
    right_label : int, default 1
        Which of two labels means right.
    aggregation : str, optional
        Default: ``"whole-prefix"``; an aggregate of the scores of all prefixes is possible too.

    Raises
    ------
    ValueError
        If ``right_label`` or the aggregation is unknown.
    BackendError
        If the number of labels is neither one nor two, or the architecture is not supported.
    ConstantScoreError
        If the model gives the same score to everything.
    """

    family: ClassVar[str] = "sequence-classification"
    auto_class: ClassVar[Any] = AutoModelForSequenceClassification
    default_aggregation: ClassVar[str] = "whole-prefix"
    reads_prefixes: ClassVar[bool] = True

    def __init__(self, model: Any, tokenizer: Any, *, right_label: int = 1, aggregation: str | None = None) -> None:
        if model.config.num_labels not in (1, 2):
            raise BackendError(f"expected a sequence classifier with 1 or 2 labels, got {model.config.num_labels}")
        if right_label not in (0, 1):
            raise ValueError(f"expected right_label to be 0 or 1, got {right_label}")
        self.right_label = right_label
        super().__init__(model, tokenizer, aggregation=aggregation)

    @classmethod
    def recognises(cls, config: Mapping[str, Any], name: str) -> bool:
        """By the architecture, ``...ForSequenceClassification``."""
        return any(one.endswith("ForSequenceClassification") for one in config.get("architectures") or ())

    def keeps_cache(self) -> bool:
        """Whether it is a decoder with a linear head."""
        return isinstance(getattr(self.model, "score", None), torch.nn.Linear) and super().keeps_cache()

    def prepare(self) -> None:
        """Set up what stands around an answer, and the head of an encoder."""
        self._frame = lru_cache(maxsize=1024)(partial(_render_frame, self.tokenizer))
        if self.incremental:
            return
        self.context_length = min(self.context_length, self.tokenizer.model_max_length)
        if self.model.dtype != torch.float32:
            for child in self.model.children():
                if child is not self.backbone:
                    child.float().register_forward_pre_hook(_in_float32)

    def layout(self, problem: str, steps: Sequence[str]) -> list[int]:
        """Tokens of problem and answer up to where the classifier reads its score."""
        answer = "".join(steps).strip()
        if self.tokenizer.chat_template is not None:
            before, after = self._frame(problem)
            tokens = list(self.encode(before + answer + after if steps else before))
        elif self.incremental:
            tokens = list(self.encode(f"{problem}\n{answer}", True))
        else:
            tokens = list(self.tokenizer(problem, answer)["input_ids"])
        # A decoder's classifier reads at the last token that is not padding, even if the text ends with such tokens.
        while self.incremental and len(tokens) > 1 and tokens[-1] == self.model.config.pad_token_id:
            tokens.pop()
        return tokens

    def head(self, hidden: Tensor) -> Tensor:
        """Logits of the labels."""
        return linear(self.model.score, hidden)

    def read(self, outputs: Tensor) -> Tensor:
        """Logit of "right"."""
        return right_against_wrong(outputs, self.right_label)

    def plain_logit(self, tokens: Tensor, mask: Tensor, ends: Tensor) -> Tensor:
        """Logits from the whole model; the texts of a pair are told apart if the model does."""
        inputs = {"input_ids": tokens, "attention_mask": mask}
        types = getattr(self.model.config, "type_vocab_size", 0)
        if types > 1 and self.tokenizer.chat_template is None and "token_type_ids" in self.tokenizer.model_input_names:
            separators = (tokens == self.tokenizer.sep_token_id).long()
            inputs["token_type_ids"] = ((separators.cumsum(-1) - separators) > 0).long() * mask
        return self.read(self.model(**inputs).logits.float())

    def own_output(self, tokens: Tensor) -> Tensor:
        """Output of the model's own forward pass."""
        return self.model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits

    def own_logit(self, tokens: Tensor) -> Tensor:
        """Logit from the model's own forward pass."""
        if self.incremental:
            return super().own_logit(tokens)
        return self.plain_logit(tokens, torch.ones_like(tokens), torch.tensor([tokens.shape[1] - 1]))


def _render_frame(tokenizer: Any, problem: str) -> tuple[str, str]:
    return chat_frame(tokenizer, [{"role": "user", "content": problem}], "assistant")


def _in_float32(module: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Turn the inputs of a module into float32."""
    return tuple(one.float() if isinstance(one, Tensor) and one.is_floating_point() else one for one in inputs)
