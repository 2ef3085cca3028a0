"""Drawing completions in rounds until a rule is satisfied: what the adaptive baselines and OptScale have in common.

In each round the problems that are not decided yet are groups of one batch. Every round reads its problems again, as any
method that asks the model anew does, so the tokens of a problem count once for each round in ``lm_tokens_forwarded``;
``generated_tokens`` has no such overhead.

How many completions there are depends on what they say, so the shares of a vote are not unbiased and their standard errors
are NaN. Completions without an answer do not vote. Ties go to the answer that was found first.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from ppl_scaling.arguments import check_integer
from ppl_scaling.errors import PPLScalingError
from ppl_scaling.inference.answers import group_answers
from ppl_scaling.inference.baselines.base import Baseline
from ppl_scaling.inference.baselines.completions import Completion, TokenCost, draw_completions, failure, fields, vote
from ppl_scaling.inference.method import OnStep
from ppl_scaling.inference.results import Result
from ppl_scaling.interfaces import AnswerFormat

__all__ = ["AdaptiveResult", "AdaptiveSampling", "Pool", "RoundSampling"]


@dataclass(frozen=True, eq=False, repr=False)
class AdaptiveResult(Result):
    """A vote of as many completions as a stopping rule has asked for.

    Attributes
    ----------
    costs : tuple of TokenCost
        What each trajectory took; their sums are the token counts of the result.
    num_rounds : int
        How often the problem was part of a batch.
    decided : bool
        Whether the rule is satisfied; if not, the limit was reached or the method asks for no more.
    """

    costs: tuple[TokenCost, ...]
    num_rounds: int
    decided: bool

    @property
    def num_completions(self) -> int:
        """How many there are."""
        return len(self.trajectories)

    def _details(self) -> dict[str, Any]:
        return {"num_completions": self.num_completions, "num_rounds": self.num_rounds, "decided": self.decided}


@dataclass
class Pool:
    """Completions of one problem so far.

    Attributes
    ----------
    completions : list of Completion
    num_rounds : int
    answers : list of int or None
        Number of each completion's answer; answers of the same meaning have the same number.
    """

    completions: list[Completion]
    num_rounds: int
    answers: list[int | None]

    @property
    def votes(self) -> list[int]:
        """Votes for each answer."""
        return list(Counter(number for number in self.answers if number is not None).values())


class RoundSampling(Baseline):
    """Base of the methods that draw completions in rounds, for the problems that are to have more.

    Parameters
    ----------
    model : LanguageModelStateSpace
    max_completions : int, default 40
        Most completions of a problem.
    choice : {"mode", "best_score", "sample"}
    answer_format : AnswerFormat, optional

    Raises
    ------
    TypeError, ValueError
        If the model is another kind of program or a number is below 1.
    """

    budget: ClassVar[str | None] = "max_completions"

    def __init__(
        self, model: Any, *, max_completions: int = 40, choice: str = "mode", answer_format: AnswerFormat | None = None
    ) -> None:
        super().__init__(model, choice=choice, answer_format=answer_format)
        self.max_completions = check_integer("max_completions", max_completions)

    def _draw(
        self, wanted: Mapping[int, int], problems: Sequence[str], pools: Sequence[Pool], on_step: OnStep | None
    ) -> bool:
        """Draw as many completions of each problem as are wanted and allowed, in one batch; False if that is none."""
        numbers = {i: min(number, self.max_completions - len(pools[i].completions)) for i, number in wanted.items()}
        owners = [i for i, number in numbers.items() for _ in range(number)]
        if not owners:
            return False
        drawn = draw_completions(self._program(), [problems[i] for i in owners], self.answer_format, on_step)
        for i, completion in zip(owners, drawn, strict=True):
            pools[i].completions.append(completion)
        for i in set(owners):
            pools[i].num_rounds += 1
            answers = [one.trajectory.answer for one in pools[i].completions]
            pools[i].answers = group_answers(answers, self.answer_format)
        return True


class AdaptiveSampling(RoundSampling):
    """Base of the methods that draw in rounds until a rule is satisfied; a subclass has the rule.

    Parameters
    ----------
    model : LanguageModelStateSpace
    max_completions : int, default 40
        Most completions of a problem.
    answer_format : AnswerFormat, optional

    Raises
    ------
    TypeError, ValueError
        If the model is another kind of program or a number is below 1.
    """

    def __init__(self, model: Any, *, max_completions: int = 40, answer_format: AnswerFormat | None = None) -> None:
        super().__init__(model, max_completions=max_completions, answer_format=answer_format)

    @abstractmethod
    def decided(self, pool: Pool) -> bool:
        """Whether the vote is settled."""

    @property
    @abstractmethod
    def round_size(self) -> int:
        """Completions of a problem in each round."""

    def _infer(self, problems: Sequence[str], seed: int, on_step: OnStep | None) -> list[Result | PPLScalingError]:
        pools = [Pool([], 0, []) for _ in problems]
        self._settle(range(len(problems)), problems, pools, on_step)
        return self._results(problems, pools, seed)

    def _settle(self, chosen: Sequence[int], problems: Sequence[str], pools: Sequence[Pool], on_step: OnStep | None) -> None:
        """Draw rounds for the chosen problems until each is decided or has all the completions it may have."""
        while True:
            wanted = {i: self.round_size for i in chosen if not self.decided(pools[i])}
            if not self._draw(wanted, problems, pools, on_step):
                return

    def _results(self, problems: Sequence[str], pools: Sequence[Pool], seed: int) -> list[Result | PPLScalingError]:
        return [
            failure(pool.completions) or self._result(problem, pool, seed)
            for problem, pool in zip(problems, pools, strict=True)
        ]

    def _result(self, problem: str, pool: Pool, seed: int) -> AdaptiveResult:
        size = len(pool.completions)
        trajectories, answers = vote(
            [one.trajectory for one in pool.completions], np.full(size, 1 / size), self.answer_format
        )
        answers = tuple(replace(one, standard_error=math.nan) for one in answers)
        common = fields(self, problem, trajectories, answers, [one.cost for one in pool.completions], seed)
        return AdaptiveResult(**common, num_rounds=pool.num_rounds, decided=self.decided(pool))
