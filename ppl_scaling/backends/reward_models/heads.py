"""Heads of reward models, applied in float32 to the few hidden states where scores are read."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from ppl_scaling.backends.reward_models.base import TransformersRewardModel
from ppl_scaling.errors import BackendError

__all__ = ["CandidateRewardModel", "HeadedRewardModel", "linear", "right_against_wrong"]


class HeadedRewardModel(TransformersRewardModel):
    """A family whose model has a head of its own: what the head gives, and what of it is the score.

    The probe then compares the head in float32 with the model's own output, which a subclass gets for defining :meth:`head`
    and :meth:`read` in place of :meth:`logit`.
    """

    @abstractmethod
    def head(self, hidden: Tensor) -> Tensor:
        """Float32 output of the head, shape (n, C)."""

    @abstractmethod
    def read(self, outputs: Tensor) -> Tensor:
        """Logits of the scores, shape (n,), from outputs of the head."""

    def logit(self, hidden: Tensor) -> Tensor:
        """Logits of the scores from hidden states."""
        return self.read(self.head(hidden))

    def own_output(self, tokens: Tensor) -> Tensor:
        """Output, shape (1, C), of the model's own head at the end of a layout."""
        return self.model(input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False).logits[:, -1]

    def own_logit(self, tokens: Tensor) -> Tensor:
        """Logit from the model's own forward pass."""
        return self.read(self.own_output(tokens).float())


class CandidateRewardModel(HeadedRewardModel):
    """A causal language model whose score is the probability of some next tokens against that of others.

    Only the candidates' rows of the language model's head are ever used. A subclass calls :meth:`set_candidates` in
    :meth:`prepare`.
    """

    auto_class: ClassVar[Any] = AutoModelForCausalLM

    def set_candidates(self, good: Sequence[int], bad: Sequence[int]) -> None:
        """Choose the tokens that speak for and against.

        Raises
        ------
        BackendError
            If there are none on one side, or one is on both.
        """
        if not good or not bad or set(good) & set(bad):
            raise BackendError(f"expected tokens for right and others for wrong, got {list(good)} and {list(bad)}")
        if self.model.get_output_embeddings() is None:
            raise BackendError(f"expected a causal language model, got {type(self.model).__name__}, which has no such head")
        self._num_good = len(good)
        self._candidates = torch.tensor([*good, *bad], device=self.model.get_output_embeddings().weight.device)

    def head(self, hidden: Tensor) -> Tensor:
        """Give the next-token logits of the candidates, with the scaling and capping that some architectures have."""
        logits = linear(self.model.get_output_embeddings(), hidden, self._candidates)
        config = self.model.config
        logits = logits * (getattr(config, "logit_scale", None) or 1.0) / (getattr(config, "logits_scaling", None) or 1.0)
        cap = getattr(config, "final_logit_softcapping", None)
        return torch.tanh(logits / cap) * cap if cap else logits

    def read(self, outputs: Tensor) -> Tensor:
        """Log-odds of the good candidates against the bad ones."""
        good, bad = outputs[:, : self._num_good], outputs[:, self._num_good :]
        return torch.logsumexp(good, dim=-1) - torch.logsumexp(bad, dim=-1)

    def own_output(self, tokens: Tensor) -> Tensor:
        """Give the candidates' logits from the model's own forward pass."""
        logits = super().own_output(tokens)
        return logits[:, self._candidates.to(logits.device)]


def linear(layer: Any, hidden: Tensor, rows: Tensor | None = None) -> Tensor:
    """Apply a linear layer, or only ``rows`` of its output, in float32: a head in bfloat16 would round the logits.

    Raises
    ------
    BackendError
        If the layer's weights are offloaded.
    """
    weight, bias = layer.weight, getattr(layer, "bias", None)
    if weight.is_meta:
        raise BackendError("expected the weights of the head on a device, got a head that is offloaded")
    if rows is not None:
        weight, bias = weight[rows], None if bias is None else bias[rows]
    return torch.nn.functional.linear(hidden.to(weight.device), weight.float(), None if bias is None else bias.float())


def right_against_wrong(outputs: Tensor, right_label: int = 1) -> Tensor:
    """Logit of "right", shape (...), from one label (the logit itself) or two, shape (..., labels)."""
    if outputs.shape[-1] == 1:
        return outputs[..., 0]
    return outputs[..., right_label] - outputs[..., 1 - right_label]
