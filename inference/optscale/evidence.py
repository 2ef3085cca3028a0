"""What a stopping rule sees, what it says, and how it is asked: the vocabulary of the sequential decision."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

from ppl_scaling.inference.optscale.answered import infer_answered
from ppl_scaling.inference.optscale.posterior import ScorePosterior
from ppl_scaling.models.scores.base import validate_scores

__all__ = ["Decision", "Evidence", "StoppingRule", "ask", "next_round", "replay"]


@dataclass(frozen=True)
class Evidence:
    """What is known of a problem when a rule is asked. Completions are in the order in which they were drawn.

    Parameters
    ----------
    scores : sequence of float or None
        Final score of each completion; None for one without an answer, which cannot be chosen, whatever its score.
    allowed : int
        How many more there may be.
    score_model : object
        The law of scores with its prior, for :func:`~ppl_scaling.inference.optscale.quadrature.infer_scores`. Rules that do
        not look at scores need none.
    answers : sequence of int or None
        Number of each completion's answer; answers of the same meaning have the same number.
    tokens : sequence of int
        Tokens that were generated for each completion.

    Raises
    ------
    ValueError
        If a score is NaN or outside [0, 1], ``allowed`` is negative, or the lengths differ.
    """

    scores: Sequence[float | None]
    allowed: int
    score_model: Any = None
    answers: Sequence[int | None] = ()
    tokens: Sequence[int] = ()

    def __post_init__(self) -> None:
        validate_scores(self.answered_scores)
        if self.allowed < 0:
            raise ValueError(f"expected allowed to be at least 0, got {self.allowed}")
        for name in ("answers", "tokens"):
            length = len(getattr(self, name))
            if length not in (0, len(self.scores)):
                raise ValueError(f"expected {len(self.scores)} {name}, one for each completion, got {length}")

    @property
    def num_seen(self) -> int:
        """Completions drawn so far."""
        return len(self.scores)

    @property
    def answered_scores(self) -> list[float]:
        """Scores of the completions that have an answer."""
        return [score for score in self.scores if score is not None]

    @property
    def best(self) -> float | None:
        """The highest of them; None if there are none."""
        return max(self.answered_scores, default=None)

    @property
    def votes(self) -> list[int]:
        """Votes for each answer, most first."""
        return sorted(Counter(one for one in self.answers if one is not None).values(), reverse=True)

    @cached_property
    def posterior(self) -> ScorePosterior:
        """What the scores say of the next completions.

        Raises
        ------
        ValueError
            If there is no score model.
        """
        if self.score_model is None:
            raise ValueError("expected evidence with a score model for a rule that looks at scores, got None")
        return infer_answered(self.score_model, self.answered_scores, self.num_seen - len(self.answered_scores))

    def first(self, number: int) -> Evidence:
        """Return the evidence as it was after ``number`` completions."""
        allowed = self.allowed + max(0, self.num_seen - number)
        taken = {name: tuple(getattr(self, name)[:number]) for name in ("scores", "answers", "tokens")}
        return replace(self, allowed=allowed, **taken)


@dataclass(frozen=True)
class Decision:
    """What a rule says after a round.

    Attributes
    ----------
    stop : bool
    further : int
        Completions that the rule asks for; 0 if it stops. It may be more than are allowed: a rule clips nothing.
    because : str
        One word for programs: ``target_reached``, ``unreachable``, ``beyond_limit``, ``plan_spent``, ``not_worthwhile``,
        ``covered``, ``answer_settled`` or ``max_completions`` where it stops; ``more_needed``, ``worthwhile`` or
        ``answer_open`` where it goes on.
    reason : str
        A sentence for people.
    num_seen : int
        Completions at the time.
    best : float or None
        Highest score at the time.
    required : float or None
        Further completions that the target needs with the confidence asked for; infinite if no number is enough, None if the
        rule has no target.
    required_interval : tuple of two floats, or None
        Central 90 % of the posterior of the number that would be needed if the law of scores were known.
    probability : float or None
        What the rule weighs: that the target is reached with all completions that are allowed, that the leading answer is
        the most probable one, or that one of the completions is right.
    precise : bool
        Whether the posterior that it was computed from has the precision asked for. Where it has not, which is rare for
        laws of one or two parameters, the reason ends with a warning, and numbers may be off.
    """

    stop: bool
    further: int
    because: str
    reason: str
    num_seen: int = 0
    best: float | None = None
    required: float | None = None
    required_interval: tuple[float, float] | None = None
    probability: float | None = None
    precise: bool = True


class StoppingRule(Protocol):
    """Says after every round whether to stop. It has no memory: the same evidence gets the same decision."""

    def decide(self, evidence: Evidence) -> Decision:
        """Decide with what is known."""


def ask(rule: StoppingRule, evidence: Evidence) -> Decision:
    """Ask a rule, and stop it where nothing more is allowed; warn where the posterior that it looked at is not precise.

    Raises
    ------
    ValueError
        If the rule neither stops nor asks for more: a loop that follows it would never end.
    """
    decision = rule.decide(evidence)
    if not decision.stop and decision.further < 1:
        raise ValueError(f"expected a rule that stops or asks for at least one more, got {decision.further} from {rule!r}")
    posterior = vars(evidence).get("posterior")
    if not decision.precise or (posterior is not None and not posterior.precise):
        warning = "; the posterior is less precise than was asked for"
        decision = replace(decision, precise=False, reason=decision.reason + warning)
    if decision.stop or evidence.allowed:
        return decision
    reason = f"all {evidence.num_seen} completions that are allowed have been drawn; {decision.reason}"
    return replace(decision, stop=True, further=0, because="max_completions", reason=reason)


def next_round(decision: Decision, evidence: Evidence, round_size: int | None) -> int:
    """Completions to draw before a rule is asked again: as many as it asks for, in a round, and as are allowed."""
    return min(decision.further, evidence.allowed, evidence.allowed if round_size is None else round_size)


def replay(
    rule: StoppingRule,
    pool: Evidence,
    *,
    min_completions: int = 1,
    max_completions: int | None = None,
    round_size: int | None = 1,
) -> list[Decision]:
    """Let a rule decide over completions that have been drawn already; what comes after the last decision is not looked at.

    Parameters
    ----------
    rule : StoppingRule
    pool : Evidence
        All completions; its ``allowed`` is ignored.
    min_completions : int
        The rule is first asked after so many.
    max_completions : int, optional
        Default: all.
    round_size : int or None
        Most completions between two decisions; None for as many as the rule asks for.

    Returns
    -------
    list of Decision
        The last one stops, and its ``num_seen`` says how many completions the rule has used.

    Raises
    ------
    ValueError
        If a number is below 1, or the pool has fewer than ``max_completions``.
    """
    if round_size is not None and round_size < 1:
        raise ValueError(f"expected round_size to be at least 1, got {round_size}")
    limit = pool.num_seen if max_completions is None else max_completions
    if not 1 <= min_completions <= limit <= pool.num_seen:
        raise ValueError(
            f"expected 1 <= min_completions <= max_completions <= {pool.num_seen}, got {min_completions} and {limit}"
        )
    decisions: list[Decision] = []
    size = min_completions
    while True:
        seen = replace(pool.first(size), allowed=limit - size)
        decisions.append(ask(rule, seen))
        if decisions[-1].stop:
            return decisions
        size += next_round(decisions[-1], seen, round_size)
