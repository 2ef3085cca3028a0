"""Architectures on a Qwen2 body that transformers itself does not have, with the parameter names of their checkpoints.

The checkpoints bring code of their own for these. It is never run: with current versions of transformers, that of
Qwen2.5-Math-PRM gives the same score to everything.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn
from transformers.modeling_outputs import TokenClassifierOutput
from transformers.models.qwen2.modeling_qwen2 import Qwen2Model, Qwen2PreTrainedModel

__all__ = ["Qwen2ForPrmModel", "Qwen2ForProcessRewardModel"]


class _Qwen2WithHead(Qwen2PreTrainedModel, ABC):
    """A Qwen2 body and, at every token, a head."""

    # The checkpoints keep the head of the language model that they were made from.
    _keys_to_ignore_on_load_unexpected: ClassVar[list[str]] = [r"lm_head\..*"]

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model = Qwen2Model(config)
        self.make_head(config)
        self.post_init()

    @abstractmethod
    def make_head(self, config: Any) -> None:
        """Create the modules of the head."""

    @abstractmethod
    def head(self, hidden: Tensor) -> Tensor:
        """Apply the head."""

    def forward(self, input_ids: Tensor | None = None, **kwargs: Any) -> TokenClassifierOutput:
        """Logits of every token."""
        return TokenClassifierOutput(logits=self.head(self.model(input_ids=input_ids, **kwargs)[0]))


class Qwen2ForProcessRewardModel(_Qwen2WithHead):
    """Qwen2.5-Math-PRM: two linear layers, two labels (wrong, right)."""

    def make_head(self, config: Any) -> None:
        """``score.0`` and ``score.2``."""
        size = config.hidden_size
        self.score = nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, 2))

    def head(self, hidden: Tensor) -> Tensor:
        """Logits of the two labels."""
        return self.score(hidden)


class Qwen2ForPrmModel(_Qwen2WithHead):
    """Skywork-o1-Open-PRM: a value head, one linear layer."""

    def make_head(self, config: Any) -> None:
        """``v_head.summary``."""
        self.v_head = nn.ModuleDict({"summary": nn.Linear(config.hidden_size, 1)})

    def head(self, hidden: Tensor) -> Tensor:
        """Logit of the value."""
        return self.v_head["summary"](hidden)
