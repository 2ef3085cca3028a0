r"""Particle Gibbs: a Markov chain over whole answers whose every move is a particle filter.

Target: the model's own, :math:`p(x_{1:T} \mid c, y_{1:T} = 1)`. Each iteration runs conditional SMC given the trajectory
where the chain stands, and draws the next from the weighted particles; that leaves the target invariant for any number of
particles from two on (:mod:`~ppl_scaling.inference.conditional_smc`).

Problems are groups of one batch, and so are chains: a problem that appears several times has as many of them.

References
----------
Andrieu, Doucet and Holenstein (2010), JRSS B 72; Lindsten, Jordan and Schön (2014), arXiv 1401.0604 (ancestor sampling);
Puri et al. (2025), arXiv 2502.01618, algorithm 2 (there the reference has the weight of its whole, here of its prefix).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ppl_scaling.arguments import check_integer
from ppl_scaling.errors import PPLScalingError
from ppl_scaling.inference.chain_results import ParticleGibbsResult, average_answers, pooled, update_rate
from ppl_scaling.inference.conditional_smc import ConditionalSMCFilter, Reference
from ppl_scaling.inference.group_view import Costs
from ppl_scaling.inference.method import Method, OnStep, drive
from ppl_scaling.inference.results import Result, choose_answer
from ppl_scaling.inference.smc_filter import SMCFilter
from ppl_scaling.inference.sweeps import Sweep, read_sweeps
from ppl_scaling.interfaces import AnswerFormat
from ppl_scaling.models.likelihoods import Likelihood
from ppl_scaling.models.state_space import name_of
from ppl_scaling.models.tempering import Tempered

__all__ = ["ParticleGibbs"]


class ParticleGibbs(Method):
    r"""Conditional SMC, iterated.

    The first iteration is a plain particle filter; every later one is given the trajectory drawn from the one before. An
    iteration costs what a particle filter with ``num_particles - 1`` free particles costs, and the passes of the reference
    through both models, whose tokens are not drawn again. Ancestor sampling adds, at every resampling, the rest of the
    reference behind every particle: up to ``num_particles`` times its length for each of its steps.

    Parameters
    ----------
    model : LanguageModelStateSpace
    proposal : object with a method ``law``, optional
        Such as :class:`~ppl_scaling.models.proposals.SamplingProposal`; default: the model itself.
    num_particles : int, default 8
        At least 2: the reference is one of them.
    num_iterations : int, default 4
        The first, plain one included.
    ancestor_sampling : bool, default False
        Draw the reference's past anew wherever a group is resampled. Without it the early steps of the chain hardly ever
        change if there are few particles (``update_rate`` tells). It needs a model whose steps are those of
        ``LanguageModelStateSpace``.
    lookahead : int, optional
        Steps of the reference that ancestor sampling reads; cheaper than all, the default, and then the target is left
        invariant only approximately.
    ess_threshold : float, optional
        Default: what the likelihood recommends.
    choice : {"mode", "best_score", "sample"}
        How the result settles on one answer.
    answer_format : AnswerFormat, optional
        Default: ``\boxed{}`` answers compared by math-verify.
    burn_in : int, default 0
        Iterations that are left out of the averages.

    Raises
    ------
    ValueError, TypeError
        If a setting is out of its range.

    Examples
    --------
    >>> from ppl_scaling.backends.finite import FiniteLanguageModel, FunctionRewardModel
    >>> from ppl_scaling.models import LanguageModelStateSpace
    >>> lm = FiniteLanguageModel({"": {"a": 0.6, "b": 0.3, "$": 0.1}})
    >>> prm = FunctionRewardModel(lambda prompt, text: 0.9 if text.endswith("b") else 0.2)
    >>> model = LanguageModelStateSpace(lm, prm, max_steps=4)
    >>> result = ParticleGibbs(model, num_particles=4, num_iterations=10, ancestor_sampling=True).run("?", seed=0)
    >>> len(result.draws), result.update_rate.shape[0] <= 4
    (10, True)
    """

    method: ClassVar[str] = "particle Gibbs"

    def __init__(
        self,
        model: Any,
        proposal: Any | None = None,
        *,
        num_particles: int = 8,
        num_iterations: int = 4,
        ancestor_sampling: bool = False,
        lookahead: int | None = None,
        ess_threshold: float | None = None,
        choice: str = "mode",
        answer_format: AnswerFormat | None = None,
        burn_in: int = 0,
    ) -> None:
        super().__init__(model, choice=choice, answer_format=answer_format)
        num_iterations, burn_in = check_integer("num_iterations", num_iterations), check_integer("burn_in", burn_in, 0)
        if not burn_in < num_iterations:
            raise ValueError(f"expected burn_in to be from 0 to num_iterations - 1 = {num_iterations - 1}, got {burn_in}")
        if lookahead is not None and not ancestor_sampling:
            raise ValueError(f"expected lookahead only together with ancestor_sampling, got lookahead={lookahead} without")
        self.proposal = proposal
        self.num_particles = check_integer("num_particles", num_particles, 2)
        self.num_iterations = num_iterations
        self.ancestor_sampling = ancestor_sampling
        self.lookahead = None if lookahead is None else check_integer("lookahead", lookahead)
        likelihood: Likelihood | None = getattr(model, "likelihood", None)
        recommended = Likelihood.ess_threshold if likelihood is None else likelihood.ess_threshold
        self.ess_threshold = recommended if ess_threshold is None else ess_threshold
        self.burn_in = burn_in
        self._filter(1, [Reference(())], None)  # bad settings are reported here, not at the first run

    @property
    def configuration(self) -> dict[str, Any]:
        """Settings of model and method, for the record of a result."""
        return {
            **super().configuration,
            "proposal": name_of(self.proposal),
            "num_particles": self.num_particles,
            "num_iterations": self.num_iterations,
            "ancestor_sampling": self.ancestor_sampling,
            "lookahead": self.lookahead,
            "ess_threshold": self.ess_threshold,
            "burn_in": self.burn_in,
        }

    def sweep(
        self,
        problems: Sequence[str],
        references: Sequence[Reference] | None = None,
        *,
        powers: Sequence[float] | None = None,
        on_step: OnStep | None = None,
    ) -> list[Sweep | PPLScalingError]:
        """Run the kernel once on each group, under the generators as they stand.

        Parameters
        ----------
        problems : sequence of str
        references : sequence of Reference, optional
            Where the chains stand; without them the sweep is a plain particle filter.
        powers : sequence of float, optional
            Power of the likelihood in each group, in place of its own.
        on_step : callable, optional
        """
        smc = self._filter(len(problems), references, powers)
        drive(smc, problems, self.model.max_steps, on_step)
        return read_sweeps(smc, self.model, self.answer_format)

    def _filter(self, num_groups: int, references: Sequence[Reference] | None, powers: Sequence[float] | None) -> SMCFilter:
        if references is not None:
            return ConditionalSMCFilter(
                self.model,
                references,
                self.proposal,
                self.num_particles,
                ess_threshold=self.ess_threshold,
                ancestor_sampling=self.ancestor_sampling,
                lookahead=self.lookahead,
                powers=powers,
            )
        program = self.model if powers is None else Tempered(self.model, powers)
        return SMCFilter(program, self.proposal, self.num_particles, num_groups=num_groups, ess_threshold=self.ess_threshold)

    def _infer(self, problems: Sequence[str], seed: int, on_step: OnStep | None) -> list[Result | PPLScalingError]:
        sweeps: list[list[Sweep]] = [[] for _ in problems]
        failures: dict[int, PPLScalingError] = {}
        alive = list(range(len(problems)))
        for _ in range(self.num_iterations):
            references = [sweeps[chain][-1].draw for chain in alive] if sweeps[alive[0]] else None
            outcomes = self.sweep([problems[chain] for chain in alive], references, on_step=on_step)
            for chain, outcome in zip(alive, outcomes, strict=True):
                if isinstance(outcome, PPLScalingError):
                    failures[chain] = outcome
                else:
                    sweeps[chain].append(outcome)
            alive = [chain for chain in alive if chain not in failures]
            if not alive:
                break
        return [
            failures[chain] if chain in failures else ParticleGibbsResult(**self._fields(problem, seed, own, own))
            for chain, (problem, own) in enumerate(zip(problems, sweeps, strict=True))
        ]

    def _fields(
        self,
        problem: str,
        seed: int,
        sweeps: Sequence[Sweep],
        costs: Sequence[Sweep],
        draws: Sequence[Reference] | None = None,
    ) -> dict[str, Any]:
        """Fields of a result from the sweeps of the target, with the tokens of all sweeps in ``costs``."""
        draws = [one.draw for one in sweeps] if draws is None else draws
        drawn = tuple(one.trajectory for one in draws if one.trajectory is not None)
        trajectories = pooled(sweeps[self.burn_in :])
        answers, answer_weights = average_answers(sweeps, self.burn_in, self.answer_format)
        log_evidences = np.array([one.log_evidence for one in sweeps])
        return {
            "problem": problem,
            "method": self.method,
            "answer": choose_answer(trajectories, answers, self.choice, seed) if answers else None,
            "answers": answers,
            "no_answer_probability": sum(one.weight for one in trajectories if one.answer is None),
            "trajectories": trajectories,
            **vars(sum((one.costs for one in costs), Costs())),
            "seconds": 0.0,
            "seed": seed,
            "configuration": self.configuration,
            "draws": drawn,
            "log_likelihoods": np.array([one.log_likelihood for one in draws]),
            "answer_weights": answer_weights,
            "log_evidence": float(log_evidences[0]),
            "log_evidences": log_evidences,
            "update_rate": update_rate(drawn),
            "num_particles": self.num_particles,
            "num_iterations": self.num_iterations,
            "burn_in": self.burn_in,
        }
