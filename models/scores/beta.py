r"""Scores from a Beta law, and its functions in log-space for whoever builds on it."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import betainc, betaincc
from torch import Tensor
from torch.nn.functional import logsigmoid

from ppl_scaling.models.scores.base import RESOLUTION, Prior, ScoreModel, Values, as_tensor, numpy_generator

__all__ = ["BetaScores", "beta_log_cdf", "beta_log_survival", "beta_shapes", "log_beta_function"]

_LOG_RESOLUTION = math.log(RESOLUTION)
_MOST = 0.999  # where a mass is above it, one minus it has lost digits
_MOST_TERMS = 10_000
_UNDERFLOW, _SMALLEST_SHAPE, _LARGEST_SHAPES = 1e-250, 1e-3, 1e4

Array = NDArray[np.float64]


class BetaScores(ScoreModel):
    r"""``Beta(m c, (1 - m) c)`` with mean ``m = sigmoid(logit_mean)`` and concentration ``c = exp(log_concentration)``.

    It can be a hump, heaped at an edge or at both; its density may have a pole at 0 or 1. Within ``RESOLUTION``
    (:math:`2^{-24}`) of an edge the density is therefore replaced by its mean there: what a verifier reports as exactly 0
    or 1 is known to be that near and no nearer. The law stays continuous: ``P(s >= 1) = 0``, and a target of exactly 1 is
    out of reach. Where scores of exactly 0 or 1 are frequent, take
    :class:`~ppl_scaling.models.scores.inflated_beta.InflatedBetaScores`.

    **Prior**: ``logit_mean ~ Normal(2, 1.5)`` and ``log_concentration ~ Normal(2, 1)``. Over sampled answers to 4501 MATH
    problems (OptScale's training data, Qwen2.5-Math-PRM-7B) these are 2.9 with a spread of 0.9 and 2.6 with a spread of 0.7;
    the prior is wider and lower, because other verifiers and harder problems are. A concentration between 1 and 55 means
    standard deviations of up to 0.35: below 2 the scores heap up at both edges.

    Parameters
    ----------
    prior : Prior, optional
        Of ``logit_mean`` and ``log_concentration``.

    Examples
    --------
    >>> values = {"logit_mean": torch.tensor(0.0), "log_concentration": torch.tensor(2.0).log()}  # uniform
    >>> round(BetaScores().log_survival(0.95, values).exp().item(), 3)
    0.05
    """

    name: ClassVar[str] = "beta"
    parameters: ClassVar[tuple[str, ...]] = ("logit_mean", "log_concentration")
    default_prior: ClassVar[Prior] = Prior(
        {"logit_mean": 2.0, "log_concentration": 2.0}, {"logit_mean": 1.5, "log_concentration": 1.0}
    )

    def log_prob(self, scores: Tensor, values: Values) -> Tensor:
        """Log-density of each score; see :class:`~ppl_scaling.models.scores.base.ScoreModel`."""
        log_a, log_b = (value.unsqueeze(-1) for value in beta_shapes(*self.arrange(values)))
        scores = as_tensor(scores)
        low, high = scores <= RESOLUTION, scores >= 1 - RESOLUTION
        inner = torch.where(low | high, 0.5, scores)
        log_norm = log_beta_function(log_a, log_b)
        density = (log_a.exp() - 1) * inner.log() + (log_b.exp() - 1) * torch.log1p(-inner) - log_norm
        at_zero, at_one = _end(log_a) - log_norm, _end(log_b) - log_norm
        return torch.where(low, at_zero, torch.where(high, at_one, density))

    def statistics(self, scores: Tensor) -> Tensor:
        """Return five sums: how many scores inside, sum log s and log(1 - s) of them, how many at 0, at 1."""
        scores = as_tensor(scores)
        low, high = scores <= RESOLUTION, scores >= 1 - RESOLUTION
        inner = scores[~(low | high)]
        return torch.stack([as_tensor(len(inner)), inner.log().sum(), torch.log1p(-inner).sum(), low.sum(), high.sum()])

    def log_likelihood_of(self, statistics: Tensor, values: Values) -> Tensor:
        """Log-likelihood of the scores that ``statistics`` was computed from."""
        log_a, log_b = beta_shapes(*self.arrange(values))
        count, log_scores, log_rests, at_zero, at_one = statistics
        inside = (log_a.exp() - 1) * log_scores + (log_b.exp() - 1) * log_rests
        ends = at_zero * _end(log_a) + at_one * _end(log_b)
        return inside + ends - (count + at_zero + at_one) * log_beta_function(log_a, log_b)

    def log_cdf(self, score: float | Tensor, values: Values) -> Tensor:
        """``log P(s < score)``."""
        log_a, log_b = (value.detach() for value in beta_shapes(*self.arrange(values)))
        return beta_log_cdf(as_tensor(score), log_a.exp(), log_b.exp())

    def log_survival(self, score: float | Tensor, values: Values) -> Tensor:
        """``log P(s >= score)``."""
        log_a, log_b = (value.detach() for value in beta_shapes(*self.arrange(values)))
        return beta_log_survival(as_tensor(score), log_a.exp(), log_b.exp())

    def sample(
        self, values: Values, sample_shape: tuple[int, ...] = (), *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw scores, of shape ``(*sample_shape, ...)``."""
        log_a, log_b = torch.broadcast_tensors(*(value.detach() for value in beta_shapes(*self.arrange(values))))
        shape = (*sample_shape, *log_a.shape)
        drawn = numpy_generator(generator).beta(log_a.exp().expand(shape).numpy(), log_b.exp().expand(shape).numpy())
        return as_tensor(drawn)


def beta_shapes(logit_mean: Tensor, log_concentration: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logarithms of the two shape parameters of the Beta law."""
    return log_concentration + logsigmoid(logit_mean), log_concentration + logsigmoid(-logit_mean)


def log_beta_function(log_a: Tensor, log_b: Tensor) -> Tensor:
    """``log B(a, b)`` from the logarithms of a and b; differentiable, and finite for very small shapes."""
    a, b = log_a.exp(), log_b.exp()
    # Gamma(x) = Gamma(1 + x) / x: near 0 the pole is taken out, so that it is exact however small the shapes are.
    poles = torch.logaddexp(log_a, log_b) - log_a - log_b
    return poles + torch.lgamma(1 + a) + torch.lgamma(1 + b) - torch.lgamma(1 + a + b)


def _end(log_shape: Tensor) -> Tensor:
    """Mean over the last RESOLUTION before an edge of the density there, but for the Beta function, as a logarithm.

    The mean of ``x^(b - 1)`` over ``[0, r]`` is ``r^(b - 1) / b``; the other factor of the density is 1 there.
    """
    return (log_shape.exp() - 1) * _LOG_RESOLUTION - log_shape


def beta_log_cdf(score: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """``log P(s < score)`` of ``Beta(a, b)``, accurate in both tails; no gradient. Arguments broadcast."""
    return _log_masses(score, a, b)[0]


def beta_log_survival(score: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """``log P(s >= score)`` of ``Beta(a, b)``, accurate in both tails; no gradient. Arguments broadcast."""
    return _log_masses(score, a, b)[1]


def _log_masses(score: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Log-masses below and above, both from the one on the shorter side of the mean.

    SciPy's ``betainc`` gives that; its ``betaincc`` is ten times slower. Where it underflows, or its error may be large, as
    it is for huge and for tiny shapes, the mass is found in log-space.
    """
    tables = np.broadcast_arrays(score.clamp(0.0, 1.0).numpy(), a.numpy(), b.numpy())
    x, first, second = (np.atleast_1d(table) for table in tables)
    lower = x * (first + second + 2) < first + 1
    z, p, q = np.where(lower, x, 1 - x), np.where(lower, first, second), np.where(lower, second, first)
    small = betainc(p, q, z)
    with np.errstate(divide="ignore"):
        log_small, log_rest = np.log(small), np.log1p(-small)
    hard = ~((small > _UNDERFLOW) & (p + q < _LARGEST_SHAPES) & (np.minimum(p, q) > _SMALLEST_SHAPE))
    if hard.any():
        log_small[hard], log_rest[hard] = _in_log_space(x[hard], first[hard], second[hard], lower[hard])
    most = (small > _MOST) & ~hard
    if most.any():
        log_rest[most] = np.log(betainc(q[most], p[most], np.where(lower, 1 - x, x)[most]))
    below, above = np.where(lower, log_small, log_rest), np.where(lower, log_rest, log_small)
    shape = tables[0].shape
    return torch.from_numpy(below.reshape(shape)), torch.from_numpy(above.reshape(shape))


def _in_log_space(x: Array, first: Array, second: Array, lower: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Log-mass on the shorter side, and on the other, from the continued fraction."""
    log_norm = log_beta_function(*(torch.from_numpy(np.log(shape)) for shape in (first, second))).numpy()
    z, p, q = np.where(lower, x, 1 - x), np.where(lower, first, second), np.where(lower, second, first)
    with np.errstate(divide="ignore"):
        log_power = first * np.log(x) + second * np.log1p(-x)
        log_small = np.minimum(log_power - log_norm - np.log(p) - np.log(_fraction(z, p, q)), 0.0)
        small = np.exp(log_small)
        log_rest = np.log1p(-small)
    most = small > _MOST
    log_rest[most] = np.log(betaincc(p[most], q[most], z[most]))
    return log_small, log_rest


def _fraction(z: Array, p: Array, q: Array) -> Array:
    """Continued fraction C with ``I_z(p, q) = z^p (1 - z)^q / (p B(p, q) C)`` (DLMF 8.17.22), by Lentz's method.

    It converges fast for ``z < (p + 1) / (p + q + 2)``, in a number of terms like the root of the shapes.
    """
    value = np.ones_like(z)
    numerator, denominator = np.ones_like(z), np.zeros_like(z)
    for m in range(_MOST_TERMS):
        odd = -(p + m) * (p + q + m) * z / ((p + 2 * m) * (p + 2 * m + 1))
        even = (m + 1) * (q - m - 1) * z / ((p + 2 * m + 1) * (p + 2 * m + 2))
        for term in (odd, even):
            denominator = 1 / (1 + term * denominator)
            numerator = 1 + term / numerator
            change = denominator * numerator
            value = value * change
        if np.abs(change - 1).max(initial=0.0) < 1e-15:
            break
    return value
