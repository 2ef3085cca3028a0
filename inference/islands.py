r"""Replicates of a method: a pooled posterior with standard errors that a single run can't give.

Target
------
That of the method. Each of :math:`G` replicates has an estimate :math:`\hat Z_g` of the evidence and
:math:`\hat\pi_g` of the posterior; pooled,

.. math::  \hat Z = \tfrac{1}{G} \sum_g \hat Z_g, \qquad \hat\pi = \sum_g \hat Z_g \hat\pi_g \Big/ \sum_g \hat Z_g ,

so that :math:`\hat Z` is unbiased if the method's is and both converge with the number of replicates alone. A replicate that
fails because all its weights are zero counts with :math:`\hat Z_g = 0`. Standard errors are those of the jackknife over
replicates, which are independent; they need no genealogy, so the case of a single root does not arise.

With exchange the islands are those of :mod:`ppl_scaling.inference.archipelago`, and standard errors come from the genealogy
of islands.

References
----------
Vergé et al. (2015), arXiv 1306.3911; Quenouille (1956) and Miller (1974) for the jackknife.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ppl_scaling.arguments import check_integer
from ppl_scaling.errors import PPLScalingError
from ppl_scaling.inference.answers import Answer
from ppl_scaling.inference.archipelago import IslandFilter
from ppl_scaling.inference.genealogy import Genealogy
from ppl_scaling.inference.method import Method, OnStep, drive
from ppl_scaling.inference.particle_filter import ParticleFilter
from ppl_scaling.inference.particle_summary import normalized
from ppl_scaling.inference.pooling import IslandsResult, answers_of, jackknife, scaled, shares_of
from ppl_scaling.inference.results import Result, Trajectory, choose_answer
from ppl_scaling.seeding import fresh_seed

__all__ = ["Islands"]


class Islands(Method):
    """Replicates of a method as groups of one batch, pooled; see the module for target and references.

    Cost: that of the replicates. Those that fail are not in the token counts, which their errors do not tell.

    Parameters
    ----------
    replicated : Method
        With results that have a ``log_evidence``: the particle filter and its relatives, annealed SMC. Chains of particle
        Gibbs too: the evidence of their first iteration, a plain filter, weighs a chain rightly wherever it moves then.
    num_replicates : int, default 4
        At least 2; in adaptive mode, as many as are added at a time.
    exchange : bool, default False
        Let islands be resampled among each other; for the plain :class:`ParticleFilter`, and not in adaptive mode.
    exchange_threshold : float, default 0.5
        Fraction of effective islands below which that happens.
    target_standard_error : float, optional
        Adaptive mode: add replicates until the posterior probability of the leading answer is known this well. (To stop at
        a small standard error favours too small ones a little, as any sequential rule does.)
    max_replicates : int, default 64
        Adaptive mode ends here.
    max_generated_tokens : int, optional
        Adaptive mode ends when so many tokens have been drawn for a problem.
    choice, answer_format
        Default: those of the method.

    Raises
    ------
    ValueError, TypeError
        If a setting is out of its range, or the method does not estimate the evidence.
    """

    method: ClassVar[str] = "islands"

    def __init__(
        self,
        replicated: Method,
        *,
        num_replicates: int = 4,
        exchange: bool = False,
        exchange_threshold: float = 0.5,
        target_standard_error: float | None = None,
        max_replicates: int = 64,
        max_generated_tokens: int | None = None,
        choice: str | None = None,
        answer_format: Any | None = None,
    ) -> None:
        answer_format = replicated.answer_format if answer_format is None else answer_format
        super().__init__(replicated.model, choice=choice or replicated.choice, answer_format=answer_format)
        if target_standard_error is not None and not target_standard_error > 0:
            raise ValueError(f"expected target_standard_error to be above 0, got {target_standard_error}")
        if not 0 < exchange_threshold <= 1:
            raise ValueError(f"expected exchange_threshold to be in (0, 1], got {exchange_threshold}")
        if exchange and target_standard_error is not None:
            raise ValueError("expected either exchange or target_standard_error, got both")
        if exchange and type(replicated) is not ParticleFilter:
            raise TypeError(f"expected a ParticleFilter to exchange islands of, got {type(replicated).__name__}")
        self.replicated = replicated
        self.num_replicates = check_integer("num_replicates", num_replicates, 2)
        self.exchange = exchange
        self.exchange_threshold = exchange_threshold
        self.target_standard_error = target_standard_error
        self.max_replicates = check_integer("max_replicates", max_replicates, 2)
        self.max_generated_tokens = (
            None if max_generated_tokens is None else check_integer("max_generated_tokens", max_generated_tokens)
        )

    @property
    def configuration(self) -> dict[str, Any]:
        """Settings of the method and of its replication, for the record of a result."""
        own = ("num_replicates", "exchange", "exchange_threshold", "target_standard_error", "max_replicates")
        return {
            **self.replicated.configuration,
            "choice": self.choice,
            "replicated": self.replicated.method,
            **{name: getattr(self, name) for name in own},
            "max_generated_tokens": self.max_generated_tokens,
        }

    def _infer(self, problems: Sequence[str], seed: int, on_step: OnStep | None) -> list[Result | PPLScalingError]:
        if self.exchange:
            return self._exchange(problems, seed, on_step)
        found: list[list[Any]] = [[] for _ in problems]
        outcomes: dict[int, Result | PPLScalingError] = {}
        while pending := [place for place in range(len(problems)) if place not in outcomes]:
            number = self.num_replicates
            if self.target_standard_error is not None:
                number = min(number, self.max_replicates - len(found[pending[0]]))
            places = [place for place in pending for _ in range(number)]
            batch = self.replicated.run_batch([problems[place] for place in places], seed=fresh_seed(), on_step=on_step)
            for place, outcome in zip(places, batch, strict=True):
                found[place].append(outcome)
            for place in pending:
                self._settle(place, problems[place], found[place], seed, outcomes)
        return [outcomes[place] for place in range(len(problems))]

    def _settle(
        self, place: int, problem: str, found: list[Any], seed: int, outcomes: dict[int, Result | PPLScalingError]
    ) -> None:
        """Pool the replicates of a problem, if there are to be no more of them."""
        possible = [one for one in found if isinstance(one, Result)]
        pooled = self._pooled(problem, found, seed) if possible else None
        stopped_by = None
        if self.target_standard_error is None:
            stopped_by = "num_replicates"
        elif pooled is not None and pooled.answers and pooled.answers[0].standard_error <= self.target_standard_error:
            stopped_by = "target_standard_error"
        elif len(found) >= self.max_replicates:
            stopped_by = "max_replicates"
        elif self.max_generated_tokens and sum(one.generated_tokens for one in possible) >= self.max_generated_tokens:
            stopped_by = "max_generated_tokens"
        if stopped_by is not None:
            outcomes[place] = found[0] if pooled is None else replace(pooled, stopped_by=stopped_by)

    def _pooled(self, problem: str, found: Sequence[Any], seed: int) -> IslandsResult:
        for one in found:
            if isinstance(one, Result) and not hasattr(one, "log_evidence"):
                raise TypeError(f"expected a method that estimates the evidence, got {self.replicated.method!r}")
        evidence = np.array([getattr(one, "log_evidence", -math.inf) for one in found])
        weights = normalized(evidence)
        trajectories: list[Trajectory] = []
        for one, log_evidence, weight in zip(found, evidence, weights, strict=True):
            if isinstance(one, Result):
                trajectories += [scaled(trajectory, log_evidence, weight) for trajectory in one.trajectories]
        owners = [g for g, one in enumerate(found) if isinstance(one, Result) for _ in one.trajectories]
        names, shares = shares_of(trajectories, owners, weights, self.answer_format)
        error, errors = jackknife(evidence, shares)
        log_evidence = float(np.logaddexp.reduce(evidence) - math.log(len(found)))
        answers = answers_of(names, weights @ shares, errors)
        return self._assemble(problem, found, trajectories, answers, (log_evidence, error), weights, seed)

    def _exchange(self, problems: Sequence[str], seed: int, on_step: OnStep | None) -> list[Result | PPLScalingError]:
        inner = copy.copy(self.replicated)
        assert isinstance(inner, ParticleFilter)
        inner.num_particles *= self.num_replicates
        smc = IslandFilter(
            inner.model,
            inner.proposal,
            inner.num_particles,
            num_groups=len(problems),
            ess_threshold=inner.ess_threshold,
            resampling=inner.resampling,
            num_islands=self.num_replicates,
            exchange_threshold=self.exchange_threshold,
        )
        drive(smc, problems, self.model.max_steps, on_step)
        outcomes: list[Result | PPLScalingError] = []
        for group, problem in enumerate(problems):
            if group in smc.failures:
                outcomes.append(smc.failures[group])
                continue
            whole = inner._result(smc, group, problem, seed)
            records = [
                (islands[groups.index(group)].cpu().numpy(), bool(exchanged[groups.index(group)]))
                for groups, islands, exchanged in smc.island_ancestors[: whole.num_steps]
                if group in groups
            ]
            genealogy = Genealogy(
                np.stack([islands for islands, _ in records]), np.array([one for _, one in records]), self.num_replicates
            )
            weights = whole.weights.reshape(self.num_replicates, -1).sum(-1)
            owners = np.repeat(np.arange(self.num_replicates), smc.island_size).tolist()
            names, shares = shares_of(whole.trajectories, owners, weights, self.answer_format)
            errors = np.array([genealogy.standard_error(weights, share) for share in shares.T])
            answers = answers_of(names, weights @ shares, errors)
            evidence = whole.log_evidence, genealogy.log_evidence_standard_error(weights)
            outcomes.append(self._assemble(problem, [whole], whole.trajectories, answers, evidence, weights, seed))
        return outcomes

    def _assemble(
        self,
        problem: str,
        found: Sequence[Any],
        trajectories: Sequence[Trajectory],
        answers: tuple[Answer, ...],
        log_evidence: tuple[float, float],
        weights: NDArray[np.float64],
        seed: int,
    ) -> IslandsResult:
        spent = [one for one in found if isinstance(one, Result)]
        return IslandsResult(
            problem=problem,
            method=f"{self.method} of {self.replicated.method}",
            answer=choose_answer(trajectories, answers, self.choice, seed) if answers else None,
            answers=answers,
            no_answer_probability=sum(one.weight for one in trajectories if one.answer is None),
            trajectories=tuple(trajectories),
            generated_tokens=sum(one.generated_tokens for one in spent),
            lm_tokens_forwarded=sum(one.lm_tokens_forwarded for one in spent),
            prm_tokens_forwarded=sum(one.prm_tokens_forwarded for one in spent),
            draft_tokens_forwarded=sum(one.draft_tokens_forwarded for one in spent),
            prm_calls=sum(one.prm_calls for one in spent),
            seconds=0.0,
            seed=seed,
            configuration=self.configuration,
            log_evidence=log_evidence[0],
            log_evidence_standard_error=log_evidence[1],
            num_replicates=len(weights),
            replicate_weights=weights,
            replicates=tuple(found),
            stopped_by="num_replicates",
        )
