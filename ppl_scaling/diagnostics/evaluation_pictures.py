"""What an evaluation shows: pictures of posterior and scores against the truth, and the facts of a page about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ppl_scaling.diagnostics.calibration import CalibrationReport
from ppl_scaling.diagnostics.coverage_picture import plot_coverage
from ppl_scaling.diagnostics.picture import Picture
from ppl_scaling.diagnostics.reliability_picture import plot_reliability
from ppl_scaling.diagnostics.truth import answer_calibration, credible_coverage, score_calibration, stated_probability
from ppl_scaling.inference import EvaluationRecord, summarize
from ppl_scaling.interfaces import AnswerFormat

__all__ = ["evaluation_facts", "evaluation_pictures"]

_LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
_MOST = 20


def evaluation_pictures(records: Sequence[EvaluationRecord], *, answer_format: AnswerFormat | None = None) -> list[Picture]:
    """Draw how posterior probabilities, credible sets and scores compare with the truth.

    Parameters
    ----------
    records : sequence of EvaluationRecord
    answer_format : AnswerFormat, optional
        Says which recorded answers mean the same; default: those that are the same text.

    Returns
    -------
    list of Picture
        Those that the records have something for: scores only where trajectories were kept.
    """
    pictures = []
    stated = [stated_probability(one, answer_format) for one in records]
    if any(one is not None for one in stated):
        known = answer_calibration(records, answer_format=answer_format)
        figure = _reliability(known, "posterior probability of the answer")
        caption = "Of the answers with some posterior probability, the share that is right; bars are 95 % intervals."
        pictures.append(Picture("answer_reliability", caption, figure))
        covers = [credible_coverage(records, level, answer_format=answer_format) for level in _LEVELS]
        caption = "How often the likeliest answers, as few as have some posterior probability together, hold the truth; "
        caption += "below, how many answers that is."
        pictures.append(Picture("coverage", caption, plot_coverage(covers)))
    kept = (entry for one in records for entry in one.trajectories or ())
    if any(entry["score"] is not None and entry["answer"] is not None for entry in kept):
        found = score_calibration(records, answer_format=answer_format)
        caption = "Of the whole answers with some score of the reward model, the share that is right."
        pictures.append(Picture("score_reliability", caption, _reliability(found, "score of the reward model")))
    return pictures


def evaluation_facts(records: Sequence[EvaluationRecord], answer_format: AnswerFormat | None) -> dict[str, Any]:
    """Collect what a page says beside checks and pictures: totals, and the mistakes that the posterior was surest of."""
    total = summarize(records)
    mistakes: list[dict[str, Any]] = []
    for one in records:
        stated = stated_probability(one, answer_format)
        if stated is not None and not one.correct:
            mistakes.append({"id": one.id, "seed": one.seed, "answer": one.answer, "expected": one.expected, "p": stated})
    mistakes.sort(key=lambda row: -float(row["p"]))
    interval = f"{total.accuracy:.3f} [{total.accuracy_low:.3f}, {total.accuracy_high:.3f}]"
    names = ("num_problems", "num_seeds", "num_failed", "num_no_answer", "num_truncated", "num_trajectories")
    return {
        "totals": [
            ("accuracy, with 95 % interval", interval),
            *((name, getattr(total, name)) for name in (*names, "generated_tokens")),
            ("seconds", f"{total.seconds:.1f}"),
        ],
        "mistakes": mistakes[:_MOST],
        "num_mistakes": len(mistakes),
    }


def _reliability(found: CalibrationReport, what: str) -> Any:
    return plot_reliability(
        found.bin_probability,
        found.bin_frequency,
        found.bin_count,
        low=found.bin_low,
        high=found.bin_high,
        calibration_error=found.ece.value,
        what=what,
    )
