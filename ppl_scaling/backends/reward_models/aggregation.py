"""From the scores of the steps so far to one score, in logit space.

Each aggregate keeps what it needs of the past in one or two numbers a row and is updated as steps come in. Probabilities are
never formed, so nothing is lost where scores are near 0 or 1.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

__all__ = ["AGGREGATIONS", "Aggregate", "aggregate"]


class Aggregate(ABC):
    """A running summary of the scores of each row.

    Parameters
    ----------
    num_rows : int
    device : torch.device
    """

    dtype = torch.float64

    def __init__(self, num_rows: int, device: torch.device) -> None:
        self._state = self.empty().to(device).expand(num_rows, -1)

    def select(self, rows: Tensor) -> None:
        """Keep the rows ``rows``, in that order."""
        self._state = self._state[rows]

    def update(self, rows: Tensor, logits: Tensor) -> Tensor:
        """Add the scores of one more step to ``rows``, shape (n,); logits, shape (n,), of their aggregates."""
        added = self.add(self._state[rows], logits.to(self.dtype))
        state = self._state.clone()
        state[rows] = added
        self._state = state
        return self.logit(added)

    @abstractmethod
    def empty(self) -> Tensor:
        """Summary of no score, shape (k,)."""

    @abstractmethod
    def add(self, state: Tensor, logits: Tensor) -> Tensor:
        """Summaries, shape (n, k), with one more score each."""

    def logit(self, state: Tensor) -> Tensor:
        """Logit of the aggregate, shape (n,); unless a subclass says otherwise, the summary is this logit."""
        return state[:, 0]


class Last(Aggregate):
    """The score itself, in the precision of a head."""

    dtype = torch.float32

    def empty(self) -> Tensor:
        """Score 1/2, which nobody reads."""
        return torch.zeros(1)

    def add(self, state: Tensor, logits: Tensor) -> Tensor:
        """Keep the last."""
        return logits[:, None]


class Min(Aggregate):
    """The smallest score."""

    def empty(self) -> Tensor:
        """Score 1."""
        return torch.full((1,), math.inf, dtype=torch.float64)

    def add(self, state: Tensor, logits: Tensor) -> Tensor:
        """Take the smaller logit, which is that of the smaller score."""
        return torch.minimum(state, logits[:, None])


class Prod(Aggregate):
    """The product of the scores: the probability that all steps are right, if they were independent."""

    def empty(self) -> Tensor:
        """Score 1."""
        return torch.zeros(1, dtype=torch.float64)

    def add(self, state: Tensor, logits: Tensor) -> Tensor:
        """Sum of ``log r``."""
        return state + logsigmoid(logits)[:, None]

    def logit(self, state: Tensor) -> Tensor:
        """``log p - log(1 - p)`` from ``log p``."""
        log_p = state[:, 0]
        return log_p - torch.log(-torch.expm1(log_p))


class Mean(Aggregate):
    """The mean of the scores."""

    def empty(self) -> Tensor:
        """No mass on either side."""
        return torch.full((2,), -math.inf, dtype=torch.float64)

    def add(self, state: Tensor, logits: Tensor) -> Tensor:
        """``log sum r`` and ``log sum (1 - r)``; how many there are cancels."""
        return torch.logaddexp(state, torch.stack([logsigmoid(logits), logsigmoid(-logits)], dim=1))

    def logit(self, state: Tensor) -> Tensor:
        """Log-odds of the two."""
        return state[:, 0] - state[:, 1]


_CLASSES: dict[str, type[Aggregate]] = {"last": Last, "min": Min, "prod": Prod, "mean": Mean, "whole-prefix": Last}

AGGREGATIONS = tuple(_CLASSES)
"""Names of the aggregations. ``whole-prefix`` has the reward model read all steps so far as one."""


def aggregate(name: str, num_rows: int, device: torch.device) -> Aggregate:
    """Begin the aggregate called ``name`` for some rows."""
    return _CLASSES[name](num_rows, device)
