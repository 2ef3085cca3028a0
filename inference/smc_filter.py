r"""Sequential Monte Carlo for any Pyro program with ``init`` and ``step``.

:class:`SMCFilter` is ``pyro.infer.SMCFilter`` with what inference over language models needs beside it: groups of
particles that are independent of each other, float64 weights on the model's device, the evidence, ancestors, any
resampling scheme, a record of every step, and particles that may end.

It knows nothing of language models, and Pyro's private names are :mod:`~ppl_scaling.inference.particle_state`'s to touch.

Target
------
After step :math:`t` the weighted particles of each group represent the model's posterior of its latents given all
observed sites up to :math:`t`, whatever the proposal, and ``exp(log_evidence)`` is an unbiased estimate of the probability
of the observed sites. This holds for ``ess_threshold`` and schemes fixed beforehand.

References
----------
Del Moral (2004), Feynman-Kac Formulae; Chopin and Papaspiliopoulos (2020), An Introduction to Sequential Monte Carlo.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer.smcfilter import SMCFilter as PyroSMCFilter
from torch import Tensor

from ppl_scaling import host
from ppl_scaling.arguments import check_integer
from ppl_scaling.errors import AllWeightsZeroError, ScoreError
from ppl_scaling.inference.particle_state import ParticleState
from ppl_scaling.inference.records import StepRecord
from ppl_scaling.inference.resampling import ResamplingScheme, systematic
from ppl_scaling.inference.trace_weights import first_bad_site, increments, killing_site, recorded
from ppl_scaling.log_weights import ess, log_mean_exp, normalize, too_unequal

__all__ = ["ParticleState", "SMCFilter"]


class SMCFilter(PyroSMCFilter):
    """A particle filter for a Pyro program.

    The program and the guide (proposal) are objects with ``init(state, ...)`` and ``step(state, ...)``, as in Pyro. Without
    a guide the particles are drawn from the model itself. A latent site that the guide leaves out is drawn from the model.
    Effect handlers mean what they mean in Pyro: an observed or conditioned site, a factor, a scale and a mask all change
    the weights accordingly.

    Resampling happens at the *beginning* of a step, so the weights after the last step are those of the estimate.

    Parameters
    ----------
    model : object
    guide : object, optional
    num_particles : int, default 16
        In each group.
    max_plate_nesting : int, default 0
        As in Pyro.
    num_groups : int, default 1
        Independent filters in one batch: several problems, or replicates of one.
    ess_threshold : float, default 0.5
        A group is resampled when its effective sample size is below this fraction of ``num_particles``.
    resampling : callable, default ``systematic``
        A scheme of :mod:`ppl_scaling.inference.resampling`.

    Attributes
    ----------
    history : list of StepRecord
    failures : dict of int to AllWeightsZeroError
        Groups that have left the batch because all their weights are zero. If that happens to every group, it is raised.

    Raises
    ------
    ValueError, TypeError
        If a number is out of its range, or ``resampling`` is no function.
    """

    _log_evidence_before: Tensor

    def __init__(
        self,
        model: Any,
        guide: Any | None = None,
        num_particles: int = 16,
        max_plate_nesting: int = 0,
        *,
        num_groups: int = 1,
        ess_threshold: float = 0.5,
        resampling: ResamplingScheme = systematic,
    ) -> None:
        self.group_size = check_integer("num_particles", num_particles)
        self.num_groups = check_integer("num_groups", num_groups)
        if not 0 < ess_threshold <= 1:
            raise ValueError(f"expected ess_threshold to be in (0, 1], got {ess_threshold}")
        if not callable(resampling):
            raise TypeError(f"expected resampling to be a function of weights, got {resampling!r}")
        super().__init__(model, guide, self.num_groups * self.group_size, max_plate_nesting, ess_threshold=ess_threshold)
        self.resampling = resampling
        self._start()

    @property
    def groups(self) -> tuple[int, ...]:
        """Groups that are still in the batch."""
        return self.state.groups

    @property
    def log_weights(self) -> Tensor:
        """Log-weights since the last resampling, shape (G, N), float64."""
        return self.state.log_weights

    @property
    def log_evidence(self) -> Tensor:
        """Logarithm of the estimated probability of all observed sites so far, shape (G,), float64."""
        return self._log_evidence_before + log_mean_exp(self.log_weights)

    def init(self, *args: Any, **kwargs: Any) -> None:
        """Run ``init`` of guide and model; arguments are passed to both. Forgets any earlier run.

        Raises
        ------
        AllWeightsZeroError, ScoreError
            As in :meth:`step`.
        ValueError
            If the guide samples a site that the model lacks or observes.
        """
        self._start()
        identity = torch.arange(self.group_size).expand(self.num_groups, -1)
        self._propagate("init", args, kwargs, identity, torch.zeros(self.num_groups, dtype=torch.bool))

    def step(self, *args: Any, **kwargs: Any) -> None:
        """Resample where the weights ask for it, then run ``step`` of guide and model; arguments go to both.

        Raises
        ------
        AllWeightsZeroError
            If no group has a possible particle left.
        ScoreError
            If a log-weight becomes NaN or plus infinity.
        ValueError
            If the guide samples a site that the model lacks or observes.
        RuntimeError
            If ``init`` has not been called.
        """
        if not self.history:
            raise RuntimeError("expected init to be called before step")
        ancestors, resampled = self._select()
        self._propagate("step", args, kwargs, ancestors, resampled)

    def get_empirical(self) -> dict[Any, dist.Empirical]:
        """Weighted particles of every entry of the state; batch shape ``(G,)`` if there are several groups."""
        if self.num_groups == 1:
            return super().get_empirical()
        shape = self.log_weights.shape
        return {
            key: dist.Empirical(value.reshape(*shape, *value.shape[1:]), self.log_weights)
            for key, value in self.state.items()
        }

    def retire(self, leaving: Tensor) -> None:
        """Take groups, shape (G,) bool, out of the batch; their record stays as it is."""
        staying = host.positions(~leaving)
        self._log_evidence_before = self._log_evidence_before[staying]
        self.state.keep(staying)

    def _start(self) -> None:
        self.state = ParticleState(self.num_groups, self.group_size)
        self.history: list[StepRecord] = []
        self.failures: dict[int, AllWeightsZeroError] = {}
        self._log_evidence_before = torch.zeros(self.num_groups, dtype=torch.float64)

    def choose_ancestors(self) -> tuple[Tensor, Tensor]:
        """Say which particles go on; the place for other rules than resampling by effective sample size.

        The weights of groups that are resampled start again from zero, and their mean goes into the evidence.

        Returns
        -------
        ancestors : Tensor, shape (G, N)
            The particle that each one continues, as a position within its group.
        resampled : Tensor, shape (G,), bool
            Which groups are resampled; the others keep their particles, whatever ``ancestors`` says.
        """
        resampled = too_unequal(self.log_weights, self.ess_threshold)
        if not host.is_true(resampled.any()):
            return torch.zeros_like(self.log_weights, dtype=torch.long), resampled
        return self.resampling(normalize(self.log_weights)), resampled

    def carried_log_weights(self, ancestors: Tensor) -> Tensor:
        """Log-weights with which the particles of resampled groups go on; the place for other laws of resampling.

        Whoever draws ancestors with probabilities V instead of the weights W carries ``log W - log V`` of each ancestor,
        and the particles stay properly weighted. Called before the particles move.

        Parameters
        ----------
        ancestors : Tensor, shape (G, N)

        Returns
        -------
        Tensor, shape (G, N)
        """
        return torch.zeros_like(self.log_weights)

    def reweigh(self, log_weights: Tensor, log_evidence_before: Tensor) -> None:
        """Replace the weights, for algorithms that know them from elsewhere.

        Parameters
        ----------
        log_weights : Tensor, shape (G, N)
        log_evidence_before : Tensor, shape (G,)
            The log-evidence is this and the logarithm of the mean weight.
        """
        self.state.log_weights = log_weights.to(self.log_weights)
        self._log_evidence_before = log_evidence_before.to(self._log_evidence_before)

    def _select(self) -> tuple[Tensor, Tensor]:
        drawn, resampled = self.choose_ancestors()
        log_weights = self.log_weights
        identity = torch.arange(self.group_size, device=log_weights.device).expand_as(log_weights)
        if not host.is_true(resampled.any()):
            return identity, resampled
        ancestors = torch.where(resampled[:, None], drawn, identity)
        self._log_evidence_before = self._log_evidence_before + torch.where(
            resampled, log_mean_exp(log_weights), torch.zeros_like(self._log_evidence_before)
        )
        carried = self.carried_log_weights(ancestors)
        self.state.log_weights = torch.where(resampled[:, None], carried, log_weights)
        self.state.resample(ancestors)
        return ancestors, resampled

    def _propagate(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], ancestors: Tensor, resampled: Tensor
    ) -> None:
        state: ParticleState = self.state
        absorbed = state.ended()
        self.particle_plate = pyro.plate("particles", state.num_slots, dim=-1 - self.max_plate_nesting)
        run: Callable[..., Any] = getattr(self.model, method)
        guide_trace = None
        with torch.no_grad(), poutine.block(), self.particle_plate:
            if self.guide is not None:
                with state.locked():
                    guide_trace = poutine.trace(getattr(self.guide, method)).get_trace(state, *args, **kwargs)
                run = poutine.replay(run, guide_trace)
            model_trace = poutine.trace(run).get_trace(state, *args, **kwargs)
            changes = increments(model_trace, guide_trace, state.num_slots, absorbed)
        before = self._reweight(changes)
        device = self.log_weights.device
        shape = self.log_weights.shape
        self.history.append(
            StepRecord(
                t=len(self.history),
                groups=self.groups,
                ancestors=ancestors.to(device),
                resampled=resampled.to(device),
                log_weights=self.log_weights,
                ess=ess(self.log_weights),
                log_evidence=self.log_evidence,
                sites=recorded(model_trace, state.num_slots),
                finished=state["finished"].view(shape) if "finished" in state else None,
                truncated=state["truncated"].view(shape) if "truncated" in state else None,
            )
        )
        self._retire_the_dead(before, changes)

    def _reweight(self, changes: list[tuple[str, Tensor]]) -> Tensor:
        """Add the increments of the sites to the log-weights; return those of before, shape (G, N)."""
        device = self.log_weights.device
        if changes:
            device = changes[0][1].device
        elif self.state:
            device = next(iter(self.state.values())).device
        self._log_evidence_before = self._log_evidence_before.to(device)
        log_weights = before = self.log_weights.to(device)
        for _, increment in changes:
            log_weights = log_weights + increment.view_as(before)
        self.state.log_weights = log_weights
        bad = (torch.isnan(log_weights) | (log_weights == math.inf)).flatten()
        if host.is_true(bad.any()):
            particle = host.as_list(host.positions(bad))[0]
            site, value = first_bad_site(changes, particle)
            raise ScoreError(f"log-probability of site '{site}'", value, len(self.history), particle)
        return before

    def _retire_the_dead(self, before: Tensor, changes: list[tuple[str, Tensor]]) -> None:
        """Let groups without a possible particle leave; the others go on."""
        dead = (self.log_weights == -math.inf).all(-1)
        if not host.is_true(dead.any()):
            return
        for position in host.as_list(host.positions(dead)):
            site = killing_site(before[position], [(name, one.view_as(before)[position]) for name, one in changes])
            group = self.groups[position]
            self.failures[group] = AllWeightsZeroError(len(self.history) - 1, group, site)
        if host.is_true(dead.all()) and len(self.failures) == self.num_groups:
            raise next(iter(self.failures.values()))
        self.retire(dead)
