r"""Baselines that draw independent completions and then settle on an answer: greedy, pass@1, votes and best-of-N.

All of them draw from :math:`p_\mathrm{LM}(x)`, at the temperature and truncation of the model; they differ in the weight
that they give each completion at the end. A pool of completions may therefore be weighed again, by another of these methods
and for fewer completions, without drawing anything: see :meth:`IndependentSampling.select` and :func:`nested_budgets`.

Ties go to the completion that was drawn first, and between answers to the one that was found first. A completion without an
answer never wins; its share of the weight is ``no_answer_probability``.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ppl_scaling.arguments import check_integer
from ppl_scaling.errors import PPLScalingError
from ppl_scaling.inference.baselines.base import Baseline
from ppl_scaling.inference.baselines.completions import (
    CompletionsResult,
    TokenCost,
    draw_completions,
    failure,
    fields,
    in_proportion,
    vote,
)
from ppl_scaling.inference.method import OnStep
from ppl_scaling.inference.results import Result, Trajectory
from ppl_scaling.interfaces import AnswerFormat
from ppl_scaling.models.state_space import LanguageModelStateSpace

__all__ = [
    "BestOfN",
    "Greedy",
    "IndependentSampling",
    "MajorityVote",
    "SingleSample",
    "WeightedBestOfN",
    "nested_budgets",
]


class IndependentSampling(Baseline):
    """Base of the methods that weigh independent completions; a subclass says how.

    Standard errors are those of a weighted mean of independent draws; NaN where one completion has all the weight.

    Parameters
    ----------
    model : LanguageModelStateSpace
    num_completions : int, default 16
    answer_format : AnswerFormat, optional

    Raises
    ------
    TypeError, ValueError
        As in :class:`~ppl_scaling.inference.baselines.base.Baseline`, and if ``num_completions`` is below 1.
    """

    budget: ClassVar[str | None] = "num_completions"

    def __init__(self, model: Any, *, num_completions: int = 16, answer_format: AnswerFormat | None = None) -> None:
        super().__init__(model, answer_format=answer_format)
        self.num_completions = check_integer("num_completions", num_completions)

    @abstractmethod
    def weigh(self, trajectories: Sequence[Trajectory]) -> NDArray[np.float64]:
        """Weights of the trajectories, shape (N,), that sum to 1."""

    def select(self, pool: CompletionsResult, num_completions: int | None = None) -> CompletionsResult:
        """Say what this method finds with the first completions of another result.

        Parameters
        ----------
        pool : CompletionsResult
            Of any method of this kind on the same model.
        num_completions : int, optional
            How many of its completions; default: all.

        Returns
        -------
        CompletionsResult
            Has the same law as a run with so many completions, and counts their tokens only. ``seconds`` are those of the
            whole pool.

        Raises
        ------
        TypeError
            If the pool is another kind of result, such as one whose size depends on what it holds.
        ValueError
            If the pool has fewer completions, this method selects by scores and they have none, or one of the two is greedy
            and the other is not.
        """
        if not isinstance(pool, CompletionsResult):
            raise TypeError(f"expected a pool of independent completions, got {type(pool).__name__}")
        if (pool.method == Greedy.method) != isinstance(self, Greedy):
            raise ValueError(f"expected completions drawn as {self.method} draws them, got some of {pool.method}")
        size = pool.num_completions if num_completions is None else check_integer("num_completions", num_completions)
        if size > pool.num_completions:
            raise ValueError(f"expected at most the {pool.num_completions} completions of the pool, got {size}")
        trajectories, costs = pool.trajectories[:size], pool.costs[:size]
        if not self.scored:
            trajectories = tuple(replace(one, scores=(), score=math.nan) for one in trajectories)
            costs = tuple(cost.without_reward_model() for cost in costs)
        elif any(math.isnan(one.score) for one in trajectories):
            raise ValueError(f"expected completions with scores, which {self.method} selects by, got some of {pool.method}")
        result = self._result(pool.problem, trajectories, costs, pool.seed)
        configuration = {**result.configuration, "num_completions": size}
        return replace(result, seconds=pool.seconds, configuration=configuration)

    def _infer(self, problems: Sequence[str], seed: int, on_step: OnStep | None) -> list[Result | PPLScalingError]:
        size = self.num_completions
        prompts = [problem for problem in problems for _ in range(size)]
        drawn = draw_completions(self._program(), prompts, self.answer_format, on_step)
        outcomes: list[Result | PPLScalingError] = []
        for i, problem in enumerate(problems):
            completions = drawn[i * size : (i + 1) * size]
            outcomes.append(
                failure(completions)
                or self._result(
                    problem, tuple(one.trajectory for one in completions), tuple(one.cost for one in completions), seed
                )
            )
        return outcomes

    def _result(
        self, problem: str, trajectories: tuple[Trajectory, ...], costs: tuple[TokenCost, ...], seed: int
    ) -> CompletionsResult:
        weighted, answers = vote(trajectories, self.weigh(trajectories), self.answer_format)
        return CompletionsResult(**fields(self, problem, weighted, answers, costs, seed))


class SingleSample(IndependentSampling):
    r"""One completion, whose answer is the answer.

    Its accuracy over problems and seeds is pass@1. Draws from :math:`p_\mathrm{LM}(x)`; costs one completion, and no call of
    the reward model.
    """

    method: ClassVar[str] = "pass@1"
    budget: ClassVar[str | None] = None

    def __init__(self, model: Any, *, answer_format: AnswerFormat | None = None) -> None:
        super().__init__(model, num_completions=1, answer_format=answer_format)

    def weigh(self, trajectories: Sequence[Trajectory]) -> NDArray[np.float64]:
        """All on the first."""
        return _all_on(0, len(trajectories))


class Greedy(SingleSample):
    """One completion, of the most probable token every time; tokens that tie are drawn from.

    It is the mode of no distribution over answers. Costs one completion, and no call of the reward model.
    """

    method: ClassVar[str] = "greedy"

    def _program(self) -> LanguageModelStateSpace:
        program = super()._program()
        program.top_k, program.top_p = 1, None
        return program


class MajorityVote(IndependentSampling):
    r"""Self-consistency: every completion has one vote.

    The shares of the vote are unbiased estimates of the language model's own answer probabilities, :math:`\sum_{x \to a}
    p_\mathrm{LM}(x)`. Costs ``num_completions`` completions, and no call of the reward model.

    References
    ----------
    Wang et al. (2023), Self-consistency improves chain of thought reasoning in language models, arXiv 2203.11171.

    Examples
    --------
    >>> from ppl_scaling.backends.finite import FiniteLanguageModel
    >>> from ppl_scaling.models import LanguageModelStateSpace
    >>> class Text:
    ...     def extract(self, text): return text or None
    ...     def equivalent(self, first, second): return first == second
    >>> lm = FiniteLanguageModel({"": {"a": 0.7, "b": 0.3}, "a": {"$": 1.0}, "b": {"$": 1.0}})
    >>> model = LanguageModelStateSpace(lm, None)
    >>> MajorityVote(model, num_completions=100, answer_format=Text()).run("?", seed=0).answer
    'a'
    """

    method: ClassVar[str] = "majority vote"

    def weigh(self, trajectories: Sequence[Trajectory]) -> NDArray[np.float64]:
        """All the same."""
        return np.full(len(trajectories), 1 / len(trajectories))


class BestOfN(IndependentSampling):
    """The completion with the best final score, as the reward model aggregates it, among those with an answer.

    Not a sample of any posterior: with more completions it climbs the score, :math:`F^N` being the law of the best of N.
    Costs ``num_completions`` completions, each scored step by step as it is written.

    References
    ----------
    Cobbe et al. (2021), Training verifiers to solve math word problems, arXiv 2110.14168; Lightman et al. (2023),
    Let's verify step by step, arXiv 2305.20050.
    """

    method: ClassVar[str] = "best of n"
    scored: ClassVar[bool] = True

    def weigh(self, trajectories: Sequence[Trajectory]) -> NDArray[np.float64]:
        """All on the best."""
        best = max(range(len(trajectories)), key=lambda i: (trajectories[i].answer is not None, trajectories[i].score))
        return _all_on(best, len(trajectories))


class WeightedBestOfN(IndependentSampling):
    r"""Every completion votes for its answer with its final score, as the reward model aggregates it.

    The shares of the vote converge to :math:`p(a) \propto \sum_{x \to a} p_\mathrm{LM}(x)\, r(x)`, the posterior under
    ``TwistLikelihood``, with completions as importance samples. Costs ``num_completions`` completions, each scored step by
    step as it is written.

    References
    ----------
    Li et al. (2023), Making language models better reasoners with step-aware verifier, arXiv 2206.02336.
    """

    method: ClassVar[str] = "weighted best of n"
    scored: ClassVar[bool] = True

    def weigh(self, trajectories: Sequence[Trajectory]) -> NDArray[np.float64]:
        """In proportion to the scores; all the same if every score is 0."""
        return in_proportion([one.score for one in trajectories])


def nested_budgets(
    method: IndependentSampling, pool: CompletionsResult, budgets: Sequence[int] | None = None
) -> dict[int, CompletionsResult]:
    """Say what a method finds with the first 1, 2, 4, ... completions of one pool, as a study of scaling needs it.

    Parameters
    ----------
    method : IndependentSampling
        Need not be the method that drew the pool; one that selects by scores needs a pool with scores.
    pool : CompletionsResult
    budgets : sequence of int, optional
        Default: the powers of two, and the whole pool.

    Returns
    -------
    dict of int to CompletionsResult
        By budget. Each has the law of a run with that budget; they share completions, so they are not independent.
    """
    if budgets is None:
        size = pool.num_completions
        budgets = sorted({2**k for k in range(size.bit_length())} | {size})
    return {budget: method.select(pool, budget) for budget in budgets}


def _all_on(position: int, size: int) -> NDArray[np.float64]:
    weights = np.zeros(size)
    weights[position] = 1.0
    return weights
