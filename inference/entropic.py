r"""Entropic particle filtering: resample with softened weights while it is early and few particles carry the weight.

Target
------
The model's own, :math:`p(x_{1:T} \mid c, y_{1:T} = 1)`, whatever the softening: particles are drawn with probabilities
:math:`V_i \propto w_i^{1/\tau}` and carry on with the weight :math:`W_i / V_i`, so they stay properly weighted and the
evidence stays unbiased. The published method and its implementations leave that correction out; then the early weights
count with the power :math:`1/\tau` only and the particles represent no fixed distribution. ``corrected=False`` does as
they do, for comparison.

The temperature follows the paper: below the threshold of the effective sample size, and in the early phase of the answer,

.. math::  \tau_t = \max\Bigl(1,\; \frac{N}{\mathrm{ESS}_t} \bigl(1 - t / T\bigr)\Bigr)

with :math:`T` the longest answer in steps; elsewhere it is 1. The variant by entropy, of the authors' library its_hub, is
:math:`\tau_t = 1 / (h_t + (1 - h_t)\, t / T)` with :math:`h_t` the entropy of the weights divided by :math:`\log N`. Unlike
there, particles are resampled only when the effective sample size asks for it. The paper's look-ahead modulation is
:class:`~ppl_scaling.inference.auxiliary.AuxiliaryParticleFilter`.

References
----------
Giannone et al. (2025), Mitigating premature exploitation in particle-based Monte Carlo for inference-time scaling, arXiv
2510.05825. For drawing ancestors with other probabilities than the weights: Liu (2001), Monte Carlo strategies in
scientific computing, section 3.4.4.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ppl_scaling import host
from ppl_scaling.inference.particle_filter import ParticleFilter
from ppl_scaling.inference.results import ParticleFilterResult
from ppl_scaling.inference.smc_filter import SMCFilter
from ppl_scaling.log_weights import ess, normalize, too_unequal

__all__ = ["TEMPERATURE_SCHEDULES", "EntropicFilter", "EntropicParticleFilter", "EntropicResult"]

_HOTTEST = 1e6

TemperatureSchedule = Callable[[Tensor, float], Tensor]


def by_ess(log_weights: Tensor, progress: float) -> Tensor:
    """Temperature of each group from its effective sample size; weights ``(G, N)``, ``progress`` in [0, 1]."""
    return log_weights.shape[-1] / ess(log_weights) * (1 - progress)


def by_entropy(log_weights: Tensor, progress: float) -> Tensor:
    """Temperature of each group from the entropy of its weights."""
    size = log_weights.shape[-1]
    entropy = torch.special.entr(normalize(log_weights)).sum(-1) / math.log(max(size, 2))
    return 1 / (entropy + (1 - entropy) * progress)


TEMPERATURE_SCHEDULES: dict[str, TemperatureSchedule] = {"ess": by_ess, "entropy": by_entropy}
"""The schedules by name."""


class EntropicFilter(SMCFilter):
    """A filter that softens the weights it resamples with; see the module.

    Parameters
    ----------
    *args, **settings
        Of :class:`~ppl_scaling.inference.smc_filter.SMCFilter`.
    max_steps : int
    schedule : callable
    early_phase : float
    corrected : bool

    Attributes
    ----------
    temperatures : list of (tuple of int, Tensor)
        Groups, and the temperature with which each was resampled before a step, 1 where it was not.
    """

    def __init__(
        self,
        *args: Any,
        max_steps: int,
        schedule: TemperatureSchedule,
        early_phase: float,
        corrected: bool,
        **settings: Any,
    ) -> None:
        super().__init__(*args, **settings)
        self.max_steps = max_steps
        self.schedule = schedule
        self.early_phase = early_phase
        self.corrected = corrected

    def _start(self) -> None:
        super()._start()
        self.temperatures: list[tuple[tuple[int, ...], Tensor]] = []

    def choose_ancestors(self) -> tuple[Tensor, Tensor]:
        """Draw ancestors from softened weights where the effective sample size is low."""
        log_weights = self.log_weights
        resampled = too_unequal(log_weights, self.ess_threshold)
        progress = (len(self.history) - 1) / self.max_steps
        temperatures = torch.ones_like(log_weights[:, 0])
        if progress < self.early_phase:
            hotter = self.schedule(log_weights, progress).clamp(1.0, _HOTTEST)
            temperatures = torch.where(resampled, hotter, temperatures)
        self.temperatures.append((self.groups, temperatures))
        if not host.is_true(resampled.any()):
            return torch.zeros_like(log_weights, dtype=torch.long), resampled
        softened = normalize(log_weights / temperatures[:, None])
        self._log_correction = torch.log_softmax(log_weights, -1) - softened.log()
        return self.resampling(softened), resampled

    def carried_log_weights(self, ancestors: Tensor) -> Tensor:
        """Return what drawing with softened weights has left of the weights."""
        if not self.corrected:
            return super().carried_log_weights(ancestors)
        return self._log_correction.gather(1, ancestors)


@dataclass(frozen=True, eq=False, repr=False)
class EntropicResult(ParticleFilterResult):
    """Posterior of an entropic particle filter.

    Attributes
    ----------
    temperatures : float array, shape (T,)
        With which the group was resampled at the beginning of each step; 1 where it was not softened.
    """

    temperatures: NDArray[np.float64]

    def _details(self) -> dict[str, Any]:
        return {**super()._details(), "temperatures": self.temperatures.tolist()}


class EntropicParticleFilter(ParticleFilter):
    """A particle filter that resamples with softened weights early on; see the module for target and references.

    Cost: that of the particle filter; nothing is written or scored beside it.

    Parameters
    ----------
    model, proposal
        As in :class:`~ppl_scaling.inference.particle_filter.ParticleFilter`.
    schedule : {"ess", "entropy"}
        What the temperature follows.
    early_phase : float, default 0.5
        Share of ``max_steps`` in which weights are softened.
    corrected : bool, default True
        Whether particles carry what the softening took from their weights. False is the published method, which is
        **biased**: neither posterior nor evidence are the model's.
    **settings
        Of :class:`~ppl_scaling.inference.particle_filter.ParticleFilter`.

    Raises
    ------
    ValueError, TypeError
        If a setting is out of its range.
    """

    method: ClassVar[str] = "entropic particle filter"
    draws_by_weight: ClassVar[bool] = False

    def __init__(
        self,
        model: Any,
        proposal: Any | None = None,
        *,
        schedule: str = "ess",
        early_phase: float = 0.5,
        corrected: bool = True,
        **settings: Any,
    ) -> None:
        if schedule not in TEMPERATURE_SCHEDULES:
            raise ValueError(f"expected a schedule among {', '.join(TEMPERATURE_SCHEDULES)}, got {schedule!r}")
        if not 0 <= early_phase <= 1:
            raise ValueError(f"expected early_phase to be in [0, 1], got {early_phase}")
        self.schedule = schedule
        self.early_phase = early_phase
        self.corrected = corrected
        super().__init__(model, proposal, **settings)

    @property
    def configuration(self) -> dict[str, Any]:
        """Settings of model and method, for the record of a result."""
        own = {"schedule": self.schedule, "early_phase": self.early_phase, "corrected": self.corrected}
        return {**super().configuration, **own}

    def _filter(self, num_groups: int) -> EntropicFilter:
        return EntropicFilter(
            self.model,
            self.proposal,
            self.num_particles,
            num_groups=num_groups,
            ess_threshold=self.ess_threshold,
            resampling=self.resampling,
            max_steps=self.model.max_steps,
            schedule=TEMPERATURE_SCHEDULES[self.schedule],
            early_phase=self.early_phase,
            corrected=self.corrected,
        )

    def _result(self, smc: SMCFilter, group: int, problem: str, seed: int) -> EntropicResult:
        result = super()._result(smc, group, problem, seed)
        assert isinstance(smc, EntropicFilter)
        chosen = [float(values[groups.index(group)]) for groups, values in smc.temperatures if group in groups]
        return EntropicResult(**vars(result), temperatures=np.array(chosen[: result.num_steps]))
