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

from ppl_scaling.log_weights import ROUNDING

__all__ = ["Genealogy"]


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

    def log_evidence_standard_error(
        self, weights: NDArray[np.float64], log_weights_by_step: NDArray[np.float64] | None = None
    ) -> float:
        """Monte-Carlo standard error of the evidence relative to itself, so of the log-evidence to first order.

        Lee and Whiteley's estimate of the variance is unbiased, so it may be negative. Then it is Chan and Lai's, which
        never is but leaves out the luck of resampling within families.

        Parameters
        ----------
        weights : float array, shape (N,)
            Normalised.
        log_weights_by_step : float array, shape (T, N), optional
            After each step, since the last resampling, if ancestors were drawn by them.

        Returns
        -------
        float
            NaN if all particles that have weight descend from one root, or the estimate is negative and there are no weights
            by step.
        """
        shares = self._sum_over_roots(weights)
        if np.count_nonzero(shares) < 2:
            return float("nan")
        relative_variance = 1 - self._inflation() * (1 - np.sum(shares**2))
        if relative_variance < -ROUNDING:
            return float("nan") if log_weights_by_step is None else self.chan_lai_standard_error(log_weights_by_step)
        return float(np.sqrt(max(relative_variance, 0.0)))

    def chan_lai_standard_error(self, log_weights_by_step: NDArray[np.float64]) -> float:
        r"""Return Chan and Lai's estimate of the standard error of the evidence, relative to itself.

        .. math::

            \widehat{\mathrm{var}}[\hat Z / Z] = \frac{1}{N (N - 1)} \sum_{\mathrm{roots}\ e}
              \Bigl(\sum_{s} \bigl(N\, W_s(e) - n_s(e)\bigr)\Bigr)^2 ,

        where :math:`s` runs over the stretches between resamplings, :math:`n_s(e)` counts the particles that descend from
        root :math:`e` at the beginning of a stretch and :math:`W_s(e)` is their share of the weight at its end. (Theirs has
        :math:`1/N^2`; with :math:`N - 1` it is that of independent draws if nothing is resampled.)

        Parameters
        ----------
        log_weights_by_step : float array, shape (T, N)
            After each step, since the last resampling. Ancestors must have been drawn by them.

        Returns
        -------
        float
            NaN for one particle, without a step, and if the first step was resampled.
        """
        size = self.num_particles
        if size < 2 or self.resampled[:1].all():
            return float("nan")
        roots, counts, deviations = np.arange(size), np.ones(size), np.zeros(size)
        for step, resampled in enumerate(self.resampled):
            if resampled:
                deviations += _shares(log_weights_by_step[step - 1], roots) - counts
                roots = roots[self.ancestors[step]]
                counts = np.bincount(roots, minlength=size).astype(np.float64)
        deviations += _shares(log_weights_by_step[-1], roots) - counts
        return float(np.sqrt(deviations @ deviations / (size * (size - 1))))

    def _sum_over_roots(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        sums = np.zeros(self.num_particles)
        np.add.at(sums, self.roots(), values)
        return sums

    def _inflation(self) -> float:
        generations = 1 + int(self.resampled.sum())
        return (self.num_particles / (self.num_particles - 1)) ** generations


def _shares(log_weights: NDArray[np.float64], roots: NDArray[np.int64]) -> NDArray[np.float64]:
    """Weight of each root's descendants in units of one particle's."""
    weights = np.exp(log_weights - np.logaddexp.reduce(log_weights))
    shares: NDArray[np.float64] = np.bincount(roots, weights=weights, minlength=len(weights)).astype(np.float64)
    return len(weights) * shares
