r"""Annealed (tempered) sequential Monte Carlo over whole answers.

Target
------
The model's own, :math:`p(x_{1:T} \mid c, y_{1:T} = 1)`, reached through the ladder
:math:`\pi_\lambda \propto q\,(p L / q)^\lambda`, :math:`0 = \lambda_0 < \dots < \lambda_K = 1`, where :math:`q` is what the
answers are drawn from, :math:`p` by default. Particles are answers written to their end; at each rung they are weighed by
:math:`(p L / q)^{\lambda_k - \lambda_{k-1}}`, resampled if need be, and moved by cut-and-regrow kernels that leave
:math:`\pi_{\lambda_k}` invariant (:mod:`ppl_scaling.inference.moves`).

With a fixed ladder ``exp(log_evidence)`` is unbiased. An adaptive ladder looks at the particles that it then weighs, which
biases the evidence, and answers beyond the usual self-normalised bias, by a term of order :math:`1/N`.

References
----------
Neal (2001), Annealed importance sampling, Statistics and Computing 11; Del Moral, Doucet and Jasra (2006), JRSS B 68, and
(2012), An adaptive sequential Monte Carlo method for approximate Bayesian computation, Statistics and Computing 22 (the
ladder); Beskos, Jasra, Kantas and Thiery (2016), arXiv 1306.6462 (the adaptive ladder's convergence).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from ppl_scaling.arguments import check_integer
from ppl_scaling.errors import AllWeightsZeroError, PPLScalingError
from ppl_scaling.inference.genealogy import Genealogy
from ppl_scaling.inference.group_view import Costs
from ppl_scaling.inference.method import Method, OnStep
from ppl_scaling.inference.moves import Population, cut_and_regrow, write
from ppl_scaling.inference.particle_summary import settled, summary
from ppl_scaling.inference.resampling import ResamplingScheme, systematic
from ppl_scaling.inference.results import ParticleFilterResult, Result, finite
from ppl_scaling.inference.smc_filter import SMCFilter
from ppl_scaling.interfaces import AnswerFormat
from ppl_scaling.log_weights import ess, log_mean_exp, normalize
from ppl_scaling.models.state_space import name_of

__all__ = ["AnnealedResult", "AnnealedSMC", "next_power"]


@dataclass(frozen=True, eq=False, repr=False)
class AnnealedResult(ParticleFilterResult):
    """Posterior of annealed sequential Monte Carlo; what is per step in a particle filter is per rung here.

    Attributes
    ----------
    powers : float array, shape (K,)
        The ladder, up to 1.
    acceptance : float array, shape (K,)
        Share of moves accepted at each rung; NaN without moves.
    """

    powers: NDArray[np.float64]
    acceptance: NDArray[np.float64]

    def _details(self) -> dict[str, Any]:
        rates = [finite(rate) for rate in self.acceptance.tolist()]
        return {**super()._details(), "powers": self.powers.tolist(), "acceptance": rates}


class AnnealedSMC(Method):
    r"""Whole answers, from the language model to the posterior in steps of likelihood power.

    It never sees an answer before its end, so it is for likelihoods that only the whole answer makes sense of, and it
    mends early mistakes, which a particle filter can't. See the module for target, bias and references.

    Cost: the tokens of ``num_particles`` answers, and for each move of each rung about half as many drawn and as many
    forwarded.

    Parameters
    ----------
    model : LanguageModelStateSpace
        Its only latent sites are the token blocks.
    proposal : SamplingProposal, optional
        What answers are drawn from; default the model itself.
    num_particles : int, default 16
    ess_target : float, default 0.5
        The next rung is where the effective sample size falls to this fraction; with a fixed ladder, particles are
        resampled below it.
    num_moves : int, default 1
        At every rung.
    powers : sequence of float, optional
        A fixed ladder, increasing, in (0, 1], ending in 1. They multiply the ``beta`` of the likelihood. Default: adaptive.
    resampling : callable, default ``systematic``
    choice, answer_format
        As in :class:`~ppl_scaling.inference.method.Method`.

    Raises
    ------
    ValueError, TypeError
        If a setting is out of its range, or the model has other latents.
    """

    method: ClassVar[str] = "annealed SMC"

    def __init__(
        self,
        model: Any,
        proposal: Any | None = None,
        *,
        num_particles: int = 16,
        ess_target: float = 0.5,
        num_moves: int = 1,
        powers: Sequence[float] | None = None,
        resampling: ResamplingScheme = systematic,
        choice: str = "mode",
        answer_format: AnswerFormat | None = None,
    ) -> None:
        super().__init__(model, choice=choice, answer_format=answer_format)
        SMCFilter(model, proposal, num_particles, resampling=resampling)  # reports what is wrong with these
        if not 0 < ess_target < 1:
            raise ValueError(f"expected ess_target to be in (0, 1), got {ess_target}")
        if powers is not None:
            powers = tuple(float(power) for power in powers)
            if not powers or powers[-1] != 1 or not all(a < b for a, b in zip((0.0, *powers), powers, strict=False)):
                raise ValueError(f"expected powers that increase from above 0 to 1, got {powers}")
        self.proposal = proposal
        self.num_particles = check_integer("num_particles", num_particles)
        self.ess_target = ess_target
        self.num_moves = check_integer("num_moves", num_moves, 0)
        self.powers = powers
        self.resampling = resampling

    @property
    def configuration(self) -> dict[str, Any]:
        """Settings of model and method, for the record of a result."""
        return {
            **super().configuration,
            "proposal": name_of(self.proposal),
            "num_particles": self.num_particles,
            "ess_target": self.ess_target,
            "num_moves": self.num_moves,
            "powers": None if self.powers is None else list(self.powers),
            "resampling": getattr(self.resampling, "__name__", repr(self.resampling)),
        }

    def _infer(self, problems: Sequence[str], seed: int, on_step: OnStep | None) -> list[Result | PPLScalingError]:
        written, costs = write(self.model, self.proposal, problems, self.num_particles, on_step=on_step)
        ladders = [
            _Ladder(group, population, cost)
            for group, (population, cost) in enumerate(zip(written, costs, strict=True))
            if isinstance(population, Population)
        ]
        climbing = ladders
        while climbing:
            for ladder in climbing:
                self._climb(ladder)
            climbing = [ladder for ladder in climbing if ladder.failure is None]
            if climbing and self.num_moves:
                self._move(climbing)
            climbing = [ladder for ladder in climbing if ladder.power < 1]
        outcomes: dict[int, Result | PPLScalingError] = {
            group: one for group, one in enumerate(written) if isinstance(one, PPLScalingError)
        }
        for ladder in ladders:
            outcomes[ladder.group] = ladder.failure or self._result(ladder, seed)
        return [outcomes[group] for group in range(len(problems))]

    def _climb(self, ladder: _Ladder) -> None:
        """Go up one rung: choose it, weigh, and resample if need be."""
        if self.powers is None:
            power = next_power(ladder.log_weights, ladder.population.log_weights, ladder.power, self.ess_target)
        else:
            power = self.powers[len(ladder.powers)]
        log_weights = _tempered(ladder.log_weights, ladder.population.log_weights, power - ladder.power)
        weights = torch.from_numpy(log_weights)[None]
        size = float(ess(weights))
        if size == 0:
            ladder.failure = AllWeightsZeroError(len(ladder.powers) + 1, ladder.group, "y")
            return
        ladder.log_weights_by_rung.append(log_weights)
        ladder.log_evidences.append(ladder.log_evidence + float(log_mean_exp(weights)))
        # A rung that was chosen for its effective sample size is resampled, on whichever side of the target it came out.
        resamples = size < self.ess_target * self.num_particles or (self.powers is None and power < 1)
        ancestors = np.arange(self.num_particles)
        if resamples:
            ladder.log_evidence += float(log_mean_exp(weights))
            ancestors = self.resampling(normalize(weights))[0].numpy()
            log_weights = np.zeros(self.num_particles)
        ladder.population = ladder.population[ancestors]
        ladder.log_weights = log_weights
        ladder.power = power
        ladder.powers.append(power)
        ladder.ess.append(size)
        ladder.resampled.append(resamples)
        ladder.ancestors.append(ancestors)

    def _move(self, ladders: list[_Ladder]) -> None:
        shares = []
        for _ in range(self.num_moves):
            populations, accepted, costs = cut_and_regrow(
                self.model, self.proposal, [one.population for one in ladders], [one.power for one in ladders]
            )
            for ladder, population, cost in zip(ladders, populations, costs, strict=True):
                ladder.population = population
                ladder.costs += cost
            shares.append([one.mean() for one in accepted])
        for ladder, share in zip(ladders, np.mean(shares, axis=0), strict=True):
            ladder.acceptance.append(float(share))

    def _result(self, ladder: _Ladder, seed: int) -> AnnealedResult:
        genealogy = Genealogy(np.stack(ladder.ancestors), np.array(ladder.resampled), self.num_particles)
        log_weights = ladder.log_weights
        trajectories = settled(ladder.population.trajectories, log_weights, self.answer_format)
        return AnnealedResult(
            **summary(self, ladder.population.problem, trajectories, genealogy, log_weights, ladder.costs, seed),
            log_evidence=ladder.log_evidence + float(log_mean_exp(torch.from_numpy(log_weights))),
            ess=np.array(ladder.ess),
            powers=np.array(ladder.powers),
            acceptance=np.array(ladder.acceptance or [math.nan] * len(ladder.powers)),
            log_weights_by_step=np.stack(ladder.log_weights_by_rung),
            log_evidence_by_step=np.array(ladder.log_evidences),
        )


@dataclass
class _Ladder:
    """One group on its way up."""

    group: int
    population: Population
    costs: Costs
    power: float = 0.0
    log_evidence: float = 0.0
    failure: AllWeightsZeroError | None = None
    log_weights: NDArray[np.float64] = field(init=False)
    powers: list[float] = field(default_factory=list)
    ess: list[float] = field(default_factory=list)
    resampled: list[bool] = field(default_factory=list)
    ancestors: list[NDArray[np.int64]] = field(default_factory=list)
    log_weights_by_rung: list[NDArray[np.float64]] = field(default_factory=list)
    log_evidences: list[float] = field(default_factory=list)
    acceptance: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.log_weights = np.zeros(len(self.population.trajectories))


def next_power(
    log_weights: NDArray[np.float64], full_log_weights: NDArray[np.float64], power: float, ess_target: float
) -> float:
    """Find by bisection the power up to which the effective sample size falls to a fraction of what it is now.

    Particles that are impossible at every power above zero do not count in what it is now.

    Parameters
    ----------
    log_weights : float array, shape (N,)
        At the present ``power``.
    full_log_weights : float array, shape (N,)
        What a power of one adds to them.
    power, ess_target : float

    Returns
    -------
    float
        1 if the effective sample size does not fall so far.
    """

    def size(step: float) -> float:
        return float(ess(torch.from_numpy(_tempered(log_weights, full_log_weights, step))))

    goal = ess_target * size(1e-12)
    low, high = 0.0, 1 - power
    if size(high) >= goal:
        return 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if size(middle) >= goal else (low, middle)
    # At least a little: a ladder that stands still has no end.
    return min(1.0, power + max(low, 1e-9))


def _tempered(log_weights: NDArray[np.float64], full_log_weights: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """Log-weights after a step of power; minus infinity stays what it is."""
    return np.where(np.isneginf(log_weights), -math.inf, log_weights + step * full_log_weights)
