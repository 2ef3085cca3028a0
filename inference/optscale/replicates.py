r"""OptScale around a particle method: how many replicates of the filter are enough.

Replicates of a particle filter are independent and of one law, as completions are; so the same rules decide when there are
enough of them. The score of a replicate is the *best final score* among its particles that have an answer (particles of
weight zero left out), its vote is the answer that the replicate itself would give, and its tokens are all that it has drawn.
A replicate none of whose particles has an answer, or that fails because all its weights are zero, has no score: it counts
against the limit, and how often that happens is learned, as for completions without an answer.

Target
------
That of the particle method: the answers are pooled over the replicates by their evidence, as
:mod:`ppl_scaling.inference.islands` pools them. To stop at a high score tells something of the last replicate, as any
sequential rule does, so a pooled posterior of few replicates leans towards the one that ended it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from ppl_scaling.arguments import check_counts
from ppl_scaling.errors import PPLScalingError
from ppl_scaling.inference.answers import group_answers
from ppl_scaling.inference.islands import Islands
from ppl_scaling.inference.method import Method, OnStep
from ppl_scaling.inference.optscale.evidence import Decision, Evidence, StoppingRule
from ppl_scaling.inference.optscale.method import described
from ppl_scaling.inference.optscale.settings import Stopping
from ppl_scaling.inference.pooling import IslandsResult
from ppl_scaling.inference.results import Result, finite
from ppl_scaling.interfaces import AnswerFormat
from ppl_scaling.seeding import fresh_seed

__all__ = ["OptScaleReplicates", "OptScaleReplicatesResult"]


@dataclass(frozen=True, eq=False, repr=False)
class OptScaleReplicatesResult(IslandsResult):
    """Pooled posterior of replicates, with the decisions that led to their number.

    ``stopped_by`` is the ``because`` of the last decision.

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
    def best_score(self) -> float:
        """Highest score of a replicate; NaN if none has one."""
        return math.nan if self.evidence.best is None else self.evidence.best

    def _details(self) -> dict[str, Any]:
        return {**super()._details(), "best_score": finite(self.best_score), **described(self.decisions)}


class OptScaleReplicates(Stopping, Islands):
    """Replicates of a particle method in rounds, until a stopping rule is satisfied; see the module.

    Costs between ``min_replicates`` and ``max_replicates`` replicates.

    Parameters
    ----------
    replicated : Method
        With results that have a ``log_evidence``, and with a reward model.
    rule, target_score, confidence, price, price_per, give_up_below, peek, score_model, prior
        As in :class:`~ppl_scaling.inference.optscale.method.OptScale`, where a completion is a replicate here. The default
        prior was made for scores of completions, so it expects less of the best of several particles than it is.
    min_replicates : int, default 1
        The rule is first asked after so many.
    max_replicates : int, default 16
    round_size : int or None, default 1
        Most replicates of a problem between two decisions; None for as many as the rule asks for.
    choice, answer_format
        Default: those of the method.

    Raises
    ------
    ValueError, TypeError
        If a setting is out of its range, the method has no reward model, or it does not estimate the evidence.
    """

    method: ClassVar[str] = "optscale replicates"

    def __init__(
        self,
        replicated: Method,
        rule: str | StoppingRule | None = None,
        *,
        min_replicates: int = 1,
        max_replicates: int = 16,
        round_size: int | None = 1,
        choice: str | None = None,
        answer_format: AnswerFormat | None = None,
        **settings: Any,
    ) -> None:
        check_counts(min_replicates=min_replicates, max_replicates=max_replicates)
        if min_replicates > max_replicates:
            raise ValueError(f"expected min_replicates to be at most {max_replicates}, got {min_replicates}")
        if getattr(replicated.model, "reward_model", None) is None:
            raise ValueError(f"expected a method with a reward model, which {self.method} scores by, got one without")
        Stopping.__init__(self, rule, round_size=round_size, **settings)
        Islands.__init__(self, replicated, choice=choice, answer_format=answer_format)
        self.min_replicates = min_replicates
        self.max_replicates = max_replicates

    @property
    def configuration(self) -> dict[str, Any]:
        """Settings of the method and of its replication, for the record of a result."""
        return {
            **self.replicated.configuration,
            "choice": self.choice,
            "replicated": self.replicated.method,
            **self._stopping,
            "min_replicates": self.min_replicates,
            "max_replicates": self.max_replicates,
        }

    def _infer(self, problems: Sequence[str], seed: int, on_step: OnStep | None) -> list[Result | PPLScalingError]:
        laws = [self.laws.of(problem) for problem in problems]
        found: list[list[Any]] = [[] for _ in problems]
        decisions: list[list[Decision]] = [[] for _ in problems]
        wanted = dict.fromkeys(range(len(problems)), self.min_replicates)
        while wanted:
            places = [place for place, number in wanted.items() for _ in range(number)]
            batch = self.replicated.run_batch([problems[place] for place in places], seed=fresh_seed(), on_step=on_step)
            for place, outcome in zip(places, batch, strict=True):
                found[place].append(outcome)
            further: dict[int, int] = {}
            for place in wanted:
                decision, further[place] = self._ask(self._evidence(found[place], laws[place]))
                decisions[place].append(decision)
            wanted = {place: number for place, number in further.items() if number}
        return [
            self._outcome(problem, replicates, seed, law, made)
            for problem, replicates, law, made in zip(problems, found, laws, decisions, strict=True)
        ]

    def _evidence(self, found: Sequence[Any], law: Any) -> Evidence:
        scores = [
            max(
                (each.score for each in getattr(one, "trajectories", ()) if each.answer is not None and each.weight > 0),
                default=None,
            )
            for one in found
        ]
        return Evidence(
            tuple(scores),
            self.max_replicates - len(found),
            law,
            tuple(group_answers([getattr(one, "answer", None) for one in found], self.answer_format)),
            tuple(getattr(one, "generated_tokens", 0) for one in found),
        )

    def _outcome(
        self, problem: str, found: list[Any], seed: int, law: Any, decisions: list[Decision]
    ) -> Result | PPLScalingError:
        if not any(isinstance(one, Result) for one in found):
            return found[0]
        pooled = self._pooled(problem, found, seed)
        same = {one.name: getattr(pooled, one.name) for one in fields(pooled) if one.name != "stopped_by"}
        evidence = self._evidence(found, law)
        return OptScaleReplicatesResult(
            **same, stopped_by=decisions[-1].because, decisions=tuple(decisions), evidence=evidence
        )
