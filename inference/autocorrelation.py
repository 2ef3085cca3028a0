r"""The error of an average over a Markov chain.

Successive draws resemble each other, so :math:`n` of them are worth fewer independent ones:

.. math:: \mathrm{var}(\bar f) \approx \frac{1}{n} \Bigl(\gamma_0 + 2 \sum_{k \ge 1} \gamma_k\Bigr)

with :math:`\gamma_k` the autocovariance at lag :math:`k`. The sum is cut by Geyer's initial monotone sequence: sums of two
neighbouring autocovariances are positive and decrease in a reversible chain, so the first that is negative is noise, as is
any that exceeds the one before. For chains that are not reversible this errs on the safe side as a rule.

References
----------
Geyer (1992), Practical Markov chain Monte Carlo, Statistical Science 7.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["standard_error_of_mean"]

FEWEST = 8
"""Below this many draws the autocovariances say nothing."""


def standard_error_of_mean(series: NDArray[np.float64]) -> float:
    """Monte-Carlo standard error of the mean of a stationary series.

    Parameters
    ----------
    series : float array, shape (n,)

    Returns
    -------
    float
        NaN for fewer than 8 draws and for a series that never changes: a chain that stands still tells nothing.
    """
    n = len(series)
    if n < FEWEST or np.ptp(series) == 0:
        return float("nan")
    centred = series - series.mean()
    autocovariances = np.correlate(centred, centred, mode="full")[n - 1 :] / n
    pairs = autocovariances[: n // 2 * 2].reshape(-1, 2).sum(1)
    positive = np.minimum.accumulate(pairs[: int(np.argmax(np.append(pairs, -1.0) <= 0))])
    variance = (2 * positive.sum() - autocovariances[0]) / n
    # A chain that alternates may do better than independent draws; don't promise more than one that is perfect on n pairs.
    return float(np.sqrt(max(variance, autocovariances[0] / n**2)))
