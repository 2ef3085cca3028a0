"""Replicates put together: the pooled posterior over answers, its standard errors, and the result that holds them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppl_scaling.inference.answers import Answer, group_answers
from ppl_scaling.inference.display import with_error
from ppl_scaling.inference.results import Result, Trajectory, finite
from ppl_scaling.interfaces import AnswerFormat

__all__ = ["IslandsResult", "answers_of", "jackknife", "scaled", "shares_of"]


@dataclass(frozen=True, eq=False, repr=False)
class IslandsResult(Result):
    """Pooled posterior of replicates; ``standard_error`` of the answers is that between replicates.

    Attributes
    ----------
    log_evidence, log_evidence_standard_error : float
    num_replicates : int
    replicate_weights : float array, shape (G,)
        Share of each replicate in the pooled posterior; 0 for one that failed.
    replicates : tuple of Result or PPLScalingError
        Result of each; with exchange the one run that holds all islands.
    stopped_by : str
        The setting that ended the run: ``"num_replicates"``, ``"target_standard_error"``, ``"max_replicates"`` or
        ``"max_generated_tokens"``.
    """

    log_evidence: float
    log_evidence_standard_error: float
    num_replicates: int
    replicate_weights: NDArray[np.float64]
    replicates: tuple[Any, ...]
    stopped_by: str

    def _facts(self) -> dict[str, str]:
        return {
            "log_evidence": with_error(self.log_evidence, self.log_evidence_standard_error),
            "num_replicates": f"{self.num_replicates}",
            "stopped_by": self.stopped_by,
        }

    def _details(self) -> dict[str, Any]:
        return {
            "log_evidence": finite(self.log_evidence),
            "log_evidence_standard_error": finite(self.log_evidence_standard_error),
            "num_replicates": self.num_replicates,
            "replicate_weights": self.replicate_weights.tolist(),
            "stopped_by": self.stopped_by,
        }


def jackknife(log_evidence: NDArray[np.float64], shares: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """Estimate the standard errors of the pooled log-evidence and the pooled probabilities.

    Parameters
    ----------
    log_evidence : float array, shape (G,)
        Minus infinity for a replicate that failed.
    shares : float array, shape (G, A)
        Each replicate's posterior.

    Returns
    -------
    float, float array of shape (A,)
        NaN if there are fewer than two replicates, or only one that has not failed: leaving it out leaves nothing.
    """
    size = len(log_evidence)
    if size < 2:
        return math.nan, np.full(shares.shape[1], math.nan)
    weights = np.exp(log_evidence - log_evidence.max())
    others = 1 - np.eye(size)
    with np.errstate(divide="ignore", invalid="ignore"):
        totals = others @ weights
        without = (others @ (weights[:, None] * shares)) / totals[:, None]
        evidence_without = np.log(totals / (size - 1))
    if not np.isfinite(evidence_without).all():
        return math.nan, np.full(shares.shape[1], math.nan)
    spread = (size - 1) / math.sqrt(size)  # for standard deviations with divisor size - 1
    return float(spread * evidence_without.std(ddof=1)), spread * without.std(axis=0, ddof=1)


def scaled(trajectory: Trajectory, log_evidence: float, weight: float) -> Trajectory:
    """Weigh a trajectory of a replicate among those of all."""
    log_weight = log_evidence + math.log(trajectory.weight) if trajectory.weight > 0 else -math.inf
    return replace(trajectory, log_weight=log_weight, weight=trajectory.weight * weight)


def shares_of(
    trajectories: Sequence[Trajectory], owners: Sequence[int], weights: NDArray[np.float64], answer_format: AnswerFormat
) -> tuple[list[str], NDArray[np.float64]]:
    """Return each answer as its weightiest trajectory writes it, and what every replicate gives it, shape (G, A)."""
    numbers = group_answers([one.answer for one in trajectories], answer_format)
    size = 1 + max((number for number in numbers if number is not None), default=-1)
    shares = np.zeros((len(weights), size))
    spokesmen: list[Trajectory | None] = [None] * size
    for one, owner, number in zip(trajectories, owners, numbers, strict=True):
        if number is None:
            continue
        shares[owner, number] += one.weight
        speaking = spokesmen[number]
        if speaking is None or one.weight > speaking.weight:
            spokesmen[number] = one
    shares = np.divide(shares, weights[:, None], out=np.zeros_like(shares), where=weights[:, None] > 0)
    return [str(one.answer) for one in spokesmen if one is not None], shares


def answers_of(names: Sequence[str], probabilities: NDArray[np.float64], errors: NDArray[np.float64]) -> tuple[Answer, ...]:
    """Put answers of positive probability together with their standard errors, most probable first."""
    known = [Answer(name, float(p), float(e)) for name, p, e in zip(names, probabilities, errors, strict=True) if p > 0]
    return tuple(sorted(known, key=lambda entry: -entry.probability))
