"""Measure the embedded models: accuracy of single and of many samples, and how well the reward model judges them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaForCausalLM, LlamaForTokenClassification

from ppl_scaling.models.pretrained.reward_layout import score_solutions
from ppl_scaling.models.pretrained.rollouts import answer_of, right_prefixes, sample_solutions
from ppl_scaling.models.pretrained.tokenizer import ProblemEncoder
from ppl_scaling.tasks.arithmetic import ArithmeticProblem, generate_problems

NUM_BINS = 10
EVALUATION_SEED = 2024


def area_under_curve(scores: Sequence[float], rights: Sequence[bool]) -> float:
    """Give the probability that a right one scores above a wrong one, ties counted half."""
    values, truth = torch.tensor(scores, dtype=torch.float64), torch.tensor(rights)
    num_right, num_wrong = int(truth.sum()), int((~truth).sum())
    if num_right == 0 or num_wrong == 0:
        raise ValueError(f"expected right and wrong examples, got {num_right} right and {num_wrong} wrong")
    _, inverse, counts = values.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    ranks = (last - (counts.double() - 1) / 2)[inverse]
    return float((ranks[truth].sum() - num_right * (num_right + 1) / 2) / (num_right * num_wrong))


def reliability(scores: Sequence[float], outcomes: Sequence[bool]) -> tuple[float, list[dict[str, float]]]:
    """Give the expected calibration error and a table of mean score and success rate by score."""
    values: Tensor = torch.tensor(scores, dtype=torch.float64)
    hits = torch.tensor(outcomes, dtype=torch.float64)
    bins = (values * NUM_BINS).long().clamp(0, NUM_BINS - 1)
    error, table = 0.0, []
    for index in range(NUM_BINS):
        inside = bins == index
        count = int(inside.sum())
        if count:
            mean, rate = float(values[inside].mean()), float(hits[inside].mean())
            error += count / len(values) * abs(mean - rate)
            table.append({"from": index / NUM_BINS, "count": count, "mean_score": mean, "success_rate": rate})
    return error, table


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
    scored = score_solutions(reward_model, encoder, [(problem.problem, steps) for problem, steps in flat])
    prefix_scores: list[float] = []
    prefix_rights: list[bool] = []
    prefix_outcomes: list[bool] = []
    final_scores = [scores[-1] for scores in scored]
    final_rights = [answer_of(steps[-1]) == problem.answer for problem, steps in flat]
    for (problem, steps), scores, outcome in zip(flat, scored, final_rights, strict=True):
        prefix_scores += scores
        prefix_rights += right_prefixes(problem, steps)
        prefix_outcomes += [outcome] * len(scores)
    error, table = reliability(prefix_scores, prefix_outcomes)
    final_error, final_table = reliability(final_scores, final_rights)
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
        "prefix_auc": area_under_curve(prefix_scores, prefix_rights),
        "final_auc": area_under_curve(final_scores, final_rights),
        "calibration_error": error,
        "reliability": table,
        "final_calibration_error": final_error,
        "final_reliability": final_table,
    }
