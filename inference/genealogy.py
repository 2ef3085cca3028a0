r"""What the ancestors of a particle filter tell about its own error.

Particles that descend from one particle of the first generation share its luck, so their number overstates how much is
known. Grouping the final particles by their *root* gives an estimate of the Monte-Carlo variance from a single run:

.. math::

    \widehat{\mathrm{var}}\Bigl[\sum_i W_i \varphi_i\Bigr]
      = \Bigl(\tfrac{N}{N-1}\Bigr)^{n} \sum_{\mathrm{roots}\ e} \Bigl(\sum_{i \in e} W_i (\varphi_i - \bar\varphi)\Bigr)^2

with :math:`n` the number of generations that were drawn. It is consistent for multinomial resampling and, for schemes of
smaller variance, errs on the safe side. When all particles descend from one root it says nothing, and is NaN: more
particles, a lower ``ess_threshold`` or replicates are then the way to an error bar.

References
----------
Chan and Lai (2013), Annals of Statistics 41; Lee and Whiteley (2018), Variance estimation in the particle filter,
Biometrika 105, arXiv 1509.00394.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Genealogy"]

_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class Genealogy:
    """Ancestors of one group.

    Attributes
    ----------
    ancestors : int array, shape (T, N)
        Row ``t`` has the particle of generation ``t`` that each particle of generation ``t + 1`` continues.
    resampled : bool array, shape (T,)
        Whether generation ``t`` was resampled on the way to ``t + 1``.
    num_particles : int
    """

    ancestors: NDArray[np.int64]
    resampled: NDArray[np.bool_]
    num_particles: int

    def lineages(self) -> NDArray[np.int64]:
        """Where each final particle stood in each generation, shape (T + 1, N)."""
        slots = [np.arange(self.num_particles)]
        for parents in self.ancestors[::-1]:
            slots.append(parents[slots[-1]])
        return np.stack(slots[::-1])

    def roots(self) -> NDArray[np.int64]:
        """First-generation ancestor of each final particle, shape (N,)."""
        return self.lineages()[0]

    def standard_error(self, weights: NDArray[np.float64], values: NDArray[np.float64]) -> float:
        """Monte-Carlo standard error of the weighted mean of ``values``.

        Parameters
        ----------
        weights : float array, shape (N,)
            Normalised.
        values : float array, shape (N,)

        Returns
        -------
        float
            NaN if all particles that have weight descend from one root.
        """
        shares = self._sum_over_roots(weights)
        if np.count_nonzero(shares) < 2:
            return float("nan")
        deviations = self._sum_over_roots(weights * (values - weights @ values))
        return float(np.sqrt(self._inflation() * np.sum(deviations**2)))

    def log_evidence_standard_error(self, weights: NDArray[np.float64]) -> float:
        """Monte-Carlo standard error of the evidence relative to itself, so of the log-evidence to first order.

        NaN if all particles that have weight descend from one root, and where the estimate of the variance is negative, as
        an unbiased one may be with few roots.
        """
        shares = self._sum_over_roots(weights)
        if np.count_nonzero(shares) < 2:
            return float("nan")
        relative_variance = 1 - self._inflation() * (1 - np.sum(shares**2))
        if relative_variance < -_ROUNDING:
            return float("nan")
        return float(np.sqrt(max(relative_variance, 0.0)))

    def _sum_over_roots(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        sums = np.zeros(self.num_particles)
        np.add.at(sums, self.roots(), values)
        return sums

    def _inflation(self) -> float:
        generations = 1 + int(self.resampled.sum())
        return (self.num_particles / (self.num_particles - 1)) ** generations
