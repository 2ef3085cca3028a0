"""The rows of one run on a reward model: one engine for all families.

A row remembers its problem, its steps and the tokens that its cache holds. When a step comes in, the family lays out the
text anew; what it shares with the cached tokens stays, the rest of the cache is forgotten, and the remainder of all rows
passes through the backbone in one ragged batch. So a format is as incremental as its tokens allow: append-only layouts
forward every token once, layouts with a changing end forward that end again, and a tokenizer that merges across a step
boundary is exact.

Models that attend in both directions have no cache to keep: they read every row's whole text again.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ppl_scaling import host
from ppl_scaling.backends.cache_layers import is_out_of_memory
from ppl_scaling.backends.kv_cache import CachedForward, pad
from ppl_scaling.backends.reward_models.aggregation import aggregate
from ppl_scaling.errors import MemoryExhaustedError

if TYPE_CHECKING:
    from ppl_scaling.backends.reward_models.base import TransformersRewardModel

__all__ = ["TransformersRewardSession"]


class _Row(NamedTuple):
    problem: str
    steps: tuple[str, ...]
    tokens: list[int]  # what the cache holds of this row


class TransformersRewardSession:
    """The rows of one run; see ``interfaces.RewardModelSession``."""

    def __init__(self, owner: TransformersRewardModel, prompts: Sequence[str], num_particles: int, aggregation: str) -> None:
        self._owner = owner
        self._whole_prefix = aggregation == "whole-prefix"
        self.device: torch.device = owner.model.device
        distinct = list(dict.fromkeys(prompts))
        encoded = {prompt: owner.layout(prompt, []) for prompt in distinct}
        longest = max(map(len, encoded.values()))
        if longest >= owner.context_length:
            raise ValueError(
                f"expected a prompt shorter than the reward model's context of {owner.context_length} tokens, "
                f"got one of {longest} tokens"
            )
        self.tokens_forwarded = torch.zeros(len(prompts), dtype=torch.long, device=self.device)
        self._forward: CachedForward | None = None
        self._layouts: list[list[int]] | None = None  # of the steps in `_layouts_of`
        self._layouts_of: Sequence[str | None] | None = None
        if owner.incremental:
            self._forward = CachedForward(owner.backbone, len(distinct), owner.micro_batch)
            self._group = torch.tensor([prompts.index(prompt) for prompt in distinct], device=self.device)
            if longest:
                self._append(self._forward, list(encoded.values()))
            of_group = torch.tensor([distinct.index(prompt) for prompt in prompts], device=self.device)
            self._forward.select(of_group.repeat_interleave(num_particles))
        self._group = torch.arange(len(prompts), device=self.device).repeat_interleave(num_particles)
        self._rows = [_Row(prompt, (), encoded[prompt]) for prompt in prompts for _ in range(num_particles)]
        self._aggregate = aggregate(aggregation, len(self._rows), self.device)

    def select(self, rows: Tensor) -> None:
        """Keep the rows ``rows``, in that order."""
        self._rows = [self._rows[row] for row in host.as_list(rows)]
        self._group = self._group[rows]
        self._aggregate.select(rows)
        self._layouts = None
        if self._forward is not None:
            self._forward.select(rows)

    def fits(self, steps: Sequence[str]) -> Tensor:
        """Whether the context has room for the next step of each row."""
        return torch.tensor(self._fits(steps), device=self.device)

    def score(self, steps: Sequence[str]) -> Tensor:
        """Append a step to each row; logits of the aggregated scores, NaN for rows without room."""
        return self._score(steps)

    def rehearse(self, steps: Sequence[Sequence[str]]) -> tuple[Tensor, Tensor]:
        """Score several next steps of each row, and go back to where the rows stand."""
        before, aggregate_before = list(self._rows), copy.copy(self._aggregate)  # an update makes a new state
        num_steps = max(map(len, steps))
        shape = (len(steps), num_steps)
        logits = torch.full(shape, torch.nan, dtype=self._aggregate.dtype, device=self.device)
        room = [True] * len(steps)
        flags: list[list[bool]] = []
        for s in range(num_steps):
            following = [own[s] if s < len(own) and go else None for own, go in zip(steps, room, strict=True)]
            room = self._fits(following)
            flags.append(room)
            logits[:, s] = self._score(following)
        # Where a layout changed before its end, the cache now holds less of what it held.
        kept = [_shared(old.tokens, new.tokens) for old, new in zip(before, self._rows, strict=True)]
        self._rows = [_Row(row.problem, row.steps, row.tokens[:length]) for row, length in zip(before, kept, strict=True)]
        self._aggregate, self._layouts = aggregate_before, None
        if self._forward is not None:
            self._forward.rewind(torch.tensor(kept, device=self.device))
        return logits, torch.tensor(flags, dtype=torch.bool, device=self.device).reshape(num_steps, len(steps)).T

    def _score(self, steps: Sequence[str | None]) -> Tensor:
        """Score the rows that have a step and room for it."""
        fits = self._fits(steps)
        layouts = self._lay_out(steps)
        logits = torch.full((len(steps),), torch.nan, dtype=self._aggregate.dtype, device=self.device)
        if not any(fits):
            return logits
        if self._forward is None:
            order = [row for row, fit in enumerate(fits) if fit]
            rows = torch.tensor(order, device=self.device)
            scores = self._read_again([layouts[row] for row in order], rows)
        else:
            num_fitting = self._forward.bring_forward(fits)
            rows, order = self._forward.first(num_fitting), self._forward.order[:num_fitting]
            scores = self._read_on(self._forward, layouts, order)
        for row in order:
            step = steps[row]
            if step is not None:
                self._rows[row] = _Row(self._rows[row].problem, (*self._rows[row].steps, step), layouts[row])
        self._layouts = None
        logits[rows] = self._aggregate.update(rows, scores)
        return logits

    def _fits(self, steps: Sequence[str | None]) -> list[bool]:
        layouts = self._lay_out(steps)
        return [
            step is not None and len(tokens) <= self._owner.context_length
            for step, tokens in zip(steps, layouts, strict=True)
        ]

    def _lay_out(self, steps: Sequence[str | None]) -> list[list[int]]:
        """Tokens of every row with its next step; rows that say the same are laid out once, for fits and score together."""
        if self._layouts is None or self._layouts_of is not steps:
            known: dict[tuple[str, tuple[str, ...]], list[int]] = {}
            self._layouts, self._layouts_of = [], steps
            for row, step in zip(self._rows, steps, strict=True):
                if step is None:
                    self._layouts.append([])
                    continue
                key = (row.problem, (*row.steps, step))
                if key not in known:
                    text = ["".join(key[1])] if self._whole_prefix else key[1]
                    known[key] = self._owner.layout(row.problem, text)
                self._layouts.append(known[key])
        return self._layouts

    def _read_on(self, forward: CachedForward, layouts: list[list[int]], order: list[int]) -> Tensor:
        """Scores of the rows ``order``, which stand first, from what their caches do not hold yet."""
        kept = [len(row.tokens) for row in self._rows]
        rewinds = False
        for row in order:
            old, new = self._rows[row].tokens, layouts[row]
            # The last token is forwarded in any case: the score is read there.
            shared = min(_shared(old, new), len(new) - 1)
            rewinds |= shared < len(old)
            kept[row] = shared
        if rewinds:
            forward.rewind(torch.tensor(kept, device=self.device))
        hidden = self._append(forward, [layouts[row][kept[row] :] for row in order])
        with torch.no_grad():
            return self._owner.logit(hidden).to(self.device)

    def _append(self, forward: CachedForward, blocks: list[list[int]]) -> Tensor:
        """Forward a block for each of the first rows; float32 hidden states, shape (n, D), at the last token of each."""
        tokens, lengths = pad(blocks, self.device)
        hidden = forward.forward(tokens, lengths)
        self._count(lengths, forward.first(len(blocks)))
        return hidden[torch.arange(len(blocks), device=hidden.device), (lengths - 1).to(hidden.device)].float()

    def _read_again(self, layouts: list[list[int]], rows: Tensor) -> Tensor:
        """Scores of whole layouts; as many at once as memory holds."""
        scores: list[Tensor] = []
        done = 0
        while done < len(layouts):
            size = min(self._owner.micro_batch.num_rows or len(layouts), len(layouts) - done)
            tokens, lengths = pad(layouts[done : done + size], self.device)
            mask = (torch.arange(tokens.shape[1], device=self.device) < lengths[:, None]).long()
            try:
                with torch.no_grad():
                    scores.append(self._owner.plain_logit(tokens, mask, lengths - 1).to(self.device))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if size == 1:
                    raise MemoryExhaustedError(tokens.shape[1]) from error
                self._owner.micro_batch.halve(size)
                continue
            self._count(lengths, rows[done : done + size])
            done += size
        return torch.cat(scores)

    def _count(self, num_tokens: Tensor, rows: Tensor) -> None:
        self.tokens_forwarded = self.tokens_forwarded.index_add(0, self._group[rows], num_tokens)


def _shared(old: list[int], new: list[int]) -> int:
    """Length of the longest common beginning; comparing slices is fast, so it is found by halving."""
    if new[: len(old)] == old:
        return len(old)
    low, high = 0, min(len(old), len(new))
    while low < high:
        middle = (low + high + 1) // 2
        if new[low:middle] == old[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
