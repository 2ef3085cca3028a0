"""Storage of keys and values: rows of their own length, moved about as particles are resampled.

The parts of a cache (keys and values of each layer) lie together in slabs, of which each is one block of memory: few blocks
are moved, and the system gets those back that are given up. If the device of a model has no room for the cache, it goes on
in main memory, and each forward pass fetches the rows it works on.

Knows transformers' interface of a cache layer, and nothing of models, masks or tokens.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

__all__ = ["CacheLayers", "is_out_of_memory"]

_COLUMNS = 32  # the cache grows by at least this many columns at a time, and by a sixteenth of what it has
_COMPACTION = 0.8  # a gather that leaves less than this share of the memory in use makes a smaller copy
_SLAB_BYTES = 33 * 2**20  # just larger than what allocators keep to themselves, small beside a cache that matters


class _Slab:
    """Parts of equal shape in one tensor, shape (parts, rows, heads, columns, head size)."""

    def __init__(self, tensor: Tensor, members: list[tuple[_Layer, str]]) -> None:
        self.members = members
        self.put(tensor)

    def put(self, tensor: Tensor) -> None:
        """Let the layers see their parts of ``tensor``."""
        self.tensor = tensor
        for part, (layer, name) in zip(tensor, self.members, strict=True):
            setattr(layer, name, part)


class _Layer(CacheLayerMixin):
    """Keys and values of one layer, each of shape (rows, heads, columns, head size)."""

    is_sliding = False

    def __init__(self, layers: CacheLayers) -> None:
        super().__init__()
        # Whoever has the layers has this one. A reference back would make a circle, and a cache that nobody uses any more
        # would keep its memory until Python looks for circles, which may be many caches later.
        self._layers: CacheLayers = weakref.proxy(layers)

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self._layers.allocate(self, "keys", key_states)
        self._layers.allocate(self, "values", value_states)
        self.dtype, self.device = key_states.dtype, key_states.device
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None
        places, span = self._layers.places, self._layers.span
        rows, positions = (index.to(self.keys.device) for index in self._layers.written)
        self.keys[rows, :, positions] = key_states.transpose(1, 2).to(self.keys.device)
        self.values[rows, :, positions] = value_states.transpose(1, 2).to(self.keys.device)
        # Both moves are free where the cache lies on the device of the model.
        return (
            self.keys[places, :, :span].to(key_states.device),
            self.values[places, :, :span].to(key_states.device),
        )

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._layers.span, 0

    def get_seq_length(self) -> int:
        return self._layers.span

    def get_max_length(self) -> int:
        return -1

    get_max_cache_shape = get_max_length  # what the first versions of transformers 5 call it


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
    written : tuple of Tensor, shapes (n, 1) and (n, q)
        Rows and columns that it writes to.
    span : int
        How many columns it reads.
    in_main_memory : bool
        Whether the device had no room for the cache.
    """

    def __init__(self, num_layers: int, num_rows: int) -> None:
        self.num_rows = num_rows
        self.columns = 0
        self.places = slice(0, 0)
        self.written = torch.zeros(0, 1, dtype=torch.long), torch.zeros(0, 0, dtype=torch.long)
        self.span = 0
        self.in_main_memory = False
        self.cache = Cache(layers=[_Layer(self) for _ in range(num_layers)])
        self._slabs: list[_Slab] = []

    @property
    def num_bytes(self) -> int:
        """Memory that the cache holds."""
        return sum(slab.tensor.numel() * slab.tensor.element_size() for slab in self._slabs)

    def allocate(self, layer: _Layer, name: str, states: Tensor) -> None:
        """Make room for a part of a layer that is like ``states``, shape (n, heads, q, head size)."""

        def attempt() -> None:
            shape = (1, self.num_rows, states.shape[1], self.columns, states.shape[3])
            self._slabs.append(_Slab(states.new_zeros(shape, device=self._place_for(states)), [(layer, name)]))

        self._guard(attempt)

    def grow(self, columns: int) -> None:
        """Have room for ``columns`` columns, and for some more to come."""
        if columns > self.columns:
            used, self.columns = self.columns, _with_slack(columns)
            self._rebuild(used, None)

    def gather(self, places: Tensor, used: int) -> None:
        """Become the rows at ``places``, in that order, with room for little more than ``used`` columns."""
        self.num_rows, self.columns = len(places), _with_slack(used)
        self._rebuild(used, places)

    def overwrite(self, targets: Tensor, sources: Tensor, used: int) -> None:
        """Let the rows at ``targets`` become those at ``sources``, in place, as far as ``used`` columns."""

        def attempt(slab: _Slab) -> None:
            parts = slab.tensor
            # What is on the right is read before anything is written.
            parts[:, targets.to(parts.device), :, :used] = parts[:, sources.to(parts.device), :, :used]

        for slab in self._slabs:
            self._guard(partial(attempt, slab))

    def wastes(self, num_rows: int, used: int) -> bool:
        """Whether ``num_rows`` rows of ``used`` columns would leave much of the storage unused."""
        return num_rows * _with_slack(used) < _COMPACTION * self.num_rows * self.columns

    def _rebuild(self, used: int, places: Tensor | None) -> None:
        """Copy ``used`` columns of the rows at ``places`` (or all) into slabs of the present size, and drop the old ones."""
        parts = [(part, member) for slab in self._slabs for part, member in zip(slab.tensor, slab.members, strict=True)]
        self._slabs = []
        parts.reverse()
        while parts:
            # An old slab is given up as soon as the last of its parts has been copied.
            first = parts[-1][0]
            size = self.num_rows * first.shape[1] * self.columns * first.shape[3] * first.element_size()
            batch = [parts.pop()]
            while parts and _alike(parts[-1][0], first) and len(batch) * size < _SLAB_BYTES:
                batch.append(parts.pop())
            self._guard(partial(self._copy, batch, used, places))

    def _copy(self, batch: list[tuple[Tensor, tuple[_Layer, str]]], used: int, places: Tensor | None) -> None:
        first = batch[0][0]
        shape = (len(batch), self.num_rows, first.shape[1], self.columns, first.shape[3])
        slab = first.new_empty(shape, device=self._place_for(first))
        slab[:, :, :, used:] = 0  # what is masked must be a number all the same
        for target, (source, _) in zip(slab, batch, strict=True):
            rows = source if places is None else source[places.to(source.device), :, :used]
            target[:, :, :used] = rows[:, :, :used]
        self._slabs.append(_Slab(slab, [member for _, member in batch]))

    def _place_for(self, like: Tensor) -> torch.device:
        return torch.device("cpu") if self.in_main_memory else like.device

    def _guard(self, attempt: Callable[[], None]) -> None:
        """Run what may find the device full; if it does, go on in main memory."""
        try:
            attempt()
            return
        except Exception as error:
            if self.in_main_memory or not is_out_of_memory(error):
                raise
        self.in_main_memory = True
        for slab in self._slabs:
            slab.put(slab.tensor.cpu())
        attempt()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or in main memory."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "not enough memory" in str(error)
    )


def _alike(first: Tensor, second: Tensor) -> bool:
    return (first.shape, first.dtype, first.device) == (second.shape, second.dtype, second.device)


def _with_slack(columns: int) -> int:
    return (columns + columns // 16) // _COLUMNS * _COLUMNS + _COLUMNS
