"""Which law of scores fits: comparison by leave-one-out prediction, and checks of each law against the data.

Comparison says which of several laws predicts best; that the best one is good, only the checks can say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ppl_scaling.draw_statistics import Comparison, compare
from ppl_scaling.inference.optscale.fitting import ScoreFit
from ppl_scaling.inference.optscale.predictive import posterior_predictive

__all__ = ["STATISTICS", "PredictiveCheck", "check_score_model", "compare_score_models"]

Array = NDArray[np.float64]

STATISTICS: Mapping[str, Callable[[Array], Array]] = {
    "mean": lambda scores: scores.mean(-1),
    "sd": lambda scores: scores.std(-1),
    "max": lambda scores: scores.max(-1),
    "share above 0.9": lambda scores: (scores > 0.9).mean(-1),
    "share of exactly 0": lambda scores: (scores == 0).mean(-1),
    "share of exactly 1": lambda scores: (scores == 1).mean(-1),
}
"""What is compared between the data and their replicas: functions of the scores of a problem, shape (..., n) to (...)."""


@dataclass(frozen=True)
class PredictiveCheck:
    """One statistic of the data beside the same of replicas from the fitted model.

    Attributes
    ----------
    statistic : str
    observed : float
    predicted : float
        Mean over the replicas.
    interval : tuple of two floats
        That holds 90 % of the replicas.
    p_value : float
        Share of replicas with a value above the observed one; equal ones count half. Near 0 or 1 the model does not produce
        such data. As the model has seen the data, it is not uniform under a right model but nearer to one half.
    """

    statistic: str
    observed: float
    predicted: float
    interval: tuple[float, float]
    p_value: float


def compare_score_models(fits: Mapping[str, ScoreFit]) -> tuple[Comparison, ...]:
    """Rank fits of the same scores by how well each predicts a score that is left out, by PSIS-LOO.

    Laws with atoms at 0 and 1 and laws without are made comparable there
    (:attr:`~ppl_scaling.inference.optscale.score_fit.ScoreFit.comparable_log_likelihood`).

    Parameters
    ----------
    fits : mapping of str to ScoreFit
        By name. Of NUTS for preference: LOO supposes draws from the posterior. In a hierarchy a score is left out, not a
        problem; ``num_bad`` of the result counts scores, mostly of problems with few of them, where this is not reliable.

    Returns
    -------
    tuple of Comparison
        The best first, with the difference to it, its standard error, and stacking weights.

    Raises
    ------
    ValueError
        If there are fewer than two fits, or they are of different data.
    """
    fits = dict(fits)
    for name, fit in fits.items():
        first = next(iter(fits.values()))
        if not (np.array_equal(fit.observed, first.observed) and np.array_equal(fit.problem, first.problem)):
            raise ValueError(f"expected fits of the same scores, got other ones in {name!r} than in {next(iter(fits))!r}")
        if (fit.data.correct is None) != (first.data.correct is None):
            raise ValueError(f"expected all fits with labels or all without, got {name!r} unlike {next(iter(fits))!r}")
    return compare({name: fit.comparable_log_likelihood for name, fit in fits.items()})


def check_score_model(
    fit: ScoreFit, seed: int, *, statistics: Mapping[str, Callable[[Array], Array]] | None = None
) -> tuple[PredictiveCheck, ...]:
    """Hold the data against replicas from the fitted model (posterior-predictive checks).

    In a hierarchy a statistic is taken of each problem and averaged over the problems, and a last check,
    ``"sd of problem means"``, is of how much problems differ.

    Parameters
    ----------
    fit : ScoreFit
    seed : int
    statistics : mapping of str to callable, optional
        Functions of the scores of a problem, of shape (..., n); default: ``STATISTICS``.

    Returns
    -------
    tuple of PredictiveCheck
    """
    chosen = STATISTICS if statistics is None else statistics
    replicas = posterior_predictive(fit, seed)
    replicas = replicas.reshape(-1, replicas.shape[-1])
    checks = []
    for name, statistic in chosen.items():
        # Of several problems: one after the other, as they have different numbers of scores.
        checks.append(_check(name, *(_by_problem(fit, scores, statistic).mean(-1) for scores in (fit.observed, replicas))))
    if fit.hierarchy is not None:
        means = [_by_problem(fit, scores, STATISTICS["mean"]).std(-1) for scores in (fit.observed, replicas)]
        checks.append(_check("sd of problem means", *means))
    return tuple(checks)


def _by_problem(fit: ScoreFit, scores: Array, statistic: Callable[[Array], Array]) -> Array:
    """Statistic of each problem that has scores, shape (..., J)."""
    ends = np.flatnonzero(np.diff(fit.problem)) + 1
    return np.stack([statistic(part) for part in np.split(scores, ends, axis=-1)], -1)


def _check(name: str, observed: Array, replicas: Array) -> PredictiveCheck:
    low, high = np.quantile(replicas, [0.05, 0.95])
    # Statistics of discrete data tie up to rounding.
    equal = np.isclose(replicas, observed, rtol=1e-12, atol=1e-12)
    above = float(((replicas > observed) & ~equal).mean() + 0.5 * equal.mean())
    return PredictiveCheck(name, float(observed), float(replicas.mean()), (float(low), float(high)), above)
