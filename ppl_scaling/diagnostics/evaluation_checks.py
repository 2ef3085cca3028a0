"""Checks of an evaluation: failures, and whether posterior probabilities and scores are right over many problems."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ppl_scaling.diagnostics.calibration import CalibrationReport
from ppl_scaling.diagnostics.checks import HealthCheck, judge
from ppl_scaling.diagnostics.truth import answer_calibration, credible_coverage, score_calibration
from ppl_scaling.inference import EvaluationRecord
from ppl_scaling.interfaces import AnswerFormat

__all__ = ["calibration_checks", "evaluation_checks"]

_LEVEL = 0.9
_FEWEST = 20  # events from which a calibration is judged
_SMALL, _LARGE = 0.05, 0.15


def evaluation_checks(records: Sequence[EvaluationRecord], answer_format: AnswerFormat | None) -> list[HealthCheck]:
    """All checks of the records of one evaluation."""
    number = len(records)
    failed = sum(one.error is not None for one in records)
    silent = sum(one.error is None and one.answer is None for one in records)
    found = [
        judge(
            "failed",
            failed / number,
            warn=0.0,
            bad=0.1,
            worse="above",
            reason="problems that fail count as wrong and are in no other check; a tenth of them can turn any comparison",
            found=f"{failed} of {number} records are errors",
            advice="read the errors in the file; raise num_particles if weights were all zero",
        ),
        judge(
            "no_answer",
            silent / number,
            warn=0.1,
            bad=0.5,
            worse="above",
            reason="a problem without an answer is lost whatever the posterior; a tenth costs more than most methods differ",
            found=f"{silent} of {number} records have no answer",
            advice="raise max_steps or max_tokens, and check that the model ends its answers in the expected format",
        ),
    ]
    if silent + failed < number and any(one.answers for one in records):
        known = answer_calibration(records, answer_format=answer_format)
        found += calibration_checks(
            known,
            "answer",
            "posterior probabilities of answers",
            "lower beta (raise it if they are too small), raise num_particles, or calibrate the PRM",
        )
        found.append(_coverage_check(records, answer_format))
    if any(
        entry["score"] is not None and entry["answer"] is not None for one in records for entry in one.trajectories or ()
    ):
        found += calibration_checks(
            score_calibration(records, answer_format=answer_format),
            "score",
            "scores of whole answers",
            "calibrate the PRM on labelled prefixes",
        )
    return found


def calibration_checks(found: CalibrationReport, name: str, what: str, advice: str) -> list[HealthCheck]:
    """Check level and order of stated probabilities.

    Parameters
    ----------
    found : CalibrationReport
    name : str
        The checks are called ``<name>_calibration`` and ``<name>_order``.
    what : str
        What is stated, in the plural.
    advice : str
        For probabilities that are wrong.
    """
    enough = found.num_groups >= _FEWEST
    limits = max(_SMALL, found.ece_limit_95), max(_LARGE, found.ece_limit_99)
    direction = "too large" if found.excess.value > 0 else "too small"
    auc = found.auc
    events = f"{found.num_events} events in {found.num_groups} problems"
    return [
        judge(
            f"{name}_calibration",
            found.ece.value if enough else math.nan,
            warn=limits[0],
            bad=limits[1],
            worse="above",
            reason="expected calibration error; right probabilities stay below the 95 % and 99 % quantiles "
            f"{found.ece_limit_95:.2g} and {found.ece_limit_99:.2g} here, and below 0.05 and 0.15 it hardly matters",
            found=f"{what} are off by {found.ece.value:.2f} on average, {abs(found.excess.value):.2f} {direction} "
            f"({found.ece_expected:.2f} expected if right; {events})"
            if enough
            else f"{events} are too few to tell whether {what} are right",
            advice=advice if enough else f"evaluate at least {_FEWEST} problems",
        ),
        judge(
            f"{name}_order",
            auc.value if enough else math.nan,
            warn=0.6,
            bad=0.5,
            worse="below",
            reason="AUC: at 0.5 they order right and wrong no better than a coin, and no calibration can mend that",
            found=f"{what} put a right answer before a wrong one in {auc.value:.0%} of pairs [{auc.low:.0%}, {auc.high:.0%}]"
            if enough and not math.isnan(auc.value)
            else f"{events} do not tell whether {what} are in order",
            advice="use another PRM, or train it on this kind of problem"
            if enough
            else f"evaluate at least {_FEWEST} problems",
        ),
    ]


def _coverage_check(records: Sequence[EvaluationRecord], answer_format: AnswerFormat | None) -> HealthCheck:
    cover = credible_coverage(records, _LEVEL, answer_format=answer_format)
    enough = cover.num_problems >= _FEWEST
    error = float(np.sqrt(_LEVEL * (1 - _LEVEL) / cover.num_problems))
    return judge(
        "credible_coverage",
        cover.coverage.value if enough else math.nan,
        warn=_LEVEL - 2 * error,
        bad=_LEVEL - 4 * error,
        worse="below",
        reason=f"sets of answers that have {_LEVEL:.0%} of the posterior should have the truth as often; two and four "
        "standard errors less",
        found=f"the truth is in {cover.coverage.value:.0%} of the {_LEVEL:.0%} sets, of {cover.mean_size:.1f} "
        f"answers ({cover.num_problems} problems)",
        advice="raise num_particles, or lower beta: the posterior is surer than it should be"
        if enough
        else f"evaluate at least {_FEWEST} problems",
    )
