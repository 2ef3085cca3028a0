"""Checks of OptScale: whether the law of scores fits, its posterior is precise, and the target was within reach.

**Fit.** Replicas of the scores, as many as were seen, are drawn from the fitted law (posterior-predictive check), and two
statistics are compared: the highest score, which decisions are about, and the largest distance between the distribution
function of the scores and that of all replicas together, which sees laws with two humps. The p-value is twice the smaller of
the two. It is cautious: a law that has seen the data agrees with them more than a right law would, so a right law is called
wrong in fewer than one of twenty cases. A rule that stops at a high score makes the highest one a little special; among
dozens of scores that hardly counts.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ppl_scaling.diagnostics.checks import HealthCheck, judge
from ppl_scaling.inference.optscale.answered import AnsweredPosterior
from ppl_scaling.inference.optscale.evidence import Decision, Evidence
from ppl_scaling.inference.optscale.method import OptScaleResult
from ppl_scaling.inference.optscale.posterior import ScorePosterior
from ppl_scaling.inference.optscale.replicates import OptScaleReplicatesResult

__all__ = ["optscale_checks"]

_REPLICAS = 1000
_ODD = 0.05
_FEWEST = 5  # scores below which every law fits
_SPENT = ("max_completions", "beyond_limit", "plan_spent", "unreachable")


def optscale_checks(result: OptScaleResult | OptScaleReplicatesResult) -> list[HealthCheck]:
    """Check the last decision, and the law of scores that it was based on if there is one."""
    evidence, last = result.evidence, result.decisions[-1]
    found = [_stopping_check(last, evidence)]
    if evidence.score_model is not None and evidence.answered_scores:
        law = evidence.posterior
        found.append(_fit_check(law.answered if isinstance(law, AnsweredPosterior) else law, result.seed))
        if last.required is not None and evidence.best is not None:
            found.append(_precision_check(law))
    return found


def _stopping_check(last: Decision, evidence: Evidence) -> HealthCheck:
    """Judge how many more would have been needed, as a multiple of those drawn."""
    if last.because not in _SPENT:
        needed, advice = 0.0, ""
    elif last.required is None:  # a rule without a target came to its limit
        needed, advice = 1.0, "raise max_completions, or ask for less confidence"
    else:
        needed = max(last.required / max(last.num_seen, 1), 1e-9)
        advice = "raise max_completions, lower target_score or confidence, or use a language model that scores higher"
    interval = ""
    if needed and last.required_interval is not None:
        low, high = (f"{end:.3g}" if math.isfinite(end) else "infinitely many" for end in last.required_interval)
        interval = f" (90 % interval {low} to {high})"
    drawn = f"{evidence.num_seen} completion{'s' if evidence.num_seen != 1 else ''}"
    return judge(
        "stopping",
        needed,
        warn=0.0,
        bad=10.0,
        worse="above",
        reason="further completions that the rule still asks for, by those drawn: above 0 the promise was not kept, and "
        "above 10 no budget that is near to this one would keep it",
        found=f"stopped after {drawn}: {last.reason}{interval}",
        advice=advice,
    )


def _fit_check(law: ScorePosterior, seed: int) -> HealthCheck:
    scores = law.scores.numpy()
    enough = len(scores) >= _FEWEST
    number = "1 score is" if len(scores) == 1 else f"{len(scores)} scores are"
    name, p_value = _worst_statistic(law, scores, seed) if enough else ("", math.nan)
    return judge(
        "score_law",
        p_value,
        warn=_ODD,
        bad=0.005,
        worse="below",
        reason="posterior-predictive p-value, of two statistics together: at 0.05 the fitted law gives such scores once in "
        "twenty cases, and what it says of further completions is not to be believed beyond that",
        found=f"{number} too few to tell whether their law fits"
        if not enough
        else f"{number} such as the fitted law gives"
        if p_value >= _ODD
        else f"the {name} of {len(scores)} scores is not such as the fitted law gives",
        advice="use another score_model, such as inflated-beta, two-component or dirichlet"
        if enough
        else f"set min_completions to at least {_FEWEST}",
    )


def _worst_statistic(law: ScorePosterior, scores: NDArray[np.float64], seed: int) -> tuple[str, float]:
    """Name the statistic that the law explains least, with its p-value for the number of statistics."""
    replicas = law.sample_scores((_REPLICAS, len(scores)), seed)
    grid = np.linspace(0, 1, 201)
    expected = np.searchsorted(np.sort(replicas, axis=None), grid, side="left") / replicas.size
    highest, best = replicas.max(1), scores.max()
    above = float((highest > best).mean() + 0.5 * (highest == best).mean())
    distances = _distances(replicas, grid, expected)
    found = {
        "distribution": float((distances >= _distances(scores[None], grid, expected)[0] - 1e-9).mean()),
        "highest": 2 * min(above, 1 - above),
    }
    worst = min(found, key=lambda name: found[name])
    return worst, min(1.0, len(found) * max(found[worst], 1 / _REPLICAS))


def _distances(rows: NDArray[np.float64], grid: NDArray[np.float64], expected: NDArray[np.float64]) -> NDArray[np.float64]:
    """Largest distance between each row's distribution function and the expected one, on a grid."""
    ordered = np.sort(rows, axis=1)
    shares = np.stack([np.searchsorted(row, grid, side="left") for row in ordered]) / rows.shape[1]
    return np.asarray(np.abs(shares - expected).max(1))


def _precision_check(law: ScorePosterior) -> HealthCheck:
    """Judge the error of the integral over the parameters of the law."""
    inner = law.answered if isinstance(law, AnsweredPosterior) else law
    error = float(getattr(inner, "precision", 0.0))  # a Dirichlet process needs no quadrature
    return judge(
        "quadrature",
        error,
        warn=0.01,
        bad=0.05,
        worse="above",
        reason="largest error of the probability that further completions miss a score: at 0.01 a tenth of what a "
        "confidence of 0.9 leaves, at 0.05 half of it",
        found=f"probabilities are known to {error:.1g}" if error else "probabilities are known in closed form",
        advice="use a score_model with fewer parameters, such as beta",
    )
