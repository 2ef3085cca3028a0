"""What the parts of the library ask of each other.

The probabilistic programs in :mod:`ppl_scaling.models` and the algorithms in :mod:`ppl_scaling.inference` know these
protocols only. :mod:`ppl_scaling.backends` implements them, for finite tables and for transformers checkpoints.

Rows
----
A session holds one row for each particle that is still being written. It starts with ``len(prompts) * num_particles``
rows, one prompt after the other, and :meth:`~LanguageModelSession.select` changes them: after resampling, when particles
end, and when a whole group has ended.

Token blocks
------------
A ``token_block`` is an int64 tensor of shape ``(R, L)``: one reasoning step for each row, padded at its end with
:data:`PAD`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from ppl_scaling.token_law import TokenLaw

__all__ = [
    "PAD",
    "AnswerFormat",
    "EnumerableLanguageModel",
    "EnumerableRewardModel",
    "LanguageModel",
    "LanguageModelSession",
    "Rehearsal",
    "RewardModel",
    "RewardModelSession",
]

PAD = -1
"""Padding of token blocks. It is no token of any vocabulary, so a block tells its own length."""


@dataclass(frozen=True, eq=False)
class Rehearsal:
    """What would become of rows if they went on by given steps.

    Attributes
    ----------
    log_prob : Tensor, shape (R,)
        Log-probability of the steps together, float64; 0 for a row without steps. Minus infinity where they can't be: they
        don't fit, the row ends before the last of them, or the last is cut by a limit that does not cut it here.
    ended : Tensor, shape (R,), bool
        Whether the row ends with the last of them.
    texts : list of list of str
        Text of each step.
    """

    log_prob: Tensor
    ended: Tensor
    texts: list[list[str]]


@runtime_checkable
class LanguageModelSession(Protocol):
    """The rows of one run: their contexts, caches and token counts.

    Each step begins with ``select``. Blocks may then be sampled, asked for their probability and rehearsed, until ``accept``
    takes one, once; afterwards only that block may be decoded or asked for its probability.
    """

    @property
    def device(self) -> torch.device:
        """Device of the tensors that the session takes and gives."""

    @property
    def num_rows(self) -> int:
        """Number of rows."""

    @property
    def tokens_forwarded(self) -> Tensor:
        """Tokens that have passed through the language model, shape ``(G,)``; padding is not counted."""

    def select(self, rows: Tensor) -> None:
        """Begin a step with the rows ``rows``, shape ``(R,)``, in that order; a row may be repeated or left out."""

    def sample(self, law: TokenLaw, record: Sequence[TokenLaw] = (), given: Tensor | None = None) -> Tensor:
        """Draw a token block for each row, every token from ``law``.

        The log-probability of the block is remembered under ``law`` and under each law in ``record``. A row of ``given``,
        shape ``(R, L)``, that does not begin with padding is that row's block: it is taken, and nothing is drawn.
        """

    def log_prob(self, token_block: Tensor, law: TokenLaw) -> Tensor:
        """Log-probability, shape ``(R,)`` in float64, of a block; it is computed only if it is not remembered."""

    def accept(self, token_block: Tensor, last_step: bool) -> tuple[Tensor, Tensor]:
        """Append a block to each row and tell how the rows stand.

        Returns
        -------
        finished, truncated : Tensor, shape (R,), bool
            Whether the row has reached the end of its answer, or else can't go on (``last_step``, or no room is left).
        """

    def decode(self, token_block: Tensor) -> list[str]:
        """Text that each block adds to its row, end-of-text tokens left out."""

    def rehearse(self, steps: Sequence[Sequence[Sequence[int]]], law: TokenLaw, steps_left: int) -> Rehearsal:
        """Try several steps at the beginning of a step, and leave the rows as they are.

        ``steps[row]`` are the tokens of each next step of that row, which has been written so elsewhere; it may be empty.
        ``steps_left`` is how many steps a row may still have: with the last of them it ends.
        """


@runtime_checkable
class RewardModelSession(Protocol):
    """The rows of one run as the reward model sees them."""

    @property
    def device(self) -> torch.device:
        """Device of the tensors that the session takes and gives."""

    @property
    def tokens_forwarded(self) -> Tensor:
        """Tokens that have passed through the reward model, shape ``(G,)``; padding is not counted."""

    def select(self, rows: Tensor) -> None:
        """Keep the rows ``rows``, shape ``(R,)``, in that order; a row may be repeated or left out."""

    def fits(self, steps: Sequence[str]) -> Tensor:
        """Whether each row still has room for its next step, shape ``(R,)``, bool."""

    def score(self, steps: Sequence[str]) -> Tensor:
        """Append a step to each row; logits, shape ``(R,)``, of its score in float32 or float64.

        The score is ``sigmoid(logit)``. Rows for which ``fits`` is false are left alone and get NaN.
        """

    def rehearse(self, steps: Sequence[Sequence[str]]) -> tuple[Tensor, Tensor]:
        """Score several next steps of each row, ``steps[row]`` from the first on, and leave the rows as they are.

        Returns
        -------
        logits, fits : Tensor, shape (R, S)
            The logit that ``score`` would give after each step, and whether the row has room up to there. False and NaN
            for steps that a row does not have.
        """


@runtime_checkable
class LanguageModel(Protocol):
    """A loaded language model. It serves any number of sessions."""

    def start(
        self, prompts: Sequence[str], num_particles: int, *, max_step_tokens: int, max_tokens: int | None
    ) -> LanguageModelSession:
        """Open a session of ``num_particles`` rows for each prompt.

        Parameters
        ----------
        prompts : sequence of str
            Problems, one for each group; the model puts its own template around them.
        num_particles : int
            Rows of each.
        max_step_tokens : int
            Longest step in tokens: one that has not ended by then ends there.
        max_tokens : int or None
            Longest answer in tokens; None for what the model has room for.

        Raises
        ------
        TypeError
            If ``prompts`` is one string, or one of them is not a string.
        ValueError
            If there are none, or one is empty or leaves no room for an answer.
        """


@runtime_checkable
class RewardModel(Protocol):
    """A loaded process reward model (PRM). It serves any number of sessions.

    Its ``repr`` goes into the record of a result. It may have a ``likelihood_beta`` (float), the power that a program
    without a likelihood of its own gives to its likelihood.
    """

    @property
    def scores_prefixes(self) -> bool:
        """Whether a score speaks of all steps so far (a value function, an aggregate) and not of the last one alone."""

    def start(self, prompts: Sequence[str], num_particles: int) -> RewardModelSession:
        """Open a session of ``num_particles`` rows for each prompt."""


@runtime_checkable
class EnumerableLanguageModel(LanguageModel, Protocol):
    """A language model so small that every step can be listed."""

    def steps(
        self,
        prompt: str,
        prefix: str,
        num_tokens: int,
        *,
        law: TokenLaw,
        max_step_tokens: int,
        max_tokens: int | None,
    ) -> list[tuple[str, int, float, bool, bool]]:
        """List ``(text, number of tokens, log-probability, finished, truncated)`` of each possible next step.

        ``law`` has one row.
        """


@runtime_checkable
class EnumerableRewardModel(RewardModel, Protocol):
    """A reward model that scores a given answer so far, without a session."""

    def score_logit(self, prompt: str, text: str) -> float:
        """Logit of the score of the answer so far; plus or minus infinity for scores 1 and 0."""


class AnswerFormat(Protocol):
    """How an answer is found in a text and when two answers are the same."""

    def extract(self, text: str) -> str | None:
        """Return the final answer in ``text``, or None if there is none."""

    def equivalent(self, first: str, second: str) -> bool:
        """Whether two answers mean the same."""
