"""Difficulty-adaptive self-consistency: what easy problems need not have, hard ones get, and that in fewer rounds.

The rounds and the stopping rule are those of adaptive self-consistency; what is new is that a batch of problems is put into
the order of difficulty, and that one problem tells something about its neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from ppl_scaling.arguments import check_integer
from ppl_scaling.errors import PPLScalingError
from ppl_scaling.inference.baselines.adaptive import AdaptiveSelfConsistency
from ppl_scaling.inference.baselines.rounds import Pool
from ppl_scaling.inference.method import OnStep
from ppl_scaling.inference.results import Result
from ppl_scaling.interfaces import AnswerFormat
from ppl_scaling.models.state_space import name_of

__all__ = ["DifficultyAdaptiveSelfConsistency", "number_of_words"]


def number_of_words(problem: str) -> float:
    """Length of a problem in words, the difficulty of those who have nothing better."""
    return float(len(problem.split()))


class DifficultyAdaptiveSelfConsistency(AdaptiveSelfConsistency):
    """Adaptive self-consistency over a batch of problems, with the easy ones recognised and the first rounds made larger.

    1. *Ranking.* The problems are put into the order of ``difficulty``, hardest first. In the paper the language model
       rates them; here the caller says how, and the default is free of calls.
    2. *Partition.* ``num_presamples`` completions are drawn for one block of ``judge_window`` problems after the other.
       When those of ``judge_window`` successive problems each agree wholly, all problems that follow are easy and get a
       single completion.
    3. *Allocation.* The other problems are settled block by block, hardest first. A problem that its presamples do not
       decide first gets, in one round, what the problems of the block before it have needed on average; then rounds of
       ``batch_size`` follow, until the stopping rule is satisfied or the limit is reached. All completions vote.

    The paper looks at one problem at a time in step 2; going through blocks is ours, and so are the sizes of the windows. A
    problem alone, or a batch smaller than ``judge_window``, has no easy part and no neighbours: it is adaptive
    self-consistency with a first round of ``num_presamples``.

    Costs between 1 and ``max_completions`` completions for each problem; the reward model is never called.

    Parameters
    ----------
    model : LanguageModelStateSpace
    max_completions : int, default 40
    num_presamples : int, default 4
        No more than ``max_completions``.
    judge_window : int, default 8
    difficulty : callable of str to float, optional
        Larger is harder; default: :func:`number_of_words`.
    rule, threshold, batch_size, answer_format
        As in :class:`~ppl_scaling.inference.baselines.adaptive.AdaptiveSelfConsistency`; ``batch_size`` is 4 by default.

    Raises
    ------
    TypeError, ValueError
        If the model is another kind of program or a setting is out of its range.

    References
    ----------
    Wang et al. (2024), Make every penny count: difficulty-adaptive self-consistency for cost-efficient reasoning, arXiv
    2408.13457.
    """

    method: ClassVar[str] = "difficulty-adaptive self-consistency"

    def __init__(
        self,
        model: Any,
        *,
        max_completions: int = 40,
        num_presamples: int = 4,
        judge_window: int = 8,
        difficulty: Callable[[str], float] = number_of_words,
        rule: str = "beta",
        threshold: float = 0.95,
        batch_size: int = 4,
        answer_format: AnswerFormat | None = None,
    ) -> None:
        if not callable(difficulty):
            raise TypeError(f"expected difficulty to be a function of a problem, got {difficulty!r}")
        super().__init__(
            model,
            max_completions=max_completions,
            rule=rule,
            threshold=threshold,
            batch_size=batch_size,
            answer_format=answer_format,
        )
        self.num_presamples = check_integer("num_presamples", num_presamples)
        self.judge_window = check_integer("judge_window", judge_window)
        if self.num_presamples > self.max_completions:
            raise ValueError(f"expected num_presamples to be at most {max_completions}, got {num_presamples}")
        self.difficulty = difficulty

    @property
    def configuration(self) -> dict[str, Any]:
        """Settings of model and method, for the record of a result."""
        return {
            **super().configuration,
            "num_presamples": self.num_presamples,
            "judge_window": self.judge_window,
            "difficulty": getattr(self.difficulty, "__name__", name_of(self.difficulty)),
        }

    def _infer(self, problems: Sequence[str], seed: int, on_step: OnStep | None) -> list[Result | PPLScalingError]:
        pools = [Pool([], 0, []) for _ in problems]
        ranked = sorted(range(len(problems)), key=lambda i: -self.difficulty(problems[i]))
        blocks = [ranked[first : first + self.judge_window] for first in range(0, len(ranked), self.judge_window)]
        agree: list[bool] = []
        hard: list[list[int]] = []
        while len(hard) < len(blocks) and not self._easy_from_here(agree):
            block = blocks[len(hard)]
            self._draw(dict.fromkeys(block, self.num_presamples), problems, pools, on_step)
            agree += [_unanimous(pools[i]) for i in block]
            hard.append(block)
        easy = [i for block in blocks[len(hard) :] for i in block]
        self._draw(dict.fromkeys(easy, 1), problems, pools, on_step)
        needed: list[int] = []
        for block in hard:
            if needed:
                expected = math.ceil(sum(needed) / len(needed))
                open_ones = [i for i in block if not self.decided(pools[i])]
                more = {i: max(0, expected - len(pools[i].completions)) for i in open_ones}
                self._draw(more, problems, pools, on_step)
            self._settle(block, problems, pools, on_step)
            needed = [len(pools[i].completions) for i in block]
        return self._results(problems, pools, seed)

    def _easy_from_here(self, agree: Sequence[bool]) -> bool:
        """Whether there are ``judge_window`` successive problems whose presamples agree."""
        window = self.judge_window
        return any(all(agree[first : first + window]) for first in range(len(agree) - window + 1))


def _unanimous(pool: Pool) -> bool:
    return None not in pool.answers and len(set(pool.answers)) == 1
