r"""Scores whose logit is normal."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.special import log_ndtr

from ppl_scaling.models.scores.base import RESOLUTION, Prior, ScoreModel, Values, as_tensor

__all__ = ["LogitNormalScores", "log_ends"]

_LOG_SQRT_TWO_PI = 0.5 * math.log(2 * math.pi)
_LOG_RESOLUTION = math.log(RESOLUTION)
_EDGE = math.log1p(-RESOLUTION) - _LOG_RESOLUTION  # the logit of 1 - RESOLUTION


class LogitNormalScores(ScoreModel):
    r"""``logit(s) ~ Normal(location, exp(log_scale))``.

    PRMs give a logit, and this law lives there: it is skewed as real scores are, and its tails near 0 and 1 are light.

    Within ``RESOLUTION`` (:math:`2^{-24}`) of 0 and of 1 the density is replaced by its mean there: what a verifier reports
    as exactly 0 or 1 is known to be that near and no nearer. The law stays continuous: ``P(s >= 1) = 0``, and a target of
    exactly 1 is out of reach.

    **Prior**: ``location ~ Normal(0.5, 2.5)`` and ``log_scale ~ Normal(0, 0.6)``: neutral between verifiers. Over sampled
    answers to 4501 MATH problems (OptScale's training data, Qwen2.5-Math-PRM-7B) the mean score has median 0.95 and the
    logit of it is 2.9 with a spread of 0.9 between problems; on the word problems of the embedded models logits are at -2.2
    with a spread of 1.1. Both are within about one standard deviation, and one score is enough to leave the other
    behind: decisions with this prior cost hardly more than with one that was fitted to other problems of the same verifier
    (``tests/benchmarks/optscale_replay.py``). A scale between 0.3 and 3.2 covers scores from near equal to bimodal.

    Parameters
    ----------
    prior : Prior, optional
        Of ``location`` and ``log_scale``.

    Examples
    --------
    >>> values = {"location": torch.tensor(2.0), "log_scale": torch.tensor(0.0)}
    >>> round(LogitNormalScores().log_survival(0.95, values).exp().item(), 3)
    0.172
    """

    name: ClassVar[str] = "logit-normal"
    parameters: ClassVar[tuple[str, ...]] = ("location", "log_scale")
    default_prior: ClassVar[Prior] = Prior({"location": 0.5, "log_scale": 0.0}, {"location": 2.5, "log_scale": 0.6})

    def log_prob(self, scores: Tensor, values: Values) -> Tensor:
        """Log-density of each score; see :class:`~ppl_scaling.models.scores.base.ScoreModel`."""
        location, log_scale = (value.unsqueeze(-1) for value in self.arrange(values))
        scores = as_tensor(scores)
        low, high = scores <= RESOLUTION, scores >= 1 - RESOLUTION
        inner = torch.where(low | high, 0.5, scores)
        logit, log_jacobian = torch.logit(inner), -inner.log() - torch.log1p(-inner)
        density = -0.5 * ((logit - location) * torch.exp(-log_scale)) ** 2 - log_scale - _LOG_SQRT_TWO_PI + log_jacobian
        log_low, log_high = log_ends(location, log_scale)
        return torch.where(low, log_low, torch.where(high, log_high, density))

    def statistics(self, scores: Tensor) -> Tensor:
        """Return six numbers: how many are inside, mean and spread of their logits, their Jacobian, how many at 0, at 1."""
        scores = as_tensor(scores)
        low, high = scores <= RESOLUTION, scores >= 1 - RESOLUTION
        inner = scores[~(low | high)]
        logits = torch.logit(inner)
        mean = logits.sum() / max(len(inner), 1)
        # The spread is about the mean: the plain sum of squares would cancel where the scores are nearly equal.
        spread = ((logits - mean) ** 2).sum()
        log_jacobian = -(inner.log() + torch.log1p(-inner)).sum()
        return torch.stack([as_tensor(len(inner)), mean, spread, log_jacobian, low.sum(), high.sum()])

    def log_likelihood_of(self, statistics: Tensor, values: Values) -> Tensor:
        """Log-likelihood of the scores that ``statistics`` was computed from."""
        location, log_scale = self.arrange(values)
        count, mean, spread, log_jacobian, at_zero, at_one = statistics
        squares = (spread + count * (mean - location) ** 2) * torch.exp(-2 * log_scale)
        inside = -0.5 * squares - count * (log_scale + _LOG_SQRT_TWO_PI) + log_jacobian
        log_low, log_high = log_ends(location, log_scale)
        return inside + at_zero * log_low + at_one * log_high

    def log_cdf(self, score: float | Tensor, values: Values) -> Tensor:
        """``log P(s < score)``."""
        return log_ndtr(self._standardised(score, values))

    def log_survival(self, score: float | Tensor, values: Values) -> Tensor:
        """``log P(s >= score)``."""
        return log_ndtr(-self._standardised(score, values))

    def sample(
        self, values: Values, sample_shape: tuple[int, ...] = (), *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw scores, of shape ``(*sample_shape, ...)``."""
        location, log_scale = torch.broadcast_tensors(*self.arrange(values))
        noise = torch.randn((*sample_shape, *location.shape), dtype=torch.float64, generator=generator)
        return torch.sigmoid(location + log_scale.exp() * noise)

    def _standardised(self, score: float | Tensor, values: Values) -> Tensor:
        location, log_scale = (value.detach() for value in self.arrange(values))
        return (torch.logit(as_tensor(score).clamp(0.0, 1.0)) - location) * torch.exp(-log_scale)


def log_ends(location: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
    """Mean density within the resolution of 0 and of 1, as logarithms."""
    rate = torch.exp(-log_scale)
    return log_ndtr((-_EDGE - location) * rate) - _LOG_RESOLUTION, log_ndtr((location - _EDGE) * rate) - _LOG_RESOLUTION
