r"""The one integral of the decision by price, by a rule that does not mind what happens at the ends.

The chance of exceeding a score falls from its value at the best score seen to zero at 1, there often with infinite slope,
and for large numbers of completions it is close to a step that may be as close to 1 as floats can say. The double
exponential rule of Takahasi and Mori integrates such functions with a few dozen nodes, because near the ends its nodes are
evenly spaced in the logarithm of the distance.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["integrate_to_one", "node_gains"]

Array = NDArray[np.float64]

_LARGEST = 2.75  # nodes are from here to there, in the variable of the rule: within 3e-11 of the width of the ends
_LEVELS = 5
_SMALLEST = 1e-15  # score


def integrate_to_one(
    weighted: Callable[[Array, Array], Array],
    lower: float,
    precision: float = 1e-6,
    means: Callable[[Array], Array] = lambda integrals: integrals,
) -> Array:
    """Integrate several functions at once from ``lower`` to 1.

    Parameters
    ----------
    weighted : callable
        Of S scores and S weights; returns the sum over the scores of weight times functions with values in [0, 1].
    lower : float
        In [0, 1].
    precision : float
        Relative precision asked for. The number of nodes is doubled until that has changed the results by less than its root
        allows, because the error of this rule is about squared by a doubling.
    means : callable
        Of the integrals; returns those numbers whose precision counts.

    Returns
    -------
    array
        Of the shape that ``weighted`` returns.
    """
    step = 0.5
    result = weighted(*_nodes(lower, np.arange(-_LARGEST, _LARGEST + step / 2, step), step))
    for _ in range(_LEVELS):
        previous = means(result)
        result = 0.5 * result + weighted(*_nodes(lower, np.arange(-_LARGEST + step / 2, _LARGEST, step), step / 2))
        step /= 2
        change = np.abs(means(result) - previous)
        if (change <= math.sqrt(precision) / 10 * np.abs(means(result))).all():
            break
    return result


def node_gains(log_cdf: Callable[[Array], Array], weights: Array, numbers: Array, lower: float) -> Array:
    """Return the integral of ``1 - F(x)^m`` from ``lower`` to 1 for each number ``m`` and each node; shape (M, K).

    Parameters
    ----------
    log_cdf : callable
        Of S scores; returns ``log F`` at K nodes, shape (S, K).
    weights : array, shape (K,)
        Of the nodes: the precision of the weighted means counts.
    numbers : array, shape (M,)
    lower : float
    """

    def weighted(scores: Array, shares: Array) -> Array:
        table = log_cdf(scores)
        integrals = np.zeros((len(numbers), len(weights)))
        for integral, number in zip(integrals, numbers, strict=True):
            if number:
                integral[:] = -shares @ np.expm1(number * table)
        return integrals

    return integrate_to_one(weighted, lower, means=lambda integrals: integrals @ weights)


def _nodes(lower: float, t: Array, step: float) -> tuple[Array, Array]:
    """Scores and weights of the rule at points of its variable."""
    width = 1 - lower
    below = 1 / (1 + np.exp(math.pi * np.sinh(t)))  # share of the width that lies above the node
    scores = np.where(below < 0.5, 1 - width * below, lower + width / (1 + np.exp(-math.pi * np.sinh(t))))
    weights = step * width * math.pi * np.cosh(t) * below * (1 - below)
    # Strictly above: at the lower end itself there may be an atom.
    return np.clip(scores, max(np.nextafter(lower, 1.0), _SMALLEST), 1.0), weights
