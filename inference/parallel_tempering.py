r"""Parallel tempering of whole answers: particle Gibbs on a ladder of likelihood powers, with swaps between its levels.

Target of the first level: the model's own, :math:`p(x_{1:T} \mid c, y_{1:T} = 1)`, if its power is 1. Level :math:`k` has

.. math:: \pi_k(x) \propto p_\mathrm{LM}(x)\, L(x)^{b_k}

with :math:`L` the likelihood of the whole answer, its own power included, and :math:`b_1 > b_2 > \dots \ge 0`. Levels run as
groups of one batch. After each iteration neighbouring levels propose to swap the trajectories they stand at, and do so with
probability

.. math::

    A = \min\Bigl(1, \frac{\pi_k(x^{k+1})\, \pi_{k+1}(x^k)}{\pi_k(x^k)\, \pi_{k+1}(x^{k+1})}\Bigr)
      = \min\bigl(1, (L(x^{k+1}) / L(x^k))^{b_k - b_{k+1}}\bigr),

which leaves the product of all :math:`\pi_k` invariant. Pairs that begin at an even level take turns with the others.

References
----------
Puri et al. (2025), arXiv 2502.01618, algorithm 3 and equation 4; Geyer (1991), Markov chain Monte Carlo maximum likelihood;
Syed et al. (2022), Non-reversible parallel tempering, JRSS B 84 (why even and odd pairs take turns).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from ppl_scaling.errors import PPLScalingError
from ppl_scaling.inference.chain_results import ParallelTemperingResult
from ppl_scaling.inference.conditional_smc import Reference
from ppl_scaling.inference.method import OnStep
from ppl_scaling.inference.particle_gibbs import ParticleGibbs
from ppl_scaling.inference.results import Result
from ppl_scaling.inference.sweeps import Sweep
from ppl_scaling.models.likelihoods import Likelihood

__all__ = ["ParallelTempering", "swap_log_probability"]


class ParallelTempering(ParticleGibbs):
    r"""Particle Gibbs on several powers of the likelihood at once.

    Where good answers of different kinds lie behind bad steps, a chain with few particles stays with the kind it found. The
    lower levels move freely, and swaps carry what they find to the target. It costs ``len(powers)`` times the tokens of
    :class:`~ppl_scaling.inference.particle_gibbs.ParticleGibbs`.

    Parameters
    ----------
    model : LanguageModelStateSpace
    proposal : object with a method ``law``, optional
    powers : sequence of float, default (1.0, 0.6, 0.3, 0.0)
        Strictly decreasing, not negative, at least two; they multiply the likelihood's own ``beta``. The first is the
        target's, so 1.0 unless another target is wanted.
    **settings
        ``num_particles`` (in each level), ``num_iterations``, ``ancestor_sampling``, ``lookahead``, ``ess_threshold``,
        ``choice``, ``answer_format`` and ``burn_in`` as in particle Gibbs.

    Raises
    ------
    ValueError, TypeError
        If a setting is out of its range, or the model has no likelihood.
    """

    method: ClassVar[str] = "parallel tempering"

    def __init__(
        self,
        model: Any,
        proposal: Any | None = None,
        *,
        powers: Sequence[float] = (1.0, 0.6, 0.3, 0.0),
        **settings: Any,
    ) -> None:
        super().__init__(model, proposal, **settings)
        likelihood = getattr(model, "likelihood", None)
        if not isinstance(likelihood, Likelihood):
            raise TypeError(f"expected a model with a Likelihood as its likelihood, got {type(likelihood).__name__}")
        self.powers = tuple(float(power) for power in powers)
        steps = [math.isfinite(one) and one > other for one, other in zip(self.powers, self.powers[1:], strict=False)]
        if not steps or not all(steps) or self.powers[-1] < 0:
            raise ValueError(
                f"expected at least two powers of the likelihood, finite, strictly decreasing and >= 0, got {self.powers}"
            )
        self._absolute = [power * likelihood.beta for power in self.powers]

    @property
    def configuration(self) -> dict[str, Any]:
        """Settings of model and method, for the record of a result."""
        return {**super().configuration, "powers": list(self.powers)}

    def sweep_levels(
        self, problems: Sequence[str], ladders: Sequence[_Ladder], on_step: OnStep | None = None
    ) -> list[list[Sweep] | PPLScalingError]:
        """Run the kernel once on every level of each ladder, under the generators as they stand.

        Returns
        -------
        list of (list of Sweep, or PPLScalingError)
            The sweeps of each ladder's levels. A ladder fails with the first of its levels.
        """
        size = len(self.powers)
        started = ladders[0].references is not None
        references = [one for ladder in ladders for one in ladder.references or ()] if started else None
        prompts = [problem for problem in problems for _ in self.powers]
        outcomes = self.sweep(prompts, references, powers=self._absolute * len(ladders), on_step=on_step)
        found: list[list[Sweep] | PPLScalingError] = []
        for first in range(0, len(outcomes), size):
            levels = outcomes[first : first + size]
            failure = next((one for one in levels if isinstance(one, PPLScalingError)), None)
            found.append([one for one in levels if isinstance(one, Sweep)] if failure is None else failure)
        return found

    def swap(self, ladder: _Ladder, iteration: int) -> None:
        """Let neighbours swap, beginning at level 0 in even iterations and at level 1 in odd ones."""
        references, walkers = list(ladder.references or ()), list(ladder.walkers)
        if any(math.isnan(one.log_likelihood) for one in references):
            raise TypeError(
                "expected a model that keeps its log-likelihood at the sites log_likelihood_t, which swaps are decided by, "
                f"got {type(self.model).__name__} without them"
            )
        for k in range(iteration % 2, len(self.powers) - 1, 2):
            log_probability = swap_log_probability(
                self.powers[k], self.powers[k + 1], references[k].log_likelihood, references[k + 1].log_likelihood
            )
            accepted = math.log(max(float(torch.rand((), dtype=torch.float64)), 1e-300)) < log_probability
            ladder.proposals[k] += 1
            ladder.acceptances[k] += accepted
            ladder.probabilities[k] += math.exp(log_probability)
            if accepted:
                references[k], references[k + 1] = references[k + 1], references[k]
                walkers[k], walkers[k + 1] = walkers[k + 1], walkers[k]
        ladder.references, ladder.walkers = references, walkers
        ladder.history.append(walkers)
        ladder.draws.append(references[0])

    def _infer(self, problems: Sequence[str], seed: int, on_step: OnStep | None) -> list[Result | PPLScalingError]:
        ladders = [_Ladder(len(self.powers)) for _ in problems]
        failures: dict[int, PPLScalingError] = {}
        alive = list(range(len(problems)))
        for iteration in range(self.num_iterations):
            chosen = [ladders[chain] for chain in alive]
            outcomes = self.sweep_levels([problems[chain] for chain in alive], chosen, on_step)
            for chain, outcome in zip(alive, outcomes, strict=True):
                if isinstance(outcome, PPLScalingError):
                    failures[chain] = outcome
                    continue
                ladders[chain].sweeps.append(outcome)
                ladders[chain].references = [one.draw for one in outcome]
                self.swap(ladders[chain], iteration)
            alive = [chain for chain in alive if chain not in failures]
            if not alive:
                break
        return [
            failures[chain] if chain in failures else self._ladder_result(problem, seed, ladder)
            for chain, (problem, ladder) in enumerate(zip(problems, ladders, strict=True))
        ]

    def _ladder_result(self, problem: str, seed: int, ladder: _Ladder) -> ParallelTemperingResult:
        target = [levels[0] for levels in ladder.sweeps]
        costs = [one for levels in ladder.sweeps for one in levels]
        replicas = np.array(ladder.history)
        with np.errstate(invalid="ignore"):
            rates, probabilities = (ladder.acceptances / ladder.proposals, ladder.probabilities / ladder.proposals)
        return ParallelTemperingResult(
            **self._fields(problem, seed, target, costs, ladder.draws),
            powers=self.powers,
            swap_rates=rates,
            swap_probabilities=probabilities,
            replicas=replicas,
            round_trips=count_round_trips(replicas),
        )


@dataclass(eq=False)
class _Ladder:
    """How the levels of one problem stand."""

    num_levels: int
    references: list[Reference] | None = None
    sweeps: list[list[Sweep]] = field(default_factory=list)
    draws: list[Reference] = field(default_factory=list)
    history: list[list[int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.walkers = list(range(self.num_levels))
        self.proposals, self.acceptances, self.probabilities = np.zeros((3, self.num_levels - 1))


def swap_log_probability(power: float, next_power: float, log_likelihood: float, next_log_likelihood: float) -> float:
    """Logarithm of the probability that two levels swap the trajectories they stand at.

    Parameters
    ----------
    power, next_power : float
        Of the levels, the first above the second.
    log_likelihood, next_log_likelihood : float
        Of the trajectory on each. That of the first is finite, as its power is above 0; the other's may be minus infinity.
    """
    return min(0.0, (power - next_power) * (next_log_likelihood - log_likelihood))


def count_round_trips(replicas: NDArray[np.int64]) -> int:
    """How often walkers went from the first level to the last and back; they begin on the level of their number."""
    last = replicas.shape[1] - 1
    trips = 0
    for walker in range(last + 1):
        has_left, has_arrived = walker == 0, False
        for level in np.argmax(replicas == walker, axis=1):
            if level == 0:
                trips += has_arrived
                has_left, has_arrived = True, False
            elif level == last and has_left:
                has_arrived = True
    return trips
