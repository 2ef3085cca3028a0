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

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ppl_scaling import host
from ppl_scaling.errors import PPLScalingError
from ppl_scaling.inference.answers import answer_posterior
from ppl_scaling.inference.group_view import GroupView
from ppl_scaling.inference.resampling import ResamplingScheme, systematic
from ppl_scaling.inference.results import CHOICES, ParticleFilterResult, choose_answer
from ppl_scaling.inference.smc_filter import SMCFilter
from ppl_scaling.interfaces import AnswerFormat
from ppl_scaling.models.likelihoods import Likelihood
from ppl_scaling.models.sessions import ParticleSessions
from ppl_scaling.seeding import fresh_seed, seeded
from ppl_scaling.tasks.answers import MathAnswers

__all__ = ["ParticleFilter", "Progress"]


@dataclass(frozen=True)
class Progress:
    """How a run stands after a step; what ``on_step`` is called with.

    Attributes
    ----------
    t : int
    num_active : int
        Particles that go on, in all groups.
    ess : tuple of float
        Effective sample size of each group in the batch.
    resampled : tuple of bool
        Whether each of them was resampled at the beginning of the step.
    """

    t: int
    num_active: int
    ess: tuple[float, ...]
    resampled: tuple[bool, ...]


class ParticleFilter:
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
    >>> from ppl_scaling.backends.finite import FiniteLanguageModel, FiniteRewardModel
    >>> from ppl_scaling.models import LanguageModelStateSpace
    >>> lm = FiniteLanguageModel({"": {"a": 0.6, "b": 0.3, "$": 0.1}})
    >>> prm = FiniteRewardModel(lambda prompt, text: 0.9 if text.endswith("b") else 0.2)
    >>> model = LanguageModelStateSpace(lm, prm, max_steps=4)
    >>> ParticleFilter(model, num_particles=100).run("?", seed=0).log_evidence < 0
    True
    """

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
        if choice not in CHOICES:
            raise ValueError(f"expected a final choice among {', '.join(CHOICES)}, got {choice!r}")
        self.model = model
        self.proposal = proposal
        self.num_particles = num_particles
        likelihood: Likelihood | None = getattr(model, "likelihood", None)
        recommended = Likelihood.ess_threshold if likelihood is None else likelihood.ess_threshold
        self.ess_threshold = recommended if ess_threshold is None else ess_threshold
        self.resampling = resampling
        self.choice = choice
        self.answer_format: AnswerFormat = MathAnswers() if answer_format is None else answer_format
        self._filter(1)  # bad settings are reported here, not at the first run

    def run(
        self, problem: str, *, seed: int | None = None, on_step: Callable[[Progress], None] | None = None
    ) -> ParticleFilterResult:
        """Infer the answer of one problem.

        Parameters
        ----------
        problem : str
        seed : int, optional
            Default: drawn from torch's global generator, and named in the result.
        on_step : callable, optional
            Called after every step.

        Raises
        ------
        ValueError
            If the problem is empty or too long for a model.
        PPLScalingError
            If the run fails: all weights zero, a score that is no number.
        """
        outcome = self.run_batch([problem], seed=seed, on_step=on_step)[0]
        if isinstance(outcome, PPLScalingError):
            raise outcome
        return outcome

    def run_batch(
        self, problems: Sequence[str], *, seed: int | None = None, on_step: Callable[[Progress], None] | None = None
    ) -> list[ParticleFilterResult | PPLScalingError]:
        """Infer the answers of several problems in one batch, each with a group of particles of its own.

        A problem may appear several times: those are replicates.

        Returns
        -------
        list of ParticleFilterResult or PPLScalingError
            In the order of the problems. A group whose weights are all zero fails alone, and has its error here.
        """
        if isinstance(problems, str):
            raise TypeError("expected a sequence of problems, got one string; use run, or put it in a list")
        if not problems:
            return []
        seed = fresh_seed() if seed is None else seed
        smc = self._filter(len(problems))
        started = time.perf_counter()
        with seeded(seed):
            smc.init(problems)
            try:
                self._loop(smc, on_step)
            except PPLScalingError:
                if len(smc.failures) < len(problems):
                    raise
        seconds = time.perf_counter() - started
        return [
            smc.failures[group] if group in smc.failures else self._result(smc, group, problem, seconds, seed)
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

    def _loop(self, smc: SMCFilter, on_step: Callable[[Progress], None] | None) -> None:
        for t in range(1, self.model.max_steps + 1):
            smc.step(t)
            record = smc.history[-1]
            ended = smc.state.ended()
            if ended is None:
                raise TypeError("expected the model to keep 'finished' and 'truncated' in its state, got neither")
            if on_step is not None:
                on_step(
                    Progress(t, host.count(~ended), tuple(host.as_list(record.ess)), tuple(host.as_list(record.resampled)))
                )
            done = ended.view(len(smc.groups), self.num_particles).all(-1)
            if host.is_true(done.all()):
                return
            if host.is_true(done.any()):
                smc.retire(done)

    def _result(self, smc: SMCFilter, group: int, problem: str, seconds: float, seed: int) -> ParticleFilterResult:
        sessions: ParticleSessions = smc.state.sessions["particles"]
        records = [record for record in smc.history if group in record.groups]
        view = GroupView(records, sessions, group, self.num_particles)
        log_weights = view.last("log_weights")
        weights = np.exp(log_weights - np.logaddexp.reduce(log_weights))
        trajectories = view.trajectories(weights, self.answer_format)
        answers = answer_posterior([one.answer for one in trajectories], weights, view.genealogy, self.answer_format)
        return ParticleFilterResult(
            problem=problem,
            method="particle filter",
            answer=choose_answer(trajectories, answers, self.choice, seed) if answers else None,
            answers=answers,
            no_answer_probability=sum(one.weight for one in trajectories if one.answer is None),
            log_evidence=float(view.last("log_evidence")),
            log_evidence_standard_error=view.genealogy.log_evidence_standard_error(weights),
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
            generated_tokens=sum(sum(view.num_tokens(t)) for t in range(1, len(view.records))),
            lm_tokens_forwarded=int(sessions.language.tokens_forwarded[group]),
            prm_tokens_forwarded=0 if sessions.reward is None else int(sessions.reward.tokens_forwarded[group]),
            seconds=seconds,
            seed=seed,
            configuration=self._configuration(),
        )

    def _configuration(self) -> dict[str, Any]:
        return {
            **getattr(self.model, "configuration", {}),
            "proposal": _name(self.proposal),
            "num_particles": self.num_particles,
            "ess_threshold": self.ess_threshold,
            "resampling": getattr(self.resampling, "__name__", repr(self.resampling)),
            "choice": self.choice,
        }


def _name(proposal: Any) -> str | None:
    """Name a proposal for the record: its ``repr`` if it has one of its own, else its class."""
    if proposal is None:
        return None
    return repr(proposal) if "__repr__" in vars(type(proposal)) else type(proposal).__name__
