r"""Conditional SMC: a particle filter in which one particle of each group is known beforehand, the *reference*.

Given a reference drawn from the target, all weighted particles together have a law under which a draw from the weights is
again a draw from the target. So it is the kernel of a Markov chain that leaves the target invariant, for any number of
particles from two on.

References
----------
Andrieu, Doucet and Holenstein (2010), Particle Markov chain Monte Carlo methods, JRSS B 72; Chopin and Singh (2015), On
particle Gibbs sampling, Bernoulli 21, arXiv 1304.1887.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_scaling import host
from ppl_scaling.arguments import check_integer
from ppl_scaling.inference.ancestor_sampling import check_rehearsable, rehearse
from ppl_scaling.inference.records import latent_name
from ppl_scaling.inference.resampling import multinomial
from ppl_scaling.inference.results import Trajectory
from ppl_scaling.inference.smc_filter import SMCFilter
from ppl_scaling.log_weights import normalize, too_unequal
from ppl_scaling.models.proposals import GivenSteps
from ppl_scaling.models.tempering import Tempered
from ppl_scaling.token_law import draw_categorical

__all__ = ["ConditionalSMCFilter", "Reference"]


@dataclass(frozen=True, eq=False)
class Reference:
    """A trajectory that a chain stands at.

    Attributes
    ----------
    token_blocks : sequence of sequence of int
        Tokens of each step, up to its end.
    latents : mapping of str to array or Tensor
        Values of the model's other latent sites, such as a temperature; those of step ``t`` have names that end in ``_{t}``.
    log_likelihood : float
        Of all its observations, with the likelihood's own power; NaN if it is not known.
    trajectory : Trajectory, optional
        The same, as a result has it.
    """

    token_blocks: Sequence[Sequence[int]]
    latents: Mapping[str, Any] = field(default_factory=dict)
    log_likelihood: float = float("nan")
    trajectory: Trajectory | None = None


class ConditionalSMCFilter(SMCFilter):
    r"""SMC with a given trajectory at position 0 of each group.

    The reference takes its own steps (by :class:`~ppl_scaling.models.proposals.GivenSteps`), so at every step its weight
    is that of its own *prefix*, as if it had been drawn. Groups are resampled by their effective sample size, the
    reference included. Then the reference keeps position 0 and the other ancestors are independent draws from the weights.
    Other schemes do not serve here: given that the reference survives, the rest of a systematic draw no longer has the law
    of a systematic draw, while independent draws stay what they are.

    The weighted particles of one run, given a reference from the target, are an unbiased average over the target
    :math:`p(x_{1:T} \mid c, y_{1:T} = 1)`. ``exp(log_evidence)`` is then biased upwards; the mean of ``exp(-log_evidence)``
    is the *reciprocal* of the evidence times the probability that not all particles of a plain filter die.

    With ``ancestor_sampling`` the reference's past is drawn anew wherever a group is resampled
    (:mod:`~ppl_scaling.inference.ancestor_sampling`). Where it is not, every particle goes on by itself, no lineage is lost,
    and there is no ancestor to draw.

    Parameters
    ----------
    model : LanguageModelStateSpace
    references : sequence of Reference
        One for each group.
    proposal : object with a method ``law``, optional
    num_particles : int, default 16
        In each group, the reference included.
    ess_threshold : float, default 0.5
    ancestor_sampling : bool, default False
    lookahead : int, optional
        Steps of the reference that ancestor sampling reads; not exact. Default: all.
    powers : sequence of float, optional
        Power of the likelihood in each group, in place of its own.

    Attributes
    ----------
    num_rehearsed : list of int
        Steps that the reward model scored for ancestor sampling, for each group.

    Raises
    ------
    ValueError, TypeError
        If a setting is out of its range, or the model's steps can't be rehearsed.
    """

    def __init__(
        self,
        model: Any,
        references: Sequence[Reference],
        proposal: Any | None = None,
        num_particles: int = 16,
        *,
        ess_threshold: float = 0.5,
        ancestor_sampling: bool = False,
        lookahead: int | None = None,
        powers: Sequence[float] | None = None,
    ) -> None:
        check_integer("num_particles", num_particles, 2)  # the reference and a free one
        if lookahead is not None:
            lookahead = check_integer("lookahead", lookahead)
        if ancestor_sampling:
            check_rehearsable(model)
        self.references = list(references)
        self.ancestor_sampling = ancestor_sampling
        self.lookahead = lookahead
        given = {group: {0: one.token_blocks} for group, one in enumerate(self.references)}
        self._program = model
        super().__init__(
            _WithReferences(model if powers is None else Tempered(model, powers), self.references),
            GivenSteps(model, given, proposal),
            num_particles,
            num_groups=len(self.references),
            ess_threshold=ess_threshold,
            resampling=multinomial,
        )

    def _start(self) -> None:
        super()._start()
        self.num_rehearsed = [0] * len(self.references)

    def choose_ancestors(self) -> tuple[Tensor, Tensor]:
        """Keep the reference at position 0 and draw the others independently."""
        resampled = too_unequal(self.log_weights, self.ess_threshold)
        if not host.is_true(resampled.any()):
            return torch.zeros_like(self.log_weights, dtype=torch.long), resampled
        drawn = multinomial(normalize(self.log_weights))
        drawn[:, 0] = self._draw_pasts(resampled) if self.ancestor_sampling else 0
        return drawn, resampled

    def _draw_pasts(self, resampled: Tensor) -> Tensor:
        """Draw whose past the references go on from, shape (G,)."""
        t = len(self.history)
        futures = [
            self.references[group].token_blocks[t - 1 :] if wanted else None
            for group, wanted in zip(self.groups, host.as_list(resampled), strict=True)
        ]
        continuations = rehearse(self._program, self.state, t, futures, self.lookahead)
        for group, count in zip(self.groups, continuations.num_scored, strict=True):
            self.num_rehearsed[group] += count
        log_weights = self.log_weights + continuations.log_ratios
        # Groups that are not asked for, and any in which rounding left nothing, keep the past they have.
        keeps = ~resampled | (log_weights == -torch.inf).all(-1)
        own = torch.zeros_like(self.log_weights)
        own[:, 0] = 1.0
        weights = torch.where(keeps[:, None], own, normalize(log_weights.masked_fill(keeps[:, None], 0.0)))
        return draw_categorical(weights)


class _WithReferences:
    """A program whose latents at the references' slots have the references' values, as if they had been drawn."""

    def __init__(self, program: Any, references: Sequence[Reference]) -> None:
        self.program = program
        self._references = references

    def init(self, state: Any, *args: Any) -> None:
        with _GivenLatents(self._values(state), 0):
            self.program.init(state, *args)

    def step(self, state: Any, t: int, *args: Any) -> None:
        with _GivenLatents(self._values(state), t):
            self.program.step(state, t, *args)

    def _values(self, state: Any) -> dict[int, Mapping[str, Any]]:
        return {
            position * state.group_size: self._references[group].latents
            for position, group in enumerate(state.groups)
            if self._references[group].latents
        }


class _GivenLatents(Messenger):
    """Overwrites what was drawn for some particles at step ``t``."""

    def __init__(self, values: Mapping[int, Mapping[str, Any]], t: int) -> None:
        super().__init__()
        self._values = values
        self._t = t

    def _pyro_post_sample(self, msg: Any) -> None:
        if msg["is_observed"] or not self._values:
            return
        name = latent_name(msg["name"], self._t)
        for slot, latents in self._values.items():
            if name in latents:
                # In place: the trace around this program has the value already.
                msg["value"][slot] = torch.as_tensor(latents[name], device=msg["value"].device)
