"""Lay out prompts and steps for the reward model, and read its scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import LlamaForTokenClassification

from ppl_scaling.models.pretrained.tokenizer import ProblemEncoder
from ppl_scaling.models.pretrained.training import pad


@dataclass(frozen=True)
class EncodedSolution:
    """Token ids, where the solution starts, the ends of its steps, where scores are read, and their labels if known."""

    input_ids: list[int]
    start: int
    ends: list[int]
    labels: list[float | None]


def encode_solution(
    encoder: ProblemEncoder,
    problem: str,
    steps: Sequence[str],
    labels: Sequence[float | None] | None = None,
    system: int | None = None,
) -> EncodedSolution:
    """Lay out a prompt and its steps, each tokenised by itself and followed by the separator that is scored."""
    input_ids = encoder.prompt(problem, system)
    start = len(input_ids)
    ends: list[int] = []
    for step in steps:
        input_ids = [*input_ids, *encoder.text(step), encoder.separator]
        ends.append(len(input_ids) - 1)
    known: list[float | None] = [None] * len(ends) if labels is None else list(labels)
    return EncodedSolution(input_ids, start, ends, known)


def correct_logits(model: LlamaForTokenClassification, input_ids: Tensor, positions: Tensor) -> Tensor:
    """Give the log-odds of "correct" at flat positions of a right-padded batch."""
    hidden = model.model(input_ids=input_ids, use_cache=False).last_hidden_state.flatten(0, 1)[positions]
    logits: Tensor = model.score(hidden).float()
    return logits[:, 1] - logits[:, 0]


@torch.inference_mode()
def solution_logits(
    model: LlamaForTokenClassification, encoder: ProblemEncoder, solutions: Sequence[tuple[str, Sequence[str]]]
) -> list[list[float]]:
    """Judge all prefixes of solutions, given as problem and lines: the log-odds of "correct" after each line."""
    rows = [encode_solution(encoder, problem, steps) for problem, steps in solutions]
    order = sorted(range(len(rows)), key=lambda index: len(rows[index].input_ids))
    logits: list[list[float]] = [[] for _ in rows]
    for start in range(0, len(order), 32):
        chosen = order[start : start + 32]
        input_ids = pad([rows[index].input_ids for index in chosen], encoder.pad)
        width = input_ids.shape[1]
        flat = [row * width + place for row, index in enumerate(chosen) for place in rows[index].ends]
        values = iter(correct_logits(model, input_ids, torch.tensor(flat)).tolist())
        for index in chosen:
            logits[index] = [next(values) for _ in rows[index].ends]
    return logits
