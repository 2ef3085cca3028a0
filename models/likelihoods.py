r"""What a PRM's score says about a particle: the emission of the state-space model, in three named forms.

Write :math:`r_t` for the score of the steps up to :math:`t`. A likelihood is an increment of the log-weight at each step,
and each class names the distribution over whole answers that those increments add up to, its *target*. All of them are
computed from the PRM's logits with log-sigmoid; a probability is never turned back into a logarithm.

Any of them takes a power ``beta`` (likelihood tempering): 0 is the language model alone, 1 the posterior. A run may hold
particles of several powers: then an entry ``beta`` of the state takes the place of the likelihood's own.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor
from torch.nn.functional import logsigmoid

__all__ = ["BernoulliLikelihood", "Emission", "Likelihood", "OddsLikelihood", "TwistLikelihood"]


class Emission(dist.Bernoulli):
    """``Bernoulli(logits)`` that is exact for infinite logits, where the score is 0 or 1."""

    def log_prob(self, value: Tensor) -> Tensor:
        """``log r`` for 1 and ``log(1 - r)`` for 0."""
        if self._validate_args:
            self._validate_sample(value)
        return logsigmoid(torch.where(value == 1, self.logits, -self.logits))

    def expand(self, batch_shape: Any, _instance: Any = None) -> Emission:
        """Expand to ``batch_shape``; ``Bernoulli.expand`` would drop this class."""
        return Emission(logits=self.logits.expand(batch_shape), validate_args=self._validate_args)


class Likelihood(ABC):
    """Base of the likelihoods. A new one defines :meth:`log_increment` and writes its target in its docstring.

    Parameters
    ----------
    beta : float, default 1.0
        Power of the likelihood, not negative.

    Attributes
    ----------
    ess_threshold : float
        When the particle filter resamples unless told otherwise.

    Raises
    ------
    ValueError
        If ``beta`` is negative or not finite.
    """

    ess_threshold: float = 0.5

    def __init__(self, beta: float = 1.0) -> None:
        if not (math.isfinite(beta) and beta >= 0):
            raise ValueError(f"expected beta to be a finite number >= 0, got {beta}")
        self.beta = float(beta)

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value}" for name, value in vars(self).items())
        return f"{type(self).__name__}({fields})"

    @abstractmethod
    def log_increment(self, score_logits: Tensor, previous_score_logits: Tensor) -> Tensor:
        """Increment of the log-weight at one step, before the power ``beta``.

        Parameters
        ----------
        score_logits : Tensor, shape (...)
            Logits of the scores after this step.
        previous_score_logits : Tensor, shape (...)
            Logits of the scores before it; plus infinity (score 1) before the first step.

        Returns
        -------
        Tensor, shape (...)
        """

    def observe(
        self,
        name: str,
        score_logits: Tensor,
        previous_score_logits: Tensor,
        active: Tensor,
        beta: Tensor | None = None,
    ) -> None:
        """Make the Pyro site ``name`` that carries the increment of the particles that are ``active``, with its power.

        Parameters
        ----------
        name : str
        score_logits, previous_score_logits : Tensor, shape (K,)
        active : Tensor, shape (K,), bool
        beta : Tensor, shape (K,), optional
            Power for each particle, in place of the likelihood's own.
        """
        with poutine.mask(mask=active):
            pyro.factor(name, self.tempered(self.log_increment(score_logits, previous_score_logits), beta))

    def init(self, state: Any) -> None:  # noqa: B027 - a likelihood with latents defines it
        """Put latents of the likelihood into the state of a program, at sites of their own; here there are none."""

    def given(self, state: Any, slots: Tensor | None = None) -> Likelihood:
        """Return the likelihood of all particles, or of those at ``slots``, given its latents; here it is itself."""
        return self

    def tempered(self, log_increment: Tensor, beta: Tensor | None = None) -> Tensor:
        """Multiply by the power: ``beta``, of a shape that broadcasts, or else the likelihood's own. Power 0 gives 0."""
        if beta is None:
            return log_increment * self.beta if self.beta else torch.zeros_like(log_increment)
        return torch.where(beta == 0, torch.zeros_like(log_increment), log_increment * beta)


class BernoulliLikelihood(Likelihood):
    r"""Every step is observed to be right: :math:`y_t \sim \mathrm{Bernoulli}(r_t)`, :math:`y_t = 1`.

    Increment :math:`\log r_t`; target :math:`p_\mathrm{LM}(x) \prod_t r_t^\beta`. For scores of single steps. With scores
    of whole prefixes it counts the early steps many times, and as every factor is at most 1 it favours short answers.

    References
    ----------
    Puri et al. (2025), arXiv 2502.01618, equation 2.
    """

    def log_increment(self, score_logits: Tensor, previous_score_logits: Tensor) -> Tensor:
        """``log r_t``."""
        return logsigmoid(score_logits)

    def observe(
        self,
        name: str,
        score_logits: Tensor,
        previous_score_logits: Tensor,
        active: Tensor,
        beta: Tensor | None = None,
    ) -> None:
        """Make ``name`` an observed Bernoulli site, scaled by the power."""
        scale: float | Tensor = self.beta or 1.0
        if beta is not None:  # Pyro wants scales above 0
            active, scale = active & (beta != 0), torch.where(beta == 0, torch.ones_like(beta), beta)
        elif self.beta == 0:
            active = torch.zeros_like(active)
        with poutine.mask(mask=active), poutine.scale(scale=scale):
            pyro.sample(name, Emission(logits=score_logits), obs=torch.ones_like(score_logits))


class TwistLikelihood(Likelihood):
    r"""The last score is what counts; the scores before it only steer the particles.

    Increment :math:`\log r_t - \log r_{t-1}` with :math:`r_0 = 1`; target :math:`p_\mathrm{LM}(x)\, r_T^\beta`. For scores
    of a whole prefix: value functions and outcome scores. It has no length bias. A particle whose score was once 0 stays
    at weight 0, so a prefix must score above 0 if some answer that continues it does.

    References
    ----------
    Whiteley and Lee (2014), Twisted particle filters, Annals of Statistics 42; Zhao et al. (2024), arXiv 2404.17546.
    """

    def log_increment(self, score_logits: Tensor, previous_score_logits: Tensor) -> Tensor:
        """``log r_t - log r_{t-1}``; 0 for a particle that is dead already."""
        before = logsigmoid(previous_score_logits)
        increment = logsigmoid(score_logits) - before
        return torch.where(before == -math.inf, torch.zeros_like(increment), increment)


class OddsLikelihood(Likelihood):
    r"""Steps are weighted by the odds of their scores, as the released code of the particle-filtering paper does.

    Increment :math:`\mathrm{logit}(r_t) / \tau`; target :math:`p_\mathrm{LM}(x) \prod_t (r_t / (1 - r_t))^{\beta/\tau}`.
    It is not the paper's equation 2: a score of .999 outweighs one of .99 by ten to one. The particle filter resamples at
    every step, as that code does.

    Parameters
    ----------
    temperature : float, default 1.0
        :math:`\tau`, above 0.
    beta : float, default 1.0

    Raises
    ------
    ValueError
        If ``temperature`` is not a finite number above 0.
    """

    ess_threshold: float = 1.0

    def __init__(self, temperature: float = 1.0, beta: float = 1.0) -> None:
        super().__init__(beta)
        if not (math.isfinite(temperature) and temperature > 0):
            raise ValueError(f"expected temperature to be a finite number > 0, got {temperature}")
        self.temperature = float(temperature)

    def log_increment(self, score_logits: Tensor, previous_score_logits: Tensor) -> Tensor:
        """``logit(r_t) / temperature``."""
        return score_logits / self.temperature
