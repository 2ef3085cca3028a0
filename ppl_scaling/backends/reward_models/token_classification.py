"""Token classification, as TRL's ``PRMTrainer`` makes it: a label after every step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, ClassVar

from torch import Tensor
from transformers import AutoModelForTokenClassification

from ppl_scaling.backends.prompts import render_prompt
from ppl_scaling.backends.reward_models.heads import HeadedRewardModel, linear, right_against_wrong
from ppl_scaling.errors import BackendError

__all__ = ["TokenClassificationRewardModel"]


class TokenClassificationRewardModel(HeadedRewardModel):
    r"""A token classifier that says of each step whether it is right.

    The steps follow the prompt, each tokenised on its own and followed by the tokens of a separator, and the score of a step
    is read at its separator.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        A token classifier with two labels (wrong, right) or with one (the logit of right).
    tokenizer : transformers.PreTrainedTokenizerBase
    separator : str, default "\n"
        Ends every step, the last one too; its last token is where the score is read.
    right_label : int, default 1
        Which of two labels means right.
    plain_prompt : bool, default False
        Lay out the prompt as TRL's trainer does: the beginning-of-text token if there is one, and the problem. Otherwise it
        is the user's turn of a chat, or where the tokenizer has no chat template, the problem and a line feed.
    aggregation : str, optional
        Default: ``"last"``.

    Raises
    ------
    ValueError
        If ``right_label`` or the aggregation is unknown.
    BackendError
        If the number of labels is neither one nor two, or the architecture is not supported.
    ConstantScoreError
        If the model gives the same score to everything.

    References
    ----------
    Uesato et al. (2022), arXiv 2211.14275; Lightman et al. (2023), arXiv 2305.20050.
    """

    family: ClassVar[str] = "token-classification"
    auto_class: ClassVar[Any] = AutoModelForTokenClassification

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        separator: str = "\n",
        right_label: int = 1,
        plain_prompt: bool = False,
        aggregation: str | None = None,
    ) -> None:
        if model.config.num_labels not in (1, 2):
            raise BackendError(f"expected a token classifier with 1 or 2 labels, got {model.config.num_labels}")
        if right_label not in (0, 1):
            raise ValueError(f"expected right_label to be 0 or 1, got {right_label}")
        self.separator = separator
        self.right_label = right_label
        self.plain_prompt = plain_prompt
        super().__init__(model, tokenizer, aggregation=aggregation)

    @classmethod
    def recognises(cls, config: Mapping[str, Any], name: str) -> bool:
        """By the architecture, ``...ForTokenClassification``."""
        return any(one.endswith("ForTokenClassification") for one in config.get("architectures") or ())

    def layout(self, problem: str, steps: Sequence[str]) -> list[int]:
        """Tokens of the prompt and of every step with its separator."""
        tokens = list(self._encode_prompt(problem))
        for step in steps:
            tokens += self.encode_step(step)
        return tokens

    def encode_step(self, step: str) -> list[int]:
        """Tokens of one step and its separator."""
        return [*self.encode(step.strip()), *self.encode(self.separator)]

    def head(self, hidden: Tensor) -> Tensor:
        """Logits of the labels."""
        layer = getattr(self.model, "score", None) or self.model.classifier
        return linear(layer, hidden)

    def read(self, outputs: Tensor) -> Tensor:
        """Logit of "right"."""
        return right_against_wrong(outputs, self.right_label)

    def prepare(self) -> None:
        """Remember the tokens of recent prompts."""
        self._rendered = lru_cache(maxsize=1024)(partial(render_prompt, self.tokenizer))

    def _encode_prompt(self, problem: str) -> list[int]:
        if not self.plain_prompt:
            return self._rendered(problem)
        beginning = [] if self.tokenizer.bos_token_id is None else [self.tokenizer.bos_token_id]
        return [*beginning, *self.encode(problem)]
