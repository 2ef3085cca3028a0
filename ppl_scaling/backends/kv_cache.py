"""A key-value cache whose rows have lengths of their own, and the forward pass that uses it.

Reasoning steps differ in length from particle to particle. A cache that appends the same column to every row would fill
with holes; this one writes each row's next entry at that row's own length, so row ``r`` is exactly the first
``lengths[r]`` columns and everything right of them is free space. Causality then is one comparison: a query at position
``p`` sees the columns ``<= p``.

A forward pass runs on the *first n* physical rows, so rows that have ended a step are swapped out of that range instead
of being computed in vain, and no copy is made of those that go on.

This file knows transformers' cache interface and nothing of tokens, texts or particles.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from ppl_scaling import host
from ppl_scaling.errors import BackendError

__all__ = ["CachedForward"]

_COLUMNS = 64  # the cache grows by this many columns at a time


class _Layer(CacheLayerMixin):
    """Keys and values of one layer, each of shape (rows, heads, columns, head size)."""

    is_sliding = False

    def __init__(self, window: _Window) -> None:
        super().__init__()
        self.window = window

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        rows, columns = self.window.num_rows, self.window.columns
        self.keys = key_states.new_zeros(rows, key_states.shape[1], columns, key_states.shape[3])
        self.values = value_states.new_zeros(rows, value_states.shape[1], columns, value_states.shape[3])
        self.dtype, self.device = key_states.dtype, key_states.device
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None
        positions = self.window.positions.to(self.keys.device)
        rows = torch.arange(len(positions), device=self.keys.device)[:, None]
        self.keys[rows, :, positions] = key_states.transpose(1, 2)
        self.values[rows, :, positions] = value_states.transpose(1, 2)
        return self.keys[: len(positions), :, : self.window.span], self.values[: len(positions), :, : self.window.span]

    def map(self, change: Any) -> None:
        """Replace keys and values by what ``change`` makes of each."""
        if self.is_initialized:
            self.keys, self.values = change(self.keys), change(self.values)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.window.span, 0

    def get_seq_length(self) -> int:
        return self.window.span

    def get_max_length(self) -> int:
        return -1


class _Window:
    """Where the current forward pass writes, shared by all layers."""

    def __init__(self, num_rows: int) -> None:
        self.num_rows = num_rows
        self.columns = 0
        self.span = 0
        self.positions = torch.zeros(0, 0, dtype=torch.long)


class CachedForward:
    """A transformers model together with the cache of some rows.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Any decoder with full attention that takes ``past_key_values`` and a four-dimensional attention mask.
    num_rows : int
        Number of rows to begin with.

    Attributes
    ----------
    lengths : Tensor, shape (R,)
        Number of valid columns of each row.
    """

    def __init__(self, model: Any, num_rows: int) -> None:
        self.model = model
        self.device: torch.device = model.device
        self.lengths = torch.zeros(num_rows, dtype=torch.long, device=self.device)
        self._row_at = torch.arange(num_rows, device=self.device)  # the row kept at each physical place
        self._longest = 0  # no row is longer; kept here so that a forward pass need not ask the device
        self._window = _Window(num_rows)
        self._cache = Cache(layers=[_Layer(self._window) for _ in range(model.config.num_hidden_layers)])
        self._context_length = context_length(model.config)
        self._eager = getattr(model.config, "_attn_implementation", "sdpa") == "eager"

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return self._window.num_rows

    @property
    def num_bytes(self) -> int:
        """Memory that the cache holds."""
        return sum(
            part.numel() * part.element_size()
            for layer in self._cache.layers
            for part in (layer.keys, layer.values)
            if part is not None
        )

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
        """
        rows = self.first(len(tokens))
        positions = self.lengths[rows][:, None] + torch.arange(tokens.shape[1], device=self.device)
        self._window.positions = positions
        self._longest += tokens.shape[1]
        self._window.span = self._longest
        self._grow(self._longest)
        mask = torch.arange(self._window.span, device=self.device) <= positions[:, None, :, None]
        if self._eager:  # the eager kernel adds its mask to the attention scores
            blocked = torch.finfo(self.model.dtype).min
            mask = torch.zeros(mask.shape, dtype=self.model.dtype, device=self.device).masked_fill(~mask, blocked)
        with torch.no_grad():
            output = self.model(
                input_ids=tokens,
                attention_mask=mask,
                position_ids=positions.clamp(max=self._context_length - 1),  # of padding only
                past_key_values=self._cache,
                use_cache=True,
                **kwargs,
            )
        self.lengths = self.lengths.index_add(0, rows, num_tokens)
        return output[0]

    def rewind(self, lengths: Tensor) -> None:
        """Forget the end of each row: keep its first ``lengths``, shape ``(R,)``, tokens."""
        self.lengths = lengths

    def bring_forward(self, wanted: Tensor) -> int:
        """Move the rows for which ``wanted``, shape ``(R,)``, is true to the first places; return how many there are."""
        at_place = wanted[self._row_at]
        num_wanted = host.count(at_place)
        inside = torch.arange(self.num_rows, device=self.device) < num_wanted
        leaving, entering = host.positions(inside & ~at_place), host.positions(~inside & at_place)
        if len(leaving):
            places, sources = torch.cat([leaving, entering]), torch.cat([entering, leaving])

            def swap(part: Tensor) -> Tensor:
                part[places] = part[sources]
                return part

            self._row_at = swap(self._row_at.clone())
            for layer in self._cache.layers:
                layer.map(swap)
        return num_wanted

    def select(self, rows: Tensor) -> None:
        """Keep the rows ``rows``, shape ``(R,)``, in that order, in one gather that also gives back unused columns."""
        identity = torch.arange(self.num_rows, device=self.device)
        self._longest = host.largest(self.lengths[rows])
        if len(rows) == self.num_rows and host.is_true((rows == identity).all()):
            return
        place_of = torch.empty_like(self._row_at)
        place_of[self._row_at] = identity
        places = place_of[rows]
        self.lengths = self.lengths[rows]
        self._row_at = torch.arange(len(rows), device=self.device)
        self._window.num_rows = len(rows)
        used = self._longest
        self._window.columns = _round_up(used + 1)

        def gather(part: Tensor) -> Tensor:
            moved = part.new_zeros(len(rows), part.shape[1], self._window.columns, part.shape[3])
            moved[:, :, :used] = part[places.to(part.device), :, :used]
            return moved

        for layer in self._cache.layers:
            layer.map(gather)

    def _grow(self, columns: int) -> None:
        if columns <= self._window.columns:
            return
        extra = _round_up(columns) - self._window.columns
        self._window.columns += extra

        def widen(part: Tensor) -> Tensor:
            return torch.nn.functional.pad(part, (0, 0, 0, extra))

        for layer in self._cache.layers:
            layer.map(widen)


def context_length(config: Any) -> int:
    """Longest sequence for which full causal attention is what the model computes.

    With sliding-window attention that is the window: as long as a sequence fits into it, the two are the same.

    Raises
    ------
    BackendError
        If the model has layers other than attention, or does not state its context length.
    """
    layer_types = set(getattr(config, "layer_types", None) or ())
    foreign = layer_types - {"full_attention", "sliding_attention"}
    if foreign:
        raise BackendError(f"expected a model with attention layers only, got layers of type {sorted(foreign)}")
    length = getattr(config, "max_position_embeddings", None)
    if length is None:
        raise BackendError(f"expected a model with max_position_embeddings, got {type(config).__name__} without it")
    window = getattr(config, "sliding_window", None)
    slides = "sliding_attention" in layer_types if layer_types else getattr(config, "use_sliding_window", True)
    return min(length, window) if window and slides else length


def _round_up(columns: int) -> int:
    return -(-columns // _COLUMNS) * _COLUMNS
