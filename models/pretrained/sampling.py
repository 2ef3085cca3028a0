"""Sample many solutions at once from a language model, with a key-value cache that is allocated in advance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, LlamaForCausalLM
from transformers.cache_utils import DynamicLayer

MAX_NEW_TOKENS = 300
_GROWTH = 64


class _RoomyLayer(DynamicLayer):
    """A layer's keys and values inside larger buffers, so that a new token is written and nothing is copied."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append keys and values and give all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.buffers = [key_states.new_empty((*key_states.shape[:2], 0, key_states.shape[3])) for _ in range(2)]
            self.length = 0
        end = self.length + key_states.shape[2]
        for index, states in enumerate((key_states, value_states)):
            if end > self.buffers[index].shape[2]:
                shape = (*states.shape[:2], end + _GROWTH, states.shape[3])
                roomy = states.new_empty(shape)
                roomy[:, :, : self.length] = self.buffers[index][:, :, : self.length]
                self.buffers[index] = roomy
            self.buffers[index][:, :, self.length : end] = states
        self.length = end
        self.keys, self.values = (buffer[:, :, :end] for buffer in self.buffers)
        return self.keys, self.values

    def take(self, rows: Tensor) -> None:
        """Replace the rows by a choice of them, in which a row may come more than once or never."""
        self.buffers = [buffer[rows] for buffer in self.buffers]
        self.keys, self.values = (buffer[:, :, : self.length] for buffer in self.buffers)


@torch.inference_mode()
def _sample_batch(
    model: LlamaForCausalLM,
    prefixes: Sequence[Sequence[int]],
    copies: int,
    generator: torch.Generator,
    temperature: float,
) -> list[list[int]]:
    pad, eos = int(model.config.pad_token_id or 0), model.config.eos_token_id
    width = max(map(len, prefixes))
    input_ids = torch.tensor([[pad] * (width - len(prefix)) + list(prefix) for prefix in prefixes])
    mask = torch.tensor([[0] * (width - len(prefix)) + [1] * len(prefix) for prefix in prefixes])
    layers = [_RoomyLayer() for _ in range(model.config.num_hidden_layers)]
    cache = Cache(layers=layers)
    samples: list[list[int]] = [[] for _ in range(len(prefixes) * copies)]
    slots = torch.arange(len(samples))
    alive = torch.ones(len(samples), dtype=torch.bool)
    for _ in range(MAX_NEW_TOKENS):
        hidden = model.model(
            input_ids=input_ids,
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp_min(0)[:, -input_ids.shape[1] :],
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        logits = model.lm_head(hidden[:, -1]).float() / temperature
        if len(logits) < len(slots):
            # The prompts have been read once; from here on each copy has a row of its own.
            rows = torch.arange(len(prefixes)).repeat_interleave(copies)
            logits, mask = logits[rows], mask[rows]
            for layer in layers:
                layer.take(rows)
        gumbel = torch.empty_like(logits).exponential_(generator=generator).log()
        tokens = (logits - gumbel).argmax(1)
        alive &= tokens != eos
        for slot, token, running in zip(slots.tolist(), tokens.tolist(), alive.tolist(), strict=True):
            if running:
                samples[slot].append(token)
        remaining = int(alive.sum())
        if remaining == 0:
            break
        if remaining < 0.75 * len(alive):
            rows = alive.nonzero().flatten()
            slots, alive, tokens, mask = slots[rows], alive[rows], tokens[rows], mask[rows]
            for layer in layers:
                layer.take(rows)
        input_ids = tokens[:, None]
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
    return samples


def sample(
    model: LlamaForCausalLM,
    prefixes: Sequence[Sequence[int]],
    *,
    seed: int,
    copies: int = 1,
    temperature: float = 1.0,
    batch_size: int = 256,
) -> list[list[int]]:
    """Continue token prefixes to the end token.

    Parameters
    ----------
    model : LlamaForCausalLM
        The language model, in evaluation mode.
    prefixes : sequence of sequences of int
        Prompts, or prompts with the beginning of a solution.
    seed : int
        Seed of the samples; the global generator is left alone.
    copies : int
        Independent samples of each prefix.
    temperature : float
        Sampling temperature.
    batch_size : int
        Rows that are continued together.

    Returns
    -------
    list of list of int
        The new tokens without the end token: all copies of the first prefix, then all of the second, and so on.
    """
    generator = torch.Generator().manual_seed(seed)
    order = sorted(range(len(prefixes)), key=lambda index: len(prefixes[index]))
    samples: list[list[int]] = [[] for _ in range(len(prefixes) * copies)]
    size = max(1, batch_size // copies)
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        continued = iter(_sample_batch(model, [prefixes[index] for index in chosen], copies, generator, temperature))
        for index in chosen:
            samples[index * copies : (index + 1) * copies] = [next(continued) for _ in range(copies)]
    return samples
