r"""Particle filtering of a language model: from problems to posteriors over answers.

:class:`ParticleFilter` drives :class:`~ppl_scaling.inference.smc_filter.SMCFilter` over a language-model state space until
every particle has ended, and turns the record into a :class:`~ppl_scaling.inference.results.ParticleFilterResult`.

Target: the model's own, :math:`p(x_{1:T} \mid c, y_{1:T} = 1)`; see the likelihoods for what that is over whole answers.

References
----------
Puri et al. (2025), Rollout Roulette, arXiv 2502.01618, algorithm 1 (there with other weights, resampling every step and
without the evidence).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ppl_scaling.arguments import check_integer
from ppl_scaling.errors import PPLScalingError
from ppl_scaling.inference.answers import answer_posterior
from ppl_scaling.inference.group_view import read_group
from ppl_scaling.inference.method import Method, OnStep, Progress, drive
from ppl_scaling.inference.particle_summary import normalized
from ppl_scaling.inference.resampling import ResamplingScheme, systematic
from ppl_scaling.inference.results import ParticleFilterResult, Result, choose_answer
from ppl_scaling.inference.smc_filter import SMCFilter
from ppl_scaling.interfaces import AnswerFormat
from ppl_scaling.models.likelihoods import Likelihood
from ppl_scaling.models.state_space import name_of

__all__ = ["ParticleFilter", "Progress"]


class ParticleFilter(Method):
    r"""Sequential Monte Carlo for a language-model state space.

    Parameters
    ----------
    model : LanguageModelStateSpace
        Or any program that keeps ``finished`` and ``truncated`` in its state, the sessions under
        ``state.sessions["particles"]``, and has the attribute ``max_steps``. If it has ``likelihood`` or
        ``configuration``, the one gives the default threshold and the other goes into the result.
    proposal : object, optional
        What particles are drawn from; default the model itself.
    num_particles : int, default 16
    ess_threshold : float, optional
        Resample below this fraction of ``num_particles``; default: what the likelihood recommends.
    resampling : callable, default ``systematic``
    choice : {"mode", "best_score", "sample"}
        How the result settles on one answer.
    answer_format : AnswerFormat, optional
        Default: ``\boxed{}`` answers compared by math-verify.

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
    >>> ParticleFilter(model, num_particles=100).run("?", seed=0).log_evidence < 0
    True
    """

    method: ClassVar[str] = "particle filter"
    draws_by_weight: ClassVar[bool] = True
    """Whether ancestors are drawn with the probabilities that the weights say."""

    def __init__(
        self,
        model: Any,
        proposal: Any | None = None,
        *,
        num_particles: int = 16,
        ess_threshold: float | None = None,
        resampling: ResamplingScheme = systematic,
        choice: str = "mode",
        answer_format: AnswerFormat | None = None,
    ) -> None:
        super().__init__(model, choice=choice, answer_format=answer_format)
        self.proposal = proposal
        self.num_particles = check_integer("num_particles", num_particles)
        likelihood: Likelihood | None = getattr(model, "likelihood", None)
        recommended = Likelihood.ess_threshold if likelihood is None else likelihood.ess_threshold
        self.ess_threshold = recommended if ess_threshold is None else ess_threshold
        self.resampling = resampling
        self._filter(1)  # bad settings are reported here, not at the first run

    @property
    def configuration(self) -> dict[str, Any]:
        """Settings of model and method, for the record of a result."""
        return {
            **super().configuration,
            "proposal": name_of(self.proposal),
            "num_particles": self.num_particles,
            "ess_threshold": self.ess_threshold,
            "resampling": getattr(self.resampling, "__name__", repr(self.resampling)),
        }

    def _infer(self, problems: Sequence[str], seed: int, on_step: OnStep | None) -> list[Result | PPLScalingError]:
        smc = self._filter(len(problems))
        drive(smc, problems, self.model.max_steps, on_step)
        return [
            smc.failures[group] if group in smc.failures else self._result(smc, group, problem, seed)
            for group, problem in enumerate(problems)
        ]

    def _filter(self, num_groups: int) -> SMCFilter:
        return SMCFilter(
            self.model,
            self.proposal,
            self.num_particles,
            num_groups=num_groups,
            ess_threshold=self.ess_threshold,
            resampling=self.resampling,
        )

    def _result(self, smc: SMCFilter, group: int, problem: str, seed: int) -> ParticleFilterResult:
        view, costs = read_group(smc, group)
        log_weights = view.last("log_weights")
        weights = normalized(log_weights)
        trajectories = view.trajectories(weights, self.answer_format)
        answers = answer_posterior([one.answer for one in trajectories], weights, view.genealogy, self.answer_format)
        log_weights_by_step = view.series("log_weights")
        error = view.genealogy.log_evidence_standard_error(weights, log_weights_by_step if self.draws_by_weight else None)
        return ParticleFilterResult(
            problem=problem,
            method=self.method,
            answer=choose_answer(trajectories, answers, self.choice, seed) if answers else None,
            answers=answers,
            no_answer_probability=sum(one.weight for one in trajectories if one.answer is None),
            log_evidence=float(view.last("log_evidence")),
            log_evidence_standard_error=error,
            log_weights=log_weights,
            weights=weights,
            ess=view.series("ess"),
            ancestors=view.genealogy.ancestors,
            resampled=view.genealogy.resampled,
            trajectories=trajectories,
            scores=np.array([one.score for one in trajectories]),
            finished=view.last("finished"),
            truncated=view.last("truncated"),
            latents=view.latents(),
            num_particles=self.num_particles,
            num_steps=len(view.records) - 1,
            **vars(costs),
            seconds=0.0,
            seed=seed,
            configuration=self.configuration,
            log_weights_by_step=log_weights_by_step,
            log_evidence_by_step=view.series("log_evidence"),
            texts_by_step=tuple(tuple(view.texts(t)) for t in range(1, len(view.records))),
        )
