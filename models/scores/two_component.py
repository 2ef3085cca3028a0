r"""Right and wrong completions: a mixture of two logit-normal laws of scores.

Verifiers that judge whole answers give scores that heap up near 0 and near 1, and no law with one hump fits both. Here
a completion is right with probability ``share``; the logit of its score is normal around one centre if it is right and
around a lower one if it is wrong. Whether a completion is right is not seen here; where some of it is known, see
:class:`~ppl_scaling.models.scores.correctness.ScoreAndCorrectness`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid
from torch.special import log_ndtr

from ppl_scaling.models.scores.base import RESOLUTION, Prior, ScoreModel, Values, as_tensor
from ppl_scaling.models.scores.logit_normal import log_ends

__all__ = ["TwoComponentScores"]

_LOG_SQRT_TWO_PI = 0.5 * math.log(2 * math.pi)


class TwoComponentScores(ScoreModel):
    r"""Scores of right and of wrong completions, each logit-normal, the right ones above.

    With :math:`z = \mathrm{logit}(s)` and :math:`\pi` the share of right completions,

    .. math:: z \sim \pi\, N(\mu + e^{g}, \sigma_1) + (1 - \pi)\, N(\mu, \sigma_0).

    The gap :math:`e^g` is positive, so that "right" is the upper component and the two cannot change places.

    ============================ ================ ============== ===================================================
    parameter                    meaning          prior          reason
    ============================ ================ ============== ===================================================
    ``logit_share``              logit of         Normal(0, 1.5) nearly uniform over the share
                                 :math:`\pi`
    ``wrong_location``           :math:`\mu`      Normal(-1, 2)  wrong completions score 0.27, give or take anything
                                                                 from 0.01 to 0.95
    ``wrong_log_scale``          log              Normal(-0.2,   between 0.2 and 3.3 logits
                                 :math:`\sigma_0` 0.7)
    ``log_gap``                  :math:`g`        Normal(0.9,    a gap of 2.5 logits, between 0.7 and 8: smaller ones
                                                  0.6)           would be one component
    ``right_log_scale``          log              Normal(-0.8,   between 0.1 and 1.8 logits: verifiers agree more on
                                 :math:`\sigma_1` 0.7)           right completions than on wrong ones
    ============================ ================ ============== ===================================================

    The ranges are two standard deviations. The numbers follow the outcome scores of a verifier on problems of which some
    completions are right and some are wrong (100 problems of MATH with 8 completions each).

    Scores of 0 and 1 have no logit: they are taken as known to ``RESOLUTION`` only, as in
    :class:`~ppl_scaling.models.scores.logit_normal.LogitNormalScores`.
    """

    name: ClassVar[str] = "two-component"
    parameters: ClassVar[tuple[str, ...]] = (
        "logit_share",
        "wrong_location",
        "wrong_log_scale",
        "log_gap",
        "right_log_scale",
    )
    log_gaps: ClassVar[Mapping[str, str]] = {"log_gap": "wrong_location"}
    default_prior: ClassVar[Prior] = Prior(
        location={
            "logit_share": 0.0,
            "wrong_location": -1.0,
            "wrong_log_scale": -0.2,
            "log_gap": 0.9,
            "right_log_scale": -0.8,
        },
        scale={"logit_share": 1.5, "wrong_location": 2.0, "wrong_log_scale": 0.7, "log_gap": 0.6, "right_log_scale": 0.7},
    )

    def statistics(self, scores: Tensor) -> Tensor:
        """Return five rows over the scores: 1, logit, log-Jacobian, at 0, at 1. Nothing can be left out of a mixture.

        A column of zeros counts for nothing, so that rows of different length can be padded.
        """
        scores = as_tensor(scores)
        low, high = scores <= RESOLUTION, scores >= 1 - RESOLUTION
        inner = torch.where(low | high, 0.5, scores)
        log_jacobian = torch.where(low | high, 0.0, -inner.log() - torch.log1p(-inner))
        return torch.stack([torch.ones_like(scores), torch.logit(inner), log_jacobian, low.double(), high.double()])

    def log_likelihood_of(self, statistics: Tensor, values: Values) -> Tensor:
        """Log-likelihood of the scores that ``statistics`` was computed from."""
        return (statistics[0] * torch.logaddexp(*self.log_joint_of(statistics, values))).sum(-1)

    def log_joint_of(self, statistics: Tensor, values: Values) -> tuple[Tensor, Tensor]:
        """Log-densities of each score together with "wrong" and with "right", each of shape (..., n)."""
        _, logit, log_jacobian, low, high = statistics[:5]
        share, location, wrong_log_scale, log_gap, right_log_scale = (value.unsqueeze(-1) for value in self.arrange(values))
        ends = low.bool(), high.bool()
        return (
            logsigmoid(-share) + log_jacobian + _component(logit, ends, location, wrong_log_scale),
            logsigmoid(share) + log_jacobian + _component(logit, ends, location + log_gap.exp(), right_log_scale),
        )

    def log_joint(self, scores: Tensor, values: Values) -> tuple[Tensor, Tensor]:
        """Log-densities of each score together with "wrong" and with "right"; shapes as in :meth:`log_prob`."""
        return self.log_joint_of(self.statistics(scores), values)

    def log_prob(self, scores: Tensor, values: Values) -> Tensor:
        """Log-density of each score, whether it is right or wrong."""
        return torch.logaddexp(*self.log_joint(scores, values))

    def log_cdf(self, score: float | Tensor, values: Values) -> Tensor:
        """``log P(s < score)``."""
        return self._log_tail(score, values, 1.0)

    def log_survival(self, score: float | Tensor, values: Values) -> Tensor:
        """``log P(s >= score)``."""
        return self._log_tail(score, values, -1.0)

    def _log_tail(self, score: float | Tensor, values: Values, side: float) -> Tensor:
        share, location, wrong_log_scale, log_gap, right_log_scale = (value.detach() for value in self.arrange(values))
        logit = torch.logit(as_tensor(score).clamp(0.0, 1.0))
        wrong = (logit - location) * torch.exp(-wrong_log_scale)
        right = (logit - location - log_gap.exp()) * torch.exp(-right_log_scale)
        return torch.logaddexp(logsigmoid(-share) + log_ndtr(side * wrong), logsigmoid(share) + log_ndtr(side * right))

    def sample(
        self, values: Values, sample_shape: tuple[int, ...] = (), *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw scores: first whether each is right, then its logit."""
        share = torch.broadcast_tensors(*self.arrange(values))[0].sigmoid()
        uniform = torch.rand((*sample_shape, *share.shape), dtype=torch.float64, generator=generator)
        return self.sample_given(uniform < share, values, generator=generator)

    def sample_given(self, right: Tensor, values: Values, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw the score of each completion of which it is known whether it is right, a Tensor of bool of shape (...)."""
        _, location, wrong_log_scale, log_gap, right_log_scale = self.arrange(values)
        location = location + torch.where(right, log_gap.exp(), 0.0)
        log_scale = torch.where(right, right_log_scale, wrong_log_scale)
        shape = torch.broadcast_shapes(location.shape, log_scale.shape)
        return (location + log_scale.exp() * torch.randn(shape, dtype=torch.float64, generator=generator)).sigmoid()


def _component(logit: Tensor, ends: tuple[Tensor, Tensor], location: Tensor, log_scale: Tensor) -> Tensor:
    """Log-density of the logits, and of scores at an end the mean log-density of the score there."""
    inside = -0.5 * ((logit - location) * torch.exp(-log_scale)) ** 2 - log_scale - _LOG_SQRT_TWO_PI
    log_low, log_high = log_ends(location, log_scale)
    return torch.where(ends[0], log_low, torch.where(ends[1], log_high, inside))
