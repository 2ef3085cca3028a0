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

__all__ = ["integrate_to_one"]

Array = NDArray[np.float64]
Function = Callable[[Array], Array]

_LARGEST = 3.4  # nodes are from here to there, in the variable of the rule: within 1e-20 of the ends
_LEVELS = 5
_SMALLEST = 1e-15  # score


def integrate_to_one(function: Function, lower: float, precision: float = 1e-6) -> Array:
    """Integrate several functions at once from ``lower`` to 1.

    Parameters
    ----------
    function : callable
        Of S scores; returns an array of shape (S, M) of values in [0, 1].
    lower : float
        In [0, 1].
    precision : float
        Relative precision asked for. The number of nodes is doubled until that has changed the results by less than its root
        allows, because the error of this rule is about squared by a doubling.

    Returns
    -------
    array, shape (M,)
    """
    step = 0.5
    total = _sum(function, lower, np.arange(-_LARGEST, _LARGEST + step / 2, step))
    result = step * total
    for _ in range(_LEVELS):
        total = total + _sum(function, lower, np.arange(-_LARGEST + step / 2, _LARGEST, step))
        step /= 2
        previous, result = result, step * total
        if (np.abs(result - previous) <= math.sqrt(precision) / 10 * np.abs(result)).all():
            break
    return result


def _sum(function: Function, lower: float, t: Array) -> Array:
    width = 1 - lower
    below = 1 / (1 + np.exp(math.pi * np.sinh(t)))  # share of the width that lies above the node
    scores = np.where(below < 0.5, 1 - width * below, lower + width / (1 + np.exp(-math.pi * np.sinh(t))))
    weights = width * math.pi * np.cosh(t) * below * (1 - below)
    # Strictly above: at the lower end itself there may be an atom.
    return weights @ function(np.clip(scores, max(np.nextafter(lower, 1.0), _SMALLEST), 1.0))
