"""Results put together by hand, so that what a diagnostic must say is known."""

import numpy as np

from ppl_scaling.inference import Answer, ParticleFilterResult, Trajectory
from ppl_scaling.inference.evaluation_summary import CurvePoint, EvaluationSummary


def made_result(weights, ancestors=None, resampled=None, *, answers=None, log_evidence=-1.0, error=0.1, **changes):
    """Give a result with these weights after each step, shape (T, N); by default nothing is resampled."""
    weights = np.asarray(weights, dtype=float)
    num_steps, size = weights.shape
    ancestors = np.tile(np.arange(size), (num_steps, 1)) if ancestors is None else np.asarray(ancestors)
    resampled = np.zeros(num_steps, dtype=bool) if resampled is None else np.asarray(resampled)
    with np.errstate(divide="ignore"):
        log_weights = np.log(weights)
    final = weights[-1] / weights[-1].sum()
    answers = [Answer("a", 0.9, 0.02), Answer("b", 0.1, 0.02)] if answers is None else answers
    trajectories = tuple(
        Trajectory(("s",), "s", (0.5,), 0.5, float(log), float(weight), "a", True, False, 1, ((0,),), (-0.1,))
        for log, weight in zip(log_weights[-1], final, strict=True)
    )
    values = {
        "problem": "?",
        "method": "particle filter",
        "answer": answers[0].answer if answers else None,
        "answers": tuple(answers),
        "no_answer_probability": 0.0,
        "trajectories": trajectories,
        "generated_tokens": 1,
        "lm_tokens_forwarded": 1,
        "prm_tokens_forwarded": 1,
        "prm_calls": 1,
        "seconds": 0.0,
        "seed": 0,
        "configuration": {},
        "log_evidence": log_evidence,
        "log_evidence_standard_error": error,
        "log_weights": log_weights[-1],
        "weights": final,
        "ess": weights.sum(1) ** 2 / (weights**2).sum(1),
        "ancestors": ancestors,
        "resampled": resampled,
        "scores": np.full(size, 0.5),
        "finished": np.ones(size, dtype=bool),
        "truncated": np.zeros(size, dtype=bool),
        "latents": {},
        "num_particles": size,
        "num_steps": num_steps,
        "log_weights_by_step": log_weights,
        "log_evidence_by_step": np.full(num_steps, log_evidence),
    }
    return ParticleFilterResult(**{**values, **changes})


def point(method, budget, accuracy, tokens, difference=None):
    """Give a point of a scaling curve."""
    counts = dict.fromkeys(
        (
            "num_problems num_seeds num_records num_failed num_no_answer num_grading_timeouts num_trajectories "
            "num_truncated generated_tokens lm_tokens_forwarded prm_tokens_forwarded draft_tokens_forwarded "
            "prm_calls seconds peak_memory_bytes"
        ).split(),
        1,
    )
    summary = EvaluationSummary(accuracy=accuracy, accuracy_low=accuracy - 0.1, accuracy_high=accuracy + 0.05, **counts)
    return CurvePoint(method, budget, summary, tokens, difference, difference, difference)
