"""Warm up the reward model: let it notice tokens that do not belong.

In known solutions some tokens are replaced by what the generating language model writes in their place, which is mostly
the same token and sometimes one of its slips, and a few digits by others. The layers above the body learn for every token
whether it was replaced, and at the end of each step whether anything was so far. These labels cost nothing; rollouts, which
cost much, then teach what a slip means for the answer.

References
----------
Clark et al. (2020), ELECTRA, arXiv 2003.10555 (detection of replaced tokens).
"""

from __future__ import annotations

import itertools
import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlamaForCausalLM, LlamaForTokenClassification

from ppl_scaling.models.pretrained.reward_layout import EncodedSolution, encode_solution
from ppl_scaling.models.pretrained.tokenizer import ProblemEncoder
from ppl_scaling.models.pretrained.training import pad
from ppl_scaling.tasks.arithmetic import generate_problems


@dataclass(frozen=True)
class NoticingSettings:
    """How the reward model is warmed up.

    Attributes
    ----------
    num_updates : int
        Optimiser steps.
    learning_rate : float
        Peak learning rate; it falls linearly to zero.
    tokens_per_batch : int
        Tokens in one batch, padding included.
    temperature : float
        Temperature at which the generating model writes replacements.
    random_share : float
        Share of digits that are replaced by any digit.
    seed : int
        Seed of problems and replacements.
    """

    num_updates: int = 450
    learning_rate: float = 3e-4
    tokens_per_batch: int = 4096
    temperature: float = 1.2
    random_share: float = 0.02
    seed: int = 0


def known_solutions(encoder: ProblemEncoder, settings: NoticingSettings) -> Iterator[list[EncodedSolution]]:
    """Give batches of known solutions for ever; all problems of one batch have the same number of steps."""
    rng = random.Random(settings.seed + 1)
    queues: dict[int, list[EncodedSolution]] = {}
    refills = 0
    while True:
        num_steps = rng.choice((2, 3, 4, 5, 5, 5, 6, 6, 7, 8))
        queue = queues.setdefault(num_steps, [])
        if len(queue) < 128:
            refills += 1
            seed = (settings.seed + 78) * 1_000_000 + refills
            for problem in generate_problems(500, num_steps=num_steps, split="train", seed=seed):
                queue.append(encode_solution(encoder, problem.problem, problem.steps))
        yield [queue.pop() for _ in range(settings.tokens_per_batch // (len(queue[-1].input_ids) + 8))]


def notice(
    model: LlamaForTokenClassification,
    parameters: list[nn.Parameter],
    encoder: ProblemEncoder,
    generator_path: Path,
    settings: NoticingSettings,
    log: Callable[[str], None],
) -> None:
    """Train ``parameters`` of the reward model to notice replaced tokens; draws from torch's global generator."""
    started = time.perf_counter()
    generator = LlamaForCausalLM.from_pretrained(generator_path, attn_implementation="eager").eval()
    replaced_head = nn.Linear(model.config.hidden_size, 1)
    trained = [*parameters, *replaced_head.parameters()]
    optimizer = torch.optim.AdamW(trained, lr=settings.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda update: min((update + 1) / 30, max(0.02, 1 - update / settings.num_updates))
    )
    replace = _Replacement(generator, encoder, settings)
    model.train()
    averages = torch.zeros(2)
    batches = itertools.islice(known_solutions(encoder, settings), settings.num_updates)
    for update, rows in enumerate(batches, start=1):
        input_ids, inside, ends = _stack(rows, encoder.pad)
        written = replace(input_ids, inside & ~ends)
        replaced = written != input_ids
        slips = replaced.long().cumsum(1)
        # Behind the first slip the known solution does not fit what was written: only the end of that step still counts.
        behind = (ends & (slips > 0)).long().cumsum(1)
        judged = ends & ((slips == 0) | (behind <= 1))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = model.model(input_ids=written, use_cache=False).last_hidden_state
            logits = model.score(hidden).float()
            token_logits = replaced_head(hidden).float()[..., 0]
        candidates = inside & ~ends & (slips <= 3)
        weights = torch.where(replace.is_digit[input_ids] | replaced, 1.0, 0.1)[candidates]
        losses = functional.binary_cross_entropy_with_logits(
            token_logits[candidates], (~replaced[candidates]).float(), weight=weights, reduction="sum"
        )
        token_loss = losses / weights.sum()
        step_loss = functional.binary_cross_entropy_with_logits(
            logits[judged][:, 1] - logits[judged][:, 0], (slips[judged] == 0).float()
        )
        optimizer.zero_grad(set_to_none=True)
        (token_loss + step_loss).backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        now = torch.tensor([token_loss.item(), step_loss.item()])
        averages = now if update == 1 else 0.95 * averages + 0.05 * now
        if update % 50 == 0:
            seconds = time.perf_counter() - started
            log(f"warm-up {update}: losses {averages[0]:.4f} (tokens) and {averages[1]:.4f} (steps), {seconds:.0f} s")


class _Replacement:
    """Replaces tokens of known solutions."""

    def __init__(self, generator: LlamaForCausalLM, encoder: ProblemEncoder, settings: NoticingSettings) -> None:
        self._generator, self._settings = generator, settings
        texts = [encoder.tokenizer.decode([token]) for token in range(len(encoder.tokenizer))]
        self.is_digit = torch.tensor([bool(re.fullmatch(r" ?\d", text)) for text in texts])
        self._digits = self.is_digit.nonzero().flatten()

    @torch.no_grad()
    def __call__(self, input_ids: Tensor, candidates: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = self._generator(input_ids=input_ids, use_cache=False).logits[:, :-1].float()
        drawn = torch.multinomial((logits / self._settings.temperature).softmax(-1).flatten(0, 1), 1)
        # Most rows have few replacements, some have many.
        taken = candidates & (torch.rand(input_ids.shape) < torch.rand(len(input_ids), 1) ** 2)
        written = input_ids.clone()
        written[:, 1:] = torch.where(taken[:, 1:], drawn.view(len(input_ids), -1), input_ids[:, 1:])
        at_random = candidates & self.is_digit[input_ids] & (torch.rand(input_ids.shape) < self._settings.random_share)
        written[at_random] = self._digits[torch.randint(len(self._digits), (int(at_random.sum()),))]
        return written


def _stack(rows: list[EncodedSolution], padding: int) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids, which of them belong to a solution, and which of them end a step."""
    input_ids = pad([row.input_ids for row in rows], padding)
    inside, ends = torch.zeros(input_ids.shape, dtype=torch.bool), torch.zeros(input_ids.shape, dtype=torch.bool)
    for index, row in enumerate(rows):
        inside[index, row.start : len(row.input_ids)] = True
        ends[index, row.ends] = True
    return input_ids, inside, ends
