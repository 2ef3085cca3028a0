r"""Scores that are exactly 0 or exactly 1 with positive probability, and else follow a Beta law.

Outcome verifiers, unit tests and rounded scores give such atoms. Only here, and in other laws with atoms, has a target of
exactly 1 a positive probability.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ppl_scaling.models.scores.base import Prior, ScoreModel, Values, as_tensor, numpy_generator
from ppl_scaling.models.scores.beta import beta_log_cdf, beta_log_survival, beta_shapes, log_beta_function

__all__ = ["InflatedBetaScores"]

_SMALLEST = 2.0**-53


class InflatedBetaScores(ScoreModel):
    r"""An atom at 0, an atom at 1, and a Beta law between them.

    ``P(s = 0) = sigmoid(logit_zero)``; of the rest, ``P(s = 1) = sigmoid(logit_one)``; else ``Beta(m c, (1 - m) c)`` with
    ``m = sigmoid(logit_mean)``, ``c = exp(log_concentration)``. Log-probabilities are masses at 0 and 1 and densities
    between, so they compare with those of laws without atoms only on scores strictly inside (0, 1).

    **Prior**: ``logit_zero`` and ``logit_one ~ Normal(-4, 2)``: atoms of 2 %, between 0.03 % and 50 %. PRMs have none, and
    after 64 scores without one the posterior says so; verifiers of whole answers may have both. ``logit_mean ~ Normal(2,
    1.5)`` and ``log_concentration ~ Normal(2, 1)``, as in :class:`~ppl_scaling.models.scores.beta.BetaScores`.

    Parameters
    ----------
    prior : Prior, optional
        Of ``logit_zero``, ``logit_one``, ``logit_mean`` and ``log_concentration``.

    Examples
    --------
    >>> values = InflatedBetaScores().prior.location
    >>> round(InflatedBetaScores().log_survival(1.0, values).exp().item(), 3)  # the atom at 1
    0.018
    """

    name: ClassVar[str] = "inflated-beta"
    parameters: ClassVar[tuple[str, ...]] = ("logit_zero", "logit_one", "logit_mean", "log_concentration")
    default_prior: ClassVar[Prior] = Prior(
        {"logit_zero": -4.0, "logit_one": -4.0, "logit_mean": 2.0, "log_concentration": 2.0},
        {"logit_zero": 2.0, "logit_one": 2.0, "logit_mean": 1.5, "log_concentration": 1.0},
    )

    @property
    def blocks(self) -> tuple[tuple[str, ...], ...]:
        """The atoms' probabilities and the law between them: the likelihood is a product of three factors."""
        return ("logit_zero",), ("logit_one",), ("logit_mean", "log_concentration")

    def log_prob(self, scores: Tensor, values: Values) -> Tensor:
        """Log-mass of scores of 0 and 1, log-density of the others; see :class:`ScoreModel`."""
        logit_zero, logit_one, *beta = (value.unsqueeze(-1) for value in self.arrange(values))
        log_zero, log_one, log_between = _shares(logit_zero, logit_one)
        log_a, log_b = beta_shapes(*beta)
        scores = as_tensor(scores)
        low, high = scores <= 0, scores >= 1
        inner = torch.where(low | high, 0.5, scores)
        density = (log_a.exp() - 1) * inner.log() + (log_b.exp() - 1) * torch.log1p(-inner)
        between = log_between + density - log_beta_function(log_a, log_b)
        return torch.where(low, log_zero, torch.where(high, log_one, between))

    def statistics(self, scores: Tensor) -> Tensor:
        """Return five sums: how many scores inside, sum log s and log(1 - s) of them, how many are 0, are 1."""
        scores = as_tensor(scores)
        low, high = scores <= 0, scores >= 1
        inner = scores[~(low | high)]
        return torch.stack([as_tensor(len(inner)), inner.log().sum(), torch.log1p(-inner).sum(), low.sum(), high.sum()])

    def log_likelihood_of(self, statistics: Tensor, values: Values) -> Tensor:
        """Log-likelihood of the scores that ``statistics`` was computed from."""
        logit_zero, logit_one, *beta = self.arrange(values)
        log_zero, log_one, log_between = _shares(logit_zero, logit_one)
        log_a, log_b = beta_shapes(*beta)
        count, log_scores, log_rests, zeros, ones = statistics
        inside = (log_a.exp() - 1) * log_scores + (log_b.exp() - 1) * log_rests
        inside = inside + count * (log_between - log_beta_function(log_a, log_b))
        return inside + zeros * log_zero + ones * log_one

    def log_cdf(self, score: float | Tensor, values: Values) -> Tensor:
        """``log P(s < score)``: the atom at 0 is below any positive score, the one at 1 is not below 1."""
        log_zero, _, log_between, a, b = self._read(values)
        score = as_tensor(score)
        below = torch.logaddexp(log_zero, log_between + beta_log_cdf(score, a, b))
        return torch.where(score <= 0, -torch.inf, torch.where(score > 1, 0.0, below))

    def log_survival(self, score: float | Tensor, values: Values) -> Tensor:
        """``log P(s >= score)``: at 1 it is the mass of the atom there."""
        _, log_one, log_between, a, b = self._read(values)
        score = as_tensor(score)
        above = torch.logaddexp(log_one, log_between + beta_log_survival(score, a, b))
        return torch.where(score <= 0, 0.0, torch.where(score > 1, -torch.inf, above))

    def sample(
        self, values: Values, sample_shape: tuple[int, ...] = (), *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw scores, of shape ``(*sample_shape, ...)``."""
        log_zero, log_one, _, a, b = torch.broadcast_tensors(*self._read(values))
        shape = (*sample_shape, *a.shape)
        numpy = numpy_generator(generator)
        between = as_tensor(numpy.beta(a.expand(shape).numpy(), b.expand(shape).numpy()))
        between = between.clamp(_SMALLEST, 1 - _SMALLEST)  # rounded to 0 or 1 it would be taken for an atom
        uniform = as_tensor(numpy.random(shape))
        is_zero, is_one = uniform < log_zero.exp(), uniform >= 1 - log_one.exp()
        return torch.where(is_zero, 0.0, torch.where(is_one, 1.0, between))

    def _read(self, values: Values) -> tuple[Tensor, ...]:
        logit_zero, logit_one, *beta = (value.detach() for value in self.arrange(values))
        log_a, log_b = beta_shapes(*beta)
        return (*_shares(logit_zero, logit_one), log_a.exp(), log_b.exp())


def _shares(logit_zero: Tensor, logit_one: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities of a score of 0, of 1, and of one between."""
    log_not_zero = logsigmoid(-logit_zero)
    return logsigmoid(logit_zero), log_not_zero + logsigmoid(logit_one), log_not_zero + logsigmoid(-logit_one)
