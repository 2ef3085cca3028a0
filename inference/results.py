"""What a run of the particle filter returns: plain data, on the CPU, never changed afterwards."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppl_scaling.inference.answers import CHOICES, Answer, choose_answer
from ppl_scaling.inference.display import Displayed, with_error

__all__ = ["CHOICES", "ParticleFilterResult", "Result", "Trajectory", "choose_answer", "finite"]


@dataclass(frozen=True, repr=False)
class Trajectory(Displayed):
    """What one particle wrote.

    Attributes
    ----------
    steps : tuple of str
        Reasoning steps without the white space around them.
    text : str
        All of it, exactly as written.
    scores : tuple of float
        Score in [0, 1] after each step, NaN if the reward model had no room for the first; empty without a reward model.
    score : float
        The last of them; NaN without a reward model.
    log_weight, weight : float
        Since the last resampling; normalised within the group.
    answer : str or None
        Only a finished trajectory has one.
    finished, truncated : bool
        Whether it came to an end of its own, or was cut by a limit.
    num_tokens : int
    token_blocks : tuple of tuple of int
        Tokens of each step as drawn, with which the trajectory can be replayed.
    log_likelihoods : tuple of float
        What the model's likelihood says of each step given those before, before any power; NaN after a step of likelihood
        zero. Empty if the method has none, as a baseline.
    """

    steps: tuple[str, ...]
    text: str
    scores: tuple[float, ...]
    score: float
    log_weight: float
    weight: float
    answer: str | None
    finished: bool
    truncated: bool
    num_tokens: int
    token_blocks: tuple[tuple[int, ...], ...]
    log_likelihoods: tuple[float, ...] = ()

    def _facts(self) -> dict[str, str]:
        end = "finished" if self.finished else "truncated" if self.truncated else "unfinished"
        return {
            "answer": repr(self.answer),
            "score": f"{self.score:.3f}",
            "weight": f"{self.weight:.3f}",
            "steps": f"{len(self.steps)} ({end})",
        }


@dataclass(frozen=True, eq=False, repr=False)
class Result(Displayed):
    """What every method returns for a problem.

    Attributes
    ----------
    problem : str
    method : str
    answer : str or None
        The chosen answer; None if there is none.
    answers : tuple of Answer
        Weight of each answer, largest first: for particle methods the posterior, for a baseline its shares of the vote.
        With ``no_answer_probability`` they sum to 1.
    no_answer_probability : float
        Weight of truncated trajectories and of those whose text has no answer.
    trajectories : tuple of Trajectory
        What was written and is weighed at the end.
    generated_tokens : int
        Tokens drawn, those of trajectories that were dropped on the way included.
    lm_tokens_forwarded, prm_tokens_forwarded : int
        Tokens that passed through each model.
    draft_tokens_forwarded : int
        Tokens that passed through the language model of a draft proposal.
    prm_calls : int
        Steps that the reward model scored.
    seconds : float
        Wall-clock time of the whole batch that the problem was part of.
    seed : int
    configuration : mapping
        Settings of the run.
    """

    problem: str
    method: str
    answer: str | None
    answers: tuple[Answer, ...]
    no_answer_probability: float
    trajectories: tuple[Trajectory, ...]
    generated_tokens: int
    lm_tokens_forwarded: int
    prm_tokens_forwarded: int
    prm_calls: int
    seconds: float
    seed: int
    configuration: Mapping[str, Any]
    draft_tokens_forwarded: int = field(default=0, kw_only=True)

    def _facts(self) -> dict[str, str]:
        return {
            "method": self.method,
            "trajectories": f"{len(self.trajectories)}",
            "generated_tokens": f"{self.generated_tokens}",
        }

    def choose(self, how: str = "mode", *, seed: int = 0) -> str:
        """Settle on one answer.

        Parameters
        ----------
        how : {"mode", "best_score", "sample"}
            The most probable answer (a weighted vote), the answer of the particle with the best final score, or the
            answer of a particle drawn from the posterior.
        seed : int
            For ``"sample"``.

        Raises
        ------
        ValueError
            If ``how`` is something else.
        NoAnswerError
            If no particle of positive weight has an answer.
        """
        return choose_answer(self.trajectories, self.answers, how, seed)

    @property
    def best_trajectory(self) -> Trajectory:
        """The weightiest trajectory that has the chosen answer, or of all if there is none; ties go to the score."""
        supporting = [one for one in self.trajectories if one.answer is not None and one.answer == self.answer]
        return max(supporting or self.trajectories, key=lambda one: (one.weight, one.score))

    def to_dict(self) -> dict[str, Any]:
        """Return what can be written as JSON; numbers that are not finite become None."""
        return {
            "problem": self.problem,
            "method": self.method,
            "answer": self.answer,
            "answers": [
                {"answer": one.answer, "probability": one.probability, "standard_error": finite(one.standard_error)}
                for one in self.answers
            ],
            "no_answer_probability": self.no_answer_probability,
            **self._details(),
            "finished": sum(one.finished for one in self.trajectories),
            "truncated": sum(one.truncated for one in self.trajectories),
            "generated_tokens": self.generated_tokens,
            "lm_tokens_forwarded": self.lm_tokens_forwarded,
            "prm_tokens_forwarded": self.prm_tokens_forwarded,
            "draft_tokens_forwarded": self.draft_tokens_forwarded,
            "prm_calls": self.prm_calls,
            "seconds": self.seconds,
            "seed": self.seed,
            "configuration": dict(self.configuration),
            "trajectories": [
                {
                    "steps": list(one.steps),
                    "scores": [finite(score) for score in one.scores],
                    "score": finite(one.score),
                    "log_weight": finite(one.log_weight),
                    "weight": one.weight,
                    "answer": one.answer,
                    "finished": one.finished,
                    "truncated": one.truncated,
                }
                for one in self.trajectories
            ],
        }

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the result as one JSON file, from which ``load_result`` reads exactly the same result again.

        A file that is there is replaced.

        Raises
        ------
        TypeError
            If a field or a setting holds something that such a file can't hold, a model for example.
        ValueError
            If the file can't be written.
        """
        from ppl_scaling.inference.result_file import save_result  # which builds on this module

        return save_result(self, path)

    def to_arviz(self, *, weights: str = "resample", seed: int | None = None) -> Any:
        """Give the result to ArviZ: one chain; see :func:`ppl_scaling.inference.result_arrays.to_arviz`.

        Parameters
        ----------
        weights : {"resample", "keep"}
        seed : int, optional
            For ``"resample"``; default: that of the result.

        Returns
        -------
        arviz.InferenceData or xarray.DataTree
            The first before ArviZ 1.0, the other from then on.
        """
        from ppl_scaling.inference.result_arrays import to_arviz  # which builds on this module

        return to_arviz([self], weights=weights, seed=seed)

    def _details(self) -> dict[str, Any]:
        """Return what a kind of result adds to :meth:`to_dict`."""
        return {}


@dataclass(frozen=True, eq=False, repr=False)
class ParticleFilterResult(Result):
    """Posterior of one group of N particles after T steps.

    Attributes
    ----------
    log_evidence : float
        Estimate of the logarithm of the probability of all observations.
    log_evidence_standard_error : float
        Monte-Carlo standard error from the genealogy; NaN if it can't tell.
    log_weights, weights : float array, shape (N,)
        Final log-weights since the last resampling, and normalised weights.
    ess : float array, shape (T,)
        Effective sample size after each step, before any resampling.
    ancestors : int array, shape (T, N)
        Particle of the step before that each particle continues.
    resampled : bool array, shape (T,)
        Whether the group was resampled at the beginning of the step.
    scores : float array, shape (N,)
        Final scores.
    finished, truncated : bool array, shape (N,)
    latents : mapping of str to array, each of shape (N, ...)
        Latent sites other than token blocks, along each particle's own history; the names of those of step ``t`` end in
        ``_{t}``, whatever the program calls them.
    num_particles, num_steps : int
    log_weights_by_step : float array, shape (T, N)
        After each step, since the last resampling, before any other.
    log_evidence_by_step : float array, shape (T,)
        Estimate from the steps so far; the last is ``log_evidence``.
    texts_by_step : tuple of T tuples of N str
        What each particle wrote in each step, also those that were dropped later; empty if the method does not keep it.
    """

    log_evidence: float
    log_evidence_standard_error: float
    log_weights: NDArray[np.float64]
    weights: NDArray[np.float64]
    ess: NDArray[np.float64]
    ancestors: NDArray[np.int64]
    resampled: NDArray[np.bool_]
    scores: NDArray[np.float64]
    finished: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    latents: Mapping[str, NDArray[Any]]
    num_particles: int
    num_steps: int
    log_weights_by_step: NDArray[np.float64] = field(kw_only=True)
    log_evidence_by_step: NDArray[np.float64] = field(kw_only=True)
    texts_by_step: tuple[tuple[str, ...], ...] = field(default=(), kw_only=True)

    def _facts(self) -> dict[str, str]:
        ess = f"{self.ess[-1]:.1f} of {self.num_particles}, lowest {self.ess.min():.1f}" if len(self.ess) else "no step"
        return {
            "log_evidence": with_error(self.log_evidence, self.log_evidence_standard_error),
            "ess": ess,
            "num_steps": f"{self.num_steps}",
        }

    def _details(self) -> dict[str, Any]:
        return {
            "log_evidence": finite(self.log_evidence),
            "log_evidence_standard_error": finite(self.log_evidence_standard_error),
            "ess": self.ess.tolist(),
            "resampled": self.resampled.tolist(),
            "num_particles": self.num_particles,
            "num_steps": self.num_steps,
        }


def finite(number: float) -> float | None:
    """Return what JSON can say of a number: None if it is not finite."""
    return float(number) if math.isfinite(number) else None
