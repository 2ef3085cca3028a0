"""The posterior over answers: particles grouped by what their answer means; and the choice of one.

A particle without an answer belongs to no group. In particular two such particles do not agree with each other: "no
answer" is never an answer, and its probability is reported beside the answers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ppl_scaling.errors import NoAnswerError
from ppl_scaling.inference.genealogy import Genealogy
from ppl_scaling.interfaces import AnswerFormat

if TYPE_CHECKING:
    from ppl_scaling.inference.results import Trajectory

__all__ = ["CHOICES", "Answer", "answer_posterior", "choose_answer", "group_answers"]

CHOICES = ("mode", "best_score", "sample")
"""Ways to settle on one answer; see ``Result.choose``."""


@dataclass(frozen=True)
class Answer:
    """One answer and what is known about it.

    Attributes
    ----------
    answer : str
        As its weightiest particle writes it.
    probability : float
        Posterior probability, among all particles of the group.
    standard_error : float
        Monte-Carlo standard error of the probability, resampling included; NaN if the run can't tell.
    """

    answer: str
    probability: float
    standard_error: float


def group_answers(answers: Sequence[str | None], answer_format: AnswerFormat) -> list[int | None]:
    """Give answers of the same meaning the same number; None stays None.

    Equal texts are compared once, and each new text with one text of each meaning.
    """
    meanings: list[str] = []
    number_of: dict[str, int] = {}
    for answer in answers:
        if answer is None or answer in number_of:
            continue
        for number, known in enumerate(meanings):
            if answer_format.equivalent(known, answer):
                number_of[answer] = number
                break
        else:
            number_of[answer] = len(meanings)
            meanings.append(answer)
    return [None if answer is None else number_of[answer] for answer in answers]


def answer_posterior(
    answers: Sequence[str | None], weights: NDArray[np.float64], genealogy: Genealogy, answer_format: AnswerFormat
) -> tuple[Answer, ...]:
    """Weigh the answers.

    Parameters
    ----------
    answers : sequence of str or None, length N
    weights : float array, shape (N,)
        Normalised.
    genealogy : Genealogy
    answer_format : AnswerFormat

    Returns
    -------
    tuple of Answer
        Most probable first, and of equally probable ones the one that is found first; answers of probability 0 are left out.
    """
    numbers = group_answers(answers, answer_format)
    posterior = []
    for number in sorted({number for number in numbers if number is not None}):
        members = np.array([other == number for other in numbers])
        probability = math.fsum(weights[members])  # exactly rounded, so equal votes tie whatever their order
        if probability == 0:
            continue
        spokesman = answers[int(np.argmax(np.where(members, weights, -1.0)))]
        assert spokesman is not None
        error = genealogy.standard_error(weights, members.astype(np.float64))
        posterior.append(Answer(spokesman, probability, error))
    return tuple(sorted(posterior, key=lambda entry: -entry.probability))


def choose_answer(trajectories: Sequence[Trajectory], answers: Sequence[Answer], how: str, seed: int) -> str:
    """Settle on one answer; see ``Result.choose``, also for what is raised."""
    if how not in CHOICES:
        raise ValueError(f"expected a final choice among {', '.join(CHOICES)}, got {how!r}")
    answering = [one for one in trajectories if one.answer is not None and one.weight > 0]
    if not answering:
        finished = sum(one.finished for one in trajectories)
        truncated = sum(one.truncated for one in trajectories)
        raise NoAnswerError(
            f"none of {len(trajectories)} particles has an answer: {finished} finished, {truncated} truncated. "
            "Raise max_steps or max_tokens, or check that the model ends its answers in the expected format."
        )
    if how == "mode":
        return answers[0].answer
    if how == "best_score":
        best = max(answering, key=lambda one: (one.score, one.weight))
    else:
        weights = np.array([one.weight for one in answering])
        best = answering[int(np.random.default_rng(seed).choice(len(answering), p=weights / weights.sum()))]
    assert best.answer is not None
    return best.answer
