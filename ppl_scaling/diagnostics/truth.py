"""Posteriors and scores against the truth: events with stated probabilities, read from the records of an evaluation.

The posterior of an answer is what model and reward model together imply, and nothing makes it the probability of being
right. Whether it is one is a question to a set of problems with known answers: of those whose answer has posterior
probability p, is a share p right?
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ppl_scaling.diagnostics.calibration import CalibrationReport, Estimate, measure_calibration
from ppl_scaling.inference import EvaluationRecord
from ppl_scaling.inference.evaluation_summary import bootstrap_interval
from ppl_scaling.interfaces import AnswerFormat

__all__ = ["CredibleCoverage", "answer_calibration", "credible_coverage", "score_calibration", "stated_probability"]


@dataclass(frozen=True)
class CredibleCoverage:
    """How often the likeliest answers hold the truth.

    Attributes
    ----------
    level : float
        The set of a problem has the likeliest answers, as few as have this probability together.
    coverage : Estimate
        Share of problems whose set has the right answer. Answers are whole, so a right posterior covers at least ``level``.
    mean_size : float
        Answers in a set.
    num_problems : int
    """

    level: float
    coverage: Estimate
    mean_size: float
    num_problems: int


def answer_calibration(
    records: Sequence[EvaluationRecord], *, answer_format: AnswerFormat | None = None, num_bins: int = 10
) -> CalibrationReport:
    """Compare the posterior probability of each chosen answer with whether it was right.

    Records that failed or have no answer say nothing of this and are left out; so are those whose chosen answer is not
    among the recorded ones. The seeds of a problem are one group.

    Parameters
    ----------
    records : sequence of EvaluationRecord
    answer_format : AnswerFormat, optional
        Says which answers mean the same; default: those that are the same text.
    num_bins : int, default 10

    Raises
    ------
    ValueError
        If no record is left.
    """
    events = []
    for one in records:
        stated = stated_probability(one, answer_format)
        if stated is not None:
            events.append((stated, one.correct, one.index, 0.5 / max(one.num_trajectories, 1)))
    if not events:
        raise ValueError(f"expected a record with an answer and its probability, got {len(records)} without")
    p, y, groups, resolution = zip(*events, strict=True)
    return measure_calibration(np.minimum(p, 1.0), y, groups=groups, num_bins=num_bins, resolution=resolution)


def credible_coverage(
    records: Sequence[EvaluationRecord], level: float = 0.9, *, answer_format: AnswerFormat | None = None
) -> CredibleCoverage:
    """Count how often the set of the likeliest answers has the right one.

    Weight without an answer is in no set, so a set may stay below ``level``. Evaluations record ten answers of a problem at
    most. Records that failed are left out.

    Parameters
    ----------
    records : sequence of EvaluationRecord
    level : float, default 0.9
    answer_format : AnswerFormat, optional
        Says which answers mean the same as the expected one; default: those that are the same text, and the chosen one if it
        was graded as right.

    Raises
    ------
    ValueError
        If ``level`` is not in (0, 1) or no record is left.
    """
    if not 0 < level < 1:
        raise ValueError(f"expected level to be in (0, 1), got {level}")
    covered: dict[int, list[bool]] = {}
    sizes = []
    for one in records:
        if one.error is not None:
            continue
        mass, size, hit = 0.0, 0, False
        for entry in one.answers:
            if mass >= level - 1e-9:
                break
            mass, size = mass + entry["probability"], size + 1
            hit = hit or _right(one, entry["answer"], answer_format)
        covered.setdefault(one.index, []).append(hit)
        sizes.append(size)
    if not covered:
        raise ValueError(f"expected a record without an error, got {len(records)} with one")
    shares = np.array([np.mean(hits) for hits in covered.values()])
    return CredibleCoverage(
        level, Estimate(float(shares.mean()), *bootstrap_interval(shares)), float(np.mean(sizes)), len(covered)
    )


def score_calibration(
    records: Sequence[EvaluationRecord], *, answer_format: AnswerFormat | None = None, num_bins: int = 10
) -> CalibrationReport:
    """Compare the final score of each trajectory with whether its answer is right.

    For evaluations that kept their trajectories. It is about the trajectories that the method ends with, each counted once;
    those that resampling dropped are not among them. Truncated ones and those without score or answer are left out. The
    trajectories of a problem are one group. For labels of steps or prefixes give these to
    :func:`~ppl_scaling.diagnostics.calibration.measure_calibration`.

    Parameters
    ----------
    records : sequence of EvaluationRecord
    answer_format : AnswerFormat, optional
        As for :func:`credible_coverage`.
    num_bins : int, default 10

    Raises
    ------
    ValueError
        If no trajectory is left.
    """
    scores, labels, groups = [], [], []
    for one in records:
        for entry in one.trajectories or ():
            if entry["score"] is not None and entry["answer"] is not None:
                scores.append(entry["score"])
                labels.append(_right(one, entry["answer"], answer_format))
                groups.append(one.index)
    if not scores:
        raise ValueError("expected records with scored trajectories that have answers; evaluate with --keep-trajectories")
    return measure_calibration(scores, labels, groups=groups, num_bins=num_bins, resolution=1e-9)


def stated_probability(record: EvaluationRecord, answer_format: AnswerFormat | None) -> float | None:
    """Look up what the posterior gives the chosen answer, None if it is not among the recorded ones."""
    if record.error is not None or record.answer is None:
        return None
    for entry in record.answers:
        if entry["answer"] == record.answer:
            return float(entry["probability"])
    if answer_format is not None:
        for entry in record.answers:
            if answer_format.equivalent(entry["answer"], record.answer):
                return float(entry["probability"])
    return None


def _right(record: EvaluationRecord, answer: str, answer_format: AnswerFormat | None) -> bool:
    """Whether an answer is the expected one; the chosen one has been graded."""
    if answer == record.answer:
        return record.correct
    if answer == record.expected:
        return True
    return answer_format is not None and answer_format.equivalent(record.expected, answer)
