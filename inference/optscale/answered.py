r"""Completions without an answer: they cannot be chosen, so they never reach a target, whatever their score.

The law of scores is that of completions *with* an answer. A further completion has an answer with probability :math:`q`, and
is of no use otherwise, so :math:`m` further ones all stay below :math:`s` with probability

.. math::  E\bigl[(1 - q + q\,F_\theta(s))^m\bigr] = \sum_k P(K = k)\, E[F_\theta(s)^k],

with :math:`K` the number of those that have an answer. After :math:`a` completions with and :math:`b` without,
:math:`q \sim \mathrm{Beta}(a + 1, b)`, so :math:`K` is beta-binomial: until one lacks an answer, all are taken to have one.
Under a Dirichlet process, which assumes no shape, a completion without an answer is simply seen as a score of 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from ppl_scaling.inference.optscale.posterior import ScorePosterior, check_numbers, check_powers
from ppl_scaling.inference.optscale.quadrature import infer_scores
from ppl_scaling.models.scores.dirichlet import DirichletScores

__all__ = ["AnsweredPosterior", "infer_answered"]

_EXACT = 512  # up to so many completions the sum over those with an answer is taken term by term
_NODES = 64


class AnsweredPosterior(ScorePosterior):
    """Posterior of the scores of completions of which some have no answer; such a one counts as a score of 0.

    Parameters
    ----------
    answered : ScorePosterior
        Given the scores of those that have one.
    num_unanswered : int
        At least 1.
    """

    def __init__(self, answered: ScorePosterior, num_unanswered: int) -> None:
        super().__init__(answered.scores)
        self.answered = answered
        self.num_unanswered = num_unanswered
        self._shape = answered.num_scores + 1.0, float(num_unanswered)
        self._known_shares: dict[int, NDArray[np.float64]] = {}
        self._known_gains = np.zeros(0)

    @property
    def precise(self) -> bool:
        """Whether the posterior of the scores of those with an answer has the precision asked for."""
        return self.answered.precise

    def log_power_mean(self, score: ArrayLike, m: ArrayLike) -> NDArray[np.float64]:
        """``log E[F(score)^m]``, by the sum for ``m`` up to 512 and by quadrature over ``q`` beyond that."""
        scores, numbers = np.broadcast_arrays(np.asarray(score, np.float64), check_powers(m))
        result = np.empty(scores.shape)
        summed = (numbers <= _EXACT) & (numbers == np.round(numbers))
        if summed.any():
            different, place = np.unique(scores[summed], return_inverse=True)
            powers = self.answered.log_power_mean(different[:, None], np.arange(numbers[summed].max() + 1))
            result[summed] = [
                special.logsumexp(self._log_shares(int(number)) + powers[row, : int(number) + 1])
                for row, number in zip(place, numbers[summed], strict=True)
            ]
        pairs = zip(scores[~summed].tolist(), numbers[~summed].tolist(), strict=True)
        result[~summed] = [self._by_quadrature(score, number) for score, number in pairs]
        return np.minimum(result, 0.0)

    def expected_gains(self, numbers: ArrayLike) -> NDArray[np.float64]:
        """Means over the number of answers of the gains that so many scores bring, for up to 512 completions."""
        wanted = check_numbers(numbers)
        if not len(wanted) or wanted.max() > _EXACT or (wanted != np.round(wanted)).any():
            return super().expected_gains(wanted)
        if wanted.max() >= len(self._known_gains):
            self._known_gains = self.answered.expected_gains(np.arange(wanted.max() + 1))
        shares = (np.exp(self._log_shares(int(number))) for number in wanted)
        return np.array([share @ self._known_gains[: len(share)] for share in shares])

    def _log_shares(self, number: int) -> NDArray[np.float64]:
        """Log-probability of each number of answers among so many completions."""
        if number not in self._known_shares:
            self._known_shares[number] = stats.betabinom.logpmf(np.arange(number + 1), number, *self._shape)
        return self._known_shares[number]

    def _by_quadrature(self, score: float, number: float) -> float:
        # SciPy's weights are (1 - x)^first (1 + x)^second, and q is (1 + x) / 2.
        nodes, weights = special.roots_jacobi(_NODES, self._shape[1] - 1, self._shape[0] - 1)
        probabilities, shares = (1 + nodes) / 2, weights / weights.sum()

        def missed(log_cdf: NDArray[np.float64]) -> NDArray[np.float64]:
            total = np.zeros_like(log_cdf)
            for probability, share in zip(probabilities, shares, strict=True):
                total += share * np.exp(number * np.log1p(probability * np.expm1(log_cdf)))
            return total

        with np.errstate(divide="ignore"):
            return float(np.log(self.answered.expectation(score, missed)))

    def cdf_quantile(self, score: float, probabilities: ArrayLike) -> NDArray[np.float64]:
        """Quantiles of ``1 - q (1 - F(score))``, by 64 x 64 points of equal probability."""
        levels = (np.arange(_NODES) + 0.5) / _NODES
        above = 1 - np.asarray(self.answered.cdf_quantile(score, levels))
        products = np.sort(1 - np.outer(stats.beta.ppf(levels, *self._shape), above).ravel())
        return np.quantile(products, np.asarray(probabilities, dtype=float))

    def sample_scores(self, shape: tuple[int, int], seed: int) -> NDArray[np.float64]:
        """Draw sets of further scores; the scores of a row share their law and ``q``."""
        drawn = np.asarray(self.answered.sample_scores(shape, seed))
        generator = np.random.default_rng([seed, 1])
        probability = generator.beta(*self._shape, size=(shape[0], 1))
        return np.where(generator.random(shape) < probability, drawn, 0.0)


def infer_answered(model: Any, scores: Sequence[float], num_unanswered: int) -> ScorePosterior:
    """Infer the law of scores from those of completions with an answer, and the number of those without."""
    if isinstance(model, DirichletScores):
        return infer_scores(model, [*scores, *[0.0] * num_unanswered])
    posterior = infer_scores(model, scores)
    return AnsweredPosterior(posterior, num_unanswered) if num_unanswered else posterior
