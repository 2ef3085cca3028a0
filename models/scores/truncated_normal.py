r"""Scores from a normal law cut to [0, 1]: the law of the OptScale paper.

Such a law is a hump where its location lies inside [0, 1], and close to exponential, heaped at an edge, where the location
lies far outside. There :math:`\Phi(b) - \Phi(a)` underflows and :math:`(s - \mu)^2 / 2 \sigma^2` is huge. So densities and
masses are both taken relative to the density at the point of [0, 1] nearest to the location, and tails are written with
:math:`\operatorname{erfcx}(x) = e^{x^2} \operatorname{erfc}(x)`: the huge parts cancel on paper, not in floating point.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri_exp
from torch import Tensor
from torch.special import erf, erfcx, log_ndtr

from ppl_scaling.models.scores.base import Prior, ScoreModel, Values, as_tensor
from ppl_scaling.models.scores.normal_mass import GAUSS_NODES, GAUSS_WEIGHTS, NARROW, log_mass

__all__ = ["TruncatedNormalScores"]

Array = NDArray[np.float64]

_SQRT_TWO = math.sqrt(2)
_LOG_TWO = math.log(2)
_LOG_SQRT_PI = 0.5 * math.log(math.pi)
_LOG_SQRT_TWO_PI = 0.5 * math.log(2 * math.pi)
_NODES, _NODE_WEIGHTS = torch.from_numpy(GAUSS_NODES), torch.from_numpy(GAUSS_WEIGHTS)
_ASYMPTOTIC = 100.0  # from here on four terms of the asymptotic series of erfcx are exact to 1e-15


class TruncatedNormalScores(ScoreModel):
    r"""``Normal(location, exp(log_scale))`` cut to [0, 1].

    The density is bounded, so scores of exactly 0 or 1 are scores as any other. The law is continuous: ``P(s >= 1) = 0``,
    and a target of exactly 1 is out of reach.

    The likelihood is ill-posed where scores heap up at 1: locations and scales that grow together give the same exponential
    heap, and a maximum-likelihood location may be 31. The prior decides there.

    **Prior**: ``location ~ Normal(1, 0.4)`` and ``log_scale ~ Normal(log 0.12, 1)``. The paper starts at (0.8, 0.2), which
    is half a standard deviation away in each. Over sampled answers to 4501 MATH problems (its training data,
    Qwen2.5-Math-PRM-7B) scores have means from 0.75 to 0.99 and standard deviations from 0.01 to 0.16 (98 % of the
    problems); other verifiers spread them up to 0.3. So the scale is between 0.016 and 0.9 (two standard deviations), and
    the location lies at the upper edge, as often beyond it as below: this is how the law says that verifier scores are
    skewed towards 1.

    Parameters
    ----------
    prior : Prior, optional
        Of ``location`` and ``log_scale``.

    Examples
    --------
    >>> values = {"location": torch.tensor(0.8), "log_scale": torch.tensor(0.2).log()}
    >>> round(TruncatedNormalScores().log_survival(0.95, values).exp().item(), 3)
    0.081
    """

    name: ClassVar[str] = "truncated-normal"
    parameters: ClassVar[tuple[str, ...]] = ("location", "log_scale")
    default_prior: ClassVar[Prior] = Prior(
        {"location": 1.0, "log_scale": math.log(0.12)}, {"location": 0.4, "log_scale": 1.0}
    )

    def log_prob(self, scores: Tensor, values: Values) -> Tensor:
        """Log-density of each score; see :class:`~ppl_scaling.models.scores.base.ScoreModel`."""
        location, log_scale = (value.unsqueeze(-1) for value in self.arrange(values))
        scores = as_tensor(scores)
        nearest = location.clamp(0.0, 1.0)
        squares = (scores - nearest) * (scores + nearest - 2 * location)
        return -0.5 * squares * torch.exp(-2 * log_scale) + _log_constant(location, log_scale)

    def statistics(self, scores: Tensor) -> Tensor:
        """Return three numbers: how many scores, their mean, and their squares about it, which do not cancel."""
        scores = as_tensor(scores)
        mean = scores.sum() / max(len(scores), 1)
        return torch.stack([as_tensor(len(scores)), mean, ((scores - mean) ** 2).sum()])

    def log_likelihood_of(self, statistics: Tensor, values: Values) -> Tensor:
        """Log-likelihood of the scores that ``statistics`` was computed from."""
        location, log_scale = self.arrange(values)
        count, mean, spread = statistics
        nearest = location.clamp(0.0, 1.0)
        squares = spread + count * (mean - nearest) * (mean + nearest - 2 * location)
        return -0.5 * squares * torch.exp(-2 * log_scale) + count * _log_constant(location, log_scale)

    def log_cdf(self, score: float | Tensor, values: Values) -> Tensor:
        """``log P(s < score)``."""
        return self._log_share(np.zeros(()), as_tensor(score).clamp(0.0, 1.0).numpy(), values)

    def log_survival(self, score: float | Tensor, values: Values) -> Tensor:
        """``log P(s >= score)``."""
        return self._log_share(as_tensor(score).clamp(0.0, 1.0).numpy(), np.ones(()), values)

    def _log_share(self, lower: Array, upper: Array, values: Values) -> Tensor:
        """Log-probability of a score between two others."""
        law = tuple(value.detach().numpy() for value in self.arrange(values))
        return torch.as_tensor(log_mass(lower, upper, *law) - log_mass(np.zeros(()), np.ones(()), *law))

    def sample(
        self, values: Values, sample_shape: tuple[int, ...] = (), *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw scores, of shape ``(*sample_shape, ...)``, by the inverse of the cdf."""
        location, log_scale = torch.broadcast_tensors(*self.arrange(values))
        scale = log_scale.exp()
        uniform = torch.rand((*sample_shape, *location.shape), dtype=torch.float64, generator=generator)
        # Mirrored so that the location is at 1/2 or above: then every quantile is in the left tail or in the middle.
        mirrored = location < 0.5
        centre = torch.where(mirrored, 1 - location, location)
        log_below, log_above = log_ndtr(-centre / scale), log_ndtr((1 - centre) / scale)
        log_quantile = torch.logaddexp(log_below + torch.log1p(-uniform), log_above + uniform.log())
        drawn = centre + scale * torch.from_numpy(ndtri_exp(log_quantile.detach().numpy()))
        return torch.where(mirrored, 1 - drawn, drawn).clamp(0.0, 1.0)


def _log_constant(location: Tensor, log_scale: Tensor) -> Tensor:
    """Log-density at the point of [0, 1] nearest to the location.

    Differentiable wherever the location is: a form that does not hold gets arguments that are harmless. Where no gradient is
    asked for and nothing is recorded, each entry is computed in its own form only, which is several times quicker.
    """
    if not torch.is_grad_enabled() and not torch.jit.is_tracing():  # type: ignore[attr-defined]
        mass = torch.as_tensor(log_mass(np.zeros(()), np.ones(()), location.numpy(), log_scale.numpy()))
        return -log_scale - _LOG_SQRT_TWO_PI - mass
    rate, start, width, excess, straddles, narrow = _places(location, log_scale)
    hump, tail = straddles & ~narrow, ~(straddles | narrow)
    inside = _hump(torch.where(hump, start * rate, -1.0), torch.where(hump, width * rate, 2.0))
    outside = _tail(torch.where(tail, start * rate, 1.0), torch.where(tail, width * rate, 1.0))
    slab = _slab(torch.where(narrow, start * rate, 0.0), torch.where(narrow, width * rate, 1.0))
    log_total = torch.where(narrow, slab, torch.where(straddles, inside, outside)) - torch.where(hump, 0.0, excess)
    return -log_scale - _LOG_SQRT_TWO_PI - log_total


def _places(location: Tensor, log_scale: Tensor) -> tuple[Tensor, ...]:
    """Tell how 0 and 1 lie about the location.

    Returns ``1 / (scale sqrt 2)``; the distance from the location to the nearer of them (to 0, with its sign, if it lies
    between them); how far they are apart; by how much the log-density there is below the one at the point of [0, 1]
    nearest to the location; whether the location is between them; and whether the log-density changes little between them.
    """
    rate = torch.exp(-log_scale) / _SQRT_TWO
    below, above = -location, 1.0 - location
    straddles = (below <= 0) & (above >= 0)
    left = above < 0
    start = torch.where(left, -above, below)
    edge = location.clamp(0.0, 1.0)
    gap = torch.where(left, edge - 1.0, -edge)  # from `edge` to the nearer of 0 and 1
    squares = torch.where(straddles, below**2, gap * (start + (location - edge).abs()))
    width = torch.ones_like(below)
    change = width * torch.where(straddles, width, 2 * start + width) * rate**2
    return rate, start, width, squares * rate**2, straddles, change < NARROW


def _hump(start: Tensor, width: Tensor) -> Tensor:
    """Log-mass of two parts of the hump, left and right of the location: ``start`` is negative."""
    return (erf(-start) + erf(start + width)).log() - _LOG_TWO


def _tail(start: Tensor, width: Tensor) -> Tensor:
    """Log-mass beyond ``start`` less that beyond ``start + width``, relative to the density at ``start``."""
    log_near = _log_erfcx(start)
    fall = width * (2 * start + width) + log_near - _log_erfcx(start + width)
    return log_near - _LOG_TWO + torch.log(-torch.expm1(-fall))


def _slab(start: Tensor, width: Tensor) -> Tensor:
    """Log-mass where the density hardly changes, relative to it at ``start``, by Gauss's nodes: the other forms cancel."""
    step = width.unsqueeze(-1) * _NODES
    heights = torch.exp(-step * (2 * start.unsqueeze(-1) + step))
    return width.log() + (heights * _NODE_WEIGHTS).sum(-1).log() - _LOG_SQRT_PI


def _log_erfcx(x: Tensor) -> Tensor:
    """``log erfcx(x)`` for x >= 0; far out by its series, because the derivative of torch's ``erfcx`` cancels there."""
    far = x > _ASYMPTOTIC
    inverse = 1 / torch.where(far, x, _ASYMPTOTIC) ** 2
    series = torch.log1p(inverse * (-0.5 + inverse * (0.75 - 1.875 * inverse))) + 0.5 * inverse.log() - _LOG_SQRT_PI
    return torch.where(far, series, erfcx(torch.where(far, 1.0, x)).log())
