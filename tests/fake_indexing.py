"""Indexing for fake CUDA tensors on a torch that was built without CUDA.

Python's ``tensor[...]``, ``~`` and ``contiguous`` ask the CUDA runtime for a device guard before ``FakeTensorMode`` can step
in; the operators that they consist of do not. This mode takes the one apart into the others, so that devices are still
compared.
"""

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

aten = torch.ops.aten


class FakeIndexing(TorchFunctionMode):
    """Rewrite ``__getitem__`` and ``__setitem__`` as select, slice, unsqueeze, index and index_put."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is Tensor.__getitem__:
            view, indices = take_views(*args)
            return aten.index(view, indices) if indices else view
        if function is Tensor.__setitem__:
            tensor, index, value = args
            view, indices = take_views(tensor, index)
            if not isinstance(value, Tensor):
                value = torch.full((), value, dtype=tensor.dtype, device=tensor.device)
            if indices:
                aten.index_put_(view, indices, value)
            else:
                aten.copy_(view, value)
            return None
        if function is Tensor.contiguous:
            return aten.clone(args[0], memory_format=torch.contiguous_format)
        if function is Tensor.__invert__:
            return aten.bitwise_not(args[0])
        return function(*args, **(kwargs or {}))


def take_views(tensor, index):
    """Apply integers, slices, None and Ellipsis; what is left are tensors, one (or None) for each dimension."""
    parts = list(index) if isinstance(index, tuple) else [index]
    if Ellipsis not in [part for part in parts if not isinstance(part, Tensor)]:
        parts.append(Ellipsis)
    place = next(i for i, part in enumerate(parts) if part is Ellipsis)
    taken = sum(part is not None for part in parts) - 1
    parts[place : place + 1] = [slice(None)] * (tensor.dim() - taken)
    indices, dim = [], 0
    for part in parts:
        if part is None:
            tensor = tensor.unsqueeze(dim)
        elif isinstance(part, slice):
            start, stop, step = part.indices(tensor.shape[dim])
            tensor = aten.slice(tensor, dim, start, stop, step)
        elif isinstance(part, (int, torch.SymInt)):
            tensor = aten.select(tensor, dim, part)
            continue
        else:
            part = part if isinstance(part, Tensor) else torch.tensor(part, device=tensor.device)
            indices += [None] * (dim - len(indices)) + [part]
        dim += 1
    return tensor, indices
