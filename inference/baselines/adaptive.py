"""Self-consistency that stops as soon as the vote is settled: adaptive and early-stopping.

Completions are drawn in rounds (:mod:`~ppl_scaling.inference.baselines.rounds`); the reward model is never called.
"""

from __future__ import annotations

from typing import Any, ClassVar

from ppl_scaling.arguments import check_integer
from ppl_scaling.inference.baselines.rounds import AdaptiveSampling, Pool
from ppl_scaling.inference.baselines.stopping import STOPPING_RULES
from ppl_scaling.interfaces import AnswerFormat

__all__ = ["AdaptiveSelfConsistency", "EarlyStoppingSelfConsistency"]


class AdaptiveSelfConsistency(AdaptiveSampling):
    r"""Draws until the leading answer is, with a given posterior probability, the one that wins for ever.

    Costs between a few and ``max_completions`` completions.

    Parameters
    ----------
    model : LanguageModelStateSpace
    max_completions : int, default 40
    rule : {"beta", "dirichlet"}
        The leader against the runner-up, or against all answers seen; see
        :mod:`ppl_scaling.inference.baselines.stopping`.
    threshold : float, default 0.95
        Probability that is asked for, above 1/2 and below 1.
    batch_size : int, default 1
        Completions of a problem in each round; the paper's is 1, more need fewer rounds.
    answer_format : AnswerFormat, optional

    Raises
    ------
    TypeError, ValueError
        If the model is another kind of program or a setting is out of its range.

    References
    ----------
    Aggarwal et al. (2023), Let's sample step by step: adaptive-consistency for efficient reasoning and coding with LLMs,
    arXiv 2305.11860.
    """

    method: ClassVar[str] = "adaptive self-consistency"

    def __init__(
        self,
        model: Any,
        *,
        max_completions: int = 40,
        rule: str = "beta",
        threshold: float = 0.95,
        batch_size: int = 1,
        answer_format: AnswerFormat | None = None,
    ) -> None:
        if rule not in STOPPING_RULES:
            raise ValueError(f"expected a stopping rule among {', '.join(STOPPING_RULES)}, got {rule!r}")
        if not 0.5 < threshold < 1:
            raise ValueError(f"expected threshold to be in (0.5, 1), got {threshold}")
        super().__init__(model, max_completions=max_completions, answer_format=answer_format)
        self.rule = rule
        self.threshold = threshold
        self.batch_size = check_integer("batch_size", batch_size)

    @property
    def configuration(self) -> dict[str, Any]:
        """Settings of model and method, for the record of a result."""
        settings = {name: getattr(self, name) for name in ("rule", "threshold", "batch_size")}
        return {**super().configuration, **settings}

    @property
    def round_size(self) -> int:
        """Completions of a problem in each round."""
        return self.batch_size

    def decided(self, pool: Pool) -> bool:
        """Whether the leader is sure enough."""
        return bool(pool.votes) and STOPPING_RULES[self.rule](pool.votes) >= self.threshold


class EarlyStoppingSelfConsistency(AdaptiveSampling):
    """Draws window after window and stops when all completions of a window agree.

    A window in which a completion has no answer does not agree. All completions vote, those of earlier windows included.
    Costs between ``window_size`` and ``max_completions`` completions.

    Parameters
    ----------
    model : LanguageModelStateSpace
    max_completions : int, default 40
    window_size : int, default 5
        The last window is shorter if it does not divide ``max_completions``; it stops nothing then.
    answer_format : AnswerFormat, optional

    Raises
    ------
    TypeError, ValueError
        If the model is another kind of program or a number is below 1.

    References
    ----------
    Li et al. (2024), Escape sky-high cost: early-stopping self-consistency for multi-step reasoning, arXiv 2401.10480.
    """

    method: ClassVar[str] = "early-stopping self-consistency"

    def __init__(
        self,
        model: Any,
        *,
        max_completions: int = 40,
        window_size: int = 5,
        answer_format: AnswerFormat | None = None,
    ) -> None:
        super().__init__(model, max_completions=max_completions, answer_format=answer_format)
        self.window_size = check_integer("window_size", window_size)

    @property
    def configuration(self) -> dict[str, Any]:
        """Settings of model and method, for the record of a result."""
        return {**super().configuration, "window_size": self.window_size}

    @property
    def round_size(self) -> int:
        """Completions of a problem in each round."""
        return self.window_size

    def decided(self, pool: Pool) -> bool:
        """Whether the last window is whole and of one mind."""
        size = len(pool.answers)
        window = set(pool.answers[-self.window_size :])
        return size > 0 and size % self.window_size == 0 and len(window) == 1 and None not in window
