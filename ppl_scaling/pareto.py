"""How heavy the tail of importance weights is.

The fit is Pyro's: the empirical-Bayes one of Zhang and Stephens, with the weak prior of Vehtari et al. that is worth ten
observations of one half. ArviZ has the same, but 0.2x and 1.x offer it in different ways.

References
----------
Zhang and Stephens (2009), Technometrics 51; Vehtari, Simpson, Gelman, Yao and Gabry (2024), Pareto smoothed importance
sampling, JMLR 25, arXiv 1507.02646.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import ArrayLike
from pyro.ops.stats import fit_generalized_pareto

__all__ = ["pareto_k"]

_FEWEST = 5  # points that a tail is fitted to


def pareto_k(log_weights: ArrayLike) -> float:
    r"""Shape of a generalised Pareto distribution fitted to the largest weights: how heavy their tail is.

    The :math:`M = \lceil \min(N / 5, 3 \sqrt N) \rceil` largest are fitted. The weights act as if only moments below
    :math:`1/k` existed: below 0.5 their variance is finite, above 0.7 what they were drawn from misses part of the target.

    Parameters
    ----------
    log_weights : float array, shape (N,)
        Of any normalisation.

    Returns
    -------
    float
        Minus infinity if all weights are the same: there is no tail. NaN if the largest weights take fewer than five
        different values, so always for 20 weights or fewer: nothing can be fitted to them.

    Raises
    ------
    ValueError
        If a log-weight is NaN or plus infinity, or all are minus infinity.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> heavy, light = rng.pareto(1.0, 10_000), rng.random(10_000)
    >>> round(pareto_k(np.log(heavy)), 1), pareto_k(np.log(light)) < 0
    (1.0, True)
    """
    values = np.sort(np.asarray(log_weights, dtype=np.float64).ravel())
    if values.size < 1 or np.isnan(values).any() or values[-1] in (math.inf, -math.inf):
        raise ValueError("expected log-weights below infinity, one at least above minus infinity, got others")
    if values[0] == values[-1]:
        return -math.inf
    size = values.size
    length = math.ceil(min(size / 5, 3 * math.sqrt(size)))
    weights = np.exp(values - values[-1])
    cutoff = weights[-length - 1]
    tail = weights[-length:] - cutoff
    tail = tail[tail > 0]
    if len(np.unique(tail)) < _FEWEST:
        return math.nan
    shape, _ = fit_generalized_pareto(torch.from_numpy(tail))
    return float(shape)
