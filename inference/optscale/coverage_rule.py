r"""Stop once the completions drawn are likely to hold a right one, or a further one is not worth its price.

If a score is the probability that its completion is right, and given their scores completions are right independently of
each other, then all :math:`n` that were drawn are wrong with probability

.. math::  M_n = \prod_{i=1}^n (1 - s_i),

and :math:`1 - M_n` is their *coverage*: the most that any choice among them can achieve. One more completion is the first
right one with probability

.. math::  M_n\, E[s_{n+1} \mid s_1, \dots, s_n],

which is what it adds to the coverage, and the price of it is in the same units. That falls with every completion: by
:math:`1 - s` from :math:`M`, and the posterior mean of the next score moves towards what this problem gives. So an easy
problem stops because it is covered, and a hopeless one because its scores promise nothing.

The best score alone is a poorer guide: one high score among many low ones is often a wrong answer that the verifier likes,
while several middling ones rarely are all wrong. On the pools of the embedded models this rule needs about a third fewer
completions than best-of-N for the accuracy of 16 and of 32 (``tests/benchmarks/optscale_replay.py``).

The scores must be probabilities, at least roughly: see
:class:`~ppl_scaling.models.calibrated_likelihood.CalibratedLikelihood` for what to do if they are not. Equal answers are not
independent, so a coverage of many equal ones is too high.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ppl_scaling.inference.optscale.dirichlet import DirichletPosterior
from ppl_scaling.inference.optscale.evidence import Decision, Evidence
from ppl_scaling.inference.optscale.posterior import ScorePosterior
from ppl_scaling.inference.optscale.rules import check_share

__all__ = ["CoverageRule"]

_NODES, _WEIGHTS = (part / 2 for part in np.polynomial.legendre.leggauss(48))
_NODES = _NODES + 0.5  # on [0, 1]


@dataclass(frozen=True)
class CoverageRule:
    """Go on until one of the completions is right with a given probability, while a further one is worth its price.

    The derivation is at the top of this module.

    Parameters
    ----------
    confidence : float
        In (0, 1]: coverage at which it is enough.
    price : float, optional
        What a completion must add to the coverage at least. 0.01 says that one completion is worth one point of accuracy.
        Without a price a problem without a good score goes on to the limit.

    Raises
    ------
    ValueError
        If one is out of its range.
    """

    confidence: float
    price: float | None = None

    def __post_init__(self) -> None:
        check_share("confidence", self.confidence, positive=True)
        if self.price is not None and not 0 < self.price < 1:
            raise ValueError(
                f"expected the price of a completion to be in (0, 1), as it is one of accuracy, got {self.price}"
            )

    def decide(self, evidence: Evidence) -> Decision:
        """Decide by the scores seen and by what the posterior says of the next one."""
        missing = float(np.prod(1 - np.asarray(evidence.answered_scores)))
        seen: dict[str, Any] = {"num_seen": evidence.num_seen, "best": evidence.best, "probability": 1 - missing}
        says = f"one of the {evidence.num_seen} completions is right with probability {1 - missing:.3f}"
        if 1 - missing >= self.confidence:
            return Decision(True, 0, "covered", says, **seen)
        mean = expected_score(evidence.posterior)
        says += f", and the next one is the first right one with probability {missing * mean:.3g}"
        if self.price is not None and missing * mean < self.price:
            return Decision(True, 0, "not_worthwhile", f"{says}, less than its price of {self.price:.3g}", **seen)
        return Decision(False, self._planned(missing, mean), "more_needed", says, **seen)

    def _planned(self, missing: float, mean: float) -> int:
        """Completions after which the rule would stop if all had the expected score."""
        goal = (1 - self.confidence) / missing
        if self.price is not None:
            goal = max(goal, self.price / (missing * mean))
        # Without a chance of a right one no number is enough; a rule clips nothing, but it must name one.
        rate = -math.log1p(-min(mean, 1 - 1e-12))
        return 10**9 if rate < 1e-12 or goal <= 0 else min(max(math.ceil(-math.log(goal) / rate), 1), 10**9)


def expected_score(posterior: ScorePosterior) -> float:
    r"""Posterior mean of the next score, :math:`\int_0^1 P(s \ge x)\, dx`, by 48 nodes of Gauss.

    A Dirichlet process has jumps at the scores seen: there the nodes are between each two of them.
    """
    jumps = posterior.scores.numpy() if isinstance(posterior, DirichletPosterior) else ()
    ends = np.unique([0.0, *jumps, 1.0])
    widths = np.diff(ends)
    scores = ends[:-1, None] + widths[:, None] * _NODES
    below = posterior.predictive_cdf(scores.ravel()).reshape(scores.shape)
    return float(np.clip(1 - widths @ below @ _WEIGHTS, 0.0, 1.0))
