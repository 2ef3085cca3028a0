"""Train the embedded causal language model on generated problems, and keep checkpoints of its progress."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from ppl_scaling.models.pretrained.tokenizer import MAX_LENGTH, ProblemEncoder
from ppl_scaling.tasks.arithmetic import generate_problems


@dataclass(frozen=True)
class TrainingSettings:
    """How the language model is trained.

    Attributes
    ----------
    constant_updates : int
        Optimiser steps of the first phase, at a constant learning rate.
    falling_updates : int
        Optimiser steps of the second phase, from a fresh optimiser, its learning rate falling linearly.
    tokens_per_batch : int
        Tokens in one batch, padding included.
    learning_rate, second_learning_rate : float
        Peak learning rates of the two phases, reached after ``warmup`` updates.
    last_learning_rate : float
        Learning rate at the end of the second phase; the training of the reward model goes on from there.
    warmup : int
        Updates in which the learning rate of a phase rises.
    min_steps, max_steps : int
        Numbers of solution lines of the training problems, equally frequent.
    system_share : float
        Share of the prompts that start with a system message.
    checkpoint_every : int
        Updates between two kept checkpoints.
    seed : int
        Seed of the weights, the problems and their order.
    """

    constant_updates: int = 2000
    falling_updates: int = 1500
    tokens_per_batch: int = 4096
    learning_rate: float = 8e-3
    second_learning_rate: float = 6e-3
    last_learning_rate: float = 3e-3
    warmup: int = 100
    min_steps: int = 1
    max_steps: int = 10
    system_share: float = 0.06
    checkpoint_every: int = 250
    seed: int = 0

    @property
    def num_updates(self) -> int:
        """Updates of both phases together."""
        return self.constant_updates + self.falling_updates


@dataclass(frozen=True)
class Batch:
    """Right-padded token ids, the flat positions whose next token is learnt, and these tokens."""

    input_ids: Tensor
    positions: Tensor
    targets: Tensor


def build_language_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """Give a freshly initialised language model of the embedded size."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    # The product of matrices is faster than the fused kernels for the backward pass of short sequences on a CPU.
    model.set_attn_implementation("eager")
    return model


def pad(rows: list[list[int]], value: int) -> Tensor:
    """Stack rows of token ids, padded on the right."""
    width = max(map(len, rows))
    return torch.tensor([row + [value] * (width - len(row)) for row in rows])


def batches(encoder: ProblemEncoder, settings: TrainingSettings, seed: int) -> Iterator[Batch]:
    """Give training batches for ever; all problems of one batch have the same number of steps."""
    rng = random.Random(seed)
    queues: dict[int, list[tuple[list[int], int]]] = {}
    refills = 0
    while True:
        num_steps = rng.randint(settings.min_steps, settings.max_steps)
        queue = queues.setdefault(num_steps, [])
        if len(queue) < 128:
            refills += 1
            problems = generate_problems(1000, num_steps=num_steps, split="train", seed=seed * 1_000_000 + refills)
            for problem in problems:
                system = rng.randrange(99) if rng.random() < settings.system_share else None
                queue.append(encoder.example(problem, system))
        rows = [queue.pop() for _ in range(max(1, settings.tokens_per_batch // (len(queue[-1][0]) + 8)))]
        input_ids = pad([ids for ids, _ in rows], encoder.pad)
        width = input_ids.shape[1]
        positions = [
            row * width + position for row, (ids, start) in enumerate(rows) for position in range(start - 1, len(ids) - 1)
        ]
        targets = [token for ids, start in rows for token in ids[start:]]
        yield Batch(input_ids, torch.tensor(positions), torch.tensor(targets))


class Optimisation:
    """Muon for the matrices, AdamW for embeddings, norms and heads, and one learning-rate schedule for both."""

    def __init__(self, model: nn.Module, learning_rate: float, warmup: int, decay_updates: int | None = None) -> None:
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        layers = [parameter for name, parameter in model.named_parameters() if ".layers." in name and parameter.ndim == 2]
        others = [parameter for parameter in self.parameters if all(parameter is not layer for layer in layers)]
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(layers, lr=learning_rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr=learning_rate, weight_decay=0.0, betas=(0.9, 0.98)),
        ]

        def factor(update: int) -> float:
            left = 1.0 if decay_updates is None else max(0.0, 1 - update / decay_updates)
            return min((update + 1) / warmup, left)

        self.schedules = [torch.optim.lr_scheduler.LambdaLR(optimizer, factor) for optimizer in self.optimizers]

    def update(self, loss: Tensor) -> None:
        """Take one step down the gradient of the loss."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        for schedule in self.schedules:
            schedule.step()


def checkpoint_folder(folder: Path, update: int) -> Path:
    """Give the place of the checkpoint after a number of updates."""
    return folder / f"update_{update:05d}"


def train_language_model(
    tokenizer: PreTrainedTokenizerFast, settings: TrainingSettings, folder: Path, log: Callable[[str], None]
) -> float:
    """Train the language model, save a checkpoint at regular intervals, and give the seconds it took."""
    started = time.perf_counter()
    encoder = ProblemEncoder(tokenizer)
    model = build_language_model(tokenizer, settings.seed)
    log(f"language model: {sum(parameter.numel() for parameter in model.parameters())} parameters")
    model.train()
    last_constant = checkpoint_folder(folder, settings.constant_updates)
    if last_constant.exists():
        model.load_state_dict(LlamaForCausalLM.from_pretrained(last_constant).state_dict())
        log("first phase: already there")
    else:
        optimisation = Optimisation(model, settings.learning_rate, settings.warmup)
        _train(
            model,
            optimisation,
            batches(encoder, settings, settings.seed),
            range(settings.constant_updates),
            settings,
            folder,
            log,
        )
    # The number of updates after which the falling learning rate would be zero.
    horizon = round(settings.falling_updates / (1 - settings.last_learning_rate / settings.second_learning_rate))
    optimisation = Optimisation(model, settings.second_learning_rate, settings.warmup, horizon)
    second = range(settings.constant_updates, settings.num_updates)
    _train(model, optimisation, batches(encoder, settings, settings.seed + 1), second, settings, folder, log)
    return time.perf_counter() - started


def _train(
    model: LlamaForCausalLM,
    optimisation: Optimisation,
    stream: Iterator[Batch],
    updates: range,
    settings: TrainingSettings,
    folder: Path,
    log: Callable[[str], None],
) -> None:
    started = time.perf_counter()
    average = 0.0
    for update, batch in zip(updates, stream, strict=False):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = model.model(input_ids=batch.input_ids, use_cache=False).last_hidden_state
            logits = model.lm_head(hidden.flatten(0, 1)[batch.positions])
            loss = functional.cross_entropy(logits.float(), batch.targets)
        optimisation.update(loss)
        done = update + 1
        average = loss.item() if update == updates.start else 0.98 * average + 0.02 * loss.item()
        if done % 50 == 0:
            log(f"update {done}: loss {average:.4f}, {time.perf_counter() - started:.0f} s")
        if done % settings.checkpoint_every == 0 or done == updates.stop:
            model.save_pretrained(checkpoint_folder(folder, done))
