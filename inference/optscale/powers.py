"""Means of powers of the cdf over weighted nodes, without underflow or cancellation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ppl_scaling.models.scores.base import ScoreModel, Values, as_tensor

__all__ = ["log_cdf_of", "log_power_mean_of", "log_sum"]

Array = NDArray[np.float64]

_ALMOST_SURE = -1e-6  # log-survival above which log F is not computed from it


def log_cdf_of(model: ScoreModel, scores: Sequence[float] | Array, values: Values, *, lower_tail: bool = True) -> Array:
    """``log P(s < score)`` at each node, exact also where it is so close to zero that only the survival tells.

    Parameters
    ----------
    model : ScoreModel
    scores : sequence of float, length S
    values : mapping of str to Tensor
        They broadcast to K nodes in all.
    lower_tail : bool
        Whether the logarithm of a ``P(s < score)`` below 1e-6 need be exact, not only its distance from 0.

    Returns
    -------
    array, shape (S, K)
    """
    dimensions = max(value.ndim for value in values.values())
    column = as_tensor(scores).reshape(-1, *(1,) * dimensions)
    survival = np.minimum(model.log_survival(column, values).numpy(), 0.0).reshape(len(scores), -1)
    with np.errstate(divide="ignore"):
        log_cdf = np.where(survival < -0.7, np.log1p(-np.exp(survival)), np.log(-np.expm1(survival)))
    almost = survival > _ALMOST_SURE
    if lower_tail and almost.any():
        rows = np.flatnonzero(almost.any(-1))
        exact = model.log_cdf(column[rows], values).numpy().reshape(len(rows), -1)
        log_cdf[rows] = np.where(almost[rows], exact, log_cdf[rows])
    return np.minimum(log_cdf, 0.0)


def log_power_mean_of(log_cdf: Array, weights: Array, numbers: Array) -> Array:
    r"""``log E[F^m]`` for each of ``numbers``, without cancellation wherever it is.

    Close to 0 its distance from 0 counts, which comes from ``expm1``; far below it is a sum of exponentials.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        exponents = numbers[:, None] * log_cdf
    exponents[numbers == 0] = 0.0  # also where F is 0
    result = np.log1p(-np.clip(-np.expm1(exponents) @ weights, 0.0, 0.5))
    low = np.flatnonzero(result < -0.69)
    if len(low):
        mean = np.exp(exponents[low]) @ weights
        tiny = mean < 1e-250
        with np.errstate(divide="ignore"):
            result[low] = np.log(mean)
            if tiny.any():
                result[low[tiny]] = [log_sum(row) for row in exponents[low[tiny]] + np.log(weights)]
    return result


def log_sum(logarithms: Array) -> float:
    """Logarithm of the sum of exponentials; many times quicker than SciPy's."""
    top = logarithms.max()
    return float(top + np.log(np.exp(logarithms - top).sum())) if np.isfinite(top) else float(top)
