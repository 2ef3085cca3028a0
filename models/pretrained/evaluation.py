"""Measure the embedded models: accuracy of single and of many samples, and how well the reward model judges them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from scipy.special import expit
from transformers import LlamaForCausalLM, LlamaForTokenClassification

from ppl_scaling.inference.calibration_metrics import ScoreMetrics, score_metrics
from ppl_scaling.models.pretrained.reward_layout import solution_logits
from ppl_scaling.models.pretrained.rollouts import answer_of, right_prefixes, sample_solutions
from ppl_scaling.models.pretrained.tokenizer import ProblemEncoder
from ppl_scaling.tasks.arithmetic import ArithmeticProblem, generate_problems

EVALUATION_SEED = 2024


def pass_at_1(
    model: LlamaForCausalLM,
    encoder: ProblemEncoder,
    problems: Sequence[ArithmeticProblem],
    copies: int,
    seed: int = EVALUATION_SEED,
) -> float:
    """Give the share of single samples at temperature 1 that reach the right answer."""
    solutions = sample_solutions(model, encoder, problems, copies, seed)
    rights = [
        answer_of(steps[-1]) == problem.answer
        for problem, sampled in zip(problems, solutions, strict=True)
        for steps in sampled
    ]
    return sum(rights) / len(rights)


def pass_by_length(model: LlamaForCausalLM, encoder: ProblemEncoder, num_problems: int, copies: int) -> dict[str, float]:
    """Give the pass rate of single samples on test problems of each number of steps."""
    return {
        str(num_steps): pass_at_1(
            model, encoder, generate_problems(num_problems, num_steps=num_steps, split="test", seed=1), copies
        )
        for num_steps in range(1, 11)
    }


def _vote(answers: Sequence[str | None], weights: Sequence[float]) -> str | None:
    """Give the answer with the largest total weight; the earliest one wins a tie."""
    totals: dict[str, float] = defaultdict(float)
    for answer, weight in zip(answers, weights, strict=True):
        if answer is not None:
            totals[answer] += weight
    return max(totals, key=lambda answer: totals[answer]) if totals else None


def compare_methods(
    language_model: LlamaForCausalLM,
    reward_model: LlamaForTokenClassification,
    encoder: ProblemEncoder,
    problems: Sequence[ArithmeticProblem],
    num_samples: int,
    seed: int = EVALUATION_SEED,
) -> dict[str, Any]:
    """Sample solutions, score them, and measure both models on them.

    The area under the curve is given for prefixes (right: every line holds the computation of the known solution) and
    for whole solutions (right: the answer is right). Calibration compares the score of a prefix with whether the very
    solution it belongs to ends in the right answer: that is one more rollout of the prefix.
    """
    solutions = sample_solutions(language_model, encoder, problems, num_samples, seed)
    flat = [(problem, steps) for problem, sampled in zip(problems, solutions, strict=True) for steps in sampled]
    judged = solution_logits(reward_model, encoder, [(problem.problem, steps) for problem, steps in flat])
    prefix_logits = [logit for logits in judged for logit in logits]
    prefix_rights = [right for problem, steps in flat for right in right_prefixes(problem, steps)]
    final_logits = [logits[-1] for logits in judged]
    final_rights = [answer_of(steps[-1]) == problem.answer for problem, steps in flat]
    prefix_outcomes = [right for right, logits in zip(final_rights, judged, strict=True) for _ in logits]
    prefixes, finals = score_metrics(prefix_logits, prefix_outcomes), score_metrics(final_logits, final_rights)
    final_scores = expit(final_logits).tolist()
    hits: dict[str, int] = defaultdict(int)
    for index, problem in enumerate(problems):
        part = slice(index * num_samples, (index + 1) * num_samples)
        answers = [answer_of(steps[-1]) for _, steps in flat[part]]
        scores = final_scores[part]
        hits["majority"] += _vote(answers, [1.0] * num_samples) == problem.answer
        hits["weighted_vote"] += _vote(answers, scores) == problem.answer
        hits["best_score"] += answers[scores.index(max(scores))] == problem.answer
        hits["any"] += problem.answer in answers
    return {
        "num_problems": len(problems),
        "num_samples": num_samples,
        "pass_at_1": sum(final_rights) / len(final_rights),
        **{name: hits[name] / len(problems) for name in ("majority", "best_score", "weighted_vote", "any")},
        "prefix_auc": score_metrics(prefix_logits, prefix_rights).auc,
        "final_auc": finals.auc,
        "calibration_error": prefixes.calibration_error,
        "reliability": _reliability(prefixes),
        "final_calibration_error": finals.calibration_error,
        "final_reliability": _reliability(finals),
    }


def _reliability(metrics: ScoreMetrics) -> list[dict[str, float]]:
    """Table of mean score and success rate by score, without the bins that are empty."""
    columns = (metrics.bin_edges[:-1], metrics.bin_counts, metrics.bin_scores, metrics.bin_rates)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [
        {"from": low, "count": int(count), "mean_score": score, "success_rate": rate}
        for low, count, score, rate in rows
        if count
    ]
