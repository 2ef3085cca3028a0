r"""When to stop drawing completions: a guarantee, a price, or a settled answer.

Rules are asked after every round, with the posterior of all that has been seen; they have no memory. Asking often does no
harm to a Bayesian guarantee: the posterior given all scores is the same whether or not one has looked before.

References
----------
Wan et al. (2025), BEACON, arXiv 2510.15945, and arXiv 2510.01394 (the price); Huang, Ma and Zhou (2026), arXiv 2602.05395
(the answer).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ppl_scaling.arguments import check_counts
from ppl_scaling.inference.baselines.stopping import beta_confidence, dirichlet_confidence
from ppl_scaling.inference.optscale.decisions import required_completions, worthwhile_completions
from ppl_scaling.inference.optscale.evidence import Decision, Evidence

__all__ = ["AnswerRule", "GuaranteeRule", "PriceRule"]

_INTERVAL = (0.05, 0.95)
_MOST = 2**30  # votes: the integral cannot tell a confidence nearest to 1 from 1, however many there are


@dataclass(frozen=True)
class GuaranteeRule:
    """Go on until the best score has reached a target, while that can still be expected.

    Each round asks for the number of further completions with which the target is reached with probability ``confidence``.
    That number may be more than are allowed, or infinite. Then the decision says so, and how probable the target is with all
    that are left. Whether to spend them is a question of that probability: the rule gives up when it is below
    ``give_up_below``. By default that is ``1 - confidence``: it gives up once it is as sure of missing the target as it was
    asked to be of reaching it. To stop at once where the guarantee cannot be given costs fewer completions, but throws away
    targets that are likely (0.8 in place of 0.9), and while little is seen the posterior is wide; to spend all (0) costs
    most on the problems where there is least to gain.

    Parameters
    ----------
    target_score : float
        In [0, 1].
    confidence : float
        In (0, 1]. Of 1 no number is enough before the target has been reached.
    give_up_below : float, optional
        In [0, 1]; ``confidence`` stops wherever the guarantee cannot be given, 0 spends all that is allowed.
    peek : int, optional
        Make the plan once, after so many completions, and keep it: when what it asked for is spent, stop, whether or not
        the target is reached. Then up to a share ``1 - confidence`` of the problems misses the target, as was promised. By
        default the plan is renewed after every round, and a miss is followed by more completions.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """

    target_score: float
    confidence: float
    give_up_below: float | None = None
    peek: int | None = None

    def __post_init__(self) -> None:
        check_share("target_score", self.target_score)
        check_share("confidence", self.confidence, positive=True)
        if self.give_up_below is not None:
            check_share("give_up_below", self.give_up_below)
        if self.peek is not None:
            check_counts(peek=self.peek)

    def decide(self, evidence: Evidence) -> Decision:
        """Decide by the posterior of the score."""
        seen: dict[str, Any] = {"num_seen": evidence.num_seen, "best": evidence.best}
        target = f"the target {self.target_score:g}"
        if evidence.best is not None and evidence.best >= self.target_score:
            reason = f"the best score {evidence.best:.3f} has reached {target}"
            return Decision(True, 0, "target_reached", reason, **seen, required=0.0, probability=1.0)
        if self.peek is not None and evidence.num_seen < self.peek:
            further = self.peek - evidence.num_seen
            return Decision(False, further, "more_needed", f"the plan is made after {self.peek} completions", **seen)
        basis = evidence if self.peek is None else evidence.first(self.peek)
        spent = evidence.num_seen - basis.num_seen
        needed = required_completions(basis.posterior, self.target_score, self.confidence)
        number = float(needed.number)
        chance = needed.probability_after(basis.allowed)
        low, high = (max(end - spent, 0.0) for end in needed.quantiles(_INTERVAL).tolist())
        numbers: dict[str, Any] = {
            **seen,
            "required": max(number - spent, 0),
            "required_interval": (low, high),
            "probability": chance,
            "precise": basis.posterior.precise,
        }
        if math.isinf(number):
            because, says = "unreachable", f"no number of completions reaches {target} with probability {self.confidence:g}"
        else:
            because = "beyond_limit" if number > basis.allowed else "more_needed"
            says = f"{readable(number)} more reach {target} with probability {self.confidence:g}"
            says = says if needed.practical else f"{target} is out of reach in practice: only {says.replace(target, 'it')}"
        left = f"; {basis.allowed} are allowed, and reach it with probability {chance:.3g}"
        says += left if number > basis.allowed > 0 else ""
        if number > basis.allowed > 0 and chance < self.least:
            return Decision(True, 0, because, f"{says}, below {self.least:g}", **numbers)
        if self.peek is not None and spent >= number:
            says = f"the {readable(number)} completions planned after {self.peek} are spent, and {target} is missed"
            return Decision(True, 0, "plan_spent", says, **numbers)
        planned = basis.allowed if math.isinf(number) else int(number)
        return Decision(False, max(planned - spent, 1), "more_needed", says, **numbers)

    @property
    def least(self) -> float:
        """Probability of the target below which the rule gives up."""
        return 1 - self.confidence if self.give_up_below is None else self.give_up_below


@dataclass(frozen=True)
class PriceRule:
    """Go on while some number of further completions is expected to raise the best score by more than it costs.

    Parameters
    ----------
    price : float
        Of one completion or one token, in units of the score: 0.001 a completion says that a hundred completions are worth
        an increase of the best score by 0.1.
    per : {"completion", "token"}
        A price per token is multiplied with the mean number of tokens that this problem's completions have had so far.

    Raises
    ------
    ValueError
        If the price is not above 0, or ``per`` is something else.
    """

    price: float
    per: str = "completion"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.price) and self.price > 0):
            raise ValueError(f"expected price to be finite and above 0, got {self.price}")
        if self.per not in ("completion", "token"):
            raise ValueError(f"expected a price per completion or per token, got per {self.per!r}")

    def decide(self, evidence: Evidence) -> Decision:
        """Decide by the expected gain of the best number of further completions, if all that are allowed may be drawn."""
        seen: dict[str, Any] = {"num_seen": evidence.num_seen, "best": evidence.best}
        if evidence.best is None:
            return Decision(False, 1, "worthwhile", "there is no answer yet to compare with", **seen)
        price = self.price
        if self.per == "token":
            if not evidence.tokens:
                raise ValueError("expected evidence with tokens for a price per token, got none")
            price *= float(np.mean(evidence.tokens))
        worth = worthwhile_completions(evidence.posterior, price, max_completions=max(evidence.allowed, 1))
        says = f"{worth.number} more are expected to raise the best score {evidence.best:.3f} by {worth.gain:.3g}"
        if worth.number == 0:
            says = f"no number of further completions raises the best score {evidence.best:.3f} by what it costs"
            return Decision(True, 0, "not_worthwhile", f"{says} ({price:.3g} each)", **seen)
        return Decision(False, worth.number, "worthwhile", f"{says}, at {price:.3g} each", **seen)


@dataclass(frozen=True)
class AnswerRule:
    r"""Go on until the leading answer is, with a given posterior probability, the most probable one.

    The probabilities of the answers have a uniform prior on the simplex of the answers seen and *one more*, which stands for
    all that have not been seen; that the leader must beat these together errs on the side of going on. With ``"top two"``
    only the leader and the runner-up are counted, as the paper shows to be enough asymptotically. Each round asks for the
    number of completions that settle the matter if all agree with the leader, so nothing is drawn in vain. Completions
    without an answer do not vote.

    Parameters
    ----------
    confidence : float
        In (0.5, 1).
    counts : {"all", "top two"}

    Raises
    ------
    ValueError
        If one is out of its range.
    """

    confidence: float
    counts: str = "all"

    def __post_init__(self) -> None:
        if not 0.5 < self.confidence < 1:
            raise ValueError(f"expected the confidence in an answer to be in (0.5, 1), got {self.confidence}")
        if self.counts not in ("all", "top two"):
            raise ValueError(f"expected counts to be 'all' or 'top two', got {self.counts!r}")

    def decide(self, evidence: Evidence) -> Decision:
        """Decide by the votes."""
        if evidence.num_seen and not evidence.answers:
            raise ValueError("expected evidence with answers for a rule that counts them, got none")
        votes = evidence.votes
        probability = self.probability(votes)
        seen: dict[str, Any] = {"num_seen": evidence.num_seen, "best": evidence.best, "probability": probability}
        leader = f"the leading answer has {votes[0] if votes else 0} of {sum(votes)} votes"
        says = f"{leader} and is the most probable one with probability {probability:.3f}"
        if probability >= self.confidence:
            return Decision(True, 0, "answer_settled", says, **seen)

        def open_after(further: int) -> bool:
            return self.probability([(votes[0] if votes else 0) + further, *votes[1:]]) < self.confidence

        low, further = 0, 1
        while further < _MOST and open_after(further):
            low, further = further, 2 * further
        while further - low > 1:
            middle = (low + further) // 2
            low, further = (middle, further) if open_after(middle) else (low, middle)
        return Decision(False, further, "answer_open", f"{says}; {further} more would settle it if they agree", **seen)

    def probability(self, votes: Sequence[int]) -> float:
        """Posterior probability that the leading answer is the most probable one; 0 without votes."""
        if not votes:
            return 0.0
        return beta_confidence(votes) if self.counts == "top two" else dirichlet_confidence([*votes, 0])


def readable(number: float) -> str:
    """Write a number of completions, which may be astronomical."""
    return f"{number:.0f}" if number < 1e9 else f"{number:.2g}"


def check_share(name: str, value: float, *, positive: bool = False) -> None:
    """Check that a setting is in [0, 1], or in (0, 1]."""
    if not 0 <= value <= 1 or (positive and value == 0):
        raise ValueError(f"expected {name} to be in {'(' if positive else '['}0, 1], got {value}")
