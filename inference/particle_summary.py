"""From weighted whole trajectories to the fields of a result, for methods that do not end in one filter's record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ppl_scaling.inference.answers import answer_posterior
from ppl_scaling.inference.genealogy import Genealogy
from ppl_scaling.inference.results import Trajectory, choose_answer
from ppl_scaling.interfaces import AnswerFormat

if TYPE_CHECKING:
    from ppl_scaling.inference.group_view import Costs
    from ppl_scaling.inference.method import Method

__all__ = ["normalized", "settled", "summary"]


def normalized(log_weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights that sum to one."""
    return np.exp(log_weights - np.logaddexp.reduce(log_weights))


def settled(
    trajectories: Sequence[Trajectory], log_weights: NDArray[np.float64], answer_format: AnswerFormat
) -> tuple[Trajectory, ...]:
    """Give trajectories their final weights and answers."""
    return tuple(
        replace(
            one,
            log_weight=float(log_weight),
            weight=float(weight),
            answer=answer_format.extract(one.text) if one.finished else None,
        )
        for one, log_weight, weight in zip(trajectories, log_weights, normalized(log_weights), strict=True)
    )


def summary(
    method: Method,
    problem: str,
    trajectories: tuple[Trajectory, ...],
    genealogy: Genealogy,
    log_weights: NDArray[np.float64],
    costs: Costs,
    seed: int,
) -> dict[str, Any]:
    """Fields of a ``ParticleFilterResult`` that follow from trajectories, genealogy and costs."""
    weights = normalized(log_weights)
    answers = answer_posterior([one.answer for one in trajectories], weights, genealogy, method.answer_format)
    return {
        "problem": problem,
        "method": method.method,
        "answer": choose_answer(trajectories, answers, method.choice, seed) if answers else None,
        "answers": answers,
        "no_answer_probability": sum(one.weight for one in trajectories if one.answer is None),
        "log_evidence_standard_error": genealogy.log_evidence_standard_error(weights),
        "log_weights": log_weights,
        "weights": weights,
        "ancestors": genealogy.ancestors,
        "resampled": genealogy.resampled,
        "trajectories": trajectories,
        "scores": np.array([one.score for one in trajectories]),
        "finished": np.array([one.finished for one in trajectories]),
        "truncated": np.array([one.truncated for one in trajectories]),
        "latents": {},
        "num_particles": len(trajectories),
        "num_steps": len(genealogy.resampled),
        **vars(costs),
        "seconds": 0.0,
        "seed": seed,
        "configuration": method.configuration,
    }
