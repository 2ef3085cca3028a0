"""Process reward models of transformers, incremental.

This is the one file that imports transformers' reward models. The family served here is token classification, as TRL's
``PRMTrainer`` makes them: the steps follow the prompt, each tokenised on its own and ended by a separator, and the score
of a step is read at its separator. Each token of that layout passes through the model once, whatever is resampled.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForTokenClassification

from ppl_scaling import host
from ppl_scaling.backends.kv_cache import CachedForward, context_length
from ppl_scaling.backends.loading import load_checkpoint
from ppl_scaling.backends.prompts import check_prompts, render_prompt
from ppl_scaling.errors import BackendError, ConstantScoreError

__all__ = ["TokenClassificationRewardModel", "TokenClassificationSession"]

_PROBE = ("What is 2 + 3?", ("2 + 3 = 5", "2 + 3 = 9", "The moon is a cheese.", "x"))


class TokenClassificationRewardModel:
    r"""A token classifier that says of each step whether it is right.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        A token classifier with two labels (wrong, right) or with one (the logit of right).
    tokenizer : transformers.PreTrainedTokenizerBase
    separator : str, default "\n"
        Ends every step, the last one too; its last token is where the score is read.
    right_label : int, default 1
        Which of two labels means right.

    Raises
    ------
    BackendError
        If the number of labels is neither one nor two, or the architecture is not supported.
    ConstantScoreError
        If the model gives the same score to everything (as a checkpoint loaded by code that does not fit it may do).

    References
    ----------
    Uesato et al. (2022), arXiv 2211.14275; Lightman et al. (2023), arXiv 2305.20050.
    """

    def __init__(self, model: Any, tokenizer: Any, *, separator: str = "\n", right_label: int = 1) -> None:
        labels = model.config.num_labels
        if labels not in (1, 2):
            raise BackendError(f"expected a token classifier with 1 or 2 labels, got {labels}")
        if right_label not in (0, 1):
            raise ValueError(f"expected right_label to be 0 or 1, got {right_label}")
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.separator = separator
        self.right_label = right_label
        self.context_length = context_length(model.config)
        self._check_that_scores_differ()

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | os.PathLike[str], *, device: str | None = None, dtype: str | None = None, **kwargs: Any
    ) -> TokenClassificationRewardModel:
        """Load a local folder or a model of the hub; parameters as for the language model.

        Raises
        ------
        BackendError, ConstantScoreError
        """
        checkpoint = load_checkpoint(AutoModelForTokenClassification, name_or_path, device=device, dtype=dtype)
        return cls(*checkpoint, **kwargs)

    def start(self, prompts: Sequence[str], num_particles: int) -> TokenClassificationSession:
        """Open a session of ``num_particles`` rows for each prompt.

        Raises
        ------
        ValueError
            If a prompt is empty or longer than the model's context.
        """
        check_prompts(prompts)
        return TokenClassificationSession(self, prompts, num_particles)

    def encode_step(self, step: str) -> list[int]:
        """Tokens of one step and its separator."""
        return self.tokenizer(step.strip() + self.separator, add_special_tokens=False)["input_ids"]

    def logit(self, label_logits: Tensor) -> Tensor:
        """Logit of "right" in float32, shape (...), from the classifier's output, shape (..., labels)."""
        scores = label_logits.float()
        if scores.shape[-1] == 1:
            return scores[..., 0]
        return scores[..., self.right_label] - scores[..., 1 - self.right_label]

    def _check_that_scores_differ(self) -> None:
        problem, steps = _PROBE
        session = self.start([problem], len(steps))
        logits = session.score(steps)
        if host.is_true((logits - logits[0]).abs().max() <= 1e-6):
            score = float(torch.sigmoid(logits[0]))
            raise ConstantScoreError(
                f"the reward model gives the score {score:.5f} to every step of a probe; expected scores that differ. "
                "Check that the checkpoint belongs to this architecture and to this version of transformers."
            )


class TokenClassificationSession:
    """The rows of one run; see ``interfaces.RewardModelSession``."""

    def __init__(self, owner: TokenClassificationRewardModel, prompts: Sequence[str], num_particles: int) -> None:
        self._owner = owner
        self.device: torch.device = owner.model.device
        distinct = list(dict.fromkeys(prompts))
        encoded = [render_prompt(owner.tokenizer, prompt) for prompt in distinct]
        longest = max(map(len, encoded))
        if longest >= owner.context_length:
            raise ValueError(
                f"expected a prompt shorter than the reward model's context of {owner.context_length} tokens, "
                f"got one of {longest} tokens"
            )
        self._forward = CachedForward(owner.model, len(distinct))
        self._group = torch.tensor([prompts.index(prompt) for prompt in distinct], device=self.device)
        self.tokens_forwarded = torch.zeros(len(prompts), dtype=torch.long, device=self.device)
        self._append(encoded)
        of_group = torch.tensor([distinct.index(prompt) for prompt in prompts], device=self.device)
        self._forward.select(of_group.repeat_interleave(num_particles))
        self._group = torch.arange(len(prompts), device=self.device).repeat_interleave(num_particles)
        self._last: tuple[Sequence[str], list[list[int]]] | None = None

    def select(self, rows: Tensor) -> None:
        """Keep the rows ``rows``, in that order."""
        self._forward.select(rows)
        self._group = self._group[rows]

    def fits(self, steps: Sequence[str]) -> Tensor:
        """Whether the context has room for the next step of each row."""
        lengths = torch.tensor([len(tokens) for tokens in self._encode(steps)], device=self.device)
        return self._forward.lengths + lengths <= self._owner.context_length

    def score(self, steps: Sequence[str]) -> Tensor:
        """Append a step to each row; float32 logits of the scores, NaN for rows without room."""
        logits = torch.full((len(steps),), torch.nan, device=self.device)
        num_fitting = self._forward.bring_forward(self.fits(steps))
        if num_fitting:
            rows = self._forward.first(num_fitting)
            encoded = self._encode(steps)
            logits[rows] = self._append([encoded[row] for row in host.as_list(rows)])
        return logits

    def _encode(self, steps: Sequence[str]) -> list[list[int]]:
        """Tokenise the steps once for :meth:`fits` and :meth:`score`."""
        if self._last is None or self._last[0] is not steps:
            self._last = (steps, [self._owner.encode_step(step) for step in steps])
        return self._last[1]

    def _append(self, blocks: list[list[int]]) -> Tensor:
        """Forward a block for each of the first rows; the logit at the last token of each."""
        lengths = torch.tensor([len(tokens) for tokens in blocks], device=self.device)
        longest = max(len(tokens) for tokens in blocks)
        padded = torch.tensor([tokens + [tokens[-1]] * (longest - len(tokens)) for tokens in blocks])
        rows = self._forward.first(len(blocks))
        output = self._forward.forward(padded.to(self.device), lengths)
        self.tokens_forwarded = self.tokens_forwarded.index_add(0, self._group[rows], lengths)
        at_end = output[torch.arange(len(blocks), device=self.device), lengths - 1]
        return self._owner.logit(at_end)
