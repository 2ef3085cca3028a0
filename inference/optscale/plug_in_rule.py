"""The papers' rule for when to stop, the baseline that the Bayesian rules are compared with.

References
----------
Wang et al. (2026), OptScale, arXiv 2506.22376.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ppl_scaling.arguments import check_counts
from ppl_scaling.inference.optscale.evidence import Decision, Evidence
from ppl_scaling.inference.optscale.plug_in import plug_in_completions
from ppl_scaling.inference.optscale.rules import check_share
from ppl_scaling.models.scores.truncated_normal import TruncatedNormalScores

__all__ = ["PlugInRule"]


@dataclass(frozen=True)
class PlugInRule:
    """The papers' rule, with a law of scores that is estimated and then taken for known.

    One fit after a peek gives a total number of completions, which is then drawn; ``sequential`` fits again after every
    round and stops when as many have been drawn as the last fit asks for. A seen score of the target stops neither, as in
    the paper. A number above the limit is cut to it, as there, and the decision says so.

    Parameters
    ----------
    method : {"optscale_0", "optscale_t"}
        Maximum likelihood, or maximum a posteriori with the prior of the score model, which must be a truncated normal then.
    target_score, confidence : float
        In [0, 1] and (0, 1].
    peek : int, optional
        Default: five sixteenths of what is allowed, rounded up; that is the papers' 3, 5, 10 and 20 of 8, 16, 32 and 64.
        With ``sequential``, completions before the first fit; default: 2.
    sequential : bool

    Raises
    ------
    ValueError
        If one is out of its range.
    """

    method: str
    target_score: float
    confidence: float
    peek: int | None = None
    sequential: bool = False

    def __post_init__(self) -> None:
        if self.method not in ("optscale_0", "optscale_t"):
            raise ValueError(f"expected a plug-in rule among optscale_0, optscale_t, got {self.method!r}")
        check_share("target_score", self.target_score)
        check_share("confidence", self.confidence, positive=True)
        if self.peek is not None:
            check_counts(peek=self.peek)

    def decide(self, evidence: Evidence) -> Decision:
        """Decide by the number that the fit asks for in all."""
        seen: dict[str, Any] = {"num_seen": evidence.num_seen, "best": evidence.best}
        total = evidence.num_seen + evidence.allowed
        peek = self.peek or (2 if self.sequential else math.ceil(5 * total / 16))
        if evidence.num_seen < peek or not evidence.answered_scores:
            further = max(peek - evidence.num_seen, 1)
            return Decision(False, further, "more_needed", f"the law is fitted after {peek} completions", **seen)
        answered = next(place for place, score in enumerate(evidence.scores, 1) if score is not None)
        basis = evidence if self.sequential else evidence.first(max(peek, answered))  # there must be a score to fit
        number = self.number(basis)
        says = f"the fit to {basis.num_seen} completions asks for {number:g} in all"
        planned = total if number > total else max(int(number), peek)
        says += f", cut to the {total} that are allowed" if number > total else ""
        numbers: dict[str, Any] = {**seen, "required": max(number - evidence.num_seen, 0.0)}
        if evidence.num_seen >= planned:
            because = "beyond_limit" if number > total else "plan_spent"
            return Decision(True, 0, because, f"{says}, and they are drawn", **numbers)
        return Decision(False, planned - evidence.num_seen, "more_needed", says, **numbers)

    def number(self, evidence: Evidence) -> float:
        """Completions that the fitted law asks for, those that have been drawn included; may be infinite.

        Raises
        ------
        ValueError
            If there is no score, or for ``optscale_t`` the score model is not a truncated normal.
        """
        prior = None
        if self.method == "optscale_t":
            # Other laws have a location and a scale too, which mean something else.
            if not isinstance(evidence.score_model, TruncatedNormalScores):
                got = type(evidence.score_model).__name__
                raise ValueError(f"expected the score model of optscale_t to be a truncated normal, got {got}")
            prior = evidence.score_model.prior
        return float(plug_in_completions(evidence.answered_scores, self.target_score, self.confidence, prior=prior))
