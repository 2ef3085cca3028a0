"""What the baselines share: the model without its likelihood, and small parts.

A baseline draws from the language model of a state space and takes no notice of the likelihood. It runs on the same filter
and sessions as the particle methods: the problem is read once, every token passes through a model once, and what has ended
leaves the batch.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ppl_scaling.inference.method import Method
from ppl_scaling.inference.results import Trajectory
from ppl_scaling.interfaces import AnswerFormat
from ppl_scaling.models.likelihoods import Likelihood
from ppl_scaling.models.state_space import LanguageModelStateSpace

__all__ = ["Baseline", "put_together"]


class NoLikelihood(Likelihood):
    r"""Nothing is observed. Target :math:`p_\mathrm{LM}(x)`."""

    def log_increment(self, score_logits: Tensor, previous_score_logits: Tensor) -> Tensor:
        """0."""
        return torch.zeros_like(score_logits)

    def observe(
        self,
        name: str,
        score_logits: Tensor,
        previous_score_logits: Tensor,
        active: Tensor,
        beta: Tensor | None = None,
    ) -> None:
        """Make no site."""


class Baseline(Method):
    r"""A method that is no inference in the model: it has no posterior and no evidence.

    Parameters
    ----------
    model : LanguageModelStateSpace
        Its likelihood is ignored.
    choice : {"mode", "best_score", "sample"}
    answer_format : AnswerFormat, optional
        Default: ``\boxed{}`` answers compared by math-verify.

    Attributes
    ----------
    budget : str or None
        Name of the argument that says how many completions or particles a problem may have; None if that is fixed.
    scored : bool
        Whether the reward model scores what is written; if not, it is never called.

    Raises
    ------
    TypeError
        If the model is another kind of program.
    ValueError
        If the method needs a reward model and the model has none.
    """

    budget: ClassVar[str | None]
    scored: ClassVar[bool] = False

    def __init__(self, model: Any, *, choice: str = "mode", answer_format: AnswerFormat | None = None) -> None:
        if not isinstance(model, LanguageModelStateSpace):
            raise TypeError(f"expected a LanguageModelStateSpace, got {type(model).__name__}")
        if self.scored and model.reward_model is None:
            raise ValueError(f"expected a model with a reward model, which {self.method} selects by, got one without")
        super().__init__(model, choice=choice, answer_format=answer_format)

    @property
    def configuration(self) -> dict[str, Any]:
        """Settings of model and method, for the record of a result."""
        settings = {**self._program().configuration, "likelihood": None}
        return {**settings, self.budget: getattr(self, self.budget)} if self.budget else settings

    def _program(self) -> LanguageModelStateSpace:
        """Return the model as the method draws from it: every weight is 1."""
        program = copy.copy(self.model)
        program.likelihood = NoLikelihood()
        if not self.scored:
            program.reward_model = None
        return program


def put_together(
    texts: Sequence[str],
    token_blocks: Sequence[tuple[int, ...]],
    scores: Sequence[float],
    finished: bool,
    truncated: bool,
    answer_format: AnswerFormat,
) -> Trajectory:
    """Trajectory of the given steps; its weight is NaN."""
    text = "".join(texts)
    return Trajectory(
        steps=tuple(step for step in map(str.strip, texts) if step),
        text=text,
        scores=tuple(scores),
        score=scores[-1] if scores else math.nan,
        log_weight=math.nan,
        weight=math.nan,
        answer=answer_format.extract(text) if finished else None,
        finished=finished,
        truncated=truncated,
        num_tokens=sum(map(len, token_blocks)),
        token_blocks=tuple(token_blocks),
    )
