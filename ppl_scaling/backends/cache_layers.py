"""Storage of keys and values: rows of their own length, moved about as particles are resampled.

Knows transformers' interface of a cache layer, and nothing of models, masks or tokens. If the device of a model has no room
for the cache, the cache goes on in main memory, and each forward pass fetches the rows it works on.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers.cache_utils import Cache, CacheLayerMixin

__all__ = ["CacheLayers", "is_out_of_memory"]

_COLUMNS = 16  # the cache grows by at least this many columns at a time, and by a sixteenth of what it has
_COMPACTION = 0.8  # a gather that leaves less than this share of the memory in use makes a smaller copy


class _Layer(CacheLayerMixin):
    """Keys and values of one layer, each of shape (rows, heads, columns, head size)."""

    is_sliding = False

    def __init__(self, layers: CacheLayers) -> None:
        super().__init__()
        self._layers = layers

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        rows, columns = self._layers.num_rows, self._layers.columns
        place = torch.device("cpu") if self._layers.in_main_memory else key_states.device
        self.keys = key_states.new_zeros(rows, key_states.shape[1], columns, key_states.shape[3], device=place)
        self.values = value_states.new_zeros(rows, value_states.shape[1], columns, value_states.shape[3], device=place)
        self.dtype, self.device = key_states.dtype, key_states.device
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self._layers.guard(partial(self.lazy_initialization, key_states, value_states))
        assert self.keys is not None and self.values is not None
        places, positions = self._layers.places, self._layers.positions.to(self.keys.device)
        rows = torch.arange(places.start, places.stop, device=self.keys.device)[:, None]
        self.keys[rows, :, positions] = key_states.transpose(1, 2).to(self.keys.device)
        self.values[rows, :, positions] = value_states.transpose(1, 2).to(self.keys.device)
        span = self._layers.span
        # Both moves are free where the cache lies on the device of the model.
        return (
            self.keys[places, :, :span].to(key_states.device),
            self.values[places, :, :span].to(key_states.device),
        )

    def change(self, change: Callable[[Tensor], Tensor]) -> None:
        """Replace keys and values by what ``change`` makes of each; both or none."""
        if self.is_initialized:
            self.keys, self.values = change(self.keys), change(self.values)

    def overwrite(self, targets: Tensor, sources: Tensor, used: int) -> None:
        """Copy rows over others, in place; everything is read before anything is written."""
        if self.is_initialized:
            assert self.keys is not None and self.values is not None
            targets, sources = targets.to(self.keys.device), sources.to(self.keys.device)
            read = self.keys[sources, :, :used], self.values[sources, :, :used]
            self.keys[targets, :, :used], self.values[targets, :, :used] = read

    def to_main_memory(self) -> None:
        """Give the device's memory back."""
        self.change(Tensor.cpu)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._layers.span, 0

    def get_seq_length(self) -> int:
        return self._layers.span

    def get_max_length(self) -> int:
        return -1


class CacheLayers:
    """The layers of one cache, which change together.

    Attributes
    ----------
    cache : transformers.Cache
        What the model is given.
    num_rows, columns : int
        Size of the storage.
    places : slice
        Rows that the current forward pass works on.
    positions : Tensor, shape (n, q)
        Where it writes.
    span : int
        How many columns it reads.
    in_main_memory : bool
        Whether the device had no room for the cache.
    """

    def __init__(self, num_layers: int, num_rows: int) -> None:
        self.num_rows = num_rows
        self.columns = 0
        self.places = slice(0, 0)
        self.positions = torch.zeros(0, 0, dtype=torch.long)
        self.span = 0
        self.in_main_memory = False
        self._layers = [_Layer(self) for _ in range(num_layers)]
        self.cache = Cache(layers=self._layers)

    @property
    def num_bytes(self) -> int:
        """Memory that the cache holds."""
        parts = [part for layer in self._layers for part in (layer.keys, layer.values) if part is not None]
        return sum(part.numel() * part.element_size() for part in parts)

    def grow(self, columns: int) -> None:
        """Have room for ``columns`` columns, and for some more to come."""
        if columns <= self.columns:
            return
        extra = _with_slack(columns) - self.columns
        self.columns += extra
        self._change(lambda part: pad(part, (0, 0, 0, extra)))

    def overwrite(self, targets: Tensor, sources: Tensor, used: int) -> None:
        """Let the rows at ``targets`` become those at ``sources``, in place, as far as ``used`` columns."""
        for layer in self._layers:
            self.guard(partial(layer.overwrite, targets, sources, used))

    def gather(self, places: Tensor, used: int) -> None:
        """Become the rows at ``places``, in that order, with room for little more than ``used`` columns."""
        self.num_rows, self.columns = len(places), _with_slack(used)

        def compact(part: Tensor) -> Tensor:
            moved = part.new_zeros(len(places), part.shape[1], self.columns, part.shape[3])
            moved[:, :, :used] = part[places.to(part.device), :, :used]
            return moved

        self._change(compact)

    def wastes(self, num_rows: int, used: int) -> bool:
        """Whether ``num_rows`` rows of ``used`` columns would leave much of the storage unused."""
        return num_rows * _with_slack(used) < _COMPACTION * self.num_rows * self.columns

    def guard(self, attempt: Callable[[], None]) -> None:
        """Run what may find the device full; if it does, go on in main memory."""
        try:
            attempt()
            return
        except Exception as error:
            if self.in_main_memory or not is_out_of_memory(error):
                raise
        self.in_main_memory = True
        for one in self._layers:
            one.to_main_memory()
        attempt()

    def _change(self, change: Callable[[Tensor], Tensor]) -> None:
        for layer in self._layers:
            self.guard(partial(layer.change, change))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or in main memory."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "not enough memory" in str(error)
    )


def _with_slack(columns: int) -> int:
    return (columns + columns // 16) // _COLUMNS * _COLUMNS + _COLUMNS
