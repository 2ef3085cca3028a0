r"""OptScale: as many completions as the scores seen so far call for.

Completions are drawn from the language model in rounds and scored by the reward model. After every round the posterior of
the law of scores is updated and a stopping rule is asked, for each problem apart; the problems that go on are groups of the
next batch. The scores are the reward model's *final scores of the completions that have an answer*. One without (truncated,
or with none in its text) cannot be chosen: it counts against the budget, and its share is learned, see
:mod:`ppl_scaling.inference.optscale.answered`.

Target
------
None: completions come from :math:`p_\mathrm{LM}(x)` and the likelihood of the model is ignored, as for Best-of-N. How many
there are depends on what they say, so shares of the vote are not unbiased, and their standard errors are NaN.

References
----------
Wang et al. (2026), OptScale, arXiv 2506.22376.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

from ppl_scaling.arguments import check_counts
from ppl_scaling.errors import PPLScalingError
from ppl_scaling.inference.baselines.completions import failure, fields, in_proportion, vote
from ppl_scaling.inference.baselines.rounds import AdaptiveResult, Pool, RoundSampling
from ppl_scaling.inference.method import OnStep
from ppl_scaling.inference.optscale.evidence import Decision, Evidence, StoppingRule
from ppl_scaling.inference.optscale.posterior import ScorePosterior
from ppl_scaling.inference.optscale.rules import AnswerRule
from ppl_scaling.inference.optscale.settings import Stopping
from ppl_scaling.inference.results import Result, choose_answer, finite
from ppl_scaling.interfaces import AnswerFormat

__all__ = ["OptScale", "OptScaleResult", "described"]

_DONE = ("target_reached", "covered", "answer_settled", "not_worthwhile", "plan_spent")


@dataclass(frozen=True, eq=False, repr=False)
class OptScaleResult(AdaptiveResult):
    """Completions of a problem, with the decisions that led to their number.

    ``weights`` are in proportion to the final scores (all the same if the method does not weigh by score), so ``answers``
    are the shares of a weighted vote; ``decided`` is False where the rule gave up or the limit was reached.

    Attributes
    ----------
    decisions : tuple of Decision
        One after every round; the last one stops.
    evidence : Evidence
        What the last one was based on.
    """

    decisions: tuple[Decision, ...]
    evidence: Evidence

    @property
    def stopped_because(self) -> str:
        """Why no more were drawn; see ``Decision.because``."""
        return self.decisions[-1].because

    @property
    def best_score(self) -> float:
        """Highest final score of a completion with an answer; NaN if there is none."""
        return math.nan if self.evidence.best is None else self.evidence.best

    @cached_property
    def posterior(self) -> ScorePosterior:
        """What all the scores say of further completions; computed again from them."""
        return self.evidence.posterior

    def _facts(self) -> dict[str, str]:
        return {
            **super()._facts(),
            "best_score": f"{self.best_score:.3f}",
            "stopped": self.stopped_because,
        }

    def _details(self) -> dict[str, Any]:
        return {**super()._details(), "best_score": finite(self.best_score), **described(self.decisions)}


class OptScale(Stopping, RoundSampling):
    """Best-of-N that finds out its own N; see the module for what is drawn and scored.

    Costs between ``min_completions`` and ``max_completions`` completions, each scored step by step as it is written. A
    problem is read again in every round, so its tokens count once for each in ``lm_tokens_forwarded``; ``generated_tokens``
    has no such overhead.

    Parameters
    ----------
    model : LanguageModelStateSpace
        With a reward model.
    rule : StoppingRule or str, optional
        When to stop, or the name of that; by default what the settings below call for, and without any of them coverage: one
        of the completions is right with probability ``confidence`` (0.9), or the next adds less than 0.01 to that. See
        :func:`~ppl_scaling.inference.optscale.settings.stopping_rule`.
    target_score, confidence, price, price_per, give_up_below, peek : optional
        Settings of rules that are named.
    score_model : str or score model, optional
        Default: ``"logit-normal"``, or ``"truncated-normal"`` for a plug-in rule.
    prior : Prior or callable of str to Prior, optional
        What is known of the law of scores beforehand, for all problems or for each one; default: that of the score model.
    min_completions : int, default 1
        The rule is first asked after so many.
    max_completions : int, default 64
    round_size : int or None, default 4
        Most completions of a problem between two decisions. 1 draws fewest; more need fewer rounds; None draws all that the
        rule asks for at once, except for those that are not allowed.
    choice : {"best_score", "mode", "sample"}
        The answer of the best completion, or the weighted vote, or a draw. Default: the vote if the rule is ``"answer"``,
        whose target it is, else the best.
    weigh_by_score : bool, optional
        What a completion's vote weighs; False lets all weigh the same, which is the default with the rule ``"answer"``.
    answer_format : AnswerFormat, optional

    Raises
    ------
    TypeError, ValueError
        If the model is another kind of program or has no reward model, or a setting is out of its range.

    Examples
    --------
    >>> from ppl_scaling.inference.optscale import OptScale
    >>> method = OptScale(model, target_score=0.95, confidence=0.9)  # doctest: +SKIP
    >>> method.run("What is 2 + 2?").decisions[-1].reason  # doctest: +SKIP
    'the best score 0.981 has reached the target 0.95'
    """

    method: ClassVar[str] = "optscale"
    scored: ClassVar[bool] = True

    def __init__(
        self,
        model: Any,
        rule: str | StoppingRule | None = None,
        *,
        min_completions: int = 1,
        max_completions: int = 64,
        round_size: int | None = 4,
        choice: str | None = None,
        weigh_by_score: bool | None = None,
        answer_format: AnswerFormat | None = None,
        **settings: Any,
    ) -> None:
        check_counts(min_completions=min_completions)
        Stopping.__init__(self, rule, round_size=round_size, **settings)
        by_answer = isinstance(self.rule, AnswerRule)
        RoundSampling.__init__(
            self,
            model,
            max_completions=max_completions,
            choice=choice or ("mode" if by_answer else "best_score"),
            answer_format=answer_format,
        )
        if min_completions > max_completions:
            raise ValueError(f"expected min_completions to be at most {max_completions}, got {min_completions}")
        self.min_completions = min_completions
        self.weigh_by_score = not by_answer if weigh_by_score is None else weigh_by_score

    @property
    def configuration(self) -> dict[str, Any]:
        """Settings of model and method, for the record of a result."""
        own = ("min_completions", "weigh_by_score", "choice")
        return {**super().configuration, **self._stopping, **{name: getattr(self, name) for name in own}}

    def _infer(self, problems: Sequence[str], seed: int, on_step: OnStep | None) -> list[Result | PPLScalingError]:
        laws = [self.laws.of(problem) for problem in problems]
        pools = [Pool([], 0, []) for _ in problems]
        decisions: list[list[Decision]] = [[] for _ in problems]
        wanted: Mapping[int, int] = dict.fromkeys(range(len(problems)), self.min_completions)
        while self._draw(wanted, problems, pools, on_step):
            further: dict[int, int] = {}
            for i in wanted:
                decision, further[i] = self._ask(self._evidence(pools[i], laws[i]))
                decisions[i].append(decision)
            wanted = {i: number for i, number in further.items() if number}
        return [
            failure(pool.completions) or self._result(problem, pool, seed, law, made)
            for problem, pool, law, made in zip(problems, pools, laws, decisions, strict=True)
        ]

    def _evidence(self, pool: Pool, law: Any) -> Evidence:
        drawn = [one.trajectory for one in pool.completions]
        return Evidence(
            tuple(None if one.answer is None else one.score for one in drawn),
            self.max_completions - len(drawn),
            law,
            tuple(pool.answers),
            tuple(one.cost.generated_tokens for one in pool.completions),
        )

    def _result(self, problem: str, pool: Pool, seed: int, law: Any, decisions: Sequence[Decision]) -> OptScaleResult:
        weights = in_proportion(self._votes(pool))
        trajectories, answers = vote([one.trajectory for one in pool.completions], weights, self.answer_format)
        answers = tuple(replace(one, standard_error=math.nan) for one in answers)
        common = fields(self, problem, trajectories, answers, [one.cost for one in pool.completions], seed)
        if answers:
            common["answer"] = choose_answer(trajectories, answers, self.choice, seed)
        return OptScaleResult(
            **common,
            num_rounds=pool.num_rounds,
            decided=decisions[-1].because in _DONE,
            decisions=tuple(decisions),
            evidence=self._evidence(pool, law),
        )

    def _votes(self, pool: Pool) -> list[float]:
        """Say what each completion's vote weighs; nothing, if the program itself has called the completion impossible."""
        possible = [float(one.error is None) for one in pool.completions]
        if not self.weigh_by_score:
            return possible
        scores = [0.0 if one.error is not None else one.trajectory.score for one in pool.completions]
        answered = (score for score, one in zip(scores, pool.completions, strict=True) if one.trajectory.answer is not None)
        return scores if any(answered) else possible


def described(decisions: Sequence[Decision]) -> dict[str, Any]:
    """Describe decisions as JSON can hold it; an infinite number is the text ``"infinite"``."""
    rounds = []
    for one in decisions:
        interval = None if one.required_interval is None else [_number(end) for end in one.required_interval]
        numbers = {"required": _number(one.required), "required_interval": interval, "probability": one.probability}
        seen = {"num_seen": one.num_seen, "best": one.best, "further": one.further}
        rounds.append({**seen, **numbers, "because": one.because, "reason": one.reason})
    return {"stopped_because": decisions[-1].because, "decisions": rounds}


def _number(value: float | None) -> float | str | None:
    return "infinite" if value is not None and math.isinf(value) else value
