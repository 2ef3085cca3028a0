"""A reward model that is a function or a table, for any language model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ppl_scaling.backends.prompts import check_prompts

__all__ = ["FunctionRewardModel"]


class FunctionRewardModel:
    """A PRM that is a function, or a table, of the answer so far; it works with any language model.

    Parameters
    ----------
    table : callable of (prompt, text) to float, or mapping of str to float
        The score in [0, 1] of the text generated so far, without prompt and end token.
    default : float, optional
        Score of texts that the table lacks; without it they are an error.
    scores_prefixes : bool, default False
        Whether a score is meant for all of the text and not for its last step; it decides the default likelihood.

    Raises
    ------
    ValueError
        When a text is scored whose score is not in [0, 1], or that has none.

    Examples
    --------
    >>> reward_model = FunctionRewardModel({"a": 0.9, "b": 0.2}, default=0.5)
    >>> round(reward_model.score_logit("?", "a"), 3)
    2.197
    """

    def __init__(
        self,
        table: Mapping[str, float] | Callable[[str, str], float],
        *,
        default: float | None = None,
        scores_prefixes: bool = False,
    ) -> None:
        self._table, self._default = table, default
        self.scores_prefixes = scores_prefixes

    def __repr__(self) -> str:
        table = "callable" if callable(self._table) else f"{len(self._table)} texts"
        return f"FunctionRewardModel({table}, scores_prefixes={self.scores_prefixes})"

    def score_logit(self, prompt: str, text: str) -> float:
        """Logit of the score of ``text``; plus or minus infinity for 1 and 0, NaN for NaN."""
        if callable(self._table):
            score: float | None = self._table(prompt, text)
        else:
            score = self._table.get(text, self._default)
        if score is None and callable(self._table):
            raise ValueError(f"expected the function to give a score for {text!r}, got None")
        if score is None:
            raise ValueError(f"expected the score table to have {text!r}, and it has no default")
        if math.isnan(score):
            return score
        if not 0 <= score <= 1:
            raise ValueError(f"expected a score between 0 and 1 for {text!r}, got {score}")
        if score in (0, 1):
            return math.inf if score else -math.inf
        return math.log(score) - math.log1p(-score)

    def start(self, prompts: Sequence[str], num_particles: int) -> FiniteRewardSession:
        """Open a session of ``num_particles`` rows for each prompt.

        Raises
        ------
        TypeError
            If ``prompts`` is one string, or one of them is not a string.
        ValueError
            If there are none, or one is empty.
        """
        check_prompts(prompts)
        return FiniteRewardSession(self, prompts, num_particles)


class FiniteRewardSession:
    """The rows of one run on a :class:`FunctionRewardModel`; see ``interfaces.RewardModelSession``."""

    def __init__(self, owner: FunctionRewardModel, prompts: Sequence[str], num_particles: int) -> None:
        self._owner = owner
        self.device = torch.device("cpu")
        self._rows = [(group, prompt, "") for group, prompt in enumerate(prompts) for _ in range(num_particles)]
        self._memory: dict[tuple[str, str], float] = {}
        self.tokens_forwarded = torch.zeros(len(prompts), dtype=torch.long)

    def select(self, rows: Tensor) -> None:
        """Keep the rows ``rows``, in that order."""
        self._rows = [self._rows[row] for row in rows.tolist()]

    def fits(self, steps: Sequence[str]) -> Tensor:
        """Whether each row has room: always."""
        return torch.ones(len(steps), dtype=torch.bool)

    def score(self, steps: Sequence[str]) -> Tensor:
        """Append a step to each row; logits of the scores in float64."""
        self._rows = [(group, prompt, text + step) for (group, prompt, text), step in zip(self._rows, steps, strict=True)]
        for _, prompt, text in self._rows:
            if (prompt, text) not in self._memory:
                self._memory[prompt, text] = self._owner.score_logit(prompt, text)
        groups = torch.tensor([group for group, _, _ in self._rows], dtype=torch.long)
        self.tokens_forwarded = self.tokens_forwarded.index_add(0, groups, torch.ones_like(groups))
        return torch.tensor([self._memory[prompt, text] for _, prompt, text in self._rows], dtype=torch.float64)

    def rehearse(self, steps: Sequence[Sequence[str]]) -> tuple[Tensor, Tensor]:
        """Score several next steps of each row and leave the rows as they are."""
        before, num_steps = self._rows, max(map(len, steps))
        logits = torch.full((len(steps), num_steps), torch.nan, dtype=torch.float64)
        for s in range(num_steps):
            going = [row for row, own in enumerate(steps) if s < len(own)]
            self._rows = [(before[row][0], before[row][1], before[row][2] + "".join(steps[row][:s])) for row in going]
            logits[going, s] = self.score([steps[row][s] for row in going])
        self._rows = before
        fits = torch.tensor([[s < len(own) for s in range(num_steps)] for own in steps], dtype=torch.bool)
        return logits, fits.reshape(logits.shape)
