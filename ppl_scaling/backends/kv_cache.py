"""A transformers model with a key-value cache whose rows have lengths of their own.

Reasoning steps differ in length from particle to particle. A cache that appends the same column to every row would fill
with holes; this one writes each row's next entry at that row's own length, so row ``r`` is exactly the first
``lengths[r]`` columns and everything right of them is free space. Causality then is one comparison: a query at position
``p`` sees the columns ``<= p`` (and, with a sliding window of ``w``, ``> p - w``).

A forward pass runs on the *first n* physical places, so rows that have ended a step are swapped out of that range instead
of being computed in vain. Resampling moves no row that survives: a copy of a particle is written over one that died.

This file knows nothing of tokens' meanings, texts or particles; :mod:`.cache_layers` holds the tensors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ppl_scaling import host
from ppl_scaling.backends.cache_layers import CacheLayers, is_out_of_memory
from ppl_scaling.errors import BackendError, MemoryExhaustedError

__all__ = ["CachedForward", "MicroBatch", "context_length", "pad"]


class MicroBatch:
    """How many rows go through a model at once. It shrinks when memory runs out, and stays small.

    Parameters
    ----------
    num_rows : int, optional
        Default: all of them.

    Raises
    ------
    ValueError
        If ``num_rows`` is below 1.
    """

    def __init__(self, num_rows: int | None = None) -> None:
        if num_rows is not None and num_rows < 1:
            raise ValueError(f"expected a micro-batch of at least one row, got {num_rows}")
        self.num_rows = num_rows

    def halve(self, num_rows: int) -> None:
        """Take half of ``num_rows``, which were too many."""
        self.num_rows = max(1, num_rows // 2)


class CachedForward:
    """A transformers model together with the cache of some rows.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Any decoder with attention layers that takes ``past_key_values`` and a four-dimensional attention mask.
    num_rows : int
        Number of rows to begin with.
    micro_batch : MicroBatch, optional
        Shared by the sessions of one loaded model, so that each learns from the others' failures.

    Attributes
    ----------
    lengths : Tensor, shape (R,)
        Number of valid columns of each row.
    order : list of int
        The row kept at each physical place.
    """

    def __init__(self, model: Any, num_rows: int, micro_batch: MicroBatch | None = None) -> None:
        self.model = model
        self.device: torch.device = model.device
        self.lengths = torch.zeros(num_rows, dtype=torch.long, device=self.device)
        self.order = list(range(num_rows))
        self._row_at = torch.arange(num_rows, device=self.device)  # the same, on the device
        self._longest = 0  # no row is longer; kept here so that a forward pass need not ask the device
        self._micro_batch = MicroBatch() if micro_batch is None else micro_batch
        config = model.config.get_text_config()
        self._layers = CacheLayers(config.num_hidden_layers, num_rows)
        self._context_length = context_length(config)
        types = getattr(config, "layer_types", None)
        self._layer_types = set(types) if types else None
        self._window = _sliding_window(config)
        self._seen = torch.zeros((), dtype=model.dtype, device=self.device)
        self._hidden = torch.full((), -math.inf, dtype=model.dtype, device=self.device)

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return len(self.order)

    @property
    def num_bytes(self) -> int:
        """Memory that the cache holds."""
        return self._layers.num_bytes

    def first(self, num_rows: int) -> Tensor:
        """Rows, shape ``(num_rows,)``, that stand at the first physical places, in the order of the places."""
        return self._row_at[:num_rows]

    def forward(self, tokens: Tensor, num_tokens: Tensor, **kwargs: Any) -> Tensor:
        """Append tokens to the rows at the first ``n`` places and return the model's first output.

        Parameters
        ----------
        tokens : Tensor, shape (n, q)
            In the order of :meth:`first`; padded at the end with any valid token.
        num_tokens : Tensor, shape (n,)
            How many of the ``q`` tokens are real; the others are overwritten by what comes next.
        **kwargs
            Passed on to the model.

        Returns
        -------
        Tensor, shape (n, q, D)
            Logits, if the model has a head; the last hidden states, if it is a backbone.

        Raises
        ------
        MemoryExhaustedError
            If there is no memory for a single row.
        """
        rows = self.first(len(tokens))
        positions = self.lengths[rows][:, None] + torch.arange(tokens.shape[1], device=self.device)
        self._longest += tokens.shape[1]
        self._layers.grow(self._longest)
        self._layers.span = self._longest
        outputs: list[Tensor] = []
        done = 0
        while done < len(tokens):
            size = min(self._micro_batch.num_rows or len(tokens), len(tokens) - done)
            places = slice(done, done + size)
            try:
                outputs.append(self._forward_some(tokens[places], positions[places], places, kwargs))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if size == 1:
                    raise MemoryExhaustedError(self._longest) from error
                self._micro_batch.halve(size)
                continue  # outside the handler's reach: the failed pass is forgotten and its memory free again
            done += size
        self.lengths = self.lengths.index_add(0, rows, num_tokens)
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def rewind(self, lengths: Tensor) -> None:
        """Forget the end of each row: keep its first ``lengths``, shape ``(R,)``, tokens."""
        self.lengths = lengths

    def bring_forward(self, wanted: Tensor | Sequence[bool]) -> int:
        """Move the rows for which ``wanted``, shape ``(R,)``, is true to the first places; return how many there are."""
        flags = host.as_list(wanted) if isinstance(wanted, Tensor) else wanted
        at_place = [flags[row] for row in self.order]
        num_wanted = sum(at_place)
        leaving = [place for place in range(num_wanted) if not at_place[place]]
        if leaving:
            entering = [place for place in range(num_wanted, len(at_place)) if at_place[place]]
            targets, sources = leaving + entering, entering + leaving
            order = self.order
            self.order = order.copy()
            for target, source in zip(targets, sources, strict=True):
                self.order[target] = order[source]
            self._row_at = torch.tensor(self.order, device=self.device)
            self._overwrite(targets, sources)
        return num_wanted

    def select(self, rows: Tensor) -> None:
        """Keep the rows ``rows``, shape ``(R,)``, in that order; a row may be repeated or left out.

        What survives stays in place and its copies are written over what does not, unless little of the memory would
        remain in use: then everything moves to a smaller place.
        """
        chosen = host.as_list(rows)
        self._longest = host.largest(self.lengths[rows])
        if chosen == list(range(self.num_rows)):
            return
        self.lengths = self.lengths[rows]
        place_of = {row: place for place, row in enumerate(self.order)}
        places = [place_of[row] for row in chosen]
        if len(chosen) > self.num_rows or self._layers.wastes(len(chosen), self._longest):
            self.order = list(range(len(chosen)))
            self._layers.gather(torch.tensor(places, device=self.device), self._longest)
        else:
            self.order, targets, sources = _settle(places)
            self._overwrite(targets, sources)
        self._row_at = torch.tensor(self.order, device=self.device)

    def _overwrite(self, targets: list[int], sources: list[int]) -> None:
        if targets:
            moved = torch.tensor([targets, sources], device=self.device)
            self._layers.overwrite(moved[0], moved[1], self._longest)

    def _forward_some(self, tokens: Tensor, positions: Tensor, places: slice, kwargs: dict[str, Any]) -> Tensor:
        rows = torch.arange(places.start, places.stop, device=self.device)
        self._layers.places, self._layers.written = places, (rows[:, None], positions)
        with torch.no_grad():
            return self.model(
                input_ids=tokens,
                attention_mask=self._masks(positions),
                position_ids=positions.clamp(max=self._context_length - 1),  # of padding only
                past_key_values=self._layers.cache,
                use_cache=True,
                **kwargs,
            )[0]

    def _masks(self, positions: Tensor) -> Tensor | dict[str, Tensor]:
        """Attention mask, or one for each type of layer where there are several; see the module's docstring."""
        columns = torch.arange(self._layers.span, device=self.device)
        queries = positions[:, None, :, None]
        full = columns <= queries
        if self._window is None:
            return self._additive(full)
        sliding = self._additive(full & (columns > queries - self._window))
        if self._layer_types is None or self._layer_types == {"sliding_attention"}:
            return sliding
        return {"full_attention": self._additive(full), "sliding_attention": sliding}

    def _additive(self, seen: Tensor) -> Tensor:
        """Make what is added to the attention scores, once a pass; kernels would make it anew in every layer."""
        return torch.where(seen, self._seen, self._hidden)


def pad(blocks: Sequence[list[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Tokens, shape (n, q), padded at the end, and how many of each row are real, shape (n,)."""
    lengths = [len(block) for block in blocks]
    longest = max(lengths)
    padded = [block + [0] * (longest - length) for block, length in zip(blocks, lengths, strict=True)]
    return torch.tensor(padded, device=device), torch.tensor(lengths, device=device)


def _settle(places: list[int]) -> tuple[list[int], list[int], list[int]]:
    """Find a place among the first ones for each new row, which is to hold what lies at ``places[row]`` now.

    Returns
    -------
    order : list of int
        The new row at each place.
    targets, sources : list of int
        Places to be written, and where what is written there lies now.
    """
    order = [-1] * len(places)
    homeless = []
    for row, place in enumerate(places):
        if place < len(order) and order[place] < 0:
            order[place] = row
        else:
            homeless.append(row)
    targets = [place for place, row in enumerate(order) if row < 0]
    for target, row in zip(targets, homeless, strict=True):
        order[target] = row
    return order, targets, [places[row] for row in homeless]


def context_length(config: Any) -> int:
    """Longest sequence that a model can read.

    Raises
    ------
    BackendError
        If the model has layers other than attention with a full or a sliding window, shares keys and values between
        layers, or does not state its context length.
    """
    config = config.get_text_config()
    foreign = set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
    if foreign:
        raise BackendError(f"expected a model with attention layers only, got layers of type {', '.join(sorted(foreign))}")
    if getattr(config, "num_kv_shared_layers", 0):
        raise BackendError("expected a model whose layers have keys and values of their own, got one that shares them")
    length = getattr(config, "max_position_embeddings", None)
    if length is None:
        raise BackendError(f"expected a model with max_position_embeddings, got {type(config).__name__} without it")
    return length


def _sliding_window(config: Any) -> int | None:
    """Width of the window of those layers that have one; None if all see everything."""
    window = getattr(config, "sliding_window", None)
    types = getattr(config, "layer_types", None)
    slides = "sliding_attention" in types if types else getattr(config, "use_sliding_window", True)
    return window if window and slides else None
