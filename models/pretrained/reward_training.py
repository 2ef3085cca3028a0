"""Train the embedded process reward model: warm-up, then prefixes that were labelled by rollouts."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlamaForTokenClassification

from ppl_scaling.models.pretrained.noticing import NoticingSettings, known_solutions, notice
from ppl_scaling.models.pretrained.reward_layout import EncodedSolution, correct_logits, encode_solution
from ppl_scaling.models.pretrained.rollouts import LabelledSolution
from ppl_scaling.models.pretrained.tokenizer import ProblemEncoder
from ppl_scaling.models.pretrained.training import pad
from ppl_scaling.models.pretrained.verifier import build_reward_model, layers_above


@dataclass(frozen=True)
class RewardTrainingSettings:
    """How the reward model is trained on labels.

    Attributes
    ----------
    num_epochs : int
        Passes over the labelled solutions.
    tokens_per_batch : int
        Tokens in one batch, padding included.
    learning_rate : float
        Peak learning rate; it falls linearly to zero.
    system_share : float
        Share of the prompts that start with a system message.
    seed : int
        Seed of the fresh weights and of the order.
    """

    num_epochs: int = 1
    tokens_per_batch: int = 4096
    learning_rate: float = 2e-4
    system_share: float = 0.06
    seed: int = 0


def warm_up_reward_model(
    encoder: ProblemEncoder,
    generator_path: Path,
    body_path: Path,
    settings: RewardTrainingSettings,
    noticing: NoticingSettings,
    output: Path,
    log: Callable[[str], None],
) -> None:
    """Build the reward model on the body of a language model, let it learn to notice slips, and save it."""
    with torch.random.fork_rng(devices=[]):
        sample = pad([row.input_ids for row in next(known_solutions(encoder, noticing))[:8]], encoder.pad)
        model = build_reward_model(body_path, encoder, sample, settings.seed)
        model.requires_grad_(False)
        parameters = layers_above(model)
        for parameter in parameters:
            parameter.requires_grad_(True)
        notice(model, parameters, encoder, generator_path, noticing, log)
    model.save_pretrained(output)


def _bucketed(rows: Sequence[EncodedSolution], tokens_per_batch: int, rng: random.Random) -> Iterator[list[EncodedSolution]]:
    """Give batches of rows of similar lengths, in random order."""
    order = sorted(rows, key=lambda row: (len(row.input_ids), rng.random()))
    filled: list[list[EncodedSolution]] = [[]]
    for row in order:
        if (len(filled[-1]) + 1) * len(row.input_ids) > tokens_per_batch and filled[-1]:
            filled.append([])
        filled[-1].append(row)
    rng.shuffle(filled)
    yield from filled


def _targets(batch: Sequence[EncodedSolution], width: int) -> tuple[Tensor, Tensor]:
    """Give the flat positions and the values of the known labels of a batch."""
    known = [
        (row * width + end, label)
        for row, solution in enumerate(batch)
        for end, label in zip(solution.ends, solution.labels, strict=True)
        if label is not None
    ]
    return torch.tensor([position for position, _ in known]), torch.tensor([label for _, label in known])


def train_reward_model(
    encoder: ProblemEncoder,
    warm_path: Path,
    solutions: Sequence[LabelledSolution],
    settings: RewardTrainingSettings,
    output: Path,
    log: Callable[[str], None],
) -> None:
    """Train the warmed-up reward model on labels from rollouts, with soft cross entropy, and save it."""
    started = time.perf_counter()
    rng = random.Random(settings.seed)
    rows = []
    for solution in solutions:
        system = rng.randrange(99) if rng.random() < settings.system_share else None
        rows.append(encode_solution(encoder, solution.problem, solution.steps, solution.labels, system))
    model = LlamaForTokenClassification.from_pretrained(warm_path, attn_implementation="eager")
    model.train().requires_grad_(False)
    parameters = layers_above(model)
    for parameter in parameters:
        parameter.requires_grad_(True)
    batches = [batch for _ in range(settings.num_epochs) for batch in _bucketed(rows, settings.tokens_per_batch, rng)]
    log(f"reward model: {len(rows)} labelled solutions, {len(batches)} updates")
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda update: min((update + 1) / 50, max(0.02, 1 - update / len(batches)))
    )
    average = 0.0
    for update, batch in enumerate(batches, start=1):
        input_ids = pad([row.input_ids for row in batch], encoder.pad)
        positions, labels = _targets(batch, input_ids.shape[1])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = correct_logits(model, input_ids, positions)
        loss = functional.binary_cross_entropy_with_logits(logits, labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        average = loss.item() if update == 1 else 0.97 * average + 0.03 * loss.item()
        if update % 50 == 0:
            log(f"labels, update {update}: loss {average:.4f}, {time.perf_counter() - started:.0f} s")
    model.save_pretrained(output)
