r"""The posterior without a shape: Dirichlet process or Bayesian bootstrap, in closed form.

Given scores the chance of staying below :math:`x` is :math:`F(x^-) \sim \mathrm{Beta}(a, b)` with :math:`a` the weight of
what lies below :math:`x` and :math:`b` that of what does not (:meth:`DirichletScores.cdf_posterior`), so

.. math:: E[F(x^-)^m] = \frac{B(a + m, b)}{B(a, b)}.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from ppl_scaling.inference.optscale.posterior import ScorePosterior, check_powers, check_score
from ppl_scaling.models.scores.dirichlet import DirichletScores

__all__ = ["DirichletPosterior"]

Array = NDArray[np.float64]


class DirichletPosterior(ScorePosterior):
    """Posterior of :class:`~ppl_scaling.models.scores.dirichlet.DirichletScores`; exact.

    Parameters
    ----------
    model : DirichletScores
    scores : sequence of float
        The scores seen.
    """

    precision = 1e-9
    """Largest error; what is left is rounding."""

    def __init__(self, model: DirichletScores, scores: Any) -> None:
        super().__init__(scores)
        self.model = model
        model.cdf_posterior(1.0, self.scores)  # complains where there is neither a score nor a base law
        self._ordered = np.sort(self.scores.numpy())

    def log_power_mean(self, score: ArrayLike, m: ArrayLike) -> Array:
        """Ratio of Beta functions; see :meth:`ScorePosterior.log_power_mean`."""
        scores, numbers = np.asarray(score, np.float64), check_powers(m)
        for extreme in (scores.min(), scores.max()) if scores.size else ():
            check_score(extreme)
        a, b = self.model.cdf_weights(scores, self._ordered)
        inside = (a > 0) & (b > 0)
        first, second = np.where(inside, a, 1.0), np.where(inside, b, 1.0)
        ratio = log_beta_ratio(first, second, numbers)
        surely = np.where((b > 0) & (numbers > 0), -math.inf, 0.0)  # F is 0 or 1
        return np.where(inside, np.minimum(ratio, 0.0), surely)

    def log_cdf_quantile(self, score: float, probabilities: ArrayLike) -> Array:
        """Quantiles of ``log F(score)``, from those of ``1 - F`` where ``F`` is close to 1."""
        a, b = (float(one) for one in self.model.cdf_weights(np.asarray(check_score(score)), self._ordered))
        wanted = np.asarray(probabilities, dtype=np.float64)
        if a == 0 or b == 0:
            return np.full(wanted.shape, 0.0 if b == 0 else -math.inf)
        below, above = special.betaincinv(a, b, wanted), special.betainccinv(b, a, wanted)
        with np.errstate(divide="ignore"):
            return np.where(below < 0.5, np.log(below), np.log1p(-np.minimum(above, 0.5)))

    def cdf_quantile(self, score: float, probabilities: ArrayLike) -> Array:
        """Quantiles of a Beta law."""
        return np.exp(self.log_cdf_quantile(score, probabilities))

    def expectation(self, score: float, function: Callable[[Array], Array]) -> float:
        """Integrate over the logit of ``F``, in which the Beta law has exponential tails; infinite where that diverges."""
        a, b = (float(one) for one in self.model.cdf_weights(np.asarray(check_score(score)), self._ordered))
        if a == 0 or b == 0:
            return float(function(np.array([0.0 if b == 0 else -math.inf]))[0])
        logit = np.arange(-700.0, 700.0, 0.02)
        log_cdf, log_rest = -np.logaddexp(0, -logit), -np.logaddexp(0, logit)
        terms = 0.02 * np.exp(a * log_cdf + b * log_rest - special.betaln(a, b)) * function(log_cdf)
        # Where the terms no longer fall at the upper end the integral has none.
        return math.inf if terms[-1] > 1e-12 * max(terms.max(), 1e-300) else float(terms.sum())

    def sample_scores(self, shape: tuple[int, int], seed: int) -> Array:
        """Draw from Blackwell and MacQueen's urn."""
        return self.model.sample(self.scores, shape, seed).numpy()


def log_beta_ratio(a: Array, b: Array, numbers: Array) -> Array:
    r"""``log B(a + m, b) / B(a, b)``, without the cancellation of log-Gamma functions for large m.

    With :math:`g(x) = \log \Gamma(x) - \log \Gamma(x + b)` it is :math:`g(a + m) - g(a)`, and for large :math:`x` Stirling's
    series gives :math:`g` from small numbers.
    """
    return _log_gamma_ratio(a + numbers, b) - _log_gamma_ratio(a, b)


def _log_gamma_ratio(x: Array, b: Array) -> Array:
    near = np.minimum(x, 50.0)
    direct = special.gammaln(near) - special.gammaln(near + b)
    large = np.maximum(x, 50.0)
    stirling = b - (large + b - 0.5) * np.log1p(b / large) - b * np.log(large) + _series(large) - _series(large + b)
    return np.where(x > 50, stirling, direct)


def _series(x: Array) -> Array:
    return (1 / 12 - (1 / 360 - (1 / 1260 - 1 / 1680 / x**2) / x**2) / x**2) / x
