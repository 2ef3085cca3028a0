r"""Auxiliary particle filtering: resample on how the next step is going to be scored, not on the past alone.

Before a resampling every particle writes ``num_lookahead`` trial steps from the language model, the reward model scores
them, and the mean :math:`\hat\psi_i` of their likelihood increments is an estimate of what the particle's next step is
worth. Ancestors are drawn with probabilities

.. math::  V_i = (1 - \epsilon) \frac{W_i \hat\psi_i}{\sum_j W_j \hat\psi_j} + \epsilon\, W_i

and carry on with the weight :math:`W_i / V_i`. The trials are then forgotten, and the particles draw their next step anew.

Target
------
That of the particle filter, exactly: given the trials, :math:`V` is a fixed law of resampling, so particles stay properly
weighted and the evidence stays unbiased, however poor the trials. The share :math:`\epsilon` keeps a particle alive all of
whose trials were unlucky and bounds the weights that are carried.

Cost
----
For each resampling ``num_lookahead`` more steps per particle that goes on, drawn and scored; they are counted as generated.
(``num_lookahead + 1`` times the particles of a plain filter cost as much; looking ahead is worth it where particles
of equal scores differ in what comes next.)

References
----------
Pitt and Shephard (1999), Filtering via simulation: auxiliary particle filters, JASA 94; Lin, Chen and Liu (2013), Lookahead
strategies for sequential Monte Carlo, Statistical Science 28, arXiv 1302.5206 (pilot lookahead); Giannone et al. (2025),
arXiv 2510.05825, "look-ahead modulation".
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ppl_scaling import host
from ppl_scaling.arguments import check_integer
from ppl_scaling.errors import ScoreError
from ppl_scaling.inference.ancestor_sampling import check_rehearsable
from ppl_scaling.inference.particle_filter import ParticleFilter
from ppl_scaling.inference.results import ParticleFilterResult
from ppl_scaling.inference.smc_filter import SMCFilter
from ppl_scaling.interfaces import PAD
from ppl_scaling.log_weights import log_mean_exp, too_unequal
from ppl_scaling.models.sessions import ParticleSessions

__all__ = ["AuxiliaryFilter", "AuxiliaryParticleFilter"]


class AuxiliaryFilter(SMCFilter):
    """A filter that looks a step ahead before it resamples; see the module.

    Parameters
    ----------
    *args, **settings
        Of :class:`~ppl_scaling.inference.smc_filter.SMCFilter`.
    num_lookahead : int
    defensive_share : float

    Attributes
    ----------
    trial_tokens, trial_scores : list of int, one for each group
        What the trials have cost.
    """

    def __init__(self, *args: Any, num_lookahead: int, defensive_share: float, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.num_lookahead = num_lookahead
        self.defensive_share = defensive_share

    def _start(self) -> None:
        super()._start()
        self.trial_tokens = [0] * self.num_groups
        self.trial_scores = [0] * self.num_groups

    def choose_ancestors(self) -> tuple[Tensor, Tensor]:
        """Draw ancestors by weight and outlook where the effective sample size is low."""
        resampled = too_unequal(self.log_weights, self.ess_threshold)
        if not host.is_true(resampled.any()):
            return torch.zeros_like(self.log_weights, dtype=torch.long), resampled
        log_weights = torch.log_softmax(self.log_weights, -1)
        outlook = log_weights + self._look_ahead()
        total = torch.logsumexp(outlook, -1, keepdim=True)
        share = self.defensive_share
        mixed = torch.logaddexp(outlook - total + math.log1p(-share), log_weights + math.log(share))
        drawn_with = torch.where(total == -math.inf, log_weights, mixed)
        self._log_correction = log_weights - drawn_with
        return self.resampling(drawn_with.exp()), resampled

    def carried_log_weights(self, ancestors: Tensor) -> Tensor:
        """Return what drawing by the outlook has left of the weights."""
        return self._log_correction.gather(1, ancestors)

    def _look_ahead(self) -> Tensor:
        """Logarithm of the mean increment of the trials, shape (G, N); 0 for particles that have ended."""
        state: Any = self.state
        sessions: ParticleSessions = state.sessions["particles"]
        active = sessions.look_ahead(state)
        slots = sessions.slots
        if not len(slots):
            return torch.zeros_like(self.log_weights)
        law = self.model.token_law(state, active).rows(slots)
        power = state["beta"][slots] if "beta" in state else None
        likelihood = self.model.likelihood.given(state, slots)
        assert sessions.reward is not None
        trials = []
        for _ in range(self.num_lookahead):
            block = sessions.language.sample(law)
            texts = [[text] for text in sessions.language.decode(block)]
            logits, fits = (part[:, 0].to(active.device) for part in sessions.reward.rehearse(texts))
            logits = logits.double()
            bad = torch.isnan(logits) & fits
            if host.is_true(bad.any()):
                raise ScoreError("score", math.nan, len(self.history), host.as_list(slots[bad])[0])
            gain = likelihood.log_increment(torch.where(fits, logits, 0.0), state["score_logit"][slots])
            # A step that the reward model has no room for cuts the answer and weighs nothing.
            trials.append(likelihood.tempered(gain, power).masked_fill(~fits, 0.0))
            for slot, length in zip(host.as_list(slots), host.as_list((block != PAD).sum(-1)), strict=True):
                group = self.groups[slot // self.group_size]
                self.trial_tokens[group] += length
                self.trial_scores[group] += 1
        log_psi = torch.zeros(len(active), dtype=torch.float64, device=active.device)
        log_psi[slots] = log_mean_exp(torch.stack(trials, -1))
        return log_psi.view_as(self.log_weights)


class AuxiliaryParticleFilter(ParticleFilter):
    """A particle filter that resamples on one-step-ahead scores; see the module for target, cost and references.

    Parameters
    ----------
    model : LanguageModelStateSpace
        With a reward model, and steps that are weighed as that class weighs them.
    proposal : object, optional
        What particles are drawn from; trials are drawn from the model.
    num_lookahead : int, default 1
        Trial steps of each particle.
    defensive_share : float, default 0.1
        The share of the plain weights in the law of resampling, in (0, 1).
    **settings
        Of :class:`~ppl_scaling.inference.particle_filter.ParticleFilter`.

    Raises
    ------
    ValueError, TypeError
        If a setting is out of its range, or the model can't be looked ahead of.
    """

    method: ClassVar[str] = "auxiliary particle filter"
    draws_by_weight: ClassVar[bool] = False

    def __init__(
        self,
        model: Any,
        proposal: Any | None = None,
        *,
        num_lookahead: int = 1,
        defensive_share: float = 0.1,
        **settings: Any,
    ) -> None:
        if not 0 < defensive_share < 1:
            raise ValueError(f"expected defensive_share to be in (0, 1), got {defensive_share}")
        check_rehearsable(model)
        if model.reward_model is None:
            raise ValueError("expected a model with a reward model, whose scores are looked ahead for, got none")
        self.num_lookahead = check_integer("num_lookahead", num_lookahead)
        self.defensive_share = defensive_share
        super().__init__(model, proposal, **settings)

    @property
    def configuration(self) -> dict[str, Any]:
        """Settings of model and method, for the record of a result."""
        own = {"num_lookahead": self.num_lookahead, "defensive_share": self.defensive_share}
        return {**super().configuration, **own}

    def _filter(self, num_groups: int) -> AuxiliaryFilter:
        return AuxiliaryFilter(
            self.model,
            self.proposal,
            self.num_particles,
            num_groups=num_groups,
            ess_threshold=self.ess_threshold,
            resampling=self.resampling,
            num_lookahead=self.num_lookahead,
            defensive_share=self.defensive_share,
        )

    def _result(self, smc: SMCFilter, group: int, problem: str, seed: int) -> ParticleFilterResult:
        result = super()._result(smc, group, problem, seed)
        assert isinstance(smc, AuxiliaryFilter)
        return replace(
            result,
            generated_tokens=result.generated_tokens + smc.trial_tokens[group],
            prm_calls=result.prm_calls + smc.trial_scores[group],
        )
