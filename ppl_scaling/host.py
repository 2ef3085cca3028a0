"""The places where a tensor's *value* decides what Python does next.

Each of them waits for the device. They are collected here, so that they stay few and visible, and so that the tests can
replace them where tensors have a shape and a device but no value (``FakeTensorMode``, see the tests of devices).
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["as_list", "count", "is_true", "largest", "positions"]


def is_true(condition: Tensor) -> bool:
    """Return the single boolean element of ``condition``."""
    return bool(condition)


def as_list(tensor: Tensor) -> list:
    """Return the values of ``tensor`` as nested lists."""
    return tensor.tolist()


def count(mask: Tensor) -> int:
    """Return how many elements of ``mask`` are true."""
    return int(mask.sum())


def largest(numbers: Tensor) -> int:
    """Return the largest of some integers."""
    return int(numbers.max())


def positions(mask: Tensor) -> Tensor:
    """Return the indices, shape ``(K,)``, at which the one-dimensional boolean ``mask`` is true."""
    return torch.nonzero(mask).squeeze(-1)
